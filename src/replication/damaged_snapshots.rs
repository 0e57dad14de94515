//! Snapshots that could not be used: older ones replace them, and they are reported until they are removed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::objects::Storage;
use crate::replication::LogError;
use crate::replication::object_names;
use crate::replication::time_limit::within;

/// Snapshots that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DamagedCopies {
    /// Their names, newest first.
    pub(super) names: Vec<String>,
    /// The last record that the newest one should have.
    pub(super) until: u64,
    /// What is wrong with the newest one.
    pub(super) error: LogError,
}

impl DamagedCopies {
    /// What is wrong, what was done about it, and what to do.
    pub(super) fn report(&self) -> String {
        format!(
            "{}; an older copy of the state and the records after it were used instead, and nothing is lost. Delete {}, or leave it: \
             it is removed with older copies",
            self.error,
            self.names.join(" and ")
        )
    }

    /// Forgets those that were removed from the log. Returns whether any is left.
    pub(super) async fn are_still_there<S: Storage>(&mut self, storage: &S, patience: Duration) -> bool {
        // If the bucket fails, this is reported otherwise.
        if let Ok(found) = within(patience, storage.list(object_names::SNAPSHOTS, "")).await {
            let found: BTreeSet<String> = found.into_iter().collect();
            self.names.retain(|name| found.contains(name));
        }
        !self.names.is_empty()
    }
}
