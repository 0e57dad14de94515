//! What a scheduler is given before the first job: environments, queues, and how the world behaves.

use std::fmt;
use std::time::Duration;

use crate::model::InstanceType;
use crate::model::Policy;
use crate::model::QueueName;
use crate::model::ServiceEnvironment;
use crate::model::ShareName;
use crate::model::Timestamp;

/// Everything a scheduler needs to know before the first job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setup {
    /// The service environments.
    pub environments: Vec<ServiceEnvironment>,
    /// The queues. Queues that name the same environment share its capacity.
    pub queues: Vec<QueueSetup>,
    /// When the provider has no instances.
    pub outages: Vec<Outage>,
    /// How long SageMaker takes between the states. Recorded jobs know no delays.
    pub delays: Delays,
    /// Which of two behaviours to show where AWS does not say.
    pub quirks: Quirks,
}

/// One job queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSetup {
    /// The queue's name.
    pub name: QueueName,
    /// Whether it takes new jobs.
    pub enabled: bool,
    /// Among queues of one environment, the higher goes first.
    pub priority: i32,
    /// How the queue divides its capacity.
    pub policy: Policy,
    /// The name of its service environment. One that does not exist has no capacity.
    pub environment: String,
    /// How long a job may block its queue or share (`jobStateTimeLimitActions`).
    pub time_limits: Vec<TimeLimit>,
}

impl QueueSetup {
    /// An enabled queue of priority 1 without time limits.
    pub fn new(name: impl Into<QueueName>, environment: impl Into<String>, policy: Policy) -> Self {
        Self {
            name: name.into(),
            enabled: true,
            priority: 1,
            policy,
            environment: environment.into(),
            time_limits: Vec::new(),
        }
    }
}

/// A job at the head of its queue or share that has been RUNNABLE for this reason for so long is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// Why it waits.
    pub blocked: Blocked,
    /// How long it may (`maxTimeSeconds`).
    pub after: Duration,
}

/// What can block a job, and with it all that wait behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocked {
    /// The provider has no instances.
    InstanceCapacity,
    /// The job needs more than its service environment ever has.
    EnvironmentLimit,
    /// The job needs more than its quota share can ever get.
    QuotaLimit,
}

impl Blocked {
    /// AWS's code, with which the status reason begins.
    pub fn code(self) -> &'static str {
        match self {
            Self::InstanceCapacity => "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
            Self::EnvironmentLimit => "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE",
            Self::QuotaLimit => "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED",
        }
    }

    /// Reads a code.
    pub fn parse(code: &str) -> Option<Self> {
        [Self::InstanceCapacity, Self::EnvironmentLimit, Self::QuotaLimit].into_iter().find(|one| one.code() == code)
    }

    /// What a job says that was terminated for it.
    pub(super) fn termination(self) -> &'static str {
        match self {
            Self::InstanceCapacity => {
                "Terminated by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"
            }
            Self::EnvironmentLimit => {
                "Terminated by JobStateTimeLimit action due to reason: MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE"
            }
            Self::QuotaLimit => {
                "Terminated by JobStateTimeLimit action due to reason: MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED"
            }
        }
    }
}

/// A time without instances of a type: what is dispatched finds none when it would start, and waits again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The instance type.
    pub unit: InstanceType,
    /// Since when.
    pub from: Timestamp,
    /// Until when, exclusive; `None` is for ever.
    pub to: Option<Timestamp>,
}

impl Outage {
    /// Whether it concerns instances of this type at this time.
    pub(super) fn covers(&self, unit: &InstanceType, at: Timestamp) -> bool {
        self.unit == *unit && self.from <= at && self.to.is_none_or(|to| at < to)
    }
}

/// How long a job dwells in the states that nobody plans, drawn per attempt from the seed, evenly over each range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    /// SUBMITTED, the same for all, so that jobs become RUNNABLE in the order of their submission.
    pub submitted: Duration,
    /// SCHEDULED, least and most: SageMaker looks for instances.
    pub scheduled: (Duration, Duration),
    /// STARTING, least and most: data and image are downloaded.
    pub starting: (Duration, Duration),
    /// From the beginning of a preemption until the job is RUNNABLE again and its capacity is free.
    pub stopping: Duration,
    /// RUNNABLE after the provider had no instances, before they are asked for again.
    pub capacity_retry: Duration,
}

impl Delays {
    /// No delays at all, but for one minute between two tries to get instances.
    pub const NONE: Self = Self {
        submitted: Duration::ZERO,
        scheduled: (Duration::ZERO, Duration::ZERO),
        starting: (Duration::ZERO, Duration::ZERO),
        stopping: Duration::ZERO,
        capacity_retry: Duration::from_secs(60),
    };

    /// What a day with capacity at hand looks like: 2 s, 20 to 90 s, 30 to 120 s, 20 s, 5 min.
    pub const TYPICAL: Self = Self {
        submitted: Duration::from_secs(2),
        scheduled: (Duration::from_secs(20), Duration::from_secs(90)),
        starting: (Duration::from_secs(30), Duration::from_secs(120)),
        stopping: Duration::from_secs(20),
        capacity_retry: Duration::from_secs(300),
    };

    /// How long an attempt holds its capacity, on average, before it runs.
    pub fn mean_before_running(&self) -> Duration {
        (self.scheduled.0 + self.scheduled.1 + self.starting.0 + self.starting.1) / 2
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self::TYPICAL
    }
}

/// One switch for each thing that AWS's documentation leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// What becomes of the job-level `scheduledAt` and `startedAt` when a job goes back to RUNNABLE.
    pub after_requeue: AfterRequeue,
    /// What becomes of the waiting jobs of a disabled queue.
    pub disabled_queue: DisabledQueue,
}

/// What becomes of job-level times at a requeue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterRequeue {
    /// They vanish until the next dispatch.
    #[default]
    Cleared,
    /// They stay until the next dispatch overwrites them.
    Kept,
}

/// What becomes of the waiting jobs of a disabled queue. AWS: "jobs already in the queue can finish".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DisabledQueue {
    /// They are dispatched as before.
    #[default]
    Drains,
    /// They wait until it is enabled again.
    Holds,
}

/// Why something was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such queue.
    UnknownQueue(QueueName),
    /// The queue takes no new jobs.
    DisabledQueue(QueueName),
    /// The queue has no such quota share.
    UnknownShare(ShareName),
    /// The quota share takes no new jobs.
    DisabledShare(ShareName),
    /// A queue with shares needs to know which one.
    MissingShare,
    /// A FIFO queue has no shares.
    UnexpectedShare(ShareName),
    /// One more share identifier would be active than Batch allows.
    TooManyShares(ShareName),
    /// A queue keeps the kind of policy it was made with.
    OtherPolicy(QueueName),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownQueue(queue) => write!(f, "job queue {queue} does not exist"),
            Self::DisabledQueue(queue) => write!(f, "job queue {queue} is disabled: enable it, or use another"),
            Self::UnknownShare(share) => write!(f, "quota share {share} does not exist in this queue"),
            Self::DisabledShare(share) => write!(f, "quota share {share} is disabled: enable it, or use another"),
            Self::MissingShare => write!(f, "this queue divides by share: name one"),
            Self::UnexpectedShare(share) => write!(f, "a FIFO queue takes no share, but {share} was named"),
            Self::TooManyShares(share) => {
                write!(f, "share identifier {share} is one too many: end the jobs of another, or use one of those")
            }
            Self::OtherPolicy(queue) => {
                write!(f, "job queue {queue} keeps its kind of scheduling policy: make a new queue for another")
            }
        }
    }
}

impl std::error::Error for Refusal {}
