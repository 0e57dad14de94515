//! Errors of the state file.

use std::fmt;
use std::path::Path;

use rusqlite::ErrorCode;

/// Why the store failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The file was written by a newer version.
    FromTheFuture {
        /// Schema version of the file.
        found: i64,
        /// Newest version this build supports.
        known: i64,
    },
    /// The file is a database of another program.
    NotOurs,
    /// The file is not a database, and never was.
    Foreign,
    /// The file is broken, with SQLite's message.
    Corrupt(String),
    /// A stored value cannot be read or written.
    Value(String),
    /// The file cannot be written: disk full, no permission, I/O error.
    Unwritable(String),
    /// Other SQLite errors: a lock held by another process, or tables changed by one.
    Sqlite(String),
    /// The path no longer leads to the open file, or the file was changed.
    Replaced(String),
    /// Another process overwrote or truncated the open file.
    Overwritten(String),
    /// Another service uses the file.
    InUse,
    /// Another replica leads, or none yet: this one must not change the state.
    NotLeading,
    /// The store has been closed.
    Closed,
    /// An error with its file.
    At {
        /// The file.
        path: String,
        /// The error.
        error: Box<StoreError>,
    },
}

impl StoreError {
    /// Whether the operation would succeed on another file: errors of SQLite or the disk. Memory can replace such a
    /// file.
    pub(super) fn is_of_the_file(&self) -> bool {
        match self {
            Self::Corrupt(_) | Self::Unwritable(_) | Self::Sqlite(_) | Self::Replaced(_) | Self::Overwritten(_) => true,
            Self::At { error, .. } => error.is_of_the_file(),
            Self::FromTheFuture { .. }
            | Self::NotOurs
            | Self::Foreign
            | Self::Value(_)
            | Self::InUse
            | Self::NotLeading
            | Self::Closed => false,
        }
    }

    /// Whether the connection to the file is unusable.
    pub(super) fn needs_reopening(&self) -> bool {
        match self {
            Self::Corrupt(_) | Self::Replaced(_) | Self::Overwritten(_) => true,
            Self::At { error, .. } => error.needs_reopening(),
            Self::FromTheFuture { .. }
            | Self::NotOurs
            | Self::Foreign
            | Self::Value(_)
            | Self::Unwritable(_)
            | Self::Sqlite(_)
            | Self::InUse
            | Self::NotLeading
            | Self::Closed => false,
        }
    }

    /// How another process changed the open file, if so.
    pub(super) fn overwritten(&self) -> Option<&str> {
        if let Self::At { error, .. } = self {
            return error.overwritten();
        }
        if let Self::Overwritten(reason) = self { Some(reason) } else { None }
    }

    /// Adds the file to the error.
    pub(super) fn at(self, path: &Path) -> Self {
        Self::At { path: path.display().to_string(), error: Box::new(self) }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FromTheFuture { found, known } => write!(
                f,
                "it has version {found} and this build knows versions up to {known}: run the newer build, or set \
                 another path in `store`"
            ),
            Self::NotOurs => f.write_str("it is the database of another program: set another path in `store`"),
            Self::Foreign => {
                f.write_str("it is not a state file, and was not changed: move it away, or set another path in `store`")
            }
            Self::Corrupt(reason) => write!(f, "it is corrupt: {reason}"),
            Self::Value(reason) => write!(f, "cannot read or write a stored value: {reason}"),
            Self::Unwritable(reason) | Self::Sqlite(reason) | Self::Replaced(reason) | Self::Overwritten(reason) => {
                f.write_str(reason)
            }
            Self::InUse => f.write_str(
                "another process uses it, and two would send every notification twice: stop the other one, or set \
                 another path in `store`",
            ),
            Self::NotLeading => f.write_str("this replica is not the leader, so it does not change the state"),
            Self::Closed => f.write_str("the store is closed"),
            Self::At { path, error } => write!(f, "state file {path}: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(
                ErrorCode::DiskFull
                | ErrorCode::ReadOnly
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied,
            ) => Self::Unwritable(error.to_string()),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Sqlite(format!("another program has locked it ({error})"))
            }
            // The stored value has another type than expected.
            None if is_of_a_value(&error) => Self::Value(error.to_string()),
            Some(_) | None if is_of_a_table(&error) => Self::Sqlite(format!(
                "it is no complete state file of this version ({error}): a service that starts with it completes and \
                 migrates it"
            )),
            Some(_) | None => Self::Sqlite(error.to_string()),
        }
    }
}

/// Whether a table or column is missing: a file that no service has started with, or one of an older version.
fn is_of_a_table(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(_, Some(message)) = error else {
        return matches!(error, rusqlite::Error::SqlInputError { msg, .. } if is_missing(msg));
    };
    is_missing(message)
}

fn is_missing(message: &str) -> bool {
    message.starts_with("no such table") || message.starts_with("no such column")
}

fn is_of_a_value(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
            | rusqlite::Error::ToSqlConversionFailure(_)
    )
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Value(error.to_string())
    }
}
