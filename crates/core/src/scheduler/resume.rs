//! Starts the scheduler from a running system: jobs that were dispatched earlier.

use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::Timestamp;
use crate::scheduler::Job;
use crate::scheduler::Refusal;
use crate::scheduler::Scheduler;
use crate::scheduler::Submission;
use crate::scheduler::event_queue::Arrival;

impl Scheduler {
    /// Adds a job that has held its capacity since `dispatched_at`, whether or not this scheduler would have
    /// dispatched it. Its plan counts from then on. Add these jobs oldest dispatch first, and before any waiting job.
    ///
    /// # Errors
    /// The queue or share does not exist or accepts no jobs.
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
