//! One job and its life: what the API may tell of it, and the spans that are the truth.

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
    pub demand: Arc<[Capacity]>,
    /// As submitted, or as changed since.
    pub tags: Arc<BTreeMap<String, String>>,
    /// As submitted.
    pub terms: Arc<Terms>,
    /// Where it stands.
    pub status: JobStatus,
    /// Why, in AWS's words.
    pub status_reason: Option<Cow<'static, str>>,
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
    /// Attempts that ended and count, oldest first: all but those below.
    pub attempts: Vec<Attempt>,
    /// Attempts that preemption stopped, oldest first.
    pub preempted: Vec<Attempt>,
    /// The latest attempt that found no instances. Batch keeps no older ones.
    pub capacity_failed: Option<Box<Attempt>>,
    /// How many found none.
    pub capacity_failures: u32,
    /// How often it was preempted.
    pub preemptions: u32,
    /// Its life so far, without gap or overlap; the last one is open unless the job has ended.
    pub spans: Vec<Span>,
    /// The mean fraction of each GPU in use while it runs, 0 to 1.
    pub utilisation: f64,
    /// Whether someone asked for its end.
    pub terminated: bool,
}

/// An attempt that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Which: its spans have the same number.
    pub number: u32,
    /// When it began to run, if it came to that.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Why it ended.
    pub status_reason: Option<Cow<'static, str>>,
    /// The training job that ran it.
    pub training_job: Option<TrainingJobName>,
}

/// A stretch of a job's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What the job did.
    pub phase: Phase,
    /// The attempt it did or awaited, from 1; every dispatch counts.
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

/// Why an attempt is over although its job is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// It failed, and the job may try again.
    Failed,
    /// Preemption stopped it.
    Preempted,
    /// The provider had no instances.
    NoInstances,
}

impl Job {
    /// What a list of AWS Batch says of it.
    pub fn listed(&self) -> JobSeen {
        JobSeen {
            name: self.name.clone(),
            share: self.share.clone(),
            status_reason: self.status_reason.as_deref().map(str::to_owned),
            scheduled_at: self.scheduled_at,
            started_at: self.started_at,
            stopped_at: self.stopped_at,
            demand: self.demand.to_vec().into(),
            training_job: self.training_job.clone(),
            terminated: self.terminated,
            ..JobSeen::new(self.id.clone(), self.queue.clone(), self.status.clone(), self.created_at)
        }
    }

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

    /// The job is handed to SageMaker.
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

    /// The container runs.
    pub(super) fn running(&mut self, now: Timestamp) {
        self.status = JobStatus::Running;
        self.started_at = Some(now);
        self.enter(Phase::Running, self.attempt(), now);
    }

    /// The attempt under way is over.
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

    /// The job waits again, for its next attempt.
    pub(super) fn requeued(&mut self, reason: Cow<'static, str>, keep_times: bool, now: Timestamp) {
        self.status = JobStatus::Runnable;
        self.status_reason = Some(reason);
        if !keep_times {
            self.scheduled_at = None;
            self.started_at = None;
        }
        self.enter(Phase::Waiting, self.attempt() + 1, now);
    }

    /// The job is over.
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

/// Most jobs have one attempt: no room for more until there are.
fn push(attempts: &mut Vec<Attempt>, attempt: Attempt) {
    attempts.reserve_exact(1);
    attempts.push(attempt);
}
