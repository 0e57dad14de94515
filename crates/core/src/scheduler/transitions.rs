//! What happened to jobs, in order, for whoever makes figures of it: kept only if asked for, and only until it is taken.

use crate::model::JobStatus;
use crate::model::Timestamp;
use crate::scheduler::Job;
use crate::scheduler::Scheduler;

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// The job's number.
    pub job: usize,
    /// What.
    pub kind: TransitionKind,
}

/// What can happen to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransitionKind {
    /// It was submitted.
    Submitted,
    /// It went from one status to another.
    Moved {
        /// The status before.
        from: JobStatus,
        /// Since when it had that.
        since: Timestamp,
        /// The status now.
        to: JobStatus,
    },
    /// An attempt failed, and another follows.
    Retried,
    /// Preemption stopped an attempt.
    Preempted,
    /// Someone or something else than its own fate ended it.
    Terminated,
}

/// The transitions since they were last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Transitions {
    kept: Vec<Transition>,
    /// Earlier ones are not kept; `None` keeps none at all.
    from: Option<Timestamp>,
}

impl Scheduler {
    /// Keeps transitions from this moment on; earlier ones that have not been taken are dropped.
    pub fn keep_transitions(&mut self, from: Timestamp) {
        self.transitions.from = Some(from);
        self.transitions.kept.retain(|transition| transition.at >= from);
    }

    /// What has happened since this was last asked, in order.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions.kept)
    }

    /// A job by its number.
    pub fn job_number(&self, number: usize) -> Option<&Job> {
        self.jobs.get(number).map(|entry| &entry.job)
    }

    pub(super) fn happened(&mut self, job: usize, kind: TransitionKind) {
        if self.transitions.from.is_some_and(|from| self.now >= from) {
            self.transitions.kept.push(Transition { at: self.now, job, kind });
        }
    }
}
