//! Conditional reads: S3 gives each version of an object an ETag.

use reqwest::{Method, StatusCode};

use crate::objects::StorageError;
use crate::objects::s3::{Bucket, MAX_OBJECT_BYTES, element, elements, name_of};

/// Result of a conditional read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The version is unchanged.
    Same,
    /// The object does not exist.
    Gone,
    /// A new version.
    New {
        /// Contents.
        bytes: Vec<u8>,
        /// ETag.
        tag: String,
    },
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// ETag.
    pub tag: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl Bucket {
    /// Reads an object unless its ETag is `tag`. Refuses more than `at_most` bytes.
    ///
    /// # Errors
    /// The bucket cannot be read, or the object is too large.
    pub async fn get_unless(&self, name: &str, tag: Option<&str>, at_most: u64) -> Result<Seen, StorageError> {
        let quoted = tag.map(|tag| format!("\"{tag}\""));
        let headers: Vec<(&str, &str)> = quoted.iter().map(|tag| ("if-none-match", tag.as_str())).collect();
        let answer = self.request(Method::GET, self.url(name)?, &headers, Vec::new()).await?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(Seen::Same),
            StatusCode::NOT_FOUND => {
                let error = self.failed(answer).await;
                return if error.is_lasting { Err(error) } else { Ok(Seen::Gone) };
            }
            status if !status.is_success() => return Err(self.failed(answer).await),
            _ => {}
        }
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        let tag = tag.trim_matches('"').to_owned();
        let bytes = self.whole(answer, name, usize::try_from(at_most).unwrap_or(MAX_OBJECT_BYTES)).await?;
        Ok(Seen::New { bytes, tag })
    }

    /// The objects directly in a folder, in order: the first thousand, and whether there are more.
    ///
    /// # Errors
    /// The bucket cannot be read.
    pub async fn list_tagged(&self, folder: &str) -> Result<(Vec<Listed>, bool), StorageError> {
        let mut url = self.root.clone();
        let folder = if folder.is_empty() { self.key("") } else { self.key(&format!("{folder}/")) };
        url.query_pairs_mut()
            .append_pair("list-type", "2")
            .append_pair("encoding-type", "url")
            .append_pair("delimiter", "/")
            .append_pair("prefix", &folder);
        let answer = self.request(Method::GET, url, &[], Vec::new()).await?;
        if !answer.status().is_success() {
            return Err(self.failed(answer).await);
        }
        let text = self.list_text(answer, "").await?;
        let prefix = self.key("");
        let listed = elements(&text, "Contents").filter_map(|object| {
            let name = name_of(element(object, "Key")?, &prefix)?;
            let tag = element(object, "ETag").unwrap_or_default().replace("&quot;", "\"").replace("&#34;", "\"");
            let bytes = element(object, "Size").and_then(|size| size.parse().ok()).unwrap_or_default();
            Some(Listed { name, tag: tag.trim_matches('"').to_owned(), bytes })
        });
        Ok((listed.collect(), element(&text, "IsTruncated") == Some("true")))
    }
}
