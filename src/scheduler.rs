//! A discrete-event model of AWS Batch for SageMaker Training jobs, on virtual time.
//!
//! Time moves only in [`Scheduler::advance`]; chance comes only from the seed. Equal setups, seeds and calls give
//! equal histories on every machine.
//!
//! What holds at every instant (`scheduler/laws.rs`): capacity is never exceeded; what is borrowed is lent by someone;
//! a RESERVE share's capacity is used by no other; a preemption takes from borrowers only, and no more than is needed;
//! within a share, equals start in the order they came; the spans of a job partition its life. Recorded jobs are
//! outside all this: they happen as they happened.

mod job;
mod seeded;
mod setup;

use std::ops::RangeBounds;

pub use job::{Job, Phase, Span};
pub use setup::{AfterRequeue, Delays, Plan, PlannedOutcome, QueueSetup, Quirks, Refusal, Setup, Submission};

use crate::model::{InstanceType, JobId, JobStatus, QueueName, ShareName, Timestamp};

/// The model: queues, jobs, and what is going to happen.
#[derive(Debug)]
pub struct Scheduler {
    now: Timestamp,
}

/// What one share of a queue uses of one capacity unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The share; `None` is the whole of a FIFO queue.
    pub share: Option<ShareName>,
    /// An instance type, or `NUM_INSTANCES`.
    pub unit: InstanceType,
    /// Its own limit in instances; `None` where shares have none (fair share).
    pub quota: Option<u64>,
    /// Instances held by jobs in flight.
    pub used: u64,
    /// Of those, above the quota. Over a queue and unit, borrowed sums to lent.
    pub borrowed: u64,
    /// Of the quota, in use by others.
    pub lent: u64,
}

impl Scheduler {
    /// A scheduler without jobs, at `now`.
    pub fn new(setup: Setup, seed: u64, now: Timestamp) -> Self {
        Self { now }
    }

    /// Up to when everything has happened.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Submits a job and tells its id. The job exists from `submission.at` on, or from now if that is past.
    ///
    /// # Errors
    /// If the queue or the share does not exist or takes no jobs.
    pub fn submit(&mut self, submission: Submission) -> Result<JobId, Refusal> {
        Err(Refusal::MissingShare)
    }

    /// Lets everything happen that is due up to and including `to`. Going back does nothing.
    pub fn advance(&mut self, to: Timestamp) {
        self.now = self.now.max(to);
    }

    /// When something happens next; `None` if nothing ever will.
    pub fn next_event(&self) -> Option<Timestamp> {
        None
    }

    /// Ends a job now: FAILED, with `reason`. False if there is no such job or it has ended.
    pub fn terminate(&mut self, id: &JobId, reason: &str) -> bool {
        false
    }

    /// A job that exists by now.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        None
    }

    /// All jobs that exist by now, in the order of creation, which is that of [`Job::number`].
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        std::iter::empty()
    }

    /// The jobs of a queue in a status, in the order of creation.
    pub fn jobs_in(&self, queue: &QueueName, status: &JobStatus) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs_in_range(queue, status, ..)
    }

    /// The same, of jobs whose number lies in `numbers`: a page begins after the last number of the one before.
    pub fn jobs_in_range(
        &self,
        queue: &QueueName,
        status: &JobStatus,
        numbers: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = &Job> {
        std::iter::empty()
    }

    /// The jobs of a queue in whatever status whose number lies in `numbers`, in the order of creation, which is also
    /// that of `created_at`.
    pub fn jobs_of(
        &self,
        queue: &QueueName,
        numbers: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = &Job> {
        std::iter::empty()
    }

    /// The queues as set up.
    pub fn queues(&self) -> impl Iterator<Item = &QueueSetup> {
        std::iter::empty()
    }

    /// What each share of a queue uses of each unit, in the order of the setup; empty for an unknown queue.
    pub fn usage(&self, queue: &QueueName) -> Vec<Usage> {
        Vec::new()
    }

    /// The first `n` RUNNABLE jobs of a queue in dispatch order: by priority and number within a share, and between
    /// shares the one first whose head is the oldest.
    pub fn front(&self, queue: &QueueName, n: usize) -> Vec<&Job> {
        Vec::new()
    }
}
