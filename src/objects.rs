//! Object storage for logs and archives: an S3 bucket or a folder, behind the few operations that every object
//! store has.

mod any_storage;
#[cfg(test)]
pub(crate) mod fake_s3;
pub mod folder;
mod open;
pub mod s3;
mod texts_in_bucket;

pub use crate::aws::BucketAccess;
pub use any_storage::AnyStorage;
pub use open::{OpenError, open};
pub(crate) use s3::MAX_OBJECT_BYTES;
pub use texts_in_bucket::{MAX_TEXT_BYTES, MAX_TEXTS, Texts};

use std::fmt;
use std::future::Future;

/// The settings that errors of a bucket refer to.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Setting of the bucket.
    pub place: &'static str,
    /// Setting of its region.
    pub region: &'static str,
    /// Required permissions.
    pub rights: Rights,
}

/// Permissions for a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read, write and delete objects.
    Keep,
    /// Read and write objects.
    Write,
    /// Read objects.
    Read,
}

impl Rights {
    /// The actions that a policy must allow.
    fn in_words(self) -> &'static str {
        match self {
            Self::Keep => {
                "allow s3:GetObject, s3:PutObject and s3:DeleteObject on its objects below the prefix, and s3:ListBucket on the bucket"
            }
            Self::Write => {
                "allow s3:GetObject and s3:PutObject on its objects below the prefix, and s3:ListBucket on the bucket"
            }
            Self::Read => {
                "allow s3:GetObject on its objects below the prefix, and s3:ListBucket on the bucket; without it \
                 S3 denies access to an object that does not exist"
            }
        }
    }
}

/// Result of creating an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// Created.
    Yes,
    /// The object already existed.
    Exists,
    /// Concurrent attempts without a known winner: read the object, and retry.
    Conflict,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The bucket, or a proxy in between, returned an error.
    Answered,
    /// There was no response.
    Silent,
}

/// Why an operation failed. Unless the store refused it, it may have taken effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageError {
    /// Whether there was a response.
    pub trouble: Trouble,
    /// Whether retries are useless: no such bucket, no permission, wrong region.
    pub is_lasting: bool,
    /// What is wrong and what to do, without secrets.
    pub problem: String,
}

impl StorageError {
    /// There was no response.
    pub fn silent(problem: impl Into<String>) -> Self {
        Self { trouble: Trouble::Silent, is_lasting: false, problem: problem.into() }
    }

    /// The store refused; a retry may succeed.
    pub fn answered(problem: impl Into<String>) -> Self {
        Self { trouble: Trouble::Answered, is_lasting: false, problem: problem.into() }
    }

    /// The store refused, and retrying will not help: someone has to change the setup.
    pub fn lasting(problem: impl Into<String>) -> Self {
        Self { trouble: Trouble::Answered, is_lasting: true, problem: problem.into() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for StorageError {}

/// An object store. Names contain only letters, digits, `-`, `.` and `/`.
pub trait Storage: Send + Sync {
    /// Reads an object; `None` if it does not exist.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StorageError>> + Send;

    /// Creates an object unless it exists.
    fn create(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = Result<Created, StorageError>> + Send;

    /// Creates or replaces an object atomically.
    fn put(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Lists the objects in a folder after a name, in order; at most a thousand.
    fn list(&self, folder: &str, after: &str) -> impl Future<Output = Result<Vec<String>, StorageError>> + Send;

    /// Deletes an object, if it exists.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), StorageError>> + Send;
}
