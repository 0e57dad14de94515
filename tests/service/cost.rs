//! `trainspotter cost`: from a configuration alone, from a state file, from a live check, and from a running service.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::config_file::configured;
use crate::support::http;
use crate::support::process::{listening, trainspotter};
use crate::support::ready_service::ready_service;

const PATIENCE: Duration = Duration::from_secs(300);

async fn cost(arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments: Vec<&str> = ["cost"].iter().chain(arguments).copied().collect();
    let Output { status, stdout, stderr } = trainspotter(&arguments).output().await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn bill(arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().chain(&["--json"]).copied().collect();
    let (code, bill, reported) = cost(&arguments).await;
    assert_eq!(code, Some(0), "{reported}");
    serde_json::from_str(&bill).unwrap()
}

fn dollars(bill: &Value, destination: &str) -> f64 {
    let lines = bill["lines"].as_array().unwrap().iter().filter(|line| line["destination"] == destination);
    lines.filter_map(|line| line["dollars"].as_f64()).sum()
}

fn quantity(bill: &Value, what: &str) -> f64 {
    let lines = bill["lines"].as_array().unwrap();
    lines.iter().find(|line| line["what"].as_str().unwrap().starts_with(what)).unwrap()["quantity"].as_f64().unwrap()
}

fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_configuration_alone_gives_the_monthly_cost_with_its_assumptions() {
    let folder = tempfile::tempdir().unwrap();
    let config = |metrics: &str| {
        let name = format!("{}.yaml", metrics.len());
        file(
            folder.path(),
            &name,
            &format!("targets: [{{ region: us-east-1 }}]\npublish: {{ cloudwatch: {{ {metrics} }} }}\n"),
        )
    };
    let unlimited = bill(&["--config", &config("metrics: both")]).await;
    assert!(dollars(&unlimited, "classic") > 500.0 && dollars(&unlimited, "otlp") > 1.0, "{unlimited:#}");
    let within = bill(&["--config", &config("metrics: both, budget: $30")]).await;
    assert!(dollars(&within, "classic") <= 30.0 && dollars(&within, "classic") > 10.0, "{within:#}");
    assert!(within["notes"].to_string().contains("leaves out"), "{within:#}");
    let smaller = bill(&["--config", &config("metrics: both"), "--queues", "1", "--shares", "2", "--hosts", "0"]).await;
    assert!(dollars(&smaller, "otlp") < dollars(&unlimited, "otlp") / 10.0, "{smaller:#}");
    assert_eq!(dollars(&smaller, "gpu_metrics"), 0.0);
    // Every target has its own series; the budget is shared.
    let two = |metrics: &str| {
        let text = format!(
            "targets: [{{ region: us-east-1 }}, {{ region: eu-west-1 }}]\npublish: {{ cloudwatch: {{ {metrics} }} }}\n"
        );
        file(folder.path(), &format!("two-{}.yaml", metrics.len()), &text)
    };
    let both = bill(&["--config", &two("metrics: both")]).await;
    assert!((dollars(&both, "otlp") / dollars(&unlimited, "otlp") - 2.0).abs() < 0.05, "{both:#}");
    assert!(dollars(&both, "classic") > dollars(&unlimited, "classic") * 1.3, "{both:#}");
    assert!((dollars(&both, "gpu_metrics") / dollars(&unlimited, "gpu_metrics") - 2.0).abs() < 1e-6, "{both:#}");
    // All metrics of five queues with twenty shares each by OTLP.
    assert!(dollars(&unlimited, "otlp") <= 30.0, "{unlimited:#}");
    let stored = |name: &str, targets: &str| {
        let text = format!(
            "targets: [{targets}]\nstore: {{ file: a.db, log: \"s3://bucket/log\" }}\narchive: \"s3://bucket/archive\"\n"
        );
        file(folder.path(), name, &text)
    };
    let stored_one = bill(&["--config", &stored("stored-1.yaml", "{ region: us-east-1 }")]).await;
    let stored_two =
        bill(&["--config", &stored("stored-2.yaml", "{ region: us-east-1 }, { region: eu-west-1 }")]).await;
    assert!((dollars(&stored_two, "archive") / dollars(&stored_one, "archive") - 2.0).abs() < 1e-6, "{stored_two:#}");
    assert!(dollars(&stored_one, "archive") > 0.0, "{stored_one:#}");
    let (of_one, of_two) = (dollars(&stored_one, "log"), dollars(&stored_two, "log"));
    assert!(of_two > of_one * 2.0, "replicas announce themselves, too: {of_one}, {of_two}");
    let shared = bill(&["--config", &two("metrics: both, budget: $30")]).await;
    assert!(dollars(&shared, "classic") <= 30.0 && dollars(&shared, "classic") > 10.0, "{shared:#}");
    let total: f64 = smaller["lines"].as_array().unwrap().iter().filter_map(|line| line["dollars"].as_f64()).sum();
    assert!((smaller["total_dollars"].as_f64().unwrap() - total).abs() < 1e-6);

    let (code, table, _) = cost(&["--config", &config("metrics: both")]).await;
    assert_eq!(code, Some(0));
    for part in ["DESTINATION", "classic", "otlp", "total", "5 queues with 20 shares", "about"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}

#[tokio::test]
async fn prices_come_from_a_file_where_one_is_given_and_mistakes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "c.yaml", "targets: [{ region: us-east-1 }]\npublish: { cloudwatch: {} }\n");
    let dear = file(folder.path(), "dear.yaml", "prices:\n  dashboard: { dollars: 1000, date: 2026-12-01 }\n");
    assert_eq!(dollars(&bill(&["--config", &config, "--prices", &dear]).await, "dashboards"), 1000.0);
    let wrong = file(
        folder.path(),
        "wrong.yaml",
        "prices:\n  dashbord: { dollars: 3, date: 2026-12-01 }\n  alarm: { dollars: free }\n",
    );
    let (code, _, reported) = cost(&["--config", &config, "--prices", &wrong]).await;
    assert_eq!(code, Some(64), "{reported}");
    for part in ["did you mean `dashboard`?", "wrong.yaml:3:", "^"] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
    // A long file is not read in part.
    let long = file(folder.path(), "long.yaml", &format!("prices: {{}}\n{}", "# a comment\n".repeat(100_000)));
    let (code, _, reported) = cost(&["--config", &config, "--prices", &long]).await;
    assert!(code == Some(64) && reported.contains("is larger than 1024 KiB"), "{reported}");
    for (arguments, expected) in [
        (vec![], 64),
        (vec!["--config", "nowhere.yaml"], 64),
        (vec!["--config", &config, "--prices", "nowhere.yaml"], 64),
        (vec!["--config", &config, "--live", "--recorded", "x.db"], 64),
        (vec!["--config", &config, "--live", "--queues", "3"], 64),
        (vec!["--config", &config, "--queues", "0"], 64),
        (vec!["--config", &config, "--url", "http://127.0.0.1:1"], 64),
        (vec!["--config", &config, "--recorded", "nowhere.db"], 64),
        (vec!["--config", &config, "--recorded", &file(folder.path(), "empty.db", "")], 64),
        (vec!["--url", "http://127.0.0.1:1"], 1),
    ] {
        assert_eq!(cost(&arguments).await.0, Some(expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_live_poll_a_state_file_and_a_running_service_give_the_cost_of_their_series() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let publish = "publish: { cloudwatch: { metrics: both, budget: $30, every: 10s } }\n";
    let config = configured(folder.path(), &endpoint, publish);
    let config = config.to_str().unwrap().to_owned();
    let live = bill(&["--config", &config, "--live"]).await;
    assert!(live["notes"].to_string().contains("2 current queues"), "{live:#}");
    assert!(quantity(&live, "custom metrics") > 10.0, "{live:#}");

    let (service, page, _) = ready_service(folder.path(), &endpoint, publish).await;
    let published = async {
        loop {
            let shown = bill(&["--url", &page]).await;
            if dollars(&shown, "classic") > 1.0 && dollars(&shown, "otlp") > 0.0 {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, published).await.expect("the service says what it costs");
    assert!(dollars(&shown, "classic") <= 30.0, "{shown:#}");
    let metrics = http::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("trainspotter_service_cost_dollars{destination=\"classic\""), "{metrics}");
    drop(service);
    let state = folder.path().join("trainspotter.db");
    // A file that lacks its tables, as one of an older version would.
    let older = folder.path().join("older.db");
    rusqlite::Connection::open(&older).unwrap().execute_batch("CREATE TABLE alert (id TEXT)").unwrap();
    let (code, _, reported) = cost(&["--config", &config, "--recorded", older.to_str().unwrap()]).await;
    assert!(code == Some(1) && reported.contains("no complete state file of this version"), "{reported}");
    let recorded = bill(&["--config", &config, "--recorded", state.to_str().unwrap()]).await;
    assert!(dollars(&recorded, "classic") <= 30.0 && quantity(&recorded, "custom metrics") > 10.0, "{recorded:#}");
}
