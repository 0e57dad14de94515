//! The demo: with its own simulator, and with one in another process.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::exit_codes::outcome;
use crate::support;
use support::hook::hook;
use support::http;
use support::process::{listening, trainspotter};
use support::two_share_trace::jobs;

#[tokio::test]
async fn the_demo_notifies_of_a_long_wait_and_shows_it_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("burst.csv");
    std::fs::write(&trace, jobs()).unwrap();
    let hook = hook().await;
    let mut demo = trainspotter(&["demo", "--speed", "1200", "--for", "30m", "--listen", "127.0.0.1:0"]);
    demo.args(["--trace", trace.to_str().unwrap(), "--webhook", &hook.url]);
    let (_demo, page) = listening(demo.stderr(Stdio::piped()).spawn().unwrap()).await;
    let reported = hook
        .until(|reported| {
            reported.iter().any(|(status, alert, _)| status == "resolved" && alert["labels"]["alertname"] == "LongWait")
        })
        .await;
    assert!(reported.iter().any(|(status, alert, _)| status == "firing" && alert["labels"]["alertname"] == "LongWait"));
    let Some(document) = in_browser(&page).await else { return };
    assert!(document.contains(">burst</a>"), "the queue is not on the page: {document}");
    assert!(document.contains("LongWait"), "the alert is not on the page: {document}");
    assert!(document.contains("resolved") || document.contains("Resolved"), "that it is over is not on the page");
}

#[tokio::test]
async fn a_demo_watches_a_simulator_in_another_process_on_its_clock() {
    let mut simulator = trainspotter(&["simulate", "--speed", "1200", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let mut demo = trainspotter(&["demo", "--simulator", &endpoint, "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_demo, page) = listening(demo.stderr(Stdio::piped()).spawn().unwrap()).await;
    // Jobs submitted later are visible only to a demo that uses the simulator's time.
    let seen = async {
        loop {
            let answer = http::get(format!("{page}/api/v1/jobs?state=succeeded&limit=1")).await;
            if let Ok(answer) = answer
                && let Ok(jobs) = answer.json::<serde_json::Value>().await
                && jobs["jobs"].get(0).is_some()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), seen).await.expect("a job ends");
}

#[tokio::test]
async fn a_demo_reports_a_missing_simulator_and_accepts_no_world_of_its_own_beside_one() {
    let (code, _, said) = outcome(&["demo", "--simulator", "http://127.0.0.1:9", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--simulator: http://127.0.0.1:9/_sim/control does not respond"), "{said}");
    for other in [["--speed", "60"], ["--seed", "2"], ["--trace", "jobs.csv"], ["--scenario", "world.yaml"]] {
        let arguments = [&["demo", "--simulator", "http://127.0.0.1:9"][..], &other].concat();
        assert_eq!(outcome(&arguments).await.0, Some(64), "{other:?}");
    }
}

async fn in_browser(address: &str) -> Option<String> {
    let profile = tempfile::tempdir().unwrap();
    let running = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update"])
        .args(["--virtual-time-budget=6000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(Duration::from_secs(300), running).await.unwrap() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) => {
            assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "Chromium is required: {error}");
            eprintln!("skipped: no chromium ({error})");
            None
        }
    }
}
