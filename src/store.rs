//! What must survive a restart, in one SQLite file: alerts, the outbox, counters, watermarks.
//!
//! Invariants:
//! - One tick is one transaction ([`Store::commit`]): all of it is there after a crash, or nothing is.
//! - A commit that is tried again changes nothing more than one that succeeds at once.
//! - A file that cannot be written stops nothing: see [`Store::trouble`].
//! - Nothing is reset in silence. A file of a newer version is left as it is; a broken one is set aside, never deleted.
//!
//! [`StoreHandle`] owns the store on a thread of its own, for SQLite calls block.

mod desk;
mod error;
mod handle;
mod outbox;
mod schema;
mod series;
mod stand_in;

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OptionalExtension as _;
use rusqlite::Transaction;
use rusqlite::TransactionBehavior;
use rusqlite::params;

use crate::evaluate::Alert;
use crate::model::SavedSeries;
use crate::model::Timestamp;
use crate::notify::outbox::OutboxRow;
use stand_in::StandIn;

pub use desk::Selection;
pub use error::StoreError;
pub use handle::StoreHandle;
pub use outbox::{Backlog, KEEP_SETTLED, MAX_PENDING};

/// How long to wait for another process that has the file locked, such as an operator's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of the service on disk.
#[derive(Debug)]
pub struct Store {
    /// To the file, or to memory while there is a stand-in.
    connection: Connection,
    stand_in: Option<StandIn>,
    /// The series of the last commit, which are those on disk; none before it.
    series: Vec<SavedSeries>,
}

/// What a tick leaves to be kept. Alerts, series and watermarks are complete: what is not in here is forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// The tick's moment.
    pub at: Timestamp,
    /// All alerts that are pending or firing.
    pub alerts: Vec<Alert>,
    /// The tick's notifications.
    pub outbox: Vec<OutboxRow>,
    /// All counters and distributions.
    pub series: Vec<SavedSeries>,
    /// How far sources have read, by name.
    pub watermarks: BTreeMap<String, Timestamp>,
}

/// What was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Saved {
    /// All alerts that were pending or firing, by id.
    pub alerts: Vec<Alert>,
    /// All counters and distributions, by metric and labels.
    pub series: Vec<SavedSeries>,
    /// How far sources had read, by name.
    pub watermarks: BTreeMap<String, Timestamp>,
    /// The moment of the first commit ever: since when counters count.
    pub since: Option<Timestamp>,
    /// The moment of the last commit.
    pub committed_at: Option<Timestamp>,
}

/// What a commit did besides what it was asked to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Notifications that were not queued because [`MAX_PENDING`] already waited for their receiver. They are dead.
    pub over_limit: u64,
}

/// A broken file was set aside and a new one begun: alerts and counters start from nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where the broken file is now.
    pub to: PathBuf,
    /// What is wrong with it.
    pub because: String,
}

impl Store {
    /// Opens a file, or begins one. `now` becomes part of a broken file's new name.
    ///
    /// # Errors
    /// The file cannot be opened or written, is of a newer version, or is not ours.
    pub fn open(path: &Path, now: Timestamp) -> Result<(Self, Option<SetAside>), StoreError> {
        match Self::open_as_is(path) {
            Err(StoreError::Corrupt(because)) => {
                let to = set_aside(path, now)?;
                Ok((Self::open_as_is(path)?, Some(SetAside { to, because })))
            }
            opened => Ok((opened?, None)),
        }
    }

    /// A store that dies with the process: for the demo and for tests.
    ///
    /// # Errors
    /// SQLite has no memory left.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?)
    }

    fn open_as_is(path: &Path) -> Result<Self, StoreError> {
        let opened = Connection::open(path).map_err(StoreError::from).and_then(Self::prepare);
        opened.map_err(|error| error.at(path))
    }

    fn prepare(mut connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Before anything is written: switching to WAL writes.
        schema::check(&connection)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection)?;
        Ok(Self { connection, stand_in: None, series: Vec::new() })
    }

    /// Everything but the outbox.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(&self) -> Result<Saved, StoreError> {
        let mut statement = self.connection.prepare("SELECT body FROM alert ORDER BY id")?;
        let bodies = statement.query_map([], |row| row.get::<_, String>(0))?;
        let alerts = bodies.map(|body| Ok(serde_json::from_str(&body?)?)).collect::<Result<_, StoreError>>()?;
        let mut statement = self.connection.prepare("SELECT name, at FROM watermark")?;
        let watermarks = statement.query_map([], |row| Ok((row.get(0)?, Timestamp::from_millis(row.get(1)?))))?;
        let watermarks = watermarks.collect::<Result<_, _>>()?;
        let moments = self
            .connection
            .query_row("SELECT since, committed_at FROM service", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(Saved {
            alerts,
            series: series::load(&self.connection)?,
            watermarks,
            since: moments.map(|(since, _)| Timestamp::from_millis(since)),
            committed_at: moments.map(|(_, at)| Timestamp::from_millis(at)),
        })
    }

    /// Keeps a tick: everything or nothing; in memory, if the file does not take it.
    ///
    /// # Errors
    /// Nothing was kept; the same commit can be tried again.
    pub fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        self.return_to_file(commit.at);
        match self.commit_here(commit) {
            Err(error) if self.stand_in.is_none() && error.is_of_the_file() => {
                self.leave_file(error, commit.at)?;
                self.commit_here(commit)
            }
            committed => committed,
        }
    }

    fn commit_here(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        save_alerts(&transaction, &commit.alerts)?;
        series::save(&transaction, &commit.series, &self.series)?;
        save_watermarks(&transaction, &commit.watermarks)?;
        transaction.execute(
            "INSERT INTO service (only_row, since, committed_at) VALUES (1, ?1, ?1)
             ON CONFLICT (only_row) DO UPDATE SET committed_at = excluded.committed_at",
            [commit.at.millis()],
        )?;
        let over_limit = outbox::insert(&transaction, &commit.outbox, commit.at)?;
        outbox::prune(&transaction, commit.at)?;
        transaction.commit()?;
        self.series.clone_from(&commit.series);
        Ok(Committed { over_limit })
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

fn save_alerts(transaction: &Transaction<'_>, alerts: &[Alert]) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM alert", [])?;
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO alert (id, body) VALUES (?1, ?2)")?;
    for alert in alerts {
        insert.execute(params![alert.id.as_str(), serde_json::to_string(alert)?])?;
    }
    Ok(())
}

fn save_watermarks(transaction: &Transaction<'_>, watermarks: &BTreeMap<String, Timestamp>) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM watermark", [])?;
    let mut insert = transaction.prepare_cached("INSERT INTO watermark (name, at) VALUES (?1, ?2)")?;
    for (name, at) in watermarks {
        insert.execute(params![name, at.millis()])?;
    }
    Ok(())
}

/// Renames a broken file, and what SQLite keeps beside it, which belongs to it alone.
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
                return Err(StoreError::Sqlite(format!("the broken file cannot be set aside: {error}")).at(path));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::evaluate::TransitionKind;
    use crate::notify::sample;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000)
    }

    #[test]
    fn what_was_kept_survives_a_loss_of_power_and_types_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder.path().join("state.db"));
        let pragma = |name| store.connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        assert_eq!(pragma("journal_mode").unwrap(), "wal");
        let synchronous: i64 = store.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        assert_eq!(synchronous, 2, "FULL");
        let lax =
            "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' AND strict = 0";
        let lax: i64 = store.connection.query_row(lax, [], |row| row.get(0)).unwrap();
        assert_eq!(lax, 0, "tables that are not STRICT");
    }

    #[test]
    fn series_that_change_come_or_go_are_as_the_last_commit_had_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(&folder.path().join("state.db"));
        let series = |name: &'static str, value| SavedSeries { metric: name.into(), value, ..SavedSeries::default() };
        for series in [
            vec![series("a", 1.0), series("b", 1.0)],
            vec![series("a", 2.0), series("b", 1.0)],
            vec![series("a", 3.0), series("c", 1.0)],
            vec![series("a", 3.0)],
            vec![series("a", 3.0)],
        ] {
            store.commit(&Commit { at: now(), series: series.clone(), ..Commit::default() }).unwrap();
            assert_eq!(store.load().unwrap().series, series);
        }
    }

    fn open(path: &Path) -> Store {
        let (store, set_aside) = Store::open(path, now()).unwrap();
        assert_eq!(set_aside, None);
        store
    }

    /// A tick in which everything has something to keep.
    fn tick(value: f64) -> Commit {
        let row = sample::row(TransitionKind::Fired);
        let series = SavedSeries {
            metric: "queue.wait".into(),
            labels: BTreeMap::from([("queue".to_owned(), "größe \"1\"".to_owned())]).into(),
            value,
            buckets: vec![0, 3, 1],
            sum: 0.1 + 0.2,
            count: 4,
        };
        Commit {
            at: now(),
            alerts: vec![row.transition.alert.clone()],
            outbox: vec![row],
            series: vec![series],
            watermarks: BTreeMap::from([("prod".to_owned(), Timestamp::from_millis(7))]),
        }
    }

    fn expected(commit: &Commit, since: Timestamp) -> Saved {
        Saved {
            alerts: commit.alerts.clone(),
            series: commit.series.clone(),
            watermarks: commit.watermarks.clone(),
            since: Some(since),
            committed_at: Some(commit.at),
        }
    }

    #[test]
    fn what_was_committed_is_loaded_and_what_is_left_out_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let first = tick(1.5);
        let mut store = open(&path);
        assert_eq!(store.load().unwrap(), Saved::default());
        store.commit(&first).unwrap();
        drop(store);
        let mut store = open(&path);
        assert_eq!(store.load().unwrap(), expected(&first, now()));
        assert_eq!(store.outbox().unwrap(), first.outbox);
        let second = Commit { at: now() + Duration::from_secs(30), ..Commit::default() };
        store.commit(&second).unwrap();
        assert_eq!(store.load().unwrap(), expected(&second, now()));
        assert_eq!(store.outbox().unwrap(), first.outbox, "the outbox is added to");
        assert!(store.size_bytes().unwrap() >= 4_096);
    }

    #[test]
    fn a_commit_that_fails_half_way_leaves_nothing() {
        for stage in ["alert", "series", "watermark", "service", "outbox"] {
            let mut store = Store::in_memory().unwrap();
            let first = Commit { outbox: Vec::new(), ..tick(1.0) };
            store.commit(&first).unwrap();
            // `service` has its only row by now.
            let event = if stage == "service" { "UPDATE" } else { "INSERT" };
            let trigger = format!(
                "CREATE TRIGGER disk_full BEFORE {event} ON {stage} BEGIN SELECT raise(ABORT, 'disk full'); END"
            );
            store.connection.execute_batch(&trigger).unwrap();
            let mut second = tick(2.0);
            second.at = now() + Duration::from_secs(1);
            second.alerts[0].value = Some(9.0);
            second.watermarks.clear();
            second.watermarks.insert("other".to_owned(), now());
            let error = store.commit(&second).unwrap_err();
            assert_eq!(error, StoreError::Sqlite("disk full".to_owned()), "{stage}");
            assert_eq!(store.load().unwrap(), expected(&first, now()), "{stage}");
            assert!(store.outbox().unwrap().is_empty(), "{stage}");
            store.connection.execute_batch("DROP TRIGGER disk_full").unwrap();
            store.commit(&second).unwrap();
            assert_eq!(store.load().unwrap(), expected(&second, now()), "{stage}");
            assert_eq!(store.outbox().unwrap(), second.outbox, "{stage}");
        }
    }

    #[test]
    fn a_crash_keeps_every_commit_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = open(&path);
        store.commit(&tick(1.0)).unwrap();
        let transaction = store.connection.transaction().unwrap();
        save_alerts(&transaction, &[]).unwrap();
        // What a kill leaves: the files as they are, the log not folded in.
        let crashed = folder.path().join("crashed.db");
        for suffix in ["", "-wal"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            fs::copy(name(&path), name(&crashed)).unwrap();
        }
        let reopened = open(&crashed);
        assert_eq!(reopened.load().unwrap(), expected(&tick(1.0), now()));
        assert_eq!(reopened.outbox().unwrap(), tick(1.0).outbox);
    }

    #[test]
    fn a_number_that_is_not_one_is_refused() {
        let mut store = Store::in_memory().unwrap();
        assert!(store.commit(&tick(f64::NAN)).is_err());
        assert_eq!(store.load().unwrap(), Saved::default());
    }

    #[test]
    fn a_file_of_a_newer_version_or_another_program_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, ours: bool, change: &str, says: &str| {
            let path = folder.path().join(name);
            if ours {
                open(&path).commit(&tick(1.0)).unwrap();
            }
            Connection::open(&path).unwrap().execute_batch(change).unwrap();
            let before = fs::read(&path).unwrap();
            let error = Store::open(&path, now()).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(name), "{error}");
            assert!(fs::read(&path).unwrap() == before, "{name} was touched");
            let others = fs::read_dir(folder.path()).unwrap();
            let set_aside =
                others.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt"));
            assert_eq!(set_aside.count(), 0);
        };
        check("future.db", true, "PRAGMA user_version = 99", "version 99 and this build knows versions up to 3");
        check("other.db", false, "CREATE TABLE photos (id)", "another program");
    }

    #[test]
    fn a_broken_file_is_set_aside_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, break_it: &dyn Fn(&mut Vec<u8>)| {
            let path = folder.path().join(name);
            let mut store = open(&path);
            store.commit(&tick(1.0)).unwrap();
            drop(store);
            let mut bytes = fs::read(&path).unwrap();
            break_it(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            let (store, set_aside) = Store::open(&path, now()).unwrap();
            let to = set_aside.unwrap().to;
            assert_eq!(to, folder.path().join(format!("{name}.corrupt-1700000000000")));
            assert!(fs::read(&to).unwrap() == bytes, "{name}");
            assert_eq!(store.load().unwrap(), Saved::default());
        };
        check("nonsense.db", &|bytes| *bytes = b"this is no database, whatever its name says".repeat(40));
        check("header.db", &|bytes| bytes[..16].fill(b'x'));
        check("pages.db", &|bytes| bytes[4_096..].fill(0xff));
        check("cut.db", &|bytes| bytes.truncate(2 * 4_096));
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_named() {
        let error = Store::open(Path::new("/nowhere/at/all/state.db"), now()).unwrap_err().to_string();
        assert!(error.starts_with("state file /nowhere/at/all/state.db: unable to open"), "{error}");
    }

    #[tokio::test]
    async fn a_handle_serves_many_callers_and_outlives_a_caller_that_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let (handle, _) = StoreHandle::open(&folder.path().join("state.db"), now()).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let handle = handle.clone();
                tokio::spawn(async move { handle.commit(std::sync::Arc::new(tick(1.0))).await })
            })
            .collect();
        tasks[0].abort();
        for task in tasks.into_iter().skip(1) {
            task.await.unwrap().unwrap();
        }
        assert_eq!(handle.backlog().await.unwrap()["oncall"].pending, 1);
        assert_eq!(handle.load().await.unwrap(), expected(&tick(1.0), now()));
        let panicked = handle.call::<()>(|_| panic!("a defect")).await;
        assert_eq!(panicked, Err(StoreError::Closed));
        assert_eq!(handle.size_bytes().await, Err(StoreError::Closed));
    }
}
