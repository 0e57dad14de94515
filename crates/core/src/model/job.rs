//! A Batch service job as one API response shows it; the ledger combines responses into a history.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::parse_duration::MAX_DURATION;
use crate::model::{InstanceType, JobId, QueueName, ShareName, Timestamp, TrainingJobName, unknown_value};

/// Status of a service job, in Batch's terms and order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobStatus {
    /// Accepted, not yet examined.
    Submitted,
    /// In the API's enum; not known to be used for service jobs.
    Pending,
    /// Waiting in the queue.
    Runnable,
    /// Handed to SageMaker, which looks for instances. Holds its capacity from here on.
    Scheduled,
    /// Instances are allocated; data and image are being downloaded.
    Starting,
    /// The container runs.
    Running,
    /// Ended successfully.
    Succeeded,
    /// Ended unsuccessfully.
    Failed,
    /// A status unknown to this build, as the API spells it. Rare, so a thin pointer.
    Unknown(Arc<String>),
}

impl JobStatus {
    /// All known statuses, in the order a job passes through them.
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

    /// Parses the API's spelling. Never fails: unknown statuses become [`JobStatus::Unknown`], shortened if overlong.
    pub fn parse(text: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|status| status.as_str() == text)
            .unwrap_or_else(|| Self::Unknown(Arc::new(unknown_value(text).into_owned())))
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

    /// Accepted but not dispatched.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::Submitted | Self::Pending | Self::Runnable)
    }

    /// Dispatched and not ended: holds capacity.
    pub fn is_in_flight(&self) -> bool {
        matches!(self, Self::Scheduled | Self::Starting | Self::Running)
    }

    /// Ended for good.
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Maximum instances of one type per job, far beyond what SageMaker allows. A larger number is treated as unknown, so
/// that no sum over jobs, GPUs and seconds becomes infinite.
pub const MAX_INSTANCES: f64 = 1_000_000.0;

/// An amount of one capacity unit: instances of a type, or of any type (`NUM_INSTANCES`). Never GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// The counted unit.
    pub unit: InstanceType,
    /// Quantity. A double in the API; whole in practice.
    pub quantity: f64,
}

impl Capacity {
    /// `quantity` instances of `unit`.
    pub fn new(unit: impl Into<InstanceType>, quantity: f64) -> Self {
        Self { unit: unit.into(), quantity }
    }

    /// Whether a job can have this many instances: a whole number from 0 to [`MAX_INSTANCES`].
    pub fn is_of_job(&self) -> bool {
        (0.0..=MAX_INSTANCES).contains(&self.quantity) && self.quantity.fract() == 0.0
    }
}

/// Capacity that a job needs while in flight, per instance type, in the order of its instance groups; empty if
/// unknown. Cheap to clone: jobs with equal demands share it.
#[derive(Clone, Debug, Default)]
pub struct Demand(Option<Arc<Vec<Capacity>>>);

impl Deref for Demand {
    type Target = [Capacity];

    fn deref(&self) -> &[Capacity] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
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
    /// One impossible amount makes the whole demand unknown.
    fn from(capacities: Vec<Capacity>) -> Self {
        let is_known = !capacities.is_empty() && capacities.iter().all(Capacity::is_of_job);
        Self(is_known.then(|| Arc::new(capacities)))
    }
}

impl Ord for Demand {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Some(own), Some(others)) = (&self.0, &other.0)
            && Arc::ptr_eq(own, others)
        {
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

/// One job in one API response.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSeen {
    /// `jobId`.
    pub id: JobId,
    /// `jobArn`, if it does not end in the job's id: in one of AWS's own examples it does not. Rare, so a thin pointer.
    pub odd_arn: Option<Arc<String>>,
    /// `jobName`, chosen by the submitter; not unique.
    pub name: Box<str>,
    /// The queue the job was listed in.
    pub queue: QueueName,
    /// The quota share or share identifier, if the queue has any.
    pub share: Option<ShareName>,
    /// Status.
    pub status: JobStatus,
    /// Status reason, in AWS's wording.
    pub status_reason: Option<Arc<str>>,
    /// Time of submission.
    pub created_at: Timestamp,
    /// Time when the job was handed to SageMaker (AWS does not document whether it is the first or the last time).
    pub scheduled_at: Option<Timestamp>,
    /// Time when the job started to run. The API's 0 becomes `None`.
    pub started_at: Option<Timestamp>,
    /// Time when the job ended.
    pub stopped_at: Option<Timestamp>,
    /// Capacity that the job needs.
    pub demand: Demand,
    /// The training job of the latest attempt, from its ARN.
    pub training_job: Option<TrainingJobName>,
    /// Whether a user or a limit requested the job's end.
    pub terminated: bool,
    /// Fields that only `DescribeServiceJob` returns; `None` in a list.
    pub details: Option<Box<JobDetails>>,
}

impl JobSeen {
    /// A job with only these fields.
    pub fn new(id: impl Into<JobId>, queue: impl Into<QueueName>, status: JobStatus, created_at: Timestamp) -> Self {
        Self {
            id: id.into(),
            odd_arn: None,
            name: Box::default(),
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

/// Fields that only `DescribeServiceJob` returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct JobDetails {
    /// `schedulingPriority`; higher goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Attempts so far, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Maximum attempts of the job (`retryStrategy.attempts`); `None` if AWS does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_attempts: Option<u32>,
    /// Total preemptions of the job.
    #[serde(skip_serializing_if = "is_zero")]
    pub preemptions: u32,
    /// Number of preemptions after which it is queued again (`preemptionRetriesBeforeTermination`); one more ends it.
    /// `None` means unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_preemptions: Option<u32>,
    /// The most recent preempted attempts (a sliding window of them), oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preempted: Vec<StoppedAttempt>,
    /// Maximum run time of an attempt (`timeoutConfig.attemptDurationSeconds`); `None` if AWS does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt_timeout: Option<Duration>,
    /// Owner of the job, from its tag [`JobDetails::OWNER_TAG`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<str>>,
    /// Its other tags; the engine keeps those named in the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Latest desired start, from its tag [`JobDetails::START_BY_TAG`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_by: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "so serde calls it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl JobDetails {
    /// Maximum counted preemptions of a job; a larger number is treated as unknown.
    pub const MAX_PREEMPTIONS: u32 = 100_000;

    /// Tag with the owner of a job.
    pub const OWNER_TAG: &str = "owner";

    /// Tag with the latest desired start: a time such as `2026-12-01T08:00:00Z`, or a duration from submission such
    /// as `4h`.
    pub const START_BY_TAG: &str = "start-by";

    /// Parses that tag of a job submitted at `created_at`; `None` if it is neither a duration nor a time within ten years of that.
    pub fn start_by(tag: &str, created_at: Timestamp) -> Option<Timestamp> {
        let tag = tag.trim();
        let moment = tag.parse::<jiff::Timestamp>().ok().map(|at| Timestamp::from_millis(at.as_millisecond()));
        let moment = moment.or_else(|| crate::model::parse_duration(tag).ok().map(|after| created_at + after));
        moment.filter(|at| (created_at - MAX_DURATION..=created_at + MAX_DURATION).contains(at))
    }

    /// Attempts that may still fail before the job fails; preempted attempts do not count. `None` if AWS does not
    /// say.
    pub fn retries_left(&self) -> Option<u32> {
        let failed = self.attempts.iter().filter(|attempt| attempt.stopped_at.is_some()).count();
        let used = u32::try_from(failed).unwrap_or(u32::MAX).saturating_add(1);
        Some(self.most_attempts?.saturating_sub(used))
    }

    /// Ended attempts, as far as AWS lists them, oldest first.
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

    /// Preemptions that the job still survives; `None` means unlimited.
    pub fn preemptions_left(&self) -> Option<u32> {
        Some(self.most_preemptions?.saturating_sub(self.preemptions))
    }
}

/// One attempt of a job, from `attempts[]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// Start of the run.
    pub started_at: Option<Timestamp>,
    /// End.
    pub stopped_at: Option<Timestamp>,
    /// Why it ended.
    pub status_reason: Option<String>,
    /// The training job that ran it.
    pub training_job: Option<TrainingJobName>,
}

/// A preempted attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct StoppedAttempt {
    /// Start of the run; `None` if it was stopped before.
    pub started_at: Option<Timestamp>,
    /// Time when it was stopped.
    pub stopped_at: Option<Timestamp>,
    /// Why it was stopped.
    pub status_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_deadline_is_a_time_or_a_duration_and_nothing_else() {
        let created_at: Timestamp = serde_json::from_value("2026-12-01T08:00:00Z".into()).unwrap();
        let minutes =
            |tag: &str| JobDetails::start_by(tag, created_at).map(|at| (at.millis() - created_at.millis()) / 60_000);
        for (tag, expected) in [
            ("4h", Some(240)),
            (" 1h 30m ", Some(90)),
            ("0s", Some(0)),
            ("2026-12-01T10:00:00Z", Some(120)),
            ("2026-12-01T10:00:00+01:00", Some(60)),
            // It was submitted again after its deadline.
            ("2026-12-01T07:00:00Z", Some(-60)),
            ("30M", None),
            ("-4h", None),
            ("100y", None),
            ("tomorrow", None),
            ("2026-12-02", None),
            ("2026-12-02T08:00:00", None),
            ("1764576000", None),
            ("9999-12-31T23:59:59Z", None),
            ("-009999-01-01T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(minutes(tag), expected, "{tag}");
        }
    }
}
