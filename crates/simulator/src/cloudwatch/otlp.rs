//! CloudWatch's OTLP endpoint, `POST /v1/metrics`, with its limits. Classic operations do not see its metrics: they
//! are shown at `/_sim/truth/otlp`, with the charged bytes.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::signature;
use crate::signature::Signed;
use trainspotter_core::model::Timestamp;

/// Path of the endpoint.
pub(crate) const PATH: &str = "/v1/metrics";
/// Operation name for faults.
pub(crate) const OPERATION: &str = "OtlpMetrics";
/// CloudWatch's service name in signatures.
const SIGNED_FOR: &str = "monitoring";
const PROTOBUF: &str = "application/x-protobuf";
/// Maximum bytes of one request, uncompressed.
const MAX_BYTES: usize = 1_000_000;
/// Maximum data points of one request.
const MAX_POINTS: usize = 1_000;
/// Maximum labels of a data point, including those of its resource.
const MAX_LABELS: usize = 150;
/// Maximum series kept for display; others are only counted.
const MAX_SERIES: usize = 20_000;

/// Metrics that the endpoint accepted.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    requests: u64,
    points: u64,
    refused_points: u64,
    /// Uncompressed bytes, which are charged.
    bytes: u64,
    series: BTreeMap<(String, BTreeMap<String, String>), Point>,
}

/// Latest point of a series.
#[derive(Clone, Debug, Serialize)]
struct Point {
    kind: &'static str,
    unit: String,
    /// `cumulative` or `delta`; null for gauges.
    temporality: Option<&'static str>,
    at: Timestamp,
    value: f64,
    /// Number of values of a distribution.
    count: Option<u64>,
    points: u64,
}

impl Accepted {
    /// The whole state as JSON.
    pub(crate) fn shown(&self) -> Value {
        let series = self.series.iter().map(|((name, labels), point)| {
            let mut shown = json!({"name": name, "labels": labels});
            if let (Some(shown), Ok(Value::Object(point))) = (shown.as_object_mut(), serde_json::to_value(point)) {
                shown.extend(point);
            }
            shown
        });
        json!({
            "requests": self.requests,
            "points": self.points,
            "refused_points": self.refused_points,
            "bytes": self.bytes,
            "series": series.collect::<Vec<_>>(),
        })
    }

    fn take(&mut self, metric: &Metric, resource: &[KeyValue]) {
        for (labels, point) in points_of(metric) {
            if labels.len() + resource.len() > MAX_LABELS || !point.value.is_finite() {
                self.refused_points += 1;
                continue;
            }
            self.points += 1;
            let key = (metric.name.clone(), labels_of(labels));
            if let Some(known) = self.series.get_mut(&key) {
                *known = Point { points: known.points + 1, ..point };
            } else if self.series.len() < MAX_SERIES {
                self.series.insert(key, point);
            }
        }
    }
}

/// Handles a request: `sent` is the body on the wire, `body` the decompressed one. The response is protobuf.
pub(crate) fn answer(world: &mut World, headers: &HeaderMap, sent: &[u8], body: &[u8]) -> Result<Vec<u8>, ApiError> {
    signature::check(Signed { method: "POST", path: PATH, headers, body: sent }, SIGNED_FOR, world.now)?;
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind != PROTOBUF {
        let message = format!("the simulator reads {PROTOBUF} here, not {kind:?}");
        return Err(ApiError::new(415, "UnsupportedMediaType", message));
    }
    if body.len() > MAX_BYTES {
        let message =
            format!("The request has {} bytes before compression, and at most {MAX_BYTES} are taken.", body.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    let request = ExportMetricsServiceRequest::decode(body)
        .map_err(|error| ApiError::bad("SerializationException", format!("the body is no OTLP request: {error}")))?;
    let metrics =
        || request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|of| &of.metrics);
    let points: usize = metrics().map(|metric| points_of(metric).len()).sum();
    if points > MAX_POINTS {
        let message = format!("The request has {points} data points, and at most {MAX_POINTS} are taken.");
        return Err(ApiError::bad("InvalidParameterValueException", message));
    }
    let taken = &mut world.metrics.otlp;
    let refused_before = taken.refused_points;
    taken.requests += 1;
    taken.bytes += body.len() as u64;
    for resource in &request.resource_metrics {
        let attributes = resource.resource.as_ref().map(|resource| resource.attributes.as_slice()).unwrap_or_default();
        for metric in resource.scope_metrics.iter().flat_map(|of| &of.metrics) {
            taken.take(metric, attributes);
        }
    }
    let refused = taken.refused_points - refused_before;
    let partial_success = (refused > 0).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: i64::try_from(refused).unwrap_or(i64::MAX),
        error_message: format!("at most {MAX_LABELS} labels, and finite values"),
    });
    Ok(ExportMetricsServiceResponse { partial_success }.encode_to_vec())
}

/// The points of a metric with their labels. Summaries and exponential histograms are accepted too, with their sums.
fn points_of(metric: &Metric) -> Vec<(&[KeyValue], Point)> {
    let point = |kind, temporality: Option<i32>, nanos: u64, value: f64, count| Point {
        kind,
        unit: metric.unit.clone(),
        temporality: temporality.map(|code| if code == 1 { "delta" } else { "cumulative" }),
        at: Timestamp::from_millis(i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)),
        value,
        count,
        points: 1,
    };
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge
            .data_points
            .iter()
            .map(|data| {
                (data.attributes.as_slice(), point("gauge", None, data.time_unix_nano, number(data.value), None))
            })
            .collect(),
        Some(Data::Sum(sum)) => sum
            .data_points
            .iter()
            .map(|data| {
                let temporality = Some(sum.aggregation_temporality);
                (data.attributes.as_slice(), point("sum", temporality, data.time_unix_nano, number(data.value), None))
            })
            .collect(),
        Some(Data::Histogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|data| {
                let temporality = Some(histogram.aggregation_temporality);
                let sum = data.sum.unwrap_or_default();
                (
                    data.attributes.as_slice(),
                    point("histogram", temporality, data.time_unix_nano, sum, Some(data.count)),
                )
            })
            .collect(),
        Some(Data::ExponentialHistogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|data| {
                let temporality = Some(histogram.aggregation_temporality);
                let sum = data.sum.unwrap_or_default();
                let point = point("exponential_histogram", temporality, data.time_unix_nano, sum, Some(data.count));
                (data.attributes.as_slice(), point)
            })
            .collect(),
        Some(Data::Summary(summary)) => summary
            .data_points
            .iter()
            .map(|data| {
                (data.attributes.as_slice(), point("summary", None, data.time_unix_nano, data.sum, Some(data.count)))
            })
            .collect(),
        None => Vec::new(),
    }
}

fn number(value: Option<Number>) -> f64 {
    match value {
        Some(Number::AsDouble(value)) => value,
        #[expect(clippy::cast_precision_loss, reason = "to be shown")]
        Some(Number::AsInt(value)) => value as f64,
        None => f64::NAN,
    }
}

fn labels_of(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Attribute::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
