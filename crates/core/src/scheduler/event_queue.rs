//! Planned events, ordered by time, then by when they were planned.

use std::cmp::Ordering;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::VecDeque;

use crate::model::Timestamp;
use crate::scheduler::Submission;

/// A planned event.
#[derive(Clone, Debug)]
pub enum Event {
    /// A submission arrives.
    Arrival(Box<Arrival>),
    /// A job's next state change, void if its timer was set again.
    Timer {
        /// Number of the job.
        job: usize,
        /// The timer setting that the event belongs to.
        setting: u32,
    },
    /// A time limit expires for a job at the head of its share; void if the job has moved since.
    Limit {
        /// Number of the job.
        job: usize,
        /// When watching it began.
        since: Timestamp,
    },
}

/// A submission that has not arrived yet.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its number among calls to `submit`: input of its random draws.
    pub ticket: u64,
    /// Index of its queue.
    pub queue: usize,
    /// The job to create.
    pub submission: Submission,
}

/// The planned events. Events planned in time order, as submissions usually are, are kept in a separate FIFO, which
/// is cheaper than a heap.
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

    /// Removes the next event if it is due at `now`.
    pub fn pop(&mut self, now: Timestamp) -> Option<Event> {
        self.peek().filter(|(at, _)| *at <= now)?;
        self.take_next()
    }

    /// Removes the next event, whether due or not.
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
