//! Logs of which some objects are damaged or missing.

mod mutated_objects;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use super::{Restored, restore};
use crate::objects::Storage as _;
use crate::objects::folder::Folder;
use crate::replication::record::{self, Header, Purpose, Record};
use crate::replication::{LogError, object_names, snapshot};
use crate::store::{Commit, Position, Store};
use trainspotter_core::model::Timestamp;

const PATIENCE: Duration = Duration::from_secs(10);

/// Number of records, and the ones with a copy of the state after them.
const RECORDS: u64 = 6;
const COPIES: [u64; 2] = [2, 4];

/// A log in a folder. The state after record N has the watermark `counted` at N.
struct Log {
    folder: tempfile::TempDir,
    copies: Vec<String>,
}

impl Log {
    /// `begins_with_a_state`: it begins with a copy of a state instead of an empty one.
    async fn new(begins_with_a_state: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (storage, beside) = (Folder::new(folder.path().to_owned()), tempfile::tempdir().unwrap());
        let mut store = Store::in_memory().unwrap();
        let mut copies = Vec::new();
        let mut before = String::new();
        if begins_with_a_state {
            store.commit(&commit(0)).unwrap();
            let copy = beside.path().join("first");
            store.copy_to(&copy).unwrap();
            before = snapshot::write_first(&storage, &copy, PATIENCE).await.unwrap();
            copies.push(object_names::snapshot(0, &before));
        }
        store.follow_log().unwrap();
        store.lead(true);
        for number in 1..=RECORDS {
            store.commit(&commit(number)).unwrap();
            let changes = store.batch_changes().unwrap().unwrap();
            let record = Record::new(header(number, &before), &changes).unwrap();
            storage.create(&object_names::record(number), record.bytes).await.unwrap();
            before = record.header.digest;
            store.keep_batch(&changes, &position(number, &before)).unwrap();
            if COPIES.contains(&number) {
                let copy = beside.path().join(number.to_string());
                store.copy_to(&copy).unwrap();
                let prepared = snapshot::prepare(&copy).unwrap().unwrap();
                snapshot::write(&storage, prepared, &[], PATIENCE).await.unwrap();
                copies.push(object_names::snapshot(number, &before));
            }
        }
        // The copy that the log began with may have been removed.
        copies.retain(|name| folder.path().join(name).exists());
        Self { folder, copies }
    }

    fn newest(&self) -> &str {
        self.copies.last().unwrap()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    async fn restored(&self) -> Result<Restored, LogError> {
        restore(&Folder::new(self.folder.path().to_owned()), &mut following(), "a", PATIENCE).await
    }

    /// Restores the state, passing over so many copies, and applies the records after it up to the last one.
    async fn is_whole_without(&self, what: &str, damaged: usize) {
        let (storage, mut store) = (Folder::new(self.folder.path().to_owned()), following());
        let restored = restore(&storage, &mut store, "a", PATIENCE).await;
        let Restored { position: from, damaged: found } = restored.unwrap_or_else(|error| panic!("{what}: {error}"));
        let names = found.as_ref().map_or_else(Vec::new, |found| found.names.clone());
        let newest_first: Vec<String> = self.copies.iter().rev().take(damaged).cloned().collect();
        assert_eq!(names, newest_first, "{what}");
        let left = self.copies.len() - damaged;
        assert_eq!(
            object_names::snapshot(from.number, ""),
            before_digest(left.checked_sub(1).map(|last| &*self.copies[last]))
        );
        for number in from.number + 1..=RECORDS {
            let (name, bytes) = (object_names::record(number), self.read(&object_names::record(number)));
            let (header, body) = record::decode(&name, &bytes, number, Store::schema_version()).unwrap();
            store.apply(&record::changes(&name, body).unwrap(), &position(number, &header.digest)).unwrap();
        }
        assert_eq!(store.watermark("counted").unwrap(), Some(at(RECORDS)), "{what}: nothing is lost");
        if let Some(found) = found {
            let report = found.report();
            assert!(report.contains(self.newest()) && report.contains("nothing is lost"), "{report}");
        }
    }
}

/// The name of a snapshot without its digest; that of the beginning without a snapshot.
fn before_digest(name: Option<&str>) -> String {
    let number = name.and_then(object_names::snapshot_of).map_or(0, |(number, _)| number);
    object_names::snapshot(number, "")
}

fn following() -> Store {
    let mut store = Store::in_memory().unwrap();
    store.follow_log().unwrap();
    store
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(number).unwrap())
}

fn commit(number: u64) -> Commit {
    let watermarks = BTreeMap::from([("counted".to_owned(), at(number))]);
    Commit { at: at(number), watermarks, ..Commit::default() }
}

fn position(number: u64, digest: &str) -> Position {
    Position { number, digest: digest.as_bytes().to_vec(), writer: "a".to_owned(), is_ahead: false }
}

fn header(number: u64, before: &str) -> Header {
    Header {
        number,
        purpose: Purpose::Changes,
        writer: "a".to_owned(),
        at: at(number),
        before: before.to_owned(),
        schema: Store::schema_version(),
        watches: "us-east-1".to_owned(),
        config: String::new(),
        version: String::new(),
        bytes: 0,
        digest: String::new(),
    }
}

/// A compressed copy with another schema version.
fn of_version(version: u32, copy: &[u8], folder: &Path) -> Vec<u8> {
    let file = folder.join("newer.db");
    snapshot::unsqueeze("copy", copy, &file).unwrap();
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
    drop(connection);
    squeezed(&std::fs::read(&file).unwrap())
}

fn squeezed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_damaged_copy_of_the_state_is_passed_over_and_nothing_is_lost() {
    let log = Log::new(false).await;
    log.is_whole_without("undamaged", 0).await;
    let (whole, older) = (log.read(log.newest()), log.read(&log.copies[0]));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let damages: [(&str, &[u8]); 7] = [
        ("cut off", &whole[..whole.len() - 1]),
        ("cut in half", &whole[..whole.len() / 2]),
        ("empty", b""),
        ("one bit", &flipped),
        ("something else", b"something else"),
        ("the copy of another record", &older),
        ("a compressed empty file", &squeezed(b"")),
    ];
    for (what, damaged) in damages {
        log.write(log.newest(), damaged);
        log.is_whole_without(what, 1).await;
    }
    log.write(log.newest(), &squeezed(b"something else that is no database, as long as it may be"));
    log.is_whole_without("no database", 1).await;

    // All copies are damaged, and the log has all records from the beginning.
    log.write(&log.copies[0], b"");
    log.is_whole_without("both", 2).await;
    log.write(log.newest(), &whole);
    log.is_whole_without("only the older one, which is not needed", 0).await;
}

#[tokio::test]
async fn a_damaged_copy_without_the_records_before_it_is_an_error_that_names_it() {
    let damaged = async |what: &str, log: &Log| match log.restored().await {
        Err(LogError::Unreadable { name, .. }) => assert_eq!(name, log.newest(), "{what}"),
        other => panic!("{what}: {other:?}"),
    };
    let log = Log::new(false).await;
    log.write(log.newest(), b"");
    // A gap between the older copy and the damaged one: what was there is lost, which must not pass unnoticed.
    for missing in [3, 4] {
        let record = object_names::record(missing);
        let bytes = log.read(&record);
        log.remove(&record);
        damaged("a record is missing", &log).await;
        log.write(&record, &bytes);
    }
    log.is_whole_without("with all records", 1).await;
    log.write(&log.copies[0], b"");
    log.remove(&object_names::record(1));
    damaged("the first record is missing", &log).await;

    // A log that began with a state cannot do without a copy.
    let log = Log::new(true).await;
    for copy in &log.copies {
        log.write(copy, b"");
    }
    damaged("no copy is left", &log).await;
}

#[tokio::test]
async fn a_copy_of_a_newer_version_is_not_passed_over() {
    let log = Log::new(false).await;
    let newer = of_version(Store::schema_version() + 1, &log.read(log.newest()), log.folder.path());
    log.write(log.newest(), &newer);
    let error = log.restored().await.unwrap_err();
    assert!(matches!(&error, LogError::Newer { name, .. } if name == log.newest()), "{error}");
    assert!(error.to_string().contains("newer version of Trainspotter"), "{error}");
}

#[tokio::test]
async fn a_damaged_copy_does_not_count_among_those_that_are_kept() {
    let log = Log::new(false).await;
    let storage = Folder::new(log.folder.path().to_owned());
    log.write(log.newest(), b"");
    let Restored { damaged, .. } = log.restored().await.unwrap();
    let mut damaged = damaged.unwrap();
    // Two further copies: after the first one the older good copy stays, after the second one both are removed.
    for (number, left) in [(5, true), (6, false)] {
        let mut store = following();
        let digest = "ab".repeat(32);
        store.write_position(&position(number, &digest)).unwrap();
        let copy = log.folder.path().join(format!("copy{number}"));
        store.copy_to(&copy).unwrap();
        let prepared = snapshot::prepare(&copy).unwrap().unwrap();
        snapshot::write(&storage, prepared, &damaged.names, PATIENCE).await.unwrap();
        for name in &log.copies {
            assert_eq!(log.folder.path().join(name).exists(), left, "{name} after {number}");
        }
        assert_eq!(damaged.are_still_there(&storage, PATIENCE).await, left);
    }
}
