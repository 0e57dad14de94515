//! Exit codes and output streams of the commands, for right and wrong arguments and files.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::support;
use support::config_file::configured;
use support::http;
use support::process::{listening, trainspotter};
use support::ready_service::ready_service;

pub(super) async fn outcome(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = trainspotter(arguments).output().await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

pub(super) fn root(path: &str) -> PathBuf {
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
