//! The life of a job in the model: it arrives, is dispatched, starts, runs, and ends or is requeued; each event at its time.

use std::borrow::Cow;
use std::time::Duration;

use crate::model::JobStatus;
use crate::model::Timestamp;
use crate::scheduler::AfterRequeue;
use crate::scheduler::Blocked;
use crate::scheduler::DisabledQueue;
use crate::scheduler::Job;
use crate::scheduler::Plan;
use crate::scheduler::PlannedOutcome;
use crate::scheduler::Scheduler;
use crate::scheduler::Submission;
use crate::scheduler::decision::Decision;
use crate::scheduler::event_queue::Arrival;
use crate::scheduler::event_queue::Event;
use crate::scheduler::job::Phase;
use crate::scheduler::job::Setback;
use crate::scheduler::job::Span;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::job_entry::Preemption;
use crate::scheduler::rng::Purpose;
use crate::scheduler::transition_log::TransitionKind;

/// Status reason of a successful job.
const COMPLETED: &str = "Received status from SageMaker: Training job completed";
/// Status reason of a recorded job that ended without a start.
const CANCELLED: &str = "Cancelled while waiting";
/// Status reason of an attempt that exceeded `timeoutConfig`.
pub const ATTEMPT_TIMED_OUT: &str = "Job attempt duration exceeded timeout";
/// Status reason of a job that found no instances.
const NO_INSTANCES: &str = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Unable to provision requested compute resources";

type Reason = Cow<'static, str>;

impl Scheduler {
    /// A submission arrives at its queue, which may have been disabled or removed since.
    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { ticket, queue, submission } = arrival;
        let queue_state = &mut self.queues[queue];
        if queue_state.removed || queue_state.accepts(submission.share.as_ref(), self.now).is_err() {
            return;
        }
        let share_state = queue_state.share_state(submission.share.as_ref());
        let pool = &self.pools[queue_state.pool];
        let need = pool.need(&submission.demand);
        let number = self.jobs.len();
        let (job, plan) = self.job_of(number, ticket, submission);
        let queue_state = &mut self.queues[queue];
        let member = queue_state.created(number, share_state);
        self.by_id.insert(&job.id, number);
        let submitted = if plan.is_recorded() { Duration::ZERO } else { self.delays.submitted };
        self.jobs.push(Entry {
            job,
            ticket,
            queue,
            member,
            share_state,
            need,
            plan,
            status_since: self.now,
            timer: 0,
            stopping: None,
            held: false,
            blocked: None,
            watched: None,
        });
        self.happened(number, TransitionKind::Submitted);
        self.set_timer(number, self.now + submitted);
    }

    fn job_of(&mut self, number: usize, ticket: u64, submission: Submission) -> (Job, Plan) {
        let mut spans = Vec::with_capacity(4);
        spans.push(Span { phase: Phase::Waiting, attempt: 1, from: self.now, to: None });
        let job = Job {
            number,
            id: self.seed.job_id(ticket),
            name: submission.name,
            queue: submission.queue,
            share: submission.share,
            priority: submission.priority,
            demand: self.interner.demand(submission.demand),
            tags: self.interner.tags(submission.tags),
            terms: self.interner.terms(submission.terms),
            status: JobStatus::Submitted,
            status_reason: None,
            created_at: self.now,
            scheduled_at: None,
            started_at: None,
            stopped_at: None,
            first_scheduled_at: None,
            training_job: None,
            attempts: Vec::new(),
            preempted: Vec::new(),
            capacity_failed: None,
            capacity_failures: 0,
            preemptions: 0,
            spans,
            utilisation: submission.utilisation,
            terminated: false,
        };
        (job, submission.plan)
    }

    /// Processes all events of one instant, before any dispatch at that instant.
    pub(super) fn process_due(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        while let Some(event) = self.event_queue.pop(self.now) {
            if self.is_void(&event) {
                continue;
            }
            match event {
                Event::Arrival(arrival) => self.arrive(*arrival),
                Event::Timer { job, .. } => self.step(job),
                Event::Limit { job, .. } => self.mark_pool_changed(job),
            }
        }
    }

    /// Whether a planned event is out of date.
    pub(super) fn is_void(&self, event: &Event) -> bool {
        match event {
            Event::Arrival(_) => false,
            Event::Timer { job, setting } => self.jobs[*job].timer != *setting,
            Event::Limit { job, since } => self.jobs[*job].watched != Some(*since),
        }
    }

    /// A job's timer expired: moves it to its next state.
    fn step(&mut self, number: usize) {
        if let Some(preemption) = self.jobs[number].stopping {
            return self.stopped(number, preemption);
        }
        match self.jobs[number].job.status {
            JobStatus::Submitted => self.become_runnable(number),
            JobStatus::Runnable if self.jobs[number].held => {
                self.jobs[number].held = false;
                self.mark_pool_changed(number);
            }
            JobStatus::Runnable => self.follow_record(number),
            JobStatus::Scheduled if self.finds_no_instances(number) => self.requeue_without_instances(number),
            JobStatus::Scheduled => {
                let dwell = self.dwell(number, Purpose::Starting, self.delays.starting);
                let entry = &mut self.jobs[number];
                (entry.blocked, entry.watched) = (None, None);
                self.change(number, Job::starting);
                self.set_timer(number, self.now + dwell);
            }
            JobStatus::Starting => self.run(number),
            JobStatus::Running => self.finish(number),
            JobStatus::Pending | JobStatus::Succeeded | JobStatus::Failed | JobStatus::Unknown(_) => {}
        }
    }

    fn become_runnable(&mut self, number: usize) {
        self.change(number, |job, _| job.status = JobStatus::Runnable);
        self.wait(number);
        if let Plan::Recorded { start, end, .. } = self.jobs[number].plan
            && let Some(at) = start.or(end)
        {
            self.set_timer(number, at);
        }
    }

    /// Queues a job.
    fn wait(&mut self, number: usize) {
        let entry = &self.jobs[number];
        let queue_state = &mut self.queues[entry.queue];
        queue_state.enqueue(entry);
        self.pools[queue_state.pool].changed |= queue_state.concerns(entry);
        self.examine(number);
    }

    /// Determines whether a waiting job can ever be dispatched under the current setup.
    pub(super) fn examine(&mut self, number: usize) {
        let entry = &mut self.jobs[number];
        if entry.plan.is_recorded() || entry.job.status != JobStatus::Runnable {
            return;
        }
        let queue_state = &self.queues[entry.queue];
        let misfit =
            queue_state.sharing_policy.misfit(entry.share_state, entry.need.as_ref(), &self.pools[queue_state.pool]);
        let before = entry.blocked;
        match misfit {
            Some(misfit) => {
                entry.blocked = Some(misfit.blocked);
                entry.job.status_reason = Some(misfit.reason.into());
            }
            // Missing instances do not depend on limits.
            None if before == Some(Blocked::InstanceCapacity) => {}
            None => {
                entry.blocked = None;
                if before.is_some() {
                    entry.job.status_reason = None;
                }
            }
        }
        if entry.blocked != before {
            entry.watched = None;
        }
    }

    /// The timer of a waiting recorded job: it starts now, or ends without a start.
    fn follow_record(&mut self, number: usize) {
        match self.jobs[number].plan {
            Plan::Recorded { start: Some(_), .. } => {
                self.dispatch(number);
                self.change(number, Job::starting);
                self.run(number);
            }
            Plan::Recorded { start: None, .. } => self.end_early(number, CANCELLED.into()),
            Plan::Runs { .. } | Plan::Attempts(_) | Plan::Refused(_) => {}
        }
    }

    /// Dispatches waiting jobs wherever something changed.
    pub(super) fn serve(&mut self) {
        self.serve_watched(&mut |_, _, _| {});
    }

    /// As [`Self::serve`], and passes every decision to `watch` before it is applied.
    pub(super) fn serve_watched(&mut self, watch: &mut dyn FnMut(&Self, usize, &Decision)) {
        for pool in 0..self.pools.len() {
            while std::mem::take(&mut self.pools[pool].changed) {
                for place in 0..self.pools[pool].queues.len() {
                    let queue = self.pools[pool].queues[place];
                    while self.is_served(queue) {
                        let decision = self.decide(queue);
                        watch(self, queue, &decision);
                        if !self.carry_out(decision) {
                            break;
                        }
                    }
                    self.enforce_limits(queue);
                }
            }
        }
    }

    pub(super) fn is_served(&self, queue: usize) -> bool {
        let queue_state = &self.queues[queue];
        let environment = &self.pools[queue_state.pool].environment;
        environment.enabled && (queue_state.setup.enabled || self.quirks.disabled_queue == DisabledQueue::Drains)
    }

    fn decide(&self, queue: usize) -> Decision {
        let queue_state = &self.queues[queue];
        queue_state.sharing_policy.decide(
            &queue_state.share_states,
            &self.jobs,
            &self.pools[queue_state.pool],
            self.now,
        )
    }

    /// Applies a decision; false if it is [`Decision::Wait`].
    fn carry_out(&mut self, decision: Decision) -> bool {
        match decision {
            Decision::Start(number) => {
                if let Plan::Refused(reason) = &self.jobs[number].plan {
                    let reason = reason.clone();
                    self.end(number, JobStatus::Failed, reason.into());
                    return true;
                }
                self.dispatch(number);
                let dwell = self.dwell(number, Purpose::Scheduled, self.delays.scheduled);
                self.set_timer(number, self.now + dwell);
            }
            Decision::Preempt(victims, preemption, promised) => {
                if let Some(number) = promised {
                    let entry = &self.jobs[number];
                    self.queues[entry.queue].share_states[entry.share_state].promised = promised;
                }
                victims.into_iter().for_each(|victim| self.preempt(victim, preemption));
            }
            Decision::Wait => return false,
        }
        true
    }

    /// Ends jobs that have blocked their shares for longer than the queue allows.
    fn enforce_limits(&mut self, queue: usize) {
        let limits = &self.queues[queue].setup.time_limits;
        if limits.is_empty() {
            return;
        }
        let mut overdue = Vec::new();
        for job in self.queues[queue].share_states.iter().filter_map(|share_state| share_state.head()) {
            let entry = &mut self.jobs[job];
            let Some(limit) = limits.iter().find(|limit| Some(limit.blocked) == entry.blocked) else { continue };
            let since = *entry.watched.get_or_insert(self.now);
            if since == self.now {
                self.event_queue.plan(since + limit.after, Event::Limit { job, since });
            }
            if self.now >= since + limit.after {
                overdue.push((job, limit.blocked));
            }
        }
        for (job, blocked) in overdue {
            self.end_early(job, blocked.termination().into());
        }
    }

    pub(super) fn dispatch(&mut self, number: usize) {
        let entry = &self.jobs[number];
        let training_job = self.seed.training_job(&entry.job.name, entry.ticket, entry.job.attempt());
        self.change(number, |job, now| job.dispatched(training_job, now));
        let entry = &self.jobs[number];
        let queue_state = &mut self.queues[entry.queue];
        queue_state.take(entry, self.now);
        let pool = &mut self.pools[queue_state.pool];
        pool.used = pool.used.plus(entry.need.unwrap_or_default());
    }

    fn finds_no_instances(&self, number: usize) -> bool {
        let Entry { job, plan, .. } = &self.jobs[number];
        let lacks = |unit| self.outages.iter().any(|outage| outage.covers(unit, self.now));
        !plan.is_recorded()
            && (job.capacity_failures < job.terms.capacity_failures || job.demand.iter().any(|one| lacks(&one.unit)))
    }

    /// SageMaker had no instances: the job waits again, and retries after a delay.
    fn requeue_without_instances(&mut self, number: usize) {
        self.release(number);
        self.change(number, |job, now| job.set_back(Setback::NoInstances, NO_INSTANCES.into(), now));
        let entry = &mut self.jobs[number];
        entry.held = true;
        entry.blocked = Some(Blocked::InstanceCapacity);
        self.requeue(number, NO_INSTANCES.into());
        self.set_timer(number, self.now + self.delays.capacity_retry);
    }

    pub(super) fn run(&mut self, number: usize) {
        self.change(number, Job::running);
        let Entry { job, plan, .. } = &self.jobs[number];
        match (plan.duration(job.attempts.len()), plan) {
            (Some(duration), _) => {
                let duration = job.terms.attempt_timeout.map_or(duration, |timeout| duration.min(timeout));
                self.set_timer(number, self.now + duration);
            }
            (None, Plan::Recorded { end: Some(end), .. }) => self.set_timer(number, *end),
            (None, Plan::Recorded { end: None, .. } | Plan::Runs { .. } | Plan::Attempts(_) | Plan::Refused(_)) => {}
        }
    }

    /// Ends an attempt, as planned or because of a timeout.
    fn finish(&mut self, number: usize) {
        let Entry { job, plan, .. } = &self.jobs[number];
        let attempts_before = job.attempts.len();
        let timed_out = plan
            .duration(attempts_before)
            .zip(job.terms.attempt_timeout)
            .is_some_and(|(duration, timeout)| duration > timeout);
        match plan.outcome(attempts_before).clone() {
            _ if timed_out => self.end(number, JobStatus::Failed, ATTEMPT_TIMED_OUT.into()),
            PlannedOutcome::Succeeds => self.end(number, JobStatus::Succeeded, COMPLETED.into()),
            PlannedOutcome::Fails(reason)
                if job.terms.retry.allows(attempts_before + 1, &reason) && !plan.is_recorded() =>
            {
                self.release(number);
                self.happened(number, TransitionKind::Retried);
                self.change(number, |job, now| job.set_back(Setback::Failed, reason.clone().into(), now));
                self.requeue(number, reason.into());
            }
            PlannedOutcome::Fails(reason) => self.end(number, JobStatus::Failed, reason.into()),
        }
    }

    fn preempt(&mut self, number: usize, preemption: Preemption) {
        let entry = &mut self.jobs[number];
        entry.stopping = Some(preemption);
        entry.job.status_reason = Some(preemption.of_job().into());
        self.queues[entry.queue].stopping(entry);
        self.set_timer(number, self.now + self.delays.stopping);
    }

    /// Preemption has stopped an attempt.
    fn stopped(&mut self, number: usize, preemption: Preemption) {
        self.release(number);
        self.happened(number, TransitionKind::Preempted);
        self.change(number, |job, now| job.set_back(Setback::Preempted, preemption.of_attempt().into(), now));
        let job = &self.jobs[number].job;
        if job.terms.preemption_retries.is_some_and(|retries| job.preemptions > retries) {
            self.change(number, |job, now| job.ended(JobStatus::Failed, preemption.of_attempt().into(), now));
        } else {
            self.requeue(number, preemption.of_job().into());
        }
    }

    /// Returns a job to RUNNABLE.
    fn requeue(&mut self, number: usize, reason: Reason) {
        let keep = self.quirks.after_requeue == AfterRequeue::Kept;
        self.change(number, |job, now| job.requeued(reason, keep, now));
        self.wait(number);
    }

    /// Ends a job for a reason other than its own plan.
    pub(super) fn end_early(&mut self, number: usize, reason: Reason) {
        self.jobs[number].job.terminated = true;
        self.happened(number, TransitionKind::Terminated);
        self.end(number, JobStatus::Failed, reason);
    }

    fn end(&mut self, number: usize, status: JobStatus, reason: Reason) {
        let in_flight = self.jobs[number].job.status.is_in_flight();
        self.release(number);
        let entry = &mut self.jobs[number];
        entry.timer += 1;
        (entry.held, entry.blocked, entry.watched) = (false, None, None);
        self.change(number, |job, now| {
            if in_flight {
                job.set_back(Setback::Failed, reason.clone(), now);
            }
            job.ended(status, reason, now);
        });
    }

    /// Removes a job from its share, waiting or in flight, and frees its capacity.
    fn release(&mut self, number: usize) {
        let entry = &mut self.jobs[number];
        let queue_state = &mut self.queues[entry.queue];
        let pool = &mut self.pools[queue_state.pool];
        if queue_state.release(entry, self.now) {
            pool.used = pool.used.minus(entry.need.unwrap_or_default());
        }
        entry.stopping = None;
        pool.changed = true;
    }

    /// Changes a job and updates the index of statuses.
    pub(super) fn change(&mut self, number: usize, change: impl FnOnce(&mut Job, Timestamp)) {
        let entry = &mut self.jobs[number];
        let before = entry.job.status.clone();
        change(&mut entry.job, self.now);
        self.queues[entry.queue].refile(entry, &before);
        let to = entry.job.status.clone();
        if to != before {
            let since = std::mem::replace(&mut entry.status_since, self.now);
            self.happened(number, TransitionKind::Moved { from: before, since, to });
        }
    }

    fn mark_pool_changed(&mut self, number: usize) {
        let pool = self.queues[self.jobs[number].queue].pool;
        self.pools[pool].changed = true;
    }

    fn set_timer(&mut self, number: usize, at: Timestamp) {
        let entry = &mut self.jobs[number];
        entry.timer += 1;
        self.event_queue.plan(at.max(self.now), Event::Timer { job: number, setting: entry.timer });
    }

    fn dwell(&self, number: usize, purpose: Purpose, range: (Duration, Duration)) -> Duration {
        let entry = &self.jobs[number];
        self.seed.delay(purpose, range, entry.ticket, entry.job.attempt())
    }

    /// Drops void events at the front, so that `next_event` returns real events only.
    pub(super) fn drop_void(&mut self) {
        while self.event_queue.peek().is_some_and(|(_, event)| self.is_void(event)) {
            self.event_queue.take_next();
        }
    }
}
