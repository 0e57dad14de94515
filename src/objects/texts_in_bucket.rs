//! Texts in a bucket: one object, or those of a folder. Unchanged objects are not downloaded again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::aws::BucketAccess;
use crate::objects::open::{self, OpenError};
use crate::objects::s3::{Bucket, Seen};
use crate::objects::{Setting, StorageError};
use trainspotter_clock::Clock;

/// Maximum size of a text.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Maximum texts per folder: one page of S3's list.
pub const MAX_TEXTS: usize = 1_000;

/// Wall time limit to read a text.
const MAX_READ: Duration = Duration::from_secs(20);

/// Texts in a bucket.
#[derive(Debug)]
pub struct Texts {
    bucket: Bucket,
    /// Name of the bucket, for errors.
    shown: String,
    known: BTreeMap<String, Known>,
}

/// A cached text.
#[derive(Debug)]
struct Known {
    tag: String,
    text: String,
}

impl Texts {
    /// Opens a bucket of texts. Makes no request yet.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        bucket: &str,
        access: BucketAccess<'_>,
        setting: Setting,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let shown = bucket.to_owned();
        Ok(Self { bucket: open::bucket(bucket, "", access, setting, clock).await?, shown, known: BTreeMap::new() })
    }

    /// The text of one object.
    ///
    /// # Errors
    /// The bucket cannot be read, or the object does not exist or is not text.
    pub async fn one(&mut self, name: &str) -> Result<String, StorageError> {
        if !self.look(name).await? {
            let shown = &self.shown;
            return Err(StorageError::lasting(format!("there is no object s3://{shown}/{name}")));
        }
        Ok(self.known.get(name).map(|known| known.text.clone()).unwrap_or_default())
    }

    /// The texts directly in a folder whose file name is wanted, by full address.
    ///
    /// # Errors
    /// The bucket or an object cannot be read; there are too many, or one is not text.
    pub async fn folder(
        &mut self,
        folder: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, String>, StorageError> {
        let (mut listed, has_more) = within(self.bucket.list_tagged(folder)).await?;
        if has_more {
            let shown = &self.shown;
            return Err(StorageError::lasting(format!("s3://{shown}/{folder} has more than {MAX_TEXTS} objects")));
        }
        listed.retain(|object| wanted(object.name.rsplit('/').next().unwrap_or_default()));
        if let Some(odd) = listed.iter().find(|object| !object.name.chars().all(is_plain)) {
            return Err(StorageError::lasting(format!(
                "s3://{}/{}: rename it: use letters, digits, `-`, `_`, `.` and `=`",
                self.shown, odd.name
            )));
        }
        let mut texts = BTreeMap::new();
        for object in &listed {
            let is_known = self.known.get(&object.name).is_some_and(|known| known.tag == object.tag);
            // An object deleted since the listing is skipped.
            if is_known || self.look(&object.name).await? {
                let text = self.known.get(&object.name).map(|known| known.text.clone()).unwrap_or_default();
                texts.insert(format!("s3://{}/{}", self.shown, object.name), text);
            }
        }
        self.known.retain(|name, _| listed.iter().any(|object| object.name == *name));
        Ok(texts)
    }

    /// Reads an object if it has changed. Returns whether it exists.
    async fn look(&mut self, name: &str) -> Result<bool, StorageError> {
        let tag = self.known.get(name).map(|known| known.tag.as_str()).filter(|tag| !tag.is_empty());
        match within(self.bucket.get_unless(name, tag, MAX_TEXT_BYTES)).await? {
            Seen::Same => Ok(true),
            Seen::Gone => {
                self.known.remove(name);
                Ok(false)
            }
            Seen::New { bytes, tag } => {
                let shown = &self.shown;
                let text = String::from_utf8(bytes).map_err(|error| {
                    StorageError::lasting(format!("s3://{shown}/{name} is not UTF-8 text: {}", error.utf8_error()))
                })?;
                self.known.insert(name.to_owned(), Known { tag, text });
                Ok(true)
            }
        }
    }
}

/// Whether a character can be used in a URL unescaped.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./=".contains(c)
}

async fn within<T>(reading: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    let waited = || StorageError::silent(format!("no response within {}", humantime::format_duration(MAX_READ)));
    tokio::time::timeout(MAX_READ, reading).await.unwrap_or_else(|_| Err(waited()))
}
