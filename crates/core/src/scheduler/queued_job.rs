//! A job together with what only the scheduler knows of it.

use std::cmp::Reverse;

use crate::model::Timestamp;
use crate::scheduler::Blocked;
use crate::scheduler::Job;
use crate::scheduler::Plan;
use crate::scheduler::pool::Amounts;

/// Where a job stands in its lane: the higher priority first, then the older.
pub type Place = (Reverse<i32>, usize);

/// What is lost least by stopping a job, first: the lower priority, then the later dispatched.
pub type Stake = (i32, Reverse<Option<Timestamp>>, Reverse<usize>);

/// One job in the scheduler's books.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The job.
    pub job: Job,
    /// Its place in the order of submissions, which its chances are drawn by.
    pub ticket: u64,
    /// The index of its queue.
    pub queue: usize,
    /// Its place among all jobs of that queue.
    pub member: usize,
    /// The index of its lane in that queue.
    pub share_state: usize,
    /// What it holds while in flight; `None` if its environment does not have it.
    pub need: Option<Amounts>,
    /// Its fate.
    pub plan: Plan,
    /// Since when it has had its status.
    pub status_since: Timestamp,
    /// The latest setting of its timer; events of older ones are void.
    pub timer: u32,
    /// Why preemption is stopping it, if it is.
    pub stopping: Option<Preemption>,
    /// Whether it found no instances a moment ago, and does not ask again yet.
    pub held: bool,
    /// What blocks it, if AWS has a code for that.
    pub blocked: Option<Blocked>,
    /// Since when a time limit has watched it at the head of its lane, blocked as it is.
    pub watched: Option<Timestamp>,
}

/// Why a job is stopped that did nothing wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preemption {
    /// Its share gives back what it borrowed.
    CrossShare,
    /// A job of its own share goes first.
    InShare,
}

impl Preemption {
    /// What the stopped attempt says. AWS documents only the first of the two.
    pub fn of_attempt(self) -> &'static str {
        match self {
            Self::CrossShare => "Cross-share preemption triggered to reclaim borrowed capacity",
            Self::InShare => "In-share preemption triggered by a job of higher priority",
        }
    }

    /// What the job says while and after it is stopped.
    pub fn of_job(self) -> &'static str {
        match self {
            Self::CrossShare => "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity",
            Self::InShare => "PREEMPTION_IN_PROGRESS: In-share preemption triggered by a job of higher priority",
        }
    }
}

impl Entry {
    /// Where it stands in its lane.
    pub fn place(&self) -> Place {
        (Reverse(self.job.priority), self.job.number)
    }

    /// Where it stands among those that might be stopped, while it is in flight.
    pub fn stake(&self) -> Stake {
        (self.job.priority, Reverse(self.job.scheduled_at), Reverse(self.job.number))
    }

    /// Whether what it needs can be taken from `room`.
    pub fn fits(&self, room: &Amounts) -> bool {
        self.need.as_ref().is_some_and(|need| need.fits(room))
    }

    /// Whether what it needs can be taken beside what is `used` of a limit.
    pub fn fits_beside(&self, used: &Amounts, limit: &Amounts) -> bool {
        self.need.as_ref().is_some_and(|need| need.fits_beside(used, limit))
    }

    /// Whether its capacity can be taken back.
    pub fn preemptible(&self) -> bool {
        self.stopping.is_none() && !self.plan.is_recorded()
    }
}
