//! An archive that cannot be written while a service runs: nothing is lost, rows are kept in the state file, and the
//! problem is visible.

use crate::support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use trainspotter::config::{Archive, ObjectPlace};
use trainspotter::store::UnarchivedFile;
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::metrics::{EndedJob, catalogue};

use support::archived::rows;
use support::disk::Disk;
use support::read_frames::ticks;
use support::service::{Running, Setup};
use support::stored_counter::counter;
use support::unreachable_bucket::Bucket;

/// At most: time passes as fast as the service polls.
const SPEED: f64 = 4_000.0;
const POLL_EVERY: Duration = Duration::from_secs(300);
/// How long the location is unavailable after a day is due.
const OUTAGE: Duration = Duration::from_secs(86_400);

const JOBS: usize = 40;

fn work() -> String {
    let mut csv = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..JOBS {
        csv += &format!("job-{job},team,8,{},{}\n", 600 + job * 3_000, 2_000 + job % 7 * 100);
    }
    csv
}

async fn start(store: &Path, archive: Archive) -> Running {
    let setup = Setup {
        trace: work(),
        store: Some(store.to_owned()),
        archive: Some(archive),
        speed: Some(SPEED),
        is_paced: true,
        poll_every: Some(POLL_EVERY),
        ..Setup::default()
    };
    Running::start(setup).await
}

/// A metric of the service itself.
async fn figure(running: &Running, metric: &str) -> f64 {
    let text = running.get("/metrics").await.1;
    let line = text.lines().find_map(|line| line.strip_prefix(metric).filter(|rest| rest.starts_with([' ', '{'])));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

/// The archive's status in the health response.
async fn problem(running: &Running) -> Option<String> {
    let tick = running.api("/api/v1/tick").await;
    let problems = tick["problems"].as_array().cloned().unwrap_or_default();
    problems.iter().filter_map(Value::as_str).find(|problem| problem.contains("archive: ")).map(str::to_owned)
}

async fn until_due(running: &Running, why: &str) {
    running.until_metric("a day is due and cannot be written", "trainspotter_archive_failures_total", "", 1.0).await;
    let problem = problem(running).await.expect("health says it");
    assert!(problem.contains(why), "{problem}");
}

/// Waits until nothing is pending, and compares the archive with the truth.
async fn nothing_is_lost(running: Running, store: &Path, place: &Path) {
    running.until("health has nothing to say", |running| async { problem(running).await.is_none() }).await;
    running
        .until("nothing is due", |running| async {
            figure(running, "trainspotter_archive_oldest_seconds").await == 0.0
        })
        .await;
    let truth = running.true_jobs().await;
    let ended: BTreeSet<String> = truth
        .iter()
        .filter(|job| job["stopped_at"].is_string())
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect();
    running.stop().await;
    let (jobs, archived) = rows::<EndedJob>(place, store).await;
    let ids: BTreeSet<String> = jobs.iter().map(|job| job.id.to_string()).collect();
    assert!(archived > 0 && ids.len() == jobs.len(), "each job is in one row");
    // The last jobs may have ended after the last poll.
    assert!(ids.is_subset(&ended) && ids.len() + 1 >= ended.len(), "{} of {} jobs", ids.len(), ended.len());
    let (hours, archived) = rows::<HourFigures>(place, store).await;
    let of_queue: Vec<_> = hours.iter().filter(|row| row.share.is_none()).map(|row| row.hour).collect();
    let distinct: BTreeSet<_> = of_queue.iter().collect();
    assert!(archived > 0 && distinct.len() == of_queue.len(), "each hour is in one row");
    // A busy machine may tick less than once an hour. Each hour that a tick counted is there, with all that was counted.
    let hour = Duration::from_secs(3_600);
    let end = **distinct.last().unwrap() + hour;
    // The first tick has nothing before it to count from.
    let ticked = ticks(store).into_iter().skip(1).map(|frame| frame.at).filter(|at| *at < end);
    let missing: Vec<_> =
        ticked.filter(|at| !distinct.iter().any(|hour_of| **hour_of <= *at && *at <= **hour_of + hour)).collect();
    assert!(missing.is_empty(), "no hour with a tick is missing: {missing:?}");
    for part in ["running_unknown", "unallocated"] {
        let column = format!("{part}_gpu_seconds");
        let archived: f64 = hours.iter().filter_map(|row| row.figures.get(&column)).sum();
        let counted = counter(store, catalogue::GPU_TIME.name, ("part", part), end);
        assert!((archived - counted).abs() < 1e-3 && archived > 0.0, "{column}: {archived} of {counted}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_bucket_for_a_day_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("state.db");
    let mut bucket = Bucket::out_of_reach(folder.path().join("s3")).await;
    let place = ObjectPlace::Bucket { bucket: "bucket".to_owned(), prefix: "archive".to_owned() };
    let archive =
        Archive { endpoint: Some(bucket.endpoint()), region: Some("us-east-1".to_owned()), ..Archive::at(place) };
    let running = start(&store, archive).await;
    until_due(&running, "bucket").await;
    let pending = figure(&running, "trainspotter_archive_pending").await;
    let seconds = OUTAGE.as_secs_f64();
    running.until_metric("it stays away for a day", "trainspotter_archive_oldest_seconds", "", seconds).await;
    let rows: u64 = UnarchivedFile::open(&store).unwrap().days().unwrap().iter().map(|day| day.rows).sum();
    assert!(figure(&running, "trainspotter_archive_pending").await > pending, "rows of the outage wait, too");
    assert!(rows as f64 > pending, "they wait in the state file: {rows}");
    assert!(problem(&running).await.is_some());
    bucket.serve().await;
    nothing_is_lost(running, &store, &bucket.below("archive")).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_under_the_archive_loses_nothing_and_leaves_no_part_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(&folder.path().join("disk"), "1m").await else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let (store, place) = (folder.path().join("state.db"), disk.path().join("archive"));
    let filler = disk.fill();
    let running = start(&store, Archive::at(ObjectPlace::Folder(place.clone()))).await;
    until_due(&running, "No space left on device").await;
    assert!(figure(&running, "trainspotter_archive_pending").await > 0.0);
    let files = std::fs::read_dir(place.join("jobs/v1"))
        .map_or(0, |days| days.map(|day| std::fs::read_dir(day.unwrap().path()).unwrap().count()).sum::<usize>());
    assert_eq!(files, 0, "no part of a file is left");
    std::fs::remove_file(&filler).unwrap();
    nothing_is_lost(running, &store, &place).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_work_is_named_at_the_start_and_not_when_the_first_day_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let place = file.join("archive");
    let setup = Setup {
        trace: work(),
        archive: Some(Archive::at(ObjectPlace::Folder(place.clone()))),
        poll_every: Some(Duration::from_secs(60)),
        // The pause after a failure, five minutes, passes in seconds.
        speed: Some(100.0),
        ..Setup::default()
    };
    let running = Running::start(setup).await;
    running
        .until("health names the place", |running| async {
            problem(running).await.is_some_and(|why| why.contains("file/archive"))
        })
        .await;
    assert_eq!(figure(&running, "trainspotter_archive_failures_total").await, 0.0, "nothing was due");
    std::fs::remove_file(&file).unwrap();
    running.until("it is found again", |running| async { problem(running).await.is_none() }).await;
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "the check leaves nothing behind");
    running.stop().await;
}
