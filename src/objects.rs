//! Where logs and archives are kept: a bucket of S3, or a folder, as the few calls that every object store has.

mod anywhere;
#[cfg(test)]
pub(crate) mod fake_s3;
pub mod folder;
mod open;
pub mod s3;
mod texts;

pub use crate::aws::BucketAccess;
pub use anywhere::Anywhere;
pub use open::{OpenError, open};
pub(crate) use s3::MAX_OBJECT_BYTES;
pub use texts::{MAX_TEXT_BYTES, MAX_TEXTS, Texts};

use std::fmt;
use std::future::Future;

/// The settings that errors of a bucket name.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Where the bucket is given.
    pub place: &'static str,
    /// Where its region is given.
    pub region: &'static str,
    /// What is asked of the bucket.
    pub rights: Rights,
}

/// What is asked of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Objects are read, written and removed.
    Keep,
    /// Objects are read.
    Read,
}

impl Rights {
    /// What a policy has to allow.
    fn in_words(self) -> &'static str {
        match self {
            Self::Keep => {
                "allow s3:GetObject, s3:PutObject and s3:DeleteObject on its objects below the prefix, and s3:ListBucket on the bucket"
            }
            Self::Read => {
                "allow s3:GetObject on its objects below the prefix, and s3:ListBucket on the bucket; without the latter S3 says the same of an object that is not there"
            }
        }
    }
}

/// What became of an object that was to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is there, and was not before.
    Yes,
    /// There was one already.
    Exists,
    /// Two tried at once, and it is not said who won: look, and try again.
    Conflict,
}

/// How a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The bucket, or what stands before it, said no.
    Answered,
    /// Nothing came back.
    Silent,
}

/// Why an object store did not do what it was asked to. What it did is not known, unless it says that it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageError {
    /// Whether anything came back.
    pub trouble: Trouble,
    /// Whether it will be the same however often it is tried: no such bucket, no right to it, another region.
    pub is_lasting: bool,
    /// What is wrong and what to do, without secrets.
    pub problem: String,
}

impl StorageError {
    /// Nothing came back.
    pub fn silent(problem: impl Into<String>) -> Self {
        Self { trouble: Trouble::Silent, is_lasting: false, problem: problem.into() }
    }

    /// It said no, and may say yes later.
    pub fn answered(problem: impl Into<String>) -> Self {
        Self { trouble: Trouble::Answered, is_lasting: false, problem: problem.into() }
    }

    /// It said no, and a person has to change something.
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

/// An object store. Names have only letters, digits, `-`, `.` and `/`.
pub trait Storage: Send + Sync {
    /// Reads an object; `None` if there is none.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StorageError>> + Send;

    /// Creates an object unless there is one.
    fn create(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = Result<Created, StorageError>> + Send;

    /// Writes an object, whether there is one or not: all of it or nothing.
    fn put(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// The names of objects in a folder that come after a name, in order; at most a thousand.
    fn list(&self, folder: &str, after: &str) -> impl Future<Output = Result<Vec<String>, StorageError>> + Send;

    /// Removes an object, if there is one.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), StorageError>> + Send;
}
