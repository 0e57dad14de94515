//! One job: its state as the API shows it, and the spans that record what really happened.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Capacity;
use crate::model::JobId;
use crate::model::JobSeen;
use crate::model::JobStatus;
use crate::model::QueueName;
use crate::model::ShareName;
use crate::model::Timestamp;
use crate::model::TrainingJobName;
use crate::scheduler::Terms;

/// A job's current state and history.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its number in creation order, from 0. Stable, and used for pagination.
    pub number: usize,
    /// A UUID derived from the seed.
    pub id: JobId,
    /// As submitted; not unique.
    pub name: String,
    /// Queue it was submitted to.
    pub queue: QueueName,
    /// Share that it is accounted to.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Instances per type.
    pub demand: Arc<[Capacity]>,
    /// As submitted or last changed.
    pub tags: Arc<BTreeMap<String, String>>,
    /// As submitted.
    pub terms: Arc<Terms>,
    /// Status.
    pub status: JobStatus,
    /// Status reason, in AWS's wording.
    pub status_reason: Option<Cow<'static, str>>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// Latest dispatch; [`Quirks`](super::setup::Quirks) decide whether it is kept on a requeue.
    pub scheduled_at: Option<Timestamp>,
    /// Latest start; likewise.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// First dispatch; never changes.
    pub first_scheduled_at: Option<Timestamp>,
    /// Training job of the latest dispatch.
    pub training_job: Option<TrainingJobName>,
    /// Ended attempts that count as attempts, oldest first: all except those below.
    pub attempts: Vec<Attempt>,
    /// Preempted attempts, oldest first.
    pub preempted: Vec<Attempt>,
    /// The latest attempt that found no instances. Batch keeps only this one.
    pub capacity_failed: Option<Box<Attempt>>,
    /// Number of attempts that found no instances.
    pub capacity_failures: u32,
    /// Number of preemptions.
    pub preemptions: u32,
    /// Its spans so far, without gaps or overlaps; the last one is open unless the job has ended.
    pub spans: Vec<Span>,
    /// Mean utilisation of each GPU while it runs, 0 to 1.
    pub utilisation: f64,
    /// Whether it was terminated by request.
    pub terminated: bool,
}

/// An ended attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Attempt number; its spans have the same.
    pub number: u32,
    /// When it started to run; `None` if it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Why it ended.
    pub status_reason: Option<Cow<'static, str>>,
    /// The training job that ran it.
    pub training_job: Option<TrainingJobName>,
}

/// A period of a job's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Phase of the job.
    pub phase: Phase,
    /// Attempt that it ran or waited for, from 1; every dispatch counts.
    pub attempt: u32,
    /// Start.
    pub from: Timestamp,
    /// End, exclusive; `None` while open.
    pub to: Option<Timestamp>,
}

/// Phase of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// SUBMITTED or RUNNABLE.
    Waiting,
    /// SCHEDULED: holds capacity, without instances yet.
    Scheduled,
    /// STARTING: has instances, and downloads.
    Starting,
    /// RUNNING.
    Running,
}

/// Why an attempt ended although the job continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// It failed, and the job may retry.
    Failed,
    /// It was preempted.
    Preempted,
    /// The provider had no instances.
    NoInstances,
}

impl Job {
    /// The job as an AWS Batch list shows it.
    pub fn listed(&self) -> JobSeen {
        JobSeen {
            name: self.name.as_str().into(),
            share: self.share.clone(),
            status_reason: self.status_reason.as_deref().map(Into::into),
            scheduled_at: self.scheduled_at,
            started_at: self.started_at,
            stopped_at: self.stopped_at,
            demand: self.demand.to_vec().into(),
            training_job: self.training_job.clone(),
            terminated: self.terminated,
            ..JobSeen::new(self.id.clone(), self.queue.clone(), self.status.clone(), self.created_at)
        }
    }

    /// Wait until the first dispatch; `None` before it.
    pub fn first_wait(&self) -> Option<Duration> {
        self.first_scheduled_at.map(|at| at.since(self.created_at))
    }

    /// The current or next attempt, from 1; the last one of an ended job.
    pub fn attempt(&self) -> u32 {
        self.spans.last().map_or(1, |span| span.attempt)
    }

    /// When the current attempt started to run, if it has.
    pub fn running_since(&self) -> Option<Timestamp> {
        self.spans.last().filter(|span| span.phase == Phase::Running && span.to.is_none()).map(|span| span.from)
    }

    /// Hands the job to SageMaker.
    pub(super) fn dispatched(&mut self, training_job: TrainingJobName, now: Timestamp) {
        self.status = JobStatus::Scheduled;
        self.status_reason = None;
        self.scheduled_at = Some(now);
        self.started_at = None;
        self.first_scheduled_at.get_or_insert(now);
        self.training_job = Some(training_job);
        self.enter(Phase::Scheduled, self.attempt(), now);
    }

    /// Instances were found.
    pub(super) fn starting(&mut self, now: Timestamp) {
        self.status = JobStatus::Starting;
        self.enter(Phase::Starting, self.attempt(), now);
    }

    /// The container started.
    pub(super) fn running(&mut self, now: Timestamp) {
        self.status = JobStatus::Running;
        self.started_at = Some(now);
        self.enter(Phase::Running, self.attempt(), now);
    }

    /// Ends the current attempt.
    pub(super) fn set_back(&mut self, why: Setback, reason: Cow<'static, str>, now: Timestamp) {
        let over = self.attempt_until(now, reason);
        match why {
            Setback::Failed => push(&mut self.attempts, over),
            Setback::Preempted => {
                push(&mut self.preempted, over);
                self.preemptions += 1;
            }
            Setback::NoInstances => {
                self.capacity_failed = Some(Box::new(over));
                self.capacity_failures += 1;
            }
        }
    }

    /// Returns the job to the queue for its next attempt.
    pub(super) fn requeued(&mut self, reason: Cow<'static, str>, keep_times: bool, now: Timestamp) {
        self.status = JobStatus::Runnable;
        self.status_reason = Some(reason);
        if !keep_times {
            self.scheduled_at = None;
            self.started_at = None;
        }
        self.enter(Phase::Waiting, self.attempt() + 1, now);
    }

    /// Ends the job.
    pub(super) fn ended(&mut self, status: JobStatus, reason: Cow<'static, str>, now: Timestamp) {
        self.status = status;
        self.status_reason = Some(reason);
        self.stopped_at = Some(now);
        self.close(now);
    }

    fn attempt_until(&self, now: Timestamp, reason: Cow<'static, str>) -> Attempt {
        Attempt {
            number: self.attempt(),
            started_at: self.running_since(),
            stopped_at: Some(now),
            status_reason: Some(reason),
            training_job: self.training_job.clone(),
        }
    }

    fn enter(&mut self, phase: Phase, attempt: u32, now: Timestamp) {
        self.close(now);
        self.spans.push(Span { phase, attempt, from: now, to: None });
    }

    fn close(&mut self, now: Timestamp) {
        if let Some(span) = self.spans.last_mut() {
            span.to = Some(now);
        }
    }
}

/// Most jobs have one attempt: reserve exactly one slot.
fn push(attempts: &mut Vec<Attempt>, attempt: Attempt) {
    attempts.reserve_exact(1);
    attempts.push(attempt);
}
