//! The whole service, as a process, against an independent AWS emulator: fakecloud, also a separate process. boto3
//! creates queues, shares and jobs there; the service must read them without a failed call, publish its metrics and
//! send an alert.
//!
//! fakecloud takes long to build, so the test uses an existing one: on the PATH, or named by
//! `TRAINSPOTTER_FAKECLOUD`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use crate::support::fakecloud::{fakecloud, start};
use crate::support::http;
use crate::support::process::{listening, trainspotter};
use crate::support::python;

/// Timeout of each wait, in wall time.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_service_works_against_another_aws() {
    let Some(program) = fakecloud() else { return };
    let Some(python) = python::python().await else { return };
    let (_fakecloud, endpoint) = start(&program).await;
    let made = ask(&python, "setup", &endpoint).await;

    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), &endpoint, made["topic"].as_str().unwrap());
    let config = config.to_str().unwrap();

    let check = trainspotter(&["check", "--live", "--config", config]).output().await.unwrap();
    let said = [check.stdout, check.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(check.status.success(), "{said}");
    for queue in ["first-come", "weighted", "shared"] {
        assert!(said.contains(queue), "{queue} is not in {said}");
    }

    let mut service = trainspotter(&["run", "--config", config, "--listen", "127.0.0.1:0"]);
    let (_service, page) = listening(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let jobs = until(&page, "/api/v1/jobs?limit=100", |answer| {
        let described = |job: &&Value| job["owner"] == "amara";
        let jobs = answer["jobs"].as_array().cloned().unwrap_or_default();
        jobs.iter().filter(described).count() == 6
    })
    .await;
    are_as_made(&jobs, &made);
    let quota = |answer: &Value| {
        let shares = answer.as_array().cloned().unwrap_or_default();
        let is_shown = |name: &str, key: &str, value: f64| {
            shares.iter().any(|share| share["share"] == name && share[key] == value)
        };
        is_shown("vision", "quota", 1.0) && is_shown("speech", "quota", 1.0) && is_shown("nightly", "weight", 2.0)
    };
    until(&page, "/api/v1/shares", quota).await;

    let reading = async {
        while !has_arrived(&ask(&python, "read", &endpoint).await) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, reading).await.is_err() {
        panic!("not all of it arrives: {:#}", ask(&python, "read", &endpoint).await);
    }
    no_call_failed(&page).await;
}

/// The service's configuration, with everything enabled that calls AWS.
fn configuration(folder: &Path, endpoint: &str, topic: &str) -> PathBuf {
    std::fs::create_dir(folder.join("rules")).unwrap();
    let rules =
        "rules:\n- alert: JobsWait\n  metric: queue.jobs\n  by: [queue]\n  where: { state: runnable }\n  above: 0.5\n";
    let texts = "  labels: { severity: page }\n  annotations: { summary: \"{{ queue }} has {{ value }} waiting\" }\n";
    std::fs::write(folder.join("rules/rules.yaml"), format!("{rules}{texts}")).unwrap();
    let more = format!(
        "poll: {{ every: 5s }}\nrules: [rules]\nstore: state.db\n\
         publish: {{ cloudwatch: {{ namespace: Trainspotter, every: 10s, endpoint: \"{endpoint}\" }} }}\n\
         receivers: [{{ name: people, sns: {{ topic: \"{topic}\", endpoint: \"{endpoint}\" }} }}]\n",
    );
    let config = folder.join("trainspotter.yaml");
    let reserved = "{ training_plans: true, warm_pools: true }";
    let target = format!("targets: [{{ region: us-east-1, endpoint: \"{endpoint}\", reserved: {reserved} }}]\n");
    std::fs::write(&config, target + &more).unwrap();
    config
}

/// The jobs are the created ones, each in its share.
fn are_as_made(jobs: &Value, made: &Value) {
    for job in jobs["jobs"].as_array().unwrap() {
        assert!(made["jobs"].as_array().unwrap().contains(&job["id"]), "{job}");
        let share = match job["queue"].as_str().unwrap() {
            "first-come" => "",
            "weighted" => "research",
            "shared" => "vision",
            other => panic!("{other}"),
        };
        assert_eq!(job["share"].as_str().unwrap_or_default(), share, "{job}");
        assert_eq!(job["status"], "runnable", "{job}");
    }
}

/// Whether metrics of every queue are listed, and the alert is in the SQS queue subscribed to the topic.
fn has_arrived(arrived: &Value) -> bool {
    let is_listed = |name: &str, queue: &str| {
        let metrics = arrived["metrics"].as_array().unwrap();
        metrics.iter().any(|metric| metric["name"] == name && metric["dimensions"]["Queue"] == queue)
    };
    let messages = arrived["messages"].as_array().unwrap();
    let alert = |queue: &str| {
        messages.iter().any(|message| {
            let attributes = &message["attributes"];
            attributes["rule"] == "JobsWait" && attributes["state"] == "firing" && attributes["queue"] == queue
        })
    };
    let queues = ["first-come", "weighted", "shared"];
    queues.iter().all(|queue| is_listed("QueueJobs", queue) && is_listed("QueueWaitOldest", queue) && alert(queue))
}

/// Every call of the service succeeded, and every data source has answered.
async fn no_call_failed(page: &str) {
    let text = http::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap();
    let calls = text.lines().filter(|line| line.starts_with("trainspotter_source_calls_total{"));
    let (mut operations, mut failed) = (0, Vec::new());
    for line in calls {
        operations += 1;
        if !line.contains("outcome=\"ok\"") && !line.ends_with(" 0") {
            failed.push(line);
        }
    }
    assert!(operations >= 9, "{operations}");
    assert!(failed.is_empty(), "{failed:#?}");
    let health: Value = http::get(format!("{page}/api/v1/health")).await.unwrap().json().await.unwrap();
    for source in health["sources"].as_array().unwrap() {
        assert!(source["error"].is_null(), "{source}");
    }
}

/// The response of the service's API, once it is complete.
async fn until(page: &str, path: &str, is_enough: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let answer: Value = http::get(format!("{page}{path}")).await.unwrap().json().await.unwrap();
            if is_enough(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("{path}: {}", http::get(format!("{page}{path}")).await.unwrap().text().await.unwrap()),
    }
}

/// Runs the script with boto3 and returns its output.
async fn ask(python: &Path, action: &str, endpoint: &str) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/fakecloud.py");
    let mut command = Command::new(python);
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).args([action, endpoint]).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("the script ends").unwrap();
    assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
