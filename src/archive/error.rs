//! What can go wrong with an archive.

use crate::objects::StorageError;
use crate::store::StoreError;

/// An archive cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The bucket or folder failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is broken, or none of ours.
    #[error("{name} cannot be read: {problem}; move it away, or restore it from a copy")]
    Unreadable {
        /// The file.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file was written by a newer version of this program.
    #[error(
        "{name} was written by a newer version of Trainspotter (schema {found}; this build knows {known}): run that version"
    )]
    Newer {
        /// The file.
        name: String,
        /// Its schema.
        found: String,
        /// What this build knows.
        known: String,
    },
    /// A file cannot be made, which no row should cause.
    #[error("a file of the archive cannot be made: {0}")]
    Encoding(String),
    /// This replica does not lead any more.
    #[error("another replica leads")]
    NotLeading,
}

impl From<parquet::errors::ParquetError> for ArchiveError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Encoding(error.to_string())
    }
}
