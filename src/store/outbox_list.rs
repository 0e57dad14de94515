//! Lists notifications page by page.

use rusqlite::params;

use crate::notify::OutboxRow;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::outbox::{COLUMNS, read};
use crate::store::unreadable_rows;

/// Filter of notifications. `None` means no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Receiver.
    pub receiver: Option<String>,
    /// States; all if empty.
    pub states: Vec<&'static str>,
    /// Prefixes of ids; all if empty.
    pub ids: Vec<String>,
    /// Id of the alert.
    pub alert: Option<String>,
    /// Position after which to start.
    pub after: Option<i64>,
}

impl Store {
    /// At most `limit` matching rows in order of creation, and the last position examined if there are more.
    /// Unreadable rows are skipped.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn outbox_page(&self, wanted: &Wanted, limit: usize) -> Result<(Vec<OutboxRow>, Option<i64>), StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS}, seq FROM outbox WHERE seq > coalesce(?1, -1) AND (?2 IS NULL OR receiver = ?2)
             AND (?3 IS NULL OR alert = ?3)
             AND (json_array_length(?4) = 0 OR state IN (SELECT value FROM json_each(?4)))
             AND (json_array_length(?5) = 0 OR EXISTS (
                 SELECT 1 FROM json_each(?5) WHERE substr(outbox.id, 1, length(value)) = value))
             ORDER BY seq LIMIT ?6"
        ))?;
        let (states, ids) = (serde_json::to_string(&wanted.states)?, serde_json::to_string(&wanted.ids)?);
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        let one_more = most.saturating_add(1);
        let mut found = statement.query(params![wanted.after, wanted.receiver, wanted.alert, states, ids, one_more])?;
        let (mut page, mut looked_at, mut last) = (Vec::new(), 0, None);
        while let Some(row) = found.next()? {
            if looked_at == most {
                return Ok((page, last));
            }
            looked_at += 1;
            last = Some(row.get("seq")?);
            match read(row) {
                Ok(row) => page.push(row),
                Err(error @ StoreError::Value(_)) => {
                    let id = unreadable_rows::shown(row.get_ref(0)?);
                    tracing::error!(
                        id,
                        %error,
                        "cannot read a notification, so the list lacks it; a restart moves it to the table `set_aside`"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok((page, None))
    }
}
