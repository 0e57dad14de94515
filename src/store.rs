//! The persistent state, in one SQLite file: alerts, the outbox, counters, watermarks, the events of a day, all
//! open jobs, and recent frames.
//!
//! Invariants:
//! - One tick is one transaction ([`Store::commit`]): after a crash either all of it is there, or none.
//! - Retrying a commit has no effect beyond that of a single success.
//! - Nothing is reset silently. A file of a newer version or of another program is left unchanged; a broken one is
//!   moved aside, never deleted; and so is a single unreadable row.
//! - A file that cannot be opened, read or written does not stop the service: see [`Store::trouble`].
//!
//! [`StoreHandle`] owns the store, and calls it without blocking async tasks.

mod changed_rows;
mod error;
mod events;
mod forecast;
mod frames;
mod jobs;
mod keyed_rows;
mod latest_frame;
mod log_batch;
#[cfg(test)]
mod memory_connection_pool;
mod memory_fallback;
mod notified_receivers;
mod outbox;
mod outbox_changes;
mod outbox_due;
mod outbox_list;
mod past_alerts;
mod readonly_forecast;
mod saved_series;
mod schema;
mod send_fence;
mod sent_report;
mod silences;
mod state_file_identity;
mod state_file_lock;
mod thread_pool;
mod unarchived;
mod unreadable_rows;
mod worker;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;

use crate::notify::outbox::OutboxRow;
use crate::store::log_batch::Batch;
use crate::store::memory_fallback::MemoryFallback;
use crate::store::state_file_lock::FileLocation;
use crate::store::state_file_lock::StateFile;
use trainspotter_core::model::JobId;
use trainspotter_core::model::SavedEvent;
use trainspotter_core::model::SavedForecast;
use trainspotter_core::model::SavedJob;
use trainspotter_core::model::SavedJobs;
use trainspotter_core::model::SavedQueue;
use trainspotter_core::model::SavedSeries;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::Transition;

pub use changed_rows::Changes;
pub use error::StoreError;
pub use events::MAX_EVENTS;
pub use frames::{Frames, Recording};
pub use latest_frame::latest_with_tables;
pub use log_batch::Position;
pub use outbox::{Backlog, KEEP_SETTLED, MAX_PENDING};
pub use outbox_changes::Selection;
pub use outbox_list::Wanted;
pub use past_alerts::PastAlerts;
pub use readonly_forecast::kept_past;
pub use send_fence::Fence;
pub use state_file_identity::{account_mark, latest_mark, marked_account, regions_in};
pub use unarchived::{ArchiveTable, MAX_UNARCHIVED_BYTES, Unarchived, UnarchivedDay, UnarchivedFile, UnarchivedRows};
pub use unreadable_rows::{BadRow, MAX_BAD_ROWS};
pub use worker::{Call, Condition, Reply, StoreHandle};

/// How long to wait for a lock held by another process, such as an operator's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Prepared statements cached per connection; more than there are.
const STATEMENTS_KEPT: usize = 128;

/// Page cache per connection, in KiB: SQLite's default of 2,000 is too much with hundreds of targets. The operating
/// system caches the rest.
const CACHE_KIB: i64 = 256;

/// The state on disk.
#[derive(Debug)]
pub struct Store {
    /// To the file, or to the in-memory fallback.
    connection: Connection,
    fallback: Option<MemoryFallback>,
    /// The open file. Dropped after all connections.
    file: Option<StateFile>,
    /// Path of the file; `None` for an in-memory store.
    location: Option<FileLocation>,
    /// Series of the last commit, equal to those on disk; empty before it.
    series: Vec<SavedSeries>,
    /// Time of the last commit, if the file accepted it: nobody else writes it.
    committed_at: Option<Timestamp>,
    /// Broken files that were moved aside, until taken.
    set_aside: Vec<SetAside>,
    /// Changes for the next log record, if there is a log.
    batch: Option<Batch>,
    /// Whether the connection is reused after this is dropped.
    #[cfg(test)]
    is_reused: bool,
}

#[cfg(test)]
impl Drop for Store {
    fn drop(&mut self) {
        memory_connection_pool::give_back(self);
    }
}

/// The state after a tick. Alerts, series, watermarks and queues are complete: anything missing is deleted.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Time of the tick.
    pub at: Timestamp,
    /// Pending and firing alerts.
    pub alerts: Vec<Alert>,
    /// Alerts that fired or were resolved.
    pub transitions: Vec<Transition>,
    /// Notifications of the tick.
    pub outbox: Vec<OutboxRow>,
    /// Counters and distributions.
    pub series: Vec<SavedSeries>,
    /// Watermarks, by name.
    pub watermarks: BTreeMap<String, Timestamp>,
    /// Jobs changed since the last commit.
    pub jobs: SavedJobs,
    /// Time up to which the lists of each queue are complete.
    pub queues: Vec<SavedQueue>,
    /// Changed forecast state.
    pub forecast: SavedForecast,
    /// Events counted in this tick. A retried commit adds them once.
    pub events: Vec<SavedEvent>,
    /// The frame of the tick, if history is enabled.
    pub frame: Option<Recording>,
    /// Data to be archived.
    pub unarchived: Unarchived,
}

/// The saved state, without jobs: see [`Store::jobs_after`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// Pending and firing alerts, by id.
    pub alerts: Vec<Alert>,
    /// Counters and distributions, by metric and labels.
    pub series: Vec<SavedSeries>,
    /// Time up to which the lists of each queue are complete, by name.
    pub queues: Vec<SavedQueue>,
    /// Events of the last day before the last commit, in the order of counting.
    pub events: Vec<SavedEvent>,
    /// Forecast state, by name.
    pub forecast: BTreeMap<String, String>,
    /// Watermarks, by name.
    pub watermarks: BTreeMap<String, Timestamp>,
    /// Time of the first commit ever: start of counting.
    pub since: Option<Timestamp>,
    /// Time of the last commit.
    pub committed_at: Option<Timestamp>,
}

/// Side effects of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Notifications that became dead letters at once, because [`MAX_PENDING`] were pending for their receiver.
    pub over_limit: u64,
    /// Events removed early, because of [`MAX_EVENTS`].
    pub events_cut: u64,
    /// Past alerts removed early, because more than 50,000 were kept.
    pub past_alerts_cut: u64,
    /// Frames removed early, for lack of room.
    pub frames_cut: u64,
    /// Rows removed before they were archived, for lack of room.
    pub unarchived_cut: u64,
    /// Values that cannot be stored, such as non-finite numbers; they are skipped.
    pub unstorable: u64,
    /// Whether a new file must be created, for which the next commit should contain [all
    /// jobs](SavedJobs::is_complete).
    pub wants_all_jobs: bool,
}

/// A broken file was moved aside and a new one created: alerts and counters start from scratch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// New path of the broken file.
    pub to: PathBuf,
    /// What is wrong with it.
    pub because: String,
}

impl Store {
    /// Opens or creates a file. `now` becomes part of a broken file's new name.
    ///
    /// # Errors
    /// The file cannot be opened or written, is of a newer version, or belongs to another program.
    pub fn open(path: &Path, now: Timestamp) -> Result<(Self, Option<SetAside>), StoreError> {
        let mut store = Self::open_or_set_aside(FileLocation { path: path.to_owned(), exclusive: false }, now)?;
        let set_aside = store.set_aside.pop();
        Ok((store, set_aside))
    }

    /// Opens or creates a file; a broken one is left in place. For tools beside the service.
    ///
    /// # Errors
    /// As [`Store::open`], or the file is broken.
    pub fn open_as_is(path: &Path) -> Result<Self, StoreError> {
        Self::connect(FileLocation { path: path.to_owned(), exclusive: false }).map_err(|error| error.at(path))
    }

    /// Opens a file exclusively, for a service. If it is unusable, memory replaces it, with everything that can be
    /// read, until a commit succeeds on the file.
    ///
    /// # Errors
    /// Another service uses it, it is of a newer version, or it belongs to another program.
    pub fn serve(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let location = FileLocation { path: path.to_owned(), exclusive: true };
        match Self::open_or_set_aside(location.clone(), now) {
            Err(error) if error.is_of_the_file() => Self::with_fallback(location, error),
            opened => opened,
        }
    }

    /// An in-memory store: for the demo and for tests.
    ///
    /// # Errors
    /// Out of memory.
    pub fn in_memory() -> Result<Self, StoreError> {
        Ok(Self::new(memory_fallback::empty()?, None, None))
    }

    fn new(connection: Connection, file: Option<StateFile>, location: Option<FileLocation>) -> Self {
        Self {
            connection,
            fallback: None,
            file,
            location,
            series: Vec::new(),
            committed_at: None,
            set_aside: Vec::new(),
            batch: None,
            #[cfg(test)]
            is_reused: false,
        }
    }

    fn open_or_set_aside(location: FileLocation, now: Timestamp) -> Result<Self, StoreError> {
        let path = location.path.clone();
        match Self::connect(location.clone()) {
            Err(StoreError::Corrupt(because)) => {
                let to = set_aside(&path, now).map_err(|error| error.at(&path))?;
                let mut store = Self::connect(location).map_err(|error| error.at(&path))?;
                store.set_aside.push(SetAside { to, because });
                Ok(store)
            }
            opened => opened.map_err(|error| error.at(&path)),
        }
    }

    fn connect(location: FileLocation) -> Result<Self, StoreError> {
        let (connection, file) = open_file(&location, BUSY_TIMEOUT)?;
        Ok(Self::new(connection, Some(file), Some(location)))
    }

    /// Everything except the outbox. Unreadable rows are skipped: see [`Store::set_bad_rows_aside`].
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&self) -> Result<Saved, StoreError> {
        let connection = &self.connection;
        let moments = unreadable_rows::moments(connection)?.good.pop();
        Ok(Saved {
            alerts: unreadable_rows::alerts(connection)?.good,
            series: saved_series::load(connection)?.good,
            queues: jobs::load_queues(connection)?.good,
            events: events::load(connection)?.good,
            forecast: forecast::load(connection)?,
            watermarks: unreadable_rows::watermarks(connection)?.good.into_iter().collect(),
            since: moments.map(|(since, _)| since),
            committed_at: moments.map(|(_, at)| at),
        })
    }

    /// At most `limit` jobs after an id, or the first ones. Also returns the id to continue after; `None` at the
    /// end.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn jobs_after(
        &self,
        after: Option<&JobId>,
        limit: usize,
    ) -> Result<(Vec<SavedJob>, Option<JobId>), StoreError> {
        jobs::page(&self.connection, after, limit)
    }

    /// Commits a tick atomically; to memory, if the file fails. The next commit tries the file again.
    ///
    /// # Errors
    /// Nothing was stored; the commit can be retried.
    pub fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        // Show the loss of a file for a tick, even if a new one can be created at once.
        let is_just_lost = self.leave_lost_file()?;
        // Taken, so that after a failure no series is assumed to be on disk.
        let known = std::mem::take(&mut self.series);
        let left_at = self.committed_at.take();
        // With a log the file is only a copy, and is repaired between commits.
        let has_log = self.batch.is_some();
        let returned = if is_just_lost || has_log { None } else { self.return_to_file(commit) };
        // With a log, memory must contain everything the file had: otherwise the log would lack it.
        let may_fall_back = self.location.is_some() && !has_log;
        let mut committed = match returned {
            Some(committed) => committed,
            None => self.transact(|transaction| {
                is_as_it_was_left(transaction, left_at)?;
                // The in-memory fallback has no room for all jobs: it stores changed ones only.
                if is_a_file(transaction) || !may_fall_back {
                    keyed_rows::JOBS.save(transaction, &commit.jobs)?;
                }
                if let Some(recording) = commit.frame.as_ref().filter(|_| has_log) {
                    latest_frame::record(transaction, &recording.frame)?;
                }
                keep(transaction, commit, &known)
            })?,
        };
        if let Some(fallback) = self.fallback.as_mut().filter(|_| !has_log) {
            committed.wants_all_jobs = fallback.remember_jobs(&commit.jobs);
        }
        if !has_log {
            self.release_pages();
        }
        self.series.clone_from(&commit.series);
        self.committed_at = self.fallback.is_none().then_some(commit.at);
        Ok(committed)
    }

    /// Releases the pages in memory after a commit. A service has one connection per target, all of them idle until the
    /// next commit, and the system caches the file.
    fn release_pages(&self) {
        // Pages that cannot be released cost memory only.
        let _ = self.connection.release_memory();
    }

    /// Bytes of the state file, without its write-ahead log.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = pragma("page_count")? * pragma("page_size")?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}

/// Opens and checks a file. Returns the connection and the file.
fn open_file(location: &FileLocation, patience: Duration) -> Result<(Connection, StateFile), StoreError> {
    state_file_lock::refuse_foreign(&location.path)?;
    let claimed = location.exclusive.then(|| StateFile::claim(&location.path)).transpose()?;
    let connection = Connection::open(&location.path)?;
    let file = match claimed {
        Some(file) => file,
        None => StateFile::seen(&location.path)?,
    };
    let connection = prepare(connection, patience)?;
    match file.lost() {
        None => Ok((connection, file)),
        Some(error) => Err(error),
    }
}

fn prepare(mut connection: Connection, patience: Duration) -> Result<Connection, StoreError> {
    connection.busy_timeout(patience)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    // Before switching to WAL, which writes to the file.
    schema::check(&connection)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    schema::migrate(&mut connection)?;
    Ok(connection)
}

/// Checks that the file is unchanged since the last commit, which only this process writes. Always true of memory.
fn is_as_it_was_left(transaction: &Connection, left_at: Option<Timestamp>) -> Result<(), StoreError> {
    let Some(left_at) = left_at.filter(|_| is_a_file(transaction)) else { return Ok(()) };
    let found: Option<i64> =
        transaction.prepare_cached("SELECT committed_at FROM service")?.query_row([], |row| row.get(0)).optional()?;
    if found == Some(left_at.millis()) {
        return Ok(());
    }
    Err(StoreError::Replaced("it was overwritten while the service ran".to_owned()))
}

fn is_a_file(transaction: &Connection) -> bool {
    transaction.path().is_some_and(|path| !path.is_empty())
}

/// Writes a commit without its jobs. `known` are the series already stored; empty if unknown.
fn keep(transaction: &Connection, commit: &Commit, known: &[SavedSeries]) -> Result<Committed, StoreError> {
    let is_file = is_a_file(transaction);
    let mut unstorable = save_alerts(transaction, &commit.alerts)?;
    // Memory may contain less than the file did.
    unstorable += saved_series::save(transaction, &commit.series, if is_file { known } else { &[] })?;
    let watermarks: Vec<_> = commit.watermarks.iter().map(|(name, at)| (name.as_str(), Some(at.millis()))).collect();
    keyed_rows::WATERMARKS.replace(transaction, &watermarks)?;
    let queues: Vec<_> = commit.queues.iter().map(|queue| (queue.name.as_str(), Some(&queue.body))).collect();
    keyed_rows::QUEUES.replace(transaction, &queues)?;
    keyed_rows::FORECAST.save(transaction, &commit.forecast)?;
    let events_cut = events::add(transaction, &commit.events, commit.at)?;
    transaction
        .prepare_cached(
            "INSERT INTO service (only_row, since, committed_at) VALUES (1, ?1, ?1)
             ON CONFLICT (only_row) DO UPDATE SET committed_at = excluded.committed_at",
        )?
        .execute([commit.at.millis()])?;
    let past_alerts_cut = past_alerts::record(transaction, &commit.transitions, commit.at)?;
    let over_limit = outbox::insert(transaction, &commit.outbox, commit.at)?;
    outbox::prune(transaction, commit.at)?;
    // Memory has no room for history: it has a gap while the file cannot be written.
    let recording = commit.frame.as_ref().filter(|_| is_file);
    let frames_cut = recording.map(|recording| frames::record(transaction, recording)).transpose()?.unwrap_or(0);
    let unarchived_cut = unarchived::save(transaction, &commit.unarchived, commit.at)?;
    Ok(Committed {
        over_limit,
        events_cut,
        past_alerts_cut,
        frames_cut,
        unarchived_cut,
        unstorable,
        wants_all_jobs: false,
    })
}

/// Saves the alerts. Returns how many cannot be serialized.
fn save_alerts(transaction: &Connection, alerts: &[Alert]) -> Result<u64, StoreError> {
    let body = |alert| serde_json::to_string(alert).ok();
    let rows: Vec<_> = alerts.iter().map(|alert| (alert.id.as_str(), body(alert))).collect();
    keyed_rows::ALERTS.replace(transaction, &rows)?;
    Ok(rows.iter().filter(|(_, body)| body.is_none()).count() as u64)
}

/// Renames a broken file together with SQLite's auxiliary files.
fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let suffixed = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let to = suffixed(path, &format!(".corrupt-{}", now.millis()));
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::rename(suffixed(path, suffix), suffixed(&to, suffix)) {
            Err(error) if suffix.is_empty() || error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Sqlite(format!("cannot move the corrupt file aside: {error}")));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(to)
}

#[cfg(test)]
mod tests;
