//! A discrete-event model of AWS Batch for SageMaker Training jobs, on virtual time.
//!
//! Time moves only in [`Scheduler::advance`]; chance comes only from the seed. Equal setups, seeds and calls give
//! equal histories on every machine.
//!
//! What holds at every instant (`scheduler/laws.rs`): capacity is never exceeded; what is borrowed is lent by someone;
//! a RESERVE share's capacity is used by no other; a preemption takes from borrowers only, and no more than is needed;
//! within a share, equals start in the order they came; the spans of a job partition its life. Recorded jobs are
//! outside all this: they happen as they happened.

mod agenda;
mod books;
mod discipline;
mod entry;
mod job;
#[cfg(test)]
mod laws;
mod pool;
mod quota;
mod seeded;
mod setup;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::{Bound, Range, RangeBounds};
use std::time::Duration;

pub use books::Usage;
pub use job::{Job, Phase, Span};
pub use setup::{AfterRequeue, Delays, Plan, PlannedOutcome, QueueSetup, Quirks, Refusal, Setup, Submission};

use crate::model::{JobId, JobStatus, QueueName, Timestamp};
use crate::scheduler::agenda::{Agenda, Arrival, Event};
use crate::scheduler::books::Books;
use crate::scheduler::discipline::Decision;
use crate::scheduler::entry::Entry;
use crate::scheduler::pool::Pool;
use crate::scheduler::seeded::{Purpose, Seeded};

/// What a preempted attempt says of itself.
const PREEMPTED: &str = "Cross-share preemption triggered to reclaim borrowed capacity";
/// What a job says while and after it is preempted.
const PREEMPTING: &str = "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity";
/// What a job says that ended well.
const COMPLETED: &str = "Received status from SageMaker: Training job completed";
/// What a recorded job says that ended without a start.
const CANCELLED: &str = "Cancelled while waiting";

/// The model: queues, jobs, and what is going to happen.
#[derive(Debug)]
pub struct Scheduler {
    now: Timestamp,
    seed: Seeded,
    delays: Delays,
    quirks: Quirks,
    pools: Vec<Pool>,
    queues: Vec<Books>,
    jobs: Vec<Entry>,
    by_id: HashMap<JobId, usize>,
    agenda: Agenda,
    tickets: u64,
}

impl Scheduler {
    /// A scheduler without jobs, at `now`.
    pub fn new(setup: Setup, seed: u64, now: Timestamp) -> Self {
        let mut pools: Vec<Pool> = Vec::new();
        let mut queues: Vec<Books> = Vec::new();
        for queue in setup.queues {
            let pool = pools.iter().position(|pool| pool.name == queue.environment.name).unwrap_or_else(|| {
                pools.push(Pool::new(&queue.environment));
                pools.len() - 1
            });
            pools[pool].queues.push(queues.len());
            queues.push(Books::new(queue, pool, &pools[pool]));
        }
        for pool in &mut pools {
            pool.queues.sort_by_key(|queue| std::cmp::Reverse(queues[*queue].setup.priority));
        }
        Self {
            now,
            seed: Seeded(seed),
            delays: setup.delays,
            quirks: setup.quirks,
            pools,
            queues,
            jobs: Vec::new(),
            by_id: HashMap::new(),
            agenda: Agenda::default(),
            tickets: 0,
        }
    }

    /// Up to when everything has happened.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Submits a job and tells its id. The job exists from `submission.at` on; at once if that is not in the future.
    /// What follows from its arrival, its dispatch for example, follows in [`Self::advance`].
    ///
    /// # Errors
    /// If the queue or the share does not exist or takes no jobs.
    pub fn submit(&mut self, submission: Submission) -> Result<JobId, Refusal> {
        let Some(queue) = self.index_of(&submission.queue) else {
            return Err(Refusal::UnknownQueue(submission.queue));
        };
        self.queues[queue].accepts(submission.share.as_ref())?;
        let (ticket, at) = (self.tickets, submission.at);
        self.tickets += 1;
        let arrival = Arrival { ticket, queue, submission };
        if at > self.now {
            self.agenda.plan(at, Event::Arrival(Box::new(arrival)));
        } else {
            self.arrive(arrival);
        }
        Ok(self.seed.job_id(ticket))
    }

    /// Lets everything happen that is due up to and including `to`. Going back does nothing.
    pub fn advance(&mut self, to: Timestamp) {
        while let Some((at, _)) = self.agenda.peek().filter(|(at, _)| *at <= to) {
            self.happen(at);
            self.serve();
        }
        self.now = self.now.max(to);
        self.forget_void();
    }

    /// When something happens next; `None` if nothing ever will.
    pub fn next_event(&self) -> Option<Timestamp> {
        self.agenda.peek().map(|(at, _)| at.max(self.now))
    }

    /// Ends a job now: FAILED, with `reason`. False if there is no such job or it has ended.
    pub fn terminate(&mut self, id: &JobId, reason: &str) -> bool {
        let Some(job) = self.by_id.get(id).copied().filter(|job| !self.jobs[*job].job.status.is_ended()) else {
            return false;
        };
        self.jobs[job].job.terminated = true;
        self.end(job, JobStatus::Failed, reason);
        self.serve();
        self.forget_void();
        true
    }

    /// A job that exists by now.
    pub fn job(&self, id: &JobId) -> Option<&Job> {
        self.by_id.get(id).map(|job| &self.jobs[*job].job)
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
        let numbers = self.books(queue).into_iter().flat_map(move |books| books.in_status(status, numbers.clone()));
        numbers.map(|number| &self.jobs[number].job)
    }

    /// The jobs of a queue in whatever status whose number lies in `numbers`, in the order of creation, which is also
    /// that of `created_at`.
    pub fn jobs_of(
        &self,
        queue: &QueueName,
        numbers: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = &Job> {
        let numbers = half_open(&numbers);
        let numbers = self.books(queue).into_iter().flat_map(move |books| books.all.range(numbers.clone()));
        numbers.map(|number| &self.jobs[*number].job)
    }

    /// The queues as set up.
    pub fn queues(&self) -> impl Iterator<Item = &QueueSetup> {
        self.queues.iter().map(|books| &books.setup)
    }

    /// What each share of a queue uses of each unit, in the order of the setup; empty for an unknown queue.
    pub fn usage(&self, queue: &QueueName) -> Vec<Usage> {
        self.books(queue).map(|books| books.usage(&self.pools[books.pool])).unwrap_or_default()
    }

    /// The first `n` RUNNABLE jobs of a queue in dispatch order: by priority and number within a share, and between
    /// shares the one first whose head is the oldest.
    pub fn front(&self, queue: &QueueName, n: usize) -> Vec<&Job> {
        let numbers = self.books(queue).map(|books| books.front(n)).unwrap_or_default();
        numbers.into_iter().map(|number| &self.jobs[number].job).collect()
    }

    fn index_of(&self, queue: &QueueName) -> Option<usize> {
        self.queues.iter().position(|books| books.setup.name == *queue)
    }

    fn books(&self, queue: &QueueName) -> Option<&Books> {
        self.index_of(queue).map(|queue| &self.queues[queue])
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Arrival { ticket, queue, mut submission } = arrival;
        let plan = std::mem::replace(&mut submission.plan, Plan::NEVER);
        let books = &mut self.queues[queue];
        let lane = books.lane(submission.share.as_ref(), &self.pools[books.pool]);
        let need = self.pools[books.pool].need(&submission.demand);
        let number = self.jobs.len();
        let job = Job::new(number, self.seed.job_id(ticket), submission, self.now);
        books.created(number);
        self.by_id.insert(job.id.clone(), number);
        let entry = Entry { job, ticket, queue, lane, need, plan, timer: 0, stopping: false };
        let submitted = if entry.is_recorded() { Duration::ZERO } else { self.delays.submitted };
        self.jobs.push(entry);
        self.set_timer(number, self.now + submitted);
    }

    /// All that happens at one instant, before anyone is dispatched at that instant.
    fn happen(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        while let Some(event) = self.agenda.pop(self.now) {
            match event {
                Event::Arrival(arrival) => self.arrive(*arrival),
                Event::Timer { job, setting } if self.jobs[job].timer == setting => self.step(job),
                Event::Timer { .. } => {}
            }
        }
    }

    /// The timer of a job has run out: it moves on from where it stands.
    fn step(&mut self, number: usize) {
        let entry = &self.jobs[number];
        if entry.stopping {
            return self.requeue(number);
        }
        match entry.job.status {
            JobStatus::Submitted => self.become_runnable(number),
            JobStatus::Runnable => self.follow_record(number),
            JobStatus::Scheduled => {
                let dwell = self.dwell(number, Purpose::Starting, self.delays.starting);
                self.change(number, Job::starting);
                self.set_timer(number, self.now + dwell);
            }
            JobStatus::Starting => self.run(number),
            JobStatus::Running => match entry.plan.outcome().clone() {
                PlannedOutcome::Succeeds => self.end(number, JobStatus::Succeeded, COMPLETED),
                PlannedOutcome::Fails(reason) => self.end(number, JobStatus::Failed, &reason),
            },
            JobStatus::Pending | JobStatus::Succeeded | JobStatus::Failed | JobStatus::Unknown(_) => {}
        }
    }

    fn become_runnable(&mut self, number: usize) {
        let entry = &self.jobs[number];
        let books = &mut self.queues[entry.queue];
        books.enqueue(entry);
        let pool = &mut self.pools[books.pool];
        pool.stirred |= books.concerns(entry);
        let reason = match entry.plan {
            Plan::Runs { .. } => books.discipline.misfit(entry.lane, entry.need.as_ref(), pool),
            Plan::Recorded { .. } => None,
        };
        if let Plan::Recorded { start, end, .. } = entry.plan
            && let Some(at) = start.or(end)
        {
            self.set_timer(number, at);
        }
        self.change(number, |job, _| {
            job.status = JobStatus::Runnable;
            job.status_reason = reason.map(str::to_owned);
        });
    }

    /// A waiting job's timer: it is a recorded one, and now it starts, or ends without a start.
    fn follow_record(&mut self, number: usize) {
        match self.jobs[number].plan {
            Plan::Recorded { start: Some(_), .. } => {
                self.dispatch(number);
                self.change(number, Job::starting);
                self.run(number);
            }
            Plan::Recorded { start: None, .. } => {
                self.jobs[number].job.terminated = true;
                self.end(number, JobStatus::Failed, CANCELLED);
            }
            Plan::Runs { .. } => {}
        }
    }

    /// Gives waiting jobs what is free, wherever something changed.
    fn serve(&mut self) {
        for pool in 0..self.pools.len() {
            if !std::mem::take(&mut self.pools[pool].stirred) {
                continue;
            }
            for place in 0..self.pools[pool].queues.len() {
                let queue = self.pools[pool].queues[place];
                while self.carry_out(self.decide(queue)) {}
            }
        }
    }

    fn decide(&self, queue: usize) -> Decision {
        let books = &self.queues[queue];
        books.discipline.decide(&books.lanes, &self.jobs, &self.pools[books.pool].free())
    }

    /// Does what was decided; false if that is nothing.
    fn carry_out(&mut self, decision: Decision) -> bool {
        match decision {
            Decision::Start(number) => {
                self.dispatch(number);
                let dwell = self.dwell(number, Purpose::Scheduled, self.delays.scheduled);
                self.set_timer(number, self.now + dwell);
            }
            Decision::Preempt(victims) => victims.into_iter().for_each(|victim| self.preempt(victim)),
            Decision::Wait => return false,
        }
        true
    }

    fn dispatch(&mut self, number: usize) {
        let entry = &self.jobs[number];
        let books = &mut self.queues[entry.queue];
        books.take(entry);
        if let Some(need) = &entry.need {
            let pool = &mut self.pools[books.pool];
            pool.used = pool.used.plus(need);
        }
        let training_job = self.seed.training_job(&entry.job.name, entry.ticket, entry.job.attempt());
        self.change(number, |job, now| job.dispatched(training_job, now));
    }

    fn run(&mut self, number: usize) {
        self.change(number, Job::running);
        match self.jobs[number].plan {
            Plan::Runs { duration, .. } => self.set_timer(number, self.now + duration),
            Plan::Recorded { end: Some(end), .. } => self.set_timer(number, end),
            Plan::Recorded { end: None, .. } => {}
        }
    }

    fn preempt(&mut self, number: usize) {
        let entry = &mut self.jobs[number];
        entry.stopping = true;
        entry.job.status_reason = Some(PREEMPTING.to_owned());
        self.queues[entry.queue].stopping(entry);
        self.set_timer(number, self.now + self.delays.stopping);
    }

    fn requeue(&mut self, number: usize) {
        self.release(number);
        let keep = self.quirks.after_requeue == AfterRequeue::Kept;
        self.change(number, |job, now| job.requeued(PREEMPTED, keep, now));
        let entry = &self.jobs[number];
        self.queues[entry.queue].enqueue(entry);
    }

    fn end(&mut self, number: usize, status: JobStatus, reason: &str) {
        self.release(number);
        self.jobs[number].timer += 1;
        self.change(number, |job, now| job.ended(status, reason, now));
    }

    /// Takes a job out of its lane, waiting or in flight, and frees what it holds.
    fn release(&mut self, number: usize) {
        let entry = &mut self.jobs[number];
        let books = &mut self.queues[entry.queue];
        let pool = &mut self.pools[books.pool];
        books.release(entry);
        if let Some(need) = entry.need.as_ref().filter(|_| entry.job.status.is_in_flight()) {
            pool.used = pool.used.minus(need);
        }
        entry.stopping = false;
        pool.stirred = true;
    }

    /// Changes a job and files it under its new status.
    fn change(&mut self, number: usize, change: impl FnOnce(&mut Job, Timestamp)) {
        let entry = &mut self.jobs[number];
        let before = entry.job.status.clone();
        change(&mut entry.job, self.now);
        self.queues[entry.queue].refile(number, &before, &entry.job.status);
    }

    fn set_timer(&mut self, number: usize, at: Timestamp) {
        let entry = &mut self.jobs[number];
        entry.timer += 1;
        self.agenda.plan(at.max(self.now), Event::Timer { job: number, setting: entry.timer });
    }

    fn dwell(&self, number: usize, purpose: Purpose, range: (Duration, Duration)) -> Duration {
        let entry = &self.jobs[number];
        self.seed.delay(purpose, range, entry.ticket, entry.job.attempt())
    }

    /// Drops what is planned next as long as it is void, so that `next_event` tells of real events only.
    fn forget_void(&mut self) {
        while let Some((_, Event::Timer { job, setting })) = self.agenda.peek()
            && self.jobs[*job].timer != *setting
        {
            self.agenda.drop_next();
        }
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
