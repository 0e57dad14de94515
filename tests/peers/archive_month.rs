//! A month of the demo's workload, archived and reported, compared with the simulator's truth:
//! `cargo test --test peers a_month -- --ignored --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use trainspotter::config::{Archive, Config, History, ObjectPlace, Poll};
use trainspotter_core::metrics::EndedJob;
use trainspotter_core::metrics::archived_hour::HourFigures;
use trainspotter_core::metrics::gpu_part_names::{Part, UnallocatedCause};
use trainspotter_core::metrics::quota_share_use;
use trainspotter_core::model::Timestamp;
use trainspotter_core::yaml::HumanDuration;
use trainspotter_simulator::workload::Synthetic;

use crate::support::archived::rows;
use crate::support::demo::Demo;
use crate::support::http;
use crate::support::paced_clock::PacedClock;
use crate::support::process::trainspotter;

const SEED: u64 = 7;
const DAY: Duration = Duration::from_secs(86_400);
/// Period in which jobs are submitted.
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// Maximum simulated seconds per real second. While the service is late the clock runs slower, so that the result does
/// not depend on the machine.
const SPEED: f64 = 3_600.0;
const POLL_EVERY: Duration = Duration::from_secs(600);
/// Timeout of each wait, by the paced clock: several months.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Minimum fraction of the month that hourly figures must cover.
const LEAST_WATCHED: f64 = 0.98;
const CAPACITY: &str = "GPU-seconds of capacity";

/// Sums over jobs, by key.
type Totals = BTreeMap<String, f64>;

#[tokio::test(start_paused = true)]
#[ignore = "takes 20 to 45 minutes"]
async fn a_month_of_the_demo_sums_to_the_truth_within_a_poll_interval() {
    let clock = PacedClock::hold();
    let folder = tempfile::tempdir().unwrap();
    let (store, place) = (folder.path().join("state.db"), folder.path().join("archive"));
    let mut demo = a_month(&store, &place).await;
    let (_moved, page) = watch::channel(demo.page);
    clock.follow(page, demo.clock, POLL_EVERY);
    let watched_since = first_look(&demo).await;
    let (truth, slowest) = until_all_has_ended(&demo, watched_since).await;
    until_archived(&place).await;
    let url = format!("http://{}/_sim/truth", demo.endpoint);
    let sums: Value = http::get(url).await.unwrap().json().await.unwrap();
    let at: Timestamp = serde_json::from_value(sums["now"].clone()).unwrap();
    let (of_hours, capacity, queues) = hours_of_truth(&sums);
    demo.stop_service().await;

    let (all, archived) = rows::<EndedJob>(&place, &store).await;
    let is_watched = |job: &&EndedJob| job.submitted_at.is_some_and(|at| at >= watched_since);
    let jobs: Vec<EndedJob> = all.iter().filter(is_watched).cloned().collect();
    let ids: BTreeSet<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!((jobs.len(), ids.len()), (truth.len(), truth.len()), "each job is in one row");
    let (hours, _) = rows::<HourFigures>(&place, &store).await;
    let sum = |columns: &[&str]| {
        let of_queues = hours.iter().filter(|row| queues.contains(&row.queue));
        of_queues.flat_map(|row| columns.iter().filter_map(|column| row.figures.get(*column))).sum::<f64>()
    };
    let running = ["running_busy_gpu_seconds", "running_idle_gpu_seconds", "running_unknown_gpu_seconds"];
    let of_archive = Totals::from([
        ("GPU-seconds running, hours".to_owned(), sum(&running)),
        ("GPU-seconds scheduled, hours".to_owned(), sum(&["scheduled_gpu_seconds"])),
        ("GPU-seconds starting, hours".to_owned(), sum(&["starting_gpu_seconds"])),
        (CAPACITY.to_owned(), sum(&Part::ALL.map(|part| column_of(part.as_str())).each_ref().map(String::as_str))),
    ]);
    let days_of_hours = hours.iter().map(|row| row.hour).collect::<BTreeSet<Timestamp>>().len() / 24;
    eprintln!(
        "seed {SEED}: {} jobs in {days_of_hours} days, {archived} of them in the archive, the rest in the state file; longest poll interval {slowest} s",
        jobs.len()
    );
    // One poll interval per job; hourly figures also started with the first poll.
    let of_gpus = slowest * truth.iter().filter_map(|job| job["gpus"].as_f64()).sum::<f64>();
    let unwatched = capacity * watched_since.seconds_since(demo.began);
    let of_waits = slowest * jobs.len() as f64;
    let mut different = differences(&totals_of_rows(&jobs), &totals_of_truth(&truth), (of_gpus, of_waits));
    let of_hours_allowed = (of_gpus + unwatched, of_waits);
    different.extend(differences(&of_archive, &of_hours, of_hours_allowed));
    different.extend(differences(&idle_of_rows(&hours, &queues), &idle_of_truth(&sums, &queues), of_hours_allowed));
    different.extend(differences(&lending_of_rows(&hours), &lending_of_truth(&sums), of_hours_allowed));
    let watched = of_archive[CAPACITY] / (of_hours[CAPACITY] - unwatched);
    assert!(watched > LEAST_WATCHED, "only {watched} of the time was watched");
    // Figures that sum to others do so, up to rounding.
    let causes: Vec<String> =
        UnallocatedCause::ALL.iter().map(|cause| column_of(&format!("unallocated_{}", cause.as_str()))).collect();
    let causes: Vec<&str> = causes.iter().map(String::as_str).collect();
    for (what, parts, whole) in [
        ("unallocated, by cause", sum(&causes), sum(&["unallocated_gpu_seconds"])),
        ("borrowed and lent", sum(&["quota_borrowed_gpu_seconds"]), sum(&["quota_lent_gpu_seconds"])),
    ] {
        eprintln!("  {what}: {parts:.0} and {whole:.0} GPU-seconds");
        if (parts - whole).abs() > 1e-6 * whole.max(1.0) {
            different.push(format!("{what}: {parts}, {whole}"));
        }
    }
    report_says_the_same(&place.display().to_string(), &all, at).await;
    assert!(different.is_empty(), "seed {SEED}: {different:#?}");
}

/// The demo with a month's workload, and a service that archives it.
async fn a_month(store: &Path, place: &Path) -> Demo {
    let work = Synthetic { length: Some(HumanDuration(MONTH)), ..Synthetic::default() };
    Demo::configured(SEED, SPEED, &work, |config, _| Config {
        store: store.to_owned(),
        archive: Some(Archive::at(ObjectPlace::Folder(place.to_owned()))),
        history: History { keep: DAY, ..config.history },
        poll: Poll {
            every: POLL_EVERY,
            topology_every: Duration::from_secs(3_600),
            reconcile_every: Duration::from_secs(7_200),
            utilisation_every: Duration::from_secs(7_200),
            ..config.poll
        },
        receivers: Vec::new(),
        ..config
    })
    .await
}

/// Waits until all days of the month are archived.
async fn until_archived(place: &Path) {
    let days = |table: &str| std::fs::read_dir(place.join(table).join("v1")).map_or(0, Iterator::count);
    let archived = async {
        while days("jobs") < 30 || days("hours") < 30 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(PATIENCE, archived).await.expect("30 days are archived");
}

/// When the service had completed its first poll: jobs that ended earlier are in no row.
async fn first_look(demo: &Demo) -> Timestamp {
    let ready = async {
        while !http::get(format!("http://{}/readyz", demo.page)).await.is_ok_and(|answer| answer.status().is_success())
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("the service is ready");
    demo.clock.now()
}

/// All jobs submitted since a time, after all jobs of the month have ended, and the longest poll interval until then,
/// in seconds.
async fn until_all_has_ended(demo: &Demo, since: Timestamp) -> (Vec<Value>, f64) {
    let mut slowest = POLL_EVERY.as_secs_f64();
    let running = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let page = format!("http://{}/metrics", demo.page);
            let Ok(answer) = http::get(page).await else { continue };
            let text = answer.text().await.unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("trainspotter_poll_interval_seconds "));
            slowest = line.and_then(|value| value.parse().ok()).map_or(slowest, |seconds: f64| seconds.max(slowest));
            if demo.clock.now() < demo.began + MONTH {
                continue;
            }
            let mut jobs = jobs_of(demo).await;
            jobs.retain(|job| serde_json::from_value::<Timestamp>(job["created_at"].clone()).unwrap() >= since);
            // The service sees the last ends with its next polls.
            let counted = text.lines().filter(|line| line.starts_with("trainspotter_job_ended_total{"));
            let counted: f64 = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
            if jobs.iter().all(|job| job["stopped_at"].is_string()) && counted >= jobs.len() as f64 {
                return jobs;
            }
        }
    };
    let jobs = tokio::time::timeout(PATIENCE, running).await.expect("the month's work ends");
    (jobs, slowest)
}

/// All jobs of the simulator, page by page.
async fn jobs_of(demo: &Demo) -> Vec<Value> {
    let (mut jobs, mut after) = (Vec::new(), None);
    loop {
        let after_that = after.map_or_else(String::new, |number: u64| format!("&after={number}"));
        let url = format!("http://{}/_sim/truth/jobs?limit=10000{after_that}", demo.endpoint);
        let page: Value = http::get(url).await.unwrap().json().await.unwrap();
        jobs.extend(page["jobs"].as_array().unwrap().iter().cloned());
        after = page["next"].as_u64();
        if after.is_none() {
            return jobs;
        }
    }
}

/// GPU-seconds of the queues with a known capacity, computed from the jobs, their number of GPUs, and these queues.
fn hours_of_truth(truth: &Value) -> (Totals, f64, BTreeSet<String>) {
    let capacities: BTreeMap<&str, f64> = truth["waterfall"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|row| Some((row["queue"].as_str()?, row["capacity_gpus"].as_f64()?)))
        .collect();
    let rows = || {
        let rows = truth["gpu_seconds"].as_array().unwrap().iter();
        rows.filter(|row| capacities.contains_key(row["queue"].as_str().unwrap()))
    };
    let part = |parts: &[&str]| {
        rows().flat_map(|row| parts.iter().map(|part| row["parts"][*part].as_f64().unwrap())).sum::<f64>()
    };
    let totals = Totals::from([
        ("GPU-seconds running, hours".to_owned(), part(&["running_busy", "running_idle", "running_unknown"])),
        ("GPU-seconds scheduled, hours".to_owned(), part(&["scheduled"])),
        ("GPU-seconds starting, hours".to_owned(), part(&["starting"])),
        (CAPACITY.to_owned(), rows().filter_map(|row| row["capacity"].as_f64()).sum()),
    ]);
    let queues = capacities.keys().map(|queue| (*queue).to_owned()).collect();
    (totals, capacities.values().sum(), queues)
}

fn column_of(part: &str) -> String {
    format!("{part}_gpu_seconds")
}

fn idle_of_rows(hours: &[HourFigures], queues: &BTreeSet<String>) -> Totals {
    let mut totals = Totals::new();
    for row in hours.iter().filter(|row| row.share.is_none() && queues.contains(&row.queue)) {
        for cause in UnallocatedCause::ALL.map(UnallocatedCause::as_str) {
            let gpu_seconds = row.figures.get(&column_of(&format!("unallocated_{cause}"))).copied();
            *totals.entry(format!("GPU-seconds unallocated, {cause}")).or_default() += gpu_seconds.unwrap_or(0.0);
        }
    }
    totals
}

fn idle_of_truth(truth: &Value, queues: &BTreeSet<String>) -> Totals {
    let mut totals = Totals::new();
    let rows = truth["unallocated"].as_array().unwrap().iter();
    for row in rows.filter(|row| queues.contains(row["queue"].as_str().unwrap())) {
        assert_eq!(row["gpu_seconds"]["unexamined"], 0.0, "few enough jobs wait");
        for cause in UnallocatedCause::ALL.map(UnallocatedCause::as_str) {
            *totals.entry(format!("GPU-seconds unallocated, {cause}")).or_default() +=
                row["gpu_seconds"][cause].as_f64().unwrap();
        }
    }
    totals
}

const OF_LENDING: [&str; 3] = [quota_share_use::OWN, quota_share_use::LENT, quota_share_use::BORROWED];

fn lending_of_rows(hours: &[HourFigures]) -> Totals {
    let mut totals = Totals::new();
    for row in hours {
        for part in OF_LENDING {
            if let Some(gpu_seconds) = row.figures.get(&column_of(&format!("quota_{part}"))) {
                let share = row.share.as_deref().unwrap_or_default();
                *totals.entry(format!("GPU-seconds {part}, {} {share}", row.queue)).or_default() += gpu_seconds;
            }
        }
    }
    totals.retain(|what, _| !what.ends_with(' '));
    totals
}

fn lending_of_truth(truth: &Value) -> Totals {
    let mut totals = Totals::new();
    for row in truth["lending"].as_array().unwrap() {
        let (queue, share) = (row["queue"].as_str().unwrap(), row["share"].as_str().unwrap());
        for part in OF_LENDING {
            let gpu_seconds = row["gpu_seconds"][part].as_f64().unwrap();
            totals.insert(format!("GPU-seconds {part}, {queue} {share}"), gpu_seconds);
        }
    }
    totals
}

fn totals_of_rows(jobs: &[EndedJob]) -> Totals {
    let sum = |of: fn(&EndedJob) -> Option<f64>| jobs.iter().filter_map(of).sum::<f64>();
    let outcome = |outcome: &str| jobs.iter().filter(|job| job.outcome == outcome).count() as f64;
    Totals::from([
        ("succeeded".to_owned(), outcome("succeeded")),
        ("failed".to_owned(), outcome("failed")),
        ("preemptions".to_owned(), sum(|job| job.preemptions.map(f64::from))),
        ("GPU-seconds held".to_owned(), sum(|job| job.gpu_seconds)),
        ("GPU-seconds running".to_owned(), sum(|job| job.run_gpu_seconds)),
        ("seconds of first waits".to_owned(), sum(|job| job.first_wait_seconds)),
    ])
}

fn totals_of_truth(jobs: &[Value]) -> Totals {
    let at = |value: &Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap();
    let held = |phases: &[&str]| {
        let of_job = |job: &Value| {
            let spans = job["spans"].as_array().unwrap().iter();
            let spans = spans.filter(|span| phases.contains(&span["phase"].as_str().unwrap()));
            let seconds: f64 = spans.map(|span| at(&span["to"]).seconds_since(at(&span["from"]))).sum();
            seconds * job["gpus"].as_f64().unwrap()
        };
        jobs.iter().map(of_job).sum::<f64>()
    };
    let status = |status: &str| jobs.iter().filter(|job| job["status"] == status).count() as f64;
    Totals::from([
        ("succeeded".to_owned(), status("succeeded")),
        ("failed".to_owned(), status("failed")),
        ("preemptions".to_owned(), jobs.iter().filter_map(|job| job["preemptions"].as_f64()).sum()),
        ("GPU-seconds held".to_owned(), held(&["scheduled", "starting", "running"])),
        ("GPU-seconds running".to_owned(), held(&["running"])),
        ("seconds of first waits".to_owned(), jobs.iter().filter_map(|job| job["first_wait_seconds"].as_f64()).sum()),
    ])
}

/// Differences: counts must be equal, GPU time and waits may differ by a tolerance, and one in a hundred preemptions
/// may be missed, since preemptions between two polls are known from descriptions only.
fn differences(ours: &Totals, theirs: &Totals, (of_gpus, of_waits): (f64, f64)) -> Vec<String> {
    let mut different = Vec::new();
    for (what, ours) in ours {
        let theirs = theirs.get(what).copied().unwrap_or_else(|| panic!("no truth of {what}"));
        let percent = if theirs > 0.0 { format!(", {:+.2} %", (ours / theirs - 1.0) * 100.0) } else { String::new() };
        eprintln!("  {what}: {ours:.0} archived, {theirs:.0} true{percent}");
        let allowed = match what.as_str() {
            what if what.contains("GPU") => of_gpus,
            what if what.contains("waits") => of_waits,
            "preemptions" => theirs * 0.01,
            _ => 0.0,
        };
        if (ours - theirs).abs() > allowed {
            different.push(format!("{what}: {ours} archived, {theirs} true, {allowed} allowed"));
        }
    }
    different
}

/// The command over the archive alone reports the jobs and GPU-hours of all archived days.
async fn report_says_the_same(place: &str, jobs: &[EndedJob], now: Timestamp) {
    let from = (now - DAY * 60).to_string();
    let last =
        std::fs::read_dir(format!("{place}/jobs/v1")).unwrap().map(|day| day.unwrap().file_name()).max().unwrap();
    let end = format!("{}T00:00:00Z", last.to_str().unwrap().strip_prefix("day=").unwrap());
    let end = serde_json::from_value::<Timestamp>(end.into()).unwrap() + DAY;
    let arguments =
        ["report", "--archive", place, "--from", &from, "--to", &end.to_string(), "--by", "queue", "--format", "csv"];
    let output = trainspotter(&arguments).env_remove("TRAINSPOTTER_URL").output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = String::from_utf8(output.stdout).unwrap();
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (of_jobs, of_hours) = (column("jobs"), column("gpu_hours"));
    let rows: Vec<Vec<f64>> =
        lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(0.0)).collect()).collect();
    let sum = |index: usize| rows.iter().map(|row| row[index]).sum::<f64>();
    let ended: Vec<&EndedJob> = jobs.iter().filter(|job| job.ended_at < end).collect();
    let held = ended.iter().filter_map(|job| job.gpu_seconds).sum::<f64>() / 3_600.0;
    eprintln!("  report: {} jobs, {:.1} GPU-hours", sum(of_jobs), sum(of_hours));
    assert_eq!(sum(of_jobs), ended.len() as f64);
    assert!((sum(of_hours) - held).abs() < 0.1, "{}: {held}", sum(of_hours));
}
