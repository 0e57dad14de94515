//! A job together with what only the scheduler knows of it.

use crate::scheduler::Job;
use crate::scheduler::Plan;
use crate::scheduler::pool::Amounts;

/// One job in the scheduler's books.
#[derive(Debug)]
pub struct Entry {
    /// The job.
    pub job: Job,
    /// Its place in the order of submissions, which its chances are drawn by.
    pub ticket: u64,
    /// The index of its queue.
    pub queue: usize,
    /// The index of its lane in that queue.
    pub lane: usize,
    /// What it holds while in flight; `None` if its environment does not have it.
    pub need: Option<Amounts>,
    /// Its fate.
    pub plan: Plan,
    /// The latest setting of its timer; events of older ones are void.
    pub timer: u32,
    /// Whether preemption is stopping it.
    pub stopping: bool,
}

impl Entry {
    /// Whether what it needs can be taken from `room`.
    pub fn fits(&self, room: &Amounts) -> bool {
        self.need.as_ref().is_some_and(|need| need.fits(room))
    }

    /// Whether what it needs can be taken beside what is `used` of a limit.
    pub fn fits_beside(&self, used: &Amounts, limit: &Amounts) -> bool {
        self.need.as_ref().is_some_and(|need| need.fits_beside(used, limit))
    }

    /// Whether it follows a record instead of the queue.
    pub fn is_recorded(&self) -> bool {
        match self.plan {
            Plan::Recorded { .. } => true,
            Plan::Runs { .. } => false,
        }
    }

    /// Whether its capacity can be taken back.
    pub fn preemptible(&self) -> bool {
        !self.stopping && !self.is_recorded()
    }
}
