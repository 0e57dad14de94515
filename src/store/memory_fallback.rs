//! The in-memory fallback: while the file is unusable, alerts must still be sent, above all the one about the file.
//! See docs/adr/0004-stand-in.md.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OpenFlags;
use rusqlite::Statement;
use rusqlite::TransactionBehavior;
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::types::ToSqlOutput;

use crate::store::BUSY_TIMEOUT;
use crate::store::Commit;
use crate::store::Committed;
use crate::store::STATEMENTS_KEPT;
use crate::store::SetAside;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::changed_rows;
use crate::store::keep;
use crate::store::keyed_rows;
use crate::store::open_file;
use crate::store::schema;
use crate::store::set_aside;
use crate::store::state_file_lock::FileLocation;
use crate::store::state_file_lock::StateFile;
use trainspotter_core::model::SavedJobs;
use trainspotter_core::model::Timestamp;

/// Tables the service needs to continue. History is left out: it would not fit, and no decision depends on it.
const COPIED: [&str; 6] = ["service", "alert", "watermark", "series", "outbox", "silence"];

/// Additional tables from a file that will not be read again.
const COPIED_AT_START: [&str; 4] = ["job", "queue", "event", "forecast"];

/// Tables that memory has no room for: they stay in the file, and new rows are added to it later.
pub(super) const LARGE: [&str; 2] = ["frame", "unarchived"];

/// How long a commit waits for a lock while the fallback is in use: notifications wait meanwhile.
const MAX_LOCK_WAIT: Duration = Duration::from_millis(50);

/// A file that is not written for now.
#[derive(Debug)]
pub(super) struct MemoryFallback {
    /// Connection to the file; `None` if it must be reopened.
    pub(super) file: Option<Connection>,
    /// What is wrong with the file.
    pub(super) because: StoreError,
    /// Jobs changed meanwhile; not in the file.
    jobs: SavedJobs,
    /// Whether the new file is not the previous one, so that all jobs must be written to it.
    is_another: bool,
}

impl MemoryFallback {
    /// Records changed jobs. Returns whether all of them are needed.
    pub(super) fn remember_jobs(&mut self, jobs: &SavedJobs) -> bool {
        self.jobs.add(jobs.clone());
        self.file.is_some() && self.is_another && !self.jobs.is_complete
    }
}

impl Store {
    /// Why state is kept in memory only; `None` if the file works.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.fallback.as_ref().map(|fallback| &fallback.because)
    }

    /// Takes the broken files that were moved aside.
    pub fn take_set_aside(&mut self) -> Vec<SetAside> {
        std::mem::take(&mut self.set_aside)
    }

    /// Creates a store in memory instead of a file that is unusable at the start.
    pub(super) fn with_fallback(location: FileLocation, because: StoreError) -> Result<Self, StoreError> {
        let connection = match readable(&location) {
            Some(file) => {
                let memory = copy_of(&file)?;
                copy_tables(&file, &memory, &COPIED_AT_START)?;
                memory
            }
            None => empty()?,
        };
        let mut store = Self::new(connection, None, Some(location));
        store.fallback = Some(MemoryFallback { file: None, because, jobs: SavedJobs::default(), is_another: true });
        Ok(store)
    }

    /// Writes to the file or, if that fails, to memory, which continues with everything readable in the file.
    pub(super) fn transact<T>(
        &mut self,
        change: impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.change(&change) {
            Err(because) if self.may_fall_back(&because) => {
                self.fall_back(because)?;
                self.change(&change)
            }
            done => done,
        }
    }

    /// Reads from the file or, if that fails, from what is readable of it.
    pub(super) fn guarded<T>(&mut self, read: impl Fn(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match read(self) {
            Err(because) if self.may_fall_back(&because) => {
                self.fall_back(because)?;
                read(self)
            }
            done => done,
        }
    }

    /// Switches to memory if writes to the file would be lost. Returns whether it did.
    pub(super) fn leave_lost_file(&mut self) -> Result<bool, StoreError> {
        let lost = self.file.as_ref().filter(|_| self.fallback.is_none()).and_then(StateFile::lost);
        let is_lost = lost.is_some();
        lost.map(|because| self.fall_back(because)).transpose()?;
        Ok(is_lost)
    }

    /// Writes to the current state: in its own transaction or, with a log, as part of the next record.
    pub(super) fn change<T>(
        &mut self,
        change: &impl Fn(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &mut self.batch {
            None => run(&mut self.connection, change),
            Some(batch) => batch.run(&self.connection, change),
        }
    }

    pub(super) fn may_fall_back(&self, because: &StoreError) -> bool {
        self.fallback.is_none() && self.location.is_some() && because.is_of_the_file()
    }

    pub(super) fn fall_back(&mut self, because: StoreError) -> Result<(), StoreError> {
        // A lock on the file blocks this reader only briefly.
        self.connection.busy_timeout(MAX_LOCK_WAIT)?;
        let memory = copy_of(&self.connection)?;
        if let Some(batch) = &mut self.batch {
            // A missing row would be deleted in the log.
            let names = changed_rows::names(&memory)?;
            let others = names.iter().map(String::as_str);
            let is_large = |name: &str| LARGE.contains(&name);
            let others: Vec<&str> = others.filter(|name| !is_large(name) && !COPIED.contains(name)).collect();
            copy_tables(&self.connection, &memory, &others)?;
            batch.leave(&self.connection, &memory)?;
        }
        let file = std::mem::replace(&mut self.connection, memory);
        let keeps_open = !because.needs_reopening();
        if because.overwritten().is_some() {
            // The file belongs to someone else now: write nothing more to it.
            file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        self.fallback = Some(MemoryFallback {
            file: keeps_open.then_some(file),
            because: self.named(because),
            jobs: SavedJobs::default(),
            is_another: !keeps_open,
        });
        if !keeps_open {
            self.file = None;
        }
        Ok(())
    }

    /// Adds the file to an error.
    #[must_use]
    pub fn named(&self, error: StoreError) -> StoreError {
        match (&self.location, &error) {
            (_, StoreError::At { .. }) | (None, _) => error,
            (Some(location), _) => error.at(&location.path),
        }
    }

    /// Tries to return to the file, with the notifications in memory and a commit, in one transaction. Returns the
    /// commit's result; `None` if the file fails, or is in use already.
    pub(super) fn return_to_file(&mut self, commit: &Commit) -> Option<Committed> {
        self.fallback.as_ref()?;
        match self.try_to_return(commit) {
            Ok(committed) => committed,
            Err(error) => {
                let because = self.named(error);
                if because.needs_reopening() {
                    self.close_file();
                }
                self.fallback.as_mut()?.because = because;
                None
            }
        }
    }

    /// `None` until all jobs needed by a new file are there.
    fn try_to_return(&mut self, commit: &Commit) -> Result<Option<Committed>, StoreError> {
        if self.file.as_ref().is_some_and(|file| file.lost().is_some()) {
            self.close_file();
        }
        let mut file = match self.fallback.as_mut().and_then(|fallback| fallback.file.take()) {
            Some(file) => file,
            None => self.reopen(commit.at)?,
        };
        let Some(fallback) = &mut self.fallback else { return Ok(None) };
        if fallback.is_another && !fallback.jobs.is_complete && !commit.jobs.is_complete {
            fallback.file = Some(file);
            return Ok(None);
        }
        let (memory, changed) = (&self.connection, &fallback.jobs);
        // Of jobs only changes are in memory; everything else is complete in each commit. Operators write silences
        // to the file itself, but a new file has none.
        let kept = run(&mut file, &|transaction: &Connection| {
            copy(memory, transaction, "outbox", &["seq"], "REPLACE")?;
            copy(memory, transaction, "event", &["seq"], "REPLACE")?;
            copy(memory, transaction, "silence", &[], "IGNORE")?;
            copy(memory, transaction, "forecast", &[], "REPLACE")?;
            copy(memory, transaction, "set_aside", &["seq"], "REPLACE")?;
            for table in ["unarchived", "hour_begin", "sent_report"] {
                copy(memory, transaction, table, &[], "REPLACE")?;
            }
            keyed_rows::JOBS.save(transaction, changed)?;
            keyed_rows::JOBS.save(transaction, &commit.jobs)?;
            keep(transaction, commit, &[])
        });
        match kept {
            Ok(committed) => {
                file.busy_timeout(BUSY_TIMEOUT)?;
                self.connection = file;
                self.fallback = None;
                Ok(Some(committed))
            }
            Err(error) => {
                if let Some(fallback) = &mut self.fallback {
                    fallback.file = Some(file);
                }
                Err(error)
            }
        }
    }

    /// Closes the connection first, then the file.
    pub(super) fn close_file(&mut self) {
        if let Some(fallback) = &mut self.fallback {
            (fallback.file, fallback.is_another) = (None, true);
        }
        self.file = None;
    }

    /// Opens the file now at the path. A broken one is moved aside.
    pub(super) fn reopen(&mut self, now: Timestamp) -> Result<Connection, StoreError> {
        let Some(location) = self.location.clone() else { return Err(StoreError::Closed) };
        self.close_file();
        let overwritten = self.fallback.as_ref().and_then(|fallback| fallback.because.overwritten());
        if let Some(because) = overwritten.map(str::to_owned) {
            let to = set_aside(&location.path, now)?;
            self.set_aside.push(SetAside { to, because });
        }
        let (connection, file) = match open_file(&location, MAX_LOCK_WAIT) {
            Err(StoreError::Corrupt(because)) => {
                let to = set_aside(&location.path, now)?;
                self.set_aside.push(SetAside { to, because });
                open_file(&location, MAX_LOCK_WAIT)?
            }
            opened => opened?,
        };
        self.file = Some(file);
        Ok(connection)
    }
}

pub(super) fn run<T>(
    connection: &mut Connection,
    change: &impl Fn(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// An empty in-memory database with all tables.
pub(super) fn empty() -> Result<Connection, StoreError> {
    // Creating the tables takes longer than copying them.
    static EMPTY: Mutex<Option<Connection>> = Mutex::new(None);
    let mut cached = EMPTY.lock().unwrap_or_else(PoisonError::into_inner);
    let empty = match &mut *cached {
        Some(empty) => empty,
        none => {
            let mut memory = Connection::open_in_memory()?;
            schema::migrate(&mut memory)?;
            none.insert(memory)
        }
    };
    let mut memory = Connection::open_in_memory()?;
    memory.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Backup::new(empty, &mut memory)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
    Ok(memory)
}

/// Opens an unwritable file for reading, even in a read-only folder. `None` if there is none, or it belongs to
/// another program.
fn readable(location: &FileLocation) -> Option<Connection> {
    if !location.path.exists() {
        return None;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let encoded: String = form_urlencoded::byte_serialize(location.path.as_os_str().as_encoded_bytes()).collect();
    let path = encoded.replace('+', "%20").replace("%2F", "/");
    let opened = |options: &str| {
        let connection = Connection::open_with_flags(format!("file:{path}{options}"), flags).ok()?;
        connection.busy_timeout(MAX_LOCK_WAIT).ok()?;
        schema::check(&connection).is_ok().then_some(connection)
    };
    opened("").or_else(|| opened("?immutable=1"))
}

/// Copies everything readable of a file to memory. The rest is skipped: a service that knows less still sends
/// alerts.
fn copy_of(file: &Connection) -> Result<Connection, StoreError> {
    let memory = empty()?;
    copy_tables(file, &memory, &COPIED)?;
    Ok(memory)
}

fn copy_tables(file: &Connection, memory: &Connection, tables: &[&str]) -> Result<(), StoreError> {
    if is_empty(file) {
        return Ok(());
    }
    let transaction = memory.unchecked_transaction()?;
    let mut unread: Option<(StoreError, Vec<&str>)> = None;
    for table in tables {
        if let Err(error) = copy(file, &transaction, table, &[], "REPLACE") {
            unread.get_or_insert_with(|| (error, Vec::new())).1.push(table);
        }
    }
    transaction.commit()?;
    if let Some((error, tables)) = unread {
        tracing::error!(
            %error,
            tables = tables.join(", "),
            "cannot read tables of the state file; their data are missing until the file works again"
        );
    }
    Ok(())
}

/// Whether a file has no tables: there was no room to create them, so nothing is missing.
fn is_empty(file: &Connection) -> bool {
    file.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0)).is_ok_and(|tables| tables == 0)
}

/// Copies a table in order. Columns in `without` get new values; `conflict` is SQLite's clause for existing rows.
pub(super) fn copy(
    from: &Connection,
    to: &Connection,
    table: &str,
    without: &[&str],
    conflict: &str,
) -> Result<(), StoreError> {
    let mut statement = from.prepare(&format!("SELECT * FROM {table} ORDER BY 1"))?;
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let kept: Vec<usize> = (0..names.len()).filter(|index| !without.contains(&names[*index].as_str())).collect();
    let columns: Vec<&str> = kept.iter().map(|index| names[*index].as_str()).collect();
    let places = vec!["?"; kept.len()].join(", ");
    let mut insert =
        to.prepare(&format!("INSERT OR {conflict} INTO {table} ({}) VALUES ({places})", columns.join(", ")))?;
    copy_rows(&mut statement, &mut insert, &kept, table)
}

fn copy_rows(
    statement: &mut Statement<'_>,
    insert: &mut Statement<'_>,
    kept: &[usize],
    table: &str,
) -> Result<(), StoreError> {
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // Copied unchanged: readability is checked elsewhere.
        let values: Vec<ToSqlOutput<'_>> = kept
            .iter()
            .map(|index| Ok(ToSqlOutput::Borrowed(row.get_ref(*index)?)))
            .collect::<Result<_, StoreError>>()?;
        match insert.execute(rusqlite::params_from_iter(values)) {
            Ok(_) => {}
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
                tracing::error!(%error, table, "skipped a row of the state file that violates the schema");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_capture;

    #[test]
    fn tables_that_cannot_be_read_are_one_line_and_a_file_without_any_is_none() {
        let copied = |file: &str| {
            let file = {
                let connection = Connection::open_in_memory().unwrap();
                connection.execute_batch(file).unwrap();
                connection
            };
            log_capture::lines(|| drop(copy_of(&file).unwrap()))
        };
        assert_eq!(copied(""), [""; 0], "there was no room for a table: nothing is missing");
        let lines = copied("CREATE TABLE watermark (name TEXT)");
        assert!(matches!(&lines[..], [line] if line.contains("ERROR") && line.contains("alert, ")), "{lines:#?}");
    }
}
