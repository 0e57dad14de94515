//! A discrete-event model of AWS Batch for SageMaker Training jobs, on virtual time.
//!
//! Time moves only in [`Scheduler::advance`]; chance comes only from the seed. Equal setups, seeds and calls give
//! equal histories on every machine.
//!
//! What holds at every instant (`scheduler/laws.rs`): no dispatch exceeds capacity; what is borrowed is lent by someone;
//! what a RESERVE share keeps is given to no other; a preemption takes from shares above their limits only, or from
//! lower priorities of the same share, and no more than is needed; within a share, equals start in the order they came;
//! attempts do not exceed what was allowed; the spans of a job partition its life. Recorded jobs are outside all this:
//! they happen as they happened.

mod bit_set;
mod changes;
mod decision;
mod event_queue;
mod fair;
mod ids;
mod interner;
#[cfg(test)]
mod invariants;
mod job;
mod lifecycle;
mod policy;
mod pool;
mod preemption;
mod queue_state;
mod queued_job;
mod quota;
mod quota_policy;
mod resume;
mod rng;
mod setup;
mod share_state;
mod submission;
#[cfg(test)]
mod tests;
mod transitions;
mod usage;
mod wait_reason;

use std::ops::Bound;
use std::ops::Range;
use std::ops::RangeBounds;

pub use job::{Attempt, Job, Phase, Span};
pub use lifecycle::ATTEMPT_TIMED_OUT;
pub use setup::{AfterRequeue, Blocked, Delays, DisabledQueue, Outage, QueueSetup, Quirks, Refusal, Setup, TimeLimit};
pub use submission::{ExitAction, ExitRule, Plan, PlannedAttempt, PlannedOutcome, RetryStrategy, Submission, Terms};
pub use transitions::{Transition, TransitionKind};
pub use usage::Usage;
pub use wait_reason::WaitReason;

use crate::model::JobId;
use crate::model::JobStatus;
use crate::model::QueueName;
use crate::model::ServiceEnvironment;
use crate::model::Timestamp;
use crate::scheduler::event_queue::Arrival;
use crate::scheduler::event_queue::Event;
use crate::scheduler::event_queue::EventQueue;
use crate::scheduler::ids::Ids;
use crate::scheduler::interner::Interner;
use crate::scheduler::pool::Pool;
use crate::scheduler::queue_state::QueueState;
use crate::scheduler::queued_job::Entry;
use crate::scheduler::rng::Rng;
use crate::scheduler::transitions::Transitions;

/// The model: queues, jobs, and what is going to happen.
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
    /// A scheduler without jobs, at `now`. Of several queues of one name and different policies the first is made.
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
            // As documented: the only refusal is another policy.
            scheduler.put_queue(queue).ok();
        }
        scheduler
    }

    /// Up to when everything has happened.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Submits a job and returns its id. The job exists from `submission.at` on; at once if that is not in the future.
    /// What follows from its arrival, its dispatch for example, follows in [`Self::advance`]. If its queue or share is
    /// removed or disabled before it arrives, it never does.
    ///
    /// # Errors
    /// If the queue or the share does not exist or takes no jobs.
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

    /// Lets everything happen that is due up to and including `to`. Going back does nothing.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some((at, _)) = self.event_queue.peek().filter(|(at, _)| *at <= to) {
            self.happen(at);
            self.serve();
        }
        self.now = self.now.max(to);
        self.forget_void();
    }

    /// When something happens next; `None` if nothing ever will.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.event_queue.peek().map(|(at, _)| at.max(self.now))
    }

    /// A job that exists by now.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.by_id.get(id).map(|job| &self.jobs[job].job)
    }

    /// All jobs that exist by now, in the order of creation, which is that of [`Job::number`].
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.iter().map(|entry| &entry.job)
    }

    /// The jobs of a queue in a status, in the order of creation.
    pub fn jobs_in(&self, queue: &QueueName, status: &JobStatus) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs_in_range(queue, status, ..)
    }

    /// The same, of jobs whose number lies in `numbers`: a page begins after the last number of the one before.
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

    /// How many jobs of a queue are in a status; costs nothing.
    pub fn count(&self, queue: &QueueName, status: &JobStatus) -> usize {
        self.queue_state(queue).map_or(0, |queue_state| queue_state.count(status))
    }

    /// The jobs of a queue in whatever status whose number lies in `numbers`, in the order of creation, which is also
    /// that of `created_at`.
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

    /// What each share of a queue uses of each unit, in the order in which they were made; empty for an unknown queue.
    pub fn usage(&self, queue: &QueueName) -> Vec<Usage> {
        self.queue_state(queue)
            .map(|queue_state| usage::of(queue_state, &self.pools[queue_state.pool]))
            .unwrap_or_default()
    }

    /// The first `n` RUNNABLE jobs of a queue in dispatch order: by priority and number within a share, and between
    /// shares the one first whose head is the oldest, or for fair share the one that has used least.
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

/// Any range as `from..to`, empty where its ends have crossed.
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
