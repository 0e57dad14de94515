//! What is going to happen, in the order in which it will: by time, then by when it was planned.

use std::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::Timestamp;
use crate::scheduler::Submission;

/// Something planned.
#[derive(Debug)]
pub enum Event {
    /// A submission arrives.
    Arrival(Box<Arrival>),
    /// A job moves on, unless its timer was set anew since.
    Timer {
        /// The job's number.
        job: usize,
        /// The setting of its timer that this belongs to.
        setting: u32,
    },
}

/// A submission on its way.
#[derive(Debug)]
pub struct Arrival {
    /// Its place in the order of calls to `submit`: what its chances are drawn by.
    pub ticket: u64,
    /// The index of its queue.
    pub queue: usize,
    /// The job to be.
    pub submission: Submission,
}

/// The planned events.
#[derive(Debug, Default)]
pub struct Agenda {
    heap: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned {
    at: Timestamp,
    order: u64,
    event: Event,
}

impl Agenda {
    /// Plans an event.
    pub fn plan(&mut self, at: Timestamp, event: Event) {
        self.heap.push(Reverse(Planned { at, order: self.planned, event }));
        self.planned += 1;
    }

    /// The next event and its time.
    pub fn peek(&self) -> Option<(Timestamp, &Event)> {
        self.heap.peek().map(|Reverse(planned)| (planned.at, &planned.event))
    }

    /// Takes the next event if it is due at `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<Event> {
        self.peek().filter(|(at, _)| *at <= now)?;
        self.heap.pop().map(|Reverse(planned)| planned.event)
    }

    /// Drops the next event, whenever it is due.
    pub fn drop_next(&mut self) {
        self.heap.pop();
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}
