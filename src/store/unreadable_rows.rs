//! Unreadable rows, for example after a flipped bit: each row is checked separately, so that only its own contents
//! are lost.

use rusqlite::Connection;
use rusqlite::Row;
use rusqlite::params;
use rusqlite::types::ValueRef;
use serde::de::IgnoredAny;

use crate::notify::outbox::RECEIVER_IN_TROUBLE;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::events;
use crate::store::jobs;
use crate::store::outbox;
use crate::store::saved_series;
use crate::store::silences;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::{Alert, REPORT};

const ALERTS: &str = "SELECT id, body FROM alert ORDER BY id";

/// Maximum bad rows stored for inspection; the oldest are removed first.
pub const MAX_BAD_ROWS: i64 = 1_000;

/// Maximum characters stored per column of a bad row.
const MAX_CONTENT: usize = 4_096;

/// An unreadable row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Its table.
    pub table: &'static str,
    /// Its columns, as far as they can be shown.
    pub content: String,
    /// What is wrong with it.
    pub because: String,
    /// Its row number, if its table has them.
    seq: Option<i64>,
    /// Its id, for a job.
    id: Option<Vec<u8>>,
}

impl BadRow {
    /// The row in one line.
    pub fn in_words(&self) -> String {
        let start: String = self.content.chars().take(200).collect();
        format!("a row of {} ({}): {start}", self.table, self.because)
    }
}

/// Rows of a table with the result of checking each.
#[derive(Debug)]
pub(super) struct Judged<T> {
    pub(super) good: Vec<T>,
    pub(super) bad: Vec<BadRow>,
}

/// Reads and checks the rows of a query one by one.
pub(super) fn judge<T>(
    connection: &Connection,
    table: &'static str,
    sql: &str,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Judged<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let number = columns.iter().position(|name| name == "seq" || (table == "silence" && name == "id"));
    let mut found = statement.query([])?;
    let mut judged = Judged { good: Vec::new(), bad: Vec::new() };
    while let Some(row) = found.next()? {
        match read(row) {
            Ok(good) => judged.good.push(good),
            Err(StoreError::Value(because)) => {
                let seq = number.map(|index| row.get(index)).transpose()?;
                let id = (table == "job").then(|| row.get_ref(0)).transpose()?;
                let id = id.and_then(|id| id.as_bytes().ok()).map(<[u8]>::to_vec);
                judged.bad.push(BadRow { table, content: content(row, &columns)?, because, seq, id });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(judged)
}

/// The alerts.
pub(super) fn alerts(connection: &Connection) -> Result<Judged<Alert>, StoreError> {
    judge(connection, "alert", ALERTS, |row| Ok(serde_json::from_str(&row.get::<_, String>(1)?)?))
}

/// The alerts, checked for consistency.
fn judged_alerts(connection: &Connection) -> Result<Judged<Alert>, StoreError> {
    judge(connection, "alert", ALERTS, |row| {
        let alert: Alert = serde_json::from_str(&row.get::<_, String>(1)?)?;
        // Alerts of targets whose state is beside another's have different ids, and a label for their region.
        let is_of_target = alert.labels.contains_key("region");
        let is_its = is_of_target || alert.id == AlertId::of(&alert.rule, &alert.by);
        if alert.id.as_str() != row.get::<_, String>(0)? || !is_its {
            return Err(StoreError::Value("its id changed after it was written".to_owned()));
        }
        Ok(alert)
    })
}

/// The watermarks.
pub(super) fn watermarks(connection: &Connection) -> Result<Judged<(String, Timestamp)>, StoreError> {
    judge(connection, "watermark", "SELECT name, at FROM watermark", |row| {
        Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?)))
    })
}

/// Start of counting, and time of the last commit.
pub(super) fn moments(connection: &Connection) -> Result<Judged<(Timestamp, Timestamp)>, StoreError> {
    judge(connection, "service", "SELECT since, committed_at FROM service", |row| {
        Ok((Timestamp::from_millis(row.get(0)?), Timestamp::from_millis(row.get(1)?)))
    })
}

/// A value in readable form.
pub(super) fn shown(value: ValueRef<'_>) -> String {
    let text = match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.chars().take(MAX_CONTENT).collect()
}

fn content(row: &Row<'_>, columns: &[String]) -> Result<String, StoreError> {
    let shown = |(index, name): (usize, &String)| {
        // The name of a computed column is its whole expression.
        let name = name.split(['(', ' ']).next().unwrap_or_default();
        Ok(format!("{name}={}", shown(row.get_ref(index)?)))
    };
    let columns: Vec<String> = columns.iter().enumerate().map(shown).collect::<Result<_, StoreError>>()?;
    Ok(columns.join(" "))
}

impl Store {
    /// Pending and firing alerts, as of the last commit.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alerts(&self) -> Result<Vec<Alert>, StoreError> {
        Ok(alerts(&self.connection)?.good)
    }

    /// Moves unreadable rows to a separate table, restores what other rows contain of them (a firing alert is in
    /// the outbox too), and returns them. Call it at the start, before [`Store::load`].
    ///
    /// # Errors
    /// The state can be neither read nor written, not even in memory.
    pub fn set_bad_rows_aside(&mut self, now: Timestamp) -> Result<Vec<BadRow>, StoreError> {
        self.guarded(|store| {
            let in_order: String =
                store.connection.query_row("PRAGMA integrity_check('outbox')", [], |row| row.get(0))?;
            if in_order != "ok" {
                tracing::warn!(
                    because = in_order,
                    "rebuilding the indexes of the outbox after a failed integrity check"
                );
                store.connection.execute_batch("REINDEX outbox")?;
            }
            Ok(())
        })?;
        self.forget_unreadable_forecast()?;
        let bad = self.guarded(|store| bad_rows(&store.connection, now))?;
        if bad.is_empty() {
            return Ok(bad);
        }
        self.transact(|transaction| set_aside(transaction, &bad, now))?;
        Ok(bad)
    }
}

impl Store {
    /// Deletes unreadable rows of what forecasts have learned. There may be thousands, and they are learned again.
    fn forget_unreadable_forecast(&mut self) -> Result<(), StoreError> {
        let count = "SELECT count(*) FROM forecast WHERE NOT json_valid(body)";
        let unreadable: i64 = self.guarded(|store| Ok(store.connection.query_row(count, [], |row| row.get(0))?))?;
        if unreadable > 0 {
            self.transact(|transaction| {
                transaction.execute("DELETE FROM forecast WHERE NOT json_valid(body)", [])?;
                Ok(())
            })?;
            tracing::warn!(
                rows = unreadable,
                "deleted unreadable rows of the start estimates from the state file; estimates are less exact until as much is learned again"
            );
        }
        Ok(())
    }
}

/// All unreadable rows, except those of history, which are checked when they are read.
fn bad_rows(connection: &Connection, now: Timestamp) -> Result<Vec<BadRow>, StoreError> {
    let json = |row: &Row<'_>| Ok(serde_json::from_str::<IgnoredAny>(&row.get::<_, String>(1)?).map(|_| ())?);
    let mut bad = judged_alerts(connection)?.bad;
    bad.extend(outbox::judged(connection, now)?.bad);
    bad.extend(silences::judged(connection)?.bad);
    bad.extend(watermarks(connection)?.bad);
    bad.extend(moments(connection)?.bad);
    bad.extend(saved_series::load(connection)?.bad);
    bad.extend(jobs::bad(connection)?.bad);
    bad.extend(jobs::load_queues(connection)?.bad);
    bad.extend(events::load(connection)?.bad);
    bad.extend(judge(connection, "queue", "SELECT name, body FROM queue WHERE NOT json_valid(body)", json)?.bad);
    bad.extend(judge(connection, "event", "SELECT seq, body FROM event WHERE NOT json_valid(body)", json)?.bad);
    Ok(bad)
}

fn set_aside(transaction: &Connection, bad: &[BadRow], now: Timestamp) -> Result<(), StoreError> {
    let mut keep =
        transaction.prepare_cached("INSERT INTO set_aside (at, source, content, because) VALUES (?1, ?2, ?3, ?4)")?;
    for row in bad {
        keep.execute(params![now.millis(), row.table, row.content, row.because])?;
        if let Some(seq) = row.seq {
            transaction.execute(&format!("DELETE FROM {} WHERE rowid = ?1", row.table), [seq])?;
        }
        if let Some(id) = &row.id {
            transaction.execute("DELETE FROM job WHERE CAST(id AS BLOB) = ?1", [id])?;
        }
    }
    let oldest = "DELETE FROM set_aside WHERE seq <= (SELECT max(seq) FROM set_aside) - ?1";
    let deleted = transaction.execute(oldest, [MAX_BAD_ROWS])?;
    if deleted > 0 {
        tracing::warn!(
            deleted,
            "the table `set_aside` of the state file keeps the latest {MAX_BAD_ROWS} unreadable rows; older ones are in the log only"
        );
    }
    // A missing job is found only by listing everything again.
    if bad.iter().any(|row| row.table == "job") {
        transaction.execute("DELETE FROM queue", [])?;
    }
    // These tables are rewritten with each commit.
    if bad.iter().any(|row| row.table == "service") {
        transaction.execute("DELETE FROM service", [])?;
    }
    if bad.iter().any(|row| row.table == "alert") {
        mend_alerts(transaction)?;
    }
    Ok(())
}

/// Rewrites the alerts: the readable ones, and firing ones from the outbox.
fn mend_alerts(transaction: &Connection) -> Result<(), StoreError> {
    let good = judged_alerts(transaction)?.good;
    transaction.execute("DELETE FROM alert", [])?;
    let mut insert = transaction.prepare("INSERT OR REPLACE INTO alert (id, body) VALUES (?1, ?2)")?;
    for alert in good {
        insert.execute(params![alert.id.as_str(), serde_json::to_string(&alert)?])?;
    }
    transaction.execute(
        "INSERT OR IGNORE INTO alert (id, body)
         SELECT alert, json_extract(body, '$.alert') FROM outbox
         WHERE kind = 'fired' AND json_extract(body, '$.alert.rule') NOT IN (?1, ?2) AND NOT EXISTS (
             SELECT 1 FROM outbox AS resolve WHERE resolve.receiver = outbox.receiver AND resolve.alert = outbox.alert
             AND resolve.episode = outbox.episode AND resolve.kind = 'resolved')
         ORDER BY seq DESC",
        [RECEIVER_IN_TROUBLE, REPORT],
    )?;
    Ok(())
}
