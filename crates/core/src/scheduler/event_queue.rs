//! What is going to happen, in the order in which it will: by time, then by when it was planned.

use std::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;

use crate::model::Timestamp;
use crate::scheduler::Submission;

/// Something planned.
#[derive(Clone, Debug)]
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
    /// A time limit runs out for a job at the head of its lane, unless it has moved since.
    Limit {
        /// The job's number.
        job: usize,
        /// Since when it has been watched.
        since: Timestamp,
    },
}

/// A submission on its way.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its place in the order of calls to `submit`: what its chances are drawn by.
    pub ticket: u64,
    /// The index of its queue.
    pub queue: usize,
    /// The job to be.
    pub submission: Submission,
}

/// The planned events. Those that are planned in the order of their times, as submissions usually are, are kept in a
/// line of their own, which is cheaper than a heap.
#[derive(Clone, Debug, Default)]
pub struct EventQueue {
    line: VecDeque<Planned>,
    heap: BinaryHeap<Reverse<Planned>>,
    planned: u64,
}

#[derive(Clone, Debug)]
struct Planned {
    at: Timestamp,
    order: u64,
    event: Event,
}

impl EventQueue {
    /// Plans an event.
    pub fn plan(&mut self, at: Timestamp, event: Event) {
        let planned = Planned { at, order: self.planned, event };
        self.planned += 1;
        let is_arrival = matches!(planned.event, Event::Arrival(_));
        if is_arrival && self.line.back().is_none_or(|last| last.at <= at) {
            self.line.push_back(planned);
        } else {
            self.heap.push(Reverse(planned));
        }
    }

    /// The next event and its time.
    pub fn peek(&self) -> Option<(Timestamp, &Event)> {
        let next = if self.line_is_next() { self.line.front() } else { self.heap.peek().map(|Reverse(next)| next) };
        next.map(|planned| (planned.at, &planned.event))
    }

    /// Takes the next event if it is due at `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<Event> {
        self.peek().filter(|(at, _)| *at <= now)?;
        self.take_next()
    }

    /// Takes the next event, whenever it is due.
    pub fn take_next(&mut self) -> Option<Event> {
        let next = if self.line_is_next() { self.line.pop_front() } else { self.heap.pop().map(|Reverse(next)| next) };
        next.map(|planned| planned.event)
    }

    fn line_is_next(&self) -> bool {
        match (self.line.front(), self.heap.peek()) {
            (Some(line), Some(Reverse(heap))) => line < heap,
            (Some(_), None) => true,
            (None, _) => false,
        }
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
