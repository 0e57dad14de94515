//! First waits since the service began: exact mean and quantiles.

use std::collections::BTreeMap;

use crate::metrics::frame::{Quantiles, WaitFigures};
use crate::model::{QueueName, ShareName};

/// Waits kept per queue and share for exact quantiles, at most. Beyond it, every second value is dropped: quantiles
/// stay within a hundredth of a percent in rank, count, mean and maximum stay exact.
pub const WAITS_KEPT: usize = 100_000;

/// The first waits of every share.
#[derive(Debug, Default)]
pub struct Waits {
    by_share: BTreeMap<(QueueName, ShareName), Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    sorted: Vec<f64>,
    sum: f64,
    count: u64,
    max: f64,
}

impl Waits {
    /// Takes in one first wait.
    pub fn record(&mut self, queue: &QueueName, share: &ShareName, seconds: f64) {
        let kept = self.by_share.entry((queue.clone(), share.clone())).or_default();
        kept.sum += seconds;
        kept.count += 1;
        kept.max = kept.max.max(seconds);
        let at = kept.sorted.partition_point(|other| *other < seconds);
        kept.sorted.insert(at, seconds);
        if kept.sorted.len() > WAITS_KEPT {
            let mut index = 0_usize;
            kept.sorted.retain(|_| {
                index += 1;
                index.is_multiple_of(2)
            });
        }
    }

    /// Keeps the waits of the queues of which this holds.
    pub fn watch(&mut self, is_watched: impl Fn(&str) -> bool) {
        self.by_share.retain(|(queue, _), _| is_watched(queue.as_str()));
    }

    /// Forgets the waits of a share.
    pub fn forget_share(&mut self, queue: &QueueName, share: &ShareName) {
        self.by_share.remove(&(queue.clone(), share.clone()));
    }

    /// One row per share that had a wait.
    pub fn figures(&self) -> Vec<WaitFigures> {
        let row = |((queue, share), kept): (&(QueueName, ShareName), &Kept)| {
            let (mean, max) = (kept.sum / kept.count as f64, kept.max);
            let seconds = Quantiles { count: kept.count, max, ..Quantiles::with_mean(&kept.sorted, mean)? };
            Some(WaitFigures { queue: queue.clone(), share: share.clone(), seconds })
        };
        self.by_share.iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_count_mean_and_maximum_exact_and_quantiles_close() {
        let mut waits = Waits::default();
        let n = WAITS_KEPT * 3;
        for i in 0..n {
            waits.record(&"q".into(), &"s".into(), ((i * 7_919) % n) as f64);
        }
        let figures = waits.figures();
        let seconds = figures[0].seconds;
        assert_eq!((seconds.count, seconds.max), (n as u64, (n - 1) as f64));
        assert!((seconds.mean - (n - 1) as f64 / 2.0).abs() < 1e-6);
        assert!((seconds.p95 / n as f64 - 0.95).abs() < 0.01, "{}", seconds.p95);
    }
}
