//! boto3 reads the simulator, and validates every answer against botocore's own models.
//!
//! Python comes from `TRAINSPOTTER_PYTHON`, or from `target/peers/venv`; it needs `boto3==1.44.5`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use trainspotter::clock::Clock;
use trainspotter::model::Timestamp;
use trainspotter::simulate::Simulation;
use trainspotter::simulate::serve;
use trainspotter::simulate::workload;

const BEGAN: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SEED: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(120);

/// The checks are in the script; a day of history, and time that goes on while it is read.
#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_everything_without_a_parsing_error() {
    let Some(python) = python().await else {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "boto3 is required");
        eprintln!("skipped: no boto3");
        return;
    };
    let day = Duration::from_hours(24);
    let clock = Clock::starting_at(BEGAN + day, 60.0);
    let simulation = Simulation::new(workload::synthetic(SEED, BEGAN, day * 2), SEED, clock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, simulation, stop.clone()));

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_reads.py");
    let run = Command::new(python).arg(script).arg(endpoint).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("boto3 did not finish").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    eprintln!("{said}");

    stop.cancel();
    server.await.unwrap().unwrap();
}

/// A Python that can import boto3.
async fn python() -> Option<PathBuf> {
    let venv = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/venv/bin/python3"));
    let python = std::env::var_os("TRAINSPOTTER_PYTHON").map_or(venv, PathBuf::from);
    let import = Command::new(&python).args(["-c", "import boto3"]).stderr(Stdio::null()).status().await;
    import.is_ok_and(|status| status.success()).then_some(python)
}
