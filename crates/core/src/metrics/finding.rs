//! A finding: a problem of a queue, share or environment, or of this machine.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{QueueName, ShareName};

/// Kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The quotas of an environment's shares exceed its capacity.
    OverPromised,
    /// A waiting job can never run in its share.
    JobTooLarge,
    /// A share LENDs, but no other share may borrow.
    NobodyBorrows,
    /// No job has used the share for [`UNUSED`](crate::metrics::misconfiguration::UNUSED).
    ShareUnused,
    /// No time limit ends a job that blocks the queue.
    NoTimeLimit,
    /// The account's limit is below what jobs ask for: SageMaker refuses them.
    AccountQuota,
    /// AWS reports the queue, its environment or one of its shares as INVALID.
    Invalid,
    /// The local clock differs from AWS's. Reported for the first queue only.
    ClockSkew,
}

impl Problem {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::OverPromised,
        Self::JobTooLarge,
        Self::NobodyBorrows,
        Self::ShareUnused,
        Self::NoTimeLimit,
        Self::AccountQuota,
        Self::Invalid,
        Self::ClockSkew,
    ];

    /// The label value used in metrics and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OverPromised => "over_promised",
            Self::JobTooLarge => "job_too_large",
            Self::NobodyBorrows => "nobody_borrows",
            Self::ShareUnused => "share_unused",
            Self::NoTimeLimit => "no_time_limit",
            Self::AccountQuota => "account_quota",
            Self::Invalid => "invalid",
            Self::ClockSkew => "clock_skew",
        }
    }
}

/// A problem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The queue.
    pub queue: QueueName,
    /// The share, if it concerns one.
    pub share: Option<ShareName>,
    /// Its kind.
    pub problem: Problem,
    /// Description, with numbers.
    pub what: String,
    /// How to fix it.
    pub advice: Cow<'static, str>,
}
