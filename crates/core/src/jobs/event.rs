//! What happened to a job, once each: what counters and distributions are made of.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::jobs::failure::FailureCategory;
use crate::jobs::index::Move;
use crate::model::{JobId, QueueName, ShareName, Timestamp};

/// What one observation changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// What happened to jobs, in order of time.
    pub events: Vec<Event>,
    /// Waiting jobs that came to a class or left one, in order.
    pub moves: Vec<Move>,
}

impl Changes {
    /// Adds what a later observation changed.
    pub fn extend(&mut self, later: Self) {
        self.events.extend(later.events);
        self.moves.extend(later.moves);
    }
}

/// Something that happened to a job and is counted once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the API's time where it gives one.
    pub at: Timestamp,
    /// In which queue.
    pub queue: QueueName,
    /// In which share, if the queue has any.
    pub share: Option<ShareName>,
    /// The job's owner, by its tag, as far as the job was described.
    #[serde(serialize_with = "write_owner", deserialize_with = "read_owner", default)]
    pub owner: Option<Arc<str>>,
    /// The job's priority, as far as the job was described.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Which job; `None` for an event that an earlier run has kept.
    #[serde(skip)]
    pub job: Option<JobId>,
    /// By how many seconds the time that it gives may be wrong: 0 where AWS gave both its ends.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncertain_seconds: f64,
    /// Whether no earlier run has counted it, whenever it was: its job was saved before it happened.
    #[serde(skip)]
    pub is_news: bool,
    /// What.
    pub what: EventKind,
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

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventKind {
    /// A wait ended by dispatch.
    Dispatched {
        /// How long it lasted.
        seconds: f64,
        /// Whether it was the job's first.
        first: bool,
    },
    /// A first wait ended with the job's end: it was never dispatched.
    Cancelled {
        /// How long it lasted.
        seconds: f64,
    },
    /// The container began to run.
    Started {
        /// Seconds since dispatch.
        seconds: f64,
    },
    /// The container ended.
    Ran {
        /// Seconds it ran.
        seconds: f64,
    },
    /// An attempt was stopped to make room.
    Preempted {
        /// How long it had run, which is lost but for checkpoints; `None` if the times are not known.
        ran_seconds: Option<f64>,
        /// On how many GPUs; `None` if the instance type is not known.
        gpus: Option<f64>,
    },
    /// The job ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// GPU-seconds of its last attempt.
        gpu_seconds: Option<f64>,
    },
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// SUCCEEDED.
    Succeeded,
    /// FAILED, by category.
    Failed(FailureCategory),
    /// It was asked for again and AWS no longer knows it.
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
