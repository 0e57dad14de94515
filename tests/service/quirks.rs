//! The service is correct for both possible behaviours where AWS's is undocumented: the same jobs under both settings
//! of every switch of the simulator, and in the end the service knows what happened.
//!
//! Time advances only when the test moves it, as in tests/service/replay.rs.

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trainspotter_simulator as simulator;
use trainspotter_simulator::workload::Workload;
use trainspotter_simulator::{Simulation, scenario, trace};

use support::http;
use support::service_on_manual_clock::ServiceOnManualClock;

const POLL_EVERY: Duration = Duration::from_secs(60);
const JOBS: usize = 24;

#[tokio::test(start_paused = true)]
async fn after_a_requeue_the_times_of_a_job_may_vanish() {
    check("after_requeue", "cleared").await;
}

#[tokio::test(start_paused = true)]
async fn after_a_requeue_the_times_of_a_job_may_stay() {
    check("after_requeue", "kept").await;
}

#[tokio::test(start_paused = true)]
async fn before_its_start_a_job_may_have_no_time_of_start() {
    check("started_at_before_start", "absent").await;
}

#[tokio::test(start_paused = true)]
async fn before_its_start_a_job_may_have_started_in_1970() {
    check("started_at_before_start", "zero").await;
}

#[tokio::test(start_paused = true)]
async fn created_after_may_leave_out_the_time_itself() {
    check("created_at_filters", "exclusive").await;
}

#[tokio::test(start_paused = true)]
async fn created_after_may_include_the_time_itself() {
    check("created_at_filters", "inclusive").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_may_begin_with_the_newest() {
    check("list_order", "newest_first").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_may_begin_with_the_oldest() {
    check("list_order", "oldest_first").await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_may_be_of_now() {
    check("snapshot_age", "0s").await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_may_be_minutes_old() {
    check("snapshot_age", "5m").await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_queue_may_drain_or_hold() {
    check("disabled_queue", "drains").await;
    check("disabled_queue", "holds").await;
}

/// Runs all jobs to their end with one setting of one switch.
async fn check(name: &str, value: &str) {
    let mut simulation = None;
    let still = ServiceOnManualClock::start(POLL_EVERY, |clock| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("training.csv");
        std::fs::write(&file, trace()).unwrap();
        let scenario = scenario::parse("quirk", &format!("quirks: {{{name}: {value}}}")).unwrap();
        let Workload { setup, submissions } = trace::load(&file, clock.now()).unwrap();
        let setup = scenario.applied_to(setup);
        simulation.insert(Simulation::new(Workload { setup, submissions }, 7, clock).with(&scenario)).clone()
    })
    .await;
    while still.quiet_hours().is_some() {
        still.pass(1).await;
    }
    // By then, late reports have arrived.
    for _ in 0..10 {
        still.pass(1).await;
    }
    let seen: BTreeMap<_, _> = still.jobs().await.into_iter().map(|job| (id(&job), job)).collect();
    let truth: BTreeMap<_, _> = true_jobs(simulation.unwrap()).await.into_iter().map(|job| (id(&job), job)).collect();
    assert_eq!((seen.len(), truth.len()), (JOBS, JOBS), "{name}: {value}");
    let preemptions: u64 = truth.values().map(|job| job["preemptions"].as_u64().unwrap()).sum();
    assert!(preemptions > 0, "the workload makes jobs wait more than once");
    for (id, happened) in &truth {
        let job = &seen[id];
        for same in ["status", "preemptions", "stopped_at"] {
            assert_eq!(job[same], happened[same], "{name}: {value}: {same} of {job}\n{happened}");
        }
        let (ours, theirs) = (job["wait_seconds"].as_f64().unwrap(), happened["first_wait_seconds"].as_f64().unwrap());
        // A dispatch that was undone before the next poll is not in the API any more.
        let tolerance = if happened["preemptions"] == 0 { 0.001 } else { POLL_EVERY.as_secs_f64() };
        assert!((ours - theirs).abs() <= tolerance, "{name}: {value}: {ours} is not {theirs}\n{job}\n{happened}");
    }
    let waits = still.api("/api/v1/waits").await;
    let counted: u64 = waits.as_array().unwrap().iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, JOBS as u64, "{name}: {value}: {waits}");
    still.stop().await;
}

/// Two shares: `bursty` needs far more than its quota and borrows it, `steady` comes to take it back. Some jobs are
/// created exactly at the time of a poll, some at the same time as others.
fn trace() -> String {
    let mut csv = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..JOBS / 2 {
        csv += &format!("burst-{job},bursty,4,{},{}\n", 60 * (job / 4), 600 + job * 7);
        csv += &format!("steady-{job},steady,4,{},{}\n", 120 + job * 330, 400);
    }
    csv
}

/// The true history of each job.
async fn true_jobs(simulation: Simulation) -> Vec<Value> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/_sim/truth/jobs", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(simulator::serve(listener, simulation, stop));
    let page: Value = http::get(url).await.unwrap().json().await.unwrap();
    page["jobs"].as_array().unwrap().clone()
}

fn id(job: &Value) -> String {
    job["id"].as_str().unwrap().to_owned()
}
