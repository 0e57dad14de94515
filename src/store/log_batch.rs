//! The state as a copy of a log: the changes of several calls become one record, and are kept once the record is in
//! the log.
//!
//! A batch begins with the first call that changes something. It ends with [`Store::keep_batch`], or with
//! [`Store::drop_batch`] if the log did not accept its record. A follower applies the records of others with
//! [`Store::apply`].

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::OptionalExtension as _;
use rusqlite::backup::Backup;
use rusqlite::params;

use crate::store::BUSY_TIMEOUT;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::changed_rows;
use crate::store::changed_rows::Changes;
use crate::store::memory_fallback;
use crate::store::schema;
use trainspotter_core::model::Timestamp;

/// Pages copied per step when a state is restored.
const PAGES_AT_ONCE: i32 = 10_000;

/// Position of a state in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The last record included; 0 before the first.
    pub number: u64,
    /// Digest of that record.
    pub digest: Vec<u8>,
    /// Owner of this copy, which wrote the changes beyond that record.
    pub writer: String,
    /// Whether it has changes that are not in the log.
    pub is_ahead: bool,
}

/// Changes that become one record.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Whether changes are allowed.
    leading: bool,
    /// Whether a transaction is open.
    open: bool,
    /// Changes in a file that has failed since.
    carried: Changes,
    /// Whether changes of successful calls were lost with a failed file.
    lost: bool,
    /// Whether changes that the log lacks can no longer be rolled back.
    diverged: bool,
}

impl Batch {
    /// Runs a change as part of the batch, atomically.
    pub(super) fn run<T>(
        &mut self,
        connection: &Connection,
        change: &impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.leading {
            return Err(StoreError::NotLeading);
        }
        if !self.open {
            connection.execute_batch("BEGIN IMMEDIATE")?;
            self.open = true;
        }
        let part = Part::begin(connection)?;
        let value = change(connection)?;
        part.keep()?;
        Ok(value)
    }

    /// Carries the changes of the batch over from a failed file to memory.
    pub(super) fn leave(&mut self, file: &Connection, memory: &Connection) -> Result<(), StoreError> {
        if std::mem::take(&mut self.open) {
            // SQLite rolls back by itself when the disk is full.
            if file.is_autocommit() {
                self.lost = true;
            } else {
                match changed_rows::take(file) {
                    Ok(changes) => self.carried.extend(changes),
                    Err(_) => self.lost = true,
                }
                // The connection is closed or reopened in any case.
                let _ = file.execute_batch("ROLLBACK");
            }
            self.diverged = true;
        }
        changed_rows::watch(memory)
    }
}

/// A savepoint, rolled back unless it is kept.
struct Part<'c> {
    connection: &'c Connection,
    kept: bool,
}

impl<'c> Part<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, StoreError> {
        connection.execute_batch("SAVEPOINT part")?;
        Ok(Self { connection, kept: false })
    }

    fn keep(mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("RELEASE part")?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        if !self.kept && !self.connection.is_autocommit() {
            // If even this fails, the transaction cannot be kept either.
            let _ = self.connection.execute_batch("ROLLBACK TO part; RELEASE part");
        }
    }
}

impl Store {
    /// Enables the log: from now on changes are records, and refused unless this replica [leads](Store::lead).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn follow_log(&mut self) -> Result<(), StoreError> {
        changed_rows::watch(&self.connection)?;
        self.batch = Some(Batch::default());
        Ok(())
    }

    /// Allows or forbids changes.
    pub fn lead(&mut self, leading: bool) {
        if let Some(batch) = &mut self.batch {
            batch.leading = leading;
        }
    }

    /// The schema version of this build.
    pub fn schema_version() -> u32 {
        schema::version()
    }

    /// Position of the state in the log; `None` if it was never part of one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn position(&self) -> Result<Option<Position>, StoreError> {
        let sql = "SELECT number, digest, writer, is_ahead FROM log_position";
        let found = self.connection.prepare_cached(sql)?.query_row([], |row| {
            let number = row.get::<_, i64>(0)?.cast_unsigned();
            Ok(Position { number, digest: row.get(1)?, writer: row.get(2)?, is_ahead: row.get(3)? })
        });
        Ok(found.optional()?)
    }

    /// Whether the store has no data of a service.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM service) AND NOT EXISTS (SELECT 1 FROM silence)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Changes of the open batch; `None` if there is none, or no change.
    ///
    /// # Errors
    /// The batch cannot be kept: drop it.
    pub fn batch_changes(&mut self) -> Result<Option<Changes>, StoreError> {
        let Some(batch) = &mut self.batch else { return Ok(None) };
        if std::mem::take(&mut batch.lost) {
            return Err(StoreError::Unwritable(
                "the state file failed; changes that it had not stored are repeated".to_owned(),
            ));
        }
        let mut changes = std::mem::take(&mut batch.carried);
        if batch.open {
            changes.extend(changed_rows::take(&self.connection)?);
        }
        if changes.is_empty() {
            self.drop_batch();
            return Ok(None);
        }
        Ok(Some(changes))
    }

    /// Commits the open batch, with these changes.
    ///
    /// # Errors
    /// Neither the file nor memory accepts it.
    pub fn keep_batch(&mut self, changes: &Changes, position: &Position) -> Result<(), StoreError> {
        let was_open = self.batch.as_mut().is_some_and(|batch| std::mem::take(&mut batch.open));
        let kept = if was_open { end(&self.connection, position) } else { self.write_position(position) };
        self.release_pages();
        match kept {
            Err(because) if was_open => {
                let _ = self.connection.execute_batch("ROLLBACK");
                if self.may_fall_back(&because) {
                    self.fall_back(because)?;
                }
                self.apply(changes, position)
            }
            kept => kept,
        }
    }

    /// Rolls back the open batch. Returns whether that was possible: otherwise the state must be restored.
    pub fn drop_batch(&mut self) -> bool {
        self.forget_commit();
        let Some(batch) = &mut self.batch else { return true };
        batch.carried = Changes::default();
        let diverged = std::mem::take(&mut batch.diverged);
        if std::mem::take(&mut batch.open) && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        !diverged
    }

    /// Applies a record of the log.
    ///
    /// # Errors
    /// It does not match this version's schema, or neither the file nor memory accepts it.
    pub fn apply(&mut self, changes: &Changes, position: &Position) -> Result<(), StoreError> {
        self.forget_commit();
        let apply = |transaction: &Connection| {
            changes.apply(transaction)?;
            changed_rows::forget(transaction)?;
            write_position(transaction, position)
        };
        let done = match memory_fallback::run(&mut self.connection, &apply) {
            Err(because) if self.may_fall_back(&because) => {
                self.fall_back(because)?;
                memory_fallback::run(&mut self.connection, &apply)
            }
            done => done,
        };
        self.release_pages();
        done
    }

    /// Saves the position in the log.
    ///
    /// # Errors
    /// Neither the file nor memory accepts it.
    pub fn write_position(&mut self, position: &Position) -> Result<(), StoreError> {
        self.apply(&Changes::default(), position)
    }

    /// Writes a copy of the whole state to a new file.
    ///
    /// # Errors
    /// The disk fails.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        self.connection.execute("VACUUM INTO ?1", [path.display().to_string()])?;
        Ok(())
    }

    /// Copies a state file while a store has it open.
    ///
    /// # Errors
    /// The file cannot be read, or the copy cannot be written.
    pub fn copy_file(from: &Path, to: &Path) -> Result<(), StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(from, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute("VACUUM INTO ?1", [to.display().to_string()])?;
        Ok(())
    }

    /// Replaces the state by a copy, or by an empty state without one.
    ///
    /// # Errors
    /// The copy is broken or of a newer version, or neither the file nor memory accepts it.
    pub fn replace(&mut self, copy: Option<&Path>) -> Result<(), StoreError> {
        self.drop_batch();
        let source = match copy {
            Some(path) => {
                let mut source = Connection::open(path)?;
                schema::check(&source)?;
                schema::migrate(&mut source)?;
                source
            }
            None => memory_fallback::empty()?,
        };
        match backup(&source, &mut self.connection) {
            Err(because) if self.may_fall_back(&because) => {
                self.fall_back(because)?;
                backup(&source, &mut self.connection)?;
            }
            done => done?,
        }
        changed_rows::watch(&self.connection)?;
        changed_rows::forget(&self.connection)
    }

    /// If memory replaces the file: tries to write the state of memory, without history, to the file, and to
    /// continue there. Between batches only.
    pub fn rejoin_file(&mut self, now: Timestamp) {
        if self.fallback.is_none() || self.location.is_none() {
            return;
        }
        match self.try_to_rejoin(now) {
            Ok(()) => {}
            Err(error) => {
                let because = self.named(error);
                self.close_file();
                if let Some(fallback) = &mut self.fallback {
                    fallback.because = because;
                }
            }
        }
    }

    fn try_to_rejoin(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let mut file = self.reopen(now)?;
        let memory = &self.connection;
        memory_fallback::run(&mut file, &|transaction: &Connection| {
            for table in changed_rows::names(memory)?.iter().filter(|table| *table != "frame") {
                if !memory_fallback::LARGE.contains(&table.as_str()) {
                    transaction.execute(&format!("DELETE FROM {table}"), [])?;
                }
                memory_fallback::copy(memory, transaction, table, &[], "REPLACE")?;
            }
            Ok(())
        })?;
        changed_rows::watch(&file)?;
        file.busy_timeout(BUSY_TIMEOUT)?;
        self.connection = file;
        self.fallback = None;
        self.forget_commit();
        Ok(())
    }

    /// Forgets the cached facts about the last commit.
    fn forget_commit(&mut self) {
        self.series.clear();
        self.committed_at = None;
    }
}

fn end(connection: &Connection, position: &Position) -> Result<(), StoreError> {
    write_position(connection, position)?;
    changed_rows::forget(connection)?;
    Ok(connection.execute_batch("COMMIT")?)
}

fn write_position(connection: &Connection, position: &Position) -> Result<(), StoreError> {
    let Position { number, digest, writer, is_ahead } = position;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO log_position (only_row, number, digest, writer, is_ahead) VALUES (1, ?1, ?2, ?3, ?4)",
        )?
        .execute(params![number.cast_signed(), digest, writer, is_ahead])?;
    Ok(())
}

fn backup(source: &Connection, to: &mut Connection) -> Result<(), StoreError> {
    let backup = Backup::new(source, to)?;
    Ok(backup.run_to_completion(PAGES_AT_ONCE, Duration::ZERO, None)?)
}
