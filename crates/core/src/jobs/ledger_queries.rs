//! What others may ask of the ledger: jobs by state, queue and share, and how complete the knowledge is.

use crate::jobs::{CLOCKS_MAY_DIFFER, Job, Ledger, ShareJobs};
use crate::model::{JobId, QueueName, ShareName, Timestamp};

impl Ledger {
    /// A job by id.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// Whether a job has ended and no description of it is awaited.
    pub fn is_ended(&self, id: &JobId) -> bool {
        self.jobs.get(id).is_some_and(|job| job.is_over)
    }

    /// Every job kept in full, in any order.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// Every job that was dispatched and has not ended: those in flight, those back in the queue, and those in a
    /// status unknown to this build. Some may occur twice.
    pub fn dispatched(&self) -> impl Iterator<Item = &Job> {
        let ids = self.shares().flat_map(|(_, _, share_jobs)| share_jobs.in_flight().chain(share_jobs.unknown()));
        ids.chain(&self.with_past).filter_map(|id| self.job(id)).filter(|job| !job.has_left())
    }

    /// Every job whose current wait began before a time.
    pub fn waiting_since_before(&self, moment: Timestamp) -> impl Iterator<Item = &Job> {
        self.shares()
            .flat_map(move |(_, _, share_jobs)| share_jobs.waiting_since_before(moment))
            .filter_map(|id| self.job(id))
    }

    /// Every job that has not ended, by age.
    pub fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        let open = self.listing.open().filter_map(|(_, key)| self.jobs.by_key(key));
        open.chain(self.undescribed_ends.ids().filter_map(|id| self.job(id)).filter(|job| job.status().is_ended()))
    }

    /// Every job in flight, by queue, share and status.
    pub fn in_flight(&self) -> impl Iterator<Item = &Job> {
        self.shares().flat_map(|(_, _, share_jobs)| share_jobs.in_flight()).filter_map(|id| self.job(id))
    }

    /// Every job in flight of one queue.
    pub fn in_flight_of<'a>(&'a self, queue: &QueueName) -> impl Iterator<Item = &'a Job> + use<'a> {
        self.shares_of(queue).flat_map(|(_, share_jobs)| share_jobs.in_flight()).filter_map(|id| self.job(id))
    }

    /// Every share of every queue with open jobs, by queue and share.
    pub fn shares(&self) -> impl Iterator<Item = (&QueueName, Option<&ShareName>, &ShareJobs)> {
        self.index.shares()
    }

    /// Every share of one queue with open jobs.
    pub fn shares_of<'a>(
        &'a self,
        queue: &QueueName,
    ) -> impl Iterator<Item = (Option<&'a ShareName>, &'a ShareJobs)> + use<'a> {
        self.index.shares_of(queue)
    }

    /// The open jobs of one share of a queue; `None` if there are none.
    pub fn share_jobs(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<&ShareJobs> {
        self.index.share_jobs(queue, share)
    }

    /// Creation time of the oldest job that has not ended before `counted_until`; `None` if all have. Any job that
    /// ended since is among the jobs created since then.
    pub fn open_since(&self, counted_until: Timestamp) -> Option<Timestamp> {
        let open = self.listing.open().next().map(|(created_at, _)| created_at);
        let recent = self.ended.iter().rev().take_while(|(seen_at, _)| *seen_at > counted_until - CLOCKS_MAY_DIFFER);
        let recent = recent.filter_map(|(_, id)| self.job(id)).filter(|job| {
            job.timeline.spans().last().and_then(|span| span.to).is_some_and(|to| to.latest > counted_until)
        });
        recent.map(|job| job.latest.created_at).chain(open).chain(self.undescribed_ends.created_since()).min()
    }

    /// Ended jobs kept in full, oldest first.
    pub fn ended_jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.ended.iter().filter_map(|(_, id)| self.job(id))
    }

    /// Number of ended jobs kept in full.
    pub fn ended_count(&self) -> usize {
        self.ended.len()
    }

    /// Ended jobs kept in full whose end was seen after `since`, latest first.
    pub fn ended_since(&self, since: Timestamp) -> impl Iterator<Item = &Job> {
        let recent = self.ended.iter().rev().take_while(move |(seen_at, _)| *seen_at > since);
        recent.filter_map(|(_, id)| self.job(id))
    }

    /// Number of jobs kept in full.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job is kept in full.
    pub fn is_empty(&self) -> bool {
        self.jobs.len() == 0
    }

    /// How often a full listing of waiting jobs lacked a job that was assumed to wait.
    pub fn corrections(&self) -> u64 {
        self.corrections
    }

    /// Ended jobs that were reduced to their ids early because of [`crate::jobs::ENDED_KEPT`].
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }
}
