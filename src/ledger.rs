//! What is true of each job: a pure fold of observations into histories. PURE.
//!
//! # Invariants
//!
//! * Observing the same thing twice changes nothing: polls overlap.
//! * The order in which the pages of a poll are taken in does not matter for jobs that did not change meanwhile.
//! * Each [`Event`] is told once in the life of a ledger.
//! * Bounded: ended jobs are forgotten after [`ENDED_KEPT_FOR`], or before that beyond [`ENDED_KEPT`].

mod event;
mod job;
mod plan;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use event::{Event, FailureCategory, Outcome, What};
pub use job::{Job, gpus_of, is_neuron};
pub use plan::Cadence;
pub use timeline::{Moment, Phase, Span, Timeline};

use crate::model::{JobId, JobSeen, QueueName, Timestamp, TrainingJobSeen};

/// How long ended jobs are kept: as long as Batch itself keeps them, at least.
pub const ENDED_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// How many ended jobs are kept at most.
pub const ENDED_KEPT: usize = 200_000;

/// Every job known, and what is known of the completeness of that.
#[derive(Debug, Default)]
pub struct Ledger {
    jobs: BTreeMap<JobId, Job>,
    /// Jobs that have not ended; what each tick looks at.
    open: BTreeSet<JobId>,
    /// Ended jobs, oldest first.
    ended: VecDeque<(Timestamp, JobId)>,
    queues: BTreeMap<QueueName, Coverage>,
    events: Vec<Event>,
    corrections: u64,
    forgotten_early: u64,
}

/// Up to when a queue's lists are known to be complete.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    newest_created_at: Option<Timestamp>,
    in_flight_since: Option<Timestamp>,
    waiting_since: Option<Timestamp>,
    /// Waiting jobs at the last full listing: what the next one will cost.
    waiting_then: usize,
}

impl Ledger {
    /// Takes in one answer about one job, asked for at `at`.
    pub fn observe(&mut self, seen: JobSeen, at: Timestamp) {
        let id = seen.id.clone();
        let coverage = self.queues.entry(seen.queue.clone()).or_default();
        coverage.newest_created_at = coverage.newest_created_at.max(Some(seen.created_at));
        match self.jobs.get_mut(&id) {
            Some(job) => job.observe(seen, at, &mut self.events),
            None => {
                let job = Job::first_seen(seen, at, &mut self.events);
                self.jobs.insert(id.clone(), job);
                self.open.insert(id.clone());
            }
        }
        self.settle(&id, at);
    }

    /// A job that was asked for is not there any more.
    pub fn observe_gone(&mut self, id: &JobId, at: Timestamp) {
        if !self.open.contains(id) {
            return;
        }
        if let Some(job) = self.jobs.get_mut(id) {
            job.vanish(at, &mut self.events);
        }
        self.settle(id, at);
    }

    /// Takes in what SageMaker says of an attempt's training job.
    pub fn observe_training_job(&mut self, seen: &TrainingJobSeen) {
        if let Some(job) = self.jobs.get_mut(&seen.job) {
            job.observe_training_job(seen);
        }
    }

    /// Every in-flight status of `queue` was listed, beginning at `since`.
    pub fn in_flight_listed(&mut self, queue: &QueueName, since: Timestamp) {
        self.queues.entry(queue.clone()).or_default().in_flight_since = Some(since);
    }

    /// Every waiting status of `queue` was listed, beginning at `since`.
    pub fn waiting_listed(&mut self, queue: &QueueName, since: Timestamp) {
        let waiting = self.open_jobs().filter(|job| job.queue() == queue && job.status().is_waiting());
        let (missed, waiting_then) =
            waiting.fold((0, 0), |(missed, all), job| (missed + u64::from(job.seen_at < since), all + 1));
        self.corrections += missed;
        let coverage = self.queues.entry(queue.clone()).or_default();
        coverage.waiting_since = Some(since);
        coverage.waiting_then = waiting_then;
    }

    /// Forgets ended jobs that are old or too many.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some((ended_at, _)) = self.ended.front() {
            let early = self.ended.len() > ENDED_KEPT;
            if now.since(*ended_at) <= ENDED_KEPT_FOR && !early {
                return;
            }
            self.forgotten_early += u64::from(early && now.since(*ended_at) <= ENDED_KEPT_FOR);
            if let Some((_, id)) = self.ended.pop_front() {
                self.jobs.remove(&id);
            }
        }
    }

    /// The events told since the last call, in order of time.
    pub fn take_events(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        events
    }

    /// A job by id.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// Every job kept, by id.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Every job that has not ended, by id.
    pub fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.open.iter().filter_map(|id| self.jobs.get(id))
    }

    /// When the oldest job was created that has not ended; `None` if all have.
    pub fn open_since(&self) -> Option<Timestamp> {
        self.open_jobs().map(|job| job.latest.created_at).min()
    }

    /// Ended jobs kept, oldest first.
    pub fn ended_jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.ended.iter().filter_map(|(_, id)| self.jobs.get(id))
    }

    /// How many jobs are kept.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job is kept.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// How often a full listing of waiting jobs found one missing that was thought to wait.
    pub fn corrections(&self) -> u64 {
        self.corrections
    }

    /// How many ended jobs were forgotten before their time because of [`ENDED_KEPT`].
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    /// Waiting jobs of `queue` not seen since it was last listed in full.
    pub fn unverified(&self, queue: &QueueName) -> usize {
        let listed = self.queues.get(queue).and_then(|coverage| coverage.waiting_since);
        self.open_jobs()
            .filter(|job| {
                job.queue() == queue && job.status().is_waiting() && listed.is_some_and(|at| job.seen_at < at)
            })
            .count()
    }

    fn settle(&mut self, id: &JobId, at: Timestamp) {
        let ended = self.jobs.get(id).is_some_and(|job| job.timeline.current().is_none());
        if ended && self.open.remove(id) {
            self.ended.push_back((at, id.clone()));
        }
    }
}
