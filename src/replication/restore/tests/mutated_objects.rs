//! Objects of a log whose bytes are not those that were written.

use super::*;
use crate::mutated_inputs::try_mutated;
use crate::store::{Changes, Saved};
use trainspotter_core::model::{SavedForecast, SavedJobs, SavedQueue};

/// A commit with rows in several tables.
fn full_commit() -> Commit {
    let body = r#"{"name":"train","queue":"prod","status":"RUNNABLE","created":1,"seen":2}"#.to_owned();
    let jobs = SavedJobs { changes: [("j1".into(), Some(body)), ("j2".into(), None)].into(), is_complete: false };
    let learned = [("attempt/1".to_owned(), Some("{\"n\":1}".to_owned()))];
    Commit {
        jobs,
        queues: vec![SavedQueue { name: "prod".into(), body: "{}".to_owned() }],
        forecast: SavedForecast { changes: learned.into(), is_complete: false },
        ..commit(1)
    }
}

/// The changes of a commit, and the record with them.
fn written() -> (Changes, Record) {
    let mut store = following();
    store.lead(true);
    store.commit(&full_commit()).unwrap();
    let changes = store.batch_changes().unwrap().unwrap();
    let record = Record::new(header(1, ""), &changes).unwrap();
    (changes, record)
}

/// All rows that can be read, and the position in the log.
fn contents(store: &Store) -> (Saved, String, Option<Position>) {
    (store.load().unwrap(), format!("{:?}", store.jobs_after(None, 100).unwrap()), store.position().unwrap())
}

#[test]
fn a_record_that_was_changed_is_refused() {
    let (changes, record) = written();
    let whole = try_mutated("records", &[&record.bytes], 1_000, |input| {
        let Ok((header, body)) = record::decode("record", input, 1, Store::schema_version()) else { return false };
        assert_eq!(header, record.header);
        assert_eq!(record::changes("record", body).unwrap(), changes);
        true
    });
    assert!(whole.accepted < whole.inputs / 2 || whole.inputs < 100, "{whole:?}");
    let decoded = record::decode("record", &record.bytes, 1, Store::schema_version()).unwrap();
    assert_eq!(record::changes("record", decoded.1).unwrap(), changes);
}

/// A record may come from a writer with a defect: its digest is right, and its changes are not.
#[test]
fn changes_of_any_bytes_are_applied_or_refused_as_a_whole() {
    let (changes, _) = written();
    let bytes = changes.encode().unwrap();
    let applied = try_mutated("changes of records", &[&bytes], 1_000, |input| {
        let Ok(changes) = Changes::decode(input) else { return false };
        let mut store = following();
        let before = contents(&store);
        let is_applied = store.apply(&changes, &position(1, "digest")).is_ok();
        if is_applied {
            assert_eq!(store.position().unwrap(), Some(position(1, "digest")));
        } else {
            assert_eq!(contents(&store), before);
        }
        // The store goes on.
        store.load().unwrap();
        store.apply(&Changes::default(), &position(2, "digest")).unwrap();
        is_applied
    });
    assert!(0 < applied.accepted && applied.accepted < applied.inputs || applied.inputs < 100, "{applied:?}");
}

#[tokio::test]
async fn a_snapshot_of_any_bytes_is_read_or_refused() {
    let log = Log::new(false).await;
    let folder = if Path::new("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() };
    let folder = folder.unwrap();
    let (copy, compressed) = (folder.path().join("copy"), log.read(log.newest()));
    snapshot::unsqueeze("snapshot", &compressed, &copy).unwrap();
    let state = std::fs::read(&copy).unwrap();
    try_mutated("snapshots", &[&compressed], 200, |input| snapshot::unsqueeze("snapshot", input, &copy).is_ok());
    // As another program may have written it: compressed without an error.
    let opened = try_mutated("state files", &[&state], 200, |input| {
        std::fs::write(&copy, input).unwrap();
        let Ok(store) = Store::open_as_is(&copy) else { return false };
        let _ = (store.position(), store.jobs_after(None, 100));
        store.load().is_ok()
    });
    assert!(0 < opened.accepted && opened.accepted < opened.inputs || opened.inputs < 100, "{opened:?}");
}
