//! Real processes on one log: what they watch, whom they notify, and checks of what a receiver and the log got.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trainspotter_clock::Clock;
use trainspotter_simulator as simulator;
use trainspotter_simulator::{Simulation, trace};

use support::hook::{Hook, Received, hook};
use support::http;
use support::process::{listening_and_telling, trainspotter};

/// The columns of a trace that says when each job ran.
pub const RECORDED_JOBS: &str = "job_id,share,num_gpu,submit_s,start_s,end_s\n";

pub const PATIENCE: Duration = Duration::from_secs(300);

pub const LEASE: Duration = Duration::from_secs(4);

/// How often the account is polled, and figures are published.
pub const POLL: Duration = Duration::from_secs(5);

/// Credentials that make an emulator use S3; it checks no signature.
const ANYBODY: &str =
    "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";

/// Shared by the replicas: an account, a log, receivers of alerts and of metrics.
pub struct World {
    folder: tempfile::TempDir,
    /// AWS.
    pub endpoint: String,
    pub log: String,
    /// An S3 endpoint, if the log is in a bucket.
    s3: Option<String>,
    pub hook: Hook,
    pub sink: Sink,
    stop: CancellationToken,
}

/// One process.
pub struct Replica {
    pub process: Child,
    pub page: String,
    lines: Arc<Mutex<String>>,
}

/// A receiver of published metrics that records their times and, from the header `x-replica`, who sent them.
pub struct Sink {
    url: String,
    published: Arc<Mutex<Published>>,
}

/// When metrics came, and from whom.
type Published = Vec<(Instant, Option<String>)>;

impl Sink {
    async fn start() -> Self {
        let published: Arc<Mutex<Published>> = Arc::default();
        let note = {
            let published = Arc::clone(&published);
            move |headers: HeaderMap| async move {
                let sender = headers.get("x-replica").map(|name| name.to_str().unwrap().to_owned());
                published.lock().unwrap().push((Instant::now(), sender));
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/metrics", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(note);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, published }
    }

    /// The longest time without metrics so far.
    pub fn longest_gap(&self) -> Duration {
        let published = self.published.lock().unwrap();
        assert!(published.len() > 3, "figures are published");
        published.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap()
    }

    /// Who has published metrics.
    pub fn publishers(&self) -> BTreeSet<String> {
        self.published.lock().unwrap().iter().filter_map(|(_, sender)| sender.clone()).collect()
    }

    /// When a sender published metrics for the first time.
    pub fn first_published_by(&self, sender: &str) -> Option<Instant> {
        let published = self.published.lock().unwrap();
        published.iter().find(|(_, by)| by.as_deref() == Some(sender)).map(|(at, _)| *at)
    }

    /// Waits until somebody has published metrics.
    pub async fn until_published_by(&self, sender: &str) {
        let waiting = async {
            while !self.publishers().contains(sender) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{sender} publishes nothing");
    }
}

/// Duration of a job and of a pause. Both last longer than a poll takes on a busy machine, so that none is missed.
pub const TURN: u64 = 12;

/// Jobs of a trace.
const JOBS: u64 = 200;

/// The trace of a share in which one short job runs after another, with pauses.
fn short_jobs() -> String {
    let job = |number: u64| {
        let start = 5 + number * TURN * 2;
        format!("j{number},team,8,{},{start},{}\n", start - 2, start + TURN)
    };
    RECORDED_JOBS.to_owned() + &(0..JOBS).map(job).collect::<String>()
}

impl World {
    pub async fn start() -> Self {
        Self::with_trace(&short_jobs()).await
    }

    /// With the jobs of a trace.
    pub async fn with_trace(trace: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("jobs.csv"), trace).unwrap();
        let stop = CancellationToken::new();
        let endpoint = serve_account(folder.path(), None, &stop).await;
        let log = format!("file://{}", folder.path().join("log").display());
        let (hook, sink) = (hook().await, Sink::start().await);
        Self { folder, endpoint, log, s3: None, hook, sink, stop }
    }

    /// The endpoint of another account, with the same jobs.
    pub async fn another_account(&self, account: &str) -> String {
        serve_account(self.folder.path(), Some(account), &self.stop).await
    }

    /// As above, with a log in a bucket.
    pub async fn in_a_bucket(s3: &str, bucket: &str) -> Self {
        Self { log: format!("s3://{bucket}/a/prefix"), s3: Some(s3.to_owned()), ..Self::start().await }
    }

    /// As above, with a new bucket of an emulator.
    pub async fn in_a_new_bucket(s3: &str, bucket: &str) -> Self {
        let made = http::client().put(format!("{s3}/{bucket}")).header("authorization", ANYBODY).send();
        made.await.unwrap().error_for_status().unwrap();
        Self::in_a_bucket(s3, bucket).await
    }

    /// A file that all replicas can read.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A configuration for a replica with its own disk, after a change.
    pub fn config_with(&self, name: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let rules =
            "rules: [{ alert: Runs, metric: queue.jobs, where: { state: running }, by: [queue], above: 0, no_data: ok,
            annotations: { summary: runs } }]";
        let rules_file = self.file("rules.yaml", rules);
        let config = folder.join("trainspotter.yaml");
        let mut store = json!({ "file": "state.db", "log": self.log, "lease": format!("{}s", LEASE.as_secs()) });
        if let Some(s3) = &self.s3 {
            store["endpoint"] = json!(s3);
        }
        let mut settings = json!({
            "targets": [{ "region": "us-east-1", "endpoint": self.endpoint }],
            "poll": { "every": format!("{}s", POLL.as_secs()), "calls_per_second": 50.0 },
            "rules": [rules_file],
            "listen": "127.0.0.1:0",
            "log": "pretty",
            "store": store,
            "publish": { "otlp": [{ "endpoint": self.sink.url }] },
            "receivers": [{ "name": "hook", "webhook": { "url": self.hook.url, "allow_loopback": true } }],
        });
        change(&mut settings);
        std::fs::write(&config, settings.to_string()).unwrap();
        config
    }

    pub async fn replica(&self, name: &str) -> Replica {
        self.replica_with(name, |_| {}, &[]).await
    }

    /// A replica with another configuration or environment.
    pub async fn replica_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut Value),
        environment: &[(&str, &str)],
    ) -> Replica {
        let config = self.config_with(name, change);
        let process = trainspotter(&["run", "--config", config.to_str().unwrap()])
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (process, page, mut lines) = listening_and_telling(process).await;
        let (name, logged) = (name.to_owned(), Arc::<Mutex<String>>::default());
        let so_far = Arc::clone(&logged);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                eprintln!("{name}: {line}");
                so_far.lock().unwrap().push_str(&line);
            }
        });
        Replica { process, page, lines: logged }
    }

    /// The error message of a replica that does not start.
    pub async fn refused(&self, name: &str, change: impl FnOnce(&mut Value)) -> String {
        self.refused_with(name, change, &[]).await
    }

    /// The error message of a replica that does not start, or that ends by itself, with another environment.
    pub async fn refused_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut Value),
        environment: &[(&str, &str)],
    ) -> String {
        let config = self.config_with(name, change);
        let mut command = trainspotter(&["run", "--config", config.to_str().unwrap()]);
        let run = command.envs(environment.iter().copied()).output();
        let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("{said}");
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// Where the log is, if it is a folder.
    pub fn folder_of_log(&self) -> PathBuf {
        self.log.strip_prefix("file://").unwrap().into()
    }

    /// The first lines of all records.
    pub async fn records(&self) -> Vec<Value> {
        match &self.s3 {
            Some(s3) => records_in_bucket(s3, self.log.strip_prefix("s3://").unwrap()).await,
            None => {
                let folder = self.folder_of_log().join("records");
                let mut names: Vec<PathBuf> =
                    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
                names.sort();
                names.iter().map(|name| first_line(&std::fs::read(name).unwrap())).collect()
            }
        }
    }
}

/// Serves an account with the jobs of a trace in a folder, which began a while ago.
async fn serve_account(folder: &Path, account: Option<&str>, stop: &CancellationToken) -> String {
    let clock = Clock::real();
    let began = clock.now() - Duration::from_secs(150);
    let simulation = Simulation::new(trace::load(&folder.join("jobs.csv"), began).unwrap(), 7, clock);
    let simulation = match account {
        Some(account) => simulation.at(account, "us-east-1"),
        None => simulation,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(simulator::serve(listener, simulation, stop.clone()));
    endpoint
}

async fn records_in_bucket(s3: &str, place: &str) -> Vec<Value> {
    let (bucket, prefix) = place.split_once('/').unwrap();
    let get = async |path: String| {
        let answer = http::client().get(format!("{s3}/{bucket}{path}")).header("authorization", ANYBODY).send();
        answer.await.unwrap().error_for_status().unwrap().bytes().await.unwrap()
    };
    let (mut records, mut after) = (Vec::new(), String::new());
    loop {
        let list = get(format!("?list-type=2&prefix={prefix}/records/&start-after={after}")).await;
        let list = String::from_utf8_lossy(&list).into_owned();
        let keys: Vec<&str> = list.split("<Key>").skip(1).map(|rest| rest.split_once("</Key>").unwrap().0).collect();
        let Some(last) = keys.last() else { return records };
        after = (*last).to_owned();
        for key in keys {
            records.push(first_line(&get(format!("/{key}")).await));
        }
    }
}

/// The first line of a record.
pub fn first_line(record: &[u8]) -> Value {
    let line = record.split(|byte| *byte == b'\n').next().unwrap();
    let json = line.iter().position(|byte| *byte == b'{').unwrap();
    serde_json::from_slice(&line[json..]).unwrap()
}

impl Replica {
    pub async fn health(&self) -> Option<Value> {
        let answer = http::get(format!("{}/api/v1/health", self.page)).await.ok()?;
        answer.json().await.ok()
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            loop {
                if let Some(health) = self.health().await {
                    last = health;
                    if is_so(&last) {
                        return last.clone();
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("not in time: {what}: {last}"))
    }

    /// What it has logged since it listens.
    pub fn logged(&self) -> String {
        self.lines.lock().unwrap().clone()
    }

    /// Waits until it has logged a text since it listens.
    pub async fn until_logged(&self, text: &str) {
        let waiting = async {
            while !self.logged().contains(text) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(found.is_ok(), "not logged in time: {text}: {}", self.logged());
    }

    pub async fn leads(&self) -> Value {
        self.until("it leads", |health| health["replica"]["leads"] == true && health["ready"] == true).await
    }

    pub async fn follows(&self) -> Value {
        let follows = |health: &Value| {
            let replica = &health["replica"];
            replica["leads"] == false && health["ready"] == true && !replica["leader"].is_null()
        };
        self.until("it follows", follows).await
    }

    /// Waits until it reports this problem of the log.
    pub async fn is_in_trouble(&self, trouble: &str) -> Value {
        let says = |health: &Value| health["replica"]["trouble"].as_str().is_some_and(|said| said.contains(trouble));
        self.until(trouble, says).await
    }

    pub async fn is_well(&self) -> Value {
        self.until("all is well", |health| health["replica"]["trouble"].is_null()).await
    }

    pub fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        let done = std::process::Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(done.success());
    }
}

/// Every episode is received from start to end, in order; each notification has one id, and is received once unless
/// `may_repeat`.
pub fn verify(received: &Received, may_repeat: bool) {
    let mut ids: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for (status, alert, id) in received {
        let episode = alert["startsAt"].as_str().unwrap().to_owned();
        let is_new = seen.insert(id.clone());
        assert!(is_new || may_repeat, "{id} is heard twice");
        if ids.entry((episode.clone(), status.clone())).or_default().insert(id.clone()) {
            order.push((episode, status.clone()));
        }
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    for pair in order.chunks(2) {
        match pair {
            [(first, fired), (second, resolved)] => {
                assert!(first == second && fired == "firing" && resolved == "resolved", "{order:?}");
            }
            rest => assert_eq!(rest[0].1, "firing", "{order:?}"),
        }
    }
}

pub fn is_one_line(records: &[Value]) {
    let mut leader = Value::Null;
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record["number"], json!(number + 1));
        if number > 0 {
            assert_eq!(record["before"], records[number - 1]["digest"], "{record}");
        }
        match record["purpose"].as_str().unwrap() {
            "take_over" => leader = record["writer"].clone(),
            _ => assert_eq!(record["writer"], leader, "{record}"),
        }
    }
}

pub fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
