//! The ledger: folds observations into the history of each job. PURE.
//!
//! # Invariants
//!
//! * Observing the same thing twice changes nothing: polls overlap.
//! * For jobs that did not change meanwhile, the order in which the pages of a poll are applied does not matter.
//! * Each [`Event`] is returned once in the life of a ledger.
//! * Bounded: ended jobs are dropped after [`ENDED_KEPT_FOR`]; beyond [`ENDED_KEPT`] of them, and [`PAST_KEPT`] in
//!   total, the oldest are known by id only, or not at all.
//! * A job costs time only when it changes: see [`ShareJobs`].

mod awaited_descriptions;
mod compact_set;
mod coverage;
mod event;
mod failure;
mod find_jobs;
mod host_utilisation;
mod index;
mod job;
mod keys_sorted_by_text;
mod ledger_queries;
mod listed_state;
mod poll_plan;
mod refused_descriptions;
mod saved;
mod share_jobs;
mod sorted_indexes;
mod sorted_pieces;
mod table;
#[cfg(test)]
mod tests;
mod timeline;
mod tombstones;
mod undescribed_ends;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use awaited_descriptions::Awaited;
pub use compact_set::CompactSet;
use coverage::Coverage;
pub use event::{Changes, Event, EventKind, Outcome};
pub use failure::{FailureCategory, account_limit};
pub use find_jobs::{EXAMINED_AT_MOST, Filter, Found, Wanted};
pub use index::Move;
pub use job::{Job, RequeueWaits, Waited, gpus_of};
pub use poll_plan::Cadence;
pub(crate) use poll_plan::JOBS_PER_POLL;
pub use share_jobs::{Class, ShareJobs, WaitingKey};
pub use table::key_of;
pub use timeline::{Moment, Phase, Span, Spans, Timeline};
pub use tombstones::PAST_KEPT;

use crate::model::{JobId, JobSeen, QueueName, Timestamp, TrainingJobSeen};
use host_utilisation::Utilisation;
use index::Index;
use listed_state::ListedState;
use refused_descriptions::Refused;
pub use saved::is_readable;
use saved::{Past, Unsaved};
use sorted_indexes::{Listed, Listing};
use table::JobTable;
use tombstones::Tombstones;
use undescribed_ends::UndescribedEnds;

/// Minimum retention of ended jobs, the same as Batch's own.
pub const ENDED_KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// Maximum ended jobs kept in full.
pub const ENDED_KEPT: usize = 100_000;

/// Number of jobs prefetched together: one page.
const LOOKED_UP_AT_ONCE: usize = 100;

/// All known jobs, and how complete that knowledge is.
#[derive(Debug, Default)]
pub struct Ledger {
    jobs: JobTable,
    index: Index,
    listing: Listing,
    /// Ended jobs, oldest first.
    ended: VecDeque<(Timestamp, JobId)>,
    tombstones: Tombstones,
    queues: BTreeMap<QueueName, Coverage>,
    /// Open jobs that were dispatched at some time.
    with_past: BTreeSet<JobId>,
    /// State of such jobs as saved by the previous release, which saved no more, until they are seen.
    remembered: BTreeMap<JobId, Past>,
    /// Changes to save.
    unsaved: Unsaved,
    /// Ends up to here were counted by an earlier run, or happened before the first one; `None` if any end may be
    /// new.
    counted_until: Option<Timestamp>,
    undescribed_ends: UndescribedEnds,
    refused: Refused,
    utilisation: Utilisation,
    /// Events of the current observation.
    events: Vec<Event>,
    corrections: u64,
    forgotten_early: u64,
    /// Maximum ended jobs kept in full, if not [`ENDED_KEPT`].
    max_ended: Option<usize>,
}

/// Maximum by which AWS's clock may be ahead of ours: a job's end may lie after the time at which it was seen.
pub(crate) const CLOCKS_MAY_DIFFER: Duration = Duration::from_secs(300);

/// Maximum lag of a list, including the remaining difference of compared clocks. A list requested now is complete up
/// to this long ago.
pub const LISTS_MAY_LAG: Duration = Duration::from_secs(30);

impl Ledger {
    /// Prefetches jobs whose observations follow.
    pub fn expect(&self, jobs: &[JobSeen]) {
        self.jobs.fetch(jobs.iter().map(|job| &job.id));
    }

    /// Applies a response about one job, requested at the earliest time of `at` and received at the latest.
    pub fn observe(&mut self, seen: JobSeen, at: impl Into<Moment>) -> Changes {
        self.apply_answer(seen, at.into());
        self.changes()
    }

    fn apply_answer(&mut self, seen: JobSeen, at: Moment) {
        self.refused.seen(&seen);
        if seen.status.is_ended() && self.may_have_made_attempts_unseen(&seen) {
            self.shown_to_have_ended(&seen);
            self.undescribed_ends.keep(seen, at);
        } else if self.undescribed_ends.contains(&seen.id) {
            self.apply_beside_end(seen, at);
        } else {
            self.apply(seen, at);
        }
    }

    /// Whether a list shows a job that this run has not seen in an older state than an earlier run has seen.
    fn is_behind(&self, seen: &JobSeen, at: Moment) -> bool {
        self.remembered.get(&seen.id).is_some_and(|past| past.timeline.is_ahead_of(seen, at.earliest))
    }

    /// Whether a list reports an end that unseen attempts may have preceded.
    fn may_have_made_attempts_unseen(&self, seen: &JobSeen) -> bool {
        let is_news = match self.jobs.get(&seen.id) {
            Some(job) => {
                let is_unclear = job.wants_description_since.is_some() || job.latest.training_job != seen.training_job;
                job.timeline.current().is_some() && is_unclear
            }
            None => {
                let ended_at = seen.stopped_at.filter(|_| !self.tombstones.contains(&seen.id));
                self.counted_until.zip(ended_at).is_some_and(|(counted_until, at)| at > counted_until)
            }
        };
        is_news && seen.details.is_none() && seen.training_job.is_some()
    }

    fn apply(&mut self, mut seen: JobSeen, at: Moment) {
        let coverage = match self.queues.get_mut(&seen.queue) {
            Some(coverage) => coverage,
            None => self.queues.entry(seen.queue.clone()).or_default(),
        };
        coverage.newest_created_at = coverage.newest_created_at.max(Some(seen.created_at));
        let Some(job) = self.jobs.get_mut(&seen.id) else {
            return self.observe_first(seen, at);
        };
        if !job.accepts(at.earliest) || job.timeline.is_ahead_of(&seen, at.earliest) {
            return;
        }
        let was_unverified = coverage.verified(job);
        if job.is_as(&seen) {
            job.seen_at = at.earliest;
            let mut is_changed = coverage.judge(job);
            if job.wants_description_since.is_some() {
                is_changed |= job.emit_unless_awaited(at.earliest, &mut self.events);
            }
            self.unsaved.add_if(is_changed, job);
            if job.has_left() && !coverage.missing.contains_key(&seen.id) {
                self.move_to(&seen.id, ListedState::Unchanged);
            }
            return;
        }
        job.complete(&mut seen);
        let before = Listed::of(job);
        // Jobs are described repeatedly, mostly without changes.
        let described_before = seen.details.is_some().then(|| job.clone());
        self.index.remove(job);
        if was_unverified && seen.training_job.is_some() && seen.training_job != job.latest.training_job {
            // Attempts may have started and ended since an earlier run polled; a list does not show them.
            job.wants_description_since = Some(at.earliest);
        }
        job.listed_state = ListedState::Unchanged;
        job.observe(seen, at, &mut self.events);
        self.index.share_details(job);
        let was_missing = coverage.judge(job);
        if coverage.missing.contains_key(&job.latest.id) {
            job.listed_state = ListedState::Missing;
        }
        self.index.add(job);
        self.listing.moved(&before, job);
        let is_other = described_before.is_none_or(|before| !job.is_saved_as(&before));
        self.unsaved.add_if(was_missing || is_other, job);
        if job.has_a_past() {
            self.with_past.insert(job.latest.id.clone());
        }
        if job.timeline.current().is_none() {
            let id = job.latest.id.clone();
            self.has_ended(id, at.earliest);
        }
    }

    fn observe_first(&mut self, mut seen: JobSeen, at: Moment) {
        if seen.status.is_ended() && self.tombstones.contains(&seen.id) {
            return;
        }
        if self.is_behind(&seen, at) {
            return self.undescribed_ends.keep(seen, at);
        }
        self.index.intern(&mut seen);
        let (id, queue) = (seen.id.clone(), seen.queue.clone());
        let mut job = Job::first_seen(seen, self.remembered.remove(&id), at, &mut self.events);
        self.index.share_details(&mut job);
        self.unsaved.add(&job);
        if job.has_a_past() {
            self.with_past.insert(id.clone());
        }
        let coverage = self.queues.entry(queue).or_default();
        coverage.count(&job);
        let ended = job.timeline.current().is_none();
        if !ended {
            coverage.judge(&job);
        }
        self.keep(job);
        if ended {
            self.has_ended(id, at.earliest);
        }
    }

    /// Adds a new job in full.
    fn keep(&mut self, job: Job) {
        self.index.add(&job);
        self.listing.add(&job, &self.jobs);
        self.jobs.insert(job);
    }

    fn has_ended(&mut self, id: JobId, at: Timestamp) {
        self.with_past.remove(&id);
        if let Some(job) = self.jobs.get(&id)
            && let Some(coverage) = self.queues.get_mut(job.queue())
        {
            coverage.found(&id);
        }
        self.ended.push_back((at, id));
        if self.ended.len() > self.max_ended() {
            self.forget_oldest_early();
        }
    }

    fn max_ended(&self) -> usize {
        self.max_ended.unwrap_or(ENDED_KEPT).min(ENDED_KEPT)
    }

    /// Changes the maximum number of ended jobs kept in full.
    pub fn set_max_ended(&mut self, ended: usize) {
        self.max_ended = Some(ended);
        while self.ended.len() > self.max_ended() {
            self.forget_oldest_early();
        }
    }

    fn forget_oldest_early(&mut self) {
        self.forgotten_early += 1;
        self.forget_oldest();
    }

    /// A requested job no longer exists.
    pub fn observe_gone(&mut self, id: &JobId, at: impl Into<Moment>) -> Changes {
        self.apply_gone(id, at.into());
        self.changes()
    }

    fn apply_gone(&mut self, id: &JobId, at: Moment) {
        self.refused.described(id);
        if let Some((at, seen)) = self.undescribed_ends.take(id) {
            if seen.status.is_ended() {
                return self.apply(seen, at);
            }
            self.remembered.remove(id);
            self.unsaved.add_id(id);
            return;
        }
        let Some(job) = self.jobs.get_mut(id).filter(|job| job.timeline.current().is_some()) else { return };
        if let Some(coverage) = self.queues.get_mut(&job.latest.queue) {
            coverage.verified(job);
        }
        self.unsaved.add(job);
        let before = Listed::of(job);
        self.index.remove(job);
        job.vanish(at, &mut self.events);
        self.index.add(job);
        self.listing.moved(&before, job);
        self.has_ended(id.clone(), at.earliest);
    }

    /// Applies SageMaker's description of an attempt's training job.
    pub fn observe_training_job(&mut self, seen: &TrainingJobSeen) {
        self.refused.training_job_described(&seen.name);
        if let Some(job) = self.jobs.get_mut(&seen.job) {
            let is_changed = job.observe_training_job(seen);
            self.unsaved.add_if(is_changed, job);
        }
    }

    /// Adds what ended waits were for, in seconds by reason.
    pub fn add_waited(&mut self, waits: Vec<(JobId, Vec<(String, f64)>)>) {
        for (id, seconds) in waits {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.add_waited(&seconds);
                self.unsaved.add(job);
            }
        }
    }

    /// Every in-flight status of `queue` was listed, starting at `since`.
    pub fn in_flight_listed(&mut self, queue: &QueueName, since: Timestamp) {
        let shares = self.index.shares_of(queue);
        let missed = seen_before(&self.jobs, shares.flat_map(|(_, share_jobs)| share_jobs.in_flight()), since);
        let coverage = self.queues.entry(queue.clone()).or_default();
        coverage.in_flight_since = Some(since);
        self.unsaved.extend(coverage.miss(missed));
    }

    /// Every waiting status of `queue` was listed, starting at `since`.
    pub fn waiting_listed(&mut self, queue: &QueueName, since: Timestamp) {
        let shares = || self.index.shares_of(queue);
        let missed = seen_before(&self.jobs, shares().flat_map(|(_, share_jobs)| share_jobs.waiting()), since);
        let waiting_then = shares().flat_map(|(_, share_jobs)| share_jobs.classes()).map(|(_, jobs)| jobs.len()).sum();
        let coverage = self.queues.entry(queue.clone()).or_default();
        self.corrections += missed.len() as u64;
        coverage.waiting_since = Some(since);
        coverage.waiting_then = waiting_then;
        // Each of them was seen, or is certainly missing.
        coverage.unverified = 0;
        self.unsaved.extend(coverage.miss(missed));
    }

    /// All requested lists of `queue` were complete in a poll that began at `at`.
    pub fn polled(&mut self, queue: &QueueName, at: Timestamp) {
        self.queues.entry(queue.clone()).or_default().polled();
        self.missed(queue, at);
    }

    /// Drops old ended jobs, and applies ends whose descriptions did not arrive in time.
    pub fn forget(&mut self, now: Timestamp) -> Changes {
        for (at, seen) in self.undescribed_ends.take_late(now) {
            self.apply(seen, at);
        }
        while self.ended.front().is_some_and(|(ended_at, _)| now.since(*ended_at) > ENDED_KEPT_FOR) {
            self.forget_oldest();
        }
        self.forget_refused(now);
        self.tombstones.forget(now);
        self.utilisation.forget(&self.jobs);
        self.changes()
    }

    fn forget_oldest(&mut self) {
        let Some((ended_at, id)) = self.ended.pop_front() else { return };
        let Some(job) = self.jobs.remove(&id) else { return };
        self.index.forget(&job);
        self.listing.remove(&job, &self.jobs);
        if let Some(coverage) = self.queues.get_mut(job.queue()) {
            coverage.forget(job.latest.created_at);
        }
        self.tombstones.add(&id, ended_at);
    }

    /// Takes the changes of the last observation, in time order.
    fn changes(&mut self) -> Changes {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        Changes { events, moves: self.index.take_moves() }
    }
}

/// Those of these jobs that were last seen before `since`.
fn seen_before<'a>(jobs: &JobTable, ids: impl Iterator<Item = &'a JobId>, since: Timestamp) -> Vec<JobId> {
    let is_missed = |id: &&&JobId| jobs.get(id).is_some_and(|job| job.seen_at < since);
    let ids: Vec<&JobId> = ids.collect();
    let missed = ids.chunks(LOOKED_UP_AT_ONCE).flat_map(|some| {
        jobs.fetch(some.iter().copied());
        some.iter().filter(is_missed)
    });
    missed.copied().cloned().collect()
}
