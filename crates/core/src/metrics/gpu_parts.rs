//! The parts that a queue's GPUs are divided into, and the causes why some are unallocated.

/// What GPUs of a queue are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Running, on hosts at or above [`IDLE_BELOW`](crate::metrics::waterfall::IDLE_BELOW).
    Busy,
    /// Running, on hosts below it.
    Idle,
    /// Running, on hosts without data or within [`GRACE`](crate::metrics::waterfall::GRACE).
    Unknown,
    /// STARTING: instances are there, the container is not.
    Starting,
    /// SCHEDULED: SageMaker looks for instances.
    Scheduled,
    /// Held by other queues of the same service environment.
    OtherQueues,
    /// Held by no job.
    Unallocated,
}

use serde::{Deserialize, Serialize};

impl Part {
    /// All of them, in the order in which pages draw them.
    pub const ALL: [Self; 7] =
        [Self::Busy, Self::Idle, Self::Unknown, Self::Starting, Self::Scheduled, Self::OtherQueues, Self::Unallocated];

    /// The label value used in metrics, and the key in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "running_busy",
            Self::Idle => "running_idle",
            Self::Unknown => "running_unknown",
            Self::Starting => "starting",
            Self::Scheduled => "scheduled",
            Self::OtherQueues => "other_queues",
            Self::Unallocated => "unallocated",
        }
    }
}

/// Why GPUs are unallocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnallocatedCause {
    /// Jobs want them, but AWS has no instances to give.
    ProviderHasNone,
    /// Jobs want them, but quotas, borrow limits, a compute reservation or the set-up forbid it.
    QuotaBound,
    /// Jobs want them, but larger ones than fit stand first, or what is free has another shape.
    ShapeDoesNotFit,
    /// Jobs want them and are about to get them.
    BeingPlaced,
    /// Nobody wants them.
    NoDemand,
}

impl UnallocatedCause {
    /// All of them, in the order in which demand is matched with what is free.
    pub const ALL: [Self; 5] =
        [Self::ProviderHasNone, Self::QuotaBound, Self::ShapeDoesNotFit, Self::BeingPlaced, Self::NoDemand];

    /// The label value used in metrics, and the key in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProviderHasNone => "provider_has_none",
            Self::QuotaBound => "quota_bound",
            Self::ShapeDoesNotFit => "shape_does_not_fit",
            Self::BeingPlaced => "being_placed",
            Self::NoDemand => "no_demand",
        }
    }
}
