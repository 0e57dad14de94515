//! Counters and distributions, kept across restarts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::catalogue::{self, DURATION_BOUNDS, Kind, Metric, bucket_of};
use crate::metrics::frame::{Distribution, Labels, Quantiles, Sample, Value};
use crate::model::{QueueName, SavedSeries, ShareName, Timestamp};

/// Window of the quantiles in rules.
pub const RECENT: Duration = Duration::from_secs(3600);

/// Maximum values of one distribution within [`RECENT`]: the oldest are dropped first.
pub const RECENT_VALUES: usize = 10_000;

/// All counters and distributions.
#[derive(Debug, Default)]
pub struct Counters {
    counters: BTreeMap<Key, Counter>,
    distributions: BTreeMap<Key, Tally>,
}

#[derive(Debug)]
struct Counter {
    metric: &'static Metric,
    value: f64,
    kept_as: Arc<BTreeMap<String, String>>,
}

/// Key of a series: metric name and labels.
type Key = (&'static str, Labels);

#[derive(Debug)]
struct Tally {
    metric: &'static Metric,
    buckets: Vec<u64>,
    sum: f64,
    count: u64,
    fresh: Vec<(Timestamp, f64)>,
    /// Values of the last hour, ordered by time.
    recent: VecDeque<(Timestamp, f64)>,
    /// Quantiles of `recent`; `None` after a change.
    quantiles: Option<Option<Quantiles>>,
    kept_as: Arc<BTreeMap<String, String>>,
}

impl Counters {
    /// Restores saved series. Those of removed metrics are dropped.
    pub fn restore(saved: &[SavedSeries]) -> Self {
        let mut tallies = Self::default();
        for series in saved {
            let Some(metric) = catalogue::find(&series.metric) else { continue };
            let Some(labels) = labels_of(metric, &series.labels) else { continue };
            let key = (metric.name, labels);
            let is_figure = series.value.is_finite() && series.sum.is_finite();
            match metric.kind {
                // An invalid value is dropped: the series starts again.
                _ if !is_figure => {}
                Kind::Counter => {
                    let kept_as = Arc::clone(&series.labels);
                    tallies.counters.insert(key, Counter { metric, value: series.value, kept_as });
                }
                Kind::Distribution => {
                    let mut buckets = series.buckets.clone();
                    buckets.resize(DURATION_BOUNDS.len() + 1, 0);
                    let (sum, count) = (series.sum, series.count);
                    let tally = Tally { buckets, sum, count, ..Tally::new(metric, Arc::clone(&series.labels)) };
                    tallies.distributions.insert(key, tally);
                }
                Kind::Gauge => {}
            }
        }
        tallies
    }

    /// All series, to be saved.
    pub fn saved(&self) -> Vec<SavedSeries> {
        let counters = self.counters.iter().map(|((metric, _), counter)| SavedSeries {
            metric: Cow::Borrowed(*metric),
            labels: Arc::clone(&counter.kept_as),
            value: counter.value,
            ..SavedSeries::default()
        });
        let distributions = self.distributions.iter().map(|((metric, _), tally)| SavedSeries {
            metric: Cow::Borrowed(*metric),
            labels: Arc::clone(&tally.kept_as),
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
        of_metric.map(|((_, labels), counter)| (labels, counter.value))
    }

    /// Adds to a counter; adding 0 starts its series. Infinite, undefined or negative increases are ignored.
    pub fn add(&mut self, metric: &'static Metric, labels: Labels, increase: f64) {
        debug_assert!(metric.kind == Kind::Counter, "{metric}");
        let increase = if increase.is_finite() { increase.max(0.0) } else { 0.0 };
        let key = (metric.name, labels);
        match self.counters.get_mut(&key) {
            Some(counter) => {
                let value = counter.value + increase;
                counter.value = if value.is_finite() { value } else { counter.value };
            }
            None => {
                let counter = Counter { metric, value: increase, kept_as: kept_as(&key.1) };
                self.counters.insert(key, counter);
            }
        }
    }

    /// Adds a value, in seconds, to a distribution. Infinite or undefined values are ignored.
    pub fn record(&mut self, metric: &'static Metric, labels: Labels, at: Timestamp, seconds: f64) {
        if !seconds.is_finite() {
            return self.touch(metric, labels);
        }
        let tally = self.tally(metric, labels);
        if let Some(count) = tally.buckets.get_mut(bucket_of(seconds)) {
            *count += 1;
        }
        tally.sum += seconds;
        tally.count += 1;
        tally.fresh.push((at, seconds));
        tally.remember(at, seconds);
    }

    /// Restores a value from before a restart: it counts for the last hour only.
    pub fn remember(&mut self, metric: &'static Metric, labels: Labels, at: Timestamp, seconds: f64) {
        if seconds.is_finite() {
            self.tally(metric, labels).remember(at, seconds);
        }
    }

    /// Keeps the series for which `keep` holds, given their queue and share, if any.
    pub fn retain(&mut self, keep: impl Fn(Option<&str>, Option<&str>) -> bool) {
        fn label<'a>(labels: &'a Labels, name: &str) -> Option<&'a str> {
            labels.get(name).map(|value| &**value)
        }
        self.counters.retain(|(_, labels), _| keep(label(labels, "queue"), label(labels, "share")));
        self.distributions.retain(|(_, labels), _| keep(label(labels, "queue"), label(labels, "share")));
    }

    /// All queues and shares with series.
    pub fn shares(&self) -> BTreeSet<(QueueName, ShareName)> {
        let keys = self.counters.keys().chain(self.distributions.keys());
        keys.filter_map(|(_, labels)| Some(((&**labels.get("queue")?).into(), (&**labels.get("share")?).into())))
            .collect()
    }

    /// Starts the series of a distribution without values.
    pub fn touch(&mut self, metric: &'static Metric, labels: Labels) {
        self.tally(metric, labels);
    }

    fn tally(&mut self, metric: &'static Metric, labels: Labels) -> &mut Tally {
        let tally = self.distributions.entry((metric.name, labels));
        tally.or_insert_with_key(|(_, labels)| Tally::new(metric, kept_as(labels)))
    }

    /// The samples of the tick at `now`. Fresh values are returned once.
    pub fn samples(&mut self, now: Timestamp) -> Vec<Sample> {
        let counters = self.counters.iter().map(|((_, labels), counter)| {
            let value = Value::Counter(counter.value);
            Sample { metric: counter.metric, labels: labels.clone(), value }
        });
        let distributions = self.distributions.iter_mut().map(|((_, labels), tally)| {
            let value = Value::Distribution(tally.take(now));
            Sample { metric: tally.metric, labels: labels.clone(), value }
        });
        counters.chain(distributions).collect()
    }
}

impl Tally {
    fn remember(&mut self, at: Timestamp, seconds: f64) {
        // Almost always at the end.
        let place = self.recent.partition_point(|(other, _)| *other <= at);
        self.recent.insert(place, (at, seconds));
        self.quantiles = None;
        if self.recent.len() > RECENT_VALUES {
            self.recent.pop_front();
        }
    }

    fn new(metric: &'static Metric, kept_as: Arc<BTreeMap<String, String>>) -> Self {
        Self {
            metric,
            buckets: vec![0; DURATION_BOUNDS.len() + 1],
            sum: 0.0,
            count: 0,
            fresh: Vec::new(),
            recent: VecDeque::new(),
            quantiles: None,
            kept_as,
        }
    }

    fn take(&mut self, now: Timestamp) -> Distribution {
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) > RECENT) {
            self.recent.pop_front();
            self.quantiles = None;
        }
        let recent = *self.quantiles.get_or_insert_with(|| {
            let mut sorted: Vec<f64> = self.recent.iter().map(|(_, seconds)| *seconds).collect();
            sorted.sort_by(f64::total_cmp);
            Quantiles::of_sorted(&sorted)
        });
        Distribution {
            buckets: self.buckets.clone(),
            sum: self.sum,
            count: self.count,
            fresh: std::mem::take(&mut self.fresh),
            recent,
        }
    }
}

impl Quantiles {
    /// Quantiles of sorted values; `None` if there are none.
    pub fn of_sorted(sorted: &[f64]) -> Option<Self> {
        let max = *sorted.last()?;
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        let at = |hundredths: usize| sorted.get(sorted.len() * hundredths / 100).copied().unwrap_or(max);
        Some(Self { count: sorted.len() as u64, mean, p50: at(50), p90: at(90), p95: at(95), p99: at(99), max })
    }
}

fn kept_as(labels: &Labels) -> Arc<BTreeMap<String, String>> {
    Arc::new(labels.iter().map(|(label, value)| (label.to_owned(), value.to_string())).collect())
}

fn labels_of(metric: &'static Metric, saved: &BTreeMap<String, String>) -> Option<Labels> {
    metric.labels.iter().map(|label| Some((*label, Arc::from(saved.get(*label)?.as_str())))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::labels;

    fn of_vision() -> Labels {
        labels([("queue", "research".into()), ("share", "vision".into())])
    }

    #[test]
    fn a_restart_continues_every_series() {
        let now = Timestamp::from_millis(0);
        let mut tallies = Counters::default();
        tallies.add(&catalogue::JOB_PREEMPTIONS, of_vision(), 3.0);
        tallies.record(&catalogue::QUEUE_WAIT, of_vision(), now, 90.0);
        let saved = tallies.saved();
        assert_eq!(Counters::restore(&saved).saved(), saved);
    }

    #[test]
    fn what_is_no_figure_changes_none() {
        let mut tallies = Counters::default();
        tallies.add(&catalogue::JOB_PREEMPTIONS, of_vision(), 3.0);
        tallies.record(&catalogue::QUEUE_WAIT, of_vision(), Timestamp::default(), 90.0);
        let saved = tallies.saved();
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            tallies.add(&catalogue::JOB_PREEMPTIONS, of_vision(), odd);
            tallies.record(&catalogue::QUEUE_WAIT, of_vision(), Timestamp::default(), odd);
            assert_eq!(tallies.saved(), saved, "{odd}");
            let broken = saved.iter().map(|series| SavedSeries { value: odd, sum: odd, ..series.clone() });
            assert_eq!(Counters::restore(&broken.collect::<Vec<_>>()).saved(), [], "{odd}");
        }
        tallies.add(&catalogue::JOB_PREEMPTIONS, of_vision(), f64::MAX);
        tallies.add(&catalogue::JOB_PREEMPTIONS, of_vision(), f64::MAX);
        assert!(tallies.counters(&catalogue::JOB_PREEMPTIONS).all(|(_, value)| value.is_finite()));
    }

    #[test]
    fn a_value_on_a_bound_falls_below_it() {
        let mut tallies = Counters::default();
        for seconds in [0.0, 1.0, 1.5, 604_800.0, 604_801.0] {
            tallies.record(&catalogue::QUEUE_WAIT, of_vision(), Timestamp::default(), seconds);
        }
        let saved = tallies.saved();
        assert_eq!(saved[0].buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn fresh_values_are_handed_out_once_and_recent_ones_age() {
        let mut tallies = Counters::default();
        tallies.record(&catalogue::QUEUE_WAIT, of_vision(), Timestamp::default(), 90.0);
        let taken = |tallies: &mut Counters, minutes: u64| {
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
