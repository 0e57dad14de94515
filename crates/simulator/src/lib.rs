//! An AWS-compatible HTTP endpoint over the [scheduler](trainspotter_core::scheduler): tests and the demo use it in
//! place of AWS.
//!
//! One port serves Batch (restJson1), SageMaker (awsJson1_1), CloudWatch (rpc-v2-cbor, awsJson1_0 and awsQuery), SNS
//! and STS (awsQuery), as defined by the models of botocore 1.44.5; `http` routes requests. Under `/_sim/` the
//! simulator has its own API: ground truth, faults and control.
//!
//! Every request first advances the simulation to the clock's current time. The clock may run fast: all times in
//! responses are the clock's.

mod accounts;
mod api_error;
mod arn;
mod aws_query;
mod batch;
mod batch_training_jobs;
mod cbor;
mod cloudwatch;
mod control;
mod earlier_states;
mod faults;
mod gpu;
mod http;
mod input_types;
mod page_token;
pub mod quirks;
mod response_encoding;
mod sagemaker;
pub mod scenario;
mod servicequotas;
mod signature;
mod sns;
mod sts;
#[cfg(test)]
mod tests;
pub mod trace;
mod training_job_input;
mod truth;
pub mod workload;

use std::collections::BTreeMap;
use std::io;
use std::ops::Deref;
use std::ops::DerefMut;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use serde_json::Value;
use sha2::Digest;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::batch::Resources;
use crate::batch::Submitted;
use crate::cloudwatch::Metrics;
use crate::control::Pace;
use crate::earlier_states::Past;
use crate::faults::Faults;
use crate::quirks::Quirks;
use crate::scenario::Scenario;
use crate::sns::Postman;
use crate::sns::Topics;
use crate::truth::OverTime;
use crate::workload::Workload;
use trainspotter_clock::Clock;
use trainspotter_core::model::JobId;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Scheduler;

pub use accounts::Accounts;
pub use faults::Arrangement;
pub use gpu::Gpus;
pub use gpu::Shape;

/// A simulated AWS account. Clones share its state.
#[derive(Clone, Debug)]
pub struct Simulation {
    world: Arc<Mutex<World>>,
    clock: Clock,
    postman: Postman,
    account: Arc<str>,
    region: Arc<str>,
}

/// Progress of a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The clock's time.
    pub now: Timestamp,
    /// Jobs of all queues by status, in lower case, including zeros.
    pub jobs: BTreeMap<String, usize>,
    /// Time of the next event; `None` if there is none.
    pub next_event: Option<Timestamp>,
}

/// All state of an account, behind one lock.
#[derive(Debug)]
struct World {
    scheduler: Scheduler,
    past: Past,
    /// The clock's time at the current request.
    now: Timestamp,
    pace: Pace,
    seed: u64,
    /// Fields of jobs submitted over the API that descriptions return.
    submitted: BTreeMap<JobId, Submitted>,
    client_tokens: BTreeMap<String, JobId>,
    resources: Resources,
    training_jobs: batch_training_jobs::Index,
    direct_jobs: sagemaker::direct_training_jobs::DirectJobs,
    metrics: Metrics,
    topics: Topics,
    faults: Faults,
    gpus: Gpus,
    quirks: Quirks,
    /// Last snapshot of each queue, with its time.
    snapshots: BTreeMap<QueueName, (Timestamp, Value)>,
    /// Ground truth that is accumulated over time.
    over_time: OverTime,
    ids_given: u64,
}

impl Simulation {
    /// Creates an account with a workload to submit. Equal workloads and seeds give equal histories. Submissions that
    /// the queues reject are logged and skipped.
    pub fn new(workload: Workload, seed: u64, clock: Clock) -> Self {
        let now = clock.now();
        let began = workload.submissions.iter().map(|submission| submission.at).fold(now, Timestamp::min);
        let mut scheduler = Scheduler::new(workload.setup, seed, began);
        scheduler.keep_transitions(began);
        for submission in workload.submissions {
            let name = submission.name.clone();
            if let Err(refusal) = scheduler.submit(submission) {
                tracing::warn!(job = name, %refusal, "rejected a job of the workload");
            }
        }
        let resources = Resources::of(scheduler.queues());
        let world = World {
            scheduler,
            past: Past::default(),
            now,
            pace: Pace::of_clock(now),
            seed,
            submitted: BTreeMap::new(),
            client_tokens: BTreeMap::new(),
            resources,
            training_jobs: batch_training_jobs::Index::default(),
            direct_jobs: sagemaker::direct_training_jobs::DirectJobs::new(),
            metrics: Metrics::default(),
            topics: Topics::default(),
            faults: Faults::new(seed),
            gpus: Gpus::default(),
            quirks: Quirks::default(),
            snapshots: BTreeMap::new(),
            over_time: OverTime::from(began),
            ids_given: 0,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            clock,
            postman: Postman::new(clock),
            account: arn::USUAL_ACCOUNT.into(),
            region: arn::USUAL_REGION.into(),
        }
    }

    /// Sets account and Region. Call it before the first request.
    #[must_use]
    pub fn at(self, account: &str, region: &str) -> Self {
        Self { account: account.into(), region: region.into(), ..self }
    }

    /// The account id.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The Region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.world().now
    }

    /// Applies a scenario's outages, GPU shapes, quirks and faults. The caller uses its jobs, seed and speed.
    #[must_use]
    pub fn with(self, scenario: &Scenario) -> Self {
        {
            let mut world = self.world();
            world.gpus = scenario.gpu.gpus();
            world.quirks = scenario.quirks();
            world.faults.arrange(scenario.faults.clone());
            let now = world.now;
            for outage in &scenario.outages {
                world.scheduler.add_outage(outage.outage(now));
            }
            world.direct_jobs.extend(scenario.outside.iter().zip(1..).map(|(job, n)| job.direct(n, now)));
        }
        self
    }

    /// The router of the endpoint and `/_sim/`.
    pub fn router(&self) -> axum::Router {
        http::router(self.clone().into())
    }

    /// Creates a topic, like `CreateTopic`, and returns its ARN.
    pub fn create_topic(&self, name: &str) -> String {
        let mut world = self.world();
        world.topics.create(name, BTreeMap::new());
        arn::topic(name)
    }

    /// Progress of the simulation.
    pub fn progress(&self) -> Progress {
        let world = self.world();
        let mut jobs = BTreeMap::new();
        for queue in world.scheduler.queues() {
            for (state, count) in truth::jobs_by_state(&world, &queue.name) {
                *jobs.entry(state).or_default() += count;
            }
        }
        Progress { now: world.now, jobs, next_event: world.scheduler.next_event() }
    }

    /// Locks the state and advances it to the current time.
    fn world(&self) -> InWorld<'_> {
        // A panic in a handler leaves the state as consistent as before, or a test fails.
        let world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let mut world = InWorld { world, _entered: arn::enter(&self.account, &self.region) };
        world.catch_up(self.clock.now());
        world
    }
}

/// The locked state, with this thread in its account and Region.
#[derive(Debug)]
struct InWorld<'a> {
    world: MutexGuard<'a, World>,
    _entered: arn::Entered,
}

impl Deref for InWorld<'_> {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for InWorld<'_> {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl World {
    /// Processes everything due by the clock's time `clock`. Time never goes back: when a clock skew ends, it stands
    /// still until the clock has caught up.
    fn catch_up(&mut self, clock: Timestamp) {
        let plain = self.pace.at(clock);
        self.faults.now = plain;
        self.now = self.now.max(Timestamp::from_millis(plain.millis() + self.faults.skew_millis(plain)));
        self.past.keep(&self.scheduler, self.faults.list_lag(plain));
        self.scheduler.keep_transitions(cloudwatch::batch_metrics::kept_from(self.now));
        self.over_time.advance(&mut self.scheduler, self.now);
        cloudwatch::batch_metrics::publish(self);
    }

    /// The account as lists show it, if it differs from the current one.
    fn listed_state(&self) -> Option<Scheduler> {
        let lag = self.faults.list_lag(self.faults.now);
        if lag.is_zero() { None } else { self.past.at(self.now - lag) }
    }

    /// A new id in UUID form, derived from the seed and the number of ids so far.
    fn next_id(&mut self) -> String {
        self.ids_given += 1;
        let digest = Sha256::digest(format!("{} {}", self.seed, self.ids_given));
        let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// Serves a simulation until `stop`; requests in progress are completed.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, simulation: Simulation, stop: CancellationToken) -> io::Result<()> {
    serve_accounts(listener, simulation.into(), stop).await
}

/// Serves several accounts and Regions on one port; see [`serve`].
///
/// # Errors
/// The listener fails.
pub async fn serve_accounts(listener: TcpListener, accounts: Accounts, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, http::router(accounts)).with_graceful_shutdown(stop.cancelled_owned()).await
}
