//! Replication: several replicas of one service with one leader. An ordered log in an object store, from which each
//! replica builds its own state file.
//!
//! - **Append, apply, act.** The changes of several store calls become one [record]. It is written to the log, then
//!   applied to the state file, and only then the calls return, and the service publishes and notifies. Nothing is
//!   sent that is not in the log.
//! - **The log is the lease.** Record N is an object that is created only if it does not exist, so the log has one
//!   order and each record one writer. The writer of the last record leads; [lease] determines when another replica
//!   may write the next.
//! - **A lost response is read back.** If it is unknown whether record N was written, N is read, and written again
//!   with the same bytes. No other record is written before that is resolved.
//! - **A failing bucket stops nobody.** While it returns errors the leader continues from its file and writes its
//!   changes later, unless another replica has written meanwhile: then it discards them and follows.
//!
//! With several targets each has its own log, and [target_assignment] distributes the targets over the replicas.
//! [known_targets] remembers them, so that one that is removed is noticed.
//!
//! `replica` implements this around a [`crate::store::Store`], `restore` builds a state from the log, and
//! [`crate::objects`] stores it.

mod append_record;
mod damaged_snapshots;
mod error;
pub mod known_targets;
pub mod lease;
mod object_names;
mod open_log;
pub mod record;
mod replica_status;
mod replica_task;
mod restore;
#[cfg(test)]
mod simulation;
mod snapshot;
pub mod target_assignment;
mod time_limit;

pub use error::LogError;
pub use open_log::{Replicas, open, watches};
pub use replica_status::ReplicaStatus;
pub use replica_task::Identity;
