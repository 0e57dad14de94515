//! The log of a service that cannot read AWS, as an on-call engineer sees it: the problem and its fix, within the
//! first ten lines, once; and the same at /readyz.

use crate::support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedReceiver;

use support::config_file::configured;
use support::http;
use support::process::{listening, listening_and_telling, trainspotter};

/// Timeout of each expected message, in wall time.
const PATIENCE: Duration = Duration::from_secs(300);

async fn run(folder: &Path, endpoint: &str, more: &str) -> (Child, String, UnboundedReceiver<String>) {
    let config = configured(folder, endpoint, &format!("poll: {{ every: 5s }}\n{more}"));
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await
}

/// Reads lines until one contains this text; returns all of them.
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

/// Waits until the response of /readyz contains this text.
async fn readyz_says(page: &str, text: &str) {
    let asking = async {
        loop {
            let answer = http::get(format!("{page}/readyz")).await.unwrap();
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
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await
}

async fn arrange(endpoint: &str, faults: Value) {
    let client = http::client();
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
    let health: Value = http::get(format!("{page}/healthz")).await.unwrap().json().await.unwrap();
    assert_eq!(health["status"], "ok", "the process lives");
    assert!(health["problems"].to_string().contains("ExpiredToken"), "{health}");
    // Long enough for a second poll to fail in the same way.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let cleared = http::client().delete(format!("{endpoint}/_sim/faults")).send().await.unwrap();
    assert!(cleared.status().is_success());
    let lines = lines_until(&mut reported, "requests to AWS succeed again").await;
    let again = |line: &&String| line.contains("source=\"topology\"") || line.contains("\"source\":\"topology\"");
    assert_eq!(lines.iter().filter(again).count(), 1, "one line for the end, and none before: {lines:#?}");
}

#[tokio::test]
async fn a_missing_network_is_reported() {
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

/// Runs a service with this configuration until a line contains all of these texts: within the first ten lines, at
/// `WARN` or `ERROR`, and once, however many polls follow.
async fn first_lines(config: &Path, texts: &[&str]) -> (Child, String) {
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let (service, page, mut reported) = listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let lines = lines_until(&mut reported, texts[0]).await;
    assert!(lines.len() <= 10, "{lines:#?}");
    let line = lines.last().unwrap();
    assert!(line.contains("WARN") || line.contains("ERROR"), "{line}");
    for text in texts {
        assert!(line.contains(text), "{text:?} is not in {line}");
    }
    // It names the region and role.
    assert!(lines.iter().any(|line| line.contains("trainspotter has started")), "{lines:#?}");
    (service, page)
}

/// A service that is denied a single operation.
async fn refused(operation: &str, texts: &[&str]) -> String {
    let (_simulator, endpoint) = simulator().await;
    arrange(&endpoint, json!({"access_denied": {"operation": operation}})).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configured(folder.path(), &endpoint, "poll: { every: 5s }\n");
    let (_service, page) = first_lines(&config, texts).await;
    if operation == "DescribeServiceJob" {
        // Failed descriptions are retried: no source gets older because of them.
        return String::new();
    }
    health_says(&page, texts[0]).await
}

/// Waits until a source in the response of /api/v1/health contains this text.
async fn health_says(page: &str, text: &str) -> String {
    let asking = async {
        loop {
            let health = http::get(format!("{page}/api/v1/health")).await.unwrap().text().await.unwrap();
            if health.contains(text) {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("the health never says {text:?}"))
}

#[tokio::test]
async fn a_role_that_may_not_list_jobs_is_reported_with_the_action_to_allow() {
    let health = refused("ListServiceJobs", &["allow batch:ListServiceJobs", "AccessDenied", "iam-policy.json"]).await;
    let health: Value = serde_json::from_str(&health).unwrap();
    let topology = health["sources"].as_array().unwrap().iter().find(|source| source["source"] == "topology").unwrap();
    assert!(topology["error"].is_null(), "what is allowed is read: {topology}");
}

#[tokio::test]
async fn each_other_operation_that_is_refused_names_its_own_action() {
    for operation in ["DescribeJobQueues", "DescribeServiceEnvironments", "ListQuotaShares", "GetJobQueueSnapshot"] {
        refused(operation, &[&format!("allow batch:{operation}"), "AccessDenied"]).await;
    }
    for (action, operation) in [
        ("batch:DescribeServiceJob", "DescribeServiceJob"),
        ("sagemaker:DescribeTrainingJob", "DescribeTrainingJob"),
        ("cloudwatch:GetMetricData", "GetMetricData"),
    ] {
        refused(operation, &[&format!("allow {action}"), "AccessDenied"]).await;
    }
}

#[tokio::test]
async fn a_role_that_may_not_publish_is_reported_once_with_the_action_to_allow() {
    let (_simulator, endpoint) = simulator().await;
    arrange(&endpoint, json!({"access_denied": {"operation": "PutMetricData"}})).await;
    let folder = tempfile::tempdir().unwrap();
    let publish = format!("publish: {{ cloudwatch: {{ namespace: T, every: 10s, endpoint: \"{endpoint}\" }} }}");
    let config = configured(folder.path(), &endpoint, &format!("poll: {{ every: 5s }}\n{publish}\n"));
    let config = config.to_str().unwrap();
    let mut service = trainspotter(&["run", "--config", config, "--listen", "127.0.0.1:0"]);
    let (_service, _, mut reported) = listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let says = "allow cloudwatch:PutMetricData";
    let lines = lines_until(&mut reported, says).await;
    assert!(lines.len() <= 10 && lines.last().unwrap().contains("WARN"), "{lines:#?}");
    // Long enough for further attempts.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let cleared = http::client().delete(format!("{endpoint}/_sim/faults")).send().await.unwrap();
    assert!(cleared.status().is_success());
    let lines = lines_until(&mut reported, "publishing succeeds again").await;
    assert!(!lines.iter().any(|line| line.contains(says)), "one line for one reason: {lines:#?}");
}

#[tokio::test]
async fn a_region_with_a_typo_is_refused_at_the_start_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    for (region, meant) in [("us-esat-1", "us-east-1"), ("us-east1", "us-east-1"), ("eu-wset-1", "eu-west-1")] {
        let config = folder.path().join("typo.yaml");
        std::fs::write(&config, format!("targets: [{{ region: {region} }}]\n")).unwrap();
        for command in ["run", "check"] {
            let output = trainspotter(&[command, "--config", config.to_str().unwrap()]).output().await.unwrap();
            assert_eq!(output.status.code(), Some(64), "{region}");
            let text = String::from_utf8(output.stderr).unwrap();
            let first: Vec<&str> = text.lines().take(10).collect();
            assert!(first.iter().any(|line| line.contains("is not a region") && line.contains(meant)), "{text}");
            assert!(first.iter().any(|line| line.contains('^')), "{text}");
        }
    }
    // A valid configuration for a host that does not exist, which only shows when AWS's name is resolved.
    let config = folder.path().join("nowhere.yaml");
    std::fs::write(&config, "targets: [{ region: us-north-9 }]\npoll: { every: 5s }\n").unwrap();
    let run = ["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut service = trainspotter(&run);
    service.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").env("NO_PROXY", "*");
    let (_service, page, mut reported) = listening_and_telling(service.stderr(Stdio::piped()).spawn().unwrap()).await;
    let lines = lines_until(&mut reported, "check the spelling of the region").await;
    assert!(lines.len() <= 10 && lines.iter().any(|line| line.contains("us-north-9")), "{lines:#?}");
    readyz_says(&page, "check the spelling of the region").await;
}

#[tokio::test]
async fn a_role_of_the_wrong_account_is_reported_with_the_trust_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("role.yaml");
    let with_role = |role: &str, endpoint: &str| {
        let target = format!("{{ region: us-east-1, endpoint: \"{endpoint}\", role: \"{role}\" }}");
        std::fs::write(&config, format!("targets: [{target}]\npoll: {{ every: 5s }}\n")).unwrap();
    };
    with_role("arn:aws:iam::11112222333:role/Read", "http://127.0.0.1:1");
    let output = trainspotter(&["run", "--config", config.to_str().unwrap()]).output().await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("11112222333") && text.contains("12 digits") && text.contains('^'), "{text}");

    let (_simulator, endpoint) = simulator().await;
    arrange(&endpoint, json!({"access_denied": {"operation": "AssumeRole"}})).await;
    with_role("arn:aws:iam::999988887777:role/Read", &endpoint);
    let (_service, page) = first_lines(&config, &["must trust the identity", "sts:AssumeRole"]).await;
    readyz_says(&page, "must trust the identity").await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_aws_is_reported_as_such() {
    let page = axum::Router::new().fallback(|| async { axum::response::Html("<html><body>Welcome</body></html>") });
    let lost = axum::Router::new().fallback(|| async { (axum::http::StatusCode::NOT_FOUND, "no such page") });
    for (router, says) in [(page, "the response is not AWS's"), (lost, "404")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path(), &endpoint, "poll: { every: 5s }\n");
        let (_service, page) = first_lines(&config, &[says, "DescribeJobQueues", "check `endpoint`"]).await;
        readyz_says(&page, "check `endpoint`").await;
    }
}
