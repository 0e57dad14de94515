//! Rows waiting to be archived, of ended jobs and completed hours, compressed and by day; and the values at the
//! beginning of the current hour.
//!
//! Without an archive they are kept as long as history, for reports.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::store::{Store, StoreError};
use trainspotter_core::model::Timestamp;

/// Maximum bytes of waiting rows: about five million jobs. Beyond it the oldest are removed first, which is counted
/// in `limit.hits`.
pub const MAX_UNARCHIVED_BYTES: i64 = 1 << 30;

/// Maximum old rows removed per commit, to keep commits short.
const PRUNE_BATCH: i64 = 500;

/// A table of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArchiveTable {
    /// One row per ended job.
    Jobs,
    /// One row per hour and queue, and per share.
    Hours,
}

impl ArchiveTable {
    /// Both tables.
    pub const ALL: [Self; 2] = [Self::Jobs, Self::Hours];

    /// Its name, in the archive and in the state file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jobs => "jobs",
            Self::Hours => "hours",
        }
    }
}

/// Rows of one tick and day.
#[derive(Clone, Debug, PartialEq)]
pub struct UnarchivedRows {
    /// Table of the rows.
    pub table: ArchiveTable,
    /// Their day, as its beginning.
    pub day: Timestamp,
    /// Their tick.
    pub at: Timestamp,
    /// Number of rows.
    pub rows: u64,
    /// The compressed rows.
    pub body: Vec<u8>,
}

/// Archive data of a commit.
#[derive(Clone, Debug, Default)]
pub struct Unarchived {
    /// The rows.
    pub rows: Vec<UnarchivedRows>,
    /// Values at the beginning of the current hour, if changed.
    pub hour: Option<Vec<u8>>,
    /// Retention of rows without an archive; `None` with an archive.
    pub keep: Option<Duration>,
}

/// Waiting rows of one table and day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnarchivedDay {
    /// Table of the rows.
    pub table: ArchiveTable,
    /// The day.
    pub day: Timestamp,
    /// Number of rows.
    pub rows: u64,
}

/// Adds rows, and removes those that are too old or too many. Returns how many were removed early.
pub(super) fn save(transaction: &Connection, unarchived: &Unarchived, at: Timestamp) -> Result<u64, StoreError> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO unarchived (source, day, at, rows, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for UnarchivedRows { table, day, at, rows, body } in &unarchived.rows {
        let rows = i64::try_from(*rows).unwrap_or(i64::MAX);
        insert.execute(params![table.as_str(), day.millis(), at.millis(), rows, body])?;
    }
    if let Some(hour) = &unarchived.hour {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO hour_begin (only_row, body) VALUES (1, ?1)")?
            .execute([hour])?;
    }
    if let Some(keep) = unarchived.keep {
        let expired = (at - keep).millis();
        transaction
            .prepare_cached(
                "DELETE FROM unarchived WHERE (source, day, at) IN (
                     SELECT source, day, at FROM unarchived WHERE source IN ('jobs', 'hours') AND day <= ?1 AND at < ?1 LIMIT ?2)",
            )?
            .execute([expired, PRUNE_BATCH])?;
    }
    // The total size is computed once per hour only.
    if unarchived.hour.is_some() { cut(transaction, MAX_UNARCHIVED_BYTES) } else { Ok(0) }
}

/// Removes the oldest rows beyond so many bytes, and returns how many.
fn cut(transaction: &Connection, most: i64) -> Result<u64, StoreError> {
    let mut sizes =
        transaction.prepare("SELECT source, day, at, rows, length(body) FROM unarchived ORDER BY day DESC, at DESC")?;
    let mut found = sizes.query([])?;
    let (mut bytes, mut over) = (0_i64, Vec::new());
    while let Some(row) = found.next()? {
        bytes = bytes.saturating_add(row.get(4)?);
        if bytes > most {
            over.push((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?));
        }
    }
    let mut remove = transaction.prepare_cached("DELETE FROM unarchived WHERE source = ?1 AND day = ?2 AND at = ?3")?;
    let mut rows = 0;
    for (source, day, at, of_it) in over {
        remove.execute(params![source, day, at])?;
        rows += u64::try_from(of_it).unwrap_or(0);
    }
    Ok(rows)
}

impl Store {
    /// Waiting rows, by table and day.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn unarchived_days(&self) -> Result<Vec<UnarchivedDay>, StoreError> {
        days(&self.connection)
    }

    /// Waiting rows of a table and day in order: those after a tick, of at most `limit` ticks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn unarchived(
        &self,
        table: ArchiveTable,
        day: Timestamp,
        after: Timestamp,
        limit: u32,
    ) -> Result<Vec<UnarchivedRows>, StoreError> {
        read(&self.connection, table, day, after, limit)
    }

    /// Removes archived rows: those of a table and day from these ticks.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn archived(&mut self, table: ArchiveTable, day: Timestamp, ticks: &[Timestamp]) -> Result<(), StoreError> {
        self.transact(|transaction| {
            let mut remove =
                transaction.prepare_cached("DELETE FROM unarchived WHERE source = ?1 AND day = ?2 AND at = ?3")?;
            for at in ticks {
                remove.execute(params![table.as_str(), day.millis(), at.millis()])?;
            }
            Ok(())
        })
    }

    /// Values at the beginning of the current hour, if stored.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn hour_begin(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.connection.query_row("SELECT body FROM hour_begin", [], |row| row.get(0));
        Ok(found.optional()?)
    }

    /// A watermark of the last commit by name.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn watermark(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let found = self.connection.query_row("SELECT at FROM watermark WHERE name = ?1", [name], |row| row.get(0));
        Ok(found.optional()?.map(Timestamp::from_millis))
    }
}

pub(super) fn days(connection: &Connection) -> Result<Vec<UnarchivedDay>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT source, day, sum(rows) FROM unarchived GROUP BY source, day ORDER BY day, source")?;
    let mut rows = statement.query([])?;
    let mut days = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let Some(table) = ArchiveTable::ALL.into_iter().find(|table| table.as_str() == name) else { continue };
        let rows = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
        days.push(UnarchivedDay { table, day: Timestamp::from_millis(row.get(1)?), rows });
    }
    Ok(days)
}

pub(super) fn read(
    connection: &Connection,
    table: ArchiveTable,
    day: Timestamp,
    after: Timestamp,
    limit: u32,
) -> Result<Vec<UnarchivedRows>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT at, rows, body FROM unarchived WHERE source = ?1 AND day = ?2 AND at > ?3 ORDER BY at LIMIT ?4",
    )?;
    let mut found = statement.query(params![table.as_str(), day.millis(), after.millis(), limit])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let rows = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        all.push(UnarchivedRows { table, day, at: Timestamp::from_millis(row.get(0)?), rows, body: row.get(2)? });
    }
    Ok(all)
}

/// Reads the waiting rows of a state file while a service writes it.
#[derive(Debug)]
pub struct UnarchivedFile {
    connection: Connection,
}

impl UnarchivedFile {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another program.
    pub fn open(path: &std::path::Path) -> Result<Self, StoreError> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).map_err(StoreError::from);
        let connection = opened.map_err(|error| error.at(path))?;
        connection.busy_timeout(super::BUSY_TIMEOUT)?;
        super::schema::check(&connection).map_err(|error| error.at(path))?;
        Ok(Self { connection })
    }

    /// Time of the last commit; `None` without one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn committed_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let found = self.connection.query_row("SELECT committed_at FROM service", [], |row| row.get(0));
        Ok(found.optional()?.map(Timestamp::from_millis))
    }

    /// See [`Store::unarchived_days`].
    ///
    /// # Errors
    /// The file cannot be read, or was written by a version without such rows.
    pub fn days(&self) -> Result<Vec<UnarchivedDay>, StoreError> {
        days(&self.connection)
    }

    /// See [`Store::unarchived`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(
        &self,
        table: ArchiveTable,
        day: Timestamp,
        after: Timestamp,
        limit: u32,
    ) -> Result<Vec<UnarchivedRows>, StoreError> {
        read(&self.connection, table, day, after, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    #[test]
    fn of_rows_that_wait_too_long_the_oldest_go_and_are_counted() {
        let store = Store::in_memory().unwrap();
        // Four ticks of two days, 100 bytes and three rows each.
        for tick in 0..4 {
            let (day, at) = (Timestamp::from_millis(tick / 2 * DAY), Timestamp::from_millis(tick * DAY / 2));
            let rows = UnarchivedRows { table: ArchiveTable::Jobs, day, at, rows: 3, body: vec![0; 100] };
            let unarchived = Unarchived { rows: vec![rows], hour: Some(Vec::new()), keep: None };
            assert_eq!(save(&store.connection, &unarchived, at).unwrap(), 0, "all fit");
        }
        let left = || -> Vec<i64> {
            let of = |day| store.unarchived(ArchiveTable::Jobs, day, Timestamp::from_millis(-1), 10).unwrap();
            let days = store.unarchived_days().unwrap();
            days.iter().flat_map(|day| of(day.day)).map(|rows| rows.at.millis() * 2 / DAY).collect()
        };
        for (most, removed, expected) in [(400, 0, vec![0, 1, 2, 3]), (399, 3, vec![1, 2, 3]), (150, 6, vec![3])] {
            assert_eq!(cut(&store.connection, most).unwrap(), removed, "at most {most} bytes");
            assert_eq!(left(), expected, "at most {most} bytes");
        }
    }
}
