//! What a scheduler is given: queues, delays, and the jobs that people will submit.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{Capacity, Policy, QueueName, ServiceEnvironment, ShareName, Timestamp};

/// Everything a scheduler needs to know before the first job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Setup {
    /// The queues. Queues that name the same environment share its capacity.
    pub queues: Vec<QueueSetup>,
    /// How long SageMaker takes between the states. Recorded jobs know no delays.
    pub delays: Delays,
    /// Which of two behaviours to show where AWS does not say.
    pub quirks: Quirks,
}

/// One job queue and the environment it draws on.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSetup {
    /// The queue's name.
    pub name: QueueName,
    /// Among queues of one environment, the higher goes first.
    pub priority: i32,
    /// How the queue divides its capacity.
    pub policy: Policy,
    /// The capacity; its name identifies it.
    pub environment: ServiceEnvironment,
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
}

impl Delays {
    /// No delays at all.
    pub const NONE: Self = Self {
        submitted: Duration::ZERO,
        scheduled: (Duration::ZERO, Duration::ZERO),
        starting: (Duration::ZERO, Duration::ZERO),
        stopping: Duration::ZERO,
    };

    /// What a day with capacity at hand looks like: 2 s, 20 to 90 s, 30 to 120 s, 20 s.
    pub const TYPICAL: Self = Self {
        submitted: Duration::from_secs(2),
        scheduled: (Duration::from_secs(20), Duration::from_secs(90)),
        starting: (Duration::from_secs(30), Duration::from_secs(120)),
        stopping: Duration::from_secs(20),
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

/// A job that someone submits.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// When.
    pub at: Timestamp,
    /// The job's name; need not be unique.
    pub name: String,
    /// Where to.
    pub queue: QueueName,
    /// The quota share or share identifier; `None` exactly for FIFO queues.
    pub share: Option<ShareName>,
    /// Higher goes first within a share.
    pub priority: i32,
    /// Instances per type, held from dispatch to end. Fractions round up.
    pub demand: Vec<Capacity>,
    /// Tags, such as `owner`.
    pub tags: BTreeMap<String, String>,
    /// What will happen to it.
    pub plan: Plan,
    /// The mean fraction of each GPU in use while the job runs, 0 to 1.
    pub utilisation: f64,
}

/// The fate of a job, known only to the scheduler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Waits until it is dispatched, then runs. A preempted job begins again from nothing.
    Runs {
        /// How long one attempt stays RUNNING.
        duration: Duration,
        /// How it ends.
        outcome: PlannedOutcome,
    },
    /// Happens exactly as recorded, whatever the capacity.
    Recorded {
        /// When it starts to run; `None` is never.
        start: Option<Timestamp>,
        /// When it ends; `None` is never. A job that ends without a start was cancelled while it waited.
        end: Option<Timestamp>,
        /// How it ends, if it started.
        outcome: PlannedOutcome,
    },
}

impl Plan {
    /// Waits and never starts.
    pub const NEVER: Self = Self::Recorded { start: None, end: None, outcome: PlannedOutcome::Succeeds };

    /// How an attempt ends if nobody interferes.
    pub fn outcome(&self) -> &PlannedOutcome {
        match self {
            Self::Runs { outcome, .. } | Self::Recorded { outcome, .. } => outcome,
        }
    }
}

/// How an attempt ends if nobody interferes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedOutcome {
    /// Well.
    Succeeds,
    /// Badly, with this status reason.
    Fails(String),
}

/// Why a submission was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such queue.
    UnknownQueue(QueueName),
    /// The queue has no such quota share.
    UnknownShare(ShareName),
    /// The quota share takes no new jobs.
    DisabledShare(ShareName),
    /// A queue with shares needs to know which one.
    MissingShare,
    /// A FIFO queue has no shares.
    UnexpectedShare(ShareName),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownQueue(queue) => write!(f, "job queue {queue} does not exist"),
            Self::UnknownShare(share) => write!(f, "quota share {share} does not exist in this queue"),
            Self::DisabledShare(share) => write!(f, "quota share {share} is disabled: enable it, or use another"),
            Self::MissingShare => write!(f, "this queue divides by share: name one"),
            Self::UnexpectedShare(share) => write!(f, "a FIFO queue takes no share, but {share} was named"),
        }
    }
}

impl std::error::Error for Refusal {}
