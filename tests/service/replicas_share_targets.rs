//! Several replicas as real processes that share targets: each target has one leader, each replica leads a part, and
//! any of them answers for all.

mod removed;

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use trainspotter_clock::Clock;
use trainspotter_simulator::{Accounts, Simulation, serve_accounts, trace};

use support::hook::{Received, hook};
use support::http;
use support::process::{listening_and_telling, trainspotter};

const REGIONS: [&str; 6] = ["us-east-1", "us-east-2", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1"];
const ACCOUNT: &str = "123456789012";

/// A minute is promised; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(180);

struct World {
    folder: tempfile::TempDir,
    endpoint: String,
    stop: CancellationToken,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::real();
        let mut jobs = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
        for job in 0..5 {
            writeln!(jobs, "j{job},team,8,{},100000", job * 2).unwrap();
        }
        let file = folder.path().join("jobs.csv");
        std::fs::write(&file, jobs).unwrap();
        let began = clock.now() - Duration::from_secs(300);
        let place = |(seed, region): (u64, &str)| {
            Simulation::new(trace::load(&file, began).unwrap(), seed, clock).at(ACCOUNT, region)
        };
        let accounts = Accounts::new((1..).zip(REGIONS).map(place).collect()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve_accounts(listener, accounts, stop.clone()));
        Self { folder, endpoint, stop }
    }

    async fn replica(&self, name: &str) -> Replica {
        self.replica_with(name, |_| {}).await
    }

    /// One with another configuration.
    async fn replica_with(&self, name: &str, change: impl FnOnce(&mut Value)) -> Replica {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let targets = REGIONS.map(|region| json!({ "region": region, "endpoint": self.endpoint }));
        let mut settings = json!({
            "targets": targets,
            "poll": { "every": "5s", "calls_per_second": 50.0 },
            "listen": "127.0.0.1:0",
            "store": { "file": "state.db", "log": format!("file://{}", self.log().display()), "lease": "6s" },
        });
        change(&mut settings);
        let config = folder.join("trainspotter.yaml");
        std::fs::write(&config, settings.to_string()).unwrap();
        let process = trainspotter(&["run", "--config", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (process, page, reported) = listening_and_telling(process).await;
        Replica { process, page, reported }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Waits until each target is led by one of these.
    async fn until_all_are_led(&self, replicas: &[&Replica]) {
        let waiting = async {
            loop {
                let mut led = 0;
                let mut count = 0;
                for replica in replicas {
                    let health = replica.health().await;
                    led += leaders(&health).filter(|(_, leads, _)| *leads).count();
                    count = leaders(&health).filter(|(.., leader)| !leader.is_null()).count();
                }
                if led == count && count > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("all targets are led");
    }

    /// Waits until these replicas lead this many targets each, no target has two leaders, and all replicas agree on
    /// every target's leader.
    async fn until_led(&self, what: &str, replicas: &[(&Replica, usize)]) {
        let mut last = Vec::new();
        let waiting = async {
            loop {
                last.clear();
                for (replica, _) in replicas {
                    last.push(replica.health().await);
                }
                let led = last.iter().map(|health| leaders(health).filter(|(_, leads, _)| *leads).count());
                let is_spread = led.eq(replicas.iter().map(|(_, count)| *count));
                let mut of: BTreeMap<String, Value> = BTreeMap::new();
                let agree = last.iter().flat_map(leaders).all(|(target, _, leader)| {
                    !leader.is_null() && *of.entry(target).or_insert_with(|| leader.clone()) == leader
                });
                if is_spread && agree && of.len() == REGIONS.len() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let all: Vec<_> = last.iter().map(|health| leaders(health).collect::<Vec<_>>()).collect();
            panic!("not in time: {what}: {all:?}");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Replica {
    process: Child,
    page: String,
    /// Lines of its log.
    reported: UnboundedReceiver<String>,
}

impl Replica {
    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = http::get(format!("{}{path}", self.page)).await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn health(&self) -> Value {
        self.get("/api/v1/health").await.1
    }

    /// Waits until it leads so many targets, and has figures of its own of each.
    async fn until_it_leads(&self, count: usize) {
        let waiting = async {
            loop {
                let health = self.health().await;
                let sources = health["sources"].as_array().map_or(0, Vec::len);
                let led = leaders(&health).filter(|(_, leads, _)| *leads).count();
                if led == count && health["ready"] == true && health["status"] == "ok" && sources > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it leads");
    }

    async fn until_ready(&self) {
        let waiting = async {
            while self.get("/readyz").await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it is ready");
    }

    async fn ids_of_alerts(&self) -> Vec<String> {
        let alerts = self.get("/api/v1/alerts").await.1;
        let firing = alerts["alerts"].as_array().or(alerts.as_array()).unwrap().iter();
        let mut ids: Vec<String> = firing.map(|alert| alert["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    }

    /// It answers for all targets at all times.
    async fn answers_for_all(&self) {
        let (status, ready) = self.get("/readyz").await;
        assert_eq!(status, 200, "{ready}");
        for path in ["/api/v1/queues", "/api/v1/jobs?limit=500"] {
            let (status, rows) = self.get(path).await;
            assert_eq!(status, 200, "{path}: {rows}");
            let rows = rows.as_array().or_else(|| rows["jobs"].as_array()).unwrap().clone();
            for region in REGIONS {
                assert!(rows.iter().any(|row| row["region"] == region), "{path} has nothing of {region}: {rows:?}");
            }
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.process.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

/// For each target: its name, whether the responding replica leads it, and its leader.
fn leaders(health: &Value) -> impl Iterator<Item = (String, bool, Value)> + '_ {
    let of = |target: &Value| {
        let replica = &target["replica"];
        (target["target"].as_str().unwrap().to_owned(), replica["leads"] == true, replica["leader"].clone())
    };
    health["targets"].as_array().unwrap().iter().map(of)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_come_and_go_share_the_targets_and_each_answers_for_all() {
    let world = World::start().await;
    let first = world.replica("first").await;
    world.until_led("the first one leads all", &[(&first, 6)]).await;
    let (mut second, third) = (world.replica("second").await, world.replica("third").await);
    world.until_led("three lead two each", &[(&first, 2), (&second, 2), (&third, 2)]).await;
    for replica in [&first, &second, &third] {
        replica.answers_for_all().await;
    }
    second.process.kill().await.unwrap();
    world.until_led("two lead three each", &[(&first, 3), (&third, 3)]).await;
    first.answers_for_all().await;
    first.signal("-TERM");
    world.until_led("the last one leads all", &[(&third, 6)]).await;
    third.answers_for_all().await;
    for region in REGIONS {
        is_one_line(&world.log().join(region).join("records"));
    }
}

/// The first targets of all, with a receiver and a rule that fires for each; without a log unless `has_log`.
fn few(settings: &mut Value, targets: usize, has_log: bool, url: &str, rules: &Path) {
    settings["targets"].as_array_mut().unwrap().truncate(targets);
    settings["rules"] = json!([rules]);
    settings["receivers"] = json!([{ "name": "hook", "webhook": { "url": url, "allow_loopback": true } }]);
    if !has_log {
        settings["store"] = settings["store"]["file"].take();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_enabled_later_continues_with_the_state_files_of_all_targets() {
    let world = World::start().await;
    let (first_hook, second_hook) = (hook().await, hook().await);
    let rules = world.folder.path().join("rules.yaml");
    std::fs::write(
        &rules,
        "rules: [{ alert: Jobs, metric: queue.jobs, by: [region, queue], above: 0, annotations: { summary: x } }]",
    )
    .unwrap();
    let stopped = async |mut replica: Replica| {
        replica.signal("-TERM");
        assert!(replica.process.wait().await.unwrap().success());
    };
    let fires = |count: usize| move |received: &Received| received.len() >= count;

    // One target has the file that is named, and the second one a file beside it; each has an alert that fires.
    let first = world.replica_with("first", |settings| few(settings, 1, false, &first_hook.url, &rules)).await;
    first_hook.until(fires(1)).await;
    stopped(first).await;
    let first = world.replica_with("first", |settings| few(settings, 2, false, &first_hook.url, &rules)).await;
    let before = first_hook.until(fires(2)).await;
    let alerts = first.ids_of_alerts().await;
    stopped(first).await;
    // Another service, with a state of its own.
    let second = world.replica_with("second", |settings| few(settings, 2, false, &second_hook.url, &rules)).await;
    second_hook.until(fires(2)).await;
    stopped(second).await;

    let first = world.replica_with("first", |settings| few(settings, 2, true, &first_hook.url, &rules)).await;
    first.until_it_leads(2).await;
    assert_eq!(first.ids_of_alerts().await, alerts, "the alerts go on");
    for region in &REGIONS[..2] {
        let snapshots = std::fs::read_dir(world.log().join(region).join("snapshots")).unwrap();
        assert_eq!(snapshots.count(), 1, "the log of {region} begins with its state");
    }
    let second = world.replica_with("second", |settings| few(settings, 2, true, &first_hook.url, &rules)).await;
    world.until_all_are_led(&[&first, &second]).await;
    let aside = std::fs::read_dir(world.folder.path().join("second")).unwrap();
    let aside = aside.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".before-log-"));
    assert_eq!(aside.count(), 2, "what the other service had is kept beside");
    stopped(first).await;
    second.until_it_leads(2).await;
    assert_eq!(second.ids_of_alerts().await, alerts, "the alerts go on");
    assert_eq!(first_hook.until(fires(2)).await, before, "nothing is sent again");
}

/// The log of a target: every record was written by the leader according to the log. Returns the replicas that led.
fn is_one_line(folder: &std::path::Path) -> BTreeSet<String> {
    let mut led = BTreeSet::new();
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    let mut leader = Value::Null;
    for name in names {
        let bytes = std::fs::read(&name).unwrap();
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap();
        let json = line.iter().position(|byte| *byte == b'{').unwrap();
        let record: Value = serde_json::from_slice(&line[json..]).unwrap();
        if record["purpose"] == "take_over" {
            leader = record["writer"].clone();
            led.extend(leader.as_str().and_then(|writer| Some(writer.split_once('-')?.0.to_owned())));
        }
        assert_eq!(record["writer"], leader, "{}", name.display());
    }
    led
}
