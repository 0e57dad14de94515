//! The jobs of one share: the waiting ones in order, and the capacity held by those in flight.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::ShareName;
use crate::model::Timestamp;
use crate::scheduler::job_entry::DispatchKey;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::job_entry::Stake;
use crate::scheduler::pool::Amounts;

/// Recent mean usage of a share.
#[derive(Clone, Copy, Debug, Default)]
pub struct PastUse {
    /// Mean instances, as of `at`.
    pub mean: f64,
    /// Time of `mean`.
    pub at: Timestamp,
    /// When it last had an open job.
    pub active_at: Option<Timestamp>,
}

/// The jobs of one share.
#[derive(Clone, Debug, Default)]
pub struct ShareState {
    /// The share; `None` in a FIFO queue.
    pub share: Option<ShareName>,
    /// Jobs that hold capacity, cheapest to lose first.
    pub in_flight: BTreeSet<Stake>,
    /// Capacity that they hold.
    pub used: Amounts,
    /// Part of it that preemption is freeing.
    pub stopping: Amounts,
    /// The waiting job for which others of this share were preempted.
    pub promised: Option<usize>,
    /// Number of jobs that have not ended.
    pub open: usize,
    /// Past usage, for fair share.
    pub past: PastUse,
    waiting: BTreeSet<DispatchKey>,
    head: Option<DispatchKey>,
}

impl ShareState {
    /// An empty share.
    pub fn new(share: Option<ShareName>) -> Self {
        Self { share, ..Self::default() }
    }

    /// The job that is dispatched next.
    pub fn head(&self) -> Option<usize> {
        self.head.map(|(_, job)| job)
    }

    /// RUNNABLE jobs in dispatch order.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().map(|(_, job)| *job)
    }

    /// Adds a waiting job.
    pub fn enqueue(&mut self, key: DispatchKey) {
        self.waiting.insert(key);
        self.head = Some(self.head.map_or(key, |head| head.min(key)));
    }

    /// Removes a waiting job. False if it was not waiting.
    pub fn dequeue(&mut self, key: DispatchKey) -> bool {
        let waited = self.waiting.remove(&key);
        if self.head == Some(key) {
            self.head = self.waiting.first().copied();
        }
        if waited && self.promised == Some(key.1) {
            self.promised = None;
        }
        waited
    }

    /// Counts a job's capacity as used.
    pub fn take(&mut self, entry: &Entry) {
        self.in_flight.insert(entry.stake());
        self.used = self.used.plus(entry.need.unwrap_or_default());
    }

    /// Returns a job's capacity. False if it held none.
    pub fn give_back(&mut self, entry: &Entry) -> bool {
        let held = self.in_flight.remove(&entry.stake());
        if held {
            let need = entry.need.unwrap_or_default();
            self.used = self.used.minus(need);
            if entry.stopping.is_some() {
                self.stopping = self.stopping.minus(need);
            }
        }
        held
    }

    /// Adds up the jobs in flight again, after a change of units.
    pub fn recount(&mut self, jobs: &[Entry]) {
        self.used = Amounts::ZERO;
        self.stopping = Amounts::ZERO;
        for (.., Reverse(job)) in &self.in_flight {
            let need = jobs[*job].need.unwrap_or_default();
            self.used = self.used.plus(need);
            if jobs[*job].stopping.is_some() {
                self.stopping = self.stopping.plus(need);
            }
        }
    }
}
