//! Events of jobs, each reported once: the input of counters and distributions.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jobs::failure::FailureCategory;
use crate::jobs::index::Move;
use crate::model::{JobId, QueueName, ShareName, Timestamp};

/// Effects of one observation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Events of jobs, in time order.
    pub events: Vec<Event>,
    /// Waiting jobs that joined or left a class, in order.
    pub moves: Vec<Move>,
}

impl Changes {
    /// Appends the effects of a later observation.
    pub fn extend(&mut self, later: Self) {
        self.events.extend(later.events);
        self.moves.extend(later.moves);
    }
}

/// An event of a job, counted once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Time of the event, from the API where available.
    pub at: Timestamp,
    /// Its queue.
    pub queue: QueueName,
    /// Its share, if the queue has shares.
    pub share: Option<ShareName>,
    /// The job's owner, from its tag, if the job was described.
    #[serde(serialize_with = "write_owner", deserialize_with = "read_owner", default)]
    pub owner: Option<Arc<str>>,
    /// The job's priority, if the job was described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The job; `None` for an event saved by an earlier run.
    #[serde(skip)]
    pub job: Option<JobId>,
    /// Uncertainty of its duration in seconds: 0 if AWS gave both times.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncertain_seconds: f64,
    /// Whether certainly no earlier run has counted it: its job was saved before the event.
    #[serde(skip)]
    pub is_news: bool,
    /// Kind of event.
    pub what: EventKind,
}

impl Event {
    /// Its job, if it is known, and whether it is a preemption.
    pub fn of_job(&self) -> Option<(&JobId, bool)> {
        Some((self.job.as_ref()?, matches!(self.what, EventKind::Preempted { .. })))
    }
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

fn write_owner<S: Serializer>(owner: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    owner.as_deref().serialize(serializer)
}

fn read_owner<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<str>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Arc::from))
}

/// Kind of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// A wait ended with a dispatch.
    Dispatched {
        /// Duration of the wait.
        seconds: f64,
        /// Whether it was the job's first wait.
        first: bool,
    },
    /// The first wait ended with the job's end: it was never dispatched.
    Cancelled {
        /// Duration of the wait.
        seconds: f64,
    },
    /// The container started.
    Started {
        /// Seconds since dispatch.
        seconds: f64,
    },
    /// The container ended.
    Ran {
        /// Seconds it ran.
        seconds: f64,
    },
    /// An attempt was preempted.
    Preempted {
        /// Its run time, which is lost except for checkpoints; `None` if unknown.
        ran_seconds: Option<f64>,
        /// Its GPUs; `None` if the instance type is unknown.
        gpus: Option<f64>,
    },
    /// The job ended.
    Ended {
        /// Outcome.
        outcome: Outcome,
        /// GPU-seconds of its last attempt.
        gpu_seconds: Option<f64>,
    },
}

/// Outcome of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// SUCCEEDED.
    Succeeded,
    /// FAILED, by category.
    Failed(FailureCategory),
    /// AWS no longer knows it.
    Vanished,
}

impl Outcome {
    /// The label value used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Vanished => "vanished",
        }
    }
}
