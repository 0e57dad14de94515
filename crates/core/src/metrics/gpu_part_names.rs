//! Parts of a queue's GPUs, and causes of unallocated GPUs.

/// State of a queue's GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Running, on hosts at or above [`IDLE_BELOW`](crate::metrics::gpu_waterfall::IDLE_BELOW).
    Busy,
    /// Running, on hosts below it.
    Idle,
    /// Running, on hosts without data or within [`GRACE`](crate::metrics::gpu_waterfall::GRACE).
    Unknown,
    /// STARTING: instances are allocated, the container is not running.
    Starting,
    /// SCHEDULED: SageMaker is looking for instances.
    Scheduled,
    /// Held by other queues of the same service environment.
    OtherQueues,
    /// Held by no job.
    Unallocated,
}

use serde::{Deserialize, Serialize};

impl Part {
    /// All parts, in display order.
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
    /// There is demand, but AWS has no instances.
    ProviderHasNone,
    /// There is demand, but quotas, borrow limits, a compute reservation or the set-up prevent it.
    QuotaBound,
    /// There is demand, but a larger job that does not fit is ahead, or the free capacity has another shape.
    ShapeDoesNotFit,
    /// There is demand that is about to be placed.
    BeingPlaced,
    /// There is no demand.
    NoDemand,
}

impl UnallocatedCause {
    /// All causes, in the order in which demand is matched with free capacity.
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
