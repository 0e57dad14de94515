//! What is around a job: who goes before it, who holds the capacity that it needs, what jobs like it waited, how busy its hosts are and
//! how its attempts ended. Worked out for one job when somebody asks, within limits that do not depend on how many jobs there are.

use crate::jobs::{FailureCategory, Filter, Job, Phase, Place, Wanted};
use crate::metrics::reasons::{Reason, Why};
use crate::metrics::{Inputs, hosts};
use crate::model::{InstanceType, JobId, JobStatus, Policy, Position, ShareName, Timestamp, TrainingJobName};

/// Jobs of one list, at most.
pub const MAX_NEIGHBOURS: usize = 20;

/// Jobs among which those like a job are looked for: the latest of its share.
const MAX_LOOKED_AT: usize = 2_000;

/// Fewer jobs like it say nothing of what it will wait.
const MIN_ALIKE: usize = 3;

/// What is around a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobContext {
    /// Waiting jobs that go before it, the next one first: at most [`MAX_NEIGHBOURS`].
    pub ahead: Vec<Neighbour>,
    /// The jobs in flight that hold what it waits for, those that hold most first: at most [`MAX_NEIGHBOURS`].
    pub holders: Vec<Neighbour>,
    /// What of it they hold.
    pub held_unit: Option<InstanceType>,
    /// How many of them there are.
    pub holders_in_all: usize,
    /// Jobs of its share that ask for the same and were dispatched; `None` where they are too few.
    pub alike: Option<Alike>,
    /// The hosts that have reported lately, by name.
    pub hosts: Vec<HostFigures>,
    /// Its attempts as AWS lists them, oldest first.
    pub attempts: Vec<AttemptEnd>,
    /// Why it failed and who can fix that; `None` if it has not.
    pub failure: Option<(FailureCategory, &'static str, &'static str)>,
}

/// A job beside another.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Its share.
    pub share: Option<ShareName>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Where it stands.
    pub status: JobStatus,
    /// Since when it has waited, or held what it holds.
    pub since: Timestamp,
    /// Instances of the unit that matters; `None` where it asks for none of it.
    pub quantity: Option<f64>,
    /// GPUs it asks for; `None` if that is not known.
    pub gpus: Option<f64>,
}

/// First waits of jobs that ask for the same, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike {
    /// How many jobs.
    pub jobs: usize,
    /// The median.
    pub p50: f64,
    /// Nine of ten waited no longer.
    pub p90: f64,
    /// The longest.
    pub max: f64,
    /// When the first of them was submitted.
    pub since: Timestamp,
}

/// A host of a running job.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFigures {
    /// `<training job>/algo-<n>`.
    pub host: String,
    /// Its GPUs.
    pub gpus: f64,
    /// How busy they are, from 0 to 1.
    pub utilisation: f64,
    /// When that was.
    pub at: Timestamp,
}

/// How an attempt went.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Why, in AWS's words.
    pub status_reason: Option<String>,
    /// What ran it.
    pub training_job: Option<TrainingJobName>,
    /// Whether it was stopped to give its capacity to others.
    pub preempted: bool,
}

pub(super) fn of(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> JobContext {
    let waits = job.status().is_waiting();
    let (holders, held_unit, holders_in_all) = if waits { holders(job, why, inputs) } else { (Vec::new(), None, 0) };
    let failure = (*job.status() == JobStatus::Failed).then(|| job.failure());
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

/// Those before it in AWS's own order, as far as that is known; otherwise those before it in its share by priority and age, or in a queue
/// without shares by age.
fn ahead(job: &Job, inputs: &Inputs<'_>) -> Vec<Neighbour> {
    let front = inputs.fronts.get(job.queue()).map_or(&[][..], |snapshot| &snapshot.front);
    let ids: Vec<JobId> = front.iter().filter_map(Position::job).collect();
    let waiting = |id: &JobId| inputs.ledger.job(id).filter(|job| job.status().is_waiting());
    if let Some(place) = ids.iter().position(|id| *id == job.latest.id) {
        let before = ids.iter().take(place).filter_map(waiting).take(MAX_NEIGHBOURS);
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
    let Some(lane) = inputs.ledger.lane(job.queue(), job.share()) else { return Vec::new() };
    let own = Place::of(job);
    let mut places: Vec<&Place> =
        lane.classes().flat_map(|(_, places)| places.range(..&own).take(MAX_NEIGHBOURS)).collect();
    places.sort_unstable();
    let jobs = places.into_iter().take(MAX_NEIGHBOURS).filter_map(|place| inputs.ledger.job(&place.id));
    jobs.map(|other| neighbour(other, None)).collect()
}

/// The jobs in flight that hold the unit that stands in the way: of its own share where that is what limits it, otherwise of the queue.
fn holders(job: &Job, why: Option<&Why>, inputs: &Inputs<'_>) -> (Vec<Neighbour>, Option<InstanceType>, usize) {
    let unit = why.and_then(|why| why.evidence.unit.clone());
    let unit = unit.or_else(|| job.latest.demand.first().map(|capacity| capacity.unit.clone()));
    let Some(unit) = unit else { return (Vec::new(), None, 0) };
    let of_share = why.is_some_and(|why| matches!(why.reason, Reason::ShareAtLimit | Reason::BorrowLimit));
    let lanes = inputs.ledger.lanes_of(job.queue()).filter(|(share, _)| !of_share || *share == job.share());
    let in_flight = lanes.flat_map(|(_, lane)| lane.in_flight()).filter_map(|id| inputs.ledger.job(id));
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

/// Instances of a unit that a job asks for.
fn held(job: &Job, unit: &InstanceType) -> Option<f64> {
    let any = |capacity: &&crate::model::Capacity| capacity.unit == *unit || unit.as_str() == "NUM_INSTANCES";
    let quantity: f64 = job.latest.demand.iter().filter(any).map(|capacity| capacity.quantity).sum();
    (quantity > 0.0).then_some(quantity)
}

fn neighbour(job: &Job, quantity: Option<f64>) -> Neighbour {
    // What is in flight has held its instances since it was scheduled.
    let spans = job.timeline.spans();
    let since = if job.status().is_waiting() {
        job.waiting_since()
    } else {
        spans.iter().rfind(|span| span.phase == Phase::Scheduled).map(|span| span.from.latest)
    };
    Neighbour {
        id: job.latest.id.clone(),
        name: job.latest.name.clone(),
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
        Wanted { newest_first: true, examine: MAX_LOOKED_AT, also: &is_alike, ..Wanted::of(&filter, MAX_LOOKED_AT) };
    let found = inputs.ledger.find(wanted).jobs;
    let waited = |other: &&Job| {
        let first = other.timeline.spans().first().filter(|span| span.phase == Phase::Waiting)?;
        // Who was cancelled before it was dispatched says nothing of how long that takes.
        (other.timeline.spans().len() > 1).then(|| first.seconds()).flatten()
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
    let mut hosts: Vec<HostFigures> = hosts::named(job, inputs)
        .into_iter()
        .map(|(host, figures)| HostFigures {
            host: host.host.clone(),
            gpus: figures.gpus,
            utilisation: figures.utilisation,
            at: host.at,
        })
        .collect();
    // `algo-2` comes before `algo-10`.
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
