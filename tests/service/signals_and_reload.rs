//! Signals and changed files while the service runs.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::exit_codes::{outcome, root};
use crate::support;
use support::http;
use support::process::{listening, trainspotter};
use support::ready_service::ready_service;

#[tokio::test]
async fn the_service_runs_against_the_simulator_and_stops_on_sigterm() {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let (mut service, page, _) = ready_service(folder.path(), &endpoint, &shipped_rules()).await;
    assert_eq!(outcome(&["healthcheck", "--url", &format!("{page}/healthz")]).await.0, Some(0));
    let queues: serde_json::Value = http::get(format!("{page}/api/v1/queues")).await.unwrap().json().await.unwrap();
    assert_eq!(queues.as_array().unwrap().len(), 2, "{queues}");
    terminate(&service).await;
    let ended = tokio::time::timeout(Duration::from_secs(120), service.wait()).await.expect("it stops in time");
    assert_eq!(ended.unwrap().code(), Some(0));
    let (state, rules) = (folder.path().join("trainspotter.db"), root("alerts"));
    let past = ["rules", "backtest", "--recorded", state.to_str().unwrap(), rules.to_str().unwrap()];
    let (code, reported, problems) = outcome(&past).await;
    assert_eq!(code, Some(0), "{problems}");
    assert!(reported.starts_with("Metrics from 20") && reported.contains("LongWait"), "{reported}");
    assert!(problems.contains("JobIdle: skipped"), "{problems}");
    let (code, _, reported) =
        outcome(&["rules", "backtest", "--recorded", "nowhere.db", rules.to_str().unwrap()]).await;
    assert!(code == Some(64) && reported.contains("nowhere.db"), "{reported}");
}

#[tokio::test]
async fn changed_rules_take_effect_and_broken_ones_leave_the_old_ones_in_place() {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    let rule = |name: &str| {
        format!("rules: [{{ alert: {name}, metric: poll.interval, above: 0s, annotations: {{ summary: polls }} }}]\n")
    };
    std::fs::write(&file, rule("Before")).unwrap();
    let (_service, page, _told) = ready_service(folder.path(), &endpoint, "rules: [rules.yaml]\n").await;
    let shows = async |path: &str, wanted: &[&str]| {
        for _ in 0..1_200 {
            let text = http::get(format!("{page}{path}")).await.unwrap().text().await.unwrap();
            let text = support::without_place_labels::without_place(&text);
            if wanted.iter().all(|wanted| text.contains(wanted)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("{path} never shows {wanted:?}");
    };
    shows("/api/v1/alerts", &["Before"]).await;
    std::fs::write(&file, "rules: [{ alert: Broken }]\n").unwrap();
    shows("/metrics", &["trainspotter_rules_broken 1"]).await;
    shows("/api/v1/alerts", &["Before", "\"firing\""]).await;
    std::fs::write(&file, rule("After")).unwrap();
    shows("/metrics", &["trainspotter_rules_broken 0"]).await;
    shows("/api/v1/alerts", &["After", "\"firing\""]).await;
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_what_hangs() {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    // Accepts connections and never responds: the last publication, and with it a graceful shutdown, waits for it.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let publish =
        format!("publish: {{ otlp: [{{ endpoint: \"http://{}/v1/metrics\" }}] }}\n", silent.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (mut service, _, mut reported) = ready_service(folder.path(), &endpoint, &publish).await;
    terminate(&service).await;
    let heard = async { while !reported.recv().await.expect("it says that it stops").contains("a second signal") {} };
    tokio::time::timeout(Duration::from_secs(120), heard).await.expect("it hears the first signal");
    let still = tokio::time::timeout(Duration::from_secs(1), service.wait()).await;
    assert!(still.is_err(), "nothing hung, so this test shows nothing: {still:?}");
    terminate(&service).await;
    // A hanging shutdown would end with another exit code.
    let ended = tokio::time::timeout(Duration::from_secs(120), service.wait()).await.expect("it ends");
    assert_eq!(ended.unwrap().code(), Some(130));
}

fn shipped_rules() -> String {
    format!("rules: [\"{}\"]\n", root("alerts").display())
}

async fn terminate(process: &Child) {
    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
}
