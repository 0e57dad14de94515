//! The past of some queues: what was submitted, how long each job held its instances, and what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::forecast::{ArrivalRow, AttemptRow, JobTraits, MAX_ROWS, stored_history};
use crate::model::{Capacity, InstanceType, Policy, QueueName, ShareName, Timestamp};
use crate::scheduler::{Delays, Job, Phase, Plan, PlannedOutcome, Scheduler, Setup, Submission, Terms};
use crate::what_if::stored_setup::{SetupRow, setup_of_rows};

/// Maximum jobs of a past: the latest ones.
pub const MAX_JOBS: usize = 200_000;

/// The time to find instances and to start is part of the times that jobs hold them. What remains is the time that
/// AWS takes to examine and to stop a job.
const DELAYS: Delays =
    Delays { submitted: Delays::TYPICAL.submitted, stopping: Delays::TYPICAL.stopping, ..Delays::NONE };

/// A submitted job.
#[derive(Clone, Debug, PartialEq)]
pub struct PastJob {
    /// Time of submission.
    pub at: Timestamp,
    /// Queue.
    pub queue: QueueName,
    /// Share that it is accounted to.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Capacity that it holds while in flight.
    pub demand: Vec<Capacity>,
    /// How long it holds that capacity without interruption, in seconds.
    pub seconds: f64,
    /// What happened to it; `None` if not recorded.
    pub seen: Option<Seen>,
}

/// What happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Each period in which it held its instances: start, end, and whether it was then preempted. The last one may be
    /// open.
    pub held: Vec<(Timestamp, Option<Timestamp>, bool)>,
}

/// The past of some queues.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Setup of the queues.
    pub setup: Setup,
    /// The jobs, oldest first.
    pub jobs: Vec<PastJob>,
    /// End of the period.
    pub until: Timestamp,
    /// Notes about how the past was reconstructed.
    pub notes: Vec<String>,
}

impl Past {
    /// Creates a past from jobs. Without `until`, it ends with the last submission.
    pub fn new(setup: Setup, mut jobs: Vec<PastJob>, until: Option<Timestamp>) -> Self {
        jobs.sort_by_key(|job| job.at);
        let mut notes = Vec::new();
        if jobs.len() > MAX_JOBS {
            notes.push(format!("Only the latest {MAX_JOBS} of {} jobs are replayed.", jobs.len()));
            jobs.drain(..jobs.len() - MAX_JOBS);
        }
        let until = until.or(jobs.last().map(|job| job.at)).unwrap_or_default();
        Self { setup: Setup { delays: DELAYS, ..setup }, jobs, until, notes }
    }

    /// From a workload. It has recorded results only if it states when its jobs started, rather than just how long
    /// they run.
    pub fn of_workload(setup: Setup, submissions: &[Submission]) -> Self {
        let delays = setup.delays.mean_before_running().as_secs_f64();
        let of_submission = |submission: &Submission| {
            let (seconds, seen) = match &submission.plan {
                Plan::Runs { duration, .. } => (duration.as_secs_f64() + delays, None),
                Plan::Attempts(attempts) => {
                    let all: f64 = attempts.iter().map(|attempt| attempt.duration.as_secs_f64() + delays).sum();
                    (all, None)
                }
                Plan::Recorded { start: Some(start), end, .. } => {
                    let end = (*end)?;
                    (end.seconds_since(*start), Some(Seen { held: vec![(*start, Some(end), false)] }))
                }
                // It never held capacity.
                Plan::Recorded { start: None, .. } | Plan::Refused(_) => return None,
            };
            let cap = submission.terms.attempt_timeout.map_or(f64::INFINITY, |timeout| timeout.as_secs_f64() + delays);
            Some(PastJob {
                at: submission.at,
                queue: submission.queue.clone(),
                share: submission.share.clone(),
                priority: submission.priority,
                demand: submission.demand.clone(),
                seconds: seconds.min(cap),
                seen,
            })
        };
        Self::new(setup, submissions.iter().filter_map(of_submission).collect(), None)
    }

    /// From the history of a scheduler.
    pub fn of_scheduler(scheduler: &Scheduler, setup: Setup) -> Self {
        let jobs = scheduler.jobs().filter_map(|job| of_job(job, scheduler.now()));
        Self::new(setup, jobs.collect(), Some(scheduler.now()))
    }

    /// From stored forecast data, of a state file or a running service.
    ///
    /// # Errors
    /// There is too little data; the message says what is missing.
    pub fn of_kept(rows: BTreeMap<String, String>) -> Result<Self, String> {
        let (arrivals, attempts, queues) = stored_history(rows);
        let queues = queues.and_then(|body| serde_json::from_str::<Vec<SetupRow>>(&body).ok());
        let queues = queues.filter(|queues| !queues.is_empty());
        let setup =
            setup_of_rows(queues.ok_or("the state file has no setup of the queues: let the service poll them first")?);
        // Once the maximum number of attempts is stored, older ones may have been overwritten: history is complete
        // only from the end of the oldest stored attempt on.
        let is_full = attempts.len() as u64 >= MAX_ROWS;
        let complete_from = attempts.iter().map(AttemptRow::ended_at).min().filter(|_| is_full);
        let mut of_jobs: BTreeMap<u64, Vec<AttemptRow>> = BTreeMap::new();
        for attempt in attempts {
            of_jobs.entry(attempt.job).or_default().push(attempt);
        }
        let ends = of_jobs.values().flatten().map(AttemptRow::ended_at);
        let until = ends.chain(arrivals.iter().filter_map(|job| job.started)).max();
        let until = until.ok_or("the state file has no job that started: there is nothing to replay")?;
        let cancelled = arrivals.iter().filter(|job| job.started.is_none()).count();
        let mut unknown = 0;
        let jobs = arrivals.into_iter().filter_map(|job| {
            let attempts = of_jobs.remove(&job.id).unwrap_or_default();
            if attempts.is_empty() && job.started.zip(complete_from).is_some_and(|(started, from)| started < from) {
                unknown += 1;
                return None;
            }
            of_rows(job, attempts, until)
        });
        let jobs = jobs.collect();
        let mut past = Self::new(setup, jobs, Some(until));
        past.notes.push(
            "Jobs that still wait, and jobs that were cancelled before they started, are not included.".to_owned(),
        );
        if cancelled > 0 {
            past.notes.push(format!("{cancelled} jobs were cancelled before they started."));
        }
        if unknown > 0 {
            past.notes.push(format!(
                "{unknown} jobs are excluded: they started before the oldest stored attempt ended, so their end is \
                 unknown."
            ));
        }
        Ok(past)
    }

    /// The first submission.
    pub fn from(&self) -> Timestamp {
        self.jobs.first().map_or(self.until, |job| job.at)
    }

    /// Shares of a queue that jobs were submitted to, or that are configured.
    pub fn shares(&self, queue: &QueueName) -> BTreeSet<ShareName> {
        let of_jobs = self.jobs.iter().filter(|job| job.queue == *queue).filter_map(|job| job.share.clone());
        let mut shares: BTreeSet<ShareName> = of_jobs.collect();
        for setup in self.setup.queues.iter().filter(|setup| setup.name == *queue) {
            if let Policy::QuotaShares(quotas) = &setup.policy {
                shares.extend(quotas.iter().map(|share| share.name.clone()));
            }
        }
        shares
    }

    /// Checks that a queue uses an instance type: in its environment, in a share, or in a job's demand.
    ///
    /// # Errors
    /// It does not; the message lists the types that it uses.
    pub(super) fn knows(&self, queue: &QueueName, unit: &InstanceType) -> Result<(), String> {
        let mut known: BTreeSet<&InstanceType> = BTreeSet::new();
        for setup in self.setup.queues.iter().filter(|setup| setup.name == *queue) {
            let of_queue = self.setup.environments.iter().filter(|one| one.name == setup.environment);
            known.extend(of_queue.flat_map(|environment| &environment.limits).map(|limit| &limit.unit));
            if let Policy::QuotaShares(quotas) = &setup.policy {
                known.extend(quotas.iter().flat_map(|share| &share.limits).map(|limit| &limit.unit));
            }
        }
        let jobs = self.jobs.iter().filter(|job| job.queue == *queue);
        known.extend(jobs.flat_map(|job| &job.demand).map(|capacity| &capacity.unit));
        if known.contains(unit) {
            return Ok(());
        }
        let there_are: Vec<&str> = known.into_iter().map(InstanceType::as_str).collect();
        let there_are = if there_are.is_empty() { "none".to_owned() } else { there_are.join(", ") };
        Err(format!("queue {queue} has no instances of type {:?}; known types: {there_are}", unit.as_str()))
    }

    /// Mean instances that each share of a queue requested.
    pub(super) fn mean_demand(&self, queue: &QueueName) -> BTreeMap<Option<ShareName>, f64> {
        let span = self.until.seconds_since(self.from()).max(1.0);
        let mut demand = BTreeMap::new();
        for job in self.jobs.iter().filter(|job| job.queue == *queue) {
            let instances: f64 = job.demand.iter().map(|capacity| capacity.quantity).sum();
            *demand.entry(job.share.clone()).or_default() += instances * job.seconds.min(span) / span;
        }
        demand
    }
}

fn of_rows(job: ArrivalRow, mut attempts: Vec<AttemptRow>, until: Timestamp) -> Option<PastJob> {
    let started = job.started?;
    attempts.sort_by_key(|attempt| attempt.at);
    let mut held: Vec<_> = attempts.iter().map(|one| (one.at, Some(one.ended_at()), !one.ended)).collect();
    let has_ended =
        attempts.iter().any(|one| one.ended && !one.never_ran) || attempts.last().is_some_and(|one| one.ended);
    let seconds = if has_ended {
        // A failed and retried job holds its instances each time.
        at_least(attempts.iter().filter(|one| one.ended).map(|one| one.seconds).sum(), &held)
    } else {
        // It is running, or waiting again: see `of_job`.
        if attempts.is_empty() {
            held.push((started, None, false));
        }
        let so_far = held.iter().map(|(from, to, _)| to.unwrap_or(until).seconds_since(*from));
        so_far.fold(0.0, f64::max) * 2.0
    };
    let JobTraits { queue, share, .. } = job.of;
    let (at, priority, demand) = (job.at, job.priority, job.demand);
    Some(PastJob { at, queue, share, priority, demand, seconds, seen: Some(Seen { held }) })
}

/// A job takes longer than any of its preempted attempts lasted.
fn at_least(seconds: f64, held: &[(Timestamp, Option<Timestamp>, bool)]) -> f64 {
    let lasted = held.iter().filter(|(.., preempted)| *preempted);
    let longest = lasted.filter_map(|(from, to, _)| Some(to.as_ref()?.seconds_since(*from))).fold(0.0, f64::max);
    if longest > 0.0 { seconds.max(longest + 1.0) } else { seconds }
}

fn of_job(job: &Job, now: Timestamp) -> Option<PastJob> {
    let mut held: Vec<(Timestamp, Option<Timestamp>, bool)> = Vec::new();
    for attempt in job.spans.chunk_by(|a, b| a.attempt == b.attempt) {
        let Some(from) = attempt.iter().find(|span| span.phase != Phase::Waiting).map(|span| span.from) else {
            continue;
        };
        let number = attempt.first().map(|span| span.attempt);
        let preempted = job.preempted.iter().any(|one| Some(one.number) == number);
        held.push((from, attempt.last().and_then(|span| span.to), preempted));
    }
    let last = held.last().copied();
    let is_whole = last.is_none_or(|(_, to, preempted)| to.is_some() && !preempted);
    let so_far = held.iter().map(|(from, to, _)| to.unwrap_or(now).seconds_since(*from)).fold(0.0, f64::max);
    // Estimate for a job that has not ended: twice the longest time so far, the median of jobs found at that age.
    let seconds = match last {
        Some((_, Some(_), false)) => {
            let ended = held.iter().filter(|(.., preempted)| !preempted);
            at_least(ended.filter_map(|(from, to, _)| Some(to.as_ref()?.seconds_since(*from))).sum(), &held)
        }
        Some(_) if !is_whole => so_far * 2.0,
        _ if job.status.is_ended() => return None,
        _ => 0.0,
    };
    Some(PastJob {
        at: job.created_at,
        queue: job.queue.clone(),
        share: job.share.clone(),
        priority: job.priority,
        demand: job.demand.to_vec(),
        seconds,
        seen: Some(Seen { held }),
    })
}

/// The job as a submission to the scheduler.
pub(super) fn submission(job: &PastJob, is_fifo: bool) -> Submission {
    let share = if is_fifo { None } else { Some(job.share.clone().unwrap_or_else(|| ShareName::new(""))) };
    // Round to whole milliseconds: a tiny difference must not change the history.
    let duration = Duration::try_from_secs_f64((job.seconds * 1_000.0).round() / 1_000.0 + 1e-6).unwrap_or_default();
    Submission {
        at: job.at,
        name: String::new(),
        queue: job.queue.clone(),
        share,
        priority: job.priority,
        demand: job.demand.clone(),
        tags: BTreeMap::new(),
        plan: Plan::Runs { duration, outcome: PlannedOutcome::Succeeds },
        terms: Terms::default(),
        utilisation: 0.0,
    }
}
