//! A served simulation with an hour of history, and clients for it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use aws_credential_types::Credentials;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::Simulation;
use crate::scenario::Scenario;
use crate::serve;
use crate::workload::Workload;
use trainspotter_clock::Clock;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::Policy;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ServiceEnvironment;
use trainspotter_core::model::Sharing;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Delays;
use trainspotter_core::scheduler::Plan;
use trainspotter_core::scheduler::PlannedOutcome;
use trainspotter_core::scheduler::QueueSetup;
use trainspotter_core::scheduler::Setup;
use trainspotter_core::scheduler::Submission;
use trainspotter_core::scheduler::Terms;

pub const SEED: u64 = 7;
/// Submission time of the first job.
pub const BEGAN: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const INSTANCE: &str = "ml.p5.48xlarge";
/// Jobs in the queue `prod`: one a second.
pub const JOBS: usize = 250;

/// A served simulation; stops when dropped.
pub struct Account {
    pub url: String,
    pub simulation: Simulation,
    server: JoinHandle<io::Result<()>>,
    stop: DropGuard,
}

/// Creates a client of an SDK crate for an account.
macro_rules! client {
    ($sdk:ident, $account:expr) => {
        $sdk::Client::from_conf(
            $sdk::Config::builder()
                .behavior_version($sdk::config::BehaviorVersion::v2026_01_12())
                .region($sdk::config::Region::new("us-east-1"))
                .credentials_provider($crate::tests::fixture::credentials())
                .retry_config($sdk::config::retry::RetryConfig::disabled())
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .endpoint_url(&$account.url)
                .build(),
        )
    };
}
pub(super) use client;

pub fn credentials() -> Credentials {
    Credentials::from_keys("AKIASIMULATED", "simulated", None)
}

impl Account {
    /// Opens an account one hour after the first submission.
    pub async fn open() -> Self {
        Self::with(&Scenario::default()).await
    }

    /// As [`Self::open`], with the quirks and faults of a scenario.
    pub async fn with(scenario: &Scenario) -> Self {
        let clock = Clock::starting_at(BEGAN + Duration::from_hours(1), 1.0);
        let simulation = Simulation::new(workload(), SEED, clock).with(scenario);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, simulation.clone(), stop.clone()));
        Self { url, simulation, server, stop: stop.drop_guard() }
    }

    /// Stops serving, and waits until it has stopped.
    pub async fn close(self) {
        drop(self.stop);
        self.server.await.unwrap().unwrap();
    }

    /// Response of `/_sim/<path>`.
    pub async fn sim(&self, path: &str) -> Value {
        reqwest::get(format!("{}/_sim/{path}", self.url)).await.unwrap().json().await.unwrap()
    }

    /// Sends a command to `/_sim/control`, and returns the response.
    pub async fn control(&self, command: Value) -> Value {
        let url = format!("{}/_sim/control", self.url);
        let response = reqwest::Client::new().post(url).json(&command).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// Adds faults.
    pub async fn arrange(&self, faults: Value) {
        let response =
            reqwest::Client::new().post(format!("{}/_sim/faults", self.url)).json(&faults).send().await.unwrap();
        assert!(response.status().is_success(), "{response:?}");
    }
}

/// Two shares of four instances each that lend and borrow, and a FIFO queue with one failed job.
pub fn workload() -> Workload {
    let share = |name: &str| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(INSTANCE, 4.0)],
        sharing: Sharing::LendAndBorrow { borrow_limit: None },
        in_share_preemption: false,
    };
    let environment =
        |name: &str, limit| ServiceEnvironment { name: name.to_owned(), enabled: true, limits: vec![limit] };
    let environments = vec![
        environment("prod-environment", Capacity::new(INSTANCE, 8.0)),
        environment("dev-environment", Capacity::new("NUM_INSTANCES", 2.0)),
    ];
    let shares = Policy::QuotaShares(vec![share("nlp"), share("vision")]);
    let queues = vec![
        QueueSetup::new("prod", "prod-environment", shares),
        QueueSetup::new("dev", "dev-environment", Policy::Fifo),
    ];
    let mut submissions: Vec<_> = (0..JOBS as u64)
        .map(|n| job(n, "prod", Some(if n % 5 == 0 { "vision" } else { "nlp" }), PlannedOutcome::Succeeds))
        .collect();
    let reason = "Received status from SageMaker: AlgorithmError: exit code 1";
    submissions.push(job(JOBS as u64, "dev", None, PlannedOutcome::Fails(reason.to_owned())));
    let delays = Delays {
        submitted: Duration::from_secs(2),
        scheduled: (Duration::from_secs(30), Duration::from_secs(30)),
        starting: (Duration::from_secs(60), Duration::from_secs(60)),
        stopping: Duration::from_secs(20),
        ..Delays::TYPICAL
    };
    Workload { setup: Setup { environments, queues, delays, ..Setup::default() }, submissions }
}

fn job(n: u64, queue: &str, share: Option<&str>, outcome: PlannedOutcome) -> Submission {
    Submission {
        at: BEGAN + Duration::from_secs(n),
        name: format!("train-{n}"),
        queue: queue.into(),
        share: share.map(Into::into),
        priority: 1,
        demand: vec![Capacity::new(INSTANCE, 2.0)],
        tags: BTreeMap::from([("owner".to_owned(), "ada".to_owned())]),
        plan: Plan::Runs { duration: Duration::from_mins(20), outcome },
        terms: Terms::default(),
        utilisation: 0.75,
    }
}
