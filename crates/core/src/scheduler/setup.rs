//! Initial input of a scheduler: environments, queues, and the behaviour of the simulated system.

use std::fmt;
use std::time::Duration;

use crate::model::InstanceType;
use crate::model::Policy;
use crate::model::QueueName;
use crate::model::ServiceEnvironment;
use crate::model::ShareName;
use crate::model::Timestamp;

/// Initial input of a scheduler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setup {
    /// The service environments.
    pub environments: Vec<ServiceEnvironment>,
    /// The queues. Queues that name the same environment share its capacity.
    pub queues: Vec<QueueSetup>,
    /// Periods in which the provider has no instances.
    pub outages: Vec<Outage>,
    /// Delays between states. Recorded jobs have none.
    pub delays: Delays,
    /// Choices where AWS does not document the behaviour.
    pub quirks: Quirks,
}

/// One job queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSetup {
    /// The queue's name.
    pub name: QueueName,
    /// Whether it accepts new jobs.
    pub enabled: bool,
    /// Dispatch order among the queues of one environment; higher first.
    pub priority: i32,
    /// How the queue divides its capacity.
    pub policy: Policy,
    /// Name of its service environment. One that does not exist has no capacity.
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

/// A job at the head of its queue or share that has been RUNNABLE for this reason for this long is terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    /// The reason.
    pub blocked: Blocked,
    /// Maximum time (`maxTimeSeconds`).
    pub after: Duration,
}

/// What can block a job and all jobs behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocked {
    /// The provider has no instances.
    InstanceCapacity,
    /// The job needs more than its service environment's limit.
    EnvironmentLimit,
    /// The job needs more than its quota share can ever use.
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

    /// Parses a code.
    pub fn parse(code: &str) -> Option<Self> {
        [Self::InstanceCapacity, Self::EnvironmentLimit, Self::QuotaLimit].into_iter().find(|one| one.code() == code)
    }

    /// Status reason of a job terminated for it.
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

/// A period without instances of a type: dispatched jobs find none when they would start, and wait again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The instance type.
    pub unit: InstanceType,
    /// Start.
    pub from: Timestamp,
    /// End, exclusive; `None` means forever.
    pub to: Option<Timestamp>,
}

impl Outage {
    /// Whether it affects this type at this time.
    pub(super) fn covers(&self, unit: &InstanceType, at: Timestamp) -> bool {
        self.unit == *unit && self.from <= at && self.to.is_none_or(|to| at < to)
    }
}

/// Time that jobs spend in intermediate states, drawn per attempt from the seed, uniformly over each range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delays {
    /// SUBMITTED; the same for all jobs, so that they become RUNNABLE in submission order.
    pub submitted: Duration,
    /// SCHEDULED, minimum and maximum: SageMaker looks for instances.
    pub scheduled: (Duration, Duration),
    /// STARTING, minimum and maximum: data and image are downloaded.
    pub starting: (Duration, Duration),
    /// From the start of a preemption until the job is RUNNABLE again and its capacity is free.
    pub stopping: Duration,
    /// RUNNABLE after a lack of instances, before the next try.
    pub capacity_retry: Duration,
}

impl Delays {
    /// No delays, except one minute between tries to get instances.
    pub const NONE: Self = Self {
        submitted: Duration::ZERO,
        scheduled: (Duration::ZERO, Duration::ZERO),
        starting: (Duration::ZERO, Duration::ZERO),
        stopping: Duration::ZERO,
        capacity_retry: Duration::from_secs(60),
    };

    /// Typical delays with available capacity: 2 s, 20 to 90 s, 30 to 120 s, 20 s, 5 min.
    pub const TYPICAL: Self = Self {
        submitted: Duration::from_secs(2),
        scheduled: (Duration::from_secs(20), Duration::from_secs(90)),
        starting: (Duration::from_secs(30), Duration::from_secs(120)),
        stopping: Duration::from_secs(20),
        capacity_retry: Duration::from_secs(300),
    };

    /// Average time that an attempt holds its capacity before it runs.
    pub fn mean_before_running(&self) -> Duration {
        (self.scheduled.0 + self.scheduled.1 + self.starting.0 + self.starting.1) / 2
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self::TYPICAL
    }
}

/// One switch for each behaviour that AWS leaves undocumented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// Job-level `scheduledAt` and `startedAt` after a job goes back to RUNNABLE.
    pub after_requeue: AfterRequeue,
    /// Waiting jobs of a disabled queue.
    pub disabled_queue: DisabledQueue,
}

/// Job-level times after a requeue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterRequeue {
    /// Absent until the next dispatch.
    #[default]
    Cleared,
    /// Kept until the next dispatch overwrites them.
    Kept,
}

/// Waiting jobs of a disabled queue. AWS: "jobs already in the queue can finish".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DisabledQueue {
    /// Dispatched as before.
    #[default]
    Drains,
    /// Held until the queue is enabled again.
    Holds,
}

/// Why a request was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue does not exist.
    UnknownQueue(QueueName),
    /// The queue accepts no new jobs.
    DisabledQueue(QueueName),
    /// The queue has no such quota share.
    UnknownShare(ShareName),
    /// The quota share accepts no new jobs.
    DisabledShare(ShareName),
    /// A queue with shares requires a share.
    MissingShare,
    /// A FIFO queue has no shares.
    UnexpectedShare(ShareName),
    /// It would exceed the maximum number of active share identifiers.
    TooManyShares(ShareName),
    /// The kind of a queue's policy cannot change.
    OtherPolicy(QueueName),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownQueue(queue) => write!(f, "job queue {queue} does not exist"),
            Self::DisabledQueue(queue) => write!(f, "job queue {queue} is disabled: enable it, or use another"),
            Self::UnknownShare(share) => write!(f, "quota share {share} does not exist in this queue"),
            Self::DisabledShare(share) => write!(f, "quota share {share} is disabled: enable it, or use another"),
            Self::MissingShare => write!(f, "this queue schedules by share: a share is required"),
            Self::UnexpectedShare(share) => write!(f, "a FIFO queue has no shares, but {share} was specified"),
            Self::TooManyShares(share) => {
                write!(
                    f,
                    "share identifier {share} exceeds the maximum: end the jobs of another one, or use one of those"
                )
            }
            Self::OtherPolicy(queue) => {
                write!(
                    f,
                    "the kind of the scheduling policy of job queue {queue} cannot be changed: create a new queue"
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}
