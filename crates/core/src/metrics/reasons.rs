//! Why each waiting job waits: one reason per job, by strict precedence, with the numbers that prove it.
//!
//! AWS's own words count where it gives them; the rest is inferred from quotas, use and order. A job is judged as if it
//! were the first of its share, so that a share at its limit is the reason for all its jobs and not for one; only a job
//! that would fit is *behind* others.

mod explanation;
mod headroom;
mod standing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::jobs::{Class, Job, Place};
use crate::metrics::Inputs;
use crate::model::{InstanceType, JobStatus, Policy, Queue, QuotaShare, ShareName};

pub(super) use headroom::most;
use headroom::{Amounts, Headroom, InUse};
pub use standing::Standing;

/// Why a job waits. The order is the precedence: of several that hold, the first is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// AWS says that job or queue are set up in a way that cannot work.
    Misconfigured,
    /// The queue, its service environment or the share is disabled.
    Disabled,
    /// The job asks for more than its share can ever get.
    ExceedsShare,
    /// The share uses all it may, and nobody lends it more.
    ShareAtLimit,
    /// With this job the share would borrow more than its borrow limit.
    BorrowLimit,
    /// The job is within its share's own quota, which others have borrowed.
    Reclaiming,
    /// AWS has no instances to give.
    NoCapacity,
    /// Jobs in flight hold what the service environment allows.
    CapacityInUse,
    /// What is free is kept, by the fair-share policy's compute reservation, for share identifiers that have no jobs.
    Reserved,
    /// The job would fit, but others go first.
    Behind,
    /// Nothing is known to be in the way: the scheduler has not come to it yet.
    Evaluating,
}

impl Reason {
    /// All of them, in order of precedence.
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

    /// Whether no job with this reason can start until somebody changes the set-up or the job.
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
    /// Whether the queue divides its capacity among shares.
    pub has_shares: bool,
    /// Where it stands; `None` where that was not asked for.
    pub standing: Option<Standing>,
    /// Seconds waited by reason, since the service watches this wait.
    pub waited: BTreeMap<Reason, f64>,
}

/// The numbers behind a reason, in instances of `unit`. What does not apply is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What is counted: the unit that stands in the way, or the first that the job asks for.
    pub unit: Option<InstanceType>,
    /// What the job asks for; `None` if that is not known.
    pub needs: Option<f64>,
    /// What the service environment allows in all.
    pub capacity: Option<f64>,
    /// What of that no job holds.
    pub free: Option<f64>,
    /// What is kept for share identifiers without jobs; `None` where the policy has no compute reservation.
    pub reserved: Option<f64>,
    /// What the share's jobs hold.
    pub share_uses: Option<f64>,
    /// The share's own quota.
    pub share_quota: Option<f64>,
    /// The most it may use, borrowed instances included.
    pub share_most: Option<f64>,
    /// What the lending shares together leave unused.
    pub lendable: Option<f64>,
}

/// Waiting jobs of one share that nothing but their order tells from one another, with the reason that they share. The job
/// that goes next in its share is always judged alone.
#[derive(Clone, Debug)]
pub(super) struct Diagnosis<'a> {
    /// The first of them.
    pub(super) job: &'a Job,
    /// What they have in common.
    pub(super) class: &'a Class,
    /// How many they are.
    pub(super) jobs: usize,
    pub(super) goes_next: bool,
    pub(super) reason: Reason,
    /// Whether each is within its share's own quota.
    pub(super) entitled: bool,
    pub(super) evidence: Evidence,
}

impl Diagnosis<'_> {
    /// GPUs that all of them ask for, as far as known.
    pub(super) fn gpus(&self) -> f64 {
        self.class.gpus().unwrap_or(0.0) * self.jobs as f64
    }

    /// Why each of them waits: one that stands there, as far as that was asked for, and has waited so long by reason.
    pub(super) fn why(&self, queue: &Queue, standing: Option<Standing>, waited: BTreeMap<Reason, f64>) -> Why {
        Why {
            reason: self.reason,
            evidence: self.evidence.clone(),
            has_shares: queue.policy != Policy::Fifo,
            standing,
            waited,
        }
    }
}

/// All waiting jobs of the watched queues: queue by queue, share by share.
pub(super) fn of_all<'a>(inputs: &Inputs<'a>) -> Vec<Diagnosis<'a>> {
    let in_use = headroom::in_use(inputs);
    inputs.queues.iter().flat_map(|queue| of_queue(queue, inputs, &in_use)).collect()
}

/// Why one job waits, and where it stands; `None` if it does not, or if its queue is not watched.
pub(super) fn of_job(job: &Job, inputs: &Inputs<'_>, waited: BTreeMap<Reason, f64>) -> Option<Why> {
    let queue = inputs.queues.iter().find(|queue| queue.name == *job.queue())?;
    let lane = inputs.ledger.lane(job.queue(), job.share())?;
    let (class, place) = (lane.class_of(job)?, Place::of(job));
    let goes_next = *lane.first()? == place;
    let of_class =
        |one: &Diagnosis<'_>| one.job.share() == job.share() && one.class == class && one.goes_next == goes_next;
    let found = of_queue(queue, inputs, &headroom::in_use(inputs)).into_iter().find(of_class)?;
    Some(found.why(queue, Some(standing::of(job, queue, lane, inputs)), waited))
}

fn of_queue<'a>(queue: &Queue, inputs: &Inputs<'a>, in_use: &InUse) -> Vec<Diagnosis<'a>> {
    let headroom = Headroom::of(queue, inputs, in_use);
    let mut diagnosis = Vec::new();
    for (share, lane) in inputs.ledger.lanes_of(&queue.name) {
        let own = quota_share(queue, share);
        let next = lane.first();
        for (class, places) in lane.classes() {
            let need = headroom.need(&class.demand);
            let (reason, unit) = reason(class, &need, queue, own, &headroom);
            let entitled = own.is_some_and(|own| headroom.within_quota(&need, own).is_ok());
            let evidence = headroom.evidence(&need, unit, share, own);
            let has_next = next.is_some_and(|next| places.first() == Some(next));
            let mut push = |first: Option<&Place>, jobs: usize, goes_next: bool| {
                if let Some(job) = first.and_then(|place| inputs.ledger.job(&place.id)).filter(|_| jobs > 0) {
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
            let mut places_left = places.iter();
            if has_next {
                push(places_left.next(), 1, true);
            }
            let left = places_left.len();
            push(places_left.next(), left, false);
        }
    }
    fix_order(queue, &mut diagnosis);
    diagnosis
}

/// Of the jobs that would fit, only the one that goes next waits for nothing: the rest are behind it, or behind a larger
/// one before them.
fn fix_order(queue: &Queue, diagnosis: &mut [Diagnosis<'_>]) {
    let waits = |one: &&Diagnosis<'_>| one.goes_next && !one.reason.is_permanent() && one.reason != Reason::Evaluating;
    // In FIFO and in fair share the one that goes next blocks all; a quota share's own claim goes before any borrower.
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

/// The reason but for order, and the unit that stands in the way.
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

/// What AWS's word for a job that cannot run means: too large is its own reason, whoever finds it out.
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
