//! The outbox on disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::Row;
use rusqlite::params;

use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;
use crate::notify::outbox::RowState;
use crate::notify::outbox::Verdict;
use crate::notify::outbox::trouble;
use crate::notify::outbox::trouble_id;
use crate::store::BadRow;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::outbox_due;
use crate::store::unreadable_rows;
use crate::store::unreadable_rows::Judged;
use trainspotter_core::model::Timestamp;

/// Maximum pending notifications per receiver. Further ones become dead letters at once, and are counted.
pub const MAX_PENDING: u32 = 10_000;

/// Retention of settled episodes.
pub const KEEP_SETTLED: Duration = Duration::from_secs(7 * 86_400);

/// Maximum settled episodes removed per commit, to keep commits short.
const PRUNE_BATCH: u32 = 500;

/// Backlog of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Number of pending notifications.
    pub pending: u32,
    /// When the oldest of them was created; `None` without any.
    pub oldest: Option<Timestamp>,
    /// Number of stored dead letters.
    pub dead: u32,
}

impl Store {
    /// See [`crate::notify::outbox::Outbox::settle`]. A settled row is not changed.
    ///
    /// # Errors
    /// Nothing was recorded.
    pub fn settle(&mut self, id: &NotificationId, verdict: &Verdict, others: &[String]) -> Result<(), StoreError> {
        self.transact(|transaction| settle(transaction, id, verdict, others))
    }

    /// Backlog by receiver. Receivers that never had a notification are absent.
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

    /// Gives up notifications older than `older_than` for receivers that are no longer configured, and returns the
    /// number of rows. Call it at the start; otherwise they would count as pending forever.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn keep_receivers(
        &mut self,
        receivers: &BTreeSet<String>,
        older_than: Duration,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let given_up = self.transact(|transaction| {
            Ok(transaction.execute(
                "UPDATE outbox SET state = 'dead', settled_at = ?1, last_error = 'the receiver is not configured any more'
                 WHERE state = 'pending' AND receiver NOT IN (SELECT value FROM json_each(?2)) AND created_at <= ?3",
                params![now.millis(), serde_json::to_string(receivers)?, (now - older_than).millis()],
            )?)
        })?;
        Ok(u64::try_from(given_up).unwrap_or(0))
    }

    /// All readable rows of the outbox in order of creation, and the unreadable ones.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn outbox_and_bad_rows(&self) -> Result<(Vec<OutboxRow>, Vec<BadRow>), StoreError> {
        let sql = format!("SELECT {COLUMNS}, seq FROM outbox ORDER BY seq");
        let Judged { good, bad } = unreadable_rows::judge(&self.connection, "outbox", &sql, read)?;
        Ok((good, bad))
    }

    /// All readable rows of the outbox, in order of creation.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        Ok(self.outbox_and_bad_rows()?.0)
    }
}

/// Why a resolve is not sent after its firing was given up.
const FIRING_NOT_DELIVERED: &str = "its firing notification was not delivered";

fn settle(
    transaction: &Connection,
    id: &NotificationId,
    verdict: &Verdict,
    others: &[String],
) -> Result<(), StoreError> {
    let receiver: Option<String> = transaction
        .prepare_cached("SELECT receiver FROM outbox WHERE id = ?1 AND state = 'pending'")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    let Some(receiver) = receiver else { return Ok(()) };
    let together = outbox_due::company(transaction, id)?;
    settle_one(transaction, id, verdict)?;
    for other in together {
        settle_one(transaction, &other.id, verdict)?;
    }
    match verdict {
        Verdict::Delivered { at, .. } => report_trouble(transaction, &receiver, Kind::Resolved, *at, "", others),
        Verdict::Later { at, error, trouble: true, .. } => {
            report_trouble(transaction, &receiver, Kind::Fired, *at, error, others)
        }
        Verdict::Later { .. } | Verdict::Held { .. } | Verdict::Muted { .. } | Verdict::Dead { .. } => Ok(()),
    }
}

fn settle_one(transaction: &Connection, id: &NotificationId, verdict: &Verdict) -> Result<(), StoreError> {
    match verdict {
        Verdict::Delivered { at, reference } => {
            transaction.execute(
                "UPDATE outbox SET state = 'delivered', settled_at = ?2, attempts = attempts + 1,
                        reference = coalesce(?3, reference) WHERE id = ?1",
                params![id.as_str(), at.millis(), reference],
            )?;
        }
        Verdict::Later { next_attempt_at, error, apart, .. } => {
            transaction.execute(
                "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3, attempts = attempts + 1,
                        told_with = CASE WHEN ?4 THEN NULL ELSE told_with END WHERE id = ?1",
                params![id.as_str(), next_attempt_at.millis(), error, apart],
            )?;
        }
        Verdict::Held { next_attempt_at, because } => {
            transaction.execute(
                "UPDATE outbox SET next_attempt_at = ?2, last_error = ?3 WHERE id = ?1",
                params![id.as_str(), next_attempt_at.millis(), because],
            )?;
        }
        Verdict::Muted { at, because } => {
            end(transaction, id, "muted", *at, because)?;
            end_resolve(transaction, id, "muted", *at, because)?;
        }
        Verdict::Dead { at, error } => {
            transaction.execute("UPDATE outbox SET attempts = attempts + 1 WHERE id = ?1", [id.as_str()])?;
            end(transaction, id, "dead", *at, error)?;
            // A resolve of an alert that was never sent would only confuse.
            end_resolve(transaction, id, "dead", *at, FIRING_NOT_DELIVERED)?;
        }
    }
    Ok(())
}

fn end(transaction: &Connection, id: &NotificationId, state: &str, at: Timestamp, why: &str) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE outbox SET state = ?2, settled_at = ?3, last_error = ?4 WHERE id = ?1 AND state = 'pending'",
        params![id.as_str(), state, at.millis(), why],
    )?;
    Ok(())
}

/// Settles the resolve of the same episode, if the row is a firing and no other firing was or may still be sent.
fn end_resolve(
    transaction: &Connection,
    id: &NotificationId,
    state: &str,
    at: Timestamp,
    why: &str,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE outbox SET state = ?2, settled_at = ?3, last_error = ?4
         WHERE kind = 'resolved' AND state = 'pending' AND (receiver, alert, episode) IN (
             SELECT receiver, alert, episode FROM outbox WHERE id = ?1 AND kind = 'fired')
         AND NOT EXISTS (
             SELECT 1 FROM outbox AS sent WHERE sent.receiver = outbox.receiver AND sent.alert = outbox.alert
             AND sent.episode = outbox.episode AND sent.kind = 'fired' AND sent.state IN ('pending', 'delivered'))",
        params![id.as_str(), state, at.millis(), why],
    )?;
    Ok(())
}

/// Notifies the other receivers once that one is failing; or that it has recovered, if they were notified.
pub(super) fn report_trouble(
    transaction: &Connection,
    receiver: &str,
    kind: Kind,
    at: Timestamp,
    error: &str,
    others: &[String],
) -> Result<(), StoreError> {
    for other in others.iter().filter(|other| *other != receiver) {
        let reported: Option<i64> = transaction
            .prepare_cached(
                "SELECT episode FROM outbox WHERE receiver = ?1 AND alert = ?2
                 GROUP BY episode HAVING min(kind) = 'fired' AND max(kind) = 'fired'",
            )?
            .query_row(params![other, trouble_id(receiver).as_str()], |row| row.get(0))
            .optional()?;
        let since = match (kind, reported) {
            (Kind::Fired, None) => at,
            (Kind::Resolved, Some(since)) => Timestamp::from_millis(since),
            (Kind::Fired, Some(_)) | (Kind::Resolved, None) => continue,
        };
        insert(transaction, &trouble(receiver, kind, since, at, error, std::slice::from_ref(other)), at)?;
    }
    Ok(())
}

/// Adds rows and returns how many found no room. Existing rows are not changed, so that a commit can be retried. A
/// resolve follows its firing: if that is absent or dead, there is nothing to resolve.
pub(super) fn insert(transaction: &Connection, rows: &[OutboxRow], at: Timestamp) -> Result<u64, StoreError> {
    let mut waiting = BTreeMap::new();
    let mut over_limit = 0;
    for row in rows {
        let dead = |reason: &str| (RowState::Dead { at }, Some(reason.to_owned()));
        let (state, last_error) = match fate(transaction, row)? {
            Fate::Known | Fate::NeverSent => continue,
            Fate::FiringDead => dead(FIRING_NOT_DELIVERED),
            // A resolve always finds room: there is at most one per firing.
            Fate::Queue if row.kind() == Kind::Fired && !has_room(transaction, row, &mut waiting)? => {
                over_limit += 1;
                dead("the receiver has too many pending notifications")
            }
            Fate::Queue => (row.state, row.last_error.clone()),
        };
        match write(transaction, &OutboxRow { state, last_error, ..row.clone() }) {
            Err(error @ StoreError::Value(_)) => {
                tracing::error!(
                    id = %row.id,
                    receiver = row.receiver,
                    %error,
                    "cannot store a notification; it is dropped"
                );
            }
            written => written?,
        }
    }
    Ok(over_limit)
}

/// Removes episodes that have been settled for longer than [`KEEP_SETTLED`].
pub(super) fn prune(transaction: &Connection, now: Timestamp) -> Result<(), StoreError> {
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

/// What to do with a new row.
enum Fate {
    /// Skip: the row exists.
    Known,
    /// Skip: a resolve of a firing that was never meant for the receiver.
    NeverSent,
    /// Settle: a resolve of a firing that was given up.
    FiringDead,
    /// Queue for delivery.
    Queue,
}

fn fate(transaction: &Connection, row: &OutboxRow) -> Result<Fate, StoreError> {
    let known = transaction.prepare_cached("SELECT 1 FROM outbox WHERE id = ?1")?.exists([row.id.as_str()])?;
    if known {
        return Ok(Fate::Known);
    }
    if row.kind() == Kind::Fired {
        // Skip a reminder while the firing or another reminder is pending, or if the firing was sent after the
        // reminder became due.
        return Ok(if row.while_firing && is_reported(transaction, row)? { Fate::Known } else { Fate::Queue });
    }
    let firing: Option<String> = transaction
        .prepare_cached(
            "SELECT state FROM outbox WHERE receiver = ?1 AND alert = ?2 AND episode = ?3 AND kind = 'fired'
             ORDER BY CASE state WHEN 'delivered' THEN 1 WHEN 'pending' THEN 2 WHEN 'dead' THEN 3 ELSE 4 END LIMIT 1",
        )?
        .query_row(params![row.receiver, row.alert().as_str(), row.episode().millis()], |row| row.get(0))
        .optional()?;
    Ok(match firing.as_deref() {
        None => Fate::NeverSent,
        // Muted together with its resolve, so this row is of another kind: nothing to resolve either.
        Some("muted") => Fate::NeverSent,
        Some("dead") => Fate::FiringDead,
        Some(_) => Fate::Queue,
    })
}

/// Whether the firing is pending, or was sent since this reminder became due.
fn is_reported(transaction: &Connection, row: &OutboxRow) -> Result<bool, StoreError> {
    let mut reported = transaction.prepare_cached(
        "SELECT 1 FROM outbox WHERE receiver = ?1 AND alert = ?2 AND episode = ?3 AND kind = 'fired'
         AND (state = 'pending' OR state = 'delivered' AND settled_at >= ?4)",
    )?;
    let due = row.transition.at.millis();
    Ok(reported.exists(params![row.receiver, row.alert().as_str(), row.episode().millis(), due])?)
}

fn has_room<'a>(
    transaction: &Connection,
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

fn write(transaction: &Connection, row: &OutboxRow) -> Result<(), StoreError> {
    let (state, settled_at) = match row.state {
        RowState::Pending => ("pending", None),
        RowState::Delivered { at } => ("delivered", Some(at.millis())),
        RowState::Dead { at } => ("dead", Some(at.millis())),
        RowState::Muted { at } => ("muted", Some(at.millis())),
    };
    transaction
        .prepare_cached(
            "INSERT INTO outbox (id, receiver, body, created_at, attempts, next_attempt_at, last_error, state,
                                 settled_at, alert, episode, kind, while_firing)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
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
            row.while_firing,
        ])?;
    Ok(())
}

/// Rows with a next attempt later than this after their creation are corrupt.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 86_400);

/// All rows of the outbox, checked for consistency: if columns contradict each other, the row is corrupt.
pub(super) fn judged(connection: &Connection, now: Timestamp) -> Result<Judged<OutboxRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS}, seq, alert, episode, kind FROM outbox ORDER BY seq");
    unreadable_rows::judge(connection, "outbox", &sql, |found| {
        let row = read(found)?;
        let (alert, episode, kind): (String, i64, String) = (found.get(13)?, found.get(14)?, found.get(15)?);
        let wrong = |what: &str| Err(StoreError::Value(format!("its {what} changed after it was written")));
        // Ids of reminders depend on more.
        if !row.while_firing && row.id != NotificationId::of(&row.transition, &row.receiver) {
            return wrong("id, receiver or body");
        }
        if alert != row.alert().as_str() || episode != row.episode().millis() || kind != row.kind().as_str() {
            return wrong("alert, episode or kind");
        }
        if row.created_at > now + LONGEST_WAIT || row.next_attempt_at > row.created_at.max(now) + LONGEST_WAIT {
            return wrong("time");
        }
        Ok(row)
    })
}

/// Columns read by [`read`].
pub(super) const COLUMNS: &str =
    "id, receiver, body, created_at, attempts, next_attempt_at, last_error, state, coalesce(settled_at, 0),
     (SELECT firing.reference FROM outbox AS firing WHERE firing.receiver = outbox.receiver
      AND firing.alert = outbox.alert AND firing.episode = outbox.episode AND firing.kind = 'fired'
      ORDER BY firing.reference IS NULL, firing.seq DESC LIMIT 1), while_firing, begun_at";

pub(super) fn read(row: &Row<'_>) -> Result<OutboxRow, StoreError> {
    let at = Timestamp::from_millis(row.get(8)?);
    let state = match row.get::<_, String>(7)?.as_str() {
        "delivered" => RowState::Delivered { at },
        "dead" => RowState::Dead { at },
        "muted" => RowState::Muted { at },
        "pending" => RowState::Pending,
        other => return Err(StoreError::Value(format!("there is no state {other:?}"))),
    };
    Ok(OutboxRow {
        id: NotificationId::stored(row.get(0)?),
        receiver: row.get(1)?,
        transition: serde_json::from_str(&row.get::<_, String>(2)?)?,
        created_at: Timestamp::from_millis(row.get(3)?),
        attempts: row.get(4)?,
        next_attempt_at: Timestamp::from_millis(row.get(5)?),
        last_error: row.get(6)?,
        reference: row.get(9)?,
        while_firing: row.get(10)?,
        begun_at: row.get::<_, Option<i64>>(11)?.map(Timestamp::from_millis),
        together: Vec::new(),
        state,
    })
}

#[cfg(test)]
mod tests;
