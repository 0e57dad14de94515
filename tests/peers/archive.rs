//! DuckDB reads the archive of a service that ran for days: sums equal the counters and the truth, and every
//! documented query runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use trainspotter::config::{Archive, Config, ObjectPlace, Poll};
use trainspotter::store::Frames;
use trainspotter_core::metrics::{Frame, Value as Figure};
use trainspotter_core::model::Timestamp;
use trainspotter_simulator::workload::Synthetic;

use crate::support::demo::{Demo, PATIENCE};
use crate::support::http;
use crate::support::paced_clock::PacedClock;
use crate::support::python;
use crate::support::read_frames::ticks;

const SEED: u64 = 11;

/// At most: time passes as fast as the service polls.
const SPEED: f64 = 6_000.0;

/// In simulated time.
const POLL_EVERY: Duration = Duration::from_mins(5);

#[tokio::test(start_paused = true)]
async fn duckdb_reads_the_archive_and_its_sums_are_the_counters_and_the_truth() {
    let Some(python) = python::python().await else { return };
    if !Command::new(&python).args(["-c", "import duckdb"]).status().unwrap().success() {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "duckdb is required");
        eprintln!("skipped: duckdb is not installed for {}", python.display());
        return;
    }
    let clock = PacedClock::hold();
    let folder = tempfile::tempdir().unwrap();
    let (place, store) = (folder.path().join("archive"), folder.path().join("state.db"));
    let mut demo = Demo::configured(SEED, SPEED, &Synthetic::default(), |config, _| Config {
        poll: Poll { every: POLL_EVERY, ..config.poll },
        prices: [("ml.p5.48xlarge".into(), 98.32), ("ml.g6.12xlarge".into(), 4.6)].into(),
        store: store.clone(),
        archive: Some(Archive::at(ObjectPlace::Folder(place.clone()))),
        ..config
    })
    .await;
    let (_moved, page) = watch::channel(demo.page);
    clock.follow(page, demo.clock, POLL_EVERY);
    let archived = async {
        while ["hours", "jobs"].iter().any(|table| days(&place, table).len() < 2) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, archived).await.expect("two days are archived");
    demo.stop_service().await;
    let url = format!("http://{}/_sim/truth/jobs?limit=10000", demo.endpoint);
    let truth: Value = http::get(url).await.unwrap().json().await.unwrap();

    // Everything archived before the service stopped.
    let last = days(&place, "jobs").pop().unwrap();
    assert_eq!(days(&place, "hours").pop().unwrap(), last, "both tables of a day are written together");
    let end =
        serde_json::from_value::<Timestamp>(format!("{last}T00:00:00Z").into()).unwrap() + Duration::from_hours(24);
    let is_over = |job: &&Value| {
        let stopped_at = job["stopped_at"].as_str().map(|at| serde_json::from_value::<Timestamp>(at.into()).unwrap());
        stopped_at.is_some_and(|at| at < end)
    };
    let over: Vec<&Value> = truth["jobs"].as_array().unwrap().iter().filter(is_over).collect();
    assert!(over.len() > 100, "seed {SEED}: {}", over.len());
    let polled: Vec<Timestamp> = ticks(&store).iter().map(|tick| tick.at).collect();
    let expected = json!({ "counters": counters(&store, end), "jobs": over, "polled": polled, "poll_seconds": POLL_EVERY.as_secs_f64() });
    let file = folder.path().join("expected.json");
    std::fs::write(&file, expected.to_string()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(&python)
        .arg(root.join("tests/peers/archive.py"))
        .args([&place, &root.join("docs/ARCHIVE.md"), &file])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "seed {SEED}: {}", String::from_utf8_lossy(&said));
}

/// The archived days of a table.
fn days(place: &Path, table: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(place.join(table).join("v1")) else { return Vec::new() };
    // The folder exists before the file does.
    let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let full = paths.iter().filter(|path| std::fs::read_dir(path).is_ok_and(|files| files.count() > 0));
    let mut days: Vec<String> =
        full.filter_map(|path| path.file_name()?.to_str()?.strip_prefix("day=").map(str::to_owned)).collect();
    days.sort();
    days
}

/// Every counter, and the sum of every distribution, in the last frame before a time, by metric and labels.
fn counters(store: &Path, end: Timestamp) -> Vec<Value> {
    let frames = Frames::open(store).unwrap();
    let (begin, _) = frames.span().unwrap().unwrap();
    let mut last = Vec::new();
    let take = |frame: Frame| {
        let row = |sample: &trainspotter_core::metrics::Sample| {
            let labels: BTreeMap<&str, String> =
                sample.labels.iter().map(|(label, value)| (label, value.to_string())).collect();
            let value = match &sample.value {
                Figure::Counter(value) => *value,
                Figure::Distribution(distribution) => distribution.sum,
                Figure::Gauge(_) => return None,
            };
            Some(json!({ "metric": sample.metric.name, "labels": labels, "value": value }))
        };
        last = frame.samples.iter().filter_map(row).collect();
    };
    frames.each(begin, end - Duration::from_millis(1), None, take).unwrap();
    last
}
