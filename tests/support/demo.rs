//! The demo's simulation and a service that watches it, both in this process, on a fast clock.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{Channel, Config, Publish, Receiver};
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::parse_rules;
use trainspotter_simulator::workload::Synthetic;
use trainspotter_simulator::{Simulation, serve};

use super::config::watching;
use super::http;

/// Poll interval, in simulated time.
pub const POLL_EVERY: Duration = Duration::from_secs(30);
/// Timeout of each wait, in real time.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A simulated account, and a service that watches it.
pub struct Demo {
    pub page: SocketAddr,
    pub endpoint: SocketAddr,
    pub clock: Clock,
    pub began: Timestamp,
    config: Config,
    stop: CancellationToken,
    service: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Demo {
    /// Starts both. `publish` returns the sinks, given the simulated account's address.
    pub async fn start(seed: u64, speed: f64, work: &Synthetic, publish: impl FnOnce(SocketAddr) -> Publish) -> Self {
        Self::configured(seed, speed, work, |config, endpoint| Config { publish: publish(endpoint), ..config }).await
    }

    /// Starts both, with another configuration of the service.
    pub async fn configured(
        seed: u64,
        speed: f64,
        work: &Synthetic,
        change: impl FnOnce(Config, SocketAddr) -> Config,
    ) -> Self {
        let clock = Clock::fast(speed);
        let began = clock.now();
        let simulation = Simulation::new(work.workload(seed, began), seed, clock);
        let topic = simulation.create_topic("people");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, simulation, CancellationToken::new()));
        let folder = tempfile::tempdir().unwrap();
        let watching = watching(endpoint, POLL_EVERY, folder.path().join("state.db"));
        let receivers = vec![Receiver::new("people", Channel::sns(topic))];
        let config = change(Config { receivers, ..watching }, endpoint);
        let page = SocketAddr::from(([127, 0, 0, 1], 0));
        let stop = CancellationToken::new();
        let mut demo = Self { page, endpoint, clock, began, config, stop, service: None, _folder: folder };
        demo.start_service().await;
        demo
    }

    /// Starts the service (again), with its existing state.
    pub async fn start_service(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.page = listener.local_addr().unwrap();
        self.stop = CancellationToken::new();
        let rules = parse_rules("alerts/default.yaml", include_str!("../../alerts/default.yaml")).unwrap();
        let config = self.config.clone();
        let service = Service { config, rules, clock: self.clock, since: self.clock.now(), listener };
        let running = service.run(self.stop.clone());
        self.service = Some(tokio::spawn(async { running.await.unwrap() }));
    }

    /// Stops the service, which flushes its sinks. The simulation continues.
    pub async fn stop_service(&mut self) {
        self.stop.cancel();
        if let Some(service) = self.service.take() {
            tokio::time::timeout(PATIENCE, service).await.expect("the service stops").unwrap();
        }
    }

    /// Waits until this much simulated time has passed since the beginning.
    pub async fn at(&self, after: Duration) {
        let waiting = async {
            while self.clock.now() < self.began + after {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the clock runs");
    }

    /// Injects faults.
    pub async fn inject(&self, faults: &Value) {
        let url = format!("http://{}/_sim/faults", self.endpoint);
        let answer = http::client().post(url).json(faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}
