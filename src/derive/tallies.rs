//! What only grows: counters and distributions, kept over restarts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::derive::catalogue::{self, DURATION_BOUNDS, Kind, Metric};
use crate::derive::frame::{Distribution, Labels, Quantiles, Sample, Value};
use crate::model::{SavedSeries, Timestamp};

/// How far back the quantiles that rules use look.
pub const RECENT: Duration = Duration::from_secs(3600);

/// Values of one distribution that [`RECENT`] remembers at most: the oldest go first.
pub const RECENT_VALUES: usize = 10_000;

/// All counters and distributions.
#[derive(Debug, Default)]
pub struct Tallies {
    counters: BTreeMap<Key, f64>,
    distributions: BTreeMap<Key, Tally>,
}

/// A series: metric name, then labels.
type Key = (&'static str, Labels);

#[derive(Debug, Default)]
struct Tally {
    buckets: Vec<u64>,
    sum: f64,
    count: u64,
    fresh: Vec<f64>,
    recent: VecDeque<(Timestamp, f64)>,
}

impl Tallies {
    /// Continues from what was saved. Series of metrics that no longer exist are dropped.
    pub fn restore(saved: &[SavedSeries]) -> Self {
        let mut tallies = Self::default();
        for series in saved {
            let Some(metric) = catalogue::find(&series.metric) else { continue };
            let Some(labels) = labels_of(metric, &series.labels) else { continue };
            let key = (metric.name, labels);
            match metric.kind {
                Kind::Counter => {
                    tallies.counters.insert(key, series.value);
                }
                Kind::Distribution => {
                    let mut buckets = series.buckets.clone();
                    buckets.resize(DURATION_BOUNDS.len() + 1, 0);
                    let (sum, count) = (series.sum, series.count);
                    tallies.distributions.insert(key, Tally { buckets, sum, count, ..Tally::default() });
                }
                Kind::Gauge => {}
            }
        }
        tallies
    }

    /// Everything, to be kept over a restart.
    pub fn saved(&self) -> Vec<SavedSeries> {
        let text =
            |labels: &Labels| labels.iter().map(|(label, value)| ((*label).to_owned(), value.to_string())).collect();
        let counters = self.counters.iter().map(|((metric, labels), value)| SavedSeries {
            metric: (*metric).to_owned(),
            labels: text(labels),
            value: *value,
            ..SavedSeries::default()
        });
        let distributions = self.distributions.iter().map(|((metric, labels), tally)| SavedSeries {
            metric: (*metric).to_owned(),
            labels: text(labels),
            buckets: tally.buckets.clone(),
            sum: tally.sum,
            count: tally.count,
            ..SavedSeries::default()
        });
        counters.chain(distributions).collect()
    }

    /// All series of a counter.
    pub fn counters(&self, metric: &'static Metric) -> impl Iterator<Item = (&Labels, f64)> {
        let of_metric = self.counters.iter().filter(|((name, _), _)| *name == metric.name);
        of_metric.map(|((_, labels), value)| (labels, *value))
    }

    /// Adds to a counter; adding 0 makes its series appear.
    pub fn add(&mut self, metric: &'static Metric, labels: Labels, increase: f64) {
        debug_assert!(metric.kind == Kind::Counter && increase >= 0.0, "{metric} + {increase}");
        *self.counters.entry((metric.name, labels)).or_default() += increase;
    }

    /// Adds a value, in seconds, to a distribution.
    pub fn record(&mut self, metric: &'static Metric, labels: Labels, at: Timestamp, seconds: f64) {
        let tally = self.distributions.entry((metric.name, labels)).or_default();
        tally.buckets.resize(DURATION_BOUNDS.len() + 1, 0);
        let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(count) = tally.buckets.get_mut(bucket) {
            *count += 1;
        }
        tally.sum += seconds;
        tally.count += 1;
        tally.fresh.push(seconds);
        tally.recent.push_back((at, seconds));
        if tally.recent.len() > RECENT_VALUES {
            tally.recent.pop_front();
        }
    }

    /// Makes a distribution's series appear with no values.
    pub fn touch(&mut self, metric: &'static Metric, labels: Labels) {
        let tally = self.distributions.entry((metric.name, labels)).or_default();
        tally.buckets.resize(DURATION_BOUNDS.len() + 1, 0);
    }

    /// The samples of the tick at `now`. Fresh values are handed out once.
    pub fn samples(&mut self, now: Timestamp) -> Vec<Sample> {
        let counters = self.counters.iter().filter_map(|((name, labels), value)| {
            Some(Sample { metric: catalogue::find(name)?, labels: labels.clone(), value: Value::Counter(*value) })
        });
        let distributions = self.distributions.iter_mut().filter_map(|((name, labels), tally)| {
            let value = Value::Distribution(tally.take(now));
            Some(Sample { metric: catalogue::find(name)?, labels: labels.clone(), value })
        });
        counters.chain(distributions).collect()
    }
}

impl Tally {
    fn take(&mut self, now: Timestamp) -> Distribution {
        self.recent.retain(|(at, _)| now.since(*at) <= RECENT);
        let mut sorted: Vec<f64> = self.recent.iter().map(|(_, seconds)| *seconds).collect();
        sorted.sort_by(f64::total_cmp);
        Distribution {
            buckets: self.buckets.clone(),
            sum: self.sum,
            count: self.count,
            fresh: std::mem::take(&mut self.fresh),
            recent: Quantiles::of_sorted(&sorted),
        }
    }
}

impl Quantiles {
    /// Of values sorted upwards; `None` if there are none.
    pub fn of_sorted(sorted: &[f64]) -> Option<Self> {
        let max = *sorted.last()?;
        let at = |hundredths: usize| sorted.get(sorted.len() * hundredths / 100).copied().unwrap_or(max);
        Some(Self {
            count: sorted.len() as u64,
            mean: sorted.iter().sum::<f64>() / sorted.len() as f64,
            p50: at(50),
            p90: at(90),
            p95: at(95),
            p99: at(99),
            max,
        })
    }
}

fn labels_of(metric: &'static Metric, saved: &BTreeMap<String, String>) -> Option<Labels> {
    metric.labels.iter().map(|label| Some((*label, Arc::from(saved.get(*label)?.as_str())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::labels;

    fn of_vision() -> Labels {
        labels([("queue", "research".into()), ("share", "vision".into())])
    }

    #[test]
    fn a_restart_continues_every_series() {
        let now = Timestamp::from_millis(0);
        let mut tallies = Tallies::default();
        tallies.add(&catalogue::JOB_PREEMPTIONS, of_vision(), 3.0);
        tallies.record(&catalogue::QUEUE_WAIT, of_vision(), now, 90.0);
        let saved = tallies.saved();
        assert_eq!(Tallies::restore(&saved).saved(), saved);
    }

    #[test]
    fn a_value_on_a_bound_falls_below_it() {
        let mut tallies = Tallies::default();
        for seconds in [0.0, 1.0, 1.5, 604_800.0, 604_801.0] {
            tallies.record(&catalogue::QUEUE_WAIT, of_vision(), Timestamp::default(), seconds);
        }
        let saved = tallies.saved();
        assert_eq!(saved[0].buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn fresh_values_are_handed_out_once_and_recent_ones_age() {
        let mut tallies = Tallies::default();
        tallies.record(&catalogue::QUEUE_WAIT, of_vision(), Timestamp::default(), 90.0);
        let taken = |tallies: &mut Tallies, minutes: u64| {
            let now = Timestamp::default() + Duration::from_secs(minutes * 60);
            match tallies.samples(now).remove(0).value {
                Value::Distribution(distribution) => (distribution.fresh.len(), distribution.recent.is_some()),
                Value::Gauge(_) | Value::Counter(_) => panic!("not a distribution"),
            }
        };
        assert_eq!(taken(&mut tallies, 1), (1, true));
        assert_eq!(taken(&mut tallies, 2), (0, true));
        assert_eq!(taken(&mut tallies, 61), (0, false));
    }

    #[test]
    fn a_quantile_is_the_element_at_the_floor_of_its_rank() {
        let quantiles = Quantiles::of_sorted(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((quantiles.p50, quantiles.p90, quantiles.max, quantiles.mean), (3.0, 4.0, 4.0, 2.5));
        assert_eq!(Quantiles::of_sorted(&[]), None);
    }
}
