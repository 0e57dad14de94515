//! First waits that ended in a dispatch, since counting began: exact mean and maximum, and quantiles with a bounded error.

use std::collections::BTreeMap;

use crate::metrics::frame::{Quantiles, WaitFigures};
use crate::model::{QueueName, ShareName};

/// Maximum waits kept individually per queue and share, for exact quantiles. Beyond it neighbouring values are
/// merged: the rank error of a quantile is then below a thousandth of the count, however the load changes. Count,
/// mean and maximum stay exact.
pub const WAITS_KEPT: usize = 100_000;

/// First waits of every share.
#[derive(Debug, Default)]
pub struct Waits {
    by_share: BTreeMap<(QueueName, ShareName), Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Ordered by value.
    groups: Vec<Group>,
    /// Values not merged into the groups yet.
    fresh: Vec<f64>,
    sum: f64,
    count: u64,
    max: f64,
    /// `None` after a change.
    quantiles: Option<Quantiles>,
}

/// Merged waits, as in the summary of Greenwald and Khanna.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// The longest of them.
    seconds: f64,
    /// Their number.
    count: u32,
    /// How many values of later groups may be shorter.
    overlap: u32,
}

impl Kept {
    fn record(&mut self, seconds: f64) {
        self.sum += seconds;
        self.count += 1;
        self.max = self.max.max(seconds);
        self.fresh.push(seconds);
        self.quantiles = None;
        if self.fresh.len() >= WAITS_KEPT / 10 {
            self.merge();
        }
    }

    /// Merges fresh values into the groups.
    fn merge(&mut self) {
        self.fresh.sort_by(f64::total_cmp);
        let mut merged = Vec::with_capacity(self.groups.len() + self.fresh.len());
        let mut fresh = self.fresh.drain(..).peekable();
        for group in self.groups.drain(..) {
            // Values of the following group may be shorter.
            let overlap = group.count.saturating_add(group.overlap).saturating_sub(1);
            while let Some(seconds) = fresh.next_if(|seconds| *seconds < group.seconds) {
                merged.push(Group { seconds, count: 1, overlap });
            }
            merged.push(group);
        }
        merged.extend(fresh.map(|seconds| Group { seconds, count: 1, overlap: 0 }));
        self.groups = merged;
        let mut largest = self.count / (WAITS_KEPT as u64 / 4);
        while self.groups.len() > WAITS_KEPT {
            largest = (2 * largest).max(2);
            self.compress(u32::try_from(largest).unwrap_or(u32::MAX));
        }
    }

    /// Merges neighbours whose values, including those that may lie among them, are at most `largest`.
    fn compress(&mut self, largest: u32) {
        let mut kept: Vec<Group> = Vec::with_capacity(WAITS_KEPT);
        for group in self.groups.drain(..) {
            match kept.last_mut() {
                Some(last) if last.count.saturating_add(group.count).saturating_add(group.overlap) <= largest => {
                    *last = Group { count: last.count + group.count, ..group };
                }
                Some(_) | None => kept.push(group),
            }
        }
        self.groups = kept;
    }

    fn quantiles(&mut self) -> Option<Quantiles> {
        if self.quantiles.is_none() {
            self.merge();
            let [p50, p90, p95, p99] = self.at([50, 90, 95, 99]);
            let (count, max) = (self.count, self.max);
            self.quantiles =
                (count > 0).then(|| Quantiles { count, mean: self.sum / count as f64, p50, p90, p95, p99, max });
        }
        self.quantiles
    }

    /// The values at these percentiles, in order.
    fn at<const N: usize>(&self, hundredths: [u64; N]) -> [f64; N] {
        let mut groups = self.groups.iter();
        let (mut before, mut seconds) = (0_u64, self.max);
        hundredths.map(|hundredth| {
            let rank = u128::from(self.count) * u128::from(hundredth) / 100;
            while u128::from(before) <= rank
                && let Some(group) = groups.next()
            {
                before += u64::from(group.count);
                seconds = group.seconds;
            }
            seconds
        })
    }
}

impl Waits {
    /// Records a first wait.
    pub fn record(&mut self, queue: &QueueName, share: &ShareName, seconds: f64) {
        if seconds.is_finite() {
            self.by_share.entry((queue.clone(), share.clone())).or_default().record(seconds);
        }
    }

    /// Keeps the waits of the queues for which `is_watched` holds.
    pub fn watch(&mut self, is_watched: impl Fn(&str) -> bool) {
        self.by_share.retain(|(queue, _), _| is_watched(queue.as_str()));
    }

    /// Forgets the waits of a share.
    pub fn forget_share(&mut self, queue: &QueueName, share: &ShareName) {
        self.by_share.remove(&(queue.clone(), share.clone()));
    }

    /// One row per share with a wait.
    pub fn figures(&mut self) -> Vec<WaitFigures> {
        let row = |((queue, share), kept): (&(QueueName, ShareName), &mut Kept)| {
            Some(WaitFigures { queue: queue.clone(), share: share.clone(), seconds: kept.quantiles()? })
        };
        self.by_share.iter_mut().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// See [`WAITS_KEPT`].
    const MAX_RANK_ERROR: f64 = 0.001;

    /// A wait, from the elapsed fraction of the load and a random number.
    type Load = fn(f64, f64) -> f64;

    /// A pseudo-random number from 0 to `below`, deterministic for a seed.
    fn dice(seed: &mut u64, below: f64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) as f64 / (1_u64 << 31) as f64 * below
    }

    fn recorded(values: &[f64], look_every: usize) -> Quantiles {
        let mut waits = Waits::default();
        for (place, seconds) in values.iter().enumerate() {
            waits.record(&"q".into(), &"s".into(), *seconds);
            if place % look_every == 0 {
                waits.figures();
            }
        }
        let kept = waits.by_share.values().next().unwrap();
        assert!(kept.groups.len() <= WAITS_KEPT, "{}", kept.groups.len());
        waits.figures().remove(0).seconds
    }

    /// Rank error of a value, as a fraction of the count.
    fn rank_error(sorted: &[f64], value: f64, wanted: f64) -> f64 {
        let (first, last) = (sorted.partition_point(|x| *x < value), sorted.partition_point(|x| *x <= value));
        let (first, last, n) = (first as f64, last as f64, sorted.len() as f64);
        let rank = (wanted * n).floor();
        (first - rank).max(rank - last).max(0.0) / n
    }

    #[test]
    fn quantiles_are_exact_while_all_waits_are_kept() {
        let seed = &mut 7;
        let values: Vec<f64> = (0..WAITS_KEPT).map(|_| dice(seed, 1_000.0).floor()).collect();
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let exact = Quantiles::of_sorted(&sorted).unwrap();
        let found = recorded(&values, 9_973);
        assert!((found.mean - exact.mean).abs() < 1e-6);
        assert_eq!(found, Quantiles { mean: found.mean, ..exact });
    }

    #[test]
    fn old_values_weigh_as_much_as_new_ones_however_the_load_changes() {
        let n = WAITS_KEPT * 8;
        let part = |i: usize| i as f64 / n as f64;
        let loads: [(&str, Load); 5] = [
            ("steady", |_, x| x),
            ("long waits, then short ones", |part, x| if part < 0.3 { 5_000.0 + x } else { x }),
            ("short waits, then long ones", |part, x| if part < 0.7 { x } else { 5_000.0 + x * 9.0 }),
            ("ever longer", |part, x| part * 9_000.0 + x / 10.0),
            ("ever shorter", |part, x| (1.0 - part) * 9_000.0 + x / 10.0),
        ];
        for (name, load) in loads {
            let seed = &mut 11;
            let values: Vec<f64> = (0..n).map(|i| load(part(i), dice(seed, 1_000.0))).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let found = recorded(&values, 49_999);
            assert_eq!((found.count, found.max), (n as u64, *sorted.last().unwrap()), "{name}");
            assert!((found.mean / (sorted.iter().sum::<f64>() / n as f64) - 1.0).abs() < 1e-9, "{name}");
            for (wanted, value) in [(0.5, found.p50), (0.9, found.p90), (0.95, found.p95), (0.99, found.p99)] {
                let error = rank_error(&sorted, value, wanted);
                assert!(error <= MAX_RANK_ERROR, "{name}: {wanted} is off by {error} in rank");
            }
        }
    }
}
