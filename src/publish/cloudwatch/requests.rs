//! Builds requests within CloudWatch's limits. Pure.

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use trainspotter_core::metrics::Labels;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::metrics::catalogue::{cloudwatch_dimension, cloudwatch_dimension_value};
use trainspotter_core::model::Timestamp;

/// `PutMetricData`: at most 1000 data per request (API reference).
pub const MAX_DATA_PER_REQUEST: usize = 1_000;
/// `PutMetricData`: 1 MB per request, before compression; interpreted as the smaller of the two megabytes.
pub const MAX_BYTES_PER_REQUEST: usize = 1_000_000;
/// `MetricDatum`: at most 150 distinct values in `Values` (API reference).
pub const MAX_VALUES_PER_DATUM: usize = 150;
/// `MetricDatum`: at most 30 dimensions. The catalogue has at most three labels.
pub const MAX_DIMENSIONS: usize = 30;
/// `MetricDatum`: values are between -2^360 and 2^360.
const MAX_EXPONENT: i32 = 360;

/// Size of a request without its data: the namespace and the envelope.
const REQUEST_BYTES: usize = 1_024;
/// The keys, unit, timestamp and value of a datum in CBOR take 110 bytes, its name aside.
const DATUM_BYTES: usize = 200;
/// The keys and string headers of a dimension in CBOR take 20 bytes.
const DIMENSION_BYTES: usize = 32;
/// A value and its count: two doubles of 9 bytes in CBOR.
const VALUE_BYTES: usize = 20;

/// A `PutMetricData` request, and what it settles.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Data within all limits.
    pub data: Vec<MetricDatum>,
    /// Number of series that begin in this batch.
    pub series: u64,
    /// Upper bound of the request's size in bytes.
    pub bytes: usize,
    pub(super) settles: Vec<Settles>,
}

/// A metric's name and labels.
pub(super) type Series = (&'static str, Labels);

/// What a datum settles once it is accepted.
#[derive(Clone, Debug)]
pub(super) enum Settles {
    Gauge,
    Total(Series, f64),
    Values(Series, Vec<Value>),
}

/// A pending value: its minute, its bits, and its number of occurrences.
pub(super) type Value = (Timestamp, u64, u64);

/// Contents of a datum.
pub(super) enum Points<'a> {
    One(f64),
    /// Values with their number of occurrences.
    Many(&'a [Value]),
}

/// Fills one request after another, each as far as the limits allow.
#[derive(Default)]
pub(super) struct RequestBuilder {
    pub(super) batches: Vec<Batch>,
}

impl RequestBuilder {
    pub(super) fn add(
        &mut self,
        metric: &Metric,
        labels: &Labels,
        at: Timestamp,
        points: &Points<'_>,
        settles: Settles,
    ) {
        if let Points::One(value) = points
            && !is_publishable(*value)
        {
            return;
        }
        let datum = datum(metric, labels, at, points);
        let bytes = size_of(&datum);
        let is_continued = self
            .batches
            .last()
            .and_then(|batch| batch.data.last())
            .is_some_and(|last| last.metric_name == datum.metric_name && last.dimensions == datum.dimensions);
        let fits = |batch: &&mut Batch| {
            batch.data.len() < MAX_DATA_PER_REQUEST && batch.bytes + bytes <= MAX_BYTES_PER_REQUEST
        };
        match self.batches.last_mut().filter(fits) {
            Some(batch) => {
                batch.data.push(datum);
                batch.series += u64::from(!is_continued);
                batch.bytes += bytes;
                batch.settles.push(settles);
            }
            None => self.batches.push(Batch {
                data: vec![datum],
                series: u64::from(!is_continued),
                bytes: REQUEST_BYTES + bytes,
                settles: vec![settles],
            }),
        }
    }
}

fn datum(metric: &Metric, labels: &Labels, at: Timestamp, points: &Points<'_>) -> MetricDatum {
    debug_assert!(labels.iter().len() <= MAX_DIMENSIONS, "{metric} has {} labels", labels.iter().len());
    let datum = MetricDatum::builder()
        .metric_name(metric.cloudwatch_name())
        .set_dimensions(Some(
            labels.iter().take(MAX_DIMENSIONS).map(|(label, value)| dimension(label, value)).collect(),
        ))
        .unit(StandardUnit::from(metric.unit.cloudwatch()))
        .timestamp(aws_smithy_types::DateTime::from_millis(at.millis()));
    match points {
        Points::One(value) => datum.value(*value),
        Points::Many(values) => datum
            .set_values(Some(values.iter().map(|(_, bits, _)| f64::from_bits(*bits)).collect()))
            .set_counts(Some(values.iter().map(|(.., count)| *count as f64).collect())),
    }
    .build()
}

fn dimension(label: &str, value: &str) -> Dimension {
    Dimension::builder().name(cloudwatch_dimension(label)).value(cloudwatch_dimension_value(value)).build()
}

/// Upper bound of a datum's encoded size.
fn size_of(datum: &MetricDatum) -> usize {
    let text = |text: Option<&str>| text.map_or(0, str::len);
    let dimensions: usize = datum
        .dimensions()
        .iter()
        .map(|dimension| DIMENSION_BYTES + text(dimension.name()) + text(dimension.value()))
        .sum();
    DATUM_BYTES + text(datum.metric_name()) + dimensions + VALUE_BYTES * datum.values().len()
}

/// Whether CloudWatch accepts the number.
pub(super) fn is_publishable(value: f64) -> bool {
    value.is_finite() && value.abs() <= f64::powi(2.0, MAX_EXPONENT)
}

#[cfg(test)]
mod tests {
    use trainspotter_core::metrics::catalogue::NO_DIMENSION_VALUE;

    use super::*;

    #[test]
    fn dimensions_are_what_cloudwatch_allows() {
        let check = |value: &str, expected: &str| {
            let dimension = dimension("instance_type", value);
            assert_eq!(dimension.name(), Some("InstanceType"));
            assert_eq!(dimension.value(), Some(expected));
        };
        check("ml.p5.48xlarge", "ml.p5.48xlarge");
        check("", NO_DIMENSION_VALUE);
        check("  ", NO_DIMENSION_VALUE);
        check("tab\there, ü", "tab\\u{9}here, \\u{fc}");
        check(&"x".repeat(2_000), &"x".repeat(1_024));
    }
}
