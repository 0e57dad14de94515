//! What happened to a job, once each: what counters and distributions are made of.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{JobId, QueueName, ShareName, Timestamp};

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
    /// By how many seconds the time that it tells of may be wrong: 0 where AWS gave both its ends.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uncertain_seconds: f64,
    /// What.
    pub what: What,
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
pub enum What {
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

/// Whose business a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureCategory {
    /// No instances to be had.
    Capacity,
    /// Preempted more often than the job allows.
    Preempted,
    /// SageMaker's own error.
    SagemakerInternal,
    /// The job or the queue is set up in a way that cannot work.
    Misconfiguration,
    /// Ran into a time limit.
    TimedOut,
    /// Someone or something asked for its end.
    Terminated,
    /// The code that ran.
    UserCode,
}

impl FailureCategory {
    /// Judges by the status reason (prefixes and fragments as AWS writes them, see `docs/METRICS.md`). What says nothing
    /// of AWS's own is taken to be the job's own code.
    pub fn of(status_reason: Option<&str>, terminated: bool) -> Self {
        let reason = status_reason.unwrap_or_default().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if says(&["preempt"]) {
            Self::Preempted
        } else if says(&["capacityerror", "insufficient_instance_capacity", "capacity:"]) {
            Self::Capacity
        } else if says(&["misconfiguration", "validationexception", "resourcelimitexceeded", "accessdenied"]) {
            Self::Misconfiguration
        } else if says(&["internalservererror", "internal error"]) {
            Self::SagemakerInternal
        } else if says(&["maxruntimeexceeded", "maxwaittimeexceeded", "timed out", "timeout", "time limit"]) {
            Self::TimedOut
        } else if terminated || says(&["terminated", "cancelled", "canceled"]) {
            Self::Terminated
        } else {
            Self::UserCode
        }
    }

    /// The label value used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Preempted => "preempted",
            Self::SagemakerInternal => "sagemaker_internal",
            Self::Misconfiguration => "misconfiguration",
            Self::TimedOut => "timed_out",
            Self::Terminated => "terminated",
            Self::UserCode => "user_code",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_put_down_to_whoever_can_mend_it() {
        let check = |reason: &str, terminated, expected| {
            assert_eq!(FailureCategory::of(Some(reason), terminated), expected, "{reason}");
        };
        check("Received status from SageMaker: CapacityError: none left", false, FailureCategory::Capacity);
        check(
            "Received status from SageMaker:InternalServerError: We encountered an internal error. Please try again.",
            false,
            FailureCategory::SagemakerInternal,
        );
        check(
            "Terminated by JobStateTimeLimit action due to reason: CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
            true,
            FailureCategory::Capacity,
        );
        check("Cross-share preemption triggered to reclaim borrowed capacity", false, FailureCategory::Preempted);
        check("no longer needed", true, FailureCategory::Terminated);
        check("Received status from SageMaker: AlgorithmError: exit code 1", false, FailureCategory::UserCode);
    }
}
