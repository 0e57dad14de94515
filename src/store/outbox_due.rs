//! Selects which rows of the outbox are sent now, and which are grouped.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::Row;
use rusqlite::params;

use crate::notify::outbox::Due;
use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::outbox::COLUMNS;
use crate::store::outbox::read;
use crate::store::unreadable_rows;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// Maximum rows considered together for a receiver that groups alerts.
const MAX_TO_GROUP: u32 = 1_000;

/// SQL condition: the row is alone or leads a group, but is not led. The leader must be pending too.
fn on_its_own(row: &str) -> String {
    format!(
        "NOT EXISTS (SELECT 1 FROM outbox AS leader WHERE leader.id = {row}.told_with AND leader.state = 'pending')"
    )
}

/// SQL condition: the row is pending, and no earlier row of the same alert and receiver is `in_the_way`.
fn is_next(in_the_way: &str) -> String {
    format!(
        "state = 'pending' AND {} AND NOT EXISTS (
             SELECT 1 FROM outbox AS earlier
             WHERE earlier.receiver = outbox.receiver AND earlier.alert = outbox.alert
             AND earlier.state = 'pending' AND earlier.seq < outbox.seq AND {in_the_way})",
        on_its_own("outbox")
    )
}

/// For separate messages, every earlier row is in the way.
fn is_next_alone() -> String {
    is_next("TRUE")
}

/// For grouped messages, only earlier rows that are not due at `?2`, or were begun without this one, are in the
/// way.
fn is_next_together() -> String {
    let alone = on_its_own("earlier");
    is_next(&format!("(earlier.next_attempt_at > ?2 OR earlier.begun_at IS NOT NULL OR NOT {alone})"))
}

/// SQL condition: the row is due at `?2`. A row written while the clock was ahead does not wait for that time: it
/// is due if it was never attempted, or if its next attempt is later than any retry could be. Escalations and
/// reminders are created for a later time.
fn is_due() -> String {
    let hour = Duration::from_hours(1).as_millis();
    format!(
        "(next_attempt_at <= ?2
          OR (created_at > ?2 AND NOT while_firing AND (next_attempt_at = created_at OR next_attempt_at > ?2 + {hour})))"
    )
}

impl Store {
    /// See [`crate::notify::outbox::Outbox::due`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM outbox WHERE receiver = ?1 AND {} AND {}
             ORDER BY next_attempt_at, seq LIMIT ?3",
            is_due(),
            is_next_alone()
        );
        self.due_by(&query, receiver, now, u32::try_from(limit).unwrap_or(u32::MAX))
    }

    /// See [`crate::notify::outbox::Outbox::due_together`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn due_together(&self, receiver: &str, now: Timestamp) -> Result<Due, StoreError> {
        let query = format!(
            "SELECT {COLUMNS} FROM outbox WHERE receiver = ?1 AND {} AND {}
             ORDER BY seq LIMIT ?3",
            is_due(),
            is_next_together()
        );
        self.due_by(&query, receiver, now, MAX_TO_GROUP)
    }

    fn due_by(&self, query: &str, receiver: &str, now: Timestamp, limit: u32) -> Result<Due, StoreError> {
        let mut statement = self.connection.prepare_cached(query)?;
        let mut found = statement.query(params![receiver, now.millis(), limit])?;
        let (mut rows, mut ended) = (Vec::new(), BTreeSet::new());
        while let Some(found) = found.next()? {
            let Some(row) = readable(found)? else { continue };
            if row.kind() == Kind::Fired && self.is_ended(&row)? {
                ended.insert(row.id.clone());
            }
            let together = company(&self.connection, &row.id)?;
            rows.push(OutboxRow { together, ..row });
        }
        let silences = self.silences_at(now)?;
        let next_at = self
            .connection
            .prepare_cached(&format!(
                "SELECT next_attempt_at FROM outbox WHERE receiver = ?1 AND next_attempt_at > ?2 AND {}
                 ORDER BY next_attempt_at LIMIT 1",
                is_next_alone()
            ))?
            .query_row(params![receiver, now.millis()], |row| row.get(0))
            .optional()?
            .map(Timestamp::from_millis);
        Ok(Due { rows, ended, silences, next_at })
    }

    /// See [`crate::notify::outbox::Outbox::begin`].
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn begin(
        &mut self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            let mut begin = transaction.prepare_cached(
                "UPDATE outbox SET begun_at = coalesce(begun_at, ?3), told_with = nullif(?1, id)
                 WHERE id = ?2 AND state = 'pending'",
            )?;
            for id in std::iter::once(first).chain(others) {
                begin.execute(params![first.as_str(), id.as_str(), now.millis()])?;
            }
            Ok(())
        })
    }

    /// The firing alerts, as of the last commit.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn firing(&self) -> Result<Vec<Alert>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT body FROM alert ORDER BY id")?;
        let mut found = statement.query([])?;
        let mut firing = Vec::new();
        while let Some(row) = found.next()? {
            // An unreadable alert is moved aside at the next start, and rewritten with every commit until then.
            let alert = row.get::<_, String>(0).ok().and_then(|body| serde_json::from_str::<Alert>(&body).ok());
            firing.extend(alert.filter(|alert| alert.state.fired_at().is_some()));
        }
        Ok(firing)
    }

    fn is_ended(&self, row: &OutboxRow) -> Result<bool, StoreError> {
        let mut resolve = self.connection.prepare_cached(
            "SELECT 1 FROM outbox WHERE receiver = ?1 AND alert = ?2 AND episode = ?3 AND kind = 'resolved'",
        )?;
        Ok(resolve.exists(params![row.receiver, row.alert().as_str(), row.episode().millis()])?)
    }
}

/// The rows bound to this one, in order.
pub(super) fn company(connection: &Connection, first: &NotificationId) -> Result<Vec<OutboxRow>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM outbox WHERE told_with = ?1 AND state = 'pending' ORDER BY seq"
    ))?;
    let mut found = statement.query([first.as_str()])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.extend(readable(row)?);
    }
    Ok(rows)
}

/// A row of the outbox; `None` if unreadable, which must not block the others.
fn readable(row: &Row<'_>) -> Result<Option<OutboxRow>, StoreError> {
    match read(row) {
        Ok(row) => Ok(Some(row)),
        Err(error @ StoreError::Value(_)) => {
            let id = unreadable_rows::shown(row.get_ref(0)?);
            tracing::error!(
                id,
                %error,
                "cannot read a notification, so it is not sent; a restart moves it to the table `set_aside` and \
                 sends it again"
            );
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
