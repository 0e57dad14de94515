//! The counted events of the last day, one by one, to restore figures of the last hour and day after a restart.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::params;

use crate::store::StoreError;
use crate::store::unreadable_rows;
use crate::store::unreadable_rows::Judged;
use trainspotter_core::model::SavedEvent;
use trainspotter_core::model::Timestamp;

/// Retention: the longest window of any figure.
const KEEP: Duration = Duration::from_secs(86_400);

/// Maximum events: about 30 MB. The oldest are removed first.
pub const MAX_EVENTS: i64 = 200_000;

/// Adds events, and removes those that are too old or too many. Returns how many were removed early. Call it before
/// writing the time of the commit: a commit that is already there adds nothing.
pub(super) fn add(transaction: &Connection, events: &[SavedEvent], at: Timestamp) -> Result<u64, StoreError> {
    let committed =
        transaction.prepare_cached("SELECT 1 FROM service WHERE committed_at = ?1")?.exists([at.millis()])?;
    if committed {
        return Ok(0);
    }
    let mut insert = transaction.prepare_cached("INSERT INTO event (at, body) VALUES (?1, ?2)")?;
    for event in events {
        insert.execute(params![event.at.millis(), event.body])?;
    }
    let expired = (at - KEEP).millis();
    transaction.prepare_cached("DELETE FROM event WHERE at < ?1")?.execute([expired])?;
    let cut = transaction
        .prepare_cached("DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?1")?
        .execute([MAX_EVENTS])?;
    Ok(u64::try_from(cut).unwrap_or(0))
}

/// All events, in the order they were added.
pub(super) fn load(connection: &Connection) -> Result<Judged<SavedEvent>, StoreError> {
    unreadable_rows::judge(connection, "event", "SELECT at, body, seq FROM event ORDER BY seq", |row| {
        Ok(SavedEvent { at: Timestamp::from_millis(row.get(0)?), body: row.get(1)? })
    })
}
