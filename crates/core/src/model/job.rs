//! A Batch service job as the API describes it: one answer, before the ledger makes a history of answers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{InstanceType, JobId, QueueName, ShareName, Timestamp, TrainingJobName};

/// Where a service job stands, in Batch's own terms and order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobStatus {
    /// Accepted, not yet examined.
    Submitted,
    /// In the API's enum; service jobs are not known to use it.
    Pending,
    /// Waiting in the queue.
    Runnable,
    /// Handed to SageMaker, which looks for instances. Holds its capacity from here on.
    Scheduled,
    /// Instances are there; data and image are being downloaded.
    Starting,
    /// The container runs.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended otherwise.
    Failed,
    /// A status this build does not know, as the API spelt it.
    Unknown(Arc<str>),
}

impl JobStatus {
    /// Every status this build knows, in the order a job passes through them.
    pub const KNOWN: [Self; 8] = [
        Self::Submitted,
        Self::Pending,
        Self::Runnable,
        Self::Scheduled,
        Self::Starting,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
    ];

    /// Reads the API's spelling. Never fails: what is not known is [`JobStatus::Unknown`].
    pub fn parse(text: &str) -> Self {
        Self::KNOWN.into_iter().find(|status| status.as_str() == text).unwrap_or_else(|| Self::Unknown(text.into()))
    }

    /// The API's spelling, `RUNNABLE` and so on.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Pending => "PENDING",
            Self::Runnable => "RUNNABLE",
            Self::Scheduled => "SCHEDULED",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Unknown(text) => text,
        }
    }

    /// Accepted but not dispatched: what counts as waiting.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Submitted | Self::Pending | Self::Runnable)
    }

    /// Dispatched and not ended: holds capacity.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Scheduled | Self::Starting | Self::Running)
    }

    /// Over, for good.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The most instances of one type that a job can have: far beyond what SageMaker gives. More is an unknown value, so that no sum over
/// jobs, GPUs and seconds can become infinite.
pub const MAX_INSTANCES: f64 = 1_000_000.0;

/// An amount of one capacity unit: instances of a type, or of any type (`NUM_INSTANCES`). Never GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// What is counted.
    pub unit: InstanceType,
    /// How many. The API uses a double; whole in practice.
    pub quantity: f64,
}

impl Capacity {
    /// `quantity` instances of `unit`.
    pub fn new(unit: impl Into<InstanceType>, quantity: f64) -> Self {
        Self { unit: unit.into(), quantity }
    }

    /// Whether a job can have this many instances: a whole number, not negative, and at most [`MAX_INSTANCES`].
    pub fn is_of_job(&self) -> bool {
        (0.0..=MAX_INSTANCES).contains(&self.quantity) && self.quantity.fract() == 0.0
    }
}

/// What a job needs while in flight, per instance type, in the order of its instance groups; empty if that is not known. Cheap to clone: jobs that need the same share it.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<[Capacity]>);

impl Deref for Demand {
    type Target = [Capacity];

    fn deref(&self) -> &[Capacity] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Demand {
    type Item = &'a Capacity;
    type IntoIter = std::slice::Iter<'a, Capacity>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<Capacity>> for Demand {
    /// One amount that no job can have makes the whole size unknown.
    fn from(capacities: Vec<Capacity>) -> Self {
        if capacities.iter().all(Capacity::is_of_job) { Self(capacities.into()) } else { Self::default() }
    }
}

impl Ord for Demand {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        let order = |(a, b): (&Capacity, &Capacity)| a.unit.cmp(&b.unit).then(a.quantity.total_cmp(&b.quantity));
        let mut pairs = self.iter().zip(other).map(order);
        self.len().cmp(&other.len()).then_with(|| pairs.find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
    }
}

impl PartialOrd for Demand {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Demand {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Demand {}

/// One job in one API answer.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSeen {
    /// `jobId`.
    pub id: JobId,
    /// `jobArn`, where it does not end in the job's id: in an example of AWS's own it does not.
    pub odd_arn: Option<Box<str>>,
    /// `jobName`, chosen by the submitter; not unique.
    pub name: String,
    /// The queue the job was listed in.
    pub queue: QueueName,
    /// The quota share or share identifier, if the queue has any.
    pub share: Option<ShareName>,
    /// Where the job stood.
    pub status: JobStatus,
    /// Why, in AWS's words.
    pub status_reason: Option<String>,
    /// When the job was submitted.
    pub created_at: Timestamp,
    /// When the job was (last, or first: AWS does not say) handed to SageMaker.
    pub scheduled_at: Option<Timestamp>,
    /// When the job started to run. The API's 0 is `None` here.
    pub started_at: Option<Timestamp>,
    /// When the job ended.
    pub stopped_at: Option<Timestamp>,
    /// What the job needs.
    pub demand: Demand,
    /// The training job of the latest attempt, from its ARN.
    pub training_job: Option<TrainingJobName>,
    /// Whether a user or a limit asked for the job's end.
    pub terminated: bool,
    /// What only `DescribeServiceJob` tells; `None` in a list.
    pub details: Option<Box<JobDetails>>,
}

impl JobSeen {
    /// A job of which nothing else is said.
    pub fn new(id: impl Into<JobId>, queue: impl Into<QueueName>, status: JobStatus, created_at: Timestamp) -> Self {
        Self {
            id: id.into(),
            odd_arn: None,
            name: String::new(),
            queue: queue.into(),
            share: None,
            status,
            status_reason: None,
            created_at,
            scheduled_at: None,
            started_at: None,
            stopped_at: None,
            demand: Demand::default(),
            training_job: None,
            terminated: false,
            details: None,
        }
    }
}

/// What only `DescribeServiceJob` tells of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobDetails {
    /// `schedulingPriority`; higher goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Attempts so far, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// How many attempts the job has in all (`retryStrategy.attempts`); `None` if AWS does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_attempts: Option<u32>,
    /// How often the job was preempted in all.
    #[serde(skip_serializing_if = "is_zero")]
    pub preemptions: u32,
    /// After how many preemptions it is queued again (`preemptionRetriesBeforeTermination`); one more ends it. `None` is without
    /// end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_preemptions: Option<u32>,
    /// The most recent preempted attempts (a sliding window of them), oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preempted: Vec<StoppedAttempt>,
    /// How long an attempt may run (`timeoutConfig.attemptDurationSeconds`); `None` if AWS does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout: Option<Duration>,
    /// Whose job it is, by its tag [`JobDetails::OWNER_TAG`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<str>>,
    /// Its other tags; of these the engine keeps those that its configuration names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// By when it should start, by its tag [`JobDetails::START_BY_TAG`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so serde calls it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl JobDetails {
    /// The most preemptions of a job that are counted; more is an unknown value.
    pub const MAX_PREEMPTIONS: u32 = 100_000;

    /// The tag that says whose a job is.
    pub const OWNER_TAG: &str = "owner";

    /// The tag that says by when a job should start: a moment such as `2026-12-01T08:00:00Z`, or how long after its submission, such as `4h`.
    pub const START_BY_TAG: &str = "start-by";

    /// What that tag says of a job that was submitted then; `None` if it says neither.
    pub fn start_by(tag: &str, created_at: Timestamp) -> Option<Timestamp> {
        let tag = tag.trim();
        let moment = tag.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()));
        moment.or_else(|| crate::model::parse_duration(tag).ok().map(|after| created_at + after))
    }

    /// How many more attempts may fail before the job does; preempted ones do not count. `None` if AWS does not say.
    pub fn retries_left(&self) -> Option<u32> {
        let failed = self.attempts.iter().filter(|attempt| attempt.stopped_at.is_some()).count();
        let used = u32::try_from(failed).unwrap_or(u32::MAX).saturating_add(1);
        Some(self.most_attempts?.saturating_sub(used))
    }

    /// The attempts that are over, as far as AWS lists them, oldest first.
    pub fn over(&self) -> Vec<StoppedAttempt> {
        let failed = self.attempts.iter().map(|attempt| StoppedAttempt {
            started_at: attempt.started_at,
            stopped_at: attempt.stopped_at,
            status_reason: None,
        });
        let mut over: Vec<_> = failed.chain(self.preempted.iter().cloned()).collect();
        over.sort_by_key(|attempt| attempt.stopped_at);
        over
    }

    /// How many more preemptions the job survives; `None` is without end.
    pub fn preemptions_left(&self) -> Option<u32> {
        Some(self.most_preemptions?.saturating_sub(self.preemptions))
    }
}

/// One attempt of a job, as `attempts[]` tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub stopped_at: Option<Timestamp>,
    /// Why it ended.
    pub status_reason: Option<String>,
    /// The training job that ran it.
    pub training_job: Option<TrainingJobName>,
}

/// An attempt that preemption stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoppedAttempt {
    /// When it began to run; `None` when it was stopped before that.
    pub started_at: Option<Timestamp>,
    /// When it was stopped.
    pub stopped_at: Option<Timestamp>,
    /// Why.
    pub status_reason: Option<String>,
}
