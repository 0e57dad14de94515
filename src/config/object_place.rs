//! Object locations: an S3 bucket or a folder.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// An object location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectPlace {
    /// A local folder.
    Folder(PathBuf),
    /// An S3 bucket.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// Prefix of object names; may be empty, without a slash at either end.
        prefix: String,
    },
}

impl fmt::Display for ObjectPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl ObjectPlace {
    /// A location below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path.join(name)),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => {
                Self::Bucket { bucket: bucket.clone(), prefix: name.to_owned() }
            }
            Self::Bucket { bucket, prefix } => {
                Self::Bucket { bucket: bucket.clone(), prefix: format!("{prefix}/{name}") }
            }
        }
    }

    /// Parses `s3://bucket/prefix` or `file:///folder`, for a thing such as `a log`.
    ///
    /// # Errors
    /// What is invalid, and the correct form.
    pub fn parse(text: &str, thing: &str) -> Result<Self, String> {
        let forms = "write `s3://bucket/prefix`, or `file:///folder` for a folder of this machine";
        let url = Url::parse(text).map_err(|_| format!("not a location for {thing}: {forms}"))?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some() {
            return Err(format!("has more than a bucket and a prefix: {forms}"));
        }
        match url.scheme() {
            "file" => match url.to_file_path() {
                Ok(path) if path.components().count() > 1 => Ok(Self::Folder(path)),
                Ok(_) | Err(()) => Err("not the path of a folder of this machine: write `file:///folder`".to_owned()),
            },
            "s3" => bucket(text.strip_prefix("s3://").unwrap_or_default()),
            scheme => Err(format!("{thing} cannot be stored at `{scheme}:`; {forms}")),
        }
    }
}

fn bucket(text: &str) -> Result<ObjectPlace, String> {
    let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
    check_bucket(bucket)?;
    let prefix = prefix.trim_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=".contains(c);
    if let Some(odd) = prefix.chars().find(|c| !is_plain(*c)) {
        return Err(format!("the prefix has `{odd}`: use letters, digits, `-`, `_`, `.`, `=` and `/`"));
    }
    if prefix.split('/').any(|part| prefix.contains('/') && part.is_empty() || part == "." || part == "..") {
        return Err("the prefix has an empty part, `.` or `..`".to_owned());
    }
    Ok(ObjectPlace::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// Checks a bucket name by S3's rules for general purpose buckets.
fn check_bucket(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_name = (3..=63).contains(&name.len())
        && name.chars().all(is_plain)
        && is_end(name.chars().next())
        && is_end(name.chars().next_back())
        && !name.contains("..");
    if is_name {
        return Ok(());
    }
    Err(format!("`{name}` is not a bucket name: use 3 to 63 lower-case letters, digits, `-` and `.`"))
}
