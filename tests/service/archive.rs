//! The archive of a running service: completed days, across restarts and an unwritable location.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use trainspotter::config::{Archive, ObjectPlace};
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::metrics::{EndedJob, catalogue};
use trainspotter_core::model::Timestamp;

use support::archived::rows;
use support::hook::hook;
use support::process::trainspotter;
use support::service::{Running, Setup};
use support::stored_counter::counter;

/// At most: time passes as fast as the service polls.
const SPEED: f64 = 3_000.0;

const POLL_EVERY: Duration = Duration::from_secs(300);

const JOBS: usize = 80;

/// Jobs for two days: occasional ones in one share, more than the quota in the other.
fn work() -> String {
    let mut csv = "job_id,share,num_gpu,submit_s,duration_s,owner\n".to_owned();
    for job in 0..JOBS / 2 {
        csv += &format!("steady-{job},steady,8,{},{},ada\n", 600 + job * 3_000, 1_500 + job % 7 * 100);
        csv += &format!("bursty-{job},bursty,8,{},{},bob\n", 600 + job / 6 * 15_000, 3_000 + job % 11 * 300);
    }
    csv
}

fn archived_days(folder: &Path, table: &str) -> usize {
    std::fs::read_dir(folder.join(table).join("v1")).map_or(0, Iterator::count)
}

#[tokio::test(start_paused = true)]
async fn days_that_are_over_are_archived_and_sum_to_the_counters_and_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let (store, place) = (folder.path().join("state.db"), folder.path().join("archive"));
    // A file blocks the folder until it is removed.
    std::fs::write(&place, "in the way").unwrap();
    let hook = hook().await;
    let setup = Setup {
        trace: work(),
        webhook: Some(hook.url.clone()),
        daily_report: true,
        store: Some(store.clone()),
        archive: Some(Archive::at(ObjectPlace::Folder(place.clone()))),
        speed: Some(SPEED),
        is_paced: true,
        poll_every: Some(POLL_EVERY),
        ..Setup::default()
    };
    let running = Running::start(setup).await;
    running.until_metric("a day is due and cannot be written", "trainspotter_archive_failures_total", "", 1.0).await;
    let ready = running.get("/readyz").await.1;
    assert!(ready.contains("archive: cannot use the folder"), "{ready}");
    std::fs::remove_file(&place).unwrap();
    running.until("the first day is archived", |_| async { archived_days(&place, "jobs") > 0 }).await;
    let running = running.restart().await;
    running
        .until("every job has ended", |running| async move {
            let text = running.get("/metrics").await.1;
            let ended = text.lines().filter(|line| line.starts_with("trainspotter_job_ended_total{"));
            ended.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>() >= JOBS as f64
        })
        .await;
    let days = archived_days(&place, "hours");
    running.until("one more day is archived", |_| async { archived_days(&place, "hours") > days }).await;
    let truth = running.true_jobs().await;
    let reports = hook.until(|reported| reports_in(reported).len() > 1).await;
    let reports = reports_in(&reports);
    let ids: BTreeSet<&String> = reports.iter().map(|(_, id)| id).collect();
    let days: BTreeSet<String> = reports.iter().map(|(day, _)| day.clone()).collect();
    assert_eq!((ids.len(), days.len()), (reports.len(), reports.len()), "each day's report is sent once: {reports:?}");
    let report = running.api("/api/v1/report?from=-30d&by=share,owner").await;
    assert_eq!((&report["jobs"], report["breakdown"].as_array().unwrap().len()), (&Value::from(JOBS), 2), "{report:#}");
    let (code, refused) = running.get("/api/v1/report?by=shore").await;
    assert!(code == 400 && refused.contains("unknown key `shore`; known keys are queue, share"), "{refused}");
    let (code, refused) = running.get("/api/v1/report?from=2099-01-01T00:00:00Z").await;
    assert!(code == 400 && refused.contains("in the future"), "{refused}");
    running.stop().await;

    let (jobs, archived) = rows::<EndedJob>(&place, &store).await;
    assert!(archived > 0);
    let by_id: BTreeMap<&str, &EndedJob> = jobs.iter().map(|job| (job.id.as_str(), job)).collect();
    assert_eq!((jobs.len(), by_id.len()), (JOBS, JOBS), "each job is in one row");
    for job in &truth {
        is_as_it_was(by_id[job["id"].as_str().unwrap()], job);
    }

    commands_report_the_same(folder.path(), &place, &store).await;
    hours_sum_to_the_counters(&place, &store).await;
}

/// Reports by the command over the archive, and over rows that are pending in the state file.
async fn commands_report_the_same(folder: &Path, place: &Path, store: &Path) {
    let place_shown = place.display().to_string();
    let (ended, csv, error) =
        said(&["report", "--archive", &place_shown, "--from", "60d", "--by", "owner", "--format", "csv"]).await;
    assert_eq!(ended, Some(0), "{error}");
    assert!(csv.starts_with("owner,from,to,jobs,") && csv.contains("\r\nbob,") && csv.contains("\r\nada,"), "{csv}");
    let page = folder.join("report.html").display().to_string();
    let state = store.display().to_string();
    let (ended, _, error) =
        said(&["report", "--recorded", &state, "--from", "60d", "--format", "html", "-o", &page]).await;
    assert_eq!(ended, Some(0), "{error}");
    assert!(std::fs::read_to_string(&page).unwrap().contains("</html>"));
}

async fn hours_sum_to_the_counters(place: &Path, store: &Path) {
    let (hours, archived) = rows::<HourFigures>(place, store).await;
    assert!(archived > 0);
    let end = hours.iter().map(|row| row.hour).max().unwrap() + Duration::from_secs(3_600);
    let sum = |column: &str| hours.iter().filter_map(|row| row.figures.get(column)).sum::<f64>();
    let same = |column: &str, metric: &str, label: (&str, &str)| {
        let (archived, counted) = (sum(column), counter(store, metric, label, end));
        assert!((archived - counted).abs() < 1e-3, "{column}: {archived}, {metric}: {counted}");
        assert!(archived > 0.0, "{column}");
    };
    for part in ["running_unknown", "scheduled", "unallocated"] {
        same(&format!("{part}_gpu_seconds"), catalogue::GPU_TIME.name, ("part", part));
    }
    for part in ["own", "borrowed", "lent", "idle"] {
        same(&format!("quota_{part}_gpu_seconds"), catalogue::SHARE_TIME.name, ("part", part));
    }
    same("unallocated_no_demand_gpu_seconds", catalogue::GPU_UNALLOCATED_TIME.name, ("cause", "no_demand"));
    same("jobs_succeeded", catalogue::JOB_ENDED.name, ("outcome", "succeeded"));
    let queue = hours[0].queue.clone();
    same("wait_seconds", catalogue::QUEUE_WAIT.name, ("queue", &queue));
}

/// The day of each report, with the notification's id.
fn reports_in(reported: &[(String, Value, String)]) -> Vec<(String, String)> {
    let reports = reported.iter().filter(|(_, alert, _)| alert["labels"]["alertname"] == "UsageReport");
    reports.map(|(_, alert, id)| (alert["startsAt"].to_string(), id.clone())).collect()
}

/// Output and exit code of a command.
async fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = trainspotter(arguments).env_remove("TRAINSPOTTER_URL").output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_report_that_cannot_be_built_has_advice() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("file"), "x").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    let day = folder.path().join("empty/jobs/v1/day=2026-11-01");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::write(day.join("own.parquet"), "PAR1 broken").unwrap();
    let (empty, file, none) = (path("empty"), path("file"), path("none"));
    for (arguments, code, words) in [
        (vec!["--archive", &none], 64, "cannot read the folder"),
        (vec!["--archive", &file], 64, "is not a folder"),
        (vec!["--archive", "gs://bucket/a"], 64, "an archive cannot be stored at `gs:`"),
        (vec!["--archive", &empty, "--from", "2099-01-01"], 64, "is in the future"),
        (vec!["--archive", &empty, "--from", "1d", "--to", "2d"], 64, "--from must be before --to"),
        (vec!["--archive", &empty, "--from", "soon"], 64, "is not a time; write an age"),
        (vec!["--archive", &empty, "--by", "shore"], 64, "unknown key `shore`; known keys are queue, share, owner"),
        (vec!["--archive", &empty, "--by", "share,share"], 64, "given twice"),
        (vec!["--archive", &empty, "--objective", "soon"], 64, "95%:30m"),
        (vec!["--recorded", &file], 64, "--recorded"),
        (vec!["--recorded", &none], 64, "--recorded"),
        (vec!["--archive", &empty, "--recorded", &file], 64, "cannot be used with"),
        (vec!["--url", "http://127.0.0.1:1"], 1, "does not respond"),
    ] {
        let all: Vec<&str> = ["report"].into_iter().chain(arguments.iter().copied()).collect();
        let (ended, _, error) = said(&all).await;
        assert!(ended == Some(code) && error.contains(words), "{arguments:?}: {ended:?} {error}");
    }
    let (ended, text, error) = said(&["report", "--archive", &empty, "--from", "2026-10-01"]).await;
    assert_eq!((ended, error.as_str()), (Some(0), ""));
    assert!(text.contains("skipped: jobs/v1/day=2026-11-01/own.parquet cannot be read"), "{text}");
}

/// Compares a row with the simulator's truth, with a tolerance of one poll where only polls show it.
fn is_as_it_was(row: &EndedJob, truth: &Value) {
    let at = |value: &Value| value.as_str().map(|text| serde_json::from_value::<Timestamp>(text.into()).unwrap());
    let spans = truth["spans"].as_array().unwrap();
    let seconds = |phases: &[&str]| {
        let of = spans.iter().filter(|span| phases.contains(&span["phase"].as_str().unwrap()));
        of.map(|span| at(&span["to"]).unwrap().seconds_since(at(&span["from"]).unwrap())).sum::<f64>()
    };
    assert_eq!((row.submitted_at, Some(row.ended_at)), (at(&truth["created_at"]), at(&truth["stopped_at"])));
    assert_eq!(row.outcome, "succeeded");
    assert_eq!(row.account.as_deref(), Some("123456789012"));
    assert_eq!(row.owner.as_deref(), truth["tags"]["owner"].as_str());
    let gpus = truth["gpus"].as_f64();
    assert_eq!(row.gpus, gpus);
    // Attempts that were preempted between two polls end when that was seen.
    let polls = f64::from(row.preemptions.unwrap() + 1) * 2.0 * POLL_EVERY.as_secs_f64();
    let near = |what: &str, ours: Option<f64>, theirs: f64, tolerance: f64| {
        let ours = ours.unwrap_or_else(|| panic!("{what} is not known: {row:?}"));
        assert!((ours - theirs).abs() <= tolerance, "{what}: {ours}, {theirs}: {row:#?}");
    };
    near("wait", row.wait_seconds, seconds(&["waiting"]), polls);
    near(
        "held",
        row.gpu_seconds,
        seconds(&["scheduled", "starting", "running"]) * gpus.unwrap(),
        polls * gpus.unwrap(),
    );
    near("first wait", row.first_wait_seconds, truth["first_wait_seconds"].as_f64().unwrap(), polls);
    assert_eq!(u64::from(row.preemptions.unwrap()), truth["preemptions"].as_u64().unwrap());
    let waited: f64 = row.waited.values().sum();
    assert!(waited <= row.wait_seconds.unwrap() + polls, "{row:?}");
}
