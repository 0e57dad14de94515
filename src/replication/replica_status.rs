//! Status of a replica, for the rest of the process.

use crate::replication::lease::Role;
use trainspotter_core::model::Timestamp;

/// Status of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its role.
    pub role: Role,
    /// Record with which its term began; 0 while following. Different for each term.
    pub term: u64,
    /// Its id, as in the writer of records.
    pub own: String,
    /// Id of the leader, as far as known; `None` without one.
    pub leader: Option<String>,
    /// The last known record.
    pub number: u64,
    /// When that was written, by its writer's clock; `None` before the first.
    pub written_at: Option<Timestamp>,
    /// Whether the leader has the same configuration.
    pub same_config: bool,
    /// Why the log cannot be followed or written; `None` if it works.
    pub trouble: Option<String>,
    /// Whether it has changes in its own file only, because the bucket does not accept them.
    pub is_ahead: bool,
    /// The snapshots in the log that could not be used, and what was done about it; `None` without any.
    pub damaged_copy: Option<String>,
}
