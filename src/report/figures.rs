//! What a report says.

use serde::{Deserialize, Serialize};

use trainspotter_core::model::Timestamp;

/// A report. What is not known is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// When its time begins.
    pub from: Timestamp,
    /// When it ends; that moment is not part of it.
    pub to: Timestamp,
    /// What it is broken down by.
    pub by: Vec<String>,
    /// The largest wastes, the largest first.
    pub wastes: Vec<Waste>,
    /// Jobs that ended.
    pub jobs: u64,
    /// When the first hour begins that is counted in GPU-hours: hours that are over, and begin in the report's time.
    #[serde(default)]
    pub hours_from: Option<Timestamp>,
    /// When the last one ends.
    #[serde(default)]
    pub hours_to: Option<Timestamp>,
    /// GPU-hours of all queues, idle ones included.
    pub gpu_hours: f64,
    /// GPU-hours that jobs held.
    pub used_gpu_hours: f64,
    /// Dollars of all of them.
    pub dollars: Option<f64>,
    /// Dollars of what jobs held.
    pub used_dollars: Option<f64>,
    /// What GPUs did, by part; the parts sum to all of them.
    pub parts: Vec<Gpus>,
    /// Why GPUs were unallocated, by cause.
    pub idle: Vec<Gpus>,
    /// What shares with a quota lent and borrowed.
    pub lending: Vec<Lending>,
    /// First waits against objectives.
    pub objectives: Vec<Objective>,
    /// Jobs that failed, by who can fix it.
    pub failures: Vec<Failures>,
    /// Jobs that ended, by the keys.
    pub breakdown: Vec<Breakdown>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// GPU-hours of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gpus {
    /// Which.
    pub name: String,
    /// How many GPU-hours.
    pub gpu_hours: f64,
    /// Their dollars.
    pub dollars: Option<f64>,
}

/// GPU-hours that did nothing of use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waste {
    /// Which.
    pub name: String,
    /// In words.
    pub words: String,
    /// What can be done.
    pub advice: String,
    /// How many GPU-hours.
    pub gpu_hours: f64,
    /// Their dollars.
    pub dollars: Option<f64>,
}

/// What a share did with its quota, in GPU-hours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lending {
    /// The account of the queue, where it is known.
    #[serde(default)]
    pub account: Option<String>,
    /// Its region.
    #[serde(default)]
    pub region: Option<String>,
    /// The queue.
    pub queue: String,
    /// The share.
    pub share: String,
    /// Of its quota, used by itself.
    pub own_gpu_hours: f64,
    /// Of its quota, used by others.
    pub lent_gpu_hours: f64,
    /// Used beyond its quota.
    pub borrowed_gpu_hours: f64,
    /// Of its quota, used by nobody.
    pub idle_gpu_hours: f64,
    /// ... although jobs of the share waited.
    pub idle_while_waiting_gpu_hours: f64,
}

/// An objective, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Its name.
    pub name: String,
    /// How long is good, in seconds.
    pub within_seconds: f64,
    /// The part of the waits that are to be good.
    pub target: f64,
    /// The part that was; `None` if there was no wait.
    pub reached: Option<f64>,
    /// First waits that ended.
    pub waits: u64,
}

impl Objective {
    /// Whether it was met; `None` if there was no wait.
    pub fn is_met(&self) -> Option<bool> {
        self.reached.map(|reached| reached >= self.target)
    }
}

/// First waits of jobs that were handed to SageMaker, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Waits {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_seconds: Option<f64>,
    /// Their median.
    pub p50_seconds: Option<f64>,
    /// The 90th percentile.
    pub p90_seconds: Option<f64>,
    /// The longest.
    pub max_seconds: Option<f64>,
}

/// Jobs that failed for one kind of reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failures {
    /// The category.
    pub category: String,
    /// Who can fix it.
    pub who: String,
    /// What it means.
    pub words: String,
    /// How many jobs.
    pub jobs: u64,
    /// GPU-hours of their attempts.
    pub lost_gpu_hours: f64,
}

/// Jobs that have the keys in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// Their values, in the order of the report's keys; empty where a job has none.
    pub keys: Vec<String>,
    /// How many jobs ended.
    pub jobs: u64,
    /// How many succeeded.
    pub succeeded: u64,
    /// How many failed.
    pub failed: u64,
    /// Times that one was preempted.
    pub preemptions: u64,
    /// GPU-hours that they held, as far as known.
    pub gpu_hours: f64,
    /// Their dollars, as far as known.
    pub dollars: Option<f64>,
    /// GPU-hours of attempts that did not succeed.
    pub lost_gpu_hours: f64,
    /// Their first waits.
    pub waits: Waits,
}
