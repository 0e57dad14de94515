//! The store on real files: contents, crashes, and damaged files.

use std::fs;

mod trouble;

use super::*;
use crate::notify::sample_alerts;
use trainspotter_core::rules::TransitionKind;

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn open(path: &Path) -> Store {
    let (store, set_aside) = Store::open(path, now()).unwrap();
    assert_eq!(set_aside, None);
    store
}

/// A commit with something in every part.
fn tick(value: f64) -> Commit {
    let row = sample_alerts::row(TransitionKind::Fired);
    let series = SavedSeries {
        metric: "queue.wait".into(),
        labels: BTreeMap::from([("queue".to_owned(), "größe \"1\"".to_owned())]).into(),
        value,
        buckets: vec![0, 3, 1],
        sum: 0.1 + 0.2,
        count: 4,
    };
    Commit {
        transitions: Vec::new(),
        at: now(),
        alerts: vec![row.transition.alert.clone()],
        outbox: vec![row],
        series: vec![series],
        watermarks: BTreeMap::from([("prod".to_owned(), Timestamp::from_millis(7))]),
        jobs: jobs([("j1", value), ("j2", 0.0)]),
        queues: vec![SavedQueue { name: "prod".into(), body: "{}".to_owned() }],
        forecast: SavedForecast {
            changes: [("attempt/1".to_owned(), Some(format!("{{\"n\":{value}}}")))].into(),
            is_complete: false,
        },
        events: Vec::new(),
        frame: None,
        unarchived: Unarchived::default(),
    }
}

/// A complete set of jobs.
fn jobs<const N: usize>(jobs: [(&str, f64); N]) -> SavedJobs {
    let body = |seen: f64| {
        format!(r#"{{"name":"train","queue":"prod","status":"RUNNABLE","created":1,"seen":{}}}"#, seen.trunc())
    };
    let changes = jobs.map(|(id, seen)| (id.into(), Some(body(seen))));
    SavedJobs { changes: changes.into(), is_complete: true }
}

/// The stored jobs.
fn kept_jobs(store: &Store) -> Vec<SavedJob> {
    let (jobs, last) = store.jobs_after(None, 1_000).unwrap();
    assert_eq!(last.as_ref(), jobs.last().map(|job| &job.id));
    jobs
}

fn expected(commit: &Commit, since: Timestamp) -> Saved {
    Saved {
        alerts: commit.alerts.clone(),
        series: commit.series.clone(),
        queues: commit.queues.clone(),
        events: commit.events.clone(),
        forecast: commit
            .forecast
            .changes
            .iter()
            .filter_map(|(name, body)| Some((name.clone(), body.clone()?)))
            .collect(),
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
    // A commit contains only changes of the forecast state.
    let forecast = expected(&first, now()).forecast;
    assert_eq!(store.load().unwrap(), Saved { forecast, ..expected(&second, now()) });
    assert_eq!(store.outbox().unwrap(), first.outbox, "the outbox is added to");
    assert!(store.size_bytes().unwrap() >= 4_096);
}

#[test]
fn a_commit_that_fails_half_way_leaves_nothing() {
    for stage in ["alert", "series", "watermark", "service", "outbox"] {
        let mut store = Store::in_memory().unwrap();
        let first = Commit { outbox: Vec::new(), ..tick(1.0) };
        store.commit(&first).unwrap();
        // `service` already has its only row.
        let event = if stage == "service" { "UPDATE" } else { "INSERT" };
        let trigger =
            format!("CREATE TRIGGER disk_full BEFORE {event} ON {stage} BEGIN SELECT raise(ABORT, 'disk full'); END");
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
    // The state after a kill: the files as they are, without a checkpoint.
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
fn a_number_that_is_none_costs_its_series_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("state.db"));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut commit = tick(1.0);
        commit.series.push(SavedSeries { metric: "a.bad.one".into(), value: bad, ..SavedSeries::default() });
        commit.series.push(SavedSeries { metric: "b.bad.sum".into(), sum: bad, ..SavedSeries::default() });
        assert_eq!(store.commit(&commit).unwrap().unstorable, 2);
        assert_eq!(store.trouble(), None);
        commit.series.truncate(1);
        assert_eq!(store.load().unwrap(), expected(&commit, now()));
        assert_eq!(store.outbox().unwrap(), commit.outbox);
    }
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
        let set_aside = others.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains("corrupt"));
        assert_eq!(set_aside.count(), 0);
    };
    check("future.db", true, "PRAGMA user_version = 99", "version 99 and this build knows versions up to 13");
    check("other.db", false, "CREATE TABLE photos (id)", "another program");
}

#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    let contents: [&[u8]; 6] = [
        b"remember the milk\n",
        b"x",
        &b"long ".repeat(4_000),
        b"PK\x03\x04\0\0",
        &[0xff; 5_000],
        b"# SQLite format 3\n",
    ];
    for content in contents {
        fs::write(&path, content).unwrap();
        for opened in [Store::open(&path, now()).map(|_| ()), Store::serve(&path, now()).map(|_| ())] {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains("notes.txt: it is not a state file"), "{error}");
            assert!(error.contains("set another path in `store`"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
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
    check("byte.db", &|bytes| bytes[3] ^= 0x20);
    check("zeros.db", &|bytes| bytes.fill(0));
    check("beginning.db", &|bytes| bytes.truncate(10));
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
    assert_eq!(handle.load().await.unwrap(), expected(&tick(1.0), now()), "a defect costs the call that has it");
}

/// Makes the file fail like a real one, without the privileges needed for a full disk.
fn break_file(store: &Store, how: &str) {
    let file = store.fallback.as_ref().and_then(|fallback| fallback.file.as_ref()).unwrap_or(&store.connection);
    file.execute_batch(how).unwrap();
}

#[test]
fn while_the_file_cannot_be_written_the_store_continues_in_memory_and_returns_later() {
    let full = "PRAGMA max_page_count = 1";
    for (breaks, mends) in
        [(full, "PRAGMA max_page_count = 100000"), ("PRAGMA query_only = 1", "PRAGMA query_only = 0")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = open(&path);
        store.commit(&tick(1.0)).unwrap();
        let fired = tick(1.0).outbox.remove(0);
        break_file(&store, breaks);
        let at = now() + Duration::from_secs(30);
        let resolved = sample_alerts::row(TransitionKind::Resolved(trainspotter_core::rules::ResolveReason::Recovered));
        // A large commit, since an existing page may have room for a small one.
        let many =
            (0..2_000).map(|index| SavedSeries { metric: format!("m{index:04}").into(), ..SavedSeries::default() });
        let second = Commit { at, outbox: vec![resolved.clone()], series: many.collect(), ..Commit::default() };
        store.commit(&second).unwrap();
        let failing = store.trouble().unwrap().to_string();
        assert!(["full", "readonly"].iter().any(|word| failing.contains(word)), "{failing}");
        assert_eq!(store.load().unwrap(), expected(&second, now()));
        let due = |store: &Store| {
            store
                .due("oncall", now() + Duration::from_secs(86_400), 10)
                .unwrap()
                .rows
                .into_iter()
                .map(|row| row.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(due(&store), std::slice::from_ref(&fired.id), "what waited before still does");
        let delivered = crate::notify::outbox::Verdict::Delivered { at, reference: Some("7".to_owned()) };
        store.settle(&fired.id, &delivered, &[]).unwrap();
        assert_eq!(due(&store), std::slice::from_ref(&resolved.id), "and is followed by what came since");
        store.commit(&second).unwrap();
        assert!(store.trouble().is_some(), "the file still fails");
        assert_eq!(open(&path).load().unwrap(), expected(&tick(1.0), now()), "nothing reached the file");

        break_file(&store, mends);
        let third = Commit { at: at + Duration::from_secs(30), ..tick(3.0) };
        store.commit(&third).unwrap();
        assert_eq!(store.trouble(), None);
        drop(store);
        let store = open(&path);
        assert_eq!(store.load().unwrap(), expected(&third, now()));
        let rows: Vec<_> =
            store.outbox().unwrap().into_iter().map(|row| (row.id, row.state.as_str(), row.reference)).collect();
        let reference = Some("7".to_owned());
        assert_eq!(rows, [(fired.id, "delivered", reference.clone()), (resolved.id, "pending", reference)]);
    }
}

#[test]
fn a_file_that_breaks_while_it_is_used_is_left_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = open(&path);
    store.commit(&tick(1.0)).unwrap();
    store.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let size = fs::metadata(&path).unwrap().len();
    let mut broken = vec![0xff_u8; usize::try_from(size).unwrap()];
    broken[..15].copy_from_slice(b"SQLite format 3");
    fs::write(&path, broken).unwrap();
    // Otherwise it would continue from its cache.
    store.connection.execute_batch("PRAGMA shrink_memory").unwrap();
    let mut third = tick(3.0);
    third.outbox[0].id = crate::notify::outbox::NotificationId::stored("another".to_owned());
    store.commit(&third).unwrap();
    assert!(store.trouble().is_some());
    assert!(store.outbox().unwrap().iter().any(|row| row.id == third.outbox[0].id), "it is sent nevertheless");
    drop(store);
    assert!(Store::open(&path, now()).unwrap().1.is_some(), "the broken file is set aside at the next start");
}

#[test]
fn write_ahead_log_full_sync_and_strict_tables_are_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("state.db"));
    let journal: String = store.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    let synchronous: i64 = store.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
    assert_eq!((journal.as_str(), synchronous), ("wal", 2), "2 is FULL");
    let mut statement =
        store.connection.prepare("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").unwrap();
    let tables = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))).unwrap();
    let ours: Vec<_> = tables.map(Result::unwrap).filter(|(name, _)| !name.starts_with("sqlite_")).collect();
    assert!(ours.len() >= 6 && ours.iter().all(|(_, strict)| *strict), "{ours:?}");
}

#[test]
fn a_tool_leaves_a_broken_file_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    fs::write(&path, b"SQLite format 3, or so it says".repeat(40)).unwrap();
    let error = Store::open_as_is(&path).unwrap_err();
    assert!(matches!(&error, StoreError::At { error, .. } if matches!(**error, StoreError::Corrupt(_))), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
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

#[test]
fn events_are_kept_once_for_a_day_and_across_a_file_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(&folder.path().join("state.db"));
    let hours = |hours: u64| now() + Duration::from_secs(hours * 3_600);
    let counted = |at: u64, body: &str| {
        let event = SavedEvent { at: hours(at), body: body.to_owned() };
        Commit { at: hours(at), events: vec![event], ..Commit::default() }
    };
    let kept = |store: &Store| store.load().unwrap().events.into_iter().map(|event| event.body).collect::<Vec<_>>();
    store.commit(&counted(1, "a")).unwrap();
    store.commit(&counted(1, "a")).unwrap();
    assert_eq!(kept(&store), ["a"], "tried again");
    break_file(&store, "PRAGMA query_only = 1");
    store.commit(&counted(2, "b")).unwrap();
    store.commit(&counted(3, "c")).unwrap();
    break_file(&store, "PRAGMA query_only = 0");
    store.commit(&counted(4, "d")).unwrap();
    assert_eq!(store.trouble(), None);
    assert_eq!(kept(&store), ["a", "b", "c", "d"]);
    store.commit(&counted(27, "e")).unwrap();
    assert_eq!(kept(&store), ["c", "d", "e"], "a day is up");
}
