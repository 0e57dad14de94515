//! A discrete-event model of AWS Batch for SageMaker Training jobs, on virtual time.
//!
//! Time advances only in [`Scheduler::advance`], and all randomness comes from the seed. Equal setups, seeds and
//! calls give equal histories on every machine.
//!
//! Invariants at every instant (`scheduler/random_histories.rs`): no dispatch exceeds capacity; borrowed capacity is lent
//! by some share; the idle capacity of a RESERVE share goes to no other share; preemption takes only from shares
//! above their limits, or from lower priorities of the same share, and no more than needed; within a share, jobs of
//! equal priority start in submission order; attempts do not exceed the allowed number; the spans of a job partition
//! its life. Recorded jobs are exempt: they happen as recorded.

mod bit_set;
mod borrowed_and_lent;
mod decision;
mod event_queue;
mod external_changes;
mod fair_share_policy;
mod interner;
mod job;
mod job_entry;
mod jobs_by_id;
mod lifecycle;
mod policy;
mod pool;
mod preemption;
mod queue_state;
mod quota;
mod quota_policy;
#[cfg(test)]
mod random_histories;
mod resume;
mod rng;
mod setup;
mod share_state;
mod submission;
#[cfg(test)]
mod tests;
mod transition_log;
mod wait_reason;

use std::ops::Bound;
use std::ops::Range;
use std::ops::RangeBounds;

pub use borrowed_and_lent::Usage;
pub use job::{Attempt, Job, Phase, Span};
pub use lifecycle::ATTEMPT_TIMED_OUT;
pub use setup::{AfterRequeue, Blocked, Delays, DisabledQueue, Outage, QueueSetup, Quirks, Refusal, Setup, TimeLimit};
pub use submission::{ExitAction, ExitRule, Plan, PlannedAttempt, PlannedOutcome, RetryStrategy, Submission, Terms};
pub use transition_log::{Transition, TransitionKind};
pub use wait_reason::WaitReason;

use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::QueueName;
use crate::model::ServiceEnvironment;
use crate::model::Timestamp;
use crate::scheduler::event_queue::Arrival;
use crate::scheduler::event_queue::Event;
use crate::scheduler::event_queue::EventQueue;
use crate::scheduler::interner::Interner;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::jobs_by_id::Ids;
use crate::scheduler::pool::Pool;
use crate::scheduler::queue_state::QueueState;
use crate::scheduler::rng::Rng;
use crate::scheduler::transition_log::Transitions;

/// The model: queues, jobs and planned events.
#[derive(Clone, Debug)]
pub struct Scheduler {
    now: Timestamp,
    seed: Rng,
    delays: Delays,
    quirks: Quirks,
    outages: Vec<Outage>,
    pools: Vec<Pool>,
    queues: Vec<QueueState>,
    jobs: Vec<Entry>,
    by_id: Ids,
    interner: Interner,
    event_queue: EventQueue,
    tickets: u64,
    transitions: Transitions,
}

impl Scheduler {
    /// Creates a scheduler without jobs at `now`. Of several queues with the same name and different kinds of policy,
    /// the first is created.
    pub fn new(setup: Setup, seed: u64, now: Timestamp) -> Self {
        let mut scheduler = Self {
            now,
            seed: Rng(seed),
            delays: setup.delays,
            quirks: setup.quirks,
            outages: setup.outages,
            pools: Vec::new(),
            queues: Vec::new(),
            jobs: Vec::new(),
            by_id: Ids::default(),
            interner: Interner::default(),
            event_queue: EventQueue::default(),
            tickets: 0,
            transitions: Transitions::default(),
        };
        setup.environments.into_iter().for_each(|environment| scheduler.put_environment(environment));
        for queue in setup.queues {
            // The only documented error is a different kind of policy.
            scheduler.put_queue(queue).ok();
        }
        scheduler
    }

    /// Time up to which all events have happened.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Submits a job and returns its id. The job exists from `submission.at` on; at once if that is not in the
    /// future. Consequences of its arrival, such as its dispatch, follow in [`Self::advance`]. It never arrives if
    /// its queue or share is removed or disabled before then.
    ///
    /// # Errors
    /// The queue or share does not exist or accepts no jobs.
    pub fn submit(&mut self, submission: Submission) -> Result<JobId, Refusal> {
        let Some(queue) = self.index_of(&submission.queue) else {
            return Err(Refusal::UnknownQueue(submission.queue));
        };
        self.queues[queue].accepts(submission.share.as_ref(), self.now)?;
        let (ticket, at) = (self.tickets, submission.at);
        self.tickets += 1;
        let arrival = Arrival { ticket, queue, submission };
        if at > self.now {
            self.event_queue.plan(at, Event::Arrival(Box::new(arrival)));
        } else {
            self.arrive(arrival);
        }
        Ok(self.seed.job_id(ticket))
    }

    /// Processes all events due up to and including `to`. Does nothing if `to` is in the past.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some((at, _)) = self.event_queue.peek().filter(|(at, _)| *at <= to) {
            self.process_due(at);
            self.serve();
        }
        self.now = self.now.max(to);
        self.drop_void();
    }

    /// Time of the next event; `None` if there is none.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.event_queue.peek().map(|(at, _)| at.max(self.now))
    }

    /// A job that has arrived.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.by_id.get(id).map(|job| &self.jobs[job].job)
    }

    /// All jobs that have arrived, in creation order, which is the order of [`Job::number`].
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.iter().map(|entry| &entry.job)
    }

    /// The jobs of a queue in a status, in creation order.
    pub fn jobs_in(&self, queue: &QueueName, status: &JobStatus) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs_in_range(queue, status, ..)
    }

    /// As [`Self::jobs_in`], for jobs whose number is in `numbers`: a page starts after the last number of the
    /// previous one.
    pub fn jobs_in_range(
        &self,
        queue: &QueueName,
        status: &JobStatus,
        numbers: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = &Job> {
        let numbers = half_open(&numbers);
        let numbers = self
            .queue_state(queue)
            .into_iter()
            .flat_map(move |queue_state| queue_state.in_status(status, numbers.clone()));
        numbers.map(|number| &self.jobs[number].job)
    }

    /// Number of a queue's jobs in a status, in constant time.
    pub fn count(&self, queue: &QueueName, status: &JobStatus) -> usize {
        self.queue_state(queue).map_or(0, |queue_state| queue_state.count(status))
    }

    /// The jobs of a queue in any status whose number is in `numbers`, in creation order, which is also that of
    /// `created_at`.
    pub fn jobs_of(
        &self,
        queue: &QueueName,
        numbers: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = &Job> {
        let numbers = self.queue_state(queue).map(|queue_state| queue_state.all(half_open(&numbers)));
        numbers.into_iter().flatten().map(|number| &self.jobs[*number].job)
    }

    /// The queues as set up.
    pub fn queues(&self) -> impl Iterator<Item = &QueueSetup> {
        self.queues.iter().filter(|queue_state| !queue_state.removed).map(|queue_state| &queue_state.setup)
    }

    /// A queue as set up.
    pub fn queue(&self, name: &QueueName) -> Option<&QueueSetup> {
        self.queue_state(name).map(|queue_state| &queue_state.setup)
    }

    /// The service environments as set up.
    pub fn environments(&self) -> impl Iterator<Item = &ServiceEnvironment> {
        self.pools.iter().filter(|pool| pool.exists).map(|pool| &pool.environment)
    }

    /// A service environment as set up.
    pub fn environment(&self, name: &str) -> Option<&ServiceEnvironment> {
        self.environments().find(|environment| environment.name == name)
    }

    /// Use of each unit by each share of a queue, in the order of the shares' creation; empty for an unknown queue.
    pub fn usage(&self, queue: &QueueName) -> Vec<Usage> {
        self.queue_state(queue)
            .map(|queue_state| borrowed_and_lent::of(queue_state, &self.pools[queue_state.pool]))
            .unwrap_or_default()
    }

    /// The first `n` RUNNABLE jobs of a queue in dispatch order: within a share by priority and number; between
    /// shares the oldest head first, or for fair share the share with the least usage.
    pub fn front(&self, queue: &QueueName, n: usize) -> Vec<&Job> {
        let numbers =
            self.queue_state(queue).map(|queue_state| queue_state.front(n, &self.jobs, self.now)).unwrap_or_default();
        numbers.into_iter().map(|number| &self.jobs[number].job).collect()
    }

    fn index_of(&self, queue: &QueueName) -> Option<usize> {
        self.queues.iter().position(|queue_state| !queue_state.removed && queue_state.setup.name == *queue)
    }

    fn queue_state(&self, queue: &QueueName) -> Option<&QueueState> {
        self.index_of(queue).map(|queue| &self.queues[queue])
    }
}

/// Any range as `from..to`; empty if its bounds are reversed.
fn half_open(range: &impl RangeBounds<usize>) -> Range<usize> {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => usize::MAX,
    };
    from.min(to)..to
}
