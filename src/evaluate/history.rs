//! Past values of the counters that rules compare. Lives as long as the process: a window that began before it did is
//! known to be incomplete.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::derive::catalogue::Metric;
use crate::derive::{Frame, Labels, Sample, Value};
use crate::evaluate::rule::Rule;
use crate::model::Timestamp;

/// Values remembered per series, roughly: closer ones replace each other, so that a window is exact to this part of it.
const POINTS_KEPT: u32 = 2_000;

/// Past values, by metric and series.
#[derive(Debug, Default)]
pub(super) struct History {
    metrics: BTreeMap<&'static str, Past>,
}

#[derive(Debug)]
struct Past {
    began_at: Timestamp,
    series: BTreeMap<Labels, VecDeque<(Timestamp, f64)>>,
}

impl History {
    /// Remembers the counters of a frame that any rule looks at, for as long as the longest looks back.
    pub(super) fn remember(&mut self, rules: &[Rule], frame: &Frame) {
        let mut longest: BTreeMap<&'static str, Duration> = BTreeMap::new();
        for rule in rules {
            if let Some(increase) = rule.increase {
                let entry = longest.entry(rule.metric.name).or_default();
                *entry = (*entry).max(increase);
            }
        }
        self.metrics.retain(|metric, _| longest.contains_key(metric));
        // A series that appears later began at 0; in the first frame, counting goes on from what is there.
        let begun: Vec<&str> = self.metrics.keys().copied().collect();
        for metric in longest.keys() {
            self.metrics.entry(metric).or_insert_with(|| Past { began_at: frame.at, series: BTreeMap::new() });
        }
        for Sample { metric, labels, value } in &frame.samples {
            let (Value::Counter(value), Some(longest)) = (value, longest.get(metric.name)) else { continue };
            let Some(past) = self.metrics.get_mut(metric.name) else { continue };
            let before = if begun.contains(&metric.name) { 0.0 } else { *value };
            let points = past.series.entry(labels.clone()).or_insert_with(|| [(frame.at, before)].into());
            push(points, (frame.at, *value), *longest);
        }
    }

    /// How much a series has grown within `over`. What happened before the history began is missing in it.
    pub(super) fn increase(&self, sample: &Sample, over: Duration, now: Timestamp) -> Option<f64> {
        let points = self.metrics.get(sample.metric.name)?.series.get(&sample.labels)?;
        let before = points.iter().rev().find(|(at, _)| now.since(*at) >= over).or_else(|| points.front())?;
        Some((points.back()?.1 - before.1).max(0.0))
    }

    /// Whether the history of a metric reaches back that far.
    pub(super) fn covers(&self, metric: &Metric, over: Duration, now: Timestamp) -> bool {
        self.metrics.get(metric.name).is_some_and(|past| now.since(past.began_at) >= over)
    }
}

fn push(points: &mut VecDeque<(Timestamp, f64)>, (now, value): (Timestamp, f64), longest: Duration) {
    let last_but_one = points.len().checked_sub(2).and_then(|index| points.get(index));
    if last_but_one.is_some_and(|(at, _)| now.since(*at) < longest / POINTS_KEPT) {
        points.pop_back();
    }
    points.push_back((now, value));
    // One value from before the window stays: it is what the window is compared with.
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
            push(&mut points, (Timestamp::from_millis(second * 1_000), second as f64), day);
        }
        assert!(points.len() < 2 * POINTS_KEPT as usize, "{}", points.len());
        let (from, to) = (points.front().unwrap().1, points.back().unwrap().1);
        assert_eq!(to, 199_999.0);
        assert!((86_400.0..86_500.0).contains(&(to - from)), "{from} to {to}");
    }
}
