//! Encodes a frame as OTLP messages. Pure.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::exponential_histogram::ExponentialHistograms;
use crate::origin::Origin;
use crate::samples_by_metric::{buckets_of, families};
use crate::unchanged::Unchanged;
use trainspotter_core::metrics::CAUGHT_UP_WITHIN;
use trainspotter_core::metrics::CatchUp;
use trainspotter_core::metrics::Distribution;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Labels;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::model::{Place, Timestamp};

/// Maximum data points per request: the limit of CloudWatch's OTLP endpoint, and far below the 4 MiB that gRPC
/// receivers accept.
pub const MAX_POINTS_PER_REQUEST: usize = 1_000;

/// Values older than this are late: they occurred while this service or the sink was down, and are published with
/// their own minute where the sink supports it. Newer ones get the current time, since alarms look at the latest
/// minutes only.
pub const LATE_AFTER: Duration = CAUGHT_UP_WITHIN;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Encoding options.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Identity of the publisher.
    pub origin: &'a Origin,
    /// Maximum data points per request.
    pub max_points: usize,
    /// Whether to shorten the resource to what is needed, where each point is charged with it.
    pub is_short: bool,
    /// Distributions as exponential histograms; if `None`, with the catalogue's buckets.
    pub exponential: Option<&'a ExponentialHistograms>,
    /// Points sent before, where unchanged points are sent less often.
    pub unchanged: Option<&'a Unchanged>,
}

/// Returns requests that together contain every sample of the frame once, each request with its number of data points
/// and at most `max_points` of them.
///
/// They are preceded by the distributions at the end of each minute with [late](LATE_AFTER) values, unless the minute
/// was already `reported`: a different total for the same time would contradict the one that was sent. Late values of
/// reported minutes count as current. While counting catches up after a downtime, distributions are sent for the
/// counted minutes only: a current point would leave no time for what is still to be counted. If catching up ends
/// soon the other figures wait, too, since receivers reject points much older than their latest.
pub fn otlp_requests(
    frame: &Frame,
    origin: &Origin,
    reported_until: Option<Timestamp>,
    max_points: usize,
) -> Vec<(ExportMetricsServiceRequest, u64)> {
    requests_in(
        &Form { origin, max_points, is_short: false, exponential: None, unchanged: None },
        frame,
        reported_until,
    )
}

/// As [`otlp_requests`], with options. With exponential histograms, late values are part of the current point.
pub fn requests_in(
    form: &Form<'_>,
    frame: &Frame,
    reported_until: Option<Timestamp>,
) -> Vec<(ExportMetricsServiceRequest, u64)> {
    let mut requests = Vec::new();
    if form.exponential.is_none() {
        for (at, samples) in late(frame, reported_until) {
            let whole = Frame { at, samples, place: frame.place.clone(), ..Frame::default() };
            requests.extend(requests_of(&whole, form));
        }
    }
    // Exponential histograms report late values in the current point in any case.
    let catch_up = if form.exponential.is_none() { frame.catch_up } else { CatchUp::Done };
    match catch_up {
        CatchUp::Done => requests.extend(requests_of(frame, form)),
        CatchUp::UnderWay => {}
        CatchUp::Stalled => {
            let is_other = |sample: &&Sample| sample.metric.kind != Kind::Distribution;
            let samples = frame.samples.iter().filter(is_other).cloned().collect();
            requests.extend(requests_of(
                &Frame { at: frame.at, samples, place: frame.place.clone(), ..Frame::default() },
                form,
            ));
        }
    }
    requests
}

/// Time up to which distributions are reported after sending a frame.
pub fn reported_by(frame: &Frame, reported_until: Option<Timestamp>) -> Option<Timestamp> {
    match frame.catch_up {
        CatchUp::Done => reported_until.max(Some(frame.at)),
        CatchUp::UnderWay | CatchUp::Stalled => reported_until.max(late(frame, reported_until).into_keys().next_back()),
    }
}

/// Distributions at the end of each unreported minute with late values, by minute.
fn late(frame: &Frame, reported_until: Option<Timestamp>) -> BTreeMap<Timestamp, Vec<Sample>> {
    let mut stood: BTreeMap<Timestamp, Vec<Sample>> = BTreeMap::new();
    for sample in &frame.samples {
        let Value::Distribution(distribution) = &sample.value else { continue };
        let is_late = |(at, _): &&(Timestamp, f64)| {
            frame.at.since(*at) > LATE_AFTER && reported_until.is_none_or(|until| *at > until)
        };
        let mut late: Vec<(Timestamp, f64)> = distribution.fresh.iter().filter(is_late).copied().collect();
        if late.is_empty() {
            continue;
        }
        late.sort_by_key(|(at, _)| *at);
        let mut so_far = without_fresh(distribution);
        for of_minute in late.chunk_by(|(a, _), (b, _)| minute_after(*a) == minute_after(*b)) {
            for (_, value) in of_minute {
                so_far.add(*value);
            }
            if let Some((at, _)) = of_minute.first() {
                let value = Value::Distribution(so_far.clone());
                stood.entry(minute_after(*at)).or_default().push(Sample { value, ..sample.clone() });
            }
        }
    }
    stood
}

/// A distribution before this tick's new values.
fn without_fresh(distribution: &Distribution) -> Distribution {
    let mut before = Distribution { fresh: Vec::new(), ..distribution.clone() };
    for (_, value) in &distribution.fresh {
        before.sum -= value;
        before.count = before.count.saturating_sub(1);
        if let Some(count) = before.buckets.get_mut(catalogue::bucket_of(*value)) {
            *count = count.saturating_sub(1);
        }
    }
    before
}

fn minute_after(at: Timestamp) -> Timestamp {
    Timestamp::from_millis((at.millis().div_euclid(60_000) + 1) * 60_000)
}

fn requests_of(frame: &Frame, form: &Form<'_>) -> Vec<(ExportMetricsServiceRequest, u64)> {
    let max_points = form.max_points;
    let mut requests = Vec::new();
    let (mut metrics, mut room) = (Vec::new(), max_points);
    for (metric, mut samples) in families(&frame.samples).into_values() {
        samples.retain(|sample| form.unchanged.is_none_or(|unchanged| unchanged.is_due(sample, frame.at)));
        let mut samples = samples.as_slice();
        while !samples.is_empty() {
            let (here, later) = samples.split_at(room.min(samples.len()));
            metrics.push(family(metric, here, frame.at, form));
            samples = later;
            room -= here.len();
            if room == 0 {
                requests.push((request(std::mem::take(&mut metrics), form, &frame.place), max_points as u64));
                room = max_points;
            }
        }
    }
    if !metrics.is_empty() {
        requests.push((request(metrics, form, &frame.place), (max_points - room) as u64));
    }
    requests
}

fn request(metrics: Vec<Metric>, form: &Form<'_>, place: &Place) -> ExportMetricsServiceRequest {
    let origin = form.origin;
    let mut attributes = vec![attribute("service.name", "trainspotter")];
    if !form.is_short {
        attributes.push(attribute("service.version", VERSION));
        attributes.push(attribute("service.instance.id", &origin.instance_id_in(&place.target)));
    }
    let region = place.region.as_deref().or(origin.region.as_deref());
    let account = place.account.as_deref().or(origin.account.as_deref());
    attributes.extend(region.map(|region| attribute("cloud.region", region)));
    attributes.extend(account.map(|account| attribute("cloud.account.id", account)));
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

fn family(metric: &catalogue::Metric, samples: &[&Sample], at: Timestamp, form: &Form<'_>) -> Metric {
    let began = form.origin.began;
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match metric.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers(samples, at, None) }),
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(samples, at, Some(began)),
            aggregation_temporality: temporality,
            is_monotonic: true,
        }),
        Kind::Distribution => match form.exponential {
            None => Data::Histogram(Histogram {
                data_points: histograms(samples, at, began),
                aggregation_temporality: temporality,
            }),
            Some(exponential) => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: exponential_histograms(metric, samples, at, exponential),
                aggregation_temporality: temporality,
            }),
        },
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
        sum: Some(whole_millis(distribution.sum)),
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

fn exponential_histograms(
    metric: &catalogue::Metric,
    samples: &[&Sample],
    at: Timestamp,
    exponential: &ExponentialHistograms,
) -> Vec<ExponentialHistogramDataPoint> {
    let point = |sample: &&Sample| {
        let point = exponential.point(metric, &sample.labels, nanos(at))?;
        let sum = point.sum.map(whole_millis);
        Some(ExponentialHistogramDataPoint { attributes: attributes(&sample.labels), sum, ..point })
    };
    samples.iter().filter_map(point).collect()
}

/// Rounds a sum of durations to whole milliseconds, which they are. Floating-point sums depend on the order of
/// values; a sum that is lower in its last digit than the one sent before would look like a counter reset.
fn whole_millis(sum: f64) -> f64 {
    (sum * 1_000.0).round() / 1_000.0
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

/// Nanoseconds since the epoch; 0, which means "unknown", before it.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or(0).saturating_mul(1_000_000)
}
