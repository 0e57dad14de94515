//! Files of the archive, on disk and in memory.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::objects::Storage as _;
use crate::objects::fake_s3::{FakeS3, Refusal};
use crate::objects::folder::Folder;
use crate::store::{ArchiveTable, Commit, Store, StoreHandle, Unarchived};
use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::model::Timestamp;

/// Ten o'clock on the test's day.
fn ten() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 - 1_800_000_000_000 % 86_400_000 + 36_000_000)
}

fn job(number: u64) -> EndedJob {
    EndedJob {
        id: format!("job-{number}"),
        name: Some("train \u{1f682} \"x\"".to_owned()),
        queue: "prod".to_owned(),
        share: (!number.is_multiple_of(3)).then(|| format!("share-{}", number % 3)),
        owner: (!number.is_multiple_of(2)).then(|| "ada".to_owned()),
        tags: (0..number % 4).map(|tag| (format!("tag-{tag}"), format!("värde {number}"))).collect(),
        priority: Some(-1),
        instances: (0..number % 3).map(|kind| (format!("ml.p{kind}.48xlarge"), 2.0)).collect(),
        gpus: (!number.is_multiple_of(5)).then_some(16.0),
        outcome: "succeeded".to_owned(),
        submitted_at: Some(ten() - Duration::from_secs(number)),
        ended_at: ten() + Duration::from_millis(number),
        waited: (0..number % 2).map(|_| ("share_at_limit".to_owned(), 12.5)).collect(),
        attempts: Some(1),
        gpu_seconds: Some(number as f64),
        ..EndedJob::default()
    }
}

fn encoded<R: Row>(rows: impl IntoIterator<Item = R>) -> Vec<u8> {
    let mut encoder = Encoder::new().unwrap();
    rows.into_iter().for_each(|row| encoder.push(row).unwrap());
    encoder.finish().unwrap()
}

fn decoded<R: Row>(bytes: Vec<u8>) -> Result<Vec<R>, ArchiveError> {
    let mut rows = Vec::new();
    decode("x.parquet", bytes, |row| rows.push(row)).map(|()| rows)
}

#[test]
fn rows_come_back_as_they_were_and_the_same_rows_are_the_same_bytes() {
    let jobs: Vec<EndedJob> = (0..500).map(job).collect();
    let bytes = encoded(jobs.clone());
    assert_eq!(bytes, encoded(jobs.clone()));
    assert_eq!(decoded::<EndedJob>(bytes).unwrap(), jobs);
    let hour = |share: Option<&str>| HourFigures {
        hour: ten(),
        account: Some("123456789012".to_owned()),
        region: None,
        queue: "prod".to_owned(),
        share: share.map(str::to_owned),
        figures: [("waits".to_owned(), 3.0), ("running_busy_gpu_seconds".to_owned(), 0.5)].into(),
    };
    let hours = vec![hour(None), hour(Some("")), hour(Some("research"))];
    assert_eq!(decoded::<HourFigures>(encoded(hours.clone())).unwrap(), hours);
    assert_eq!(decoded::<EndedJob>(encoded(Vec::<EndedJob>::new())).unwrap(), []);
}

#[test]
fn a_file_that_is_broken_or_newer_or_of_something_else_is_named() {
    let bytes = encoded((0..100).map(job));
    let message = |bytes: Vec<u8>| decoded::<EndedJob>(bytes).unwrap_err().to_string();
    for broken in [Vec::new(), b"PAR1".to_vec(), bytes[..bytes.len() / 2].to_vec(), vec![0; 1_000]] {
        let message = message(broken);
        assert!(message.starts_with("x.parquet cannot be read: "), "{message}");
    }
    let newer = |from: &[u8], to: &[u8]| {
        let at = bytes.windows(from.len()).rposition(|window| window == from).unwrap();
        let mut other = bytes.clone();
        other[at..at + to.len()].copy_from_slice(to);
        message(other)
    };
    assert!(
        newer(b"jobs/1", b"jobs/2")
            .contains("by a newer version of Trainspotter (schema jobs/2; this build knows jobs/1)")
    );
    assert!(newer(b"jobs/1", b"else/1").contains("has schema else/1"));
    let message = decoded::<HourFigures>(bytes).unwrap_err().to_string();
    assert!(message.contains("has schema jobs/1; this build needs hours/1"), "{message}");
}

/// A store with unarchived rows, one tick per entry.
async fn store_with(jobs: impl IntoIterator<Item = Vec<EndedJob>>) -> StoreHandle {
    let store = StoreHandle::start(Store::in_memory().unwrap()).unwrap();
    for (number, jobs) in jobs.into_iter().enumerate() {
        keep(&store, number as u64, &jobs).await;
    }
    store
}

async fn keep(store: &StoreHandle, tick: u64, jobs: &[EndedJob]) {
    let at = ten() + Duration::from_secs(tick * 30);
    let rows = unarchived_of(jobs, at).unwrap();
    let commit = Commit { at, unarchived: Unarchived { rows, ..Unarchived::default() }, ..Commit::default() };
    store.commit(std::sync::Arc::new(commit)).await.unwrap();
}

fn file(folder: &Path) -> std::path::PathBuf {
    folder.join(format!("jobs/v1/day={}/own.parquet", day_text(ten())))
}

async fn archive(folder: &Path, store: &StoreHandle) -> Result<Written, ArchiveError> {
    let storage = Folder::new(folder.to_owned());
    write_day::<EndedJob, _>(&storage, store, day_of(ten()), "own", || true).await
}

#[tokio::test]
async fn a_day_is_written_once_and_corrected_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let ticks = || (0..300).map(|tick| vec![job(2 * tick), job(2 * tick + 1)]);
    let store = store_with(ticks()).await;
    let written = archive(folder.path(), &store).await.unwrap();
    assert_eq!(written, Written { added: 600, was_corrected: false, unreadable: 0 });
    assert_eq!(store.call(|store| store.unarchived_days()).await.unwrap(), [], "nothing waits any more");
    let first = std::fs::read(file(folder.path())).unwrap();
    assert_eq!(decoded::<EndedJob>(first.clone()).unwrap().len(), 600);
    let modified = || std::fs::metadata(file(folder.path())).unwrap().modified().unwrap();
    let made_at = modified();

    // The same rows again, as after a crash before they were removed from the store.
    let again = store_with(ticks()).await;
    assert_eq!(archive(folder.path(), &again).await.unwrap(), Written::default());
    assert_eq!((modified(), std::fs::read(file(folder.path())).unwrap()), (made_at, first));
    assert_eq!(again.call(|store| store.unarchived_days()).await.unwrap(), []);

    // One late row, and one that is already archived.
    keep(&again, 999, &[job(5), job(10_000)]).await;
    let written = archive(folder.path(), &again).await.unwrap();
    assert_eq!(written, Written { added: 1, was_corrected: true, unreadable: 0 });
    let jobs = decoded::<EndedJob>(std::fs::read(file(folder.path())).unwrap()).unwrap();
    assert_eq!((jobs.len(), &*jobs[600].id), (601, "job-10000"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["jobs"], "no part of a file stays");
}

#[tokio::test]
async fn what_cannot_be_written_or_read_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with([vec![job(1)], vec![job(2)]]).await;
    let waits =
        async || store.call(|store| store.unarchived_days()).await.unwrap().iter().map(|day| day.rows).sum::<u64>();

    // A file is in the way of the folder.
    let place = folder.path().join("place");
    std::fs::write(&place, "x").unwrap();
    let error = archive(&place, &store).await.unwrap_err().to_string();
    assert!(error.contains("cannot use the folder"), "{error}");
    assert_eq!(waits().await, 2);

    // A broken file is neither overwritten nor lost.
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir_all(file(&place).parent().unwrap()).unwrap();
    std::fs::write(file(&place), "broken").unwrap();
    let error = archive(&place, &store).await.unwrap_err().to_string();
    assert!(error.contains("own.parquet cannot be read"), "{error}");
    assert_eq!((waits().await, std::fs::read(file(&place)).unwrap()), (2, b"broken".to_vec()));

    // A replica that is no longer the leader writes nothing.
    std::fs::remove_file(file(&place)).unwrap();
    let storage = Folder::new(place.clone());
    let refused = write_day::<EndedJob, _>(&storage, &store, day_of(ten()), "own", || false).await;
    assert_eq!((refused, file(&place).exists()), (Err(ArchiveError::NotLeading), false));

    // An unreadable row stays in the state file; the others are archived.
    let bad = Unarchived {
        rows: vec![crate::store::UnarchivedRows {
            table: ArchiveTable::Jobs,
            day: day_of(ten()),
            at: ten() + Duration::from_secs(9_999),
            rows: 7,
            body: vec![1, 2, 3],
        }],
        ..Unarchived::default()
    };
    store.commit(std::sync::Arc::new(Commit { unarchived: bad, ..Commit::default() })).await.unwrap();
    let written = archive(&place, &store).await.unwrap();
    assert_eq!((written.added, written.unreadable, waits().await), (2, 7, 7));
}

#[tokio::test]
async fn a_bucket_out_of_reach_for_a_day_loses_nothing_and_each_row_is_written_once() {
    let (fake, bucket) = FakeS3::start().await;
    let store = store_with((0..100).map(|tick| vec![job(tick)])).await;
    let waits =
        async || store.call(|store| store.unarchived_days()).await.unwrap().iter().map(|day| day.rows).sum::<u64>();
    let write = async || write_day::<EndedJob, _>(&bucket, &store, day_of(ten()), "own", || true).await;
    let kept = || decoded::<EndedJob>(fake.object(&layout::file(ArchiveTable::Jobs, day_of(ten()), "own")).unwrap());
    for (first, refusal) in [(1_000, Refusal::coded(503, "SlowDown")), (2_000, Refusal::coded(403, "AccessDenied"))] {
        fake.outage(Some(refusal.clone()));
        // More rows arrive during the outage, and each attempt finds all of them.
        for hour in 0..24 {
            keep(&store, first + hour, &[job(1_000 + hour)]).await;
            let error = write().await.unwrap_err().to_string();
            assert!(error.contains("the bucket bucket"), "{refusal:?}: {error}");
        }
    }
    // The same rows arrived again in the second outage: two commits, but one row each.
    assert_eq!((waits().await, fake.puts()), (148, 0));
    fake.outage(None);
    // It is read, and the write fails; then the write succeeds, but its response is lost.
    fake.refuse(Refusal {
        status: 404,
        body: "<Error><Code>NoSuchKey</Code></Error>".to_owned(),
        ..Refusal::default()
    });
    fake.refuse(Refusal::coded(500, "InternalError"));
    assert!(write().await.is_err());
    assert_eq!((waits().await, fake.puts()), (148, 0));
    fake.refuse(Refusal {
        status: 404,
        body: "<Error><Code>NoSuchKey</Code></Error>".to_owned(),
        ..Refusal::default()
    });
    fake.refuse(Refusal { is_done: true, ..Refusal::coded(500, "InternalError") });
    assert!(write().await.is_err());
    assert_eq!((waits().await, fake.puts(), kept().unwrap().len()), (148, 1, 124));
    assert_eq!(write().await, Ok(Written::default()), "everything is there already");
    assert_eq!((waits().await, fake.puts(), kept().unwrap().len()), (0, 1, 124));
}

#[tokio::test]
async fn days_are_read_from_every_source_and_a_broken_file_costs_itself() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Folder::new(folder.path().to_owned());
    for (source, jobs) in [("a", 0..10), ("b", 10..20)] {
        storage.put(&layout::file(ArchiveTable::Jobs, day_of(ten()), source), encoded(jobs.map(job))).await.unwrap();
    }
    storage.put(&layout::file(ArchiveTable::Jobs, day_of(ten()), "c"), b"PAR1".to_vec()).await.unwrap();
    let mut ids = Vec::new();
    let (from, to) = (ten() + Duration::from_millis(5), ten() + Duration::from_millis(15));
    let read = read_days(&storage, from, to, |job: EndedJob| ids.push(job.id)).await.unwrap();
    assert_eq!(ids, (5..15).map(|number| format!("job-{number}")).collect::<Vec<_>>());
    assert_eq!((read.files, read.unreadable.len()), (2, 1));
    assert!(read.unreadable[0].contains("/c.parquet cannot be read"), "{:?}", read.unreadable);
}

/// Some S3-compatible stores ignore where a list should continue.
#[tokio::test]
async fn a_list_that_begins_again_and_again_is_an_error() {
    let (fake, storage) = FakeS3::start().await;
    let file = layout::file(ArchiveTable::Jobs, day_of(ten()), "a");
    let body = format!("<ListBucketResult><Contents><Key>prefix/{file}</Key></Contents></ListBucketResult>");
    fake.outage(Some(Refusal { status: 200, body, ..Refusal::default() }));
    let error = days(&storage, ArchiveTable::Jobs).await.unwrap_err().to_string();
    assert!(error.contains("returned a name before jobs/"), "{error}");
}

/// Measures a day of a million jobs: `cargo test --lib million -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "measures; takes minutes without optimisation"]
#[expect(clippy::print_stderr, reason = "it prints what it measured")]
async fn a_day_of_a_million_jobs_is_measured() {
    const TICKS: u64 = 2_880;
    const PER_TICK: u64 = 1_000_000 / TICKS;
    let memory = |key: &str| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    };
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::start(Store::open(&folder.path().join("state.db"), ten()).unwrap().0).unwrap();
    let began = tokio::time::Instant::now();
    for tick in 0..TICKS {
        let jobs: Vec<EndedJob> = (tick * PER_TICK..(tick + 1) * PER_TICK).map(job).collect();
        keep(&store, tick, &jobs).await;
    }
    let size = std::fs::metadata(folder.path().join("state.db")).unwrap().len() >> 20;
    eprintln!("{TICKS} commits: {:?}, state file {size} MiB, memory {} MiB", began.elapsed(), memory("VmRSS"));
    let (began, before) = (tokio::time::Instant::now(), memory("VmRSS"));
    let written = archive(folder.path(), &store).await.unwrap();
    let bytes = std::fs::metadata(file(folder.path())).unwrap().len() >> 20;
    eprintln!(
        "{} rows written: {:?}, file {bytes} MiB, memory {before} MiB before, {} MiB at most",
        written.added,
        began.elapsed(),
        memory("VmHWM")
    );
    let began = tokio::time::Instant::now();
    keep(&store, TICKS, &[job(TICKS * PER_TICK)]).await;
    let corrected = archive(folder.path(), &store).await.unwrap();
    assert!(corrected.was_corrected && corrected.added == 1);
    eprintln!("corrected by one row: {:?}, memory {} MiB at most", began.elapsed(), memory("VmHWM"));
}
