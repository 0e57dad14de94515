//! A service over a simulated AWS, both in this process, on separate ports.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{
    Archive, Channel, CloudWatch, Config, Endpoint, Every, ObjectPlace, Publish, Receiver, Replication,
    ScheduledReport, Secret,
};
use trainspotter::service::Service;
use trainspotter_clock::Clock;
use trainspotter_core::model::{JobDetails, Timestamp};
use trainspotter_core::rules::{Rule, parse_rules};
use trainspotter_simulator as simulator;
use trainspotter_simulator::{Simulation, trace};

use super::config::watching;
use super::http;
use super::paced_clock::PacedClock;

/// Simulated seconds per real second.
const SPEED: f64 = 1_200.0;

/// Poll interval, in simulated time.
pub const POLL_EVERY: Duration = Duration::from_secs(30);

/// Timeout of each wait, in real time.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Settings of the simulation and of the service.
#[derive(Default)]
pub struct Setup {
    /// The jobs, as a trace.
    pub trace: String,
    /// Also notify this webhook.
    pub webhook: Option<String>,
    /// Also notify a topic that does not exist.
    pub unreachable_topic: bool,
    /// Also publish to the simulated CloudWatch.
    pub cloudwatch: bool,
    /// CPU share for forecasts, in cores; none by default.
    pub forecast: f64,
    /// Folder of the state; a temporary one by default.
    pub store: Option<PathBuf>,
    /// The archive, if any.
    pub archive: Option<Archive>,
    /// Also send a daily report to the webhook.
    pub daily_report: bool,
    /// Simulated seconds per real second, if not the default.
    pub speed: Option<f64>,
    /// Whether time passes only as fast as the service polls. The runtime must be paused.
    pub is_paced: bool,
    /// Poll interval, if not the default.
    pub poll_every: Option<Duration>,
    /// The tag `start-by` of all jobs.
    pub start_by: Option<&'static str>,
    /// A rule file beside the pack that is shipped.
    pub rules: Option<&'static str>,
    /// Whether the state is in a log that another process can take over.
    pub has_log: bool,
}

/// A running service.
pub struct Running {
    page: SocketAddr,
    endpoint: SocketAddr,
    clock: Clock,
    config: Config,
    rules: Vec<Rule>,
    stop: CancellationToken,
    service: JoinHandle<()>,
    simulation_stop: CancellationToken,
    /// Announces the service's address after a restart.
    moved: watch::Sender<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Running {
    pub async fn start(setup: Setup) -> Self {
        let paced = setup.is_paced.then(PacedClock::hold);
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("training.csv");
        std::fs::write(&trace, &setup.trace).unwrap();
        let speed = setup.speed.unwrap_or(SPEED);
        let clock = if setup.is_paced { Clock::starting_at(six_o_clock(), speed) } else { Clock::fast(speed) };
        let since = clock.now();
        let mut workload = trace::load(&trace, clock.now()).unwrap();
        let start_by = setup.start_by.map(|value| (JobDetails::START_BY_TAG.to_owned(), value.to_owned()));
        workload.submissions.iter_mut().for_each(|job| job.tags.extend(start_by.clone()));
        let simulation = Simulation::new(workload, 7, clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap();
        let simulation_stop = CancellationToken::new();
        tokio::spawn(simulator::serve(listener, simulation, simulation_stop.clone()));
        let mut config = config(&setup, endpoint, folder.path().join("state.db"));
        config.replication = setup.has_log.then(|| Replication {
            log: ObjectPlace::Folder(folder.path().join("log")),
            region: None,
            endpoint: None,
            role: None,
            lease: Duration::from_secs(45),
        });
        let more = setup.rules.map(|text| parse_rules("more.yaml", text).unwrap());
        let rules = [rules(), more.unwrap_or_default()].concat();
        let (page, stop, service) = serve(config.clone(), rules.clone(), clock, since).await;
        let (moved, at) = watch::channel(page);
        if let Some(paced) = paced {
            paced.follow(at, clock, config.poll.every);
        }
        Self { page, endpoint, clock, config, rules, stop, service, simulation_stop, moved, _folder: folder }
    }

    /// Stops the service and starts another one with the same state. The simulation continues meanwhile.
    pub async fn restart(mut self) -> Self {
        self.stop.cancel();
        self.service.await.unwrap();
        let (config, rules) = (self.config.clone(), self.rules.clone());
        (self.page, self.stop, self.service) = serve(config, rules, self.clock, self.clock.now()).await;
        self.moved.send_replace(self.page);
        self
    }

    /// Stops the service and starts another one that has only the log: it takes over.
    pub async fn take_over(mut self) -> Self {
        self.config.store = self.config.store.with_extension("other");
        self.restart().await
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.service).await.expect("the service stops").unwrap();
        self.simulation_stop.cancel();
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.page)
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = http::get(format!("http://{}{path}", self.page)).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub async fn api(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }

    pub async fn truth(&self) -> Value {
        http::get(format!("http://{}/_sim/truth", self.endpoint)).await.unwrap().json().await.unwrap()
    }

    /// Every job with its true history.
    pub async fn true_jobs(&self) -> Vec<Value> {
        let url = format!("http://{}/_sim/truth/jobs?limit=10000", self.endpoint);
        let answer: Value = http::get(url).await.unwrap().json().await.unwrap();
        answer["jobs"].as_array().unwrap().clone()
    }

    pub async fn inject(&self, fault: &Value) {
        let url = format!("http://{}/_sim/faults", self.endpoint);
        let answer = http::client().post(url).json(fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until a condition holds.
    pub async fn until<'a, F: Future<Output = bool>>(&'a self, what: &str, is_so: impl Fn(&'a Self) -> F) {
        let waiting = async {
            while !is_so(self).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("not within {PATIENCE:?}: {what}\n{}", self.get("/metrics").await.1);
        }
    }

    /// Waits until a metric with a label (or any part of its series' text) has reached a value.
    pub async fn until_metric(&self, what: &str, metric: &str, label: &str, least: f64) {
        self.until(what, |running| async move {
            let text = running.get("/metrics").await.1;
            let mut series = text.lines().filter(|line| line.starts_with(metric) && line.contains(label));
            series.any(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= least)
        })
        .await;
    }
}

/// Six o'clock of today, by UTC: days end when they should, at whatever time a test runs.
fn six_o_clock() -> Timestamp {
    const DAY_MILLIS: i64 = 86_400_000;
    Timestamp::from_millis(Clock::fast(1.0).now().millis() / DAY_MILLIS * DAY_MILLIS + DAY_MILLIS / 4)
}

async fn serve(
    config: Config,
    rules: Vec<Rule>,
    clock: Clock,
    since: Timestamp,
) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let service = Service { config, rules, clock, since, listener };
    let running = service.run(stop.clone());
    (page, stop, tokio::spawn(async { running.await.unwrap() }))
}

/// The shipped rule pack.
pub fn rules() -> Vec<Rule> {
    parse_rules("alerts/default.yaml", include_str!("../../alerts/default.yaml")).unwrap()
}

fn config(setup: &Setup, endpoint: SocketAddr, store: PathBuf) -> Config {
    let topic = Channel::sns("arn:aws:sns:us-east-1:123456789012:nobody");
    let topic = setup.unreachable_topic.then_some(("topic", topic));
    let webhook = setup.webhook.as_ref();
    let webhook = webhook.map(|url| {
        let endpoint = Endpoint { url: Secret::new(url), allow_loopback: true };
        ("hook", Channel::Webhook { endpoint, keys: Vec::new(), headers: BTreeMap::new() })
    });
    let receivers = topic.into_iter().chain(webhook);
    let every = Duration::from_secs(60);
    Config {
        publish: Publish {
            cloudwatch: setup.cloudwatch.then(|| CloudWatch::new("Trainspotter", every)),
            otlp: Vec::new(),
        },
        forecast: setup.forecast,
        receivers: receivers.map(|(name, channel)| Receiver::new(name, channel)).collect(),
        archive: setup.archive.clone(),
        tags: vec!["team".to_owned()],
        reports: setup.daily_report.then(daily_report).into_iter().collect(),
        ..watching(endpoint, setup.poll_every.unwrap_or(POLL_EVERY), setup.store.clone().unwrap_or(store))
    }
}

fn daily_report() -> ScheduledReport {
    ScheduledReport { every: Every::Daily, to: "hook".to_owned(), by: vec!["share".to_owned()] }
}
