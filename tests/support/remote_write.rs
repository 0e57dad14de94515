//! OTLP requests as Prometheus stores them, in the remote-write protocol, which every version accepts.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, metric::Data, number_data_point,
};
use prost::Message;
use trainspotter_core::metrics::catalogue;

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    series: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
struct Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<NativeHistogram>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// A native histogram with integer counts.
#[derive(Clone, PartialEq, Message)]
struct NativeHistogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "3")]
    sum: f64,
    #[prost(sint32, tag = "4")]
    schema: i32,
    #[prost(double, tag = "5")]
    zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    zero_count: u64,
    #[prost(message, repeated, tag = "11")]
    positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    positive_deltas: Vec<i64>,
    #[prost(int64, tag = "15")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// Finest schema of native histograms.
const MAX_SCHEMA: i32 = 8;

type Labels = BTreeMap<String, String>;

/// A body that writes everything in a request.
pub fn body(request: &ExportMetricsServiceRequest) -> Vec<u8> {
    let mut series = Vec::new();
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics) {
        let name = catalogue::ALL.iter().find(|known| known.otlp_name() == metric.name).unwrap().prometheus_name();
        let mut put = |suffix: &str, labels: Labels, nanos: u64, value: f64| {
            series.push(one(format!("{name}{suffix}"), labels, nanos, value));
        };
        match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => {
                gauge.data_points.iter().for_each(|point| {
                    put("", labels(&point.attributes), point.time_unix_nano, number(point.value));
                });
            }
            Data::Sum(sum) => sum.data_points.iter().for_each(|point| {
                put("", labels(&point.attributes), point.time_unix_nano, number(point.value));
            }),
            Data::Histogram(histogram) => histogram.data_points.iter().for_each(|point| of_histogram(point, &mut put)),
            Data::ExponentialHistogram(histogram) => series.extend(histogram.data_points.iter().map(|point| {
                let series = one(name.clone(), labels(&point.attributes), point.time_unix_nano, 0.0);
                Series { samples: Vec::new(), histograms: vec![native(point)], ..series }
            })),
            other @ Data::Summary(_) => panic!("{other:?}"),
        }
    }
    snappy(&WriteRequest { series }.encode_to_vec())
}

/// As Prometheus's OTLP receiver translates it: a bucket with index `i` has its upper bound at `base^(i + 1)` in OTLP
/// and at `base^i` here, and finer scales are merged.
fn native(point: &ExponentialHistogramDataPoint) -> NativeHistogram {
    let merged = (point.scale - MAX_SCHEMA).max(0);
    let buckets = point.positive.clone().unwrap_or_default();
    let mut counts = BTreeMap::<i32, i64>::new();
    for (index, count) in (buckets.offset..).zip(&buckets.bucket_counts) {
        *counts.entry((index >> merged) + 1).or_default() += i64::try_from(*count).unwrap();
    }
    let first = counts.first_key_value().map_or(0, |(index, _)| *index);
    let dense = counts.last_key_value().map_or(Vec::new(), |(last, _)| (first..=*last).collect());
    let mut before = 0;
    let positive_deltas = dense.iter().map(|index| {
        let count = counts.get(index).copied().unwrap_or(0);
        let delta = count - before;
        before = count;
        delta
    });
    let positive_deltas: Vec<i64> = positive_deltas.collect();
    let length = u32::try_from(positive_deltas.len()).unwrap();
    NativeHistogram {
        count: point.count,
        sum: point.sum.unwrap(),
        schema: point.scale.min(MAX_SCHEMA),
        zero_threshold: point.zero_threshold,
        zero_count: point.zero_count,
        positive_spans: if length > 0 { vec![Span { offset: first, length }] } else { Vec::new() },
        positive_deltas,
        timestamp: i64::try_from(point.time_unix_nano / 1_000_000).unwrap(),
    }
}

fn of_histogram(point: &HistogramDataPoint, put: &mut impl FnMut(&str, Labels, u64, f64)) {
    let (at, all) = (point.time_unix_nano, labels(&point.attributes));
    let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    let mut below = 0;
    for (bound, count) in bounds.zip(&point.bucket_counts) {
        below += count;
        let mut labels = all.clone();
        labels.insert("le".to_owned(), bound);
        put("_bucket", labels, at, below as f64);
    }
    put("_count", all.clone(), at, point.count as f64);
    put("_sum", all, at, point.sum.unwrap());
}

fn one(name: String, mut labels: Labels, nanos: u64, value: f64) -> Series {
    labels.insert("__name__".to_owned(), name);
    // For Prometheus, an empty label is absent.
    let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
    Series {
        labels: labels.map(|(name, value)| Label { name, value }).collect(),
        samples: vec![Sample { value, timestamp: i64::try_from(nanos / 1_000_000).unwrap() }],
        histograms: Vec::new(),
    }
}

fn labels(attributes: &[KeyValue]) -> Labels {
    let pair = |attribute: &KeyValue| match attribute.value.clone().unwrap().value {
        Some(any_value::Value::StringValue(value)) => (attribute.key.clone(), value),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(pair).collect()
}

fn number(value: Option<number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    }
}

/// Snappy's block format without compression: the length, and one literal.
fn snappy(plain: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    prost::encoding::encode_varint(plain.len() as u64, &mut block);
    if let Some(last) = plain.len().checked_sub(1) {
        block.push(0xfc);
        block.extend(u32::try_from(last).unwrap().to_le_bytes());
        block.extend(plain);
    }
    block
}
