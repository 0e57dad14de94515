//! Pagination cursors for the list of all jobs.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use trainspotter_core::model::{JobId, Timestamp};

/// A position in the list of all jobs, ordered by creation time with a stable order among equal times. Added and
/// removed jobs do not shift it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Creation time of the job.
    pub created_at: Timestamp,
    /// The job.
    pub id: JobId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.created_at.millis(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (millis, id) = text.split_once('_').ok_or(InvalidCursor)?;
        let created_at = Timestamp::from_millis(millis.parse().map_err(|_| InvalidCursor)?);
        Ok(Self { created_at, id: id.into() })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not a valid [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a cursor: expected the `next` of a page")
    }
}

impl std::error::Error for InvalidCursor {}
