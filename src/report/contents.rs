//! The figures of a report.

use serde::{Deserialize, Serialize};

use trainspotter_core::model::Timestamp;

/// A report. Unknown values are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Beginning of the period.
    pub from: Timestamp,
    /// End of the period, exclusive.
    pub to: Timestamp,
    /// Grouping keys.
    pub by: Vec<String>,
    /// The largest wastes, largest first.
    pub wastes: Vec<Waste>,
    /// Number of ended jobs.
    pub jobs: u64,
    /// Beginning of the first hour included in GPU-hours: completed hours that began in the period.
    #[serde(default)]
    pub hours_from: Option<Timestamp>,
    /// End of the last one.
    #[serde(default)]
    pub hours_to: Option<Timestamp>,
    /// GPU-hours of all queues, including idle ones.
    pub gpu_hours: f64,
    /// GPU-hours held by jobs.
    pub used_gpu_hours: f64,
    /// Cost of all GPU-hours.
    pub dollars: Option<f64>,
    /// Cost of what jobs held.
    pub used_dollars: Option<f64>,
    /// GPU-hours by part; the parts sum to all GPU-hours.
    pub parts: Vec<Gpus>,
    /// Unallocated GPU-hours by cause.
    pub idle: Vec<Gpus>,
    /// Lending and borrowing of shares with a quota.
    pub lending: Vec<Lending>,
    /// First waits compared with objectives.
    pub objectives: Vec<Objective>,
    /// Failed jobs, by who can fix them.
    pub failures: Vec<Failures>,
    /// Ended jobs, by the grouping keys.
    pub breakdown: Vec<Breakdown>,
    /// Missing data, with reasons.
    pub notes: Vec<String>,
}

/// GPU-hours of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpus {
    /// The kind.
    pub name: String,
    /// Number of GPU-hours.
    pub gpu_hours: f64,
    /// Their cost.
    pub dollars: Option<f64>,
}

/// Wasted GPU-hours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waste {
    /// The kind.
    pub name: String,
    /// Description.
    pub words: String,
    /// What can be done.
    pub advice: String,
    /// Number of GPU-hours.
    pub gpu_hours: f64,
    /// Their cost.
    pub dollars: Option<f64>,
}

/// Use of a share's quota, in GPU-hours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lending {
    /// Account of the queue, if known.
    #[serde(default)]
    pub account: Option<String>,
    /// Its region.
    #[serde(default)]
    pub region: Option<String>,
    /// The queue.
    pub queue: String,
    /// The share.
    pub share: String,
    /// Quota used by the share itself.
    pub own_gpu_hours: f64,
    /// Quota used by other shares.
    pub lent_gpu_hours: f64,
    /// Used beyond its quota.
    pub borrowed_gpu_hours: f64,
    /// Unused quota.
    pub idle_gpu_hours: f64,
    /// Unused quota while jobs of the share waited.
    pub idle_while_waiting_gpu_hours: f64,
}

/// An objective and its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Its name.
    pub name: String,
    /// Maximum good wait, in seconds.
    pub within_seconds: f64,
    /// Target fraction of good waits.
    pub target: f64,
    /// Actual fraction; `None` without waits.
    pub reached: Option<f64>,
    /// Number of ended first waits.
    pub waits: u64,
}

impl Objective {
    /// Whether it was met; `None` without waits.
    pub fn is_met(&self) -> Option<bool> {
        self.reached.map(|reached| reached >= self.target)
    }
}

/// First waits of jobs that were dispatched to SageMaker, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// Number.
    pub count: u64,
    /// Mean.
    pub mean_seconds: Option<f64>,
    /// Median.
    pub p50_seconds: Option<f64>,
    /// 90th percentile.
    pub p90_seconds: Option<f64>,
    /// Maximum.
    pub max_seconds: Option<f64>,
}

/// Failed jobs of one category.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failures {
    /// The category.
    pub category: String,
    /// Who can fix it.
    pub who: String,
    /// Description.
    pub words: String,
    /// Number of jobs.
    pub jobs: u64,
    /// GPU-hours of their attempts.
    pub lost_gpu_hours: f64,
}

/// Jobs with the same keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Key values, in the order of the report's keys; empty for a job without one.
    pub keys: Vec<String>,
    /// Number of ended jobs.
    pub jobs: u64,
    /// Number of succeeded jobs.
    pub succeeded: u64,
    /// Number of failed jobs.
    pub failed: u64,
    /// Number of preemptions.
    pub preemptions: u64,
    /// GPU-hours held, as far as known.
    pub gpu_hours: f64,
    /// Their cost, as far as known.
    pub dollars: Option<f64>,
    /// GPU-hours of attempts that did not succeed.
    pub lost_gpu_hours: f64,
    /// Their first waits.
    pub waits: Waits,
}
