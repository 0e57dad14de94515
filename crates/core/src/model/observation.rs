//! What the sources send to the engine. An outage is an observation too.

use std::collections::BTreeSet;

use crate::model::{Capacity, JobId, JobSeen, Queue, QueueName, Reserved, ShareName, Timestamp, TrainingJobName};

/// One fact that a source learnt, or failed to learn.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// Which account the target is.
    Account(String),
    /// All watched queues as configured, replacing what was known.
    Topology {
        /// When the answer was asked for.
        at: Timestamp,
        /// The queues, complete.
        queues: Vec<Queue>,
    },
    /// A page of jobs, or one described job.
    Jobs {
        /// When the page was asked for: what it says was true no earlier than this, but for lists that lag.
        at: Timestamp,
        /// When the answer was there: what it says was true no later than this.
        answered_at: Timestamp,
        /// The jobs on the page.
        jobs: Vec<JobSeen>,
    },
    /// A job that was asked for and is not there (any more).
    JobGone {
        /// When it was asked for.
        at: Timestamp,
        /// When the answer was there.
        answered_at: Timestamp,
        /// The job.
        id: JobId,
    },
    /// Every in-flight status of a queue was listed to its last page, beginning at `since`. A job that was in flight
    /// before and was not seen since then has left those statuses.
    InFlightListed {
        /// The queue.
        queue: QueueName,
        /// When the first of those pages was asked for.
        since: Timestamp,
    },
    /// Every waiting status of a queue was listed to its last page, beginning at `since`.
    WaitingListed {
        /// The queue.
        queue: QueueName,
        /// When the first of those pages was asked for.
        since: Timestamp,
    },
    /// A queue's own summary of itself.
    Snapshot(QueueSnapshot),
    /// What SageMaker says of a training job.
    TrainingJob(TrainingJobSeen),
    /// All capacity that is paid for whether jobs use it or not, as far as it is watched, replacing what was known.
    Reserved {
        /// When it was asked for.
        at: Timestamp,
        /// Training plans and warm pools, complete.
        all: Vec<Reserved>,
    },
    /// GPU utilisation of hosts, as far as CloudWatch has it.
    Utilisation {
        /// When it was asked for.
        at: Timestamp,
        /// One entry per host with data. Hosts without data are absent, not zero.
        hosts: Vec<HostUtilisation>,
    },
    /// A source answered completely.
    Answered {
        /// Which.
        source: Source,
        /// The queue it was about, if it was about one.
        queue: Option<QueueName>,
        /// When the first of its calls was made.
        at: Timestamp,
    },
    /// A source did not answer, or only in part.
    Failed {
        /// Which.
        source: Source,
        /// The queue it was about, if it was about one.
        queue: Option<QueueName>,
        /// When.
        at: Timestamp,
        /// What went wrong, for people.
        error: String,
    },
    /// The calls made since the last such observation.
    Calls(Vec<Calls>),
    /// A built-in limit cut something off since the last such observation.
    LimitHit {
        /// Which.
        limit: &'static str,
        /// How often.
        times: u64,
    },
    /// How many instances the account may run for training jobs at a time, by instance type, as far as that is asked for and
    /// could be read: the others stay as they were.
    AccountLimits(Vec<Capacity>),
    /// The training jobs of the account that run or are about to, of whatever queue or none.
    TrainingJobsListed {
        /// When they were asked for.
        at: Timestamp,
        /// Their names.
        names: BTreeSet<TrainingJobName>,
        /// Whether these are all.
        is_complete: bool,
    },
    /// What a training job of no known service job runs on; nothing if it has ended, or if other limits of the account are for it.
    OutsideTrainingJob {
        /// Which.
        name: TrainingJobName,
        /// Its instances.
        instances: Vec<Capacity>,
    },
    /// There is no queue to watch.
    NoQueues {
        /// What was looked for, and what there is, for people.
        why: String,
    },
    /// A value no one here knows: an enum variant, a capacity unit, an instance type.
    UnknownValue {
        /// What kind of value, such as `job_status`.
        kind: &'static str,
        /// The value as the API spelt it.
        value: String,
    },
}

/// Where observations come from; each ages on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Queues, environments, policies and shares.
    Topology,
    /// Job lists.
    Jobs,
    /// `GetJobQueueSnapshot`.
    Snapshot,
    /// Descriptions of single jobs: priority, owner, attempts.
    Descriptions,
    /// SageMaker training jobs.
    TrainingJobs,
    /// CloudWatch GPU metrics.
    Utilisation,
    /// Training plans and warm pools.
    Reserved,
    /// The account's limits, and what runs outside of the queues.
    Account,
    /// The SQS queue with events of jobs.
    Events,
}

impl Source {
    /// All of them, in a fixed order.
    pub const ALL: [Self; 9] = [
        Self::Topology,
        Self::Jobs,
        Self::Snapshot,
        Self::Descriptions,
        Self::TrainingJobs,
        Self::Utilisation,
        Self::Reserved,
        Self::Account,
        Self::Events,
    ];

    /// Whether it is only asked where the configuration says so.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Reserved | Self::Account | Self::Events)
    }

    /// The label value used in metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topology => "topology",
            Self::Jobs => "jobs",
            Self::Snapshot => "snapshot",
            Self::Descriptions => "descriptions",
            Self::TrainingJobs => "training_jobs",
            Self::Utilisation => "utilisation",
            Self::Reserved => "reserved",
            Self::Account => "account",
            Self::Events => "events",
        }
    }
}

/// How often an API operation was called, with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// `batch`, `sagemaker`, `cloudwatch`, `sns`.
    pub service: &'static str,
    /// The operation, such as `ListServiceJobs`.
    pub operation: &'static str,
    /// How it ended.
    pub outcome: CallOutcome,
    /// How many attempts, retries counted one by one.
    pub count: u64,
}

/// How one attempt of a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallOutcome {
    /// An answer.
    Ok,
    /// Refused for going too fast.
    Throttled,
    /// Any other error, timeouts and cut connections too.
    Error,
}

impl CallOutcome {
    /// The label value used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Throttled => "throttled",
            Self::Error => "error",
        }
    }
}

/// A queue's own summary (`GetJobQueueSnapshot`), each block with its age.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSnapshot {
    /// The queue.
    pub queue: Option<QueueName>,
    /// When it was asked for.
    pub at: Timestamp,
    /// The first jobs (at most 100) in dispatch order.
    pub front: Vec<Position>,
    /// When the front of the queue was computed.
    pub front_updated_at: Option<Timestamp>,
    /// Capacity in use by dispatched jobs, in whatever unit AWS chose.
    pub used: Vec<Capacity>,
    /// Capacity in use by share: the top ones only, so that an absent share is not zero.
    pub used_by_share: Vec<(ShareName, Vec<Capacity>)>,
    /// When the utilisation was computed.
    pub utilisation_updated_at: Option<Timestamp>,
}

/// A job near the front of its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// The job's ARN.
    pub job_arn: String,
    /// Since when it has been at this position.
    pub since: Option<Timestamp>,
}

impl Position {
    /// The job's id; `None` if there is none in the ARN.
    pub fn job(&self) -> Option<JobId> {
        self.job_arn.rsplit('/').next().filter(|id| !id.is_empty()).map(JobId::from)
    }
}

/// What SageMaker says of the training job of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingJobSeen {
    /// The service job it belongs to.
    pub job: JobId,
    /// Its name.
    pub name: TrainingJobName,
    /// When instances were there and the download began, from the secondary status timeline.
    pub starting_at: Option<Timestamp>,
    /// When the container began to run.
    pub training_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Instance types and counts it runs on; empty if SageMaker does not say.
    pub instances: Vec<Capacity>,
    /// Why it failed, in SageMaker's words.
    pub failure_reason: Option<String>,
}

/// The mean GPU utilisation of one host over the latest minutes that have data.
#[derive(Clone, Debug, PartialEq)]
pub struct HostUtilisation {
    /// The service job that runs there.
    pub job: JobId,
    /// `<training job>/algo-<n>`.
    pub host: String,
    /// The end of the minute that the newest datapoint covers.
    pub at: Timestamp,
    /// Percent summed over the host's GPUs, as SageMaker reports it: 0 to 100 times their number.
    pub gpu_percent: f64,
}
