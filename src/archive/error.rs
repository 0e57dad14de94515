//! Errors of the archive.

use crate::objects::StorageError;
use crate::store::StoreError;

/// Why the archive cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The bucket or folder failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is broken or foreign.
    #[error("{name} cannot be read: {problem}; move it away, or restore it from a copy")]
    Unreadable {
        /// File name.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A file was written by a newer version of this program.
    #[error(
        "{name} was written by a newer version of Trainspotter (schema {found}; this build knows {known}): run that version"
    )]
    Newer {
        /// File name.
        name: String,
        /// Schema of the file.
        found: String,
        /// Supported schema.
        known: String,
    },
    /// A file cannot be encoded; no row should cause this.
    #[error("cannot encode an archive file: {0}")]
    Encoding(String),
    /// This replica is no longer the leader.
    #[error("another replica leads")]
    NotLeading,
}

impl From<parquet::errors::ParquetError> for ArchiveError {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Encoding(error.to_string())
    }
}
