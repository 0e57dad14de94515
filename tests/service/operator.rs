//! Operations beside a running service: show, drop and retry notifications, silence, test a receiver. And secrets
//! appear nowhere.

use crate::support;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;

use support::config_file::configured;
use support::http;
use support::process::{listening, trainspotter};

const PATIENCE: Duration = Duration::from_secs(300);

/// Secrets that only receivers may see.
const SECRETS: [&str; 6] = [
    "hook-in-the-url",
    "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "xoxb-of-the-app",
    "routing-key-of-pagerduty",
    "in-a-query",
    "bearer-of-the-hook",
];

#[tokio::test]
async fn what_waits_is_looked_at_given_up_tried_again_and_silenced() {
    let office = Office::open(503).await;
    let reported = office.until(&["outbox", "list"], |reported| reported.contains("responded with 503")).await;
    let row = reported.lines().find(|line| line.contains(" chat ")).unwrap();
    assert!(row.contains("pending") && row.contains("fired") && row.contains("Polls"), "{reported}");
    let id = row.split(' ').next().unwrap();

    let (code, reported) = office.asks(&["outbox", "drop", id]).await;
    assert_eq!((code, reported.as_str()), (Some(0), "1 notifications were dropped\n"));
    let (_, reported) = office.asks(&["outbox", "list", id]).await;
    assert!(reported.contains("dead"), "{reported}");
    assert_eq!(office.asks(&["outbox", "drop"]).await.0, Some(64), "everything at once is not meant");

    office.answer_with(200);
    let (_, reported) = office.asks(&["outbox", "retry", id]).await;
    assert!(reported.starts_with("1 notifications"), "{reported}");
    office.until(&["outbox", "list", "--all", id], |reported| reported.contains("delivered")).await;
    assert_eq!(office.calls("/hook-in-the-url").last().unwrap()["alerts"][0]["labels"]["alertname"], "Polls");

    let until = ["silence", "add", "--for", "2h", "--author", "ann", "--comment", "maintenance", "alertname=Other"];
    assert_eq!(office.asks(&until).await.0, Some(64), "no rule is called so yet");
    for refused in ["sevrity=page", "queue='a'", "alertname=Polls|Other", "queue=prod"] {
        let arguments = ["silence", "add", "--for", "2h", "--author", "ann", "--comment", "c", refused];
        assert_eq!(office.asks(&arguments).await.0, Some(64), "{refused}");
    }
    let months = ["silence", "add", "--for", "30M", "--author", "ann", "--comment", "c", "alertname=Polls"];
    assert_eq!(office.asks(&months).await.0, Some(64));
    let until = [
        "silence",
        "add",
        "--allow-unmatched",
        "--for",
        "2h",
        "--author",
        "ann",
        "--comment",
        "maintenance",
        "alertname=~\"Oth.*\"",
    ];
    assert_eq!(office.asks(&until).await.0, Some(0));
    let (_, reported) = office.asks(&["silence", "list"]).await;
    assert!(
        reported.contains("ann") && reported.contains("maintenance") && reported.contains("alertname=~\"Oth.*\""),
        "{reported}"
    );
    std::fs::write(office.folder.path().join("rules.yaml"), rules("Other")).unwrap();
    office.until(&["outbox", "list"], |reported| reported.contains("silence 1 of ann")).await;
    assert_eq!(office.asks(&["silence", "end", "1"]).await.0, Some(0));
    let (_, reported) = office.asks(&["silence", "list"]).await;
    assert!(reported.contains("over"), "{reported}");

    let (code, reported) = office.asks(&["notify", "test", "chat"]).await;
    assert!(code == Some(0) && reported.contains("200"), "{reported}");
    assert!(
        reported.contains("chat: firing: delivered") && reported.contains("chat: resolved: delivered"),
        "{reported}"
    );
    let (code, reported) = office.asks(&["notify", "test", "chat", "--kind", "all"]).await;
    assert!(code == Some(0) && reported.contains("digest"), "{reported}");
    let tests = |call: &&Value| call["commonLabels"]["alertname"] == "TestNotification";
    let hook = format!("/{}", SECRETS[0]);
    let sent = office
        .calls(&hook)
        .iter()
        .filter(tests)
        .map(|call| call["alerts"].as_array().unwrap().len())
        .collect::<Vec<_>>();
    assert_eq!(sent, [1, 1, 1, 1, 1, 1, 3, 4], "firing and resolved; and again with a job's two, a group and a digest");
    let console = office.calls(&hook).last().unwrap()["alerts"][0]["consoleURL"].as_str().unwrap().to_owned();
    assert!(console.contains("region=us-east-1#"), "the region that is watched: {console}");
    let authorized = office.server.authorizations.lock().unwrap().clone();
    assert!(authorized.contains(&format!("Bearer {}", SECRETS[5])), "the header of the configuration arrived");
    assert_eq!(office.asks(&["notify", "test", "nobody"]).await.0, Some(64));
}

#[tokio::test]
async fn slack_changes_the_message_of_the_firing_when_the_alert_ends() {
    let office = Office::open(200).await;
    office
        .until(&["outbox", "list", "--all"], |reported| reported.contains(" app ") && reported.contains("delivered"))
        .await;
    let posted = office.calls("/slack/chat.postMessage");
    assert_eq!(posted[0]["channel"], "C0123456789");
    std::fs::write(office.folder.path().join("rules.yaml"), rules("Other")).unwrap();
    let is_changed = |reported: &str| {
        reported.lines().any(|line| line.contains(" app ") && line.contains(" Polls ") && line.contains("resolved"))
    };
    office.until(&["outbox", "list", "--all"], |reported| is_changed(reported) && !reported.contains("pending")).await;
    let changed = office.calls("/slack/chat.update");
    assert_eq!((&changed[0]["channel"], &changed[0]["ts"]), (&json!("C0123456789"), &json!("17.0042")));
    assert!(changed[0]["text"].as_str().unwrap().contains("[RESOLVED] Polls"), "{changed:?}");
}

#[tokio::test]
async fn no_secret_is_seen_anywhere_but_by_its_receiver() {
    let office = Office::open(418).await;
    for receiver in ["chat", "app", "pager", "existing"] {
        let shows = |reported: &str| {
            reported.lines().any(|line| line.contains(&format!(" {receiver} ")) && line.contains("responded"))
        };
        office.until(&["outbox", "list"], shows).await;
    }
    office.answer_with(200);
    let mut seen = String::new();
    for arguments in
        [&["outbox", "list", "--all"][..], &["notify", "test", "chat"], &["notify", "test", "app"], &["check"]]
    {
        let (code, reported) = office.asks(arguments).await;
        assert_eq!(code, Some(0), "{reported}");
        seen += &reported;
    }
    for path in ["health", "alerts", "queues", "rules", "receivers"] {
        seen += &http::get(format!("{}/api/v1/{path}", office.page)).await.unwrap().text().await.unwrap();
    }
    for path in ["/metrics", "/"] {
        seen += &http::get(format!("{}{path}", office.page)).await.unwrap().text().await.unwrap();
    }
    let logs = std::fs::read_to_string(office.folder.path().join("log")).unwrap();
    assert!(logs.len() > 100_000, "it logs everything: {}", logs.len());
    let state = std::fs::read(office.folder.path().join("trainspotter.db")).unwrap();
    for secret in SECRETS {
        for (place, text) in [("an answer", seen.as_bytes()), ("the log", logs.as_bytes()), ("the state file", &state)]
        {
            let found = text.windows(secret.len()).position(|window| window == secret.as_bytes());
            let around = |at: usize| String::from_utf8_lossy(&text[at.saturating_sub(300)..(at + 50).min(text.len())]);
            assert!(found.is_none(), "{secret} is in {place}: {}", around(found.unwrap_or_default()));
        }
    }
}

fn rules(alert: &str) -> String {
    format!(
        "rules: [{{ alert: {alert}, metric: poll.interval, above: 0s, no_data: ok, annotations: {{ summary: polls }} }}]\n"
    )
}

/// A service with four receivers on one server, its simulator, and its log.
struct Office {
    folder: tempfile::TempDir,
    config: PathBuf,
    page: String,
    server: Server,
    _service: Child,
    _simulator: Child,
}

#[derive(Clone)]
struct Server {
    status: Arc<Mutex<u16>>,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    authorizations: Arc<Mutex<BTreeSet<String>>>,
}

impl Office {
    /// `status` is the receivers' response.
    async fn open(status: u16) -> Self {
        let server =
            Server { status: Arc::new(Mutex::new(status)), calls: Arc::default(), authorizations: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(take).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

        let mut simulator = trainspotter(&["simulate", "--for", "30m", "--listen", "127.0.0.1:0"]);
        let (simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
        let folder = tempfile::tempdir().unwrap();
        let config = configured(folder.path(), &endpoint, &receivers(&root, folder.path()));
        std::fs::write(folder.path().join("rules.yaml"), rules("Polls")).unwrap();
        let log = folder.path().join("log");
        let service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .env("RUST_LOG", "trace")
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let page = page(&log).await;
        Self { folder, config, page, server, _service: service, _simulator: simulator }
    }

    fn answer_with(&self, status: u16) {
        *self.server.status.lock().unwrap() = status;
    }

    /// The bodies posted to a path.
    fn calls(&self, path: &str) -> Vec<Value> {
        let calls = self.server.calls.lock().unwrap();
        calls.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }

    /// Runs a command with this configuration: its exit code, and all its output.
    async fn asks(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = trainspotter(arguments);
        let Output { status, stdout, stderr } =
            command.args(["--config", self.config.to_str().unwrap()]).output().await.unwrap();
        (status.code(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
    }

    /// Repeats a command until its output matches.
    async fn until(&self, arguments: &[&str], wanted: impl Fn(&str) -> bool) -> String {
        let asking = async {
            loop {
                let (_, reported) = self.asks(arguments).await;
                if wanted(&reported) {
                    return reported;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(reported) => reported,
            Err(_) => panic!("{arguments:?} still says: {}", self.asks(arguments).await.1),
        }
    }
}

fn receivers(root: &str, folder: &Path) -> String {
    let [hook, key, token, routing, query, header] = SECRETS;
    let routing_file = folder.join("routing");
    std::fs::write(&routing_file, routing).unwrap();
    format!(
        "poll: {{ every: 5s }}
rules: [rules.yaml]
receivers:
  - {{ name: chat, webhook: {{ url: \"{root}/{hook}\", secrets: [\"whsec_{key}\"], headers: {{ Authorization: \"Bearer {header}\" }}, allow_loopback: true }} }}
  - {{ name: app, slack: {{ url: \"{root}/slack\", token: {token}, channel: C0123456789, allow_loopback: true }} }}
  - {{ name: pager, pagerduty: {{ url: \"{root}/pager\", routing_key: \"${{file:{}}}\", allow_loopback: true }} }}
  - {{ name: existing, alertmanager: {{ url: \"{root}/?token={query}\", allow_loopback: true }} }}
",
        routing_file.display()
    )
}

/// Responds like Slack to a message; other receivers ignore the body.
async fn take(State(server): State<Server>, uri: Uri, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    server.authorizations.lock().unwrap().extend(authorization);
    let body = serde_json::from_str(&body).unwrap();
    server.calls.lock().unwrap().push((uri.path().to_owned(), body));
    let status = *server.status.lock().unwrap();
    (
        StatusCode::from_u16(status).unwrap(),
        json!({ "ok": true, "channel": "C0123456789", "ts": "17.0042" }).to_string(),
    )
}

/// The service's address, from its log.
async fn page(log: &Path) -> String {
    let listening = async {
        loop {
            let text = std::fs::read_to_string(log).unwrap();
            if let Some(address) = text.lines().find_map(|line| line.strip_prefix("listening on ")) {
                return address.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("it says where it listens")
}
