//! Files that fail, vanish, are replaced, or have unreadable rows.

use std::os::unix::fs::symlink;

use super::*;
use crate::notify::silence::Silence;
use trainspotter_core::model::Matchers;

/// Opens a file. A process that another test starts at this moment holds a copy of its lock until it executes its program.
fn serve(path: &Path) -> Store {
    for _ in 0..250 {
        match Store::serve(path, now()) {
            Err(error) if is_in_use(&error) => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened.unwrap(),
        }
    }
    panic!("{} stays locked", path.display());
}

fn is_in_use(error: &StoreError) -> bool {
    matches!(error, StoreError::At { error, .. } if **error == StoreError::InUse)
}

fn later(seconds: u64) -> Commit {
    Commit { at: now() + Duration::from_secs(seconds), ..tick(seconds as f64) }
}

/// Checks the in-memory fallback: a commit succeeds, and its notifications can be sent.
#[track_caller]
fn goes_on_in_memory(store: &mut Store, commit: &Commit, says: &str) {
    store.commit(commit).unwrap();
    let trouble = store.trouble().unwrap().to_string();
    assert!(trouble.contains(says) && trouble.contains("state file "), "{trouble}");
    assert_eq!(store.load().unwrap().alerts, commit.alerts);
    let due = store.due("oncall", commit.at + Duration::from_secs(86_400), 10).unwrap();
    assert_eq!(due.rows.iter().map(|row| &row.id).collect::<Vec<_>>(), [&commit.outbox[0].id]);
}

/// Checks the recovered file: it has everything, under the same ids.
#[track_caller]
fn is_back(mut store: Store, path: &Path, commit: &Commit) {
    // As in [`serve`].
    store.commit(commit).unwrap();
    for _ in 0..250 {
        if !store.trouble().is_some_and(is_in_use) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        store.commit(&Commit { outbox: Vec::new(), ..commit.clone() }).unwrap();
    }
    assert_eq!(store.trouble(), None);
    drop(store);
    let store = open(path);
    let saved = store.load().unwrap();
    assert_eq!(
        (saved.alerts, saved.series, kept_jobs(&store)),
        (commit.alerts.clone(), commit.series.clone(), commit.jobs.kept().collect())
    );
    assert_eq!(
        store.outbox().unwrap().into_iter().map(|row| row.id).collect::<Vec<_>>(),
        [commit.outbox[0].id.clone()]
    );
}

#[test]
fn whatever_makes_commits_fail_memory_stands_in_until_it_is_over() {
    type Do = fn(&Connection);
    let cases: [(&str, Do, Do); 5] = [
        (
            "raised",
            |other| {
                let trigger = "CREATE TRIGGER t BEFORE INSERT ON series BEGIN SELECT raise(ABORT, 'raised'); END";
                other.execute_batch(trigger).unwrap();
            },
            |other| other.execute_batch("DROP TRIGGER t").unwrap(),
        ),
        (
            "locked",
            |other| other.execute_batch("BEGIN EXCLUSIVE").unwrap(),
            |other| other.execute_batch("COMMIT").unwrap(),
        ),
        (
            "watermark",
            |other| other.execute_batch("ALTER TABLE watermark RENAME TO elsewhere").unwrap(),
            |other| other.execute_batch("ALTER TABLE elsewhere RENAME TO watermark").unwrap(),
        ),
        (
            "no column",
            |other| other.execute_batch("ALTER TABLE series RENAME COLUMN value TO number").unwrap(),
            |other| other.execute_batch("ALTER TABLE series RENAME COLUMN number TO value").unwrap(),
        ),
        (
            "NOT NULL",
            |other| {
                let table =
                    "CREATE TABLE other (metric TEXT, labels TEXT, value REAL, buckets TEXT, sum REAL, count INTEGER,
                                 more TEXT NOT NULL, PRIMARY KEY (metric, labels));
                             ALTER TABLE series RENAME TO before; ALTER TABLE other RENAME TO series";
                other.execute_batch(table).unwrap();
            },
            |other| other.execute_batch("DROP TABLE series; ALTER TABLE before RENAME TO series").unwrap(),
        ),
    ];
    for (says, breaks, mends) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = serve(&path);
        store.commit(&Commit { outbox: Vec::new(), ..tick(1.0) }).unwrap();
        let other = Connection::open(&path).unwrap();
        breaks(&other);
        goes_on_in_memory(&mut store, &later(30), says);
        goes_on_in_memory(&mut store, &later(60), says);
        mends(&other);
        drop(other);
        is_back(store, &path, &later(90));
    }
}

#[test]
fn a_file_that_is_deleted_or_replaced_is_rewritten() {
    let check = |what: &str, says: &str, change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut store = serve(&path);
        store.commit(&tick(1.0)).unwrap();
        let silence = Silence {
            id: 0,
            matchers: Matchers::parse("queue=q").unwrap(),
            starts_at: now(),
            ends_at: now() + Duration::from_secs(86_400),
            author: "ann".to_owned(),
            comment: what.to_owned(),
        };
        store.silence(&silence).unwrap();
        change(&path);
        goes_on_in_memory(&mut store, &later(30), says);
        is_back(store, &path, &later(60));
        assert_eq!(open(&path).silences().unwrap()[0].comment, what);
    };
    let remove = |path: &Path| {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", path.display()));
        }
    };
    check("deleted", "deleted", &remove);
    check("only the file", "deleted", &|path| fs::remove_file(path).unwrap());
    check("another", "another file", &|path| {
        let copy = path.with_extension("copy");
        open(&copy).commit(&Commit { at: now() - Duration::from_secs(3_600), ..Commit::default() }).unwrap();
        remove(path);
        fs::rename(copy, path).unwrap();
    });
    let log = |path: &Path| format!("{}-wal", path.display());
    check("only the log", "write-ahead log", &|path| fs::remove_file(log(path)).unwrap());
    check("log and index", "write-ahead log", &|path| {
        fs::remove_file(log(path)).unwrap();
        fs::remove_file(format!("{}-shm", path.display())).unwrap();
    });
    check("another log", "write-ahead log", &|path| {
        let copy = path.with_extension("copy");
        fs::write(&copy, b"remember the milk").unwrap();
        fs::rename(copy, log(path)).unwrap();
    });
    let write_over = |path: &Path, bytes: &[u8]| fs::write(path, bytes).unwrap();
    let cut = |path: &Path, to: u64| fs::File::options().write(true).open(path).unwrap().set_len(to).unwrap();
    check("emptied", "truncated", &|path| cut(path, 0));
    check("cut", "truncated", &|path| cut(path, 2_000));
    check("notes", "overwritten", &|path| write_over(path, &b"remember the milk ".repeat(400)));
    check("zeros", "overwritten", &|path| write_over(path, &vec![0; fs::read(path).unwrap().len()]));
}

#[test]
fn a_file_of_something_else_in_its_place_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (path, notes) = (folder.path().join("state.db"), folder.path().join("notes.txt"));
    let mut store = serve(&path);
    store.commit(&tick(1.0)).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let text = b"remember the milk ".repeat(400);
    fs::write(&path, &text).unwrap();
    goes_on_in_memory(&mut store, &later(30), "another file");
    goes_on_in_memory(&mut store, &later(60), "not a state file");
    assert_eq!(fs::read(&path).unwrap(), text);
    fs::rename(&path, &notes).unwrap();
    is_back(store, &path, &later(90));
    assert_eq!(fs::read(&notes).unwrap(), text);
}

#[test]
fn a_file_that_was_vacuumed_is_smaller_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = serve(&path);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TABLE junk (a); INSERT INTO junk VALUES (zeroblob(1000000)); PRAGMA wal_checkpoint(TRUNCATE)",
        )
        .unwrap();
    store.commit(&tick(1.0)).unwrap();
    let before = fs::metadata(&path).unwrap().len();
    other.execute_batch("DROP TABLE junk; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    assert!(fs::metadata(&path).unwrap().len() < before);
    store.commit(&later(30)).unwrap();
    assert_eq!(store.trouble(), None);
    assert_eq!(store.take_set_aside(), []);
}

#[test]
fn a_file_that_becomes_corrupt_is_moved_aside_and_rewritten_at_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = serve(&path);
    store.commit(&tick(1.0)).unwrap();
    store.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let size = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0xff_u8; usize::try_from(size).unwrap()]).unwrap();
    store.connection.execute_batch("PRAGMA shrink_memory").unwrap();
    goes_on_in_memory(&mut store, &later(30), "");
    store.commit(&later(60)).unwrap();
    assert_eq!(store.trouble(), None);
    assert_eq!(store.take_set_aside().len(), 1);
    is_back(store, &path, &later(90));
}

#[test]
fn a_service_starts_without_a_file_and_takes_it_as_soon_as_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("not/there/state.db");
    let mut store = serve(&missing);
    goes_on_in_memory(&mut store, &later(0), "cannot open it");
    fs::create_dir_all(missing.parent().unwrap()).unwrap();
    is_back(store, &missing, &later(30));

    // A folder in its place cannot be read, not even by root.
    let folder_in_its_place = folder.path().join("folder.db");
    fs::create_dir(&folder_in_its_place).unwrap();
    let mut store = serve(&folder_in_its_place);
    goes_on_in_memory(&mut store, &later(0), "cannot open it");
    fs::remove_dir(&folder_in_its_place).unwrap();
    is_back(store, &folder_in_its_place, &later(30));
}

#[test]
fn a_file_that_another_program_keeps_for_itself_at_the_start_is_taken_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    open(&path).commit(&tick(1.0)).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; DELETE FROM set_aside; COMMIT").unwrap();
    let mut store = serve(&path);
    goes_on_in_memory(&mut store, &later(30), "locked");
    drop(other);
    is_back(store, &path, &later(60));
}

#[test]
fn one_service_has_a_file_by_whatever_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let first = serve(&path);
    let (link, hard) = (folder.path().join("link.db"), folder.path().join("hard.db"));
    symlink(&path, &link).unwrap();
    fs::hard_link(&path, &hard).unwrap();
    for other in [&path, &link, &hard] {
        let refused = Store::serve(other, now()).unwrap_err().to_string();
        assert!(refused.contains("another process uses it"), "{refused}");
    }
    for entry in fs::read_dir(folder.path()).unwrap() {
        let name = entry.unwrap().path();
        assert!(!name.to_string_lossy().contains("lock"), "there is no lock that could be removed: {name:?}");
    }
    drop(first);
    serve(&link);
}

/// Changes a row without any checks, like a flipped bit.
fn flip(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let changed = connection.execute(sql, []).unwrap();
    assert_eq!(changed, 1, "{sql}");
}

#[test]
fn a_row_that_cannot_be_read_costs_itself_and_is_set_aside() {
    for (table, sql) in [
        ("alert", "UPDATE alert SET body = replace(body, '{', '[')"),
        ("alert", "UPDATE alert SET body = replace(body, 'firing', 'fjring')"),
        ("alert", "UPDATE alert SET body = CAST(x'7bff7d' AS TEXT)"),
        ("alert", "UPDATE alert SET id = replace(id, substr(id, 1, 1), 'x')"),
        ("outbox", "UPDATE outbox SET body = replace(body, '{', '[')"),
        ("outbox", "UPDATE outbox SET state = 'qending'"),
        ("outbox", "UPDATE outbox SET receiver = 'oncalm'"),
        ("outbox", "UPDATE outbox SET kind = 'fireb'"),
        ("outbox", "UPDATE outbox SET episode = episode + 1"),
        ("outbox", "UPDATE outbox SET next_attempt_at = 4611686018427387904"),
        ("outbox", "UPDATE outbox SET attempts = -1"),
        ("outbox", "UPDATE outbox SET id = CAST(x'ff' AS TEXT)"),
        ("watermark", "UPDATE watermark SET name = CAST(x'ff' AS TEXT)"),
        ("series", "UPDATE series SET labels = '{'"),
        ("series", "UPDATE series SET buckets = '[1'"),
        ("series", "UPDATE series SET value = 9e999"),
        ("series", "UPDATE series SET count = -3"),
        ("job", "UPDATE job SET body = '{' WHERE id = 'j1'"),
        ("job", "UPDATE job SET body = replace(body, 'RUNNABLE', 'FAILED') WHERE id = 'j1'"),
        ("job", "UPDATE job SET id = CAST(x'ff' AS TEXT) WHERE id = 'j2'"),
        ("queue", "UPDATE queue SET body = '{'"),
        ("queue", "UPDATE queue SET name = CAST(x'ff' AS TEXT)"),
        ("silence", "UPDATE silence SET matchers = '{'"),
        ("event", "UPDATE event SET body = '{'"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut first = tick(1.0);
        first.events = vec![SavedEvent { at: now(), body: "{}".to_owned() }];
        let silence = Silence {
            id: 0,
            matchers: Matchers::parse("queue=none").unwrap(),
            starts_at: now(),
            ends_at: now() + Duration::from_secs(60),
            author: String::new(),
            comment: String::new(),
        };
        let mut store = serve(&path);
        store.commit(&first).unwrap();
        store.silence(&silence).unwrap();
        assert_eq!(store.set_bad_rows_aside(now()).unwrap(), [], "nothing is wrong yet");
        drop(store);
        flip(&path, sql);
        // Tools can still read.
        let tool = Store::open_as_is(&path).unwrap();
        tool.outbox().unwrap();
        tool.silences().unwrap();
        tool.due("oncall", now(), 10).unwrap();
        drop(tool);

        let mut store = serve(&path);
        assert!(store.take_set_aside().is_empty(), "{sql}: a row is no reason to set the file aside");
        let bad = store.set_bad_rows_aside(now()).unwrap();
        assert_eq!(bad.iter().map(|row| row.table).collect::<Vec<_>>(), [table], "{sql}: {bad:?}");
        assert_eq!(store.trouble(), None, "{sql}");
        let saved = store.load().unwrap();
        let mut found = vec![
            ("alert", saved.alerts == first.alerts),
            ("watermark", saved.watermarks == first.watermarks),
            ("series", saved.series == first.series),
            ("event", saved.events == first.events),
            ("outbox", store.outbox().unwrap() == first.outbox),
            ("silence", store.silences().unwrap().len() == 1),
        ];
        // A firing alert is in the outbox too.
        found.retain(|(name, is_whole)| *is_whole == (*name == table && table != "alert"));
        assert!(found.is_empty(), "{sql}: {found:?}");
        let kept: i64 = store.connection.query_row("SELECT count(*) FROM set_aside", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 1, "{sql}");
        store.commit(&Commit { at: now() + Duration::from_secs(30), ..first }).unwrap();
        assert_eq!(store.set_bad_rows_aside(now()).unwrap(), [], "{sql}: once");
    }
}

#[test]
fn unreadable_rows_beyond_a_limit_are_deleted_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    serve(&path).commit(&tick(1.0)).unwrap();
    for seq in [1, MAX_BAD_ROWS] {
        flip(&path, &format!("INSERT INTO set_aside VALUES ({seq}, 0, 'event', 'earlier', 'broken')"));
    }
    flip(&path, "UPDATE queue SET body = '{'");
    let mut store = serve(&path);
    let lines = crate::log_capture::lines(|| assert_eq!(store.set_bad_rows_aside(now()).unwrap().len(), 1));
    let kept: i64 = store.connection.query_row("SELECT count(*) FROM set_aside", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 2, "the last one of before, and this one");
    assert!(lines.iter().any(|line| line.contains("WARN") && line.contains("deleted=1")), "{lines:#?}");
}

#[test]
fn unreadable_rows_of_forecasts_are_forgotten_and_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    serve(&path).commit(&tick(1.0)).unwrap();
    for (name, body) in [("arrival/91", "{"), ("arrival/92", "{}"), ("attempt/93", "")] {
        flip(&path, &format!("INSERT INTO forecast VALUES ('{name}', '{body}')"));
    }
    let mut store = serve(&path);
    let lines = crate::log_capture::lines(|| assert_eq!(store.set_bad_rows_aside(now()).unwrap(), []));
    assert!(matches!(lines.as_slice(), [line] if line.contains("WARN") && line.contains("rows=2")), "{lines:#?}");
    let rows = store.load().unwrap().forecast;
    let found = ["arrival/91", "arrival/92", "attempt/93"].map(|name| rows.contains_key(name));
    assert_eq!(found, [false, true, false]);
}

/// Changed and removed jobs.
fn changed<const N: usize>(changes: [(&str, Option<f64>); N]) -> SavedJobs {
    let mut changed = SavedJobs::default();
    for (id, seen) in changes {
        let body = seen.and_then(|seen| jobs([(id, seen)]).changes.remove(id).flatten());
        changed.changes.insert(id.into(), body);
    }
    changed
}

#[test]
fn what_changed_of_jobs_while_memory_stood_in_is_in_the_file_once_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = serve(&path);
    let commit = |seconds, jobs| Commit { at: now() + Duration::from_secs(seconds), jobs, ..Commit::default() };
    store.commit(&commit(0, jobs([("j1", 1.0), ("j2", 1.0), ("j3", 1.0)]))).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(!store.commit(&commit(30, changed([("j1", Some(2.0)), ("j4", Some(2.0))]))).unwrap().wants_all_jobs);
    store.commit(&commit(60, changed([("j2", None), ("j1", Some(3.0))]))).unwrap();
    assert!(store.trouble().is_some());
    other.execute_batch("COMMIT").unwrap();
    assert!(!store.commit(&commit(90, changed([("j5", Some(4.0))]))).unwrap().wants_all_jobs);
    assert_eq!(store.trouble(), None);
    let expected = jobs([("j1", 3.0), ("j3", 1.0), ("j4", 2.0), ("j5", 4.0)]);
    assert_eq!(kept_jobs(&store), expected.kept().collect::<Vec<_>>());
}

#[test]
fn a_new_file_waits_for_all_jobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut store = serve(&path);
    let commit = |seconds, jobs| Commit { at: now() + Duration::from_secs(seconds), jobs, ..Commit::default() };
    store.commit(&commit(0, jobs([("j1", 1.0), ("j2", 1.0)]))).unwrap();
    fs::remove_file(&path).unwrap();
    store.commit(&commit(30, changed([("j1", Some(2.0))]))).unwrap();
    assert!(store.commit(&commit(60, changed([("j3", Some(2.0))]))).unwrap().wants_all_jobs);
    assert!(store.trouble().is_some(), "a file without j2 would be a lie");
    let all = jobs([("j1", 2.0), ("j2", 1.0), ("j3", 2.0)]);
    assert!(!store.commit(&commit(90, all.clone())).unwrap().wants_all_jobs);
    assert_eq!(store.trouble(), None);
    assert_eq!(kept_jobs(&store), all.kept().collect::<Vec<_>>());
}
