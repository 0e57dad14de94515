//! A frame as OTLP messages. Pure.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::derive::Distribution;
use crate::derive::Frame;
use crate::derive::Labels;
use crate::derive::Sample;
use crate::derive::Value;
use crate::derive::catalogue;
use crate::derive::catalogue::Kind;
use crate::model::Timestamp;
use crate::publish::buckets_of;
use crate::publish::families;

/// Data points per request: what CloudWatch's OTLP endpoint allows, and far below the 4 MiB that gRPC receivers take.
pub const MAX_POINTS_PER_REQUEST: usize = 1_000;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Who publishes: the same for all figures of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// When counting began. Totals survive restarts, so this does too.
    pub began: Timestamp,
    /// The AWS region that is watched, if it is one.
    pub region: Option<String>,
    /// The AWS account that is watched, if known.
    pub account: Option<String>,
}

/// Requests that together hold every sample of the frame once, each with its number of data points.
pub fn otlp_requests(frame: &Frame, origin: &Origin) -> Vec<(ExportMetricsServiceRequest, u64)> {
    let mut requests = Vec::new();
    let (mut metrics, mut room) = (Vec::new(), MAX_POINTS_PER_REQUEST);
    for (metric, samples) in families(&frame.samples).into_values() {
        let mut samples = samples.as_slice();
        while !samples.is_empty() {
            let (here, later) = samples.split_at(room.min(samples.len()));
            metrics.push(family(metric, here, frame.at, origin.began));
            samples = later;
            room -= here.len();
            if room == 0 {
                requests.push((request(std::mem::take(&mut metrics), origin), MAX_POINTS_PER_REQUEST as u64));
                room = MAX_POINTS_PER_REQUEST;
            }
        }
    }
    if !metrics.is_empty() {
        requests.push((request(metrics, origin), (MAX_POINTS_PER_REQUEST - room) as u64));
    }
    requests
}

fn request(metrics: Vec<Metric>, origin: &Origin) -> ExportMetricsServiceRequest {
    let mut attributes = vec![attribute("service.name", "trainspotter"), attribute("service.version", VERSION)];
    attributes.extend(origin.region.as_deref().map(|region| attribute("cloud.region", region)));
    attributes.extend(origin.account.as_deref().map(|account| attribute("cloud.account.id", account)));
    let scope = InstrumentationScope {
        name: "trainspotter".to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

fn family(metric: &catalogue::Metric, samples: &[&Sample], at: Timestamp, began: Timestamp) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(samples, at, None) }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(samples, at, Some(began)),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Distribution => Data::Histogram(Histogram {
            data_points: histograms(samples, at, began),
            aggregation_temporality: temporality,
        }),
    };
    Metric {
        name: metric.otlp_name(),
        description: metric.meaning.to_owned(),
        unit: metric.unit.ucum().to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn numbers(samples: &[&Sample], at: Timestamp, began: Option<Timestamp>) -> Vec<NumberDataPoint> {
    let point = |sample: &&Sample| match &sample.value {
        Value::Gauge(value) | Value::Counter(value) => Some(NumberDataPoint {
            attributes: attributes(&sample.labels),
            start_time_unix_nano: began.map_or(0, nanos),
            time_unix_nano: nanos(at),
            value: Some(number_data_point::Value::AsDouble(*value)),
            ..NumberDataPoint::default()
        }),
        Value::Distribution(_) => None,
    };
    samples.iter().filter_map(point).collect()
}

fn histograms(samples: &[&Sample], at: Timestamp, began: Timestamp) -> Vec<HistogramDataPoint> {
    let point = |labels: &Labels, distribution: &Distribution| HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: nanos(began),
        time_unix_nano: nanos(at),
        count: distribution.count,
        sum: Some(distribution.sum),
        bucket_counts: buckets_of(distribution),
        explicit_bounds: catalogue::DURATION_BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    };
    samples
        .iter()
        .filter_map(|sample| match &sample.value {
            Value::Distribution(distribution) => Some(point(&sample.labels, distribution)),
            Value::Gauge(_) | Value::Counter(_) => None,
        })
        .collect()
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(label, value)| attribute(label, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    }
}

/// Nanoseconds since the epoch; 0, which means "not known", before it.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::derive::catalogue::{GPU_CAPACITY, JOB_PREEMPTIONS, Metric as Catalogued};
    use crate::derive::labels;

    fn sample(metric: &'static Catalogued, queue: usize, value: Value) -> Sample {
        Sample { metric, labels: labels([("queue", format!("queue-{queue}").into())]), value }
    }

    #[test]
    fn a_large_frame_is_cut_into_requests_that_receivers_take() {
        let gauges = (0..2_300).map(|n| sample(&GPU_CAPACITY, n, Value::Gauge(1.0)));
        let counters = (0..300).map(|n| sample(&JOB_PREEMPTIONS, n, Value::Counter(1.0)));
        let frame = Frame { samples: gauges.chain(counters).collect(), ..Frame::default() };
        let origin = Origin { began: Timestamp::default(), region: None, account: None };
        let requests = otlp_requests(&frame, &origin);
        let mut seen = BTreeSet::new();
        for (request, points) in &requests {
            let before = seen.len();
            for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
                let points = match metric.data.as_ref().unwrap() {
                    Data::Gauge(gauge) => &gauge.data_points,
                    Data::Sum(sum) => &sum.data_points,
                    other @ (Data::Histogram(_) | Data::ExponentialHistogram(_) | Data::Summary(_)) => {
                        panic!("{other:?}")
                    }
                };
                assert!(!points.is_empty(), "{} without a point", metric.name);
                seen.extend(points.iter().map(|point| format!("{} {:?}", metric.name, point.attributes)));
            }
            assert_eq!((seen.len() - before) as u64, *points);
        }
        assert_eq!(requests.iter().map(|(_, points)| *points).collect::<Vec<_>>(), [1_000, 1_000, 600]);
        assert_eq!(seen.len(), 2_600);
    }
}
