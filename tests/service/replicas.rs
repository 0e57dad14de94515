//! Several replicas as real processes on one log, which are killed, paused and replaced: a receiver gets what a
//! single undisturbed service would have sent.
//!
//! `TRAINSPOTTER_SEED=N` selects other times, `TRAINSPOTTER_KILLS=N` more or fewer of them.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;
use trainspotter_clock::Clock;
use trainspotter_simulator as simulator;
use trainspotter_simulator::{Simulation, trace};

use support::hook::{Hook, Received, hook};
use support::http;
use support::process::{listening_and_telling, trainspotter};

const PATIENCE: Duration = Duration::from_secs(300);

const LEASE: &str = "4s";

/// Credentials that make an emulator use S3; it checks no signature.
const ANYBODY: &str =
    "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";

/// Shared by the replicas: an account, a log, a receiver.
struct World {
    folder: tempfile::TempDir,
    endpoint: String,
    log: String,
    /// An S3 endpoint, if the log is in a bucket.
    s3: Option<String>,
    hook: Hook,
    _stop: CancellationToken,
}

/// One process.
struct Replica {
    process: Child,
    page: String,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // One short job after another, with pauses.
        let jobs = (0..200).map(|number| format!("j{number},team,8,{},20\n", 5 + number * 45));
        let jobs: String =
            std::iter::once("job_id,share,num_gpu,submit_s,duration_s\n".to_owned()).chain(jobs).collect();
        let file = folder.path().join("jobs.csv");
        std::fs::write(&file, jobs).unwrap();
        let clock = Clock::real();
        // The first jobs run already, which takes a minute or two.
        let began = clock.now() - Duration::from_secs(150);
        let simulation = Simulation::new(trace::load(&file, began).unwrap(), 7, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(simulator::serve(listener, simulation, stop.clone()));
        let log = format!("file://{}", folder.path().join("log").display());
        Self { folder, endpoint, log, s3: None, hook: hook().await, _stop: stop }
    }

    /// As above, with a log in a bucket.
    async fn in_a_bucket(s3: &str, bucket: &str) -> Self {
        Self { log: format!("s3://{bucket}/a/prefix"), s3: Some(s3.to_owned()), ..Self::start().await }
    }

    /// A configuration for a replica with its own disk.
    fn config(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let rules =
            "rules: [{ alert: Runs, metric: queue.jobs, where: { state: running }, by: [queue], above: 0, no_data: ok,
            annotations: { summary: runs } }]";
        std::fs::write(folder.join("rules.yaml"), rules).unwrap();
        let config = folder.join("trainspotter.yaml");
        let mut store = json!({ "file": "state.db", "log": self.log, "lease": LEASE });
        if let Some(s3) = &self.s3 {
            store["endpoint"] = json!(s3);
        }
        let text = json!({
            "targets": [{ "region": "us-east-1", "endpoint": self.endpoint }],
            "poll": { "every": "5s", "calls_per_second": 50.0 },
            "rules": ["rules.yaml"],
            "listen": "127.0.0.1:0",
            "log": "pretty",
            "store": store,
            "receivers": [{ "name": "hook", "webhook": { "url": self.hook.url, "allow_loopback": true } }],
        });
        std::fs::write(&config, text.to_string()).unwrap();
        config
    }

    async fn replica(&self, name: &str) -> Replica {
        let config = self.config(name);
        let process = trainspotter(&["run", "--config", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (process, page, mut lines) = listening_and_telling(process).await;
        let name = name.to_owned();
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                eprintln!("{name}: {line}");
            }
        });
        Replica { process, page }
    }

    /// The first lines of all records.
    fn records(&self) -> Vec<Value> {
        let folder = PathBuf::from(self.log.strip_prefix("file://").unwrap()).join("records");
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let line = |path: &PathBuf| {
            let bytes = std::fs::read(path).unwrap();
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
            let json = line.iter().position(|byte| *byte == b'{').unwrap();
            serde_json::from_slice(&line[json..]).unwrap()
        };
        names.iter().map(line).collect()
    }
}

impl Replica {
    async fn health(&self) -> Option<Value> {
        let answer = http::get(format!("{}/api/v1/health", self.page)).await.ok()?;
        answer.json().await.ok()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
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
        found.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    async fn leads(&self) -> Value {
        self.until("it leads", |health| health["replica"]["leads"] == true && health["ready"] == true).await
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        let done = std::process::Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(done.success());
    }
}

/// Every episode is received from start to end, in order; each notification has one id, and is received once unless
/// `may_repeat`.
fn verify(received: &Received, may_repeat: bool) {
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

/// A follower's responses equal the leader's, and state their time and the leader.
async fn answers_as(follower: &Replica, leader: &Replica) {
    let ask = async |replica: &Replica, path: &str| {
        let answer = http::get(format!("{}{path}", replica.page)).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        assert_eq!(status, 200, "{path}: {}", answer.text().await.unwrap());
        (headers, answer.json::<Value>().await.unwrap())
    };
    let leads = ask(leader, "/api/v1/health").await.1["replica"]["replica"].as_str().unwrap().to_owned();
    // Members that do not change from tick to tick; arrays are compared by length.
    for (path, members) in [
        ("/api/v1/shares", ["share", "unit"]),
        ("/api/v1/waterfall", ["queue", "capacity_gpus"]),
        ("/api/v1/setup", ["problem", "advice"]),
        ("/api/v1/queues", ["queue", "policy"]),
    ] {
        let (headers, theirs) = ask(follower, path).await;
        let (_, ours) = ask(leader, path).await;
        let rows = |answer: &Value| -> Vec<String> {
            let rows = answer.as_array().unwrap().iter();
            rows.map(|row| members.map(|member| row[member].to_string()).join(" ")).collect()
        };
        assert!(!rows(&ours).is_empty() && rows(&theirs) == rows(&ours), "{path}: {theirs} {ours}");
        assert_eq!(headers["trainspotter-leader"], leads.as_str(), "{path}");
        assert!(headers["trainspotter-as-of"].to_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{headers:?}");
    }
    for path in ["/api/v1/waits", "/api/v1/reasons", "/api/v1/failures"] {
        ask(follower, path).await;
    }
    let (_, jobs) = ask(follower, "/api/v1/jobs?limit=5").await;
    let job = &jobs["jobs"][0];
    let (_, one) = ask(follower, &format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await;
    assert_eq!((&one["name"], one["spans"].as_array().map(Vec::is_empty)), (&job["name"], Some(false)), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_deployment_hands_over_at_once_and_sends_nothing_twice() {
    let world = World::start().await;
    let mut old = world.replica("first").await;
    old.leads().await;
    world.hook.until(|received| !received.is_empty()).await;
    for name in ["second", "third"] {
        let new = world.replica(name).await;
        let following = new.until("it shows what the log says", |health| {
            health["replica"]["leads"] == false && health["ready"] == true && !health["replica"]["leader"].is_null()
        });
        following.await;
        let queues: Value = http::get(format!("{}/api/v1/queues", new.page)).await.unwrap().json().await.unwrap();
        assert_eq!(queues.as_array().unwrap().len(), 1, "a follower answers: {queues}");
        let metrics = http::get(format!("{}/metrics", new.page)).await.unwrap().text().await.unwrap();
        assert!(metrics.contains("trainspotter_queue_jobs"), "{metrics}");
        answers_as(&new, &old).await;
        old.signal("-TERM");
        new.leads().await;
        let ended = tokio::time::timeout(PATIENCE, old.process.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
        old = new;
    }
    let records = world.records();
    let handed_over = records.iter().filter(|record| record["purpose"] == "hand_over").count();
    assert_eq!(handed_over, 2);
    for pair in records.windows(2).filter(|pair| pair[0]["purpose"] == "hand_over") {
        let at = |record: &Value| record["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let gap = at(&pair[1]) - at(&pair[0]);
        assert_eq!(pair[1]["purpose"], "take_over");
        // One second if nothing else runs.
        assert!(gap.get_seconds() < 5, "{gap}");
    }
    let received =
        world.hook.until(|received| received.iter().filter(|(status, ..)| status == "resolved").count() >= 3).await;
    verify(&received, false);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_paused_at_random_moments_they_lose_and_double_nothing() {
    let number = |name: &str, otherwise: u64| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (seed, kills) = (number("TRAINSPOTTER_SEED", 1), number("TRAINSPOTTER_KILLS", 2));
    eprintln!("seed {seed}, {kills} kills");
    let world = World::start().await;
    let mut replicas = Vec::new();
    for name in ["a-0", "b-0", "c-0"] {
        replicas.push(world.replica(name).await);
    }
    let mut dice = seed;
    let mut roll = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    for kill in 1..=kills {
        tokio::time::sleep(Duration::from_millis(2_000 + roll(8_000))).await;
        let which = usize::try_from(roll(3)).unwrap();
        if roll(2) == 0 {
            replicas[which].process.kill().await.unwrap();
            replicas[which] = world.replica(&format!("{which}-{kill}")).await;
        } else {
            replicas[which].signal("-STOP");
            tokio::time::sleep(Duration::from_millis(500 + roll(9_000))).await;
            replicas[which].signal("-CONT");
        }
    }
    let before = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() >= before + 3 && received.last().unwrap().0 == "resolved").await;
    verify(&received, true);
    is_one_line(&world.records());
}

fn is_one_line(records: &[Value]) {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_followed_is_a_clear_error_and_stays_as_it_is() {
    let world = World::start().await;
    let mut first = world.replica("first").await;
    first.leads().await;
    first.process.kill().await.unwrap();
    let log = PathBuf::from(world.log.strip_prefix("file://").unwrap());
    let last = log.join(format!("records/{:020}", world.records().len()));
    let whole = std::fs::read(&last).unwrap();

    std::fs::write(&last, &whole[..whole.len() - 1]).unwrap();
    assert!(world.refused("cut").await.contains("cut off or damaged"));
    let newer = String::from_utf8_lossy(&whole).replacen("log 1 ", "log 2 ", 1);
    std::fs::write(&last, newer).unwrap();
    assert!(world.refused("newer").await.contains("newer version"));
    std::fs::write(&last, "something else").unwrap();
    assert!(world.refused("foreign").await.contains("no record of Trainspotter"));
    std::fs::write(&last, &whole).unwrap();
    std::fs::remove_file(log.join(format!("records/{:020}", 1))).unwrap();
    assert!(world.refused("headless").await.contains("not whole"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_a_bucket_of_moto_is_led_handed_over_and_taken_over() {
    let Some(python) = support::python::python().await else { return };
    let (_moto, s3) = support::moto::moto(&python).await;
    is_led_handed_over_and_taken_over(&s3).await;
}

/// An independent S3 emulator: a second opinion on conditional puts.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_a_bucket_of_fakecloud_is_led_handed_over_and_taken_over() {
    let Some(program) = support::fakecloud::fakecloud() else { return };
    let (_fakecloud, s3) = support::fakecloud::start(&program).await;
    is_led_handed_over_and_taken_over(&s3).await;
}

async fn is_led_handed_over_and_taken_over(s3: &str) {
    let http = http::client();
    let nowhere = World::in_a_bucket(s3, "nowhere").await;
    let config = nowhere.config("nowhere");
    let run = trainspotter(&["run", "--config", config.to_str().unwrap()]).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("there is no bucket nowhere"), "{said}");

    http.put(format!("{s3}/logs")).header("authorization", ANYBODY).send().await.unwrap().error_for_status().unwrap();
    let world = World::in_a_bucket(s3, "logs").await;
    let first = world.replica("first").await;
    first.leads().await;
    let mut second = world.replica("second").await;
    second.until("it follows", |health| health["replica"]["leads"] == false && health["ready"] == true).await;
    first.signal("-TERM");
    second.leads().await;
    world.hook.until(|received| received.iter().any(|(status, ..)| status == "resolved")).await;
    let third = world.replica("third").await;
    third.until("it follows", |health| health["replica"]["leads"] == false && health["ready"] == true).await;
    second.process.kill().await.unwrap();
    third.leads().await;
    let heard = world.hook.until(|_| true).await.len();
    let received =
        world.hook.until(|received| received.len() > heard + 2 && received.last().unwrap().0 == "resolved").await;
    verify(&received, true);
}

impl World {
    /// The error message of a replica that does not start.
    async fn refused(&self, name: &str) -> String {
        let before = tree(self.log.strip_prefix("file://").unwrap().as_ref());
        let config = self.config(name);
        let run = trainspotter(&["run", "--config", config.to_str().unwrap()]).output();
        let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(tree(self.log.strip_prefix("file://").unwrap().as_ref()), before, "the log stays as it is");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("{said}");
        said
    }
}

fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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
