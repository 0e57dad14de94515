//! Counters, distributions and events as they are kept over a restart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{JobId, Timestamp};

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

/// What is known of a job that AWS may not tell again, as it is kept over a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedJob {
    /// Which job.
    pub id: JobId,
    /// Its life so far, in words that only the engine reads.
    pub body: String,
}
