//! Jobs that were dispatched before the scheduler began: how it goes on from a world that runs already.

use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::Timestamp;
use crate::scheduler::Job;
use crate::scheduler::Refusal;
use crate::scheduler::Scheduler;
use crate::scheduler::Submission;
use crate::scheduler::event_queue::Arrival;

impl Scheduler {
    /// Takes in a job that has held its capacity since `dispatched_at`, whether or not it would have been dispatched here. Its plan
    /// counts from then on. Jobs are taken in oldest dispatch first, and before any job that waits.
    ///
    /// # Errors
    /// If the queue or the share does not exist or takes no jobs.
    pub fn resume(&mut self, submission: Submission, dispatched_at: Timestamp) -> Result<JobId, Refusal> {
        let Some(queue) = self.index_of(&submission.queue) else {
            return Err(Refusal::UnknownQueue(submission.queue));
        };
        self.queues[queue].accepts(submission.share.as_ref(), self.now)?;
        let (number, ticket) = (self.jobs.len(), self.tickets);
        self.tickets += 1;
        let now = self.now;
        self.now = dispatched_at.min(now);
        self.arrive(Arrival { ticket, queue, submission });
        if self.jobs.len() > number {
            self.change(number, |job, _| job.status = JobStatus::Runnable);
            self.dispatch(number);
            self.change(number, Job::starting);
            self.run(number);
        }
        self.now = now;
        Ok(self.seed.job_id(ticket))
    }
}
