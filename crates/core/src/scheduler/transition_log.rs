//! Job transitions in order, for consumers that compute figures: recorded only on request, until taken.

use crate::model::JobStatus;
use crate::model::Timestamp;
use crate::scheduler::Job;
use crate::scheduler::Scheduler;

/// A state change of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Time.
    pub at: Timestamp,
    /// Number of the job.
    pub job: usize,
    /// Kind of change.
    pub kind: TransitionKind,
}

/// Kind of a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransitionKind {
    /// It was submitted.
    Submitted,
    /// It changed its status.
    Moved {
        /// Previous status.
        from: JobStatus,
        /// When the previous status began.
        since: Timestamp,
        /// New status.
        to: JobStatus,
    },
    /// An attempt failed, and another one follows.
    Retried,
    /// An attempt was preempted.
    Preempted,
    /// It was ended by something other than its plan.
    Terminated,
}

/// Transitions since they were last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Transitions {
    kept: Vec<Transition>,
    /// Earlier ones are not recorded; `None` records nothing.
    from: Option<Timestamp>,
}

impl Scheduler {
    /// Records transitions from this time on; earlier ones that were not taken are dropped.
    pub fn keep_transitions(&mut self, from: Timestamp) {
        self.transitions.from = Some(from);
        self.transitions.kept.retain(|transition| transition.at >= from);
    }

    /// Returns the transitions since the last call, in order.
    pub fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions.kept)
    }

    /// A job by number.
    pub fn job_number(&self, number: usize) -> Option<&Job> {
        self.jobs.get(number).map(|entry| &entry.job)
    }

    pub(super) fn happened(&mut self, job: usize, kind: TransitionKind) {
        if self.transitions.from.is_some_and(|from| self.now >= from) {
            self.transitions.kept.push(Transition { at: self.now, job, kind });
        }
    }
}
