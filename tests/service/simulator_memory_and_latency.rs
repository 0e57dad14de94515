//! Cost of a long history in the simulator: memory, and time per list page. A measurement, so ignored by default;
//! crates/simulator/README.md has instructions and results.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement is of wall time, has failed if it cannot be taken, and is for whoever asked"
)]

use std::fmt::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Number of jobs before the measurement; a tenth more arrive meanwhile.
const JOBS: usize = 100_000;
const SPEED: &str = "100000";
const MOST_MEMORY: u64 = 300 * 1024 * 1024;
const SLOWEST_PAGE: Duration = Duration::from_millis(5);
/// Measured pages.
const PAGES: usize = 600;
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test]
#[ignore = "a measurement of about a minute: cargo test --release --test service scale -- --ignored --nocapture"]
async fn a_history_of_100_000_jobs_is_small_and_quick_to_list() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.csv");
    std::fs::write(&trace, jobs()).unwrap();
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_trainspotter"))
        .args(["simulate", "--listen", "127.0.0.1:0", "--speed", SPEED, "--trace"])
        .arg(&trace)
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let endpoint = address(&mut simulator).await;
    let client = reqwest::Client::new();
    let began = Instant::now();
    while counted(&client, &endpoint).await < JOBS {
        assert!(began.elapsed() < PATIENCE, "the history does not grow");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("{JOBS} jobs after {:.1} s", began.elapsed().as_secs_f64());

    let mut took = pages(&client, &endpoint).await;
    took.sort();
    let quantile = |fraction: f64| took[(took.len() as f64 * fraction) as usize];
    let memory = resident(&simulator);
    eprintln!(
        "{} pages of 100: median {:.2?}, p95 {:.2?}, slowest {:.2?}; {} jobs, {} MB resident",
        took.len(),
        quantile(0.5),
        quantile(0.95),
        took[took.len() - 1],
        counted(&client, &endpoint).await,
        memory >> 20,
    );
    assert!(quantile(0.5) < SLOWEST_PAGE);
    assert!(memory < MOST_MEMORY);
    simulator.kill().await.unwrap();
}

/// A month of jobs: one every 26 seconds for twenty shares, of 10 minutes to 3 hours.
fn jobs() -> String {
    let mut csv = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..JOBS + JOBS / 10 {
        let (share, gpus, hash) = (job % 20, 1 << (job % 4), job * 7_919 % 10_000);
        writeln!(csv, "job-{job},share-{share},{gpus},{},{}", job * 26, 600 + hash).unwrap();
    }
    csv
}

async fn address(simulator: &mut Child) -> String {
    let mut lines = BufReader::new(simulator.stderr.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some(address) = line.strip_prefix("listening on ") {
            // Keep reading, so that the process does not find its pipe closed.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return address.to_owned();
        }
    }
    panic!("the simulator ended without an address");
}

/// Number of jobs, by the simulator's own count.
async fn counted(client: &reqwest::Client, endpoint: &str) -> usize {
    let truth: Value = client.get(format!("{endpoint}/_sim/truth")).send().await.unwrap().json().await.unwrap();
    let states =
        truth["queues"].as_array().unwrap().iter().flat_map(|queue| queue["jobs"].as_object().unwrap().values());
    states.map(|count| usize::try_from(count.as_u64().unwrap()).unwrap()).sum()
}

/// Time of each page: of ended jobs from the first to the last, of a filter that matches all, and of running and
/// waiting jobs.
async fn pages(client: &reqwest::Client, endpoint: &str) -> Vec<Duration> {
    let (queues, _) = batch(client, endpoint, "describejobqueues", &json!({})).await;
    let queue = queues["jobQueues"][0]["jobQueueName"].as_str().unwrap().to_owned();
    let everything = json!({"jobQueue": queue, "filters": [{"name": "AFTER_CREATED_AT", "values": ["0"]}]});
    let one_share = json!({"jobQueue": queue, "jobStatus": "SUCCEEDED", "filters": [{"name": "QUOTA_SHARE_NAME", "values": ["share-3"]}]});
    let of_status = |status: &str| json!({"jobQueue": queue, "jobStatus": status});
    let mut took = Vec::new();
    for query in [of_status("SUCCEEDED"), everything, one_share, of_status("RUNNABLE"), of_status("RUNNING")] {
        let mut page = query;
        for _ in 0..PAGES / 4 {
            let (answer, time) = batch(client, endpoint, "listservicejobs", &page).await;
            took.push(time);
            let Some(token) = answer.get("nextToken") else { break };
            page["nextToken"] = token.clone();
        }
    }
    assert!(took.len() >= PAGES / 2, "too few pages: {}", took.len());
    took
}

/// A response, and how long it took.
async fn batch(client: &reqwest::Client, endpoint: &str, operation: &str, body: &Value) -> (Value, Duration) {
    let began = Instant::now();
    let response = client.post(format!("{endpoint}/v1/{operation}")).json(body).send().await.unwrap();
    let status = response.status();
    let answer = response.bytes().await.unwrap();
    let took = began.elapsed();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert!(status.is_success(), "{operation} {body}: {answer}");
    (answer, took)
}

/// Resident memory of a process, in bytes.
fn resident(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
