//! Distributions as exponential histograms. New values are placed directly, so results do not depend on the
//! catalogue's bounds. Pure.
//!
//! Values of an earlier run are no longer known, so these histograms start with this run, and their start time says
//! so.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

use trainspotter_core::metrics::catalogue::{DURATION_BOUNDS, Metric};
use trainspotter_core::metrics::{Distribution, Frame, Labels, Value};
use trainspotter_core::model::Timestamp;

/// Maximum buckets of a histogram, the default of the OpenTelemetry SDKs.
const MAX_BUCKETS: i64 = 160;
/// Maximum scale, the finest resolution in OpenTelemetry.
const MAX_SCALE: i32 = 20;
/// Durations up to this many seconds count as zero.
const ZERO_BELOW: f64 = 1e-3;
/// Maximum histograms; values of further series are dropped and counted by [`ExponentialHistograms::take_left_out`].
pub const MAX_HISTOGRAMS: usize = 50_000;

/// All histograms of a sink.
#[derive(Clone, Debug, Default)]
pub struct ExponentialHistograms {
    /// Start of counting.
    began: Option<Timestamp>,
    by_series: BTreeMap<(&'static str, Labels), Exponential>,
    /// Dropped values.
    left_out: u64,
}

/// One histogram.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exponential {
    scale: i32,
    zeros: u64,
    count: u64,
    sum: f64,
    /// Counts by index: a bucket holds values above `2^(index / 2^scale)`, up to the next bound.
    counts: BTreeMap<i32, u64>,
}

impl ExponentialHistograms {
    /// Adds the new values of a frame. Call once per frame.
    pub fn observe(&mut self, frame: &Frame) {
        // The new values of the first frame occurred before it.
        self.began.get_or_insert(frame.at - std::time::Duration::from_secs(1));
        for sample in &frame.samples {
            let Value::Distribution(distribution) = &sample.value else { continue };
            let Some(histogram) = self.histogram(sample.metric, &sample.labels) else {
                self.left_out += distribution.fresh.len() as u64;
                continue;
            };
            for (_, value) in &distribution.fresh {
                histogram.add(*value, 1);
            }
        }
    }

    /// Number of values dropped because of [`MAX_HISTOGRAMS`] since the last call.
    pub fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    /// Histograms of a frame whose single values are unknown: each value is placed in the middle of its bucket. For
    /// size estimates.
    pub fn of_buckets(frame: &Frame) -> Self {
        let mut all = Self { began: Some(frame.at), ..Self::default() };
        for sample in &frame.samples {
            let Value::Distribution(distribution) = &sample.value else { continue };
            let Some(histogram) = all.histogram(sample.metric, &sample.labels) else { continue };
            histogram.add_buckets(distribution);
        }
        all
    }

    /// The data point of a series.
    pub(crate) fn point(&self, metric: &Metric, labels: &Labels, at: u64) -> Option<ExponentialHistogramDataPoint> {
        let histogram = self.by_series.get(&(metric.name, labels.clone()))?;
        let began = u64::try_from(self.began?.millis()).unwrap_or(0).saturating_mul(1_000_000);
        Some(histogram.point(began, at))
    }

    fn histogram(&mut self, metric: &'static Metric, labels: &Labels) -> Option<&mut Exponential> {
        let key = (metric.name, labels.clone());
        if self.by_series.len() >= MAX_HISTOGRAMS && !self.by_series.contains_key(&key) {
            return None;
        }
        Some(self.by_series.entry(key).or_default())
    }
}

impl Default for Exponential {
    fn default() -> Self {
        Self { scale: MAX_SCALE, zeros: 0, count: 0, sum: 0.0, counts: BTreeMap::new() }
    }
}

impl Exponential {
    fn add(&mut self, value: f64, times: u64) {
        if !value.is_finite() || times == 0 {
            return;
        }
        self.count += times;
        self.sum += value * times as f64;
        if value <= ZERO_BELOW {
            self.zeros += times;
            return;
        }
        let index = index_of(value, self.scale);
        *self.counts.entry(index).or_default() += times;
        while self.width() > MAX_BUCKETS {
            self.halve();
        }
    }

    fn add_buckets(&mut self, distribution: &Distribution) {
        let mut from = 0.0;
        for (index, count) in distribution.buckets.iter().enumerate() {
            let to = DURATION_BOUNDS.get(index).copied().unwrap_or(from * 2.0);
            self.add(f64::midpoint(from, to), *count);
            from = to;
        }
    }

    /// Number of buckets from the first to the last non-empty one.
    fn width(&self) -> i64 {
        let ends = self.counts.first_key_value().zip(self.counts.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| i64::from(*last) - i64::from(*first) + 1)
    }

    /// Merges pairs of buckets.
    fn halve(&mut self) {
        self.scale -= 1;
        let mut halved = BTreeMap::new();
        for (index, count) in &self.counts {
            *halved.entry(index >> 1).or_default() += count;
        }
        self.counts = halved;
    }

    fn point(&self, began: u64, at: u64) -> ExponentialHistogramDataPoint {
        let positive = self.counts.first_key_value().map(|(offset, _)| {
            let end = self.counts.last_key_value().map_or(*offset, |(last, _)| *last);
            let bucket_counts = (*offset..=end).map(|index| self.counts.get(&index).copied().unwrap_or(0)).collect();
            Buckets { offset: *offset, bucket_counts }
        });
        ExponentialHistogramDataPoint {
            start_time_unix_nano: began,
            time_unix_nano: at,
            count: self.count,
            sum: Some(self.sum),
            scale: if self.counts.is_empty() { 0 } else { self.scale },
            zero_count: self.zeros,
            zero_threshold: ZERO_BELOW,
            positive,
            ..ExponentialHistogramDataPoint::default()
        }
    }
}

/// The bucket of a value: `2^(index / 2^scale) < value <= 2^((index + 1) / 2^scale)`.
fn index_of(value: f64, scale: i32) -> i32 {
    let position = value.log2() * f64::powi(2.0, scale);
    position.ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use trainspotter_core::metrics::catalogue::QUEUE_WAIT;
    use trainspotter_core::metrics::{Sample, labels};

    fn of(values: &[f64]) -> Exponential {
        let mut histogram = Exponential::default();
        values.iter().for_each(|value| histogram.add(*value, 1));
        histogram
    }

    #[test]
    fn bounds_belong_to_the_bucket_below_them() {
        assert_eq!([0.5, 1.0, 1.5, 2.0, 2.1, 4.0, 8.0].map(|value| index_of(value, 0)), [-2, -1, 0, 0, 1, 1, 2]);
        assert_eq!([1.0, 2.0, 4.0].map(|value| index_of(value, 3)), [-1, 7, 15]);
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted() {
        let sample = |n: usize, fresh: &[f64]| Sample {
            metric: &QUEUE_WAIT,
            labels: labels([("queue", n.to_string().into())]),
            value: Value::Distribution(Distribution {
                fresh: fresh.iter().map(|value| (Timestamp::default(), *value)).collect(),
                ..Distribution::default()
            }),
        };
        let mut all = ExponentialHistograms::default();
        let samples = (0..MAX_HISTOGRAMS + 2).map(|n| sample(n, &[1.0, 2.0])).collect();
        all.observe(&Frame { samples, ..Frame::default() });
        assert_eq!((all.by_series.len(), all.take_left_out(), all.take_left_out()), (MAX_HISTOGRAMS, 4, 0));
    }

    #[test]
    fn an_empty_histogram_and_zeros_have_points() {
        let empty = of(&[]).point(1, 2);
        assert_eq!((empty.count, empty.zero_count, empty.positive), (0, 0, None));
        let zeros = of(&[0.0, 1e-9, f64::NAN, ZERO_BELOW]).point(1, 2);
        assert_eq!((zeros.count, zeros.zero_count, zeros.positive), (3, 3, None), "the threshold is zero, too");
    }

    proptest! {
        #[test]
        fn no_value_is_lost_and_each_is_in_the_bucket_that_holds_it(values in prop::collection::vec(0.0..2e6_f64, 0..300)) {
            let point = of(&values).point(1, 2);
            let buckets = point.positive.clone().unwrap_or_default();
            prop_assert!(buckets.bucket_counts.len() as i64 <= MAX_BUCKETS);
            prop_assert_eq!(buckets.bucket_counts.iter().sum::<u64>() + point.zero_count, values.len() as u64);
            let base = f64::powf(2.0, f64::powi(2.0, -point.scale));
            for (index, count) in buckets.bucket_counts.iter().enumerate() {
                let bound = |at: i32| base.powi(at);
                let (low, high) = (bound(buckets.offset + index as i32), bound(buckets.offset + index as i32 + 1));
                // A value on a bound may fall on either side of it.
                let strictly = values.iter().filter(|value| **value > low * 1.000_001 && **value <= high * 0.999_999 && **value > ZERO_BELOW).count();
                let about = values.iter().filter(|value| **value > low * 0.999_999 && **value <= high * 1.000_001 && **value > ZERO_BELOW).count();
                prop_assert!((strictly as u64..=about as u64).contains(count), "bucket {} of {:?}", index, point);
            }
        }
    }
}
