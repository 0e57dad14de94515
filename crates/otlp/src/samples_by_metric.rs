//! Groups the samples of a frame by metric, for all sinks. Pure.

use std::collections::BTreeMap;

use trainspotter_core::metrics::catalogue::{DURATION_BOUNDS, Kind, Metric};
use trainspotter_core::metrics::{Distribution, Sample, Value};

/// Samples by the metric's name. Invalid samples (a value of another kind than its metric's, or not finite) are left
/// out: a sink would reject the whole batch because of one.
pub fn families(samples: &[Sample]) -> BTreeMap<&'static str, (&'static Metric, Vec<&Sample>)> {
    let mut families = BTreeMap::new();
    for sample in samples.iter().filter(|sample| keeps_its_promise(sample)) {
        families.entry(sample.metric.name).or_insert_with(|| (sample.metric, Vec::new())).1.push(sample);
    }
    families
}

fn keeps_its_promise(sample: &Sample) -> bool {
    match (&sample.value, sample.metric.kind) {
        (Value::Gauge(value), Kind::Gauge) | (Value::Counter(value), Kind::Counter) => value.is_finite(),
        (Value::Distribution(distribution), Kind::Distribution) => distribution.sum.is_finite(),
        (Value::Gauge(_) | Value::Counter(_) | Value::Distribution(_), _) => false,
    }
}

/// The buckets of a distribution: one per catalogue bound, and one above.
pub fn buckets_of(distribution: &Distribution) -> Vec<u64> {
    let mut buckets = distribution.buckets.clone();
    buckets.resize(DURATION_BOUNDS.len() + 1, 0);
    buckets
}
