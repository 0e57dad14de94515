//! Context of a job: jobs ahead of it, holders of the capacity it needs, waits of similar jobs, host utilisation,
//! and attempts. Computed on demand for one job, at a cost that does not depend on the number of jobs.

use crate::jobs::{FailureCategory, Filter, Job, Phase, WaitingKey, Wanted};
use crate::metrics::reasons::{Reason, Why};
use crate::metrics::{Inputs, host_utilisation};
use crate::model::{InstanceType, JobId, JobStatus, Policy, Position, ShareName, Timestamp, TrainingJobName};

/// Maximum jobs per list.
pub const MAX_NEIGHBOURS: usize = 20;

/// Maximum jobs examined for similar ones: the latest of the share.
const MAX_EXAMINED: usize = 2_000;

/// Minimum number of similar jobs for their waits to be shown.
const MIN_ALIKE: usize = 3;

/// Context of a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobContext {
    /// Waiting jobs ahead of it, the next one first: at most [`MAX_NEIGHBOURS`].
    pub ahead: Vec<Neighbour>,
    /// Jobs in flight that hold the capacity it waits for, largest first: at most [`MAX_NEIGHBOURS`].
    pub holders: Vec<Neighbour>,
    /// The unit they hold.
    pub held_unit: Option<InstanceType>,
    /// Total number of holders.
    pub holders_in_all: usize,
    /// Dispatched jobs of its share with the same demand; `None` if they are too few.
    pub alike: Option<Alike>,
    /// Hosts with recent reports, ordered by name.
    pub hosts: Vec<HostFigures>,
    /// Its attempts as listed by AWS, oldest first.
    pub attempts: Vec<AttemptEnd>,
    /// Category of its failure, who can fix it, and how; `None` if it did not fail.
    pub failure: Option<(FailureCategory, &'static str, &'static str)>,
}

/// A job ahead of another, or holding its capacity.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its share.
    pub share: Option<ShareName>,
    /// Its owner.
    pub owner: Option<String>,
    /// Its state.
    pub status: JobStatus,
    /// Since when it has been waiting, or holding its capacity.
    pub since: Timestamp,
    /// Instances of the relevant unit; `None` if it requests none.
    pub quantity: Option<f64>,
    /// GPUs it requests; `None` if unknown.
    pub gpus: Option<f64>,
}

/// First waits of jobs with the same demand, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike {
    /// Number of jobs.
    pub jobs: usize,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// Maximum.
    pub max: f64,
    /// Submission time of the earliest.
    pub since: Timestamp,
}

/// A host of a running job.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFigures {
    /// `<training job>/algo-<n>`.
    pub host: String,
    /// Number of GPUs.
    pub gpus: f64,
    /// Their utilisation, from 0 to 1.
    pub utilisation: f64,
    /// Time of the report.
    pub at: Timestamp,
}

/// An attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// When it started to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Why it ended, as reported by AWS.
    pub status_reason: Option<String>,
    /// Its training job.
    pub training_job: Option<TrainingJobName>,
    /// Whether it was preempted.
    pub preempted: bool,
}

pub(super) fn of(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> JobContext {
    let waits = job.status().is_waiting();
    let (holders, held_unit, holders_in_all) = if waits { holders(job, why, inputs) } else { (Vec::new(), None, 0) };
    let failure = (*job.status() == JobStatus::Failed && !job.has_left()).then(|| job.failure());
    JobContext {
        ahead: if waits { ahead(job, inputs) } else { Vec::new() },
        holders,
        held_unit,
        holders_in_all,
        alike: alike(job, inputs),
        hosts: hosts_of(job, inputs),
        attempts: attempts(job),
        failure: failure.map(|category| (category, category.words(), category.next_step())),
    }
}

/// Jobs ahead of it in AWS's order, as far as known; otherwise in its share by priority and age, or in a queue
/// without shares by age.
fn ahead(job: &Job, inputs: &Inputs<'_>) -> Vec<Neighbour> {
    let front = inputs.fronts.get(job.queue()).map_or(&[][..], |snapshot| &snapshot.front);
    let ids: Vec<JobId> = front.iter().filter_map(Position::job).collect();
    let waiting = |id: &JobId| inputs.ledger.job(id).filter(|job| job.status().is_waiting());
    if let Some(index) = ids.iter().position(|id| *id == job.latest.id) {
        let before = ids.iter().take(index).filter_map(waiting).take(MAX_NEIGHBOURS);
        return before.map(|other| neighbour(other, None)).collect();
    }
    let queue = inputs.queues.iter().find(|queue| queue.name == *job.queue());
    if queue.is_some_and(|queue| queue.policy == Policy::Fifo) {
        let filter = Filter { queue: Some(job.queue().clone()), waiting: true, ..Filter::default() };
        let found = inputs.ledger.find(Wanted::of(&filter, MAX_NEIGHBOURS)).jobs.into_iter();
        let before =
            |other: &&Job| other.latest.created_at <= job.latest.created_at && other.latest.id != job.latest.id;
        return found.filter(before).map(|other| neighbour(other, None)).collect();
    }
    let Some(share_jobs) = inputs.ledger.share_jobs(job.queue(), job.share()) else { return Vec::new() };
    let own = WaitingKey::of(job);
    let mut keys: Vec<&WaitingKey> =
        share_jobs.classes().flat_map(|(_, keys)| keys.range(..&own).take(MAX_NEIGHBOURS)).collect();
    keys.sort_unstable();
    let jobs = keys.into_iter().take(MAX_NEIGHBOURS).filter_map(|key| inputs.ledger.job(&key.id));
    jobs.map(|other| neighbour(other, None)).collect()
}

/// Jobs in flight that hold the limiting unit: in its own share if the share is the limit, otherwise in the queue.
fn holders(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> (Vec<Neighbour>, Option<InstanceType>, usize) {
    let unit = why.and_then(|why| why.evidence.unit.clone());
    let unit = unit.or_else(|| job.latest.demand.first().map(|capacity| capacity.unit.clone()));
    let Some(unit) = unit else { return (Vec::new(), None, 0) };
    let of_share = why.is_some_and(|why| matches!(why.reason, Reason::ShareAtLimit | Reason::BorrowLimit));
    let shares = inputs.ledger.shares_of(job.queue()).filter(|(share, _)| !of_share || *share == job.share());
    let in_flight = shares.flat_map(|(_, share_jobs)| share_jobs.in_flight()).filter_map(|id| inputs.ledger.job(id));
    let mut holders: Vec<Neighbour> =
        in_flight.filter_map(|other| Some(neighbour(other, Some(held(other, &unit)?)))).collect();
    holders.sort_by(|a, b| {
        let more = b.quantity.unwrap_or(0.0).total_cmp(&a.quantity.unwrap_or(0.0));
        more.then(a.since.cmp(&b.since)).then_with(|| a.id.cmp(&b.id))
    });
    let in_all = holders.len();
    holders.truncate(MAX_NEIGHBOURS);
    (holders, Some(unit), in_all)
}

/// Instances of a unit that a job requests.
fn held(job: &Job, unit: &InstanceType) -> Option<f64> {
    let any = |capacity: &&crate::model::Capacity| capacity.unit == *unit || unit.as_str() == "NUM_INSTANCES";
    let quantity: f64 = job.latest.demand.iter().filter(any).map(|capacity| capacity.quantity).sum();
    (quantity > 0.0).then_some(quantity)
}

fn neighbour(job: &Job, quantity: Option<f64>) -> Neighbour {
    // A job in flight has held its instances since it was scheduled.
    let spans = job.timeline.spans();
    let since = if job.status().is_waiting() {
        job.waiting_since()
    } else {
        spans.iter().rfind(|span| span.phase == Phase::Scheduled).map(|span| span.from.latest)
    };
    Neighbour {
        id: job.latest.id.clone(),
        name: job.latest.name.to_string(),
        share: job.share().cloned(),
        owner: job.owner().map(str::to_owned),
        status: job.status().clone(),
        since: since.or_else(|| spans.last().map(|span| span.from.latest)).unwrap_or(job.latest.created_at),
        quantity,
        gpus: job.gpus(),
    }
}

fn alike(job: &Job, inputs: &Inputs<'_>) -> Option<Alike> {
    let filter = Filter {
        queue: Some(job.queue().clone()),
        share: Some(job.share().cloned().unwrap_or_else(|| ShareName::from(""))),
        ..Filter::default()
    };
    let is_alike = |other: &Job| other.latest.demand == job.latest.demand && other.latest.id != job.latest.id;
    let wanted =
        Wanted { newest_first: true, examine: MAX_EXAMINED, also: &is_alike, ..Wanted::of(&filter, MAX_EXAMINED) };
    let found = inputs.ledger.find(wanted).jobs;
    let waited = |other: &&Job| {
        // Jobs cancelled before dispatch do not show how long dispatch takes.
        let was_dispatched = other.timeline.spans().len() > 1;
        other.first_wait().filter(|_| was_dispatched)?.seconds()
    };
    let mut waits: Vec<f64> = found.iter().filter_map(waited).collect();
    if waits.len() < MIN_ALIKE {
        return None;
    }
    waits.sort_by(f64::total_cmp);
    let quantile = |of: usize| waits.get((waits.len() * of / 100).min(waits.len() - 1)).copied();
    let since = found.iter().map(|job| job.latest.created_at).min()?;
    Some(Alike { jobs: waits.len(), p50: quantile(50)?, p90: quantile(90)?, max: quantile(100)?, since })
}

fn hosts_of(job: &Job, inputs: &Inputs<'_>) -> Vec<HostFigures> {
    let mut hosts: Vec<HostFigures> = host_utilisation::named(job, inputs)
        .into_iter()
        .map(|(host, figures)| HostFigures {
            host: host.host.clone(),
            gpus: figures.gpus,
            utilisation: figures.utilisation,
            at: host.at,
        })
        .collect();
    // Sort `algo-2` before `algo-10`.
    hosts.sort_by(|a, b| (a.host.len(), &a.host).cmp(&(b.host.len(), &b.host)));
    hosts
}

fn attempts(job: &Job) -> Vec<AttemptEnd> {
    let Some(details) = &job.details else { return Vec::new() };
    let listed = details.attempts.iter().map(|attempt| AttemptEnd {
        started_at: attempt.started_at,
        stopped_at: attempt.stopped_at,
        status_reason: attempt.status_reason.clone(),
        training_job: attempt.training_job.clone(),
        preempted: false,
    });
    let preempted = details.preempted.iter().map(|attempt| AttemptEnd {
        started_at: attempt.started_at,
        stopped_at: attempt.stopped_at,
        status_reason: attempt.status_reason.clone(),
        training_job: None,
        preempted: true,
    });
    let mut attempts: Vec<AttemptEnd> = listed.chain(preempted).collect();
    attempts.sort_by_key(|attempt| (attempt.stopped_at.is_none(), attempt.stopped_at, attempt.started_at));
    attempts
}
