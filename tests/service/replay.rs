//! A recorded trace, replayed on the simulator and watched by the service from an hour's distance: its waits must come
//! out to the second, because the API's timestamps say them whenever one looks.
//!
//! Time stands still but where the test moves it: the runtime's clock is paused, and a task on the blocking pool keeps
//! it from jumping ahead while sockets are waited for.

use crate::support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use trainspotter_simulator::{Simulation, trace};

use support::still::Still;

const HOUR: Duration = Duration::from_secs(3600);
/// Hours after the last start of the trace until the service must have seen everything.
const AFTERWARDS: u64 = 2;

/// One row of the table in the README of the traces: share (none is all), jobs started, mean, then p50 p90 p95 p99 max.
type Row = (Option<&'static str>, usize, f64, [u64; 5]);

const EXPECTED: [Row; 5] = [
    (None, 1_842, 37.769, [1, 37, 103, 417, 14_330]),
    (Some("BE"), 1_021, 22.407, [0, 34, 103, 384, 2_726]),
    (Some("LS"), 792, 58.814, [3, 38, 111, 455, 14_330]),
    (Some("Burstable"), 25, 3.12, [0, 1, 2, 69, 69]),
    (Some("Guaranteed"), 4, 8.5, [1, 33, 33, 33, 33]),
];
/// Jobs of the trace that never started.
const NEVER_STARTED: usize = 158;

#[tokio::test(start_paused = true)]
async fn recorded_waits_come_out_to_the_second_although_polls_are_an_hour_apart() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/traces/openb_recorded_jobs.csv"));
    if !path.exists() {
        eprintln!("skipped: no ../shared/data");
        return;
    }
    let still = Still::start(HOUR, |clock| Simulation::new(trace::load(path, clock.now()).unwrap(), 1, clock)).await;
    let mut seen = BTreeMap::new();
    loop {
        let hours = still.quiet_hours();
        // Jobs leave the ledger in time, so each is noted while it is there.
        for job in still.jobs().await {
            seen.insert(job["name"].as_str().unwrap().to_owned(), job);
        }
        if seen.len() == 2_000 && hours.is_none_or(|hours| hours > AFTERWARDS) {
            break;
        }
        still.pass(hours.unwrap_or(1).max(1)).await;
    }
    let started: Vec<&Value> = seen.values().filter(|job| !job["scheduled_at"].is_null()).collect();
    assert_eq!(seen.len() - started.len(), NEVER_STARTED);
    let waits = still.api("/api/v1/waits").await;
    for row in EXPECTED {
        check(row, &started, &waits);
    }
    still.stop().await;
}

fn check((share, count, mean, percentiles): Row, started: &[&Value], rows: &Value) {
    let of_share = |job: &&&Value| share.is_none_or(|share| job["share"] == share);
    let mut waits: Vec<f64> =
        started.iter().filter(of_share).map(|job| job["wait_seconds"].as_f64().unwrap()).collect();
    waits.sort_by(f64::total_cmp);
    assert_eq!(waits.len(), count, "{share:?}");
    let found = waits.iter().sum::<f64>() / waits.len() as f64;
    assert!((found - mean).abs() < 0.001, "{share:?}: mean {found}");
    let at = |percent: usize| waits[(percent * waits.len() / 100).min(waits.len() - 1)];
    let found = [at(50), at(90), at(95), at(99), at(100)];
    assert_eq!(found.map(|seconds| seconds.round() as u64), percentiles, "{share:?}: {found:?}");

    let Some(share) = share else { return };
    let row = rows.as_array().unwrap().iter().find(|row| row["share"] == share).unwrap();
    assert_eq!(row["count"], count, "{row}");
    assert!((row["mean_seconds"].as_f64().unwrap() - mean).abs() < 0.001, "{row}");
    let figures = ["p50_seconds", "p90_seconds", "p95_seconds", "p99_seconds", "max_seconds"];
    let found = figures.map(|figure| row[figure].as_f64().unwrap().round() as u64);
    assert_eq!(found, percentiles, "{row}");
}
