//! What of a series survives a restart.

use std::collections::BTreeMap;

/// A counter or a distribution as it stood at the last commit, so that neither falls to zero with the process.
///
/// A counter uses `value` only; a distribution leaves it 0 and uses the rest. All numbers are finite.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SavedSeries {
    /// The metric's name in the catalogue.
    pub metric: String,
    /// Label values by label.
    pub labels: BTreeMap<String, String>,
    /// The sum of a counter, in the metric's unit.
    pub value: f64,
    /// How many values of a distribution fell in each bucket, not cumulated; the last is beyond the largest bound.
    pub buckets: Vec<u64>,
    /// Sum of all values of a distribution, in the metric's unit.
    pub sum: f64,
    /// How many values a distribution has seen.
    pub count: u64,
}
