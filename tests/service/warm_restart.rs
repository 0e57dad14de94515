//! A restart with many waiting jobs: nothing that did not change is asked for again, and the first figures are whole.
//!
//! On a clock that moves only when it is told to; AWS is the simulator behind a layer that remembers what was called.

use crate::support;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{Config, Poll};
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_simulator::{Simulation, trace};

use support::config::watching;

const BEGAN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const EVERY: Duration = Duration::from_secs(30);
/// Jobs that wait all the time: more than are listed in full with each poll.
const WAITING: usize = 2_000;
const RUNNING: usize = 10;

/// An operation, and the body of its request.
type Call = (String, Value);
type Calls = Arc<Mutex<Vec<Call>>>;

/// A simulated AWS, and a service that is started again and again.
struct World {
    clock: Clock,
    config: Config,
    calls: Calls,
    page: SocketAddr,
    stop: CancellationToken,
    service: Option<JoinHandle<()>>,
    /// Dropped, it lets time jump ahead again.
    _held: mpsc::Sender<()>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start(jobs: &str) -> Self {
        let (held, until_dropped) = mpsc::channel::<()>();
        // As long as a blocking task runs, a paused clock does not advance by itself.
        tokio::task::spawn_blocking(move || until_dropped.recv());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("training.csv");
        std::fs::write(&path, jobs).unwrap();
        let clock = Clock::starting_at(BEGAN, 1.0);
        let simulation = Simulation::new(trace::load(&path, BEGAN).unwrap(), 7, clock);
        let calls = Calls::default();
        let remembered = Arc::clone(&calls);
        let router = simulation.router().layer(from_fn(move |request: Request, next: Next| {
            let calls = Arc::clone(&remembered);
            async move {
                let (parts, body) = request.into_parts();
                let body = to_bytes(body, 1 << 20).await.unwrap();
                let operation = parts.uri.path().rsplit('/').next().unwrap().to_owned();
                calls.lock().unwrap().push((operation, serde_json::from_slice(&body).unwrap_or_default()));
                next.run(Request::from_parts(parts, Body::from(body))).await
            }
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let poll = Poll {
            every: EVERY,
            topology_every: EVERY * 10,
            reconcile_every: Duration::from_secs(3_600),
            utilisation_every: EVERY * 1_000,
            calls_per_second: 1e6,
        };
        let config = Config { poll, ..watching(endpoint, EVERY, folder.path().join("state.db")) };
        let stop = CancellationToken::new();
        let page = endpoint;
        let mut world = Self { clock, config, calls, page, stop, service: None, _held: held, _folder: folder };
        world.serve().await;
        world
    }

    /// Starts a service, and returns after its first poll.
    async fn serve(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.page = listener.local_addr().unwrap();
        self.stop = CancellationToken::new();
        let service =
            Service { config: self.config.clone(), rules: Vec::new(), clock: self.clock, since: BEGAN, listener };
        let running = service.run(self.stop.clone());
        self.service = Some(tokio::spawn(async { running.await.unwrap() }));
        self.polled().await;
    }

    async fn end(&mut self) {
        self.stop.cancel();
        self.service.take().unwrap().await.unwrap();
    }

    /// Lets some polls go by.
    async fn pass(&self, polls: u32) {
        for _ in 0..polls {
            tokio::time::advance(EVERY + Duration::from_millis(1)).await;
            self.polled().await;
        }
    }

    /// Waits until a poll that began no earlier than now is over.
    async fn polled(&self) {
        let now = self.clock.now();
        loop {
            let health = self.api("health").await;
            let ticked = health["ticked_at"].as_str().is_some_and(|at| at >= now.to_string().as_str());
            let sources = health["sources"].as_array().unwrap();
            if ticked && sources.iter().any(|one| one["source"] == "snapshot" && one["age_seconds"] == 0.0) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn api(&self, path: &str) -> Value {
        reqwest::get(format!("http://{}/api/v1/{path}", self.page)).await.unwrap().json().await.unwrap()
    }

    /// The value of a metric, summed over its series.
    async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(format!("http://{}/metrics", self.page)).await.unwrap().text().await.unwrap();
        let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// What was called since this was last asked.
    fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

/// The jobs that were described in some calls.
fn described(calls: &[Call]) -> BTreeSet<String> {
    let of = |(operation, body): &Call| {
        (operation == "describeservicejob").then(|| body["jobId"].as_str().unwrap().to_owned())
    };
    calls.iter().filter_map(of).collect()
}

fn lists_of(status: &str, calls: &[Call]) -> usize {
    calls.iter().filter(|(operation, body)| operation == "listservicejobs" && body["jobStatus"] == status).count()
}

/// Jobs that wait or run all the time, and what happens from 600 s to 1,200 s, when nobody looks.
fn jobs() -> String {
    let mut csv = "job_id,share,num_gpu,submit_s,start_s,end_s\n".to_owned();
    for job in 0..WAITING {
        writeln!(csv, "waits-{job},share-{},1,{},,", job % 4, job % 50).unwrap();
    }
    for job in 0..RUNNING {
        writeln!(csv, "runs-{job},share-{},1,5,20,", job % 4).unwrap();
    }
    csv += "done,share-0,1,6,20,900\nmoved,share-0,1,6,800,\nbrief,share-1,1,6,810,1000\n\
            flash,share-1,1,850,860,950\nnew,share-1,1,900,,\nlate,share-1,1,300,,\n";
    csv
}

/// The figures that must go on: by queue and share, without what is about this very moment.
async fn figures(world: &World) -> Value {
    let mut figures = serde_json::json!({});
    for path in ["queues", "shares", "waits", "reasons"] {
        figures[path] = world.api(path).await;
    }
    figures
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_nothing_that_did_not_change_is_asked_for_again_and_the_first_figures_are_whole() {
    let mut world = World::start(&jobs()).await;
    world.pass(14).await;
    let calls = world.take_calls();
    assert_eq!(described(&calls).len(), WAITING + RUNNING + 4, "all jobs are described");
    assert!(lists_of("RUNNABLE", &calls) > 0);
    let waiting = world.metric("trainspotter_ledger_jobs").await;

    // At once: as if nothing had been.
    let before = figures(&world).await;
    world.end().await;
    world.serve().await;
    let calls = world.take_calls();
    assert_eq!(lists_of("RUNNABLE", &calls), 0, "what waits is known");
    let again = described(&calls);
    let waits = world.api("jobs?state=RUNNABLE&limit=500").await;
    assert!(again.len() <= 4, "of each share who waits longest is verified, and nobody else: {again:?} {waits}");
    assert_eq!(figures(&world).await, before);
    assert_eq!(world.metric("trainspotter_ledger_jobs").await, waiting);

    // Ten minutes in which nobody looks.
    world.pass(4).await;
    world.end().await;
    tokio::time::advance(Duration::from_secs(600)).await;
    world.take_calls();
    world.serve().await;
    let calls = world.take_calls();
    assert_eq!(lists_of("RUNNABLE", &calls), 0, "what waits is known, but for arrivals");
    let again = described(&calls);
    assert!(again.len() <= 4 + 5, "who changed and who waits longest: {again:?}");
    let lists = calls.iter().filter(|(operation, _)| operation == "listservicejobs").count();
    assert!(lists <= 8, "{lists} pages");
    // `moved` and `late` were seen; that `brief` came and went nobody can know yet.
    let unverified = world.metric("trainspotter_ledger_unverified").await;
    assert!(unverified <= (WAITING + 1) as f64 && unverified >= (WAITING - 3) as f64, "{unverified}");
    assert_eq!(world.metric("trainspotter_job_ended_total").await, 2.0, "done and flash");

    // The full list finds `brief`, when it is due.
    tokio::time::advance(Duration::from_secs(3_000)).await;
    world.pass(4).await;
    assert_eq!(world.metric("trainspotter_ledger_unverified").await, 0.0);
    assert_eq!(world.metric("trainspotter_job_ended_total").await, 3.0);
    let dispatched = RUNNING + 4;
    assert_eq!(world.metric("trainspotter_queue_wait_seconds_count").await, dispatched as f64);
    world.end().await;
    world.serve().await;
    assert_eq!(world.metric("trainspotter_job_ended_total").await, 3.0, "counted once");
    assert_eq!(world.metric("trainspotter_queue_wait_seconds_count").await, dispatched as f64);
    world.end().await;
}
