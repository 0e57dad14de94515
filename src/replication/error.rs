//! Errors of the log.

use std::fmt;

use crate::objects::StorageError;
use crate::store::StoreError;

/// Why the log cannot be followed or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The object store failed.
    Storage(StorageError),
    /// An object of the log is broken or foreign.
    Unreadable {
        /// The object.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An object was written by a newer version.
    Newer {
        /// The object.
        name: String,
        /// Required version.
        found: String,
        /// Supported version.
        known: String,
    },
    /// The log belongs to a service with other targets.
    OfAnother {
        /// Targets of the log's service.
        found: String,
        /// Targets of this service.
        own: String,
    },
    /// The object store replaced an existing object although the request said to only create one.
    Overwrites {
        /// The object.
        name: String,
    },
    /// The state file or the machine failed.
    Local(String),
}

impl LogError {
    /// Converts an error of the state file.
    pub(super) fn store(error: StoreError) -> Self {
        Self::Local(error.to_string())
    }

    /// Whether retries are useless.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Storage(error) => error.is_lasting,
            Self::Unreadable { .. }
            | Self::Newer { .. }
            | Self::OfAnother { .. }
            | Self::Overwrites { .. }
            | Self::Local(_) => true,
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(error) => error.fmt(f),
            Self::Unreadable { name, problem } => write!(f, "{name}: {problem}"),
            Self::Newer { name, found, known } => write!(
                f,
                "{name} was written by a newer version of Trainspotter ({found}; this build knows {known}): run that version"
            ),
            Self::OfAnother { found, own } => write!(
                f,
                "this log belongs to a service that watches {found}; this one watches {own}: configure a separate \
                 prefix for each in `store.log`"
            ),
            Self::Overwrites { name } => write!(
                f,
                "the object store replaced {name} although it exists: it ignores `If-None-Match: *`, so two replicas could \
                 lead at once; use S3 or a store that supports conditional writes"
            ),
            Self::Local(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for LogError {}

impl From<StorageError> for LogError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}
