//! Every query command can print JSON: valid, and nothing else on stdout.

use crate::support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use support::process::{listening, trainspotter};

/// Output of a command with `--json`, and its exit code.
async fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = trainspotter(arguments).arg("--json").output().await.unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let parsed = serde_json::from_str(&printed);
    (output.status.code(), parsed.unwrap_or_else(|error| panic!("{arguments:?}: {error}: {printed}")))
}

#[tokio::test]
async fn commands_that_work_on_files_answer_in_json() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = |name: &str| root.join(name).display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    written(
        "rules.yaml",
        "rules: [{ alert: Long, metric: queue.wait.oldest, by: [queue], above: 30m, annotations: { summary: s, runbook: nowhere } }]",
    );
    let config = written(
        "trainspotter.yaml",
        "targets: [{ region: us-east-1, queues: [research] }]\nrules: [rules.yaml]\nstore: trainspotter.db\n\
         receivers: [{ name: chat, webhook: { url: \"https://chat.example.com/hook\" }, match: [queue=research] }]\n",
    );
    let unreachable = written(
        "unreachable.yaml",
        "targets: [{ region: us-east-1 }]\nreceivers: [{ name: chat, webhook: { url: \"http://127.0.0.1:1/hook\", allow_loopback: true } }]\n",
    );
    let (code, checked) = json(&["check", "--config", &config]).await;
    assert_eq!((code, &checked["routes"][0]["rule"]), (Some(0), &"Long".into()), "{checked}");
    assert_eq!(
        (&checked["targets"][0]["queues"][0], &checked["receivers"][0]["kind"]),
        (&"research".into(), &"webhook".into())
    );
    assert!(!checked.to_string().contains("/hook"), "an address with its secret is not shown: {checked}");

    let rules = folder.path().join("rules.yaml").display().to_string();
    let (code, checked) = json(&["rules", "check", &rules]).await;
    assert_eq!((code, &checked["rules"][0]), (Some(0), &"Long".into()));
    assert!(checked["warnings"][0].as_str().unwrap().contains("does not lead to a runbook"), "{checked}");
    let test = |expected: &str| {
        let series = "series: [{ metric: queue.wait.oldest, labels: { queue: q }, values: 40mx3 }]";
        format!(
            "rules: [rules.yaml]\ntests: [{{ name: it fires, {series}, expect: [{{ alert: Long, labels: {{ queue: q }}, timeline: {expected} }}] }}]"
        )
    };
    let (code, tested) = json(&["rules", "test", &written("right.test.yaml", &test("4F"))]).await;
    assert_eq!((code, &tested["tests"], &tested["failed"]), (Some(0), &1.into(), &Value::Array(Vec::new())));
    let (code, tested) = json(&["rules", "test", &written("wrong.test.yaml", &test("4P"))]).await;
    assert_eq!((code, &tested["failed"][0]["test"]), (Some(1), &"it fires".into()), "{tested}");
    let (code, tested) = json(&["rules", "backtest", "--to", "2h", &path("alerts/default.yaml")]).await;
    assert!(code == Some(0) && tested["rules"][0]["fired"].is_u64() && tested["to"].is_string(), "{tested}");
    let (code, sent) = json(&["notify", "test", "chat", "--config", &unreachable]).await;
    assert_eq!((code, &sent[0]["delivered"], &sent[0]["receiver"]), (Some(1), &false.into(), &"chat".into()), "{sent}");
    let (code, health) = json(&["healthcheck", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!((code, &health["healthy"], &health["status"]), (Some(1), &false.into(), &Value::Null), "{health}");
    let (code, priced) = json(&["cost", "--config", &config]).await;
    assert!(code == Some(0) && priced.is_object(), "{priced}");
    assert!(
        serde_json::from_slice::<Value>(&trainspotter(&["schema", "config"]).output().await.unwrap().stdout).is_ok()
    );
}

#[tokio::test]
async fn commands_that_work_beside_a_service_answer_as_its_api_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trainspotter.yaml");
    std::fs::write(&file, "targets: [{ region: us-east-1 }]\nstore: trainspotter.db\nreceivers: [{ name: chat, webhook: { url: 'https://example.com/' } }]\n").unwrap();
    drop(trainspotter_state(&folder.path().join("trainspotter.db")));
    let config = file.to_str().unwrap();
    let add = [
        "silence",
        "add",
        "--allow-unmatched",
        "--for",
        "2h",
        "--author",
        "ann",
        "--comment",
        "known",
        "queue=a",
        "--config",
        config,
    ];
    let (code, added) = json(&add).await;
    assert_eq!((code, &added["author"], &added["state"]), (Some(0), &"ann".into(), &"active".into()), "{added}");
    let id = added["id"].to_string();
    let (code, listed) = json(&["silence", "list", "--config", config]).await;
    assert_eq!((code, &listed[0]), (Some(0), &added));
    let (code, ended) = json(&["silence", "end", &id, "--config", config]).await;
    assert_eq!((code, &ended["state"]), (Some(0), &"over".into()));
    let (code, listed) = json(&["outbox", "list", "--config", config]).await;
    assert_eq!((code, &listed["notifications"]), (Some(0), &Value::Array(Vec::new())));
    let (code, listed) = json(&["outbox", "list", "--receiver", "chat", "--config", config]).await;
    assert_eq!((code, &listed["notifications"]), (Some(0), &Value::Array(Vec::new())));
    for how in ["list", "retry", "drop"] {
        let refused = trainspotter(&["outbox", how, "--receiver", "nope", "--config", config]).output().await.unwrap();
        let reported = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(64) && reported.contains("there are chat"), "{how}: {reported}");
    }
    let (code, changed) = json(&["outbox", "retry", "--config", config]).await;
    assert_eq!((code, &changed["changed"]), (Some(0), &0.into()));
}

/// A state file of a service.
fn trainspotter_state(file: &Path) -> trainspotter::store::Store {
    trainspotter::store::Store::open_as_is(file).unwrap()
}

/// The commands that `docs/COMPARISON.md` suggests for the demo, as written there.
#[tokio::test]
async fn the_commands_of_the_comparison_work_in_a_demo() {
    const TOKEN: &str = "demo-token-of-mine-1";
    let mut demo = trainspotter(&["demo", "--listen", "127.0.0.1:0", "--for", "300s"]);
    let (_demo, url) = listening(demo.env("TRAINSPOTTER_TOKEN", TOKEN).stderr(Stdio::piped()).spawn().unwrap()).await;
    let answer = async |arguments: &[&str]| {
        let asked = trainspotter(arguments).env("TRAINSPOTTER_URL", &url).env("TRAINSPOTTER_TOKEN", TOKEN).output();
        let output = asked.await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    // A replay needs jobs that have ended.
    let ended = async {
        loop {
            let (_, printed, _) = answer(&["jobs", "--state", "succeeded", "--json"]).await;
            let jobs = serde_json::from_str::<Value>(&printed).unwrap_or_default();
            if let Some(id) = jobs["jobs"][0]["id"].as_str() {
                return id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let id = tokio::time::timeout(Duration::from_secs(120), ended).await.expect("a job ends");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COMPARISON.md")).unwrap();
    let (_, table) = text.split_once("## Try each point").unwrap();
    let (_, table) = table.split_once("|---|").unwrap();
    // The text after the table is prose.
    let table = table.split("\n\n").next().unwrap();
    let commands = table.split('`').filter_map(|code| code.strip_prefix("trainspotter "));
    let mut run = 0;
    for command in commands {
        let command = command.replace("http://127.0.0.1:9464", &url).replace("JOB", &id);
        let (code, printed, reported) = answer(&command.split(' ').collect::<Vec<_>>()).await;
        assert!(code == Some(0) && (!printed.is_empty() || command == "alerts"), "{command}: {printed}{reported}");
        run += 1;
    }
    assert!(run >= 6, "{run} commands were found");
    for command in [
        &["explain", &id][..],
        &["when", "--queue", "research", "--share", "language", "--type", "ml.p5.48xlarge"],
        &["what-if"],
    ] {
        let (code, printed, reported) = answer(&[command, &["--url", &url, "--json"]].concat()).await;
        assert!(code == Some(0) && serde_json::from_str::<Value>(&printed).is_ok(), "{command:?}: {printed}{reported}");
    }
}
