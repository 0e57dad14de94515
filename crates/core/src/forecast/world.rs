//! The present as a forecast begins from it: queues, jobs in flight with how long they have held their instances, jobs that wait in their
//! order, and how jobs come.

use std::time::Duration;

use crate::forecast::arrivals::PastArrivals;
use crate::forecast::runtimes::{JobKind, Profile};
use crate::model::{Demand, JobId, Policy, Queue, QueueName, ServiceEnvironment, ShareName, Timestamp};
use crate::scheduler::{Delays, QueueSetup, Setup};

/// Jobs in flight that a forecast looks at, at most: those dispatched last count least.
pub const MAX_IN_FLIGHT: usize = 5_000;

/// Waiting jobs that a forecast looks at, at most, over all shares.
pub const MAX_WAITING: usize = 20_000;

/// A job that has not ended.
#[derive(Clone, Debug)]
pub struct OpenJob {
    /// Which job.
    pub id: JobId,
    /// Where it was submitted to.
    pub queue: QueueName,
    /// What it is accounted to.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// What it holds in flight; empty if that is not known.
    pub demand: Demand,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// Since when it has held its instances; `None` while it waits.
    pub dispatched_at: Option<Timestamp>,
    /// How long it may hold them at most.
    pub holds_at_most: Option<Duration>,
    /// How many preemptions it survives; `None` is without end.
    pub preemption_retries: Option<u32>,
    /// Of which kind it is.
    pub kind: JobKind,
    /// How long jobs like it hold their instances.
    pub profile: Profile,
    /// Whether the provider had no instances for it when it was dispatched last.
    pub lacks_instances: bool,
}

/// The present.
#[derive(Clone, Debug)]
pub struct World {
    /// When that is.
    pub now: Timestamp,
    /// The queues and what they draw on.
    pub setup: Setup,
    /// Queues and shares whose jobs wait until somebody enables their environment.
    pub disabled: Vec<QueueName>,
    /// Jobs that hold instances.
    pub in_flight: Vec<OpenJob>,
    /// Jobs that wait, in the order of their submission.
    pub waiting: Vec<OpenJob>,
    /// Waiting jobs that are not among those.
    pub left_out: usize,
    /// How jobs come.
    pub arrivals: PastArrivals,
    /// How many attempts have ended from which was learnt.
    pub ended: u64,
}

impl World {
    /// The demand of a job, in instances.
    pub fn instances(demand: &Demand) -> f64 {
        demand.iter().map(|capacity| capacity.quantity).sum()
    }
}

/// Queues as a forecast serves them. What a disabled queue or share has is served like that of any other, and nothing else comes: see
/// `refuses`.
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

/// Whether a queue takes no new jobs for a share.
pub fn refuses(queues: &[Queue], queue: &QueueName, share: Option<&ShareName>) -> bool {
    let Some(queue) = queues.iter().find(|one| one.name == *queue) else { return true };
    let is_disabled = match &queue.policy {
        Policy::QuotaShares(shares) => shares.iter().any(|one| Some(&one.name) == share && !one.enabled),
        Policy::Fifo | Policy::FairShare { .. } => false,
    };
    !queue.enabled || is_disabled
}

/// Queues whose environment is disabled: nothing of theirs is dispatched.
pub fn disabled(queues: &[Queue]) -> Vec<QueueName> {
    let is_disabled = |queue: &&Queue| queue.environment.as_ref().is_some_and(|environment| !environment.enabled);
    queues.iter().filter(is_disabled).map(|queue| queue.name.clone()).collect()
}
