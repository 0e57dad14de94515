//! The binary as users and orchestrators see it: exit codes, output streams, signals, the whole demo.

use crate::support;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use support::config_file::configured;
use support::hook::hook;
use support::http;
use support::process::{listening, trainspotter};
use support::ready_service::ready_service;
use support::two_share_trace::jobs;

async fn outcome(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = trainspotter(arguments).output().await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[tokio::test]
async fn help_and_version_are_answers_and_mistakes_exit_64() {
    assert_eq!(outcome(&["--version"]).await.0, Some(0));
    let (code, help, _) = outcome(&["demo", "--help"]).await;
    assert_eq!(code, Some(0));
    assert!(help.contains("Examples:"), "{help}");
    for wrong in [&["dmo"][..], &["demo", "--speed", "fast"], &["demo", "--for", "soon"], &["run"], &[]] {
        assert_eq!(outcome(wrong).await.0, Some(64), "{wrong:?}");
    }
    let (code, _, reported) = outcome(&["run", "--config", "nowhere.yaml"]).await;
    assert_eq!(code, Some(64));
    assert!(reported.contains("cannot read nowhere.yaml"), "{reported}");
}

#[tokio::test]
async fn a_scenario_with_mistakes_shows_them_all_and_a_right_one_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("world.yaml");
    let path = scenario.to_str().unwrap();
    std::fs::write(&scenario, "workload: { lod: 2 }\nfaults:\n  slow: { operation: DescribeServiceJob }\n").unwrap();
    let (code, _, reported) = outcome(&["simulate", "--scenario", path]).await;
    assert_eq!(code, Some(64));
    for mistake in ["did you mean `load`?", "say `by` how much", "2 problems"] {
        assert!(reported.contains(mistake), "{mistake}: {reported}");
    }
    std::fs::write(&scenario, "speed: 60\nseed: 3\ngpu: { shapes: { idle: 1 } }\n").unwrap();
    let (code, _, reported) =
        outcome(&["simulate", "--scenario", path, "--listen", "127.0.0.1:0", "--for", "1s"]).await;
    assert_eq!(code, Some(0), "{reported}");
    assert!(reported.contains("60 times real time, seed 3"), "{reported}");
    assert!(outcome(&["schema", "scenario"]).await.1.contains("clock_skew"));
}

#[tokio::test]
async fn a_config_with_five_mistakes_lists_all_five() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("trainspotter.yaml");
    std::fs::write(
        &config,
        "targets: [{ regoin: us-east-1 }]\npoll: { every: 1s }\nlisten: here\nlog: xml\nstore: 7\n",
    )
    .unwrap();
    for command in ["check", "run"] {
        let (code, _, reported) = outcome(&[command, "--config", config.to_str().unwrap()]).await;
        assert_eq!(code, Some(64));
        for mistake in [
            "did you mean `region`?",
            "must be at least 5s",
            "`here` is not an address",
            "unknown variant `xml`",
            "expected the path of a file",
        ] {
            assert!(reported.contains(mistake), "{mistake} is missing: {reported}");
        }
        assert!(reported.contains("^"), "{reported}");
    }
}

#[tokio::test]
async fn what_is_shipped_checks_out() {
    let minimal = root("config/minimal.yaml");
    let (code, reported, problems) = outcome(&["check", "--config", minimal.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{problems}");
    assert!(reported.contains("us-east-1"), "{reported}");
    let (code, reported, problems) = outcome(&["rules", "check", root("alerts").to_str().unwrap()]).await;
    assert_eq!((code, reported.as_str()), (Some(0), "40 rules: fine\n"), "{problems}");
    let (code, reported, problems) = outcome(&["rules", "test", root("alerts").to_str().unwrap()]).await;
    assert_eq!((code, reported.as_str()), (Some(0), "78 tests: fine\n"), "{problems}");
    let (code, reported, problems) =
        outcome(&["rules", "backtest", "--to", "6h", "--every", "5m", root("alerts").to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{problems}");
    let folder = tempfile::tempdir().unwrap();
    let hook = "webhook: { url: \"http://127.0.0.1:1/\", allow_loopback: true }, match: { severity: ";
    let receivers = format!(
        "receivers: [{{ name: everything, {hook}'*' }} }}, {{ name: nothing, {hook}none }} }},
         {{ name: later, {hook}none }} }}, {{ name: chat, {hook}warning }}, escalate: {{ to: later, after: 2h }} }}]"
    );
    let config = configured(folder.path(), "http://127.0.0.1:1", &receivers);
    let whom = ["rules", "backtest", "--to", "6h", "--every", "5m", "--config", config.to_str().unwrap()];
    let (_, whom, problems) = outcome(&[&whom[..], &[root("alerts").to_str().unwrap()]].concat()).await;
    let notified_of = |receiver: &str| -> usize {
        let line = whom.lines().find_map(|line| line.strip_prefix(&format!("receiver {receiver}: notified of ")));
        line.unwrap_or_else(|| panic!("{whom}{problems}")).split(' ').next().unwrap().parse().unwrap()
    };
    let [everything, nothing, later, chat] = ["everything", "nothing", "later", "chat"].map(notified_of);
    assert!(nothing == 0 && 0 < later && later < chat && chat <= everything, "{whom}");
    assert!(reported.lines().any(|line| line.starts_with("LongWait ") && !line.contains(" 0.0 ")), "{reported}");
    for file in ["config", "rules", "rule-tests", "scenario"] {
        let (code, schema, _) = outcome(&["schema", file]).await;
        assert_eq!(code, Some(0));
        assert!(serde_json::from_str::<serde_json::Value>(&schema).unwrap()["properties"].is_object());
    }
    assert_eq!(outcome(&["healthcheck", "--url", "http://127.0.0.1:1/healthz"]).await.0, Some(1));
}

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
async fn a_live_check_reports_findings_of_the_queues() {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (mut simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("live.yaml");
    let text = format!("targets: [{{ region: us-east-1, endpoint: \"{endpoint}\", queues: [research] }}]\nrules: []\n");
    std::fs::write(&config, text).unwrap();
    let arguments = ["check", "--live", "--config", config.to_str().unwrap()];
    let (code, reported, problems) = outcome(&arguments).await;
    assert_eq!(code, Some(0), "{problems}");
    assert!(reported.contains("watched   research: QUOTA_SHARE"), "{reported}");
    assert!(reported.contains("finding   research has no job state time limit"), "{reported}");
    simulator.kill().await.unwrap();
    let (code, _, problems) = outcome(&arguments).await;
    assert_eq!(code, Some(1));
    assert!(problems.contains("DescribeJobQueues: dispatch failure"), "{problems}");
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
async fn a_broken_state_file_is_set_aside_and_one_of_tomorrow_left_alone() {
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("trainspotter.db");
    // It starts like a SQLite file, with invalid content.
    let broken = format!("SQLite format 3\0{}", "nothing that belongs there ".repeat(40));
    std::fs::write(&state, broken).unwrap();
    let store = format!("store: {}\n", state.display());
    let (service, page, _told) = ready_service(folder.path(), &endpoint, &store).await;
    let metrics = http::get(format!("{page}/metrics")).await.unwrap().text().await.unwrap();
    let metrics = support::without_place_labels::without_place(&metrics);
    assert!(metrics.contains("trainspotter_store_trouble{kind=\"set_aside\"} 1"), "{metrics}");
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let aside = names.into_iter().find(|path| path.to_string_lossy().contains(".corrupt-")).unwrap();
    assert!(std::fs::read_to_string(aside).unwrap().starts_with("SQLite format 3"));
    drop(service);

    let later = folder.path().join("later.db");
    let connection = rusqlite::Connection::open(&later).unwrap();
    let (application, version): (i64, i64) = (1_414_746_196, 99);
    connection.pragma_update(None, "application_id", application).unwrap();
    connection.pragma_update(None, "user_version", version).unwrap();
    drop(connection);
    let before = std::fs::read(&later).unwrap();
    let config = configured(folder.path(), &endpoint, &format!("store: {}\n", later.display()));
    let (code, _, reported) = outcome(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(1), "{reported}");
    assert!(reported.contains("it has version 99") && reported.contains("run the newer build"), "{reported}");
    assert_eq!(std::fs::read(&later).unwrap(), before);
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
async fn a_service_on_the_clock_of_a_simulator_watches_nothing_else_and_reports_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("trainspotter.yaml");
    let arguments = ["run", "--config", config.to_str().unwrap(), "--simulator", "http://127.0.0.1:9"];
    let arguments = [&arguments[..], &["--listen", "127.0.0.1:0"]].concat();
    let of_simulator = "targets:\n  - { name: simulated, region: us-east-1, endpoint: 'http://127.0.0.1:9' }\n";
    for other in ["", ", endpoint: 'http://127.0.0.1:10'"] {
        std::fs::write(&config, format!("{of_simulator}  - {{ name: other, region: us-east-1{other} }}\n")).unwrap();
        let (code, _, said) = outcome(&arguments).await;
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains("are not the simulator's: other; set their `endpoint` to http://127.0.0.1:9"), "{said}");
    }
    std::fs::write(&config, of_simulator).unwrap();
    let (code, _, said) = outcome(&arguments).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("--simulator: http://127.0.0.1:9/_sim/control does not respond"), "{said}");
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

fn shipped_rules() -> String {
    format!("rules: [\"{}\"]\n", root("alerts").display())
}

async fn terminate(process: &Child) {
    let pid = process.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
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

/// Links in Markdown files to other files of the project.
#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let docs = root("docs");
    let folders = [root(""), docs.clone(), docs.join("adr"), docs.join("runbooks")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let mut links = 0;
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
            if !target.is_empty() && !target.contains("://") {
                assert!(file.parent().unwrap().join(target).exists(), "{}: {target} is not there", file.display());
                links += 1;
            }
        }
    }
    assert!(links > 20, "{links}");
}
