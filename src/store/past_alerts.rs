//! History of alerts: when each fired and how it was resolved. Kept longer than the alerts themselves, for links in
//! old messages and marks in charts.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::Row;
use rusqlite::params;

use crate::store::StoreError;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{KEEP_ENDED, Transition, TransitionKind};

/// Maximum alerts; those that fired first are removed first.
pub const MAX_PAST_ALERTS: u32 = 50_000;

/// Maximum rows removed per commit, to keep commits short.
const PRUNE_BATCH: u32 = 500;

/// Maximum episodes read per alert: the latest.
const MAX_EPISODES: u32 = 200;

/// Records transitions. Idempotent. Returns how many past alerts were removed early, for lack of room.
pub(super) fn record(transaction: &Connection, transitions: &[Transition], now: Timestamp) -> Result<u64, StoreError> {
    let mut fired = transaction.prepare_cached(
        "INSERT OR IGNORE INTO past_alert (alert, fired_at, queue, share, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut ended = transaction.prepare_cached(
        "INSERT INTO past_alert (alert, fired_at, queue, share, ended_at, body) VALUES (?1, ?2, ?3, ?4, ?6, ?5)
         ON CONFLICT (alert, fired_at) DO UPDATE SET ended_at = excluded.ended_at, body = excluded.body",
    )?;
    for transition in transitions {
        let alert = &transition.alert;
        let label = |name: &str| alert.by.get(name).cloned().unwrap_or_default();
        let fired_at = alert.state.fired_at().unwrap_or(transition.at).millis();
        // An alert that cannot be serialized is missing in the history; everything else is still stored.
        let Ok(body) = serde_json::to_string(transition) else { continue };
        let (id, queue, share) = (alert.id.as_str(), label("queue"), label("share"));
        match transition.kind {
            TransitionKind::Fired => fired.execute(params![id, fired_at, queue, share, body])?,
            TransitionKind::Resolved(_) => {
                ended.execute(params![id, fired_at, queue, share, body, transition.at.millis()])?
            }
        };
    }
    transaction
        .prepare_cached(
            "DELETE FROM past_alert WHERE rowid IN (
                 SELECT rowid FROM past_alert WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)",
        )?
        .execute(params![(now - KEEP_ENDED).millis(), PRUNE_BATCH])?;
    let mut cut = 0;
    if !transitions.is_empty() {
        cut = transaction
            .prepare_cached(
                "DELETE FROM past_alert WHERE rowid IN (
                     SELECT rowid FROM past_alert ORDER BY fired_at DESC LIMIT ?2 OFFSET ?1)",
            )?
            .execute(params![MAX_PAST_ALERTS, PRUNE_BATCH])?;
    }
    Ok(u64::try_from(cut).unwrap_or(0))
}

/// Reads the history of alerts while a service writes it.
#[derive(Debug)]
pub struct PastAlerts {
    connection: Connection,
}

impl PastAlerts {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another program.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).map_err(StoreError::from);
        Ok(Self { connection: opened.map_err(|error| error.at(path))? })
    }

    /// The episodes of an alert, as it fired or as it was resolved: latest first. Unreadable rows are skipped.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(&self, alert: &str) -> Result<Vec<Transition>, StoreError> {
        let mut found = self.connection.prepare_cached(&format!(
            "SELECT body FROM past_alert WHERE alert = ?1 ORDER BY fired_at DESC LIMIT {MAX_EPISODES}"
        ))?;
        let found = found.query_map([alert], |row| Ok(transition(row)))?;
        readable(found)
    }

    /// At most `limit` alerts that were firing between two times, latest first; of a queue, and of a share or of
    /// all shares together, if given.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn between(
        &self,
        (from, to): (Timestamp, Timestamp),
        queue: Option<&str>,
        share: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Transition>, StoreError> {
        let mut found = self.connection.prepare_cached(
            "SELECT body FROM past_alert WHERE fired_at <= ?2 AND (ended_at IS NULL OR ended_at >= ?1)
             AND (?3 IS NULL OR queue = ?3) AND (?4 IS NULL OR share = ?4 OR share = '')
             ORDER BY fired_at DESC LIMIT ?5",
        )?;
        let found =
            found.query_map(params![from.millis(), to.millis(), queue, share, limit], |row| Ok(transition(row)))?;
        readable(found)
    }

    /// At most `limit` resolved alerts, latest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn ended(&self, limit: u32) -> Result<Vec<Transition>, StoreError> {
        let mut found = self
            .connection
            .prepare_cached("SELECT body FROM past_alert WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT ?1")?;
        let found = found.query_map([limit], |row| Ok(transition(row)))?;
        readable(found)
    }
}

fn transition(row: &Row<'_>) -> Result<Transition, StoreError> {
    Ok(serde_json::from_str(&row.get::<_, String>(0)?)?)
}

fn readable<T>(
    found: impl Iterator<Item = Result<Result<T, StoreError>, rusqlite::Error>>,
) -> Result<Vec<T>, StoreError> {
    let mut good = Vec::new();
    for row in found {
        good.extend(row?.ok());
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample_alerts;
    use crate::store::{Commit, Store};
    use trainspotter_core::rules::{AlertState, ResolveReason};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
    }

    fn happened(kind: TransitionKind, fired: i64, when: i64) -> Transition {
        let mut transition = sample_alerts::row(kind).transition;
        transition.alert.state =
            AlertState::Firing { active_at: at(fired - 60), fired_at: at(fired), keep_since: None };
        Transition { at: at(when), ..transition }
    }

    fn commit(store: &mut Store, seconds: i64, transitions: Vec<Transition>) {
        store.commit(&Commit { at: at(seconds), transitions, ..Commit::default() }).unwrap();
    }

    #[test]
    fn an_alert_that_has_ended_is_still_known_by_its_id_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = Store::open(&path, at(0)).unwrap().0;
        let recovered = TransitionKind::Resolved(ResolveReason::Recovered);
        let first = happened(TransitionKind::Fired, 100, 100);
        commit(&mut store, 100, vec![first.clone()]);
        // A retried commit.
        commit(&mut store, 130, vec![first.clone()]);
        let ended = happened(recovered, 100, 400);
        commit(&mut store, 400, vec![ended.clone()]);
        let again = happened(TransitionKind::Fired, 900, 900);
        commit(&mut store, 900, vec![again.clone()]);

        let past = PastAlerts::open(&path).unwrap();
        let id = first.alert.id.as_str();
        assert_eq!(past.of(id).unwrap(), [again.clone(), ended.clone()]);
        assert!(past.of("0123456789abcdef").unwrap().is_empty());
        assert_eq!(past.ended(10).unwrap(), std::slice::from_ref(&ended));
        let between = |from, to, queue, share| past.between((at(from), at(to)), queue, share, 10).unwrap();
        assert_eq!(between(0, 99, None, None), []);
        assert_eq!(between(0, 200, None, None), std::slice::from_ref(&ended));
        assert_eq!(between(300, 1_000, Some("prod-a"), Some("research")), [again.clone(), ended.clone()]);
        assert_eq!(between(500, 800, None, None), []);
        assert_eq!(between(950, 2_000, Some("prod-a"), None), [again]);
        assert_eq!(between(0, 2_000, Some("prod-b"), None), []);
        assert_eq!(between(0, 2_000, Some("prod-a"), Some("vision")), []);
    }

    #[test]
    fn what_ended_long_ago_is_forgotten_and_what_fires_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = Store::open(&path, at(0)).unwrap().0;
        let recovered = TransitionKind::Resolved(ResolveReason::Recovered);
        let fires = happened(TransitionKind::Fired, 300, 300);
        commit(&mut store, 400, vec![happened(recovered, 100, 200), fires.clone()]);
        let id = fires.alert.id.as_str();
        let days = |days: i64| days * 86_400;
        commit(&mut store, 100 + days(30), Vec::new());
        assert_eq!(PastAlerts::open(&path).unwrap().of(id).unwrap().len(), 2);
        commit(&mut store, 300 + days(30), Vec::new());
        assert_eq!(PastAlerts::open(&path).unwrap().of(id).unwrap(), [fires]);
    }
}
