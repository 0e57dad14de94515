//! Messages from the sources to the engine. An outage is an observation too.

use std::collections::BTreeSet;

use crate::model::{Capacity, JobId, JobSeen, Queue, QueueName, Reserved, ShareName, Timestamp, TrainingJobName};

/// One fact that a source reports, including a failure to learn one.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// The account of the target.
    Account(String),
    /// All watched queues as configured; replaces the previous ones.
    Topology {
        /// Time of the request.
        at: Timestamp,
        /// All queues.
        queues: Vec<Queue>,
    },
    /// A page of jobs, or one described job.
    Jobs {
        /// Time of the request: its content was true no earlier than this, except for lagging lists.
        at: Timestamp,
        /// Time of the response: its content was true no later than this.
        answered_at: Timestamp,
        /// The jobs on the page.
        jobs: Vec<JobSeen>,
    },
    /// A requested job that does not exist (any more).
    JobGone {
        /// Time of the request.
        at: Timestamp,
        /// Time of the response.
        answered_at: Timestamp,
        /// The job.
        id: JobId,
    },
    /// Every in-flight status of a queue was listed to its last page, starting at `since`. A job that was in flight
    /// before and was not seen since has left those statuses.
    InFlightListed {
        /// The queue.
        queue: QueueName,
        /// Time of the first of these requests.
        since: Timestamp,
    },
    /// Every waiting status of a queue was listed to its last page, starting at `since`.
    WaitingListed {
        /// The queue.
        queue: QueueName,
        /// Time of the first of these requests.
        since: Timestamp,
    },
    /// A queue's own snapshot.
    Snapshot(QueueSnapshot),
    /// SageMaker's description of a training job.
    TrainingJob(TrainingJobSeen),
    /// All watched reserved capacity, which is paid for whether used or not; replaces the previous state.
    Reserved {
        /// Time of the request.
        at: Timestamp,
        /// All training plans and warm pools.
        all: Vec<Reserved>,
    },
    /// GPU utilisation of hosts, as available from CloudWatch.
    Utilisation {
        /// Time of the request.
        at: Timestamp,
        /// One entry per host with data. Hosts without data are absent, not zero.
        hosts: Vec<HostUtilisation>,
    },
    /// A source responded completely.
    Answered {
        /// The source.
        source: Source,
        /// The queue, if the source is per queue.
        queue: Option<QueueName>,
        /// Time of its first call.
        at: Timestamp,
    },
    /// The description of one item was refused or is unreadable, while the source responds.
    Undescribed {
        /// The item.
        item: Undescribed,
        /// Time of the response.
        at: Timestamp,
        /// Whether it is certainly the item's own fault, and not the source's.
        is_own: bool,
        /// The error message.
        error: String,
    },
    /// A source did not respond, or only in part.
    Failed {
        /// The source.
        source: Source,
        /// The queue, if the source is per queue.
        queue: Option<QueueName>,
        /// Time of the failure.
        at: Timestamp,
        /// The error message.
        error: String,
    },
    /// Calls since the last such observation.
    Calls(Vec<Calls>),
    /// A built-in limit dropped something since the last such observation.
    LimitHit {
        /// Name of the limit.
        limit: &'static str,
        /// Number of times.
        times: u64,
    },
    /// Training job limits of the account by instance type, as far as they are queried and could be read; other
    /// limits keep their value.
    AccountLimits(Vec<Capacity>),
    /// Training jobs of the account that are running or about to, including those outside any queue.
    TrainingJobsListed {
        /// Time of the request.
        at: Timestamp,
        /// Their names.
        names: BTreeSet<TrainingJobName>,
        /// Whether the list is complete.
        is_complete: bool,
    },
    /// Instances of a training job without a known service job; empty if it has ended, or if it counts against other
    /// limits of the account.
    OutsideTrainingJob {
        /// Name of the training job.
        name: TrainingJobName,
        /// Its instances.
        instances: Vec<Capacity>,
    },
    /// There is no queue to watch.
    NoQueues {
        /// Message with what was searched for, and what exists.
        why: String,
    },
    /// Why not all queues can be watched, or not in time; `None` if all are.
    TooManyQueues {
        /// Message with the numbers, and what to do.
        why: Option<String>,
    },
    /// A value unknown to this build: an enum variant, a capacity unit, an instance type.
    UnknownValue {
        /// Kind of value, such as `job_status`.
        kind: &'static str,
        /// The value as the API spells it.
        value: String,
    },
}

/// An item without a description.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Undescribed {
    /// A service job.
    Job(JobId),
    /// A training job, of a service job or outside the queues.
    TrainingJob(TrainingJobName),
}

impl Undescribed {
    /// Its id or name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Job(id) => id.as_str(),
            Self::TrainingJob(name) => name.as_str(),
        }
    }

    /// The source of its description.
    pub fn source(&self) -> Source {
        match self {
            Self::Job(_) => Source::Descriptions,
            Self::TrainingJob(_) => Source::TrainingJobs,
        }
    }
}

/// Where observations come from. The age of each source is tracked separately.
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
    /// The account's limits, and training jobs outside the queues.
    Account,
    /// The SQS queue with job events.
    Events,
}

impl Source {
    /// All sources, in a fixed order.
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

    /// Whether it is used only if configured.
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

/// Number of calls of an API operation with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// `batch`, `sagemaker`, `cloudwatch`, `sns`.
    pub service: &'static str,
    /// The operation, such as `ListServiceJobs`.
    pub operation: &'static str,
    /// Outcome.
    pub outcome: CallOutcome,
    /// Number of attempts; each retry counts.
    pub count: u64,
}

/// Outcome of one attempt of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallOutcome {
    /// A response.
    Ok,
    /// Rejected by rate limiting.
    Throttled,
    /// Any other error, including timeouts and closed connections.
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

/// A queue's own snapshot (`GetJobQueueSnapshot`), with the age of each block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueSnapshot {
    /// The queue.
    pub queue: Option<QueueName>,
    /// Time of the request.
    pub at: Timestamp,
    /// The first jobs (at most 100) in dispatch order.
    pub front: Vec<Position>,
    /// Time when the front was computed.
    pub front_updated_at: Option<Timestamp>,
    /// Capacity in use by dispatched jobs, in AWS's choice of unit.
    pub used: Vec<Capacity>,
    /// Capacity in use by share: the top shares only, so an absent share is not zero.
    pub used_by_share: Vec<(ShareName, Vec<Capacity>)>,
    /// Time when the utilisation was computed.
    pub utilisation_updated_at: Option<Timestamp>,
}

/// A job near the front of its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// The job's ARN.
    pub job_arn: String,
    /// When it reached this position.
    pub since: Option<Timestamp>,
}

impl Position {
    /// The job's id; `None` if the ARN has none.
    pub fn job(&self) -> Option<JobId> {
        self.job_arn.rsplit('/').next().filter(|id| !id.is_empty()).map(JobId::from)
    }
}

/// SageMaker's description of the training job of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingJobSeen {
    /// The service job it belongs to.
    pub job: JobId,
    /// Its name.
    pub name: TrainingJobName,
    /// When instances were allocated and the download began, from the secondary status timeline.
    pub starting_at: Option<Timestamp>,
    /// When the container started.
    pub training_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its instance types and counts; empty if SageMaker does not say.
    pub instances: Vec<Capacity>,
    /// Why it failed, in SageMaker's wording.
    pub failure_reason: Option<String>,
}

impl TrainingJobSeen {
    /// Whether SageMaker knows anything about it: Batch deletes the training jobs of attempts that found no capacity.
    pub fn exists(&self) -> bool {
        let times = [self.starting_at, self.training_at, self.ended_at];
        times.iter().any(Option::is_some) || !self.instances.is_empty() || self.failure_reason.is_some()
    }
}

/// The mean GPU utilisation of one host over the latest minutes that have data.
#[derive(Clone, Debug, PartialEq)]
pub struct HostUtilisation {
    /// The service job on this host.
    pub job: JobId,
    /// `<training job>/algo-<n>`.
    pub host: String,
    /// End of the minute of the newest data point.
    pub at: Timestamp,
    /// Sum of the percentages of the host's GPUs, as SageMaker reports it: 0 to 100 times their number.
    pub gpu_percent: f64,
}
