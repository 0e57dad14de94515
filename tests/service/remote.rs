//! Remote operations: over the API of a running service with a token, with curl and with the command. And tokens
//! appear nowhere.

use crate::support;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use axum::Router;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use support::config_file::configured;
use support::hook::{Hook, hook};
use support::http;
use support::process::{listening, trainspotter};

const PATIENCE: Duration = Duration::from_secs(300);

const READ: &str = "read-token-of-the-scraper";
const OPERATE: &str = "operate-token-of-ann";
const WRONG: &str = "a-token-that-nobody-has";

fn rules(alert: &str) -> String {
    format!(
        "rules: [{{ alert: {alert}, metric: poll.interval, above: 0s, no_data: ok, annotations: {{ summary: polls }} }}]\n"
    )
}

/// A service with a read token, an operate token and one receiver, over a simulator.
struct Site {
    folder: tempfile::TempDir,
    config: PathBuf,
    url: String,
    hook: Hook,
    _service: Child,
    _simulator: Child,
}

impl Site {
    async fn open() -> Self {
        let hook = hook().await;
        let mut simulator = trainspotter(&["simulate", "--speed", "60", "--for", "30m", "--listen", "127.0.0.1:0"]);
        let (simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yaml"), rules("Polls")).unwrap();
        std::fs::write(folder.path().join("token"), format!("{OPERATE}\n")).unwrap();
        let more = format!(
            "poll: {{ every: 5s }}
rules: [rules.yaml]
receivers: [{{ name: chat, webhook: {{ url: \"{}\", allow_loopback: true }} }}]
api:
  tokens:
    - {{ name: scraper, token: \"${{READ_TOKEN}}\", may: read }}
    - {{ name: ann, token: \"${{file:{}}}\", may: operate }}
",
            hook.url,
            folder.path().join("token").display()
        );
        let config = configured(folder.path(), &endpoint, &more);
        let log = folder.path().join("log");
        let service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .envs([("RUST_LOG", "trace"), ("READ_TOKEN", READ)])
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let listens = || {
            let text = std::fs::read_to_string(&log).unwrap();
            text.lines().find_map(|line| line.strip_prefix("listening on ").map(str::to_owned))
        };
        let url = until("it listens", async || listens()).await;
        let site = Self { folder, config, url, hook, _service: service, _simulator: simulator };
        let is_ready =
            async || http::get(format!("{}/readyz", site.url)).await.is_ok_and(|answer| answer.status() == 200);
        until("it is ready", async || is_ready().await.then_some(())).await;
        site
    }

    async fn request(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> (u16, String) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = http::client().request(method, format!("{}{path}", self.url));
        request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        request = body.into_iter().fold(request, |request, body| request.json(body));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, text) = self.request("GET", path, Some(READ), None).await;
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.request("POST", path, Some(OPERATE), Some(body)).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// An alert of a rule, once it fires.
    async fn firing(&self, rule: &str) -> Value {
        until(rule, async || {
            let alerts = self.get("/api/v1/alerts").await;
            let is_it = |alert: &&Value| alert["rule"] == rule && alert["state"] == "firing";
            alerts.as_array().unwrap().iter().find(is_it).cloned()
        })
        .await
    }

    /// Runs a command against the service, with a token.
    async fn command(&self, token: Option<&str>, arguments: &[&str]) -> (Option<i32>, String, String) {
        outcome(
            trainspotter(arguments)
                .envs(token.map(|token| ("TRAINSPOTTER_TOKEN", token)))
                .env("TRAINSPOTTER_URL", &self.url),
        )
        .await
    }

    async fn notified_of(&self, rule: &str) -> usize {
        let reported = self.hook.until(|_| true).await;
        reported.iter().filter(|(_, alert, _)| alert["labels"]["alertname"] == rule).count()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

async fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

#[tokio::test]
async fn a_silence_over_the_api_suppresses_notifications_until_it_ends() {
    let site = Site::open().await;
    let wanted = json!({ "matchers": ["alertname=Other"], "duration_seconds": 7200, "comment": "maintenance" });
    let (status, refused) = site.post("/api/v1/silences", &wanted).await;
    assert_eq!(status, 422, "no rule is called so yet: {refused}");
    let mut wanted = wanted;
    wanted["allow_unmatched"] = json!(true);
    let (status, silence) = site.post("/api/v1/silences", &wanted).await;
    assert_eq!((status, &silence["author"]), (201, &json!("ann")), "{silence}");

    std::fs::write(site.folder.path().join("rules.yaml"), rules("Other")).unwrap();
    let alert = site.firing("Other").await;
    assert_eq!(
        (&alert["silences"][0]["author"], &alert["silenced_until"]),
        (&json!("ann"), &silence["ends_at"]),
        "{alert}"
    );
    // The notifier has processed it and has held it back.
    let held = until("it is held back", async || {
        let outbox = site.get("/api/v1/outbox?receiver=chat&state=pending").await;
        let rows = outbox["notifications"].as_array().unwrap().clone();
        rows.into_iter()
            .find(|row| row["rule"] == "Other" && row["last_error"].as_str().is_some_and(|why| why.contains("silence")))
    })
    .await;
    assert_eq!(site.notified_of("Other").await, 0, "{held}");

    // A silence added by the command on the file is shown in the same way.
    let on_file =
        ["silence", "add", "--for", "1h", "--author", "bo", "--comment", "by hand", "alertname=Other", "--config"];
    let arguments = [&on_file[..], &[site.config.to_str().unwrap()]].concat();
    let (code, _, reported) = outcome(trainspotter(&arguments).env("READ_TOKEN", READ)).await;
    assert_eq!(code, Some(0), "{reported}");
    until("it shows", async || (site.firing("Other").await["silences"][1]["author"] == "bo").then_some(())).await;

    for id in [1, 2] {
        let (status, ended) = site.post(&format!("/api/v1/silences/{id}/end"), &json!({})).await;
        assert_eq!((status, &ended["state"]), (200, &json!("over")), "{ended}");
    }
    let (status, again) = site.post("/api/v1/silences/1/end", &json!({})).await;
    assert_eq!((status, &again["error"]["code"]), (409, &json!("conflict")));
    assert_eq!(site.post("/api/v1/silences/77/end", &json!({})).await.0, 404);
    site.hook.until(|reported| reported.iter().any(|(_, alert, _)| alert["labels"]["alertname"] == "Other")).await;
    assert_eq!(site.firing("Other").await["silences"], json!([]));

    tests_go_out_and_end_nothing_real(&site).await;
    what_cannot_be_changed_is_said(&site).await;
    no_token_shows(&site).await;
}

async fn tests_go_out_and_end_nothing_real(site: &Site) {
    let (status, tested) = site.post("/api/v1/notifications/test", &json!({ "rule": "Other" })).await;
    assert_eq!((status, tested.as_array().unwrap().len(), &tested[1]["delivered"]), (200, 2, &json!(true)), "{tested}");
    let reported =
        site.hook.until(|reported| reported.iter().any(|(_, alert, _)| alert["labels"]["test"] == "true")).await;
    let real = site.firing("Other").await["id"].clone();
    let tests = reported.iter().filter(|(_, alert, _)| alert["labels"]["test"] == "true");
    assert!(tests.clone().all(|(_, alert, _)| alert["fingerprint"] != real), "{reported:?}");
    assert!(
        tests.clone().all(|(_, alert, _)| alert["annotations"]["summary"].as_str().unwrap().contains("This is a test"))
    );
    for (body, status) in [
        (json!({ "receiver": "nobody" }), 404),
        (json!({ "rule": "Nothing" }), 404),
        (json!({ "receiver": "chat", "kinds": ["loud"] }), 422),
        (json!({ "rule": "Other", "labels": { "queue": "q" } }), 422),
    ] {
        assert_eq!(site.post("/api/v1/notifications/test", &body).await.0, status, "{body}");
    }
}

async fn what_cannot_be_changed_is_said(site: &Site) {
    let delivered = site.get("/api/v1/outbox?state=delivered&limit=1").await;
    let id = delivered["notifications"][0]["id"].as_str().unwrap().to_owned();
    for (path, body, status) in [
        ("drop", json!({ "ids": [&id] }), 409),
        ("retry", json!({ "ids": [&id] }), 409),
        ("retry", json!({ "ids": ["00000000ff"] }), 404),
        ("drop", json!({ "receiver": "nobody" }), 404),
        ("retry", json!({}), 200),
    ] {
        let (answered, said) = site.post(&format!("/api/v1/outbox/{path}"), &body).await;
        assert_eq!(answered, status, "{path} {body}: {said}");
    }
}

/// But every action is, with its author.
async fn no_token_shows(site: &Site) {
    let mut seen = String::new();
    for token in [None, Some(WRONG), Some(READ)] {
        for (method, path) in
            [("GET", "/api/v1/silences"), ("POST", "/api/v1/silences"), ("GET", "/metrics"), ("GET", "/")]
        {
            seen += &site.request(method, path, token, Some(&json!({}))).await.1;
        }
    }
    // A tick may come between the four requests, so that some are counted before the others.
    until("the four refusals are counted", async || {
        let figures = site.request("GET", "/metrics", Some(READ), None).await.1;
        let mut refused = figures.lines().filter(|line| line.starts_with("trainspotter_api_refused_total"));
        refused.find(|line| line.contains("cause=\"wrong_token\"") && line.ends_with(" 4")).map(|_| ())
    })
    .await;
    let log = site.log();
    assert!(log.len() > 100_000, "it logs everything: {}", log.len());
    for act in ["silence added", "silence ended", "test notification sent"] {
        let line = log.lines().find(|line| line.contains(act)).unwrap_or_else(|| panic!("{act} is not logged"));
        assert!(line.contains("\"author\":\"ann\""), "{line}");
    }
    let state =
        String::from_utf8_lossy(&std::fs::read(site.folder.path().join("trainspotter.db")).unwrap()).into_owned();
    for token in [READ, OPERATE, WRONG] {
        for (place, text) in [("an answer", &seen), ("the log", &log), ("the state file", &state)] {
            assert!(!text.contains(token), "{token} is in {place}");
        }
    }
}

#[tokio::test]
async fn commands_query_a_running_service_and_report_errors() {
    let site = Site::open().await;
    site.firing("Polls").await;
    for (arguments, shows) in [
        (&["jobs"][..], &["ID ", "NAME ", "WAITED", "REASON"][..]),
        (&["jobs", "--state", "running,starting", "--sort", "gpus", "--limit", "2"], &["STATE"]),
        (&["jobs", "--all", "--json", "--limit", "1"], &["\"found\"", "\"jobs\""]),
        (&["queues"], &["QUEUE ", "RUNNING", "BORROWED", "research", "OLDEST WAIT"]),
        (&["queues", "res*", "--json"], &["\"shares\"", "\"policy\": \"QUOTA_SHARE\""]),
        (&["alerts"], &["SEVERITY", "Polls", "firing"]),
        (&["alerts", "--json", "--state", "firing"], &["\"silenced_until\""]),
        (&["top"], &["JOBS", "QUEUES", "ALERTS", "Polls", "research"]),
        (&["top", "--json"], &["\"status\"", "\"shares\"", "\"alerts\""]),
        (&["outbox", "list", "--all", "--json"], &["\"notifications\"", "\"receiver\": \"chat\""]),
        (&["silence", "list", "--json"], &["["]),
        (&["report", "--from", "1h", "--json"], &["\"breakdown\"", "\"wastes\""]),
        (&["cost", "--json"], &["\"lines\"", "\"total_dollars\""]),
        (&["silence", "list"], &[]),
        (&["outbox", "list", "--all"], &["RECEIVER", "chat", "Polls"]),
    ] {
        let (code, printed, reported) = site.command(Some(READ), arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {reported}");
        for shown in shows {
            assert!(printed.contains(shown), "{arguments:?} lacks {shown}: {printed}{reported}");
        }
        let is_json = serde_json::from_str::<Value>(&printed).is_ok();
        assert_eq!(is_json, arguments.contains(&"--json"), "{arguments:?}: {printed}");
        let titles = printed.lines().next().unwrap_or_default();
        assert!(titles.is_empty() || !printed.contains('\u{1b}'), "plain: {printed}");
    }
    let jobs: Value = serde_json::from_str(&site.command(Some(READ), &["jobs", "--all", "--json"]).await.1).unwrap();
    let job = &jobs["jobs"][0];
    let (id, name) = (job["id"].as_str().unwrap(), job["name"].as_str().unwrap());
    let (code, printed, reported) = site.command(Some(READ), &["explain", id]).await;
    assert!(code == Some(0) && printed.contains(name), "{printed}{reported}");
    let (code, printed, _) = site.command(Some(READ), &["jobs", "--all", "--id", id, "--json"]).await;
    assert!(code == Some(0) && printed.contains(id) && printed.contains("\"found\": 1"), "{printed}");
    assert_eq!(site.command(Some(READ), &["explain", "no-such-job"]).await.0, Some(1));

    let silence = ["silence", "add", "--for", "2h", "--comment", "maintenance", "alertname=Polls"];
    let (code, _, reported) = site.command(Some(READ), &silence).await;
    assert!(code == Some(1) && reported.contains("scraper is read-only"), "{reported}");
    let (code, printed, reported) = site.command(Some(OPERATE), &silence).await;
    assert!(code == Some(0) && printed.starts_with("silence 1 until "), "{printed}{reported}");
    let (_, printed, _) = site.command(Some(READ), &["alerts"]).await;
    assert!(printed.contains("by ann: maintenance"), "{printed}");
    let (_, printed, _) = site.command(Some(READ), &["silence", "list"]).await;
    assert!(printed.contains("active") && printed.contains("alertname=Polls"), "{printed}");
    assert_eq!(site.command(Some(OPERATE), &["silence", "end", "1"]).await.0, Some(0));
    assert_eq!(site.command(Some(OPERATE), &["silence", "end", "1"]).await.0, Some(1));
    let (code, printed, reported) = site.command(Some(OPERATE), &["notify", "test", "chat"]).await;
    assert!(code == Some(0) && printed.contains("chat: firing: delivered"), "{printed}{reported}");
    let (code, printed, reported) = site.command(Some(OPERATE), &["notify", "test", "--rule", "Polls"]).await;
    assert!(code == Some(0) && printed.contains("chat: resolved: delivered"), "{printed}{reported}");
    assert_eq!(site.command(Some(OPERATE), &["outbox", "retry"]).await.0, Some(0));
    assert_eq!(site.command(Some(OPERATE), &["outbox", "drop"]).await.0, Some(64));

    let (code, _, reported) = site.command(None, &["alerts"]).await;
    assert!(
        code == Some(1) && reported.contains("needs a token") && reported.contains("TRAINSPOTTER_TOKEN"),
        "{reported}"
    );
    let (code, _, reported) = site.command(Some(WRONG), &["top"]).await;
    assert!(code == Some(1) && reported.contains("rejected the token") && !reported.contains(WRONG), "{reported}");
    let file = site.folder.path().join("token");
    let (code, _, reported) = site.command(None, &["alerts", "--token-file", file.to_str().unwrap()]).await;
    assert_eq!(code, Some(0), "{reported}");
    assert_eq!(site.command(None, &["alerts", "--token-file", "/nowhere"]).await.0, Some(64));
    let (_, _, reported) = site.command(None, &["alerts", "--token", OPERATE]).await;
    assert!(reported.contains("--token-file"), "{reported}");
}

#[tokio::test]
async fn a_command_reports_a_server_that_is_not_trainspotter() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let html = Router::new().fallback(async || axum::response::Html("<p>It works!</p>"));
    tokio::spawn(async move { axum::serve(listener, html).await.unwrap() });
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nothing = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    for command in [
        &["jobs"][..],
        &["queues"],
        &["alerts"],
        &["top"],
        &["explain", "x"],
        &["silence", "list"],
        &["outbox", "list"],
    ] {
        let at = async |url: &str| {
            outcome(trainspotter(command).args(["--url", url]).env_remove("TRAINSPOTTER_TOKEN")).await
        };
        let (code, _, reported) = at(&other).await;
        assert!(code == Some(1) && reported.contains("is not Trainspotter"), "{command:?}: {reported}");
        let (code, _, reported) = at(&nothing).await;
        assert!(
            code == Some(1) && reported.contains("does not respond") && reported.contains("TRAINSPOTTER_URL"),
            "{command:?}: {reported}"
        );
        assert_eq!(at("localhost:9464").await.0, Some(64), "{command:?}");
    }
    let (code, _, reported) = outcome(trainspotter(&["silence", "list"]).env_remove("TRAINSPOTTER_URL")).await;
    assert!(code == Some(64) && reported.contains("--url") && reported.contains("--config"), "{reported}");
}

/// A tmux terminal, ended when dropped. `None`, with a message, if tmux is neither installed nor required.
struct Terminal(String);

impl Terminal {
    async fn open(command: &str) -> Option<Self> {
        let this = Self(format!("trainspotter-{}", std::process::id()));
        match this.tmux(&["new-session", "-d", "-x", "150", "-y", "24", command]).await {
            Ok(Output { status, .. }) if status.success() => Some(this),
            other => {
                assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "tmux is required: {other:?}");
                eprintln!("skipped: no tmux ({other:?})");
                None
            }
        }
    }

    async fn tmux(&self, arguments: &[&str]) -> std::io::Result<Output> {
        Command::new("tmux").args(["-f", "/dev/null", "-L", &self.0]).args(arguments).output().await
    }

    async fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).await.unwrap();
    }

    async fn shows(&self, what: &str) -> String {
        let screen = async || {
            let screen = self.tmux(&["capture-pane", "-p"]).await.unwrap();
            String::from_utf8_lossy(&screen.stdout).into_owned()
        };
        let looking = async {
            loop {
                let screen = screen().await;
                if screen.contains(what) {
                    return screen;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => panic!("{what:?} does not show: {}", screen().await),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = std::process::Command::new("tmux").args(["-L", &self.0, "kill-server"]).output();
    }
}

#[tokio::test]
async fn top_shows_tables_in_a_terminal_and_gives_it_back() {
    let site = Site::open().await;
    site.firing("Polls").await;
    let (binary, url) = (env!("CARGO_BIN_EXE_trainspotter"), &site.url);
    let command = format!(
        "TRAINSPOTTER_URL={url} TRAINSPOTTER_TOKEN={READ} {binary} top --every 500ms; echo it ended with $?; sleep 300"
    );
    let Some(terminal) = Terminal::open(&command).await else { return };
    let screen = terminal.shows("[1 jobs]").await;
    assert!(
        screen.contains("1 alert firing") && screen.contains("WAITED") && screen.contains(url.as_str()),
        "{screen}"
    );
    for key in ["?", "Enter"] {
        terminal.press(key).await;
    }
    terminal.shows("these keys").await;
    terminal.press("Escape").await;
    terminal.shows(" runn").await;
    terminal.press("Enter").await;
    let screen = terminal.shows("[job]").await;
    assert!(screen.contains("esc back"), "{screen}");
    terminal.press("Escape").await;
    terminal.shows("[1 jobs]").await;
    terminal.press("Tab").await;
    let screen = terminal.shows("[2 queues]").await;
    assert!(screen.contains("BORROWED") && screen.contains("research"), "{screen}");
    terminal.press("BTab").await;
    terminal.shows("[1 jobs]").await;
    terminal.press("s").await;
    terminal.shows("order: created").await;
    terminal.press("3").await;
    let screen = terminal.shows("[3 alerts]").await;
    assert!(screen.contains("Polls") && screen.contains("SILENCED"), "{screen}");
    terminal.press("Enter").await;
    terminal.shows("page: /alerts/").await;
    terminal.press("Escape").await;
    terminal.shows("[3 alerts]").await;
    for key in ["/", "z", "q"] {
        terminal.press(key).await;
    }
    terminal.shows("/zq_").await;
    terminal.press("Enter").await;
    let screen = terminal.shows("nothing to show").await;
    assert!(!screen.contains("Polls"), "{screen}");
    terminal.press("Escape").await;
    terminal.shows("Polls").await;
    // It refreshes automatically.
    let body = json!({ "matchers": ["alertname=Polls"], "duration_seconds": 600, "comment": "seen live" });
    assert_eq!(site.post("/api/v1/silences", &body).await.0, 201);
    terminal.shows("seen live").await;
    for key in ["j", "Down", "G", "PPage"] {
        terminal.press(key).await;
    }
    terminal.press("q").await;
    let screen = terminal.shows("it ended with 0").await;
    assert!(!screen.contains("[3 alerts]"), "the terminal is as it was: {screen}");
}
