//! Counters, distributions and events as they are kept over a restart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{JobId, QueueName, Timestamp};

/// One series that only grows. Counters use `value`; distributions the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedSeries {
    /// The metric's name in the catalogue.
    pub metric: Cow<'static, str>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The sum so far, of a counter.
    pub value: f64,
    /// Values per bucket so far, of a distribution.
    pub buckets: Vec<u64>,
    /// Sum of a distribution's values so far.
    pub sum: f64,
    /// How many values a distribution has had so far.
    pub count: u64,
}

/// Something that was counted, as it is kept over a restart: for figures of the last hour or day.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedEvent {
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in words that only the engine reads.
    pub body: String,
}

/// What is known of a job, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedJob {
    /// Which job.
    pub id: JobId,
    /// What is known of it, in words that only the engine reads.
    pub body: String,
}

/// Up to when the lists of a queue are complete, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedQueue {
    /// Which queue.
    pub name: QueueName,
    /// That, in words that only the engine reads.
    pub body: String,
}

/// Rows of a table that have to be written, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRows<K> {
    /// Rows that changed, in words that only the engine reads; `None` for those of which nothing is to be kept any more.
    pub changes: BTreeMap<K, Option<String>>,
    /// Whether these are all rows: what is not in here is to be forgotten.
    pub is_complete: bool,
}

/// What has to be written of jobs.
pub type SavedJobs = SavedRows<JobId>;

/// What has to be written of what forecasts have learnt.
pub type SavedForecast = SavedRows<String>;

impl<K> Default for SavedRows<K> {
    fn default() -> Self {
        Self { changes: BTreeMap::new(), is_complete: false }
    }
}

impl<K: Ord> SavedRows<K> {
    /// Takes in later changes.
    pub fn add(&mut self, later: Self) {
        if later.is_complete {
            *self = later;
            return;
        }
        self.changes.extend(later.changes);
        if self.is_complete {
            self.changes.retain(|_, body| body.is_some());
        }
    }
}

impl SavedJobs {
    /// The jobs to be kept, by id.
    pub fn kept(&self) -> impl Iterator<Item = SavedJob> {
        let job = |(id, body): (&JobId, &Option<String>)| Some(SavedJob { id: id.clone(), body: body.clone()? });
        self.changes.iter().filter_map(job)
    }
}
