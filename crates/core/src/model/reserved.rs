//! Capacity that is paid for whether jobs use it or not.

use serde::{Deserialize, Serialize};

use crate::model::{InstanceType, Timestamp};

/// Instances of one training plan or warm pool, as SageMaker counts them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reserved {
    /// What holds them.
    pub kind: ReservedKind,
    /// The name of the plan, or of the training job that left the pool.
    pub name: String,
    /// Their type; of a plan with several ones, whose use SageMaker does not tell apart, all of them with `+` between.
    pub unit: InstanceType,
    /// All of them; `None` if AWS does not say, as below.
    pub total: Option<f64>,
    /// On which something runs.
    pub in_use: Option<f64>,
    /// On which something could run, and nothing does. What is neither in use nor idle is unhealthy or spare.
    pub idle: Option<f64>,
    /// When a plan ends; `None` if AWS does not say.
    pub ends_at: Option<Timestamp>,
}

/// What holds capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservedKind {
    /// A SageMaker training plan: bought in advance for a time.
    TrainingPlan,
    /// Instances that a training job has left behind for the next one, for as long as its keep-alive period says.
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
