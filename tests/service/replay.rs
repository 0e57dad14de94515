//! A recorded trace, replayed on the simulator and polled by the service once an hour: waits must be exact to the
//! second, because the API's timestamps do not depend on when they are read.
//!
//! Time advances only when the test moves it: the runtime's clock is paused, and a task on the blocking pool keeps it
//! from jumping ahead while sockets are waited for.

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use trainspotter_simulator::{Simulation, trace};

use support::generated_trace;
use support::service_on_manual_clock::ServiceOnManualClock;

const HOUR: Duration = Duration::from_secs(3600);
/// Hours after the last start of the trace by which the service must have seen everything.
const AFTERWARDS: u64 = 2;

const SEED: u64 = 7;

#[tokio::test(start_paused = true)]
async fn recorded_waits_come_out_to_the_second_although_polls_are_an_hour_apart() {
    let recorded = generated_trace::jobs(SEED);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recorded.csv");
    std::fs::write(&path, generated_trace::csv(&recorded)).unwrap();
    let still =
        ServiceOnManualClock::start(HOUR, |clock| Simulation::new(trace::load(&path, clock.now()).unwrap(), 1, clock))
            .await;
    let mut seen = BTreeMap::new();
    loop {
        let hours = still.quiet_hours();
        // Jobs leave the ledger after a while, so record each while it is there.
        for job in still.jobs().await {
            seen.insert(job["name"].as_str().unwrap().to_owned(), job);
        }
        if seen.len() == generated_trace::JOBS && hours.is_none_or(|hours| hours > AFTERWARDS) {
            break;
        }
        still.pass(hours.unwrap_or(1).max(1)).await;
    }
    let started: Vec<&Value> = seen.values().filter(|job| !job["scheduled_at"].is_null()).collect();
    assert_eq!(started.len(), generated_trace::waits(&recorded, None).len(), "seed {SEED}");
    let waits = still.api("/api/v1/waits").await;
    for share in generated_trace::shares().map(Some).chain([None]) {
        check(share, &generated_trace::waits(&recorded, share), &started, &waits);
    }
    still.stop().await;
}

fn check(share: Option<&str>, expected: &[u64], started: &[&Value], rows: &Value) {
    let of_share = |job: &&&Value| share.is_none_or(|share| job["share"] == share);
    let mut waits: Vec<f64> =
        started.iter().filter(of_share).map(|job| job["wait_seconds"].as_f64().unwrap()).collect();
    waits.sort_by(f64::total_cmp);
    let found: Vec<u64> = waits.iter().map(|seconds| seconds.round() as u64).collect();
    assert_eq!(found, expected, "seed {SEED}, {share:?}");

    let Some(share) = share else { return };
    let mean = expected.iter().sum::<u64>() as f64 / expected.len() as f64;
    let row = rows.as_array().unwrap().iter().find(|row| row["share"] == share).unwrap();
    assert_eq!(row["count"], expected.len(), "seed {SEED}: {row}");
    assert!((row["mean_seconds"].as_f64().unwrap() - mean).abs() < 0.001, "seed {SEED}: {mean} {row}");
    let figures = ["p50_seconds", "p90_seconds", "p95_seconds", "p99_seconds", "max_seconds"];
    let found = figures.map(|figure| row[figure].as_f64().unwrap().round() as u64);
    assert_eq!(found, percentiles(expected), "seed {SEED}: {row}");
}

/// The 50th, 90th, 95th and 99th percentile and the maximum of a sorted list.
fn percentiles(sorted: &[u64]) -> [u64; 5] {
    [50, 90, 95, 99, 100].map(|percent| sorted[(percent * sorted.len() / 100).min(sorted.len() - 1)])
}
