//! Jobs that wait for a description: their listed states in the meantime, and how late descriptions are.
//!
//! AWS may describe jobs late or not at all for a while and list them all the same. Then a job that is no longer where it was counts for
//! nothing there, so that what is counted by state is what the lists show.

use crate::jobs::find_jobs::Filter;
use crate::jobs::listed_state::ListedState;
use crate::jobs::poll_plan::Urgency;
use crate::jobs::sorted_indexes::Listed;
use crate::jobs::{Job, LISTS_MAY_LAG, Ledger, Moment};
use crate::model::{JobId, JobSeen, JobStatus, QueueName, Timestamp};

/// How late descriptions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Jobs to which something happened that only a description shows.
    pub jobs: usize,
    /// Since when the first of them waits for it.
    pub since: Timestamp,
}

impl Ledger {
    /// The jobs to which something happened that only a description shows; `None` if there are none.
    pub fn awaited(&self) -> Option<Awaited> {
        let missing = self.queues.values().flat_map(|coverage| &coverage.missing);
        let missing = missing.filter(|(id, _)| !self.refused.is_refused(id)).map(|(_, since)| *since);
        let changed = self.index.wanted(Urgency::Requeued).filter_map(|(_, key)| self.jobs.by_key(*key));
        let changed = changed.filter(|job| !job.has_left() && !self.refused.is_refused(&job.latest.id));
        let changed = changed.filter_map(|job| job.wants_description_since);
        let since = missing.chain(changed).chain(self.undescribed_ends.kept_since());
        since.fold(None, |awaited: Option<Awaited>, since| {
            let (jobs, first) = awaited.map_or((0, since), |awaited| (awaited.jobs, awaited.since));
            Some(Awaited { jobs: jobs + 1, since: first.min(since) })
        })
    }

    /// Jobs that are no longer where they were seen last and were not described since. Some may come up twice.
    pub fn left(&self) -> impl Iterator<Item = &Job> {
        let left = self.queues.values().flat_map(|coverage| &coverage.left).chain(self.undescribed_ends.ids());
        left.filter_map(|id| self.job(id))
    }

    /// How many jobs of a queue have ended and are kept in full, or have ended as lists show, by status: a status may come up more than once.
    pub fn ended_counts<'a>(&'a self, queue: &QueueName) -> impl Iterator<Item = (&'a JobStatus, usize)> + use<'a> {
        let others = self.undescribed_ends.of_queue(queue.clone()).filter(|seen| self.job(&seen.id).is_none());
        self.index.ended_counts(queue).chain(others.map(|seen| (&seen.status, 1)))
    }

    /// How many jobs match a filter that no page of jobs has yet: lists show that they have ended, they were not seen before, and a
    /// description is awaited.
    pub fn undescribed_ends(&self, filter: &Filter) -> usize {
        let unknown = self.undescribed_ends.ended().filter(|seen| self.job(&seen.id).is_none());
        unknown.filter(|seen| filter.accepts_end(seen)).count()
    }

    /// Since when something may have happened that only descriptions show: of jobs that are not where they were, or are back in the
    /// queue; `None` if there are none.
    pub fn unreported_since(&self) -> Option<Timestamp> {
        let left = self.queues.values().flat_map(|coverage| &coverage.left);
        // What cannot be described must not hold back the counting of other jobs.
        let can_be_described = |id: &&JobId| !self.refused.is_refused(id);
        let left = left.filter(can_be_described).filter_map(|id| Some(self.job(id)?.seen_at)).min();
        let requeued = self.index.wanted(Urgency::Requeued);
        let requeued = requeued.filter_map(|(_, key)| self.jobs.by_key(*key));
        let requeued = requeued.filter(|job| can_be_described(&&job.latest.id)).filter_map(Job::unreported_since).min();
        // The listed state may have ended by then.
        let seen = left.into_iter().chain(requeued).map(|since| since - LISTS_MAY_LAG);
        seen.chain(self.undescribed_ends.created_since()).min()
    }

    /// Waiting jobs of `queue` not seen since it was last listed in full, or by this run.
    pub fn unverified(&self, queue: &QueueName) -> usize {
        let Some(coverage) = self.queues.get(queue) else { return 0 };
        let left = coverage.left.iter().filter_map(|id| self.job(id));
        left.filter(|job| job.status().is_waiting()).count() + coverage.unverified
    }

    /// Applies a listed state of a job that already has one waiting for its description.
    pub(super) fn apply_beside_end(&mut self, seen: JobSeen, at: Moment) {
        let id = seen.id.clone();
        if seen.details.is_none()
            && !seen.status.is_ended()
            && let Some((ended_at, end)) = self.undescribed_ends.end_of(&id)
        {
            // An ended job stays ended: a list that was asked for later is behind, and one from before is about the past.
            if at.earliest <= ended_at {
                let listed_state = ListedState::ended(&end.status);
                self.apply(seen, at);
                self.move_to(&id, listed_state);
            }
            return;
        }
        if !self.is_behind(&seen, at) {
            self.undescribed_ends.take(&id);
        }
        self.apply(seen, at);
        if self.undescribed_ends.end_of(&id).is_none() {
            self.no_longer_ended(&id);
        }
    }

    /// A list shows that a job has ended, and a description is awaited.
    pub(super) fn shown_to_have_ended(&mut self, seen: &JobSeen) {
        if let Some(coverage) = self.queues.get_mut(&seen.queue) {
            coverage.missing.remove(&seen.id);
        }
        self.move_to(&seen.id, ListedState::ended(&seen.status));
    }

    /// All lists of a poll that began at `at` are complete: what was missing in one and is not described yet is not where it was.
    pub(super) fn missed(&mut self, queue: &QueueName, at: Timestamp) {
        let Some(coverage) = self.queues.get_mut(queue) else { return };
        let is_new = |id: &&JobId| self.jobs.get(id).is_some_and(|job| !job.has_left());
        let missing: Vec<JobId> = coverage.left.iter().filter(is_new).cloned().collect();
        coverage.missing.extend(missing.iter().map(|id| (id.clone(), at)));
        missing.iter().for_each(|id| self.move_to(id, ListedState::Missing));
    }

    /// A job has not ended, and its listed end was discarded.
    pub(super) fn no_longer_ended(&mut self, id: &JobId) {
        if self.job(id).is_some_and(|job| job.listed_state.has_ended()) {
            self.move_to(id, ListedState::Unchanged);
        }
    }

    pub(super) fn move_to(&mut self, id: &JobId, listed_state: ListedState) {
        let is_other = |job: &&mut Job| !job.is_over && job.listed_state != listed_state;
        let Some(job) = self.jobs.get_mut(id).filter(is_other) else { return };
        let before = Listed::of(job);
        self.index.remove(job);
        job.listed_state = listed_state;
        self.index.add(job);
        self.listing.moved(&before, job);
        self.unsaved.add(job);
    }
}

#[cfg(test)]
mod tests;
