//! Why each waiting job waits: one reason per job, by strict precedence, with the numbers that prove it.
//!
//! AWS's own words count where it gives them; the rest is inferred from quotas, use and order. A job is judged as if it
//! were the first of its share, so that a share at its limit is the reason for all its jobs and not for one; only a job
//! that would fit is *behind* others.

mod room;
mod story;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::derive::Inputs;
use crate::ledger::Job;
use crate::model::{InstanceType, JobStatus, Policy, Queue, QueueName, QuotaShare, ShareName};

pub(super) use room::most;
use room::{Amounts, Room};

/// Why a job waits. The order is the precedence: of several that hold, the first is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The job would fit, but others go first.
    Behind,
    /// Nothing is known to be in the way: the scheduler has not come to it yet.
    Evaluating,
}

impl Reason {
    /// All of them, in order of precedence.
    pub const ALL: [Self; 10] = [
        Self::Misconfigured,
        Self::Disabled,
        Self::ExceedsShare,
        Self::ShareAtLimit,
        Self::BorrowLimit,
        Self::Reclaiming,
        Self::NoCapacity,
        Self::CapacityInUse,
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
    /// Place among the waiting jobs of its share, from 1, by priority and then age.
    pub position_in_share: usize,
    /// Place in the whole queue, from 1, as AWS's own snapshot has it; `None` beyond the first jobs that it tells.
    pub position_in_queue: Option<usize>,
    /// GPUs that the jobs before it in its share ask for; instance types that are not known count as none.
    pub gpus_ahead: f64,
    /// Seconds waited by reason, since the service watches this wait.
    pub waited: BTreeMap<Reason, f64>,
}

/// The numbers behind a reason, in instances of `unit`. What does not apply is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// What is counted: the unit that stands in the way, or the first that the job asks for.
    pub unit: Option<InstanceType>,
    /// What the job asks for.
    pub needs: f64,
    /// What the service environment allows in all.
    pub capacity: Option<f64>,
    /// What of that no job holds.
    pub free: Option<f64>,
    /// What the share's jobs hold.
    pub share_uses: Option<f64>,
    /// The share's own quota.
    pub share_quota: Option<f64>,
    /// The most it may use, borrowed instances included.
    pub share_most: Option<f64>,
    /// What the lending shares together leave unused.
    pub lendable: Option<f64>,
}

/// A waiting job with its reason.
#[derive(Clone, Debug)]
pub(super) struct Judged<'a> {
    pub(super) job: &'a Job,
    pub(super) reason: Reason,
    /// Whether the job is within its share's own quota.
    pub(super) entitled: bool,
    pub(super) evidence: Evidence,
    position: usize,
    gpus_ahead: f64,
}

/// Every waiting job of the watched queues: queue by queue, share by share, in dispatch order.
pub(super) fn of_all<'a>(inputs: &Inputs<'a>) -> Vec<Judged<'a>> {
    let mut lanes: Lanes<'a> = BTreeMap::new();
    for job in inputs.ledger.open_jobs().filter(|job| job.status().is_waiting()) {
        lanes.entry((job.queue(), job.share())).or_default().push(job);
    }
    let in_use = room::in_use(inputs);
    let mut judged = Vec::new();
    for queue in inputs.queues {
        let of_queue = lanes.iter_mut().filter(|((name, _), _)| **name == queue.name);
        judge_queue(queue, &Room::of(queue, inputs, &in_use), of_queue, &mut judged);
    }
    judged
}

/// Why one job waits; `None` if it does not, or if its queue is not watched.
pub(super) fn of_job(job: &Job, inputs: &Inputs<'_>) -> Option<Why> {
    let found = of_all(inputs).into_iter().find(|judged| judged.job.latest.id == job.latest.id)?;
    let front = inputs.fronts.get(job.queue()).map(|snapshot| &snapshot.front);
    let place = front.and_then(|front| front.iter().position(|other| other.job_arn == job.latest.arn));
    Some(Why {
        reason: found.reason,
        evidence: found.evidence,
        position_in_share: found.position,
        position_in_queue: place.map(|place| place + 1),
        gpus_ahead: found.gpus_ahead,
        waited: BTreeMap::new(),
    })
}

type Lanes<'a> = BTreeMap<(&'a QueueName, Option<&'a ShareName>), Vec<&'a Job>>;

fn judge_queue<'a, 'b>(
    queue: &Queue,
    room: &Room,
    lanes: impl Iterator<Item = (&'b (&'a QueueName, Option<&'a ShareName>), &'b mut Vec<&'a Job>)>,
    judged: &mut Vec<Judged<'a>>,
) where
    'a: 'b,
{
    let first = judged.len();
    for ((_, share), jobs) in lanes {
        jobs.sort_by_cached_key(|job| (Reverse(priority(job)), job.latest.created_at, job.latest.id.clone()));
        let own = quota_share(queue, *share);
        let mut gpus_ahead = 0.0;
        for (index, job) in jobs.iter().enumerate() {
            let need = room.need(job);
            let (reason, unit) = reason(job, &need, queue, own, room);
            judged.push(Judged {
                job,
                reason,
                entitled: own.is_some_and(|own| room.within_quota(&need, own).is_ok()),
                evidence: room.evidence(&need, unit, *share, own),
                position: index + 1,
                gpus_ahead,
            });
            gpus_ahead += job.gpus().unwrap_or(0.0);
        }
    }
    fix_order(queue, judged.get_mut(first..).unwrap_or_default());
}

/// Of the jobs that would fit, only the one that goes next waits for nothing: the rest are behind it, or behind a larger
/// one before them.
fn fix_order(queue: &Queue, judged: &mut [Judged<'_>]) {
    let waits = |one: &&Judged<'_>| one.position == 1 && !one.reason.is_permanent() && one.reason != Reason::Evaluating;
    // In FIFO and in fair share the one that goes next blocks all; a quota share's own claim goes before any borrower.
    let blocks = matches!(queue.policy, Policy::Fifo | Policy::FairShare { .. });
    let blocked = blocks && judged.iter().any(|one| waits(&one));
    let claimed = judged.iter().any(|one| one.entitled && one.reason == Reason::Reclaiming);
    let examined = |one: &&mut Judged<'_>| *one.job.status() != JobStatus::Submitted;
    for one in judged.iter_mut().filter(|one| one.reason == Reason::Evaluating).filter(examined) {
        let borrows = matches!(queue.policy, Policy::QuotaShares(_)) && !one.entitled;
        if one.position > 1 || blocked || claimed && borrows {
            one.reason = Reason::Behind;
        }
    }
}

/// The reason but for order, and the unit that stands in the way.
fn reason(
    job: &Job,
    need: &Amounts,
    queue: &Queue,
    own: Option<&QuotaShare>,
    room: &Room,
) -> (Reason, Option<InstanceType>) {
    let said = job.latest.status_reason.as_deref().unwrap_or_default();
    let misconfigured = misconfigured(said);
    if misconfigured == Some(Reason::Misconfigured) {
        return (Reason::Misconfigured, None);
    }
    let environment_enabled = queue.environment.as_ref().is_none_or(|environment| environment.enabled);
    if !queue.enabled || !environment_enabled || own.is_some_and(|own| !own.enabled) {
        return (Reason::Disabled, None);
    }
    if *job.status() == JobStatus::Submitted {
        return (Reason::Evaluating, None);
    }
    if misconfigured == Some(Reason::ExceedsShare) {
        return (Reason::ExceedsShare, None);
    }
    if let Err(unit) = room.ever(need, own) {
        return (Reason::ExceedsShare, Some(unit));
    }
    if let Some(own) = own {
        match room.within_quota(need, own) {
            Ok(()) => {
                if let Err(unit) = room.stock_has(need, own) {
                    return (Reason::Reclaiming, Some(unit));
                }
            }
            Err(unit) => match room.may_borrow(need, own) {
                Ok(()) => {}
                Err((reason, at)) => return (reason, Some(at.unwrap_or(unit))),
            },
        }
    }
    if said.starts_with("CAPACITY:") {
        return (Reason::NoCapacity, None);
    }
    match room.free_has(need) {
        Err(unit) => (Reason::CapacityInUse, Some(unit)),
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

fn priority(job: &Job) -> i32 {
    job.details.as_ref().and_then(|details| details.priority).unwrap_or(0)
}

fn quota_share<'a>(queue: &'a Queue, share: Option<&ShareName>) -> Option<&'a QuotaShare> {
    match &queue.policy {
        Policy::QuotaShares(shares) => shares.iter().find(|own| Some(&own.name) == share),
        Policy::Fifo | Policy::FairShare { .. } => None,
    }
}

#[cfg(test)]
mod tests;
