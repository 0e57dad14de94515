//! kill -9 at 200 random times: the service's counts equal those of a service that was never killed.
//!
//! The process is this test binary, run again with a whole service. Another service, which is not killed, polls the
//! same simulated AWS. `TRAINSPOTTER_SEED=N` selects other times, `TRAINSPOTTER_KILLS=N` more or fewer of them.

use crate::support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use trainspotter::service::Service;
use trainspotter::store::Store;
use trainspotter_clock::Clock;
use trainspotter_core::metrics::catalogue::{self, Kind};
use trainspotter_core::model::{SavedSeries, Timestamp};
use trainspotter_simulator as simulator;
use trainspotter_simulator::{Simulation, trace};

use support::config::watching;
use support::http;
use support::read_frames::ticks;
use support::two_share_trace::jobs;

/// Simulated seconds per real second.
const SPEED: f64 = 120.0;
const POLL_EVERY: Duration = Duration::from_secs(30);
/// Maximum life of a process, in real time: about five polls; the first poll needs one.
const LONGEST_LIFE: u64 = 1_200;
/// By how much lists lag behind in these tests, at most.
const LONGEST_LAG: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(300);

/// Set for the process to be killed: the state file, the endpoint, the start time, and by how many seconds its clock
/// is ahead.
const VARIABLES: [&str; 4] = ["RESTART_STATE", "RESTART_ENDPOINT", "RESTART_BEGAN", "RESTART_AHEAD"];

#[tokio::test(flavor = "multi_thread")]
async fn after_200_kills_everything_is_counted_once() {
    die_again_and_again(World::start().await, number("TRAINSPOTTER_KILLS", 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_wrong_clock_counts_every_event_once() {
    // Separate worlds, which spend most of the time waiting.
    let worlds = [-20, 3, 20].map(|ahead| async move {
        let world = World { ahead, ..World::start().await };
        die_again_and_again(world, 15).await;
    });
    join_all(worlds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_once_a_day_ahead_loses_nothing() {
    let mut world = World { ahead: 86_400, ..World::start().await };
    let state = world.folder.path().join("killed.db");
    let mut process = world.process(&state);
    let counting = async {
        while sum(&counted(&state), "queue.wait") < 5.0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counting).await.expect("it counts by AWS's clock");
    process.kill().await.unwrap();
    world.ahead = 0;
    die_again_and_again(world, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_late_lose_nothing() {
    let worlds = [2, 5].map(|seconds| async move {
        let world = World::start().await;
        let lag = serde_json::json!({"list_lag": {"by": format!("{seconds}s")}});
        let faults = format!("http://{}/_sim/faults", world.endpoint);
        http::client().post(faults).json(&lag).send().await.unwrap().error_for_status().unwrap();
        die_again_and_again(world, 15).await;
    });
    join_all(worlds).await;
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Kills one service repeatedly, and then compares it with the other one.
async fn die_again_and_again(world: World, kills: u64) {
    let seed = number("TRAINSPOTTER_SEED", 1);
    eprintln!("seed {seed}, {kills} kills, {} s ahead", world.ahead);
    let steady = world.serve("never-killed.db").await;
    let state = world.folder.path().join("killed.db");
    let mut dice = seed;
    let mut before = BTreeMap::new();
    for kill in 0..kills {
        let mut process = world.process(&state);
        dice = roll(dice);
        tokio::time::sleep(Duration::from_millis((dice >> 33) % LONGEST_LIFE)).await;
        process.kill().await.unwrap();
        let now = counted(&state);
        let truth = truth(world.endpoint).await;
        let what = format!("seed {seed}, kill {kill}");
        for (series, value) in &before {
            assert!(now.get(series).is_some_and(|now| now >= value), "{what}: {series} fell from {value}");
        }
        let ended = truth["queues"][0]["jobs"]["succeeded"].as_f64().unwrap();
        assert!(sum(&now, "job.ended") <= ended, "{what}: of {ended} that ended more are counted: {now:?}");
        let waits: f64 = truth["waits"].as_array().unwrap().iter().map(|row| row["count"].as_f64().unwrap()).sum();
        assert!(sum(&now, "queue.wait") <= waits, "{what}: of {waits} waits more are counted: {now:?}");
        before = now;
    }
    eprintln!("ended by then: {} of 80", sum(&before, "job.ended"));
    let survivor = world.process_that_listens(&state).await;
    let polled_to_the_end = async |page: SocketAddr, state: &Path| {
        while !is_over(page, state).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let never_killed = world.folder.path().join("never-killed.db");
    let both = async { tokio::join!(polled_to_the_end(steady, &never_killed), polled_to_the_end(survivor.1, &state)) };
    if tokio::time::timeout(PATIENCE, both).await.is_err() {
        for page in [steady, survivor.1] {
            eprintln!("{}\n{}", get(page, "/api/v1/queues").await, get(page, "/api/v1/waits").await);
        }
        panic!("seed {seed}: not both see every job's end");
    }
    let jobs = world.true_jobs().await;
    let requeues: usize = jobs.iter().map(|job| dispatches(job).len() - 1).sum();
    let unseen = [&never_killed, &state].map(|state| unseen_attempts(&jobs, state));
    eprintln!("{requeues} requeues; attempts that may be unseen, by service: {unseen:?}");
    let attempts = requeues + jobs.len();
    for state in [&never_killed, &state] {
        let counted = counted(state);
        for (metric, most) in [
            ("queue.wait.requeue", requeues),
            ("job.preemptions", requeues),
            ("job.startup", attempts),
            ("job.run", attempts),
        ] {
            let counted = sum(&counted, metric);
            assert!(counted <= most as f64, "{state:?} {metric}: {counted} of {most}: one is counted twice");
        }
    }
    compare((steady, &never_killed), (survivor.1, &state), unseen.iter().sum()).await;
    drop(survivor);
}

/// Whether a service has counted all ends, and has no open job.
async fn is_over(page: SocketAddr, state: &Path) -> bool {
    let ready = http::get(format!("http://{page}/readyz")).await.is_ok_and(|answer| answer.status().is_success());
    if !ready || sum(&counted(state), "job.ended") < 80.0 {
        return false;
    }
    let waits = by_share(&get(page, "/api/v1/waits").await);
    let waits: u64 = waits.values().map(|row| row["count"].as_u64().unwrap()).sum();
    let queues = get(page, "/api/v1/queues").await;
    waits >= 80 && open_jobs(&queues[0]["jobs"]).values().all(|count| *count == 0)
}

/// Ended jobs that an earlier run has seen are counted, but not listed.
fn open_jobs(jobs: &Value) -> BTreeMap<&str, u64> {
    let count = |(state, count): (&'static str, &Value)| (state, count.as_u64().unwrap_or(u64::MAX));
    ["submitted", "pending", "runnable", "scheduled", "starting", "running"]
        .map(|state| count((state, &jobs[state])))
        .into()
}

/// When a job was dispatched, by attempt.
fn dispatches(job: &Value) -> Vec<Timestamp> {
    let time = |span: &Value| serde_json::from_value::<Timestamp>(span["from"].clone()).unwrap();
    let spans = job["spans"].as_array().unwrap().iter();
    spans.filter(|span| span["phase"] == "scheduled").map(time).collect()
}

/// Attempts that a service may not have seen: no poll surely began after the dispatch and ended before the next one,
/// so that the job may have kept waiting in every list.
fn unseen_attempts(jobs: &[Value], state: &Path) -> usize {
    let polled: Vec<Timestamp> = ticks(state).iter().map(|tick| tick.at).collect();
    // The lists of a tick are requested after the tick before.
    let is_unseen =
        |pair: &&[Timestamp]| !polled.windows(2).any(|polls| pair[0] + LONGEST_LAG <= polls[0] && polls[1] <= pair[1]);
    jobs.iter().map(|job| dispatches(job).windows(2).filter(is_unseen).count()).sum()
}

/// Compares the killed service with the other one, except for so many attempts that not both may have seen.
async fn compare((steady, its_state): (SocketAddr, &Path), (killed, state): (SocketAddr, &Path), unseen: usize) {
    let (expected, found) = (counted(its_state), counted(state));
    for name in
        ["job.ended", "queue.wait{", "queue.wait.requeue", "job.failures", "job.startup", "job.run", "job.preemptions"]
    {
        let of = |counted: &BTreeMap<String, f64>| {
            let mut counted = counted.clone();
            counted.retain(|series, _| series.starts_with(name));
            counted
        };
        let (expected, found) = (of(&expected), of(&found));
        assert!(expected.keys().eq(found.keys()), "{name}: {found:?} are not {expected:?}");
        for (series, expected) in &expected {
            let found = found[series];
            let is_by_attempt = ["queue.wait.requeue", "job.startup", "job.run", "job.preemptions"].contains(&name);
            let unseen = if is_by_attempt { f64::from(u32::try_from(unseen).unwrap()) } else { 0.0 };
            assert!((found - expected).abs() < unseen + 1e-6, "{series}: {found} is not {expected}");
        }
    }
    for path in ["shares", "waterfall"] {
        let path = format!("/api/v1/{path}");
        let (expected, found) = (get(steady, &path).await, get(killed, &path).await);
        assert_eq!(found, expected, "{path}");
    }
    let waits = async |page| by_share(&get(page, "/api/v1/waits").await);
    let (expected, found) = (waits(steady).await, waits(killed).await);
    for (share, expected) in &expected {
        for (figure, expected) in expected.as_object().unwrap().iter().filter(|(_, value)| value.is_number()) {
            let found = found[share][figure].as_f64().unwrap();
            // For the API, a borrower that is dispatched and preempted between polls kept waiting.
            let tolerance = if share == "steady" || figure == "count" { 1e-6 } else { 2.0 * POLL_EVERY.as_secs_f64() };
            let expected = expected.as_f64().unwrap();
            assert!((found - expected).abs() <= tolerance, "{share} {figure}: {found} is not {expected}");
        }
    }
}

/// Not a test: the process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let [Ok(state), Ok(endpoint), Ok(began), Ok(ahead)] = VARIABLES.map(std::env::var) else { return };
    // This time is slightly old when it arrives, so the clock is behind AWS's rather than ahead: a clock ahead would
    // treat changes as covered that AWS has not shown yet.
    let now = serde_json::from_value(truth(endpoint.parse().unwrap()).await["now"].clone()).unwrap();
    let now: Timestamp = now;
    let ahead: i64 = ahead.parse().unwrap();
    let clock = Clock::starting_at(Timestamp::from_millis(now.millis() + ahead * 1_000), SPEED);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    std::fs::write(format!("{state}.page"), listener.local_addr().unwrap().to_string()).unwrap();
    let config = watching(endpoint.parse().unwrap(), POLL_EVERY, PathBuf::from(state));
    let since = Timestamp::from_millis(began.parse().unwrap());
    let service = Service { config, rules: Vec::new(), clock, since, listener };
    service.run(CancellationToken::new()).await.unwrap();
}

/// A simulated AWS, and the settings of the processes.
struct World {
    folder: tempfile::TempDir,
    endpoint: SocketAddr,
    clock: Clock,
    began: Timestamp,
    /// Seconds by which the clock of the processes is ahead.
    ahead: i64,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("training.csv");
        std::fs::write(&trace, jobs()).unwrap();
        let began = Clock::real().now();
        let clock = Clock::starting_at(began, SPEED);
        let simulation = Simulation::new(trace::load(&trace, began).unwrap(), 7, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        tokio::spawn(simulator::serve(listener, simulation, CancellationToken::new()));
        Self { folder, endpoint, clock, began, ahead: 0 }
    }

    /// Every job with its true history.
    async fn true_jobs(&self) -> Vec<Value> {
        let url = format!("http://{}/_sim/truth/jobs?limit=10000", self.endpoint);
        let mut answer: Value = http::get(url).await.unwrap().json().await.unwrap();
        serde_json::from_value(answer["jobs"].take()).unwrap()
    }

    /// Runs a service in this process.
    async fn serve(&self, state: &str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = listener.local_addr().unwrap();
        let config = watching(self.endpoint, POLL_EVERY, self.folder.path().join(state));
        let service = Service { config, rules: Vec::new(), clock: self.clock, since: self.began, listener };
        tokio::spawn(async { service.run(CancellationToken::new()).await.unwrap() });
        page
    }

    fn process(&self, state: &Path) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["restart_kill::the_process_that_is_killed", "--exact"])
            .env(VARIABLES[0], state)
            .env(VARIABLES[1], self.endpoint.to_string())
            .env(VARIABLES[2], self.began.millis().to_string())
            .env(VARIABLES[3], self.ahead.to_string())
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn process_that_listens(&self, state: &Path) -> (Child, SocketAddr) {
        let page = PathBuf::from(format!("{}.page", state.display()));
        let _ = std::fs::remove_file(&page);
        let process = self.process(state);
        let listening = async {
            loop {
                if let Some(address) = std::fs::read_to_string(&page).ok().and_then(|text| text.parse().ok()) {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        (process, tokio::time::timeout(PATIENCE, listening).await.unwrap())
    }
}

/// Saved counters of a state file, by series; for distributions, the number of values.
fn counted(state: &Path) -> BTreeMap<String, f64> {
    let series = Store::open_as_is(state).unwrap().load().unwrap().series;
    let value = |series: SavedSeries| {
        let SavedSeries { metric, labels, value, count, .. } = series;
        (format!("{metric}{labels:?}"), if count > 0 { f64::from(u32::try_from(count).unwrap()) } else { value })
    };
    // Saved gauges are not counters.
    let grows = |series: &SavedSeries| catalogue::find(&series.metric).unwrap().kind != Kind::Gauge;
    series.into_iter().filter(grows).map(value).collect()
}

fn sum(counted: &BTreeMap<String, f64>, name: &str) -> f64 {
    counted.iter().filter(|(series, _)| series.starts_with(&format!("{name}{{"))).map(|(_, value)| value).sum()
}

fn by_share(rows: &Value) -> BTreeMap<String, Value> {
    rows.as_array().unwrap().iter().map(|row| (row["share"].as_str().unwrap().to_owned(), row.clone())).collect()
}

async fn truth(endpoint: SocketAddr) -> Value {
    http::get(format!("http://{endpoint}/_sim/truth")).await.unwrap().json().await.unwrap()
}

async fn get(page: SocketAddr, path: &str) -> Value {
    match http::get(format!("http://{page}{path}")).await {
        Ok(answer) => answer.json().await.unwrap(),
        // It is not listening yet.
        Err(_) => Value::Array(Vec::new()),
    }
}

fn roll(seed: u64) -> u64 {
    seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}
