//! Capacity that is paid for whether it is used or not.

use serde::{Deserialize, Serialize};

use crate::model::{InstanceType, Timestamp};

/// Instances of one training plan or warm pool, as SageMaker counts them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reserved {
    /// Kind of reservation.
    pub kind: ReservedKind,
    /// Name of the plan, or of the training job that left the warm pool.
    pub name: String,
    /// Instance type; for a plan with several types, whose usage SageMaker does not separate, all of them joined with
    /// `+`.
    pub unit: InstanceType,
    /// Total instances; `None` if AWS does not say, as below.
    pub total: Option<f64>,
    /// Instances in use.
    pub in_use: Option<f64>,
    /// Instances that are available but idle. Those neither in use nor idle are unhealthy or spare.
    pub idle: Option<f64>,
    /// End of a plan; `None` if AWS does not say.
    pub ends_at: Option<Timestamp>,
}

/// Kind of reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservedKind {
    /// A SageMaker training plan: bought in advance for a period.
    TrainingPlan,
    /// Instances that a training job leaves for the next one, for its keep-alive period.
    WarmPool,
}

impl ReservedKind {
    /// The label value used in metrics and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrainingPlan => "training_plan",
            Self::WarmPool => "warm_pool",
        }
    }
}
