//! Past values of the series that rules compare with the past. History starts with the replayed frames of an earlier
//! run; a window that starts before the first of them is known to be incomplete.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::metrics::catalogue::DURATION_BOUNDS;
use crate::metrics::{Distribution, Labels, Sample, Value};
use crate::model::Timestamp;
use crate::rules::rule::{Clause, Rule};

/// Approximate number of values kept per series: closer values replace each other, so windows are exact to this
/// fraction.
const POINTS_KEPT: u32 = 2_000;

/// Two values further apart than this fraction of the longest window, and than half of the window itself, have a gap
/// between them. Frames of an earlier run come in steps of 1/500 of the window.
const GAP: u32 = 250;

/// A distribution's fraction counts once this part of its window is covered: the short window of the same objective.
const COVERED_FOR_FRACTION: u32 = 12;

/// Past values by metric and, for objectives, bucket bound; then by series.
#[derive(Debug, Default)]
pub(super) struct History {
    metrics: BTreeMap<Key, Past>,
}

type Key = (&'static str, Option<usize>);

/// The value of a gauge or counter (the second number is unused), or the total and good values of a distribution.
type Point = (Timestamp, [f64; 2]);

#[derive(Debug)]
struct Past {
    began_at: Timestamp,
    longest: Duration,
    series: BTreeMap<Labels, VecDeque<Point>>,
}

impl History {
    /// Records every value that a rule compares, for the longest window.
    pub(super) fn remember(&mut self, rules: &[Rule], samples: &[&Sample], now: Timestamp) {
        let mut longest: BTreeMap<Key, Duration> = BTreeMap::new();
        for clause in rules.iter().flat_map(|rule| &rule.clauses) {
            if let Some(window) = clause.take.window() {
                let entry = longest.entry(key_of(clause)).or_default();
                *entry = (*entry).max(window);
            }
        }
        self.metrics.retain(|key, _| longest.contains_key(key));
        for ((metric, bound), longest) in longest {
            let new = || Past { began_at: now, longest, series: BTreeMap::new() };
            let past = self.metrics.entry((metric, bound)).or_insert_with(new);
            past.longest = longest;
            for sample in samples.iter().filter(|sample| sample.metric.name == metric) {
                past.remember(sample, bound, now);
            }
            // A series that is gone is kept for the longest window.
            past.series.retain(|_, points| points.back().is_some_and(|(at, _)| now.since(*at) <= longest));
        }
    }

    /// Increase of a series within `over`, excluding what happened before history began.
    pub(super) fn increase(&self, clause: &Clause, labels: &Labels, over: Duration, now: Timestamp) -> Option<f64> {
        let [grown, _] = self.grown(clause, labels, over, now)?;
        Some(grown)
    }

    /// Difference of a gauge from its value `over` ago; `None` without a value from then.
    pub(super) fn change(&self, clause: &Clause, labels: &Labels, over: Duration, now: Timestamp) -> Option<f64> {
        let points = self.metrics.get(&key_of(clause))?.series.get(labels)?;
        let (at, [before, _]) = last_before(points, over, now)?;
        let (_, [value, _]) = points.back()?;
        (now.since(*at) <= over * 2).then_some(value - before)
    }

    /// The fraction of a distribution's new values within `over` that are bad; `None` without new values.
    pub(super) fn fraction_above(
        &self,
        clause: &Clause,
        labels: &Labels,
        over: Duration,
        now: Timestamp,
    ) -> Option<f64> {
        let [all, good] = self.grown(clause, labels, over, now)?;
        (all > 0.0).then(|| 1.0 - good / all)
    }

    /// Whether history reaches back far enough to conclude that a clause does not hold.
    pub(super) fn covers(&self, clause: &Clause, now: Timestamp) -> bool {
        let Some(window) = clause.take.window() else { return true };
        let needed = if clause.take.bound().is_some() { window / COVERED_FOR_FRACTION } else { window };
        self.metrics.get(&key_of(clause)).is_some_and(|past| now.since(past.began_at) >= needed)
    }

    fn grown(&self, clause: &Clause, labels: &Labels, over: Duration, now: Timestamp) -> Option<[f64; 2]> {
        let points = self.metrics.get(&key_of(clause))?.series.get(labels)?;
        let past = self.metrics.get(&key_of(clause))?;
        // After a long gap before the window, increases during the gap do not belong to it: the window starts with
        // its first value.
        let not_long_before = over + over / 2 + past.longest / GAP;
        let before = last_before(points, over, now).filter(|(at, _)| now.since(*at) <= not_long_before);
        let first_within = || points.iter().find(|(at, _)| now.since(*at) < over);
        let (_, before) = before.or_else(first_within)?;
        let (_, last) = points.back()?;
        Some([(last[0] - before[0]).max(0.0), (last[1] - before[1]).max(0.0)])
    }
}

impl Past {
    fn remember(&mut self, sample: &Sample, bound: Option<usize>, now: Timestamp) {
        let value = match (&sample.value, bound) {
            (Value::Gauge(value) | Value::Counter(value), _) => [*value, 0.0],
            (Value::Distribution(distribution), bound) => counts(distribution, bound.unwrap_or(DURATION_BOUNDS.len())),
        };
        // A counter that appears later started at 0; on the first frame the current value is the baseline.
        let grows = !matches!(sample.value, Value::Gauge(_));
        let before = if grows && self.began_at != now { [0.0; 2] } else { value };
        match self.series.get_mut(&sample.labels) {
            Some(points) => push(points, (now, value), self.longest),
            None => {
                let mut points = [(now, before)].into();
                push(&mut points, (now, value), self.longest);
                self.series.insert(sample.labels.clone(), points);
            }
        }
    }
}

/// Total values, and values up to the bound.
fn counts(distribution: &Distribution, bound: usize) -> [f64; 2] {
    let good: u64 = distribution.buckets.iter().take(bound + 1).sum();
    [distribution.count as f64, good as f64]
}

fn key_of(clause: &Clause) -> Key {
    (clause.metric.name, clause.take.bound())
}

/// The last point at least `over` old; points are in time order.
fn last_before(points: &VecDeque<Point>, over: Duration, now: Timestamp) -> Option<&Point> {
    let old = points.partition_point(|(at, _)| now.since(*at) >= over);
    points.get(old.checked_sub(1)?)
}

fn push(points: &mut VecDeque<Point>, (now, value): Point, longest: Duration) {
    let last_but_one = points.len().checked_sub(2).and_then(|index| points.get(index));
    if last_but_one.is_some_and(|(at, _)| now.since(*at) < longest / POINTS_KEPT) {
        points.pop_back();
    }
    points.push_back((now, value));
    // Keep one value from before the window, as its baseline.
    while points.get(1).is_some_and(|(at, _)| now.since(*at) >= longest) {
        points.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_window_of_frequent_values_stays_small_and_right() {
        let mut points = VecDeque::new();
        let day = Duration::from_secs(86_400);
        for second in 0..200_000_i64 {
            push(&mut points, (Timestamp::from_millis(second * 1_000), [second as f64, 0.0]), day);
        }
        assert!(points.len() < 2 * POINTS_KEPT as usize, "{}", points.len());
        let (from, to) = (points.front().unwrap().1[0], points.back().unwrap().1[0]);
        assert_eq!(to, 199_999.0);
        assert!((86_400.0..86_500.0).contains(&(to - from)), "{from} to {to}");
    }
}
