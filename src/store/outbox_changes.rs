//! Changes of notifications by operators: retry, and give up.

use rusqlite::params;

use crate::notify::OutboxRow;
use crate::store::Store;
use crate::store::StoreError;
use trainspotter_core::model::Timestamp;

/// Selects notifications. `None` or empty means no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Receiver.
    pub receiver: Option<String>,
    /// Prefixes of ids.
    pub ids: Vec<String>,
}

impl Selection {
    /// Whether a row is selected.
    pub fn means(&self, row: &OutboxRow) -> bool {
        let begins = |id: &String| row.id.as_str().starts_with(id.as_str());
        self.receiver.as_ref().is_none_or(|receiver| *receiver == row.receiver)
            && (self.ids.is_empty() || self.ids.iter().any(begins))
    }
}

impl Store {
    /// Retries notifications now: pending ones early, dead ones together with their resolve. A firing is still sent
    /// before its resolve. Returns the number of rows.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn retry(&mut self, selection: &Selection, now: Timestamp) -> Result<usize, StoreError> {
        self.update(
            selection,
            "UPDATE outbox SET state = 'pending', settled_at = NULL, next_attempt_at = ?3, created_at = ?3, attempts = 0,
                    begun_at = ?3",
            "state IN ('pending', 'dead')",
            now,
        )
    }

    /// Gives up pending notifications. Returns the number of rows.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn give_up(&mut self, selection: &Selection, now: Timestamp) -> Result<usize, StoreError> {
        self.update(
            selection,
            "UPDATE outbox SET state = 'dead', settled_at = ?3, last_error = 'given up by hand'",
            "state = 'pending'",
            now,
        )
    }

    /// Runs an update on the selected rows and on the resolves of selected firings.
    fn update(&mut self, which: &Selection, update: &str, only: &str, now: Timestamp) -> Result<usize, StoreError> {
        let selected = "(?1 IS NULL OR receiver = ?1) AND (json_array_length(?2) = 0 OR EXISTS (
             SELECT 1 FROM json_each(?2) WHERE substr(outbox.id, 1, length(value)) = value))";
        let sql = format!(
            "{update} WHERE {only} AND (({selected}) OR (kind = 'resolved' AND (receiver, alert, episode) IN (
                 SELECT receiver, alert, episode FROM outbox WHERE kind = 'fired' AND {only} AND {selected})))"
        );
        let ids = serde_json::to_string(&which.ids)?;
        self.change(&|transaction| Ok(transaction.execute(&sql, params![which.receiver, ids, now.millis()])?))
    }
}
