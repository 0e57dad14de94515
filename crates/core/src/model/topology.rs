//! Queues, their capacity, and how they divide it, as configured in Batch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Capacity, InstanceType, QueueName, ShareName};

/// US dollars per instance and hour.
pub type Prices = BTreeMap<InstanceType, f64>;

/// Maximum price of an instance-hour, in dollars; a higher one is invalid.
pub const MAX_PRICE: f64 = 1_000_000.0;

/// A job queue of type `SAGEMAKER_TRAINING` with its policy and environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The queue's name.
    pub name: QueueName,
    /// The queue's ARN.
    pub arn: String,
    /// Whether the queue accepts jobs (`state` ENABLED).
    pub enabled: bool,
    /// `statusReason`; `JobQueue Healthy` for a healthy queue.
    pub status_reason: Option<String>,
    /// Whether Batch ends a job that blocks the queue too long (`jobStateTimeLimitActions`).
    pub has_time_limit: bool,
    /// The individual actions.
    pub time_limits: Vec<TimeLimit>,
    /// Messages about parts of the queue, its environment and its shares that AWS reports as INVALID.
    pub invalid: Vec<String>,
    /// How the queue divides its capacity.
    pub policy: Policy,
    /// The service environment that the queue uses; `None` if it could not be read.
    pub environment: Option<ServiceEnvironment>,
}

impl Queue {
    /// An enabled, healthy queue.
    pub fn new(name: impl Into<QueueName>, policy: Policy, environment: Option<ServiceEnvironment>) -> Self {
        Self {
            name: name.into(),
            arn: String::new(),
            enabled: true,
            status_reason: None,
            has_time_limit: true,
            time_limits: Vec::new(),
            invalid: Vec::new(),
            policy,
            environment,
        }
    }
}

/// Time after which Batch ends a job that waits at the front of its queue for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeLimit {
    /// The reason, or its beginning, as in `statusReason`.
    pub reason: String,
    /// Maximum wait for this reason.
    pub after: Duration,
}

/// How a queue orders jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// First in, first out: no scheduling policy.
    Fifo,
    /// Share identifiers with weights and decay.
    FairShare {
        /// The configured weights; a share identifier may end in `*`. A lower weight gets more capacity.
        shares: Vec<WeightedShare>,
        /// `shareDecaySeconds`: how far back usage counts; zero is Batch's default of ten minutes.
        decay: Duration,
        /// `computeReservation`, 0 to 99: this percentage of the capacity, to the power of the number of active
        /// shares, is reserved for inactive shares.
        reservation: u8,
    },
    /// Quota shares with fixed limits that may lend and borrow.
    QuotaShares(Vec<QuotaShare>),
}

impl Policy {
    /// The name used in the API and on pages: `FIFO`, `FAIR_SHARE` or `QUOTA_SHARE`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fifo => "FIFO",
            Self::FairShare { .. } => "FAIR_SHARE",
            Self::QuotaShares(_) => "QUOTA_SHARE",
        }
    }
}

/// One entry of a fair-share policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightedShare {
    /// The share identifier, or a prefix that ends in `*`.
    pub share: ShareName,
    /// `weightFactor`; 1.0 by default, lower gets more. [`WeightedShare::UNKNOWN`] if invalid.
    pub weight: f64,
}

impl WeightedShare {
    /// The weight of an entry with an invalid weight.
    pub const UNKNOWN: f64 = 0.0;

    /// Whether this is a valid weight: AWS accepts 0.0001 to 999.9999.
    pub fn is_weight(weight: f64) -> bool {
        (0.000_1..=1_000.0).contains(&weight)
    }

    /// The weight of a share identifier: its own, else that of the longest prefix entry, else 1. `None` if that
    /// entry's weight is unknown.
    pub fn weight_of(share: &str, weights: &[Self]) -> Option<f64> {
        let covers = |entry: &&Self| match entry.share.as_str().strip_suffix('*') {
            Some(prefix) => share.starts_with(prefix),
            None => entry.share.as_str() == share,
        };
        let exactness = |entry: &&Self| (!entry.share.as_str().ends_with('*'), entry.share.as_str().len());
        weights
            .iter()
            .filter(covers)
            .max_by_key(exactness)
            .map_or(Some(1.0), |entry| Some(entry.weight).filter(|weight| Self::is_weight(*weight)))
    }
}

/// A quota share of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaShare {
    /// The share's name.
    pub name: ShareName,
    /// Whether it accepts new jobs.
    pub enabled: bool,
    /// Its own capacity per instance type (one to five).
    pub limits: Vec<Capacity>,
    /// Use of its idle capacity.
    pub sharing: Sharing,
    /// Whether its jobs of higher priority preempt those of lower priority (`inSharePreemption`).
    pub in_share_preemption: bool,
}

impl QuotaShare {
    /// The share's own limit for `unit`; `None` if it has none of that type.
    pub fn limit(&self, unit: &InstanceType) -> Option<f64> {
        self.limits.iter().find(|limit| limit.unit == *unit).map(|limit| limit.quantity)
    }

    /// Whether other shares may use its idle capacity.
    pub fn lends(&self) -> bool {
        match self.sharing {
            Sharing::Lend | Sharing::LendAndBorrow { .. } => true,
            Sharing::Reserve | Sharing::Unknown => false,
        }
    }
}

/// The resource sharing strategy of a quota share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Neither lends nor borrows.
    Reserve,
    /// Lends what it does not use.
    Lend,
    /// Lends, and borrows up to `borrow_limit` percent of its own limit; `None` means unlimited.
    LendAndBorrow {
        /// Percent of the share's own limit per instance type; the API's -1 is `None`.
        borrow_limit: Option<u32>,
    },
    /// A strategy unknown to this build: treated as neither lending nor borrowing.
    Unknown,
}

/// A service environment: the fixed instance limits of one or more queues.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceEnvironment {
    /// Its name.
    pub name: String,
    /// Whether it accepts work (`state` ENABLED).
    pub enabled: bool,
    /// `NUM_INSTANCES` for FIFO and fair share, instance types for quota shares.
    pub limits: Vec<Capacity>,
}

/// Which shares have separate series. Share identifiers of fair-share queues are arbitrary, and each adds as many
/// series as a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharesShown {
    /// Globs over share identifiers; quota shares are always shown.
    pub show: Vec<String>,
    /// Maximum shares per queue.
    pub most: usize,
}

impl Default for SharesShown {
    fn default() -> Self {
        Self { show: vec!["*".to_owned()], most: 200 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_its_own_or_of_the_longest_prefix_or_one() {
        let weights = [("team*", 2.0), ("team-a*", 3.0), ("team-ab", 4.0)]
            .map(|(share, weight)| WeightedShare { share: share.into(), weight });
        for (share, weight) in [("team-ab", 4.0), ("team-abc", 3.0), ("team-b", 2.0), ("other", 1.0)] {
            assert_eq!(WeightedShare::weight_of(share, &weights), Some(weight), "{share}");
        }
        for odd in [WeightedShare::UNKNOWN, f64::NAN, f64::INFINITY, -1.0] {
            let weights = [WeightedShare { share: "team".into(), weight: odd }];
            assert_eq!(WeightedShare::weight_of("team", &weights), None, "{odd}");
            assert_eq!(WeightedShare::weight_of("other", &weights), Some(1.0), "{odd}");
        }
    }
}
