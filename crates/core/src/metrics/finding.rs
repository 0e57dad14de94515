//! A finding: one thing that is wrong with a queue, share or environment, or with this machine.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{QueueName, ShareName};

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// The quotas of an environment's shares sum to more than the environment has.
    OverPromised,
    /// A job waits that its share can never run.
    JobTooLarge,
    /// A share LENDs, and no other share may borrow.
    NobodyBorrows,
    /// No job has used the share for [`UNUSED`](crate::metrics::misconfiguration::UNUSED).
    ShareUnused,
    /// Nothing ends a job that blocks the queue.
    NoTimeLimit,
    /// The account may have fewer instances at a time than jobs ask for: SageMaker refuses them.
    AccountQuota,
    /// AWS calls the queue, its environment or one of its shares INVALID.
    Invalid,
    /// This machine's clock differs from AWS's. Reported of the first queue only.
    ClockSkew,
}

impl Problem {
    /// All of them.
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

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The queue.
    pub queue: QueueName,
    /// The share, if it is about one.
    pub share: Option<ShareName>,
    /// What kind.
    pub problem: Problem,
    /// What is wrong, with numbers.
    pub what: String,
    /// What would mend it.
    pub advice: Cow<'static, str>,
}
