//! The Prometheus text format, version 0.0.4, which every Prometheus version supports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prometheus::TextEncoder;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use trainspotter_core::metrics::Distribution;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::model::Place;
use trainspotter_otlp::{buckets_of, families};

/// The `Content-Type` of [`prometheus_text`].
pub const PROMETHEUS_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Formats all samples of the frames, with `HELP` and `TYPE`, without timestamps: the scraper adds them. Each has
/// labels for account and region, if its frame has them. Of two targets with the same account and region the first
/// is used: a series has one value.
pub fn prometheus_text(frames: &[Arc<Frame>]) -> String {
    let mut places = BTreeSet::new();
    let is_first = |frame: &&Arc<Frame>| {
        let Place { account, region, .. } = &frame.place;
        account.is_none() || places.insert((account.clone(), region.clone()))
    };
    let mut all: BTreeMap<&'static str, (&catalogue::Metric, Vec<Metric>)> = BTreeMap::new();
    for frame in frames.iter().filter(is_first) {
        for (metric, samples) in families(&frame.samples).into_values() {
            let series = samples.iter().map(|sample| series(sample, &frame.place));
            all.entry(metric.name).or_insert_with(|| (metric, Vec::new())).1.extend(series);
        }
    }
    let families: Vec<MetricFamily> = all.into_values().map(|(metric, series)| family(metric, series)).collect();
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
        // Only families without name or metrics are refused, which do not occur.
        tracing::error!(%error, "the response of /metrics is incomplete");
    }
    text
}

fn family(metric: &catalogue::Metric, series: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.prometheus_name());
    family.set_help(metric.meaning.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Gauge => MetricType::GAUGE,
        Kind::Counter => MetricType::COUNTER,
        Kind::Distribution => MetricType::HISTOGRAM,
    });
    family.set_metric(series);
    family
}

fn series(sample: &Sample, place: &Place) -> Metric {
    let labels = sample.labels.iter().chain(place.labels());
    let mut metric = Metric::from_label(labels.map(|(name, value)| label(name, value)).collect());
    match &sample.value {
        Value::Gauge(value) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*value);
            metric.set_gauge(gauge);
        }
        Value::Counter(value) => {
            let mut counter = Counter::default();
            counter.set_value(*value);
            metric.set_counter(counter);
        }
        Value::Distribution(distribution) => metric.set_histogram(histogram(distribution)),
    }
    metric
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

/// Prometheus buckets are cumulative. The encoder adds the unbounded one.
fn histogram(distribution: &Distribution) -> Histogram {
    let mut below = 0;
    let buckets = catalogue::DURATION_BOUNDS.iter().zip(buckets_of(distribution)).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.count);
    histogram.set_sample_sum(distribution.sum);
    histogram
}
