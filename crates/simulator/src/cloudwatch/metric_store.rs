//! Metrics that were put, by metric and minute. Bounded: the oldest minutes are dropped first, and new metrics beyond
//! the limit are counted but not kept.

use std::collections::BTreeMap;

use crate::cloudwatch::Metric;
use crate::cloudwatch::alarms::Alarms;
use crate::cloudwatch::dashboards::Dashboards;
use crate::cloudwatch::gpu;
use crate::cloudwatch::otlp;
use crate::cloudwatch::period_statistics::{MINUTE_MILLIS, Summary};
use trainspotter_core::model::Timestamp;

const MAX_METRICS: usize = 20_000;
/// Retention: one day of minutes.
const MAX_MINUTES: usize = 1_440;

/// State of CloudWatch: custom metrics, dashboards and alarms.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_metric: BTreeMap<Metric, Series>,
    data_accepted: u64,
    pub(super) dashboards: Dashboards,
    pub(super) alarms: Alarms,
    /// Metrics from the OTLP endpoint, which are separate from all others.
    pub(crate) otlp: otlp::Accepted,
}

/// A metric's minutes. In AWS, metrics with different units are different; here the last unit applies to all.
#[derive(Debug, Default)]
struct Series {
    unit: Option<String>,
    minutes: BTreeMap<i64, Summary>,
}

impl Metrics {
    /// Number of data accepted since the simulator started.
    pub(crate) fn data_accepted(&self) -> u64 {
        self.data_accepted
    }

    /// Adds values to the minute of `at`, as CloudWatch does.
    pub(super) fn put(&mut self, metric: Metric, unit: Option<String>, at: Timestamp, summary: Summary) {
        self.data_accepted += 1;
        self.keep(metric, unit, at, summary);
    }

    /// As [`Self::put`], for metrics that AWS publishes itself.
    pub(super) fn put_own(&mut self, metric: Metric, unit: &str, at: Timestamp, summary: Summary) {
        self.keep(metric, Some(unit.to_owned()), at, summary);
    }

    fn keep(&mut self, metric: Metric, unit: Option<String>, at: Timestamp, summary: Summary) {
        if self.by_metric.len() >= MAX_METRICS && !self.by_metric.contains_key(&metric) {
            return;
        }
        let series = self.by_metric.entry(metric).or_default();
        series.unit = unit;
        let minutes = &mut series.minutes;
        minutes.entry(at.millis().div_euclid(MINUTE_MILLIS)).or_default().merge(&summary);
        if minutes.len() > MAX_MINUTES {
            minutes.pop_first();
        }
    }

    /// Minutes of a metric that begin in `from..to`, oldest first.
    pub(super) fn minutes(&self, metric: &Metric, from: Timestamp, to: Timestamp) -> Vec<(i64, Summary)> {
        // Round both up: a minute belongs to the range if it begins in it.
        let minute_from = |at: Timestamp| -(-at.millis()).div_euclid(MINUTE_MILLIS);
        let (from, to) = (minute_from(from), minute_from(to));
        let Some(series) = self.by_metric.get(metric).filter(|_| from < to) else { return Vec::new() };
        series.minutes.range(from..to).map(|(minute, summary)| (*minute, summary.clone())).collect()
    }

    /// Unit of a metric; `None`, CloudWatch's unit, unless one was put.
    pub(super) fn unit(&self, metric: &Metric) -> &str {
        if metric.namespace == gpu::NAMESPACE {
            return gpu::UNIT;
        }
        self.by_metric.get(metric).and_then(|series| series.unit.as_deref()).unwrap_or("None")
    }

    /// Metrics after `after`, in order.
    pub(super) fn after(&self, after: Option<&Metric>) -> impl Iterator<Item = &Metric> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_metric.range((after.map_or(Unbounded, |metric| Excluded(metric.clone())), Unbounded)).map(|(m, _)| m)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_bounded() {
        let metric = Metric::default();
        let mut metrics = Metrics::default();
        for minute in 0..2_000 {
            metrics.put(
                metric.clone(),
                None,
                Timestamp::from_millis(minute * MINUTE_MILLIS),
                Summary::of([(1.0, 1.0)]),
            );
        }
        assert_eq!(metrics.by_metric[&metric].minutes.len(), MAX_MINUTES);
        assert_eq!(metrics.data_accepted(), 2_000);
        let all = metrics.minutes(&metric, Timestamp::from_millis(0), Timestamp::from_millis(2_000 * MINUTE_MILLIS));
        assert_eq!(all.first().map(|(minute, _)| *minute), Some(560));
    }
}
