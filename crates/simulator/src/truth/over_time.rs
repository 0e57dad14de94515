//! Ground truth that must be accumulated over time, because it cannot be derived from the jobs later: capacity,
//! causes of idle GPUs, and lending.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use trainspotter_core::metrics::gpu_part_names::UnallocatedCause;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::QueueSetup;
use trainspotter_core::scheduler::Scheduler;
use trainspotter_core::scheduler::Usage;
use trainspotter_core::scheduler::WaitReason;

use super::{capacity_gpus, gpus, gpus_of};

/// Events closer together than this are handled in one step.
const MIN_STEP: Duration = Duration::from_secs(10);
/// Added to the step for each queue, so that a thousand queues stay cheap.
const STEP_PER_QUEUE: Duration = Duration::from_millis(100);
/// Maximum steps per call, however much time passes.
const MAX_STEPS: u32 = 5_000;
/// Maximum waiting jobs of an environment whose wait reasons are examined; beyond it, its idle GPUs count as
/// `unexamined`.
const MAX_WAITING_EXAMINED: usize = 1_000;

/// GPU-seconds since the beginning.
#[derive(Debug)]
pub(crate) struct OverTime {
    began: Timestamp,
    until: Timestamp,
    capacity: BTreeMap<QueueName, f64>,
    /// Rates that are charged per second until the next step.
    now: Gpus,
    looked_at: Option<Timestamp>,
    /// The longest step so far: an upper bound of the delay with which events are noticed.
    longest_step: Duration,
    sums: Gpus,
}

/// GPUs, or GPU-seconds.
#[derive(Debug, Default)]
struct Gpus {
    unallocated: BTreeMap<QueueName, BTreeMap<&'static str, f64>>,
    shares: BTreeMap<(QueueName, ShareName), BTreeMap<&'static str, f64>>,
}

impl OverTime {
    /// Starts at `began`.
    pub fn from(began: Timestamp) -> Self {
        Self {
            began,
            until: began,
            capacity: BTreeMap::new(),
            now: Gpus::default(),
            looked_at: None,
            longest_step: Duration::ZERO,
            sums: Gpus::default(),
        }
    }

    /// The beginning of the account.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Capacity of a queue in GPU-seconds; `None` if unknown in GPUs.
    pub fn capacity(&self, queue: &QueueName) -> Option<f64> {
        self.capacity.get(queue).copied()
    }

    /// Processes all events due by `now`, and charges the time until then. Nothing else may have changed the
    /// scheduler meanwhile.
    pub fn advance(&mut self, scheduler: &mut Scheduler, now: Timestamp) {
        let step = step(scheduler, now.since(self.until));
        self.longest_step = self.longest_step.max(step);
        if self.looked_at.is_none_or(|at| now.since(at) >= step) {
            self.look(scheduler);
        }
        while let Some(next) = scheduler.next_event().map(|at| at.max(self.until + step)).filter(|next| *next < now) {
            self.pass(scheduler, next);
            scheduler.advance(next);
            self.look(scheduler);
        }
        self.pass(scheduler, now);
        scheduler.advance(now);
    }

    fn look(&mut self, scheduler: &Scheduler) {
        self.looked_at = Some(scheduler.now());
        self.now = Gpus::of(scheduler);
    }

    fn pass(&mut self, scheduler: &Scheduler, now: Timestamp) {
        let seconds = now.seconds_since(self.until);
        if seconds <= 0.0 {
            return;
        }
        self.until = now;
        self.sums.charge(&self.now, seconds);
        for queue in scheduler.queues() {
            if let Some(gpus) = capacity_gpus(scheduler, queue) {
                match self.capacity.get_mut(&queue.name) {
                    Some(sum) => *sum += gpus * seconds,
                    None => drop(self.capacity.insert(queue.name.clone(), gpus * seconds)),
                }
            }
        }
    }

    /// Maximum delay of [`unallocated`](Self::unallocated) and [`lending`](Self::lending) after an event, in seconds.
    pub fn exact_to_seconds(&self) -> f64 {
        self.longest_step.as_secs_f64()
    }

    /// Idle GPU-seconds by queue and cause, in the service's categories.
    pub fn unallocated(&self) -> Vec<Value> {
        let row =
            |(queue, causes): (&QueueName, _)| json!({"queue": queue, "since": self.began, "gpu_seconds": causes});
        self.sums.unallocated.iter().map(row).collect()
    }

    /// Use of each quota share's quota, in GPU-seconds.
    pub fn lending(&self) -> Vec<Value> {
        let row = |((queue, share), parts): (&(QueueName, ShareName), _)| json!({"queue": queue, "share": share, "since": self.began, "gpu_seconds": parts});
        self.sums.shares.iter().map(row).collect()
    }
}

fn step(scheduler: &Scheduler, span: Duration) -> Duration {
    let queues = u32::try_from(scheduler.queues().count()).unwrap_or(u32::MAX);
    MIN_STEP.max(STEP_PER_QUEUE.saturating_mul(queues)).max(span / MAX_STEPS)
}

impl Gpus {
    fn of(scheduler: &Scheduler) -> Self {
        let mut now = Self::default();
        let mut environments: BTreeMap<&str, Vec<&QueueSetup>> = BTreeMap::new();
        for queue in scheduler.queues() {
            environments.entry(&queue.environment).or_default().push(queue);
        }
        for queues in environments.into_values() {
            let usage: Vec<(&QueueName, Usage)> = queues
                .iter()
                .flat_map(|queue| scheduler.usage(&queue.name).into_iter().map(|usage| (&queue.name, usage)))
                .collect();
            let Some(capacity) = queues.first().and_then(|queue| capacity_gpus(scheduler, queue)) else { continue };
            let used: f64 = usage.iter().map(|(_, usage)| instances(usage.used) * gpus_of(&usage.unit)).sum();
            let causes = by_cause((capacity - used).max(0.0), scheduler, &queues);
            for queue in queues {
                now.unallocated.insert(queue.name.clone(), causes.clone());
            }
            for (queue, usage) in usage {
                now.add_share(queue, &usage);
            }
        }
        now
    }

    fn add_share(&mut self, queue: &QueueName, usage: &Usage) {
        let Some((share, quota)) = usage.share.clone().zip(usage.quota) else { return };
        let parts = self.shares.entry((queue.clone(), share)).or_default();
        let idle = quota.saturating_sub(usage.used).saturating_sub(usage.lent);
        let all = [("own", usage.used.min(quota)), ("lent", usage.lent), ("borrowed", usage.borrowed), ("idle", idle)];
        for (part, amount) in all {
            *parts.entry(part).or_default() += instances(amount) * gpus_of(&usage.unit);
        }
    }

    fn charge(&mut self, now: &Self, seconds: f64) {
        charge_parts(&mut self.unallocated, &now.unallocated, seconds);
        charge_parts(&mut self.shares, &now.shares, seconds);
    }
}

fn charge_parts<K: Ord + Clone>(
    sums: &mut BTreeMap<K, BTreeMap<&'static str, f64>>,
    now: &BTreeMap<K, BTreeMap<&'static str, f64>>,
    seconds: f64,
) {
    for (key, parts) in now {
        let sum = sums.entry(key.clone()).or_default();
        for (part, gpus) in parts {
            *sum.entry(part).or_default() += gpus * seconds;
        }
    }
}

/// Idle GPUs of an environment by the wait reasons of its jobs; with too many jobs, all count as `unexamined`.
fn by_cause(mut idle: f64, scheduler: &Scheduler, queues: &[&QueueSetup]) -> BTreeMap<&'static str, f64> {
    let mut causes: BTreeMap<&'static str, f64> =
        UnallocatedCause::ALL.map(|cause| (cause.as_str(), 0.0)).into_iter().collect();
    causes.insert("unexamined", 0.0);
    if idle == 0.0 {
        return causes;
    }
    let states = || JobStatus::KNOWN.iter().filter(|status| status.is_waiting());
    let waiting = |queue: &&QueueSetup| states().map(|status| scheduler.count(&queue.name, status)).sum::<usize>();
    if queues.iter().map(waiting).sum::<usize>() > MAX_WAITING_EXAMINED {
        causes.insert("unexamined", idle);
        return causes;
    }
    let mut wanted: BTreeMap<UnallocatedCause, f64> = BTreeMap::new();
    for job in queues.iter().flat_map(|queue| states().flat_map(|status| scheduler.jobs_in(&queue.name, status))) {
        if let Some(reason) = scheduler.wait_reason(&job.id) {
            *wanted.entry(cause(reason)).or_default() += gpus(job);
        }
    }
    for cause in UnallocatedCause::ALL {
        let wanted = wanted.get(&cause).copied().unwrap_or(0.0);
        let part = if cause == UnallocatedCause::NoDemand { idle } else { wanted.min(idle) };
        idle -= part;
        causes.insert(cause.as_str(), part);
    }
    causes
}

/// The service's cause for a wait reason, given full knowledge of the scheduler.
fn cause(reason: WaitReason) -> UnallocatedCause {
    match reason {
        WaitReason::NoInstances => UnallocatedCause::ProviderHasNone,
        WaitReason::Disabled
        | WaitReason::Misfit
        | WaitReason::ShareLimit
        | WaitReason::BorrowLimit
        | WaitReason::Reserved => UnallocatedCause::QuotaBound,
        WaitReason::Claim | WaitReason::Full | WaitReason::Order => UnallocatedCause::ShapeDoesNotFit,
        WaitReason::NotExamined => UnallocatedCause::BeingPlaced,
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 instances")]
fn instances(count: u64) -> f64 {
    count as f64
}
