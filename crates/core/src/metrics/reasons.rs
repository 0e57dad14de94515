//! Why each waiting job waits: one reason per job, by strict precedence, with supporting numbers.
//!
//! AWS's status reason is used if there is one; the rest is inferred from quotas, use and order. A job is judged as
//! if it were the first of its share, so that a share at its limit is the reason for all of its jobs; only a job
//! that would fit is *behind* others.

mod explanation;
mod headroom;
mod queue_position;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::jobs::{Class, Job, WaitingKey};
use crate::metrics::Inputs;
use crate::model::{InstanceType, JobStatus, Policy, Queue, QuotaShare, ShareName};

pub(super) use headroom::most;
use headroom::{Amounts, Headroom, InUse};
pub use queue_position::QueuePosition;

/// Why a job waits. The order is the precedence: the first that applies is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// AWS reports that the job or queue is misconfigured.
    Misconfigured,
    /// The queue, its service environment or the share is disabled.
    Disabled,
    /// The job requests more than its share can ever get.
    ExceedsShare,
    /// The share uses its maximum, and no other share lends to it.
    ShareAtLimit,
    /// With this job the share would exceed its borrow limit.
    BorrowLimit,
    /// The job is within its share's quota, which others have borrowed.
    Reclaiming,
    /// AWS has no instances.
    NoCapacity,
    /// Jobs in flight use the whole service environment.
    CapacityInUse,
    /// The free capacity is kept for share identifiers without jobs by the compute reservation of the fair-share
    /// policy.
    Reserved,
    /// The job would fit, but other jobs go first.
    Behind,
    /// No obstacle is known: the scheduler has not evaluated it yet.
    Evaluating,
}

impl Reason {
    /// All reasons, in order of precedence.
    pub const ALL: [Self; 11] = [
        Self::Misconfigured,
        Self::Disabled,
        Self::ExceedsShare,
        Self::ShareAtLimit,
        Self::BorrowLimit,
        Self::Reclaiming,
        Self::NoCapacity,
        Self::CapacityInUse,
        Self::Reserved,
        Self::Behind,
        Self::Evaluating,
    ];

    /// The label value used in metrics and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Misconfigured => "misconfigured",
            Self::Disabled => "disabled",
            Self::ExceedsShare => "exceeds_share",
            Self::ShareAtLimit => "share_at_limit",
            Self::BorrowLimit => "borrow_limit",
            Self::Reclaiming => "reclaiming",
            Self::NoCapacity => "no_capacity",
            Self::CapacityInUse => "capacity_in_use",
            Self::Reserved => "reserved",
            Self::Behind => "behind",
            Self::Evaluating => "evaluating",
        }
    }

    /// Whether no job with this reason can start until the set-up or the job is changed.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Misconfigured | Self::Disabled | Self::ExceedsShare)
    }
}

/// Why one job waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// The reason.
    pub reason: Reason,
    /// The numbers behind it.
    pub evidence: Evidence,
    /// Whether the queue has shares.
    pub has_shares: bool,
    /// Its queue position; `None` if not requested.
    pub position: Option<QueuePosition>,
    /// Seconds waited by reason, since the service observes this wait.
    pub waited: BTreeMap<Reason, f64>,
}

/// The numbers behind a reason, in instances of `unit`; `None` if not applicable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The unit of the numbers: the limiting unit, or the first that the job requests.
    pub unit: Option<InstanceType>,
    /// Demand of the job; `None` if unknown.
    pub needs: Option<f64>,
    /// Total capacity of the service environment.
    pub capacity: Option<f64>,
    /// Capacity not held by any job.
    pub free: Option<f64>,
    /// Kept for share identifiers without jobs; `None` without a compute reservation.
    pub reserved: Option<f64>,
    /// Held by the share's jobs.
    pub share_uses: Option<f64>,
    /// Quota of the share.
    pub share_quota: Option<f64>,
    /// Maximum usage of the share, including borrowed instances.
    pub share_most: Option<f64>,
    /// Total unused by the lending shares.
    pub lendable: Option<f64>,
}

/// A class of waiting jobs of one share that differ only in their order, with their common reason. The job that
/// goes next in its share has its own diagnosis.
#[derive(Clone, Debug)]
pub(super) struct Diagnosis<'a> {
    /// The first of them.
    pub(super) job: &'a Job,
    /// Their class.
    pub(super) class: &'a Class,
    /// Their number.
    pub(super) jobs: usize,
    pub(super) goes_next: bool,
    pub(super) reason: Reason,
    /// Whether each is within its share's quota.
    pub(super) entitled: bool,
    pub(super) evidence: Evidence,
}

impl Diagnosis<'_> {
    /// GPUs that all of them request, as far as known.
    pub(super) fn gpus(&self) -> f64 {
        self.class.gpus().unwrap_or(0.0) * self.jobs as f64
    }

    /// Why each of them waits, given its queue position, if requested, and its wait by reason.
    pub(super) fn why(&self, queue: &Queue, position: Option<QueuePosition>, waited: BTreeMap<Reason, f64>) -> Why {
        Why {
            reason: self.reason,
            evidence: self.evidence.clone(),
            has_shares: queue.policy != Policy::Fifo,
            position,
            waited,
        }
    }
}

/// Diagnoses of all waiting jobs of the watched queues, by queue and share.
pub(super) fn of_all<'a>(inputs: &Inputs<'a>) -> Vec<Diagnosis<'a>> {
    let in_use = headroom::in_use(inputs);
    inputs.queues.iter().flat_map(|queue| of_queue(queue, inputs, &in_use)).collect()
}

/// Why one job waits, and its queue position; `None` if it does not wait, or if its queue is not watched.
pub(super) fn of_job(job: &Job, inputs: &Inputs<'_>, waited: BTreeMap<Reason, f64>) -> Option<Why> {
    let queue = inputs.queues.iter().find(|queue| queue.name == *job.queue())?;
    let share_jobs = inputs.ledger.share_jobs(job.queue(), job.share())?;
    let (class, key) = (share_jobs.class_of(job)?, WaitingKey::of(job));
    let goes_next = *share_jobs.first()? == key;
    let of_class =
        |one: &Diagnosis<'_>| one.job.share() == job.share() && one.class == class && one.goes_next == goes_next;
    let found = of_queue(queue, inputs, &headroom::in_use(inputs)).into_iter().find(of_class)?;
    Some(found.why(queue, Some(queue_position::of(job, queue, share_jobs, inputs)), waited))
}

fn of_queue<'a>(queue: &Queue, inputs: &Inputs<'a>, in_use: &InUse) -> Vec<Diagnosis<'a>> {
    let headroom = Headroom::of(queue, inputs, in_use);
    let mut diagnosis = Vec::new();
    for (share, share_jobs) in inputs.ledger.shares_of(&queue.name) {
        let own = quota_share(queue, share);
        let next = share_jobs.first();
        for (class, keys) in share_jobs.classes() {
            let need = headroom.need(&class.demand);
            let (reason, unit) = reason(class, &need, queue, own, &headroom);
            let entitled = own.is_some_and(|own| headroom.within_quota(&need, own).is_ok());
            let evidence = headroom.evidence(&need, unit, share, own);
            let has_next = next.is_some_and(|next| keys.first() == Some(next));
            let mut push = |first: Option<&WaitingKey>, jobs: usize, goes_next: bool| {
                if let Some(job) = first.and_then(|key| inputs.ledger.job(&key.id)).filter(|_| jobs > 0) {
                    diagnosis.push(Diagnosis {
                        job,
                        class,
                        jobs,
                        goes_next,
                        reason,
                        entitled,
                        evidence: evidence.clone(),
                    });
                }
            };
            let (mut rest, jobs) = (keys.iter(), keys.len());
            if has_next {
                push(rest.next(), 1, true);
            }
            push(rest.next(), jobs - usize::from(has_next), false);
        }
    }
    fix_order(queue, &mut diagnosis);
    diagnosis
}

/// Corrects for order: of the jobs that would fit, only the next one is unobstructed; the rest are behind it, or
/// behind a larger one ahead.
fn fix_order(queue: &Queue, diagnosis: &mut [Diagnosis<'_>]) {
    let waits = |one: &&Diagnosis<'_>| one.goes_next && !one.reason.is_permanent() && one.reason != Reason::Evaluating;
    // In FIFO and fair-share queues the next job blocks all others; jobs within a share's quota go before any
    // borrower.
    let blocks = matches!(queue.policy, Policy::Fifo | Policy::FairShare { .. });
    let blocked = blocks && diagnosis.iter().any(|one| waits(&one));
    let claimed = diagnosis.iter().any(|one| one.entitled && one.reason == Reason::Reclaiming);
    let examined = |one: &&mut Diagnosis<'_>| one.class.status != JobStatus::Submitted;
    for one in diagnosis.iter_mut().filter(|one| one.reason == Reason::Evaluating).filter(examined) {
        let borrows = matches!(queue.policy, Policy::QuotaShares(_)) && !one.entitled;
        if !one.goes_next || blocked || claimed && borrows {
            one.reason = Reason::Behind;
        }
    }
}

/// The reason, disregarding order, and the limiting unit.
fn reason(
    class: &Class,
    need: &Amounts,
    queue: &Queue,
    own: Option<&QuotaShare>,
    headroom: &Headroom,
) -> (Reason, Option<InstanceType>) {
    let said = class.status_reason.as_deref().unwrap_or_default();
    let misconfigured = misconfigured(said);
    if misconfigured == Some(Reason::Misconfigured) {
        return (Reason::Misconfigured, None);
    }
    let environment_enabled = queue.environment.as_ref().is_none_or(|environment| environment.enabled);
    if !queue.enabled || !environment_enabled || own.is_some_and(|own| !own.enabled) {
        return (Reason::Disabled, None);
    }
    if class.status == JobStatus::Submitted {
        return (Reason::Evaluating, None);
    }
    if misconfigured == Some(Reason::ExceedsShare) {
        return (Reason::ExceedsShare, None);
    }
    if let Err(unit) = headroom.ever(need, own) {
        return (Reason::ExceedsShare, Some(unit));
    }
    if let Some(own) = own {
        match headroom.within_quota(need, own) {
            Ok(()) => {
                if let Err(unit) = headroom.stock_has(need, own) {
                    return (Reason::Reclaiming, Some(unit));
                }
            }
            Err(unit) => match headroom.may_borrow(need, own) {
                Ok(()) => {}
                Err((reason, at)) => return (reason, Some(at.unwrap_or(unit))),
            },
        }
    }
    if said.starts_with("CAPACITY:") {
        return (Reason::NoCapacity, None);
    }
    match headroom.free_has(need) {
        Err((reason, unit)) => (reason, Some(unit)),
        Ok(()) => (Reason::Evaluating, None),
    }
}

/// Interprets AWS's message about a misconfigured job: a job that is too large has its own reason.
fn misconfigured(said: &str) -> Option<Reason> {
    let what = said.strip_prefix("MISCONFIGURATION:")?;
    let too_large = ["SERVICE_ENVIRONMENT_MAX_RESOURCE", "QUOTA_MANAGEMENT_LIMIT_EXCEEDED"];
    let exceeds = too_large.iter().any(|word| what.starts_with(word));
    Some(if exceeds { Reason::ExceedsShare } else { Reason::Misconfigured })
}

fn quota_share<'a>(queue: &'a Queue, share: Option<&ShareName>) -> Option<&'a QuotaShare> {
    match &queue.policy {
        Policy::QuotaShares(shares) => shares.iter().find(|own| Some(&own.name) == share),
        Policy::Fifo | Policy::FairShare { .. } => None,
    }
}

#[cfg(test)]
mod tests;
