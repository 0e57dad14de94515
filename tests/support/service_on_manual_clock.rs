//! A service over a simulated AWS on a clock that advances only on request.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{Config, Poll};
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_simulator as simulator;
use trainspotter_simulator::Simulation;

use super::config::watching;
use super::http;

const BEGAN: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// More than any poll needs here: otherwise the rate limiter would wait for time to pass.
const CALLS_PER_SECOND: f64 = 1e6;
/// Maximum jobs on a page of the service's list.
const PAGE: usize = 500;

/// A running service on a stopped clock. The runtime must be paused.
pub struct ServiceOnManualClock {
    clock: Clock,
    every: Duration,
    simulation: Simulation,
    page: SocketAddr,
    stop: CancellationToken,
    service: JoinHandle<()>,
    /// When dropped, time may jump ahead again.
    _held: mpsc::Sender<()>,
    _folder: tempfile::TempDir,
}

impl ServiceOnManualClock {
    /// Starts both; the service polls every `every`. Returns after its first poll.
    pub async fn start(every: Duration, simulation: impl FnOnce(Clock) -> Simulation) -> Self {
        let (held, until_dropped) = mpsc::channel::<()>();
        // While a blocking task runs, a paused clock does not advance automatically.
        tokio::task::spawn_blocking(move || until_dropped.recv());
        let clock = Clock::starting_at(BEGAN, 1.0);
        let simulation = simulation(clock);
        let endpoint = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_address = endpoint.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(simulator::serve(endpoint, simulation.clone(), stop.clone()));
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = listener.local_addr().unwrap();
        let config = config(endpoint_address, every, folder.path().join("state.db"));
        let service = Service { config, rules: Vec::new(), clock, since: BEGAN, listener };
        let running = service.run(stop.clone());
        let service = tokio::spawn(async { running.await.unwrap() });
        let running = Self { clock, every, simulation, page, stop, service, _held: held, _folder: folder };
        running.polled().await;
        running
    }

    /// Whole hours until the next event in the simulation; `None` if there is none.
    pub fn quiet_hours(&self) -> Option<u64> {
        let next = self.simulation.progress().next_event?;
        Some(next.since(self.clock.now()).as_secs() / 3600)
    }

    /// Advances time by this many polls and waits for the last one. The others would see nothing, so they are
    /// skipped.
    pub async fn pass(&self, polls: u64) {
        let polls = u32::try_from(polls).unwrap();
        tokio::time::advance(self.every * polls + Duration::from_millis(1)).await;
        self.polled().await;
    }

    /// Every job known to the service.
    pub async fn jobs(&self) -> Vec<Value> {
        let (mut jobs, mut after) = (Vec::new(), String::new());
        loop {
            let page = self.api(&format!("/api/v1/jobs?limit={PAGE}{after}")).await;
            jobs.extend(page["jobs"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next"].as_str() else { return jobs };
            after = format!("&after={next}");
        }
    }

    /// A response of the service's API.
    pub async fn api(&self, path: &str) -> Value {
        http::get(format!("http://{}{path}", self.page)).await.unwrap().json().await.unwrap()
    }

    /// Stops both.
    pub async fn stop(self) {
        self.stop.cancel();
        self.service.await.unwrap();
    }

    /// Waits until a poll has completed that began no earlier than now.
    async fn polled(&self) {
        let now = self.clock.now();
        loop {
            let health = self.api("/api/v1/health").await;
            let ticked = health["ticked_at"].as_str().is_some_and(|at| at >= now.to_string().as_str());
            let sources = health["sources"].as_array().unwrap();
            let listed = sources.iter().any(|source| source["source"] == "snapshot" && source["age_seconds"] == 0.0);
            if ticked && listed {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn config(endpoint: SocketAddr, every: Duration, store: std::path::PathBuf) -> Config {
    let poll = Poll {
        every,
        topology_every: every,
        reconcile_every: every,
        utilisation_every: every * 1_000,
        calls_per_second: CALLS_PER_SECOND,
    };
    Config { poll, ..watching(endpoint, every, store) }
}
