//! One job and its life: what the API may tell of it, and the spans that are the truth.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{Attempt, Capacity, JobId, JobStatus, QueueName, ShareName, Timestamp, TrainingJobName};
use crate::scheduler::Submission;

/// A job as it stands now, and all that happened to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its place in the order of creation, from 0. Stable: what lists are paged by.
    pub number: usize,
    /// Shaped like a UUID, drawn from the seed.
    pub id: JobId,
    /// As submitted; not unique.
    pub name: String,
    /// Where it was submitted to.
    pub queue: QueueName,
    /// What it is accounted to.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Instances per type.
    pub demand: Vec<Capacity>,
    /// As submitted.
    pub tags: BTreeMap<String, String>,
    /// Where it stands.
    pub status: JobStatus,
    /// Why, in AWS's words.
    pub status_reason: Option<String>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// The latest dispatch; whether it outlives a requeue is a quirk.
    pub scheduled_at: Option<Timestamp>,
    /// The latest start; whether it outlives a requeue is a quirk.
    pub started_at: Option<Timestamp>,
    /// When it ended for good.
    pub stopped_at: Option<Timestamp>,
    /// The first dispatch, for ever.
    pub first_scheduled_at: Option<Timestamp>,
    /// The training job of the latest dispatch.
    pub training_job: Option<TrainingJobName>,
    /// Attempts that ended, oldest first, without those that preemption stopped.
    pub attempts: Vec<Attempt>,
    /// Attempts that preemption stopped, oldest first.
    pub preempted: Vec<Attempt>,
    /// How many those are.
    pub preemptions: u32,
    /// Its life so far, without gap or overlap; the last one is open unless the job has ended.
    pub spans: Vec<Span>,
    /// The mean fraction of each GPU in use while it runs, 0 to 1.
    pub utilisation: f64,
    /// Whether someone asked for its end.
    pub terminated: bool,
}

/// A stretch of a job's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What the job did.
    pub phase: Phase,
    /// The attempt it did or awaited, from 1; preempted ones count.
    pub attempt: u32,
    /// Since when.
    pub from: Timestamp,
    /// Until when, exclusive; `None` while it lasts.
    pub to: Option<Timestamp>,
}

/// What a job does during a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// SUBMITTED or RUNNABLE.
    Waiting,
    /// SCHEDULED: holds capacity, has no instances yet.
    Scheduled,
    /// STARTING: has instances, downloads.
    Starting,
    /// RUNNING.
    Running,
}

impl Job {
    /// How long the job waited for its first dispatch; `None` while it has had none.
    pub fn first_wait(&self) -> Option<Duration> {
        self.first_scheduled_at.map(|at| at.since(self.created_at))
    }

    /// The attempt under way or awaited, from 1; of an ended job its last.
    pub fn attempt(&self) -> u32 {
        self.spans.last().map_or(1, |span| span.attempt)
    }

    /// When the attempt under way began to run, if it has.
    pub fn running_since(&self) -> Option<Timestamp> {
        self.spans.last().filter(|span| span.phase == Phase::Running && span.to.is_none()).map(|span| span.from)
    }

    pub(super) fn new(number: usize, id: JobId, submission: Submission, now: Timestamp) -> Self {
        Self {
            number,
            id,
            name: submission.name,
            queue: submission.queue,
            share: submission.share,
            priority: submission.priority,
            demand: submission.demand,
            tags: submission.tags,
            status: JobStatus::Submitted,
            status_reason: None,
            created_at: now,
            scheduled_at: None,
            started_at: None,
            stopped_at: None,
            first_scheduled_at: None,
            training_job: None,
            attempts: Vec::new(),
            preempted: Vec::new(),
            preemptions: 0,
            spans: vec![Span { phase: Phase::Waiting, attempt: 1, from: now, to: None }],
            utilisation: submission.utilisation,
            terminated: false,
        }
    }

    /// The job is handed to SageMaker.
    pub(super) fn dispatched(&mut self, training_job: TrainingJobName, now: Timestamp) {
        self.status = JobStatus::Scheduled;
        self.status_reason = None;
        self.scheduled_at = Some(now);
        self.started_at = None;
        self.first_scheduled_at.get_or_insert(now);
        self.training_job = Some(training_job);
        self.enter(Phase::Scheduled, now);
    }

    /// Instances were found.
    pub(super) fn starting(&mut self, now: Timestamp) {
        self.status = JobStatus::Starting;
        self.enter(Phase::Starting, now);
    }

    /// The container runs.
    pub(super) fn running(&mut self, now: Timestamp) {
        self.status = JobStatus::Running;
        self.started_at = Some(now);
        self.enter(Phase::Running, now);
    }

    /// Preemption has stopped the attempt: the job waits again.
    pub(super) fn requeued(&mut self, reason: &str, keep_times: bool, now: Timestamp) {
        let stopped = self.attempt_until(now, reason);
        self.preempted.push(stopped);
        self.preemptions += 1;
        self.status = JobStatus::Runnable;
        if !keep_times {
            self.scheduled_at = None;
            self.started_at = None;
        }
        let next = self.attempt() + 1;
        self.enter(Phase::Waiting, now);
        if let Some(span) = self.spans.last_mut() {
            span.attempt = next;
        }
    }

    /// The job is over.
    pub(super) fn ended(&mut self, status: JobStatus, reason: &str, now: Timestamp) {
        if self.status.is_in_flight() {
            let attempt = self.attempt_until(now, reason);
            self.attempts.push(attempt);
        }
        self.status = status;
        self.status_reason = Some(reason.to_owned());
        self.stopped_at = Some(now);
        self.close(now);
    }

    fn attempt_until(&self, now: Timestamp, reason: &str) -> Attempt {
        Attempt {
            started_at: self.running_since(),
            stopped_at: Some(now),
            status_reason: Some(reason.to_owned()),
            training_job: self.training_job.clone(),
        }
    }

    fn enter(&mut self, phase: Phase, now: Timestamp) {
        let attempt = self.attempt();
        self.close(now);
        self.spans.push(Span { phase, attempt, from: now, to: None });
    }

    fn close(&mut self, now: Timestamp) {
        if let Some(span) = self.spans.last_mut() {
            span.to = Some(now);
        }
    }
}
