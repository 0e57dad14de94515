//! Failures of the last day: their number and cost, by who can fix them (category) and by owner.
//!
//! Owners are free-text tags, so this is a table and not a metric.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::jobs::FailureCategory;
use crate::metrics::frame::FailureFigures;
use crate::model::{QueueName, ShareName, Timestamp};

/// Window of the table.
pub const WINDOW: Duration = Duration::from_secs(24 * 3_600);

/// Maximum failures remembered: the oldest are dropped first.
const KEPT: usize = 50_000;

type Key = (QueueName, ShareName, Arc<str>, FailureCategory);

/// Failures of the last day.
#[derive(Debug, Default)]
pub(super) struct Failures {
    recent: VecDeque<(Timestamp, Key, f64)>,
    /// Number and GPU-seconds of the failures in `recent`.
    sums: BTreeMap<Key, (u64, f64)>,
}

impl Failures {
    /// Records a failure, with the GPU-seconds of the last attempt; the owner may be empty.
    pub(super) fn record(&mut self, at: Timestamp, key: Key, gpu_seconds: f64) {
        let (count, lost) = self.sums.entry(key.clone()).or_default();
        (*count, *lost) = (*count + 1, *lost + gpu_seconds);
        self.recent.push_back((at, key, gpu_seconds));
        if self.recent.len() > KEPT {
            self.drop_oldest();
        }
    }

    /// The table, most frequent first, then by name.
    pub(super) fn rows(&mut self, now: Timestamp) -> Vec<FailureFigures> {
        while self.recent.front().is_some_and(|(at, ..)| now.since(*at) > WINDOW) {
            self.drop_oldest();
        }
        let row = |((queue, share, owner, category), (jobs, gpu_seconds)): (&Key, &(u64, f64))| FailureFigures {
            queue: queue.clone(),
            share: share.clone(),
            owner: Arc::clone(owner),
            category: *category,
            jobs: *jobs,
            gpu_seconds: *gpu_seconds,
        };
        let mut rows: Vec<FailureFigures> = self.sums.iter().map(row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.jobs));
        rows
    }

    fn drop_oldest(&mut self) {
        let Some((_, key, gpu_seconds)) = self.recent.pop_front() else { return };
        if let Some((count, lost)) = self.sums.get_mut(&key) {
            (*count, *lost) = (count.saturating_sub(1), (*lost - gpu_seconds).max(0.0));
            if *count == 0 {
                self.sums.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_owner_and_category_for_a_day() {
        let key = |owner: &str, category| ("q".into(), "s".into(), owner.into(), category);
        let hour = |hours: u64| Timestamp::default() + Duration::from_secs(hours * 3_600);
        let mut failures = Failures::default();
        failures.record(hour(0), key("ada", FailureCategory::UserCode), 100.0);
        failures.record(hour(1), key("bob", FailureCategory::UserCode), 10.0);
        failures.record(hour(2), key("bob", FailureCategory::UserCode), 20.0);
        failures.record(hour(3), key("bob", FailureCategory::Capacity), 0.0);
        let mut reported = |hours| {
            let rows = failures.rows(hour(hours));
            rows.iter().map(|row| (row.owner.to_string(), row.category, row.jobs, row.gpu_seconds)).collect::<Vec<_>>()
        };
        let (ada, bob) = ("ada".to_owned(), "bob".to_owned());
        let all = [
            (bob.clone(), FailureCategory::UserCode, 2, 30.0),
            (ada, FailureCategory::UserCode, 1, 100.0),
            (bob.clone(), FailureCategory::Capacity, 1, 0.0),
        ];
        assert_eq!(reported(24), all);
        assert_eq!(
            reported(26),
            [(bob.clone(), FailureCategory::Capacity, 1, 0.0), (bob, FailureCategory::UserCode, 1, 20.0)]
        );
        assert_eq!(reported(28), []);
    }
}
