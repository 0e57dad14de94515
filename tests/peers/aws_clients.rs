//! AWS clients against the simulator: boto3, the SageMaker SDK, and moto as another server of the same API. A client
//! that is not installed is skipped with a message.
//!
//! Each test serves a simulator and runs one script of `tests/peers/` against it. The script contains the checks,
//! described in its first words, and exits with 0 if all hold.

use crate::support::python;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_simulator::workload::Workload;
use trainspotter_simulator::{Simulation, serve, workload};

const BEGAN: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SEED: u64 = 7;
const PATIENCE: Duration = Duration::from_mins(3);
const DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread")]
async fn boto3_reads_everything_without_a_parsing_error() {
    check("reads.py", busy(60.0), &[]).await;
}

#[tokio::test]
async fn the_checks_find_what_is_wrong() {
    let Some(python) = python::python().await else { return };
    run(&python, "checks_test.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_are_those_of_the_service_models() {
    check("conformance.py", busy(300.0), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn training_queues_are_set_up_from_nothing_and_torn_down() {
    check("from_nothing.py", empty(300.0), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn training_queues_are_set_up_as_the_published_samples_do_it() {
    check("without_waiting.py", empty(1.0), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn submissions_of_the_sagemaker_sdk_are_accepted_and_described_back() {
    check("sagemaker_sdk_requests.py", empty(300.0), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moto_serves_too_is_answered_alike() {
    let Some(python) = python::python().await else { return };
    let mut moto = Command::new(&python)
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/moto_server.py")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let endpoint = first_line(&mut moto).await;
    check("against_moto.py", empty(60.0), &[&endpoint]).await;
}

/// A day of history, with time running while it is read.
fn busy(speed: f64) -> Simulation {
    let clock = Clock::starting_at(BEGAN + DAY, speed);
    Simulation::new(workload::synthetic(SEED, BEGAN, DAY * 2), SEED, clock)
}

/// An empty account.
fn empty(speed: f64) -> Simulation {
    let nothing = Workload { setup: Default::default(), submissions: Vec::new() };
    Simulation::new(nothing, SEED, Clock::starting_at(BEGAN, speed))
}

async fn check(script: &str, simulation: Simulation, arguments: &[&str]) {
    let Some(python) = python::python().await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(listener, simulation, stop.clone()));
    run(&python, script, &[&[endpoint.as_str()], arguments].concat()).await;
    stop.cancel();
    server.await.unwrap().unwrap();
}

async fn run(python: &Path, script: &str, arguments: &[&str]) {
    let script = format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    // Independent of the user's AWS account and configuration files.
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("the script did not finish").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    eprintln!("{said}");
}

async fn first_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
    line.expect("it ended without a word")
}
