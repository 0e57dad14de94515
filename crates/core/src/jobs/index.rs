//! Indexes of jobs: by share, by age, and by urgency of a description.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::jobs::poll_plan::Urgency;
use crate::jobs::sorted_indexes::{AgeKey, age_key_of};
use crate::jobs::{Class, CompactSet, Job, ShareJobs};
use crate::model::{Demand, JobDetails, JobId, JobSeen, JobStatus, QueueName, ShareName};

/// A waiting job joined or left a class.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its share.
    pub share: Option<ShareName>,
    /// The class.
    pub class: Class,
    /// Whether it joined.
    pub came: bool,
}

/// Number of descriptions that are kept even if no job has them.
const DETAILS_KEPT: usize = 1_000;

type Shares = BTreeMap<Option<ShareName>, ShareJobs>;

/// Invariant: an open job is in each part exactly once, as it was when last added.
#[derive(Debug, Default)]
pub(super) struct Index {
    shares: BTreeMap<QueueName, Shares>,
    /// Jobs to describe because of their own state, by age; coverage of lists is handled elsewhere.
    wanted: BTreeMap<Urgency, CompactSet<AgeKey>>,
    ended: BTreeMap<QueueName, BTreeMap<JobStatus, usize>>,
    demands: BTreeSet<Demand>,
    /// Descriptions of jobs that have not run: those of one owner and priority are mostly equal.
    details: BTreeSet<Arc<JobDetails>>,
    /// Number of descriptions at which those that no job has any more are dropped.
    tidy_at: usize,
    moves: Vec<Move>,
}

impl Index {
    /// Adds a job in its current state.
    pub(super) fn add(&mut self, job: &Job) {
        let latest = &job.latest;
        let is_over = job.timeline.current().is_none();
        if job.status().is_ended() {
            *self.ended.entry(latest.queue.clone()).or_default().entry(job.status().clone()).or_default() += 1;
        }
        if is_over {
            return;
        }
        if let Some(urgency) = Urgency::of(job) {
            self.wanted.entry(urgency).or_default().insert(age_key_of(job));
        }
        if job.has_left() {
            return;
        }
        self.record_move(job, true);
        let shares = match self.shares.get_mut(&latest.queue) {
            Some(shares) => shares,
            None => self.shares.entry(latest.queue.clone()).or_default(),
        };
        match shares.get_mut(&latest.share) {
            Some(share_jobs) => share_jobs.add(job),
            None => shares.entry(latest.share.clone()).or_default().add(job),
        }
    }

    /// Removes an open job that has not changed since it was added.
    pub(super) fn remove(&mut self, job: &Job) {
        let latest = &job.latest;
        if let Some(wanted) = Urgency::of(job).and_then(|urgency| self.wanted.get_mut(&urgency)) {
            wanted.remove(&age_key_of(job));
        }
        if job.has_left() {
            if job.status().is_ended() {
                self.forget(job);
            }
            // Whatever follows of it, it comes from where it was.
            self.record_move(job, true);
            return self.record_move(job, false);
        }
        self.record_move(job, false);
        let Some(shares) = self.shares.get_mut(&latest.queue) else { return };
        let Some(share_jobs) = shares.get_mut(&latest.share) else { return };
        share_jobs.remove(job);
        if share_jobs.is_empty() {
            shares.remove(&latest.share);
        }
    }

    /// Removes an ended job that is no longer kept in full.
    pub(super) fn forget(&mut self, job: &Job) {
        let of_queue = self.ended.get_mut(job.queue());
        if let Some(count) = of_queue.and_then(|of_queue| of_queue.get_mut(job.status())) {
            *count = count.saturating_sub(1);
        }
    }

    /// Interns names and demands.
    pub(super) fn intern(&mut self, seen: &mut JobSeen) {
        if let Some((queue, shares)) = self.shares.get_key_value(&seen.queue) {
            seen.queue = queue.clone();
            if let Some((share, _)) = shares.get_key_value(&seen.share) {
                seen.share.clone_from(share);
            }
        }
        match self.demands.get(&seen.demand) {
            Some(demand) => seen.demand.clone_from(demand),
            None => drop(self.demands.insert(seen.demand.clone())),
        }
    }

    /// Makes a job share its description with others, if it equals theirs.
    pub(super) fn share_details(&mut self, job: &mut Job) {
        let Some(details) = &mut job.details else { return };
        // An attempt has its own times.
        if !details.attempts.is_empty() || !details.preempted.is_empty() {
            return;
        }
        if let Some(known) = self.details.get(details) {
            return details.clone_from(known);
        }
        if self.details.len() >= self.tidy_at {
            self.details.retain(|known| Arc::strong_count(known) > 1);
            self.tidy_at = (self.details.len() * 2).max(DETAILS_KEPT);
        }
        self.details.insert(Arc::clone(details));
    }

    /// Number of different descriptions that are kept to be shared.
    #[cfg(test)]
    pub(super) fn kept_details(&self) -> usize {
        self.details.len()
    }

    pub(super) fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    /// Jobs to describe with this urgency, by age.
    pub(super) fn wanted(&self, urgency: Urgency) -> impl Iterator<Item = &AgeKey> {
        self.wanted.get(&urgency).into_iter().flatten()
    }

    pub(super) fn shares(&self) -> impl Iterator<Item = (&QueueName, Option<&ShareName>, &ShareJobs)> {
        self.shares.iter().flat_map(|(queue, shares)| {
            shares.iter().map(move |(share, share_jobs)| (queue, share.as_ref(), share_jobs))
        })
    }

    pub(super) fn shares_of<'a>(
        &'a self,
        queue: &QueueName,
    ) -> impl Iterator<Item = (Option<&'a ShareName>, &'a ShareJobs)> + use<'a> {
        self.shares.get(queue).into_iter().flatten().map(|(share, share_jobs)| (share.as_ref(), share_jobs))
    }

    pub(super) fn share_jobs(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<&ShareJobs> {
        self.shares.get(queue)?.get(&share.cloned())
    }

    pub(super) fn ended_counts<'a>(
        &'a self,
        queue: &QueueName,
    ) -> impl Iterator<Item = (&'a JobStatus, usize)> + use<'a> {
        self.ended.get(queue).into_iter().flatten().map(|(status, count)| (status, *count))
    }

    fn record_move(&mut self, job: &Job, came: bool) {
        if job.status().is_waiting() {
            let (queue, share) = (job.queue().clone(), job.share().cloned());
            self.moves.push(Move { id: job.latest.id.clone(), queue, share, class: Class::of(job), came });
        }
    }
}
