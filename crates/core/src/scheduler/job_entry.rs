//! A job with the scheduler's private state.

use std::cmp::Reverse;

use crate::model::Timestamp;
use crate::scheduler::Blocked;
use crate::scheduler::Job;
use crate::scheduler::Plan;
use crate::scheduler::pool::Amounts;

/// Sort key within a share: higher priority first, then older.
pub type DispatchKey = (Reverse<i32>, usize);

/// Sort key for preemption: lower priority first, then later dispatch, which loses the least work.
pub type Stake = (i32, Reverse<Option<Timestamp>>, Reverse<usize>);

/// One job of the scheduler.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The job.
    pub job: Job,
    /// Its number among submissions: input of its random draws.
    pub ticket: u64,
    /// Index of its queue.
    pub queue: usize,
    /// Its position among all jobs of that queue.
    pub member: usize,
    /// Index of its share in that queue.
    pub share_state: usize,
    /// Capacity that it holds while in flight; `None` if its environment does not have the type.
    pub need: Option<Amounts>,
    /// Its planned course.
    pub plan: Plan,
    /// When its status last changed.
    pub status_since: Timestamp,
    /// Latest setting of its timer; events of older settings are void.
    pub timer: u32,
    /// Why it is being preempted, if it is.
    pub stopping: Option<Preemption>,
    /// Whether it found no instances recently and waits to retry.
    pub held: bool,
    /// What blocks it, if AWS has a code for it.
    pub blocked: Option<Blocked>,
    /// Since when a time limit has watched it, blocked at the head of its share.
    pub watched: Option<Timestamp>,
}

/// Kind of a preemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preemption {
    /// Its share returns borrowed capacity.
    CrossShare,
    /// A job of its own share takes its place.
    InShare,
}

impl Preemption {
    /// Status reason of the preempted attempt. AWS documents only the first of the two.
    pub fn of_attempt(self) -> &'static str {
        match self {
            Self::CrossShare => "Cross-share preemption triggered to reclaim borrowed capacity",
            Self::InShare => "In-share preemption triggered by a job of higher priority",
        }
    }

    /// Status reason of the job during and after preemption.
    pub fn of_job(self) -> &'static str {
        match self {
            Self::CrossShare => "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity",
            Self::InShare => "PREEMPTION_IN_PROGRESS: In-share preemption triggered by a job of higher priority",
        }
    }
}

impl Entry {
    /// Sort key within its share.
    pub fn dispatch_key(&self) -> DispatchKey {
        (Reverse(self.job.priority), self.job.number)
    }

    /// Sort key for preemption while in flight.
    pub fn stake(&self) -> Stake {
        (self.job.priority, Reverse(self.job.scheduled_at), Reverse(self.job.number))
    }

    /// Whether its need fits into `room`.
    pub fn fits(&self, room: &Amounts) -> bool {
        self.need.as_ref().is_some_and(|need| need.fits(room))
    }

    /// Whether its need fits beside `used` into a limit.
    pub fn fits_beside(&self, used: &Amounts, limit: &Amounts) -> bool {
        self.need.as_ref().is_some_and(|need| need.fits_beside(used, limit))
    }

    /// Whether it can be preempted.
    pub fn preemptible(&self) -> bool {
        self.stopping.is_none() && !self.plan.is_recorded()
    }
}
