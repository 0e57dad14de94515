//! What an on-call engineer finds in the log of a service that cannot read AWS: what is wrong and what to do, within the first ten
//! lines, once; and the same at /readyz.

use crate::support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedReceiver;

use support::config_file::configured;
use support::process::{listening, listening_and_telling, trainspotter};

/// Wall time in which a service has to say what it says.
const PATIENCE: Duration = Duration::from_secs(60);

async fn run(folder: &Path, endpoint: &str, more: &str) -> (Child, String, UnboundedReceiver<String>) {
    let config = configured(folder, endpoint, &format!("poll: {{ every: 5s }}\n{more}"));
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await
}

/// Reads lines until one has this text; returns all of them.
async fn lines_until(reported: &mut UnboundedReceiver<String>, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let reading = async {
        while let Some(line) = reported.recv().await {
            let found = line.contains(text);
            lines.push(line);
            if found {
                return true;
            }
        }
        false
    };
    let found = tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false);
    assert!(found, "no line says {text:?}: {lines:#?}");
    lines
}

/// What /readyz says once it says this.
async fn readyz_says(page: &str, text: &str) {
    let asking = async {
        loop {
            let answer = reqwest::get(format!("{page}/readyz")).await.unwrap();
            let status = answer.status().as_u16();
            if status == 503 && answer.text().await.unwrap().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("/readyz never says {text:?}"));
}

async fn simulator() -> (Child, String) {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "300s", "--listen", "127.0.0.1:0"]);
    listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await
}

async fn arrange(endpoint: &str, faults: Value) {
    let client = reqwest::Client::new();
    let answer = client.post(format!("{endpoint}/_sim/faults")).json(&faults).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn expired_credentials_are_in_the_log_once_and_so_is_their_end() {
    let (_simulator, endpoint) = simulator().await;
    arrange(&endpoint, json!({"expired_credentials": {"operation": "*"}})).await;
    let folder = tempfile::tempdir().unwrap();
    let (_service, page, mut reported) = run(folder.path(), &endpoint, "").await;
    let lines = lines_until(&mut reported, "ExpiredToken").await;
    assert!(lines.len() <= 10, "{lines:#?}");
    assert!(
        lines.iter().any(|line| line.contains("trainspotter has started") && line.contains("us-east-1")),
        "{lines:#?}"
    );
    let warning = lines.last().unwrap();
    assert!(warning.contains("WARN") && warning.contains("renew them"), "{warning}");
    readyz_says(&page, "renew them").await;
    let health: Value = reqwest::get(format!("{page}/healthz")).await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "ok", "the process lives");
    assert!(health["problems"].to_string().contains("ExpiredToken"), "{health}");
    // Long enough for a second poll to fail in the same way.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let cleared = reqwest::Client::new().delete(format!("{endpoint}/_sim/faults")).send().await.unwrap();
    assert!(cleared.status().is_success());
    let lines = lines_until(&mut reported, "AWS is read again").await;
    let again = |line: &&String| line.contains("source=\"topology\"") || line.contains("\"source\":\"topology\"");
    assert_eq!(lines.iter().filter(again).count(), 1, "one line for the end, and none before: {lines:#?}");
}

#[tokio::test]
async fn no_network_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_service, page, mut reported) = run(folder.path(), "http://127.0.0.1:1", "").await;
    let lines = lines_until(&mut reported, "no connection: check the endpoint").await;
    assert!(lines.len() <= 10 && lines.iter().any(|line| line.contains("trainspotter has started")), "{lines:#?}");
    readyz_says(&page, "no connection").await;
}

#[tokio::test]
async fn when_no_queue_matches_log_readyz_and_live_check_name_those_that_are_there() {
    let (_simulator, endpoint) = simulator().await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("none.yaml");
    let text = format!(
        "targets: [{{ region: us-east-1, endpoint: \"{endpoint}\", queues: [\"nothing-*\"] }}]\npoll: {{ every: 5s }}\n"
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let mut service = trainspotter(&["run", "--config", config, "--listen", "127.0.0.1:0"]);
    let (_service, page, mut reported) = listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let lines = lines_until(&mut reported, "there are: ").await;
    assert!(lines.len() <= 10 && lines.last().unwrap().contains("research"), "{lines:#?}");
    readyz_says(&page, "research").await;

    let check = trainspotter(&["check", "--live", "--config", config]).output().await.unwrap();
    let problems = String::from_utf8(check.stderr).unwrap();
    assert_eq!(check.status.code(), Some(1), "{problems}");
    assert!(problems.contains("nothing-*") && problems.contains("research"), "{problems}");
}
