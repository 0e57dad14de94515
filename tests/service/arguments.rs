//! Command-line arguments: wrong ones exit with 64 and list the valid ones, and external names reach no terminal as
//! control sequences.

use crate::support;

use std::process::Output;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use support::process::trainspotter;

async fn outcome(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = trainspotter(arguments);
    let command = command.env_remove("TRAINSPOTTER_TOKEN").env_remove("TRAINSPOTTER_CONFIG");
    let Output { status, stdout, stderr } = command.env("TRAINSPOTTER_URL", url).output().await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A fake service whose queue, share, jobs and alerts all have this name.
async fn service_of(name: &'static str) -> String {
    let answer = move |uri: Uri| async move { answer(name, &uri) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    url
}

fn answer(name: &str, uri: &Uri) -> (StatusCode, Json<Value>) {
    let at = "2026-03-01T12:00:00Z";
    let place = json!({ "account": "111122223333", "region": "us-east-1", "queue": name });
    let with = |more: Value| {
        let mut row = place.clone();
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let job = with(json!({
        "id": name, "name": name, "share": name, "status": "runnable", "status_reason": name, "owner": name, "gpus": 8.0,
        "waiting_seconds": 60.0, "wait_seconds": 60.0, "created_at": at, "why": { "reason": "behind" }, "story": [name],
        "start": { "outlook": "expected", "sentence": name }, "retries_left": 1, "demand": [{ "unit": "ml.p5.48xlarge", "quantity": 1.0 }],
    }));
    let silence =
        json!({ "id": 1, "state": "active", "ends_at": at, "author": name, "comment": name, "matchers": [name] });
    let query = uri.query().unwrap_or_default();
    let is_of_it = ["queue=nope", "share=nope", "account=", "region="].iter().all(|none| !query.contains(none));
    let answer = match uri.path().trim_start_matches("/api/v1/") {
        "health" => json!({ "status": "ok", "now": at, "targets": [place] }),
        "queues" => json!([with(json!({ "policy": name, "jobs": { "runnable": 1 } }))]),
        "shares" => json!([with(json!({ "share": name, "unit": name, "jobs": { "runnable": 1 }, "used": 1.0 }))]),
        "jobs" => json!({ "jobs": if is_of_it { vec![job] } else { vec![] }, "next": null }),
        "jobs/several" => {
            let error = json!({ "code": "ambiguous", "message": "2 jobs match: a" });
            return (StatusCode::CONFLICT, Json(json!({ "error": error, "jobs": [job, job] })));
        }
        path if path.starts_with("jobs/") => job,
        "alerts" => json!([with(json!({
            "state": "firing", "rule": name, "labels": { "severity": name, "share": name }, "silences": [silence], "unit": "count",
        }))]),
        "silences" => json!([silence]),
        "outbox" if query.contains("receiver=nope") => json!({ "notifications": [] }),
        "outbox" => {
            json!({ "notifications": [{ "id": name, "receiver": name, "rule": name, "labels": { "share": name }, "last_error": name }] })
        }
        "when" if query.contains("nope") => {
            let error =
                json!({ "code": "not_found", "message": format!("there is no queue \"nope\"; there are {name}") });
            return (StatusCode::NOT_FOUND, Json(json!({ "error": error })));
        }
        "when" => json!({ "outlook": "expected", "sentence": name, "rests_on": name }),
        "service" => json!({
            "costs": [{ "destination": name, "dollars": 1.5 }], "receivers": [{ "receiver": name }],
            "rules": [{ "rule": name, "severity": "critical" }],
        }),
        "outbox/retry" | "outbox/drop" => json!({ "changed": 0 }),
        _ => return (StatusCode::BAD_REQUEST, Json(json!({ "error": { "code": "bad_request", "message": name } }))),
    };
    (StatusCode::OK, Json(answer))
}

#[tokio::test]
async fn names_from_outside_reach_no_terminal_as_commands() {
    let name = "a\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\n\u{202e}exe\u{2066}<b>&=1+1";
    let url = service_of(name).await;
    for command in [
        &["jobs"][..],
        &["jobs", "--json"],
        &["queues"],
        &["queues", "--json"],
        &["alerts"],
        &["alerts", "--json"],
        &["top"],
        &["explain", "one"],
        &["explain", "one", "--json"],
        &["explain", "several"],
        &["when", "--queue", "q", "--type", "ml.p5.48xlarge"],
        &["when", "--queue", "nope", "--type", "ml.p5.48xlarge"],
        &["what-if", "--set", "queue.q.capacity=1"],
        &["report"],
        &["silence", "list"],
        &["outbox", "list"],
        &["cost"],
        &["cost", "--json"],
    ] {
        let (code, out, err) = outcome(&url, command).await;
        let all = format!("{out}{err}");
        assert!(all.contains("owned"), "{command:?} shows it ({code:?}): {all:?}");
        let is_bad = |letter: char| letter.is_control() && letter != '\n' || "\u{202e}\u{2066}".contains(letter);
        assert!(!all.contains(is_bad), "{command:?}: {all:?}");
        if command.contains(&"--json") {
            let said: Value = serde_json::from_str(&out).unwrap();
            assert!(strings(&said).iter().any(|text| text == name), "{command:?} says it exactly: {out}");
        }
    }
}

/// Any server may listen at an address: no command panics, waits forever or uses unbounded memory.
#[tokio::test]
async fn answers_that_are_none_of_a_service_end_every_command_with_an_error() {
    let endless = |uri: &Uri| {
        let list = if uri.path().ends_with("outbox") { "notifications" } else { "jobs" };
        // The same token with rows, and other tokens without any.
        let is_moving = uri.path().starts_with("/new");
        let rows = if is_moving { vec![] } else { vec![json!({ "id": "a", "queue": "q" })] };
        let asked = uri.query().unwrap_or_default().len();
        json!({ list: rows, "next": if is_moving { "x".repeat(asked % 50) } else { "same".to_owned() } })
    };
    let answer = async move |uri: Uri| match uri.path().split('/').nth(1) {
        Some("list") => json!([]).to_string(),
        Some("number") => json!(7).to_string(),
        Some("deep") => "[".repeat(100_000),
        _ => endless(&uri).to_string(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    for kind in ["list", "number", "deep", "same", "new"] {
        for command in [
            &["jobs"][..],
            &["outbox", "list"],
            &["explain", "one"],
            &["when", "--queue", "q", "--type", "ml.p5.48xlarge"],
            &["what-if", "--set", "queue.q.capacity=1"],
            &["report"],
            &["top"],
        ] {
            let url = format!("{url}/{kind}");
            let (code, out, err) =
                tokio::time::timeout(Duration::from_secs(120), outcome(&url, command)).await.unwrap();
            // An empty list is valid for a queue without jobs; the other commands need more.
            let is_empty = kind == "list" && matches!(command, ["top"]);
            assert!(code == Some(1) || is_empty, "{kind} {command:?}: {code:?} {out} {err}");
            assert!(!err.contains("panicked"), "{kind} {command:?}: {err}");
        }
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[tokio::test]
async fn invalid_arguments_exit_64_and_list_the_valid_ones() {
    let url = service_of("research").await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = file("c.yaml", "targets: [{ region: us-east-1 }]\n");
    let rules =
        file("rules.yaml", "rules: [{ alert: A, metric: poll.interval, above: 1h, annotations: { summary: s } }]\n");
    let text = file("text", "this is no state file of anybody\n");
    for (command, says) in [
        (&["when", "--queue", "nope", "--type", "ml.p5.48xlarge"][..], "there are research"),
        (&["jobs", "--reason", "foo"], "share_at_limit"),
        (&["jobs", "--queue", "nope"], "there are research"),
        (&["jobs", "--queue", "nope", "--json"], "there are research"),
        (&["jobs", "--share", "nope"], "there are research"),
        (&["jobs", "--state", "foo"], "runnable"),
        (&["jobs", "--account", "999988887777"], "there are 111122223333"),
        (&["alerts", "--region", "us-esat-1"], "there are us-east-1"),
        (&["alerts", "--rule", "nope"], "there are research"),
        (&["alerts", "--rule", "nope", "--json"], "there are research"),
        (&["alerts", "--severity", "foo"], "there are critical, info, page, research, warning"),
        (&["outbox", "list", "--receiver", "nope"], "there are research"),
        (&["outbox", "retry", "--receiver", "nope"], "there are research"),
        (&["outbox", "drop", "--receiver", "nope"], "there are research"),
        (&["explain", "one", "--region", "us-esat-1"], "there are us-east-1"),
        (&["queues", "nope"], "there are research"),
        (&["queues", "nope*"], "there are research"),
        (&["explain", ""], "a job is required"),
        (&["explain", "  "], "a job is required"),
        (&["cost", "--recorded", &text], "--config"),
        (&["cost", "--config", &config, "--recorded", "nope.db"], "--recorded: cannot read nope.db"),
        (&["cost", "--config", &config, "--recorded", &text], "is not a state file"),
        (&["what-if", "--recorded", "nope.db"], "nope.db"),
        (&["what-if", "--trace", "nope.csv"], "nope.csv: cannot be read"),
        (&["what-if", "--recorded", &text, "--set", "queue.q.capacity=1"], "is not a state file"),
        (&["rules", "backtest", "--recorded", "nope.db", &rules], "nope.db"),
        (&["rules", "backtest", "--recorded", &text, &rules], "is not a state file"),
    ] {
        let (code, out, err) = outcome(&url, command).await;
        assert!(code == Some(64) && err.contains(says), "{command:?}: {code:?} {out} {err}");
    }
    let (code, _, err) = outcome("", &["cost"]).await;
    assert!(code == Some(64) && err.contains("--config FILE") && err.contains("TRAINSPOTTER_URL"), "{err}");
    let (code, out, err) = outcome(&url, &["cost"]).await;
    assert!(code == Some(0) && out.contains("1.50"), "{out} {err}");
    for severity in ["critical", "page"] {
        let (code, out, err) = outcome(&url, &["alerts", "--severity", severity]).await;
        assert!(code == Some(0) && err.contains("is pending or firing"), "{severity}: {out} {err}");
    }
}

#[tokio::test]
async fn a_health_check_asks_the_service_that_the_environment_names() {
    let router = Router::new().route("/spot/healthz", axum::routing::get(async || "ok"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/spot", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    assert_eq!(outcome(&url, &["healthcheck"]).await.0, Some(0));
    let (code, _, err) = outcome("localhost:9464", &["healthcheck"]).await;
    assert!(code == Some(64) && err.contains("TRAINSPOTTER_URL"), "{err}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (code, _, err) = outcome("", &["simulate", "--listen", &taken.local_addr().unwrap().to_string()]).await;
    assert!(code == Some(1) && err.contains("--listen ADDR:PORT"), "{err}");
}

#[tokio::test]
async fn check_refuses_a_place_that_is_no_folder_and_names_what_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.yaml");
    let check = async |more: &str| {
        std::fs::write(&config, format!("targets: [{{ region: us-east-1 }}]\n{more}\n")).unwrap();
        outcome("", &["check", "--config", config.to_str().unwrap()]).await
    };
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::os::unix::fs::symlink(folder.path().join("nowhere"), folder.path().join("dangling")).unwrap();
    let path = folder.path().display();
    for (more, key) in [
        ("archive: /etc/passwd".to_owned(), "archive"),
        (format!("archive: file://{path}/file/deeper"), "archive"),
        (format!("archive: {{ to: {path}/file }}"), "archive"),
        (format!("archive: {path}/dangling"), "archive"),
        (format!("store: {{ log: \"file://{path}/file\" }}"), "log"),
    ] {
        let (code, _, err) = check(&more).await;
        assert!(
            code == Some(64) && err.contains("is not a folder") && err.contains("c.yaml:2:"),
            "{key} {more}: {err}"
        );
    }
    let rule = "rules: [{ alert: A, metric: poll.interval, above: 1h, annotations: { summary: s } }]\n";
    std::fs::write(folder.path().join("rules.yaml"), rule).unwrap();
    let (code, out, err) = check(
        "rules: [rules.yaml]\nreceivers: [{ name: digest, webhook: { url: 'http://hook.example.com/' } }]\ntags: [team]\n\
         archive: years\nreports: [{ every: weekly, to: digest, by: [team] }]\nforecast: { cpu_share: 0.2 }\n\
         publish: { cloudwatch: { budget: $30 } }",
    )
    .await;
    assert_eq!(code, Some(0), "{err}");
    for line in [
        "archive ",
        "tags      owner, team",
        "report    weekly to digest, by team",
        "budget    $30 a month",
        "forecast  at most 20 %",
    ] {
        assert!(out.lines().any(|written| written.starts_with(line)), "{line}: {out}");
    }
    let (code, _, err) =
        check("receivers: [{ name: a, webhook: { url: '${NOT_SET_ANYWHERE}' } }]\nlisten: '${NOT_SET_EITHER}'").await;
    assert!(code == Some(64) && err.contains("2 problems") && err.contains("NOT_SET_EITHER is not set"), "{err}");
}
