//! The jobs of one share: who waits, in which order, and what those in flight hold.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::ShareName;
use crate::model::Timestamp;
use crate::scheduler::pool::Amounts;
use crate::scheduler::queued_job::Entry;
use crate::scheduler::queued_job::Place;
use crate::scheduler::queued_job::Stake;

/// The recent mean use of a share.
#[derive(Clone, Copy, Debug, Default)]
pub struct PastUse {
    /// Instances, at `at`.
    pub mean: f64,
    /// When that was.
    pub at: Timestamp,
    /// When it last had a job that had not ended.
    pub active_at: Option<Timestamp>,
}

/// The jobs of one share.
#[derive(Clone, Debug, Default)]
pub struct ShareState {
    /// Whose; `None` in a FIFO queue.
    pub share: Option<ShareName>,
    /// Jobs that hold capacity, those first whose work is the cheapest to lose.
    pub in_flight: BTreeSet<Stake>,
    /// What those hold.
    pub used: Amounts,
    /// Of that, what preemption is about to free.
    pub stopping: Amounts,
    /// The waiting job that others of this lane were preempted for.
    pub promised: Option<usize>,
    /// Jobs that have not ended.
    pub open: usize,
    /// What fair share remembers.
    pub past: PastUse,
    waiting: BTreeSet<Place>,
    head: Option<Place>,
}

impl ShareState {
    /// An empty lane.
    pub fn new(share: Option<ShareName>) -> Self {
        Self { share, ..Self::default() }
    }

    /// The job that goes next.
    pub fn head(&self) -> Option<usize> {
        self.head.map(|(_, job)| job)
    }

    /// RUNNABLE jobs in dispatch order.
    pub fn waiting(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter().map(|(_, job)| *job)
    }

    /// A job waits for its turn.
    pub fn enqueue(&mut self, place: Place) {
        self.waiting.insert(place);
        self.head = Some(self.head.map_or(place, |head| head.min(place)));
    }

    /// A job does not wait any more. False if it did not.
    pub fn dequeue(&mut self, place: Place) -> bool {
        let waited = self.waiting.remove(&place);
        if self.head == Some(place) {
            self.head = self.waiting.first().copied();
        }
        if waited && self.promised == Some(place.1) {
            self.promised = None;
        }
        waited
    }

    /// A job takes its capacity.
    pub fn take(&mut self, entry: &Entry) {
        self.in_flight.insert(entry.stake());
        self.used = self.used.plus(entry.need.unwrap_or_default());
    }

    /// A job gives its capacity back. False if it had none.
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

    /// Adds up what is in flight, after a change of units.
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
