//! The outbox on disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::OptionalExtension as _;
use rusqlite::Row;
use rusqlite::Transaction;
use rusqlite::TransactionBehavior;
use rusqlite::params;

use crate::model::Timestamp;
use crate::notify::outbox::Due;
use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;
use crate::notify::outbox::RowState;
use crate::notify::outbox::Verdict;
use crate::store::Store;
use crate::store::StoreError;

/// How many notifications may wait for one receiver. What comes on top is dead at once, and counted.
pub const MAX_PENDING: u32 = 10_000;

/// How long an episode that is over and told, or given up, is kept to be looked at.
pub const KEEP_SETTLED: Duration = Duration::from_secs(7 * 86_400);

/// How many such episodes one commit removes at most, so that a commit never takes long.
const PRUNE_BATCH: u32 = 500;

/// A row that no earlier row of the same alert and receiver waits before.
const IS_NEXT: &str = "state = 'pending' AND NOT EXISTS (
    SELECT 1 FROM outbox AS earlier
    WHERE earlier.receiver = outbox.receiver AND earlier.alert = outbox.alert
    AND earlier.state = 'pending' AND earlier.seq < outbox.seq)";

/// What waits for a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many notifications.
    pub pending: u32,
    /// When the oldest of them was made; `None` when there is none.
    pub oldest: Option<Timestamp>,
    /// Notifications that were given up and are still kept.
    pub dead: u32,
}

impl Store {
    /// See [`crate::notify::outbox::Outbox::due`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM outbox WHERE receiver = ?1 AND next_attempt_at <= ?2 AND {IS_NEXT}
             ORDER BY next_attempt_at, seq LIMIT ?3"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found = statement.query(params![receiver, now.millis(), limit])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        let next_at = self
            .connection
            .prepare_cached(&format!(
                "SELECT next_attempt_at FROM outbox WHERE receiver = ?1 AND next_attempt_at > ?2 AND {IS_NEXT}
                 ORDER BY next_attempt_at LIMIT 1"
            ))?
            .query_row(params![receiver, now.millis()], |row| row.get(0))
            .optional()?
            .map(Timestamp::from_millis);
        Ok(Due { rows, next_at })
    }

    /// See [`crate::notify::outbox::Outbox::settle`]. A row that is settled already stays as it is.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub fn settle(&mut self, id: &NotificationId, verdict: &Verdict) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match verdict {
            Verdict::Delivered { at } => transaction.execute(
                "UPDATE outbox SET state = 'delivered', settled_at = ?2, attempts = attempts + 1
                 WHERE id = ?1 AND state = 'pending'",
                params![id.as_str(), at.millis()],
            )?,
            Verdict::Later { next_attempt_at, error } => transaction.execute(
                "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3, attempts = attempts + 1
                 WHERE id = ?1 AND state = 'pending'",
                params![id.as_str(), next_attempt_at.millis(), error],
            )?,
            Verdict::Dead { at, error } => {
                transaction.execute(
                    "UPDATE outbox SET state = 'dead', settled_at = ?2, last_error = ?3, attempts = attempts + 1
                     WHERE id = ?1 AND state = 'pending'",
                    params![id.as_str(), at.millis(), error],
                )?;
                // A resolve of what was never told would only confuse.
                transaction.execute(
                    "UPDATE outbox SET state = 'dead', settled_at = ?2, last_error = 'its firing was not delivered'
                     WHERE kind = 'resolved' AND state = 'pending' AND (receiver, alert, episode) IN (
                         SELECT receiver, alert, episode FROM outbox
                         WHERE id = ?1 AND kind = 'fired' AND state = 'dead')",
                    params![id.as_str(), at.millis()],
                )?
            }
        };
        Ok(transaction.commit()?)
    }

    /// What waits, by receiver. A receiver that never had a notification is absent.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn backlog(&self) -> Result<BTreeMap<String, Backlog>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT receiver, count(*) FILTER (WHERE state = 'pending'),
                    min(created_at) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'dead')
             FROM outbox GROUP BY receiver",
        )?;
        let backlogs = statement.query_map([], |row| {
            let backlog = Backlog {
                pending: row.get(1)?,
                oldest: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
                dead: row.get(3)?,
            };
            Ok((row.get(0)?, backlog))
        })?;
        Ok(backlogs.collect::<Result<_, _>>()?)
    }

    /// Gives up what waits for receivers that are not configured any more, and says how many rows that were. To be
    /// called at start, or they would be counted as pending for ever.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn keep_receivers(&mut self, receivers: &BTreeSet<String>, now: Timestamp) -> Result<u64, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let given_up = transaction.execute(
            "UPDATE outbox SET state = 'dead', settled_at = ?1, last_error = 'the receiver is not configured any more'
             WHERE state = 'pending' AND receiver NOT IN (SELECT value FROM json_each(?2))",
            params![now.millis(), serde_json::to_string(receivers)?],
        )?;
        transaction.commit()?;
        Ok(u64::try_from(given_up).unwrap_or(0))
    }

    /// All rows of the outbox, in the order in which they were written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        let mut statement = self.connection.prepare(&format!("SELECT {COLUMNS} FROM outbox ORDER BY seq"))?;
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(read(row)?);
        }
        Ok(rows)
    }
}

/// Adds rows and says how many of them found no room. A row that is there already stays as it is, so that a commit can
/// be tried again. A resolve follows its firing: absent or dead, there is nothing to resolve.
pub(super) fn insert(transaction: &Transaction<'_>, rows: &[OutboxRow], at: Timestamp) -> Result<u64, StoreError> {
    let mut waiting = BTreeMap::new();
    let mut over_limit = 0;
    for row in rows {
        let dead = |reason: &str| (RowState::Dead { at }, Some(reason.to_owned()));
        let (state, last_error) = match fate(transaction, row)? {
            Fate::Known | Fate::NeverTold => continue,
            Fate::FiringDead => dead("its firing was not delivered"),
            // A resolve always finds room: there is no more than one per firing.
            Fate::Queue if row.kind() == Kind::Fired && !has_room(transaction, row, &mut waiting)? => {
                over_limit += 1;
                dead("too many notifications wait for the receiver")
            }
            Fate::Queue => (row.state, row.last_error.clone()),
        };
        write(transaction, &OutboxRow { state, last_error, ..row.clone() })?;
    }
    Ok(over_limit)
}

/// Removes episodes that are over and settled for longer than [`KEEP_SETTLED`].
pub(super) fn prune(transaction: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "DELETE FROM outbox WHERE state <> 'pending' AND (receiver, alert, episode) IN (
                 SELECT receiver, alert, episode FROM outbox
                 WHERE kind = 'resolved' AND settled_at IS NOT NULL AND settled_at < ?1
                 ORDER BY settled_at LIMIT ?2)",
        )?
        .execute(params![(now - KEEP_SETTLED).millis(), PRUNE_BATCH])?;
    Ok(())
}

/// What is to become of a new row.
enum Fate {
    /// It is there already.
    Known,
    /// It is a resolve of a firing that the receiver was never to be told of.
    NeverTold,
    /// It is a resolve of a firing that was given up.
    FiringDead,
    /// To be delivered.
    Queue,
}

fn fate(transaction: &Transaction<'_>, row: &OutboxRow) -> Result<Fate, StoreError> {
    let known = transaction.prepare_cached("SELECT 1 FROM outbox WHERE id = ?1")?.exists([row.id.as_str()])?;
    if known {
        return Ok(Fate::Known);
    }
    if row.kind() == Kind::Fired {
        return Ok(Fate::Queue);
    }
    let firing: Option<String> = transaction
        .prepare_cached(
            "SELECT state FROM outbox WHERE receiver = ?1 AND alert = ?2 AND episode = ?3 AND kind = 'fired'",
        )?
        .query_row(params![row.receiver, row.alert().as_str(), row.episode().millis()], |row| row.get(0))
        .optional()?;
    Ok(match firing.as_deref() {
        None => Fate::NeverTold,
        Some("dead") => Fate::FiringDead,
        Some(_) => Fate::Queue,
    })
}

fn has_room<'a>(
    transaction: &Transaction<'_>,
    row: &'a OutboxRow,
    waiting: &mut BTreeMap<&'a str, u32>,
) -> Result<bool, StoreError> {
    if !waiting.contains_key(row.receiver.as_str()) {
        let pending = transaction
            .prepare_cached("SELECT count(*) FROM outbox WHERE receiver = ?1 AND state = 'pending'")?
            .query_row([&row.receiver], |row| row.get(0))?;
        waiting.insert(&row.receiver, pending);
    }
    let pending = waiting.entry(&row.receiver).or_default();
    let room = *pending < MAX_PENDING;
    *pending += u32::from(room);
    Ok(room)
}

fn write(transaction: &Transaction<'_>, row: &OutboxRow) -> Result<(), StoreError> {
    let (state, settled_at) = match row.state {
        RowState::Pending => ("pending", None),
        RowState::Delivered { at } => ("delivered", Some(at.millis())),
        RowState::Dead { at } => ("dead", Some(at.millis())),
    };
    transaction
        .prepare_cached(
            "INSERT INTO outbox (id, receiver, body, created_at, attempts, next_attempt_at, last_error, state,
                                 settled_at, alert, episode, kind)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            row.id.as_str(),
            row.receiver,
            serde_json::to_string(&row.transition)?,
            row.created_at.millis(),
            row.attempts,
            row.next_attempt_at.millis(),
            row.last_error,
            state,
            settled_at,
            row.alert().as_str(),
            row.episode().millis(),
            row.kind().as_str(),
        ])?;
    Ok(())
}

const COLUMNS: &str =
    "id, receiver, body, created_at, attempts, next_attempt_at, last_error, state, coalesce(settled_at, 0)";

fn read(row: &Row<'_>) -> Result<OutboxRow, StoreError> {
    let at = Timestamp::from_millis(row.get(8)?);
    let state = match row.get::<_, String>(7)?.as_str() {
        "delivered" => RowState::Delivered { at },
        "dead" => RowState::Dead { at },
        _ => RowState::Pending,
    };
    Ok(OutboxRow {
        id: NotificationId::stored(row.get(0)?),
        receiver: row.get(1)?,
        transition: serde_json::from_str(&row.get::<_, String>(2)?)?,
        created_at: Timestamp::from_millis(row.get(3)?),
        attempts: row.get(4)?,
        next_attempt_at: Timestamp::from_millis(row.get(5)?),
        last_error: row.get(6)?,
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::AlertId;
    use crate::evaluate::AlertState;
    use crate::evaluate::Ending;
    use crate::evaluate::TransitionKind;
    use crate::notify::sample;
    use crate::store::Commit;

    const FIRED: TransitionKind = TransitionKind::Fired;
    const RESOLVED: TransitionKind = TransitionKind::Resolved(Ending::Recovered);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// A row of alert `alert`, whose episode began at second `episode`.
    fn row(alert: &str, episode: i64, kind: TransitionKind) -> OutboxRow {
        let mut row = sample::row(kind);
        row.transition.alert.id = AlertId::of(alert, &BTreeMap::new());
        row.transition.alert.state =
            AlertState::Firing { active_at: at(episode), fired_at: at(episode), keep_since: None };
        row.id = NotificationId::of(&row.transition, &row.receiver);
        OutboxRow { created_at: at(0), next_attempt_at: at(0), ..row }
    }

    fn store_with(rows: &[OutboxRow]) -> Store {
        let mut store = Store::in_memory().unwrap();
        commit(&mut store, rows, 0);
        store
    }

    fn commit(store: &mut Store, rows: &[OutboxRow], seconds: i64) -> u64 {
        let commit = Commit { at: at(seconds), outbox: rows.to_vec(), ..Commit::default() };
        store.commit(&commit).unwrap().over_limit
    }

    fn due(store: &Store, seconds: i64) -> Vec<NotificationId> {
        store.due("oncall", at(seconds), 100).unwrap().rows.into_iter().map(|row| row.id).collect()
    }

    fn delivered(store: &mut Store, row: &OutboxRow, seconds: i64) {
        store.settle(&row.id, &Verdict::Delivered { at: at(seconds) }).unwrap();
    }

    fn later(store: &mut Store, row: &OutboxRow, seconds: i64) {
        let verdict = Verdict::Later { next_attempt_at: at(seconds), error: "down".to_owned() };
        store.settle(&row.id, &verdict).unwrap();
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        let rows = [row("a", 1, FIRED), row("b", 1, FIRED), row("a", 1, RESOLVED)];
        assert_eq!(store_with(&rows).outbox().unwrap(), rows);
    }

    #[test]
    fn a_resolve_waits_for_its_firing_and_blocks_no_other_alert() {
        let (fired, resolved, other) = (row("a", 1, FIRED), row("a", 1, RESOLVED), row("b", 2, FIRED));
        let mut store = store_with(&[fired.clone(), resolved.clone(), other.clone()]);
        assert_eq!(due(&store, 1), [fired.id.clone(), other.id.clone()]);
        later(&mut store, &fired, 60);
        assert_eq!(due(&store, 1), std::slice::from_ref(&other.id));
        assert_eq!(store.due("oncall", at(1), 100).unwrap().next_at, Some(at(60)));
        assert_eq!(due(&store, 60), [other.id.clone(), fired.id.clone()]);
        delivered(&mut store, &fired, 61);
        assert_eq!(due(&store, 61), [resolved.id.clone(), other.id.clone()]);
        delivered(&mut store, &resolved, 62);
        delivered(&mut store, &other, 62);
        assert_eq!(store.due("oncall", at(99), 100).unwrap(), Due::default());
    }

    #[test]
    fn the_next_episode_waits_for_the_resolve_of_the_last() {
        let rows = [row("a", 1, FIRED), row("a", 1, RESOLVED), row("a", 2, FIRED), row("a", 2, RESOLVED)];
        let mut store = store_with(&rows);
        for row in &rows {
            assert_eq!(due(&store, 5), std::slice::from_ref(&row.id));
            delivered(&mut store, row, 5);
        }
    }

    #[test]
    fn a_commit_that_is_tried_again_doubles_nothing_and_revives_nothing() {
        let fired = row("a", 1, FIRED);
        let mut store = store_with(std::slice::from_ref(&fired));
        delivered(&mut store, &fired, 2);
        commit(&mut store, std::slice::from_ref(&fired), 3);
        let rows = store.outbox().unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].state, RowState::Delivered { at: at(2) });
        later(&mut store, &fired, 9);
        assert_eq!(store.outbox().unwrap(), rows, "settled is settled");
    }

    #[test]
    fn a_receiver_hears_no_resolve_of_what_it_was_not_told() {
        let (fired, resolved) = (row("a", 1, FIRED), row("a", 1, RESOLVED));
        let dead = Verdict::Dead { at: at(5), error: "gone".to_owned() };
        // The resolve is there when the firing dies, or comes after, or there never was a firing.
        let mut before = store_with(&[fired.clone(), resolved.clone()]);
        before.settle(&fired.id, &dead).unwrap();
        let mut after = store_with(std::slice::from_ref(&fired));
        after.settle(&fired.id, &dead).unwrap();
        commit(&mut after, std::slice::from_ref(&resolved), 6);
        for (store, died_at) in [(before, 5), (after, 6)] {
            assert!(due(&store, 99).is_empty());
            let rows = store.outbox().unwrap();
            assert_eq!(rows[1].state, RowState::Dead { at: at(died_at) });
            assert_eq!(rows[1].last_error.as_deref(), Some("its firing was not delivered"));
        }
        assert!(store_with(&[resolved]).outbox().unwrap().is_empty());
    }

    #[test]
    fn the_backlog_counts_what_waits_and_what_was_given_up() {
        let (a, b, mut c) = (row("a", 1, FIRED), row("b", 1, FIRED), row("c", 1, FIRED));
        c.created_at = at(-30);
        let mut store = store_with(&[a.clone(), b.clone(), c]);
        delivered(&mut store, &a, 1);
        store.settle(&b.id, &Verdict::Dead { at: at(1), error: String::new() }).unwrap();
        let expected = Backlog { pending: 1, oldest: Some(at(-30)), dead: 1 };
        assert_eq!(store.backlog().unwrap(), BTreeMap::from([("oncall".to_owned(), expected)]));
        let kept = BTreeSet::from(["someone else".to_owned()]);
        assert_eq!(store.keep_receivers(&kept, at(2)).unwrap(), 1);
        let expected = Backlog { pending: 0, oldest: None, dead: 2 };
        assert_eq!(store.backlog().unwrap()["oncall"], expected);
    }

    #[test]
    fn only_episodes_that_are_long_over_are_removed() {
        let rows = [row("over", 1, FIRED), row("over", 1, RESOLVED), row("firing", 1, FIRED), row("late", 1, FIRED)];
        let mut store = store_with(&rows);
        for row in &rows[..3] {
            delivered(&mut store, row, 10);
        }
        let keep = i64::try_from(KEEP_SETTLED.as_secs()).unwrap();
        commit(&mut store, &[], 10 + keep);
        assert_eq!(store.outbox().unwrap().len(), 4);
        commit(&mut store, &[], 11 + keep);
        let left: Vec<_> = store.outbox().unwrap().into_iter().map(|row| row.id).collect();
        assert_eq!(left, [rows[2].id.clone(), rows[3].id.clone()]);
    }

    #[test]
    fn an_outbox_that_is_full_takes_resolves_but_no_further_firings() {
        let limit = i64::from(MAX_PENDING);
        let rows: Vec<_> = (0..limit + 2).map(|episode| row("a", episode, FIRED)).collect();
        let mut store = Store::in_memory().unwrap();
        assert_eq!(commit(&mut store, &rows, 0), 2);
        assert_eq!(commit(&mut store, &[row("a", 0, RESOLVED), row("a", limit, RESOLVED)], 1), 0);
        let backlog = store.backlog().unwrap()["oncall"];
        assert_eq!((backlog.pending, backlog.dead), (MAX_PENDING + 1, 3));
    }
}
