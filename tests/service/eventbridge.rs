//! EventBridge events, received through an SQS queue of moto: changes are seen long before the next poll, and duplicate,
//! late, forged or invalid events change nothing.

use crate::support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_simulator as simulator;
use trainspotter_simulator::{Simulation, trace};

use support::config::watching;
use support::http;
use support::moto::{moto, script};
use support::python::python;

const PATIENCE: Duration = Duration::from_secs(300);
const AN_HOUR: Duration = Duration::from_secs(3_600);

/// Two jobs, which run until they are terminated.
const JOBS: &str = "job_id,share,num_gpu,submit_s,duration_s\nfirst,research,1,0,36000\nsecond,research,1,0,36000\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_seen_before_the_next_poll_and_made_up_events_change_nothing() {
    let Some(python) = python().await else { return };
    let (_moto, moto) = moto(&python).await;
    let queue = events(&python, &["make", &moto], "").await;
    let world = World::start(&queue).await;
    let id = world.until(|jobs| Some(named(jobs, "first")?["id"].as_str().unwrap().to_owned())).await;
    world.until_it_has_polled().await;
    let seen = world.status("first").await;
    // The job's state changes, and the next poll is an hour away.
    world.end(&id).await;
    assert_eq!((world.status("first").await, seen != "failed"), (seen.clone(), true), "nobody has looked");

    let event =
        |id: &str, time: &str| json!({ "source": "aws.batch", "time": time, "detail": { "jobId": id } }).to_string();
    let now = world.clock.now().to_string();
    let nothing = [
        "not an event".to_owned(),
        json!({ "source": "aws.batch", "time": now, "detail": { "jobId": "made-up" } }).to_string(),
        json!({ "source": "aws.ec2", "time": now, "detail": { "jobId": id } }).to_string(),
        event(&id, "2020-01-01T00:00:00Z"),
    ];
    events(&python, &["send", &moto, &queue], &nothing.join("\n")).await;
    world.all_read(&python, &moto, &queue).await;
    // Long enough for a wrong poll.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.status("first").await, seen, "what is older than a poll, or of others, is not looked at");

    let lines = [event(&id, &now), event(&id, &now), event("made-up", &now)].join("\n");
    events(&python, &["send", &moto, &queue], &lines).await;
    let sent = tokio::time::Instant::now();
    world.until(|jobs| (named(jobs, "first")?["status"] == "failed").then_some(())).await;
    // A fraction of a second, unless the machine is busy with other tests; the next poll is an hour away.
    eprintln!("seen after {:?}", sent.elapsed());
    world.all_read(&python, &moto, &queue).await;
    let jobs = world.get("/api/v1/jobs").await;
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2, "{jobs}");
    let metrics = crate::support::without_place_labels::without_place(&world.text("/metrics").await);
    let failures = metrics.lines().find(|line| line.starts_with("trainspotter_source_failures_total{source=\"jobs\""));
    assert!(failures.is_some_and(|line| line.ends_with(" 0")), "{failures:?}");
    assert!(metrics.contains("trainspotter_source_failures_total{source=\"events\"} 0\n"), "{metrics}");
    assert!(metrics.contains("trainspotter_source_age_seconds{source=\"events\"}"), "{metrics}");
}

fn named<'a>(jobs: &'a Value, name: &str) -> Option<&'a Value> {
    jobs["jobs"].as_array()?.iter().find(|job| job["name"] == name)
}

/// A service that polls once an hour, over a simulated AWS.
struct World {
    page: SocketAddr,
    endpoint: SocketAddr,
    clock: Clock,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(queue: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.csv");
        std::fs::write(&path, JOBS).unwrap();
        let clock = Clock::real();
        let simulation = Simulation::new(trace::load(&path, clock.now()).unwrap(), 1, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        tokio::spawn(simulator::serve(listener, simulation, CancellationToken::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = listener.local_addr().unwrap();
        let mut config = watching(endpoint, AN_HOUR, folder.path().join("state.db"));
        config.targets[0].events = Some(queue.to_owned());
        let service = Service { config, rules: Vec::new(), clock, since: clock.now(), listener };
        tokio::spawn(async { service.run(CancellationToken::new()).await.unwrap() });
        Self { page, endpoint, clock, _folder: folder }
    }

    /// Waits until the list of jobs matches.
    async fn until<T>(&self, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let looking = async {
            loop {
                let jobs = self.get("/api/v1/jobs").await;
                if let Some(found) = wanted(&jobs) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.unwrap()
    }

    /// Waits until the first poll is complete: before that, each of its pages changes the state.
    async fn until_it_has_polled(&self) {
        let polling = async {
            while !self.text("/readyz").await.contains("\"ready\"") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, polling).await.unwrap()
    }

    /// Terminates a job, and waits until it has ended.
    async fn end(&self, id: &str) {
        let url = format!("http://{}/v1/terminateservicejob", self.endpoint);
        let ended = http::client().post(url).json(&json!({ "jobId": id, "reason": "for a test" })).send().await;
        assert!(ended.unwrap().status().is_success());
        let ending = async {
            loop {
                let truth = http::get(format!("http://{}/_sim/truth", self.endpoint)).await.unwrap();
                if truth.json::<Value>().await.unwrap()["queues"][0]["jobs"]["failed"] == 1 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ending).await.unwrap()
    }

    /// Waits until the queue of events is empty.
    async fn all_read(&self, python: &Path, moto: &str, queue: &str) {
        let reading = async {
            while events(python, &["left", moto, queue], "").await != "0" {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap();
    }

    async fn status(&self, job: &str) -> String {
        named(&self.get("/api/v1/jobs").await, job).unwrap()["status"].as_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap_or_default()
    }

    async fn text(&self, path: &str) -> String {
        match http::get(format!("http://{}{path}", self.page)).await {
            Ok(answer) => answer.text().await.unwrap(),
            // It is not listening yet.
            Err(_) => String::new(),
        }
    }
}

async fn events(python: &Path, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(python);
    command.arg(script("events")).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = process.wait_with_output().await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
