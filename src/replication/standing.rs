//! What a replica says of itself to the rest of the process.

use crate::replication::lease::Role;
use trainspotter_core::model::Timestamp;

/// How a replica stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is.
    pub role: Role,
    /// It leads since this record; 0 while it follows. Another one each time.
    pub term: u64,
    /// Who it is, as records name their writer.
    pub own: String,
    /// Who leads, as far as it knows; `None` if nobody does.
    pub leader: Option<String>,
    /// The last record that it knows.
    pub number: u64,
    /// When that was written, by its writer's clock; `None` before the first.
    pub written_at: Option<Timestamp>,
    /// Whether the leader's configuration says the same as this one's.
    pub same_config: bool,
    /// Why the log cannot be followed, or written; `None` if all is well.
    pub trouble: Option<String>,
    /// Whether what it does is in its own file only, because the bucket takes nothing.
    pub is_ahead: bool,
}
