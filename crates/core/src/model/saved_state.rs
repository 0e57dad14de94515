//! Counters, distributions and events that are saved across restarts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{JobId, QueueName, Timestamp};

/// One cumulative series. Counters use `value`; distributions the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedSeries {
    /// The metric's name in the catalogue.
    pub metric: Cow<'static, str>,
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Total of a counter.
    pub value: f64,
    /// Values per bucket of a distribution.
    pub buckets: Vec<u64>,
    /// Sum of a distribution's values.
    pub sum: f64,
    /// Number of a distribution's values.
    pub count: u64,
}

/// A counted event, saved for the figures of the last hour or day.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedEvent {
    /// Time of the event.
    pub at: Timestamp,
    /// The event, in an engine-internal format.
    pub body: String,
}

/// A saved job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedJob {
    /// Id of the job.
    pub id: JobId,
    /// Its state, in an engine-internal format.
    pub body: String,
}

/// Time up to which the lists of a queue are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedQueue {
    /// Name of the queue.
    pub name: QueueName,
    /// The time, in an engine-internal format.
    pub body: String,
}

/// Rows of a table to write, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedRows<K> {
    /// Changed rows, in an engine-internal format; `None` deletes a row.
    pub changes: BTreeMap<K, Option<String>>,
    /// Whether these are all rows: delete any row that is not in `changes`.
    pub is_complete: bool,
}

/// Job rows to write.
pub type SavedJobs = SavedRows<JobId>;

/// Rows of learned forecast data to write.
pub type SavedForecast = SavedRows<String>;

impl<K> Default for SavedRows<K> {
    fn default() -> Self {
        Self { changes: BTreeMap::new(), is_complete: false }
    }
}

impl<K: Ord> SavedRows<K> {
    /// Applies later changes.
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
    /// The jobs to keep, by id.
    pub fn kept(&self) -> impl Iterator<Item = SavedJob> {
        let job = |(id, body): (&JobId, &Option<String>)| Some(SavedJob { id: id.clone(), body: body.clone()? });
        self.changes.iter().filter_map(job)
    }
}
