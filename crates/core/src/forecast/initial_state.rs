//! The initial state of a forecast: queues, in-flight jobs with the time they have held their instances, waiting jobs
//! in order, and past arrivals.

use std::time::Duration;

use crate::forecast::arrivals::PastArrivals;
use crate::forecast::runtimes::{JobKind, Profile};
use crate::model::{Demand, JobId, Policy, Queue, QueueName, ServiceEnvironment, ShareName, Timestamp};
use crate::scheduler::{Delays, QueueSetup, Setup};

/// Maximum in-flight jobs of a forecast.
pub const MAX_IN_FLIGHT: usize = 5_000;

/// Maximum waiting jobs of a forecast, over all shares.
pub const MAX_WAITING: usize = 20_000;

/// A job that has not ended.
#[derive(Clone, Debug)]
pub struct OpenJob {
    /// Its id.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its share.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Requested capacity; empty if unknown.
    pub demand: Demand,
    /// Submission time.
    pub created_at: Timestamp,
    /// Time of its dispatch; `None` while it waits.
    pub dispatched_at: Option<Timestamp>,
    /// Maximum time it may hold its instances.
    pub holds_at_most: Option<Duration>,
    /// Remaining preemption retries; `None` if unlimited.
    pub preemption_retries: Option<u32>,
    /// Its kind, for run times.
    pub kind: JobKind,
    /// Run times of its kind.
    pub profile: Profile,
    /// Whether AWS had no instances for it at its last dispatch.
    pub lacks_instances: bool,
}

/// The initial state of a forecast.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// Time of the state.
    pub now: Timestamp,
    /// Queues and service environments.
    pub setup: Setup,
    /// Queues whose environment is disabled.
    pub disabled: Vec<QueueName>,
    /// In-flight jobs.
    pub in_flight: Vec<OpenJob>,
    /// Waiting jobs in submission order.
    pub waiting: Vec<OpenJob>,
    /// Number of other waiting jobs, beyond the maximum.
    pub left_out: usize,
    /// Past arrivals, to predict future ones.
    pub arrivals: PastArrivals,
    /// Number of ended attempts learned from.
    pub ended: u64,
}

impl InitialState {
    /// The demand of a job, in instances.
    pub fn instances(demand: &Demand) -> f64 {
        demand.iter().map(|capacity| capacity.quantity).sum()
    }
}

/// Setup for the simulation. Existing jobs of a disabled queue or share are dispatched like others, but it gets no
/// arrivals: see `refuses`.
pub fn setup_of(queues: &[Queue]) -> Setup {
    let mut environments: Vec<ServiceEnvironment> = Vec::new();
    for environment in queues.iter().filter_map(|queue| queue.environment.as_ref()) {
        if !environments.iter().any(|one| one.name == environment.name) {
            environments.push(environment.clone());
        }
    }
    let queue_setup = |queue: &Queue| {
        let environment = queue.environment.as_ref().map_or("", |environment| &environment.name);
        let mut policy = queue.policy.clone();
        if let Policy::QuotaShares(shares) = &mut policy {
            shares.iter_mut().for_each(|share| share.enabled = true);
        }
        QueueSetup::new(queue.name.clone(), environment, policy)
    };
    let queues = queues.iter().filter(|queue| queue.environment.is_some()).map(queue_setup).collect();
    Setup { environments, queues, delays: Delays::NONE, ..Setup::default() }
}

/// Whether a queue accepts no new jobs for a share.
pub fn refuses(queues: &[Queue], queue: &QueueName, share: Option<&ShareName>) -> bool {
    let Some(queue) = queues.iter().find(|one| one.name == *queue) else { return true };
    let is_disabled = match &queue.policy {
        Policy::QuotaShares(shares) => shares.iter().any(|one| Some(&one.name) == share && !one.enabled),
        Policy::Fifo | Policy::FairShare { .. } => false,
    };
    !queue.enabled || is_disabled
}

/// Queues whose environment is disabled: none of their jobs is dispatched.
pub fn disabled(queues: &[Queue]) -> Vec<QueueName> {
    let is_disabled = |queue: &&Queue| queue.environment.as_ref().is_some_and(|environment| !environment.enabled);
    queues.iter().filter(is_disabled).map(|queue| queue.name.clone()).collect()
}
