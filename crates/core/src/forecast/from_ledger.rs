//! Builds the forecast's input from the ledger of a running service, and learns from its events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::forecast::forecaster::Forecaster;
use crate::forecast::initial_state::{self, InitialState, MAX_IN_FLIGHT, OpenJob};
use crate::forecast::pending_estimates::WaitEnd;
use crate::forecast::runtimes::{JobKind, Profile};
use crate::forecast::stored_history::JobTraits;
use crate::jobs::{Event, EventKind, Job, Ledger, Phase, Span, WaitingKey};
use crate::model::{Demand, JobId, Queue, QueueName, ShareName, Timestamp};

/// Time that capacity search and start-up may add to an attempt's time limit.
const BEFORE_RUNNING: Duration = Duration::from_secs(600);

/// Prefix of AWS's status reason if it had no instances.
const NO_INSTANCES: &str = "CAPACITY:";

/// A job that is not submitted yet.
#[derive(Clone, Debug)]
pub struct Hypothetical {
    /// Queue to submit to.
    pub queue: QueueName,
    /// Its share.
    pub share: Option<ShareName>,
    /// Its priority.
    pub priority: i32,
    /// Requested capacity.
    pub demand: Demand,
    /// Its name, to find similar jobs.
    pub name: String,
    /// Its owner.
    pub owner: Option<String>,
}

impl Hypothetical {
    /// Its id within a forecast.
    pub const ID: &str = "not-submitted";
}

/// Learns from job events.
pub fn learn(forecaster: &mut Forecaster, events: &[Event], ledger: &Ledger) {
    // The end of a job is several events, and its timeline has the attempts of all of them.
    let mut learned = HashSet::new();
    for event in events {
        let Some(job) = event.job.as_ref().and_then(|id| ledger.job(id)) else { continue };
        let has_new_attempt =
            matches!(event.what, EventKind::Ran { .. } | EventKind::Preempted { .. } | EventKind::Ended { .. });
        if has_new_attempt && learned.insert(&job.latest.id) {
            learn_attempts(forecaster, job);
        }
        match event.what {
            EventKind::Dispatched { first, .. } => {
                if first {
                    arrived(forecaster, job, Some(event.at));
                }
                forecaster.wait_ended(&job.latest.id, event.at, WaitEnd::Dispatched);
            }
            EventKind::Cancelled { .. } => {
                arrived(forecaster, job, None);
                forecaster.wait_ended(&job.latest.id, event.at, WaitEnd::Cancelled);
            }
            EventKind::Ended { .. } => forecaster.wait_ended(&job.latest.id, event.at, WaitEnd::Cancelled),
            EventKind::Started { .. } | EventKind::Ran { .. } | EventKind::Preempted { .. } => {}
        }
    }
}

fn arrived(forecaster: &mut Forecaster, job: &Job, started: Option<Timestamp>) {
    let priority = job.priority().unwrap_or(0);
    let times = (job.latest.created_at, started);
    forecaster.arrived(&job.latest.id, times, &traits(job), priority, &job.latest.demand);
}

fn learn_attempts(forecaster: &mut Forecaster, job: &Job) {
    let traits = traits(job);
    for attempt in job.timeline.spans().chunk_by(|a, b| a.attempt == b.attempt) {
        let began = |phase: Phase| attempt.iter().find(|span| span.phase == phase);
        let last = attempt.iter().rfind(|span| span.phase != Phase::Waiting);
        let (Some(dispatched), Some(last)) = (began(Phase::Scheduled), last) else { continue };
        let Some(to) = last.to else { continue };
        let held = (dispatched.from.latest, to.latest.seconds_since(dispatched.from.latest));
        let ended = !was_preempted(job, last);
        if last.phase == Phase::Running {
            forecaster.attempt_ended(&job.latest.id, last.attempt, &traits, held, ended);
        } else {
            forecaster.attempt_never_ran(&job.latest.id, last.attempt, &traits, held, ended);
        }
    }
}

/// Whether an attempt was preempted, according to descriptions.
fn was_preempted(job: &Job, last: &Span) -> bool {
    let Some(details) = &job.details else { return false };
    let ended_at = last.to.map(|to| to.latest);
    let is_it = |stopped_at: Option<Timestamp>| stopped_at.is_some() && stopped_at == ended_at;
    let has_failed = details.attempts.iter().any(|attempt| is_it(attempt.stopped_at));
    let is_of_last = job.timeline.spans().last().is_some_and(|span| span.attempt == last.attempt);
    let listed = details.preempted.iter().any(|attempt| is_it(attempt.stopped_at));
    // An attempt that never ran may have found no instances.
    listed || (details.preemptions > 0 && last.phase == Phase::Running && !is_of_last && !has_failed)
}

/// The traits that determine the kind of a job.
fn traits(job: &Job) -> JobTraits {
    JobTraits {
        queue: job.queue().clone(),
        share: job.share().cloned(),
        owner: job.owner().map(str::to_owned),
        name: job.latest.name.to_string(),
        instances: InitialState::instances(&job.latest.demand),
    }
}

/// The current state from the ledger, with the hypothetical job, if any, as the last waiting one.
pub fn initial_state(
    forecaster: &mut Forecaster,
    queues: &[Queue],
    ledger: &Ledger,
    now: Timestamp,
    asked: Option<&Hypothetical>,
) -> InitialState {
    let mut profiles: HashMap<JobKind, Profile> = HashMap::new();
    let mut open_job = |forecaster: &mut Forecaster, job: &Job| {
        let kind = traits(job).kind();
        let profile = profiles.entry(kind).or_insert_with(|| forecaster.profile(kind)).clone();
        open_job(job, kind, profile)
    };
    let mut in_flight: Vec<OpenJob> =
        ledger.in_flight().take(MAX_IN_FLIGHT).map(|job| open_job(forecaster, job)).collect();
    if ledger.in_flight().nth(MAX_IN_FLIGHT).is_some() {
        forecaster.without_some_in_flight += 1;
    }
    in_flight.retain(|job| job.dispatched_at.is_some());
    let (keys, left_out) = first_in_each_share(ledger, forecaster.max_waiting());
    let waiting = keys.into_iter().filter_map(|key| ledger.job(&key.id));
    let mut waiting: Vec<OpenJob> = waiting.map(|job| open_job(forecaster, job)).collect();
    waiting.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
    if let Some(asked) = asked {
        waiting.push(hypothetical(asked, forecaster, now));
    }
    let arrivals = forecaster.arrivals(now, |queue, share| !initial_state::refuses(queues, queue, share));
    InitialState {
        now,
        setup: initial_state::setup_of(queues),
        disabled: initial_state::disabled(queues),
        in_flight,
        waiting,
        left_out,
        arrivals,
        ended: forecaster.ended(),
    }
}

/// The first jobs of each share in dispatch order, at most `most` in total, and the number of the others.
fn first_in_each_share(ledger: &Ledger, most: usize) -> (Vec<&WaitingKey>, usize) {
    let shares = ledger.shares().filter(|(_, _, share_jobs)| share_jobs.first().is_some()).count();
    let each = most / shares.max(1);
    let (mut keys, mut all) = (Vec::new(), 0);
    for (_, _, share_jobs) in ledger.shares() {
        let mut of_share: Vec<&WaitingKey> =
            share_jobs.classes().flat_map(|(_, keys)| keys.iter().take(each)).collect();
        all += share_jobs.classes().map(|(_, keys)| keys.len()).sum::<usize>();
        of_share.sort_unstable();
        keys.extend(of_share.into_iter().take(each));
    }
    let left_out = all - keys.len();
    (keys, left_out)
}

fn open_job(job: &Job, kind: JobKind, profile: Profile) -> OpenJob {
    let spans = job.timeline.spans();
    let in_flight = job.status().is_in_flight();
    let began = |phase: Phase| spans.iter().rfind(|span| span.phase == phase).map(|span| span.from.latest);
    let dispatched_at = began(Phase::Scheduled).filter(|_| in_flight);
    let timeout = job.details.as_ref().and_then(|details| details.attempt_timeout);
    let before_running = match (dispatched_at, began(Phase::Running)) {
        (Some(dispatched_at), Some(running)) if running >= dispatched_at => running.since(dispatched_at),
        _ => BEFORE_RUNNING,
    };
    OpenJob {
        id: job.latest.id.clone(),
        queue: job.queue().clone(),
        share: job.share().cloned(),
        priority: job.priority().unwrap_or(0),
        demand: job.latest.demand.clone(),
        created_at: job.latest.created_at,
        dispatched_at,
        holds_at_most: timeout.map(|timeout| timeout + before_running),
        preemption_retries: job.details.as_ref().and_then(|details| details.preemptions_left()),
        kind,
        profile,
        lacks_instances: !in_flight
            && job.latest.status_reason.as_deref().is_some_and(|reason| reason.starts_with(NO_INSTANCES)),
    }
}

fn hypothetical(asked: &Hypothetical, forecaster: &mut Forecaster, now: Timestamp) -> OpenJob {
    let Hypothetical { queue, share, priority, demand, name, owner } = asked;
    let kind = JobKind::new(name, owner.as_deref(), InitialState::instances(demand), share.as_ref(), queue);
    OpenJob {
        id: JobId::new(Hypothetical::ID),
        queue: queue.clone(),
        share: share.clone(),
        priority: *priority,
        demand: demand.clone(),
        created_at: now,
        dispatched_at: None,
        holds_at_most: None,
        preemption_retries: None,
        kind,
        profile: forecaster.profile(kind),
        lacks_instances: false,
    }
}
