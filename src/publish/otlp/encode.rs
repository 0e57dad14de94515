//! A frame as OTLP messages. Pure.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::publish::LATE_AFTER;
use crate::publish::buckets_of;
use crate::publish::families;
use crate::publish::otlp::exponential::ExponentialHistograms;
use crate::publish::otlp::origin::Origin;
use trainspotter_core::metrics::CatchUp;
use trainspotter_core::metrics::Distribution;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Labels;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::model::{Place, Timestamp};

/// Data points per request: what CloudWatch's OTLP endpoint allows, and far below the 4 MiB that gRPC receivers take.
pub const MAX_POINTS_PER_REQUEST: usize = 1_000;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How a frame is written down.
#[derive(Clone, Copy, Debug)]
pub(in crate::publish) struct Form<'a> {
    /// Who publishes.
    pub(in crate::publish) origin: &'a Origin,
    /// Data points of a request, at most.
    pub(in crate::publish) max_points: usize,
    /// Whether the resource says no more than what is needed: where each point is charged for with it.
    pub(in crate::publish) is_short: bool,
    /// Distributions as exponential histograms; with the buckets of the catalogue where there are none.
    pub(in crate::publish) exponential: Option<&'a ExponentialHistograms>,
}

/// Requests that together hold every sample of the frame once, each with its number of data points. Before them comes how the
/// distributions stood in those minutes of which values are [late](LATE_AFTER), as far as nothing was `reported` of them: a total
/// that was lower, or other, at that time would contradict the one that was sent. Late values of reported minutes count as of now. While
/// the count catches up with a time in which nothing ran, distributions are sent as of the minutes that are counted, and not as of now: that
/// would leave no time for what is still to be counted. If that is over soon the other figures wait, too: receivers refuse points that are
/// much older than the latest they have. A request has at most `max_points`.
pub fn otlp_requests(
    frame: &Frame,
    origin: &Origin,
    reported_until: Option<Timestamp>,
    max_points: usize,
) -> Vec<(ExportMetricsServiceRequest, u64)> {
    requests_in(&Form { origin, max_points, is_short: false, exponential: None }, frame, reported_until)
}

/// The same in a form. Late values are in the point of now where distributions are exponential histograms.
pub(in crate::publish) fn requests_in(
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
    // Exponential histograms tell late values in the point of now in any case.
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

/// Up to when distributions are reported once a frame was sent.
pub(super) fn reported_by(frame: &Frame, reported_until: Option<Timestamp>) -> Option<Timestamp> {
    match frame.catch_up {
        CatchUp::Done => reported_until.max(Some(frame.at)),
        CatchUp::UnderWay | CatchUp::Stalled => reported_until.max(late(frame, reported_until).into_keys().next_back()),
    }
}

/// How distributions stood at the end of each minute of which values are late and which was not reported, by minute.
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

/// A distribution as it was before the values that are new in this tick.
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
    for (metric, samples) in families(&frame.samples).into_values() {
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

/// A sum of durations, which are whole milliseconds. What floating-point arithmetic adds depends on the order of the values; a sum
/// that is lower in its last digit than the one sent before would pass for a counter that began anew.
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

/// Nanoseconds since the epoch; 0, which means "not known", before it.
fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.millis()).unwrap_or(0).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use trainspotter_core::metrics::catalogue::{GPU_CAPACITY, JOB_PREEMPTIONS, Metric as Catalogued};
    use trainspotter_core::metrics::labels;

    fn sample(metric: &'static Catalogued, queue: usize, value: Value) -> Sample {
        Sample { metric, labels: labels([("queue", format!("queue-{queue}").into())]), value }
    }

    #[test]
    fn a_large_frame_is_cut_into_requests_that_receivers_take() {
        let gauges = (0..2_300).map(|n| sample(&GPU_CAPACITY, n, Value::Gauge(1.0)));
        let counters = (0..300).map(|n| sample(&JOB_PREEMPTIONS, n, Value::Counter(1.0)));
        let frame = Frame { samples: gauges.chain(counters).collect(), ..Frame::default() };
        let origin = Origin { began: Timestamp::default(), region: None, account: None };
        let requests = otlp_requests(&frame, &origin, None, MAX_POINTS_PER_REQUEST);
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

    #[test]
    fn the_instance_has_the_same_id_as_long_as_the_totals_go_on() {
        let origin = |began, region: &str| Origin {
            began: Timestamp::from_millis(began),
            region: Some(region.to_owned()),
            account: None,
        };
        let id = origin(1, "us-east-1").instance_id();
        assert_eq!(id, origin(1, "us-east-1").instance_id());
        assert!(id != origin(2, "us-east-1").instance_id() && id != origin(1, "us-east-2").instance_id());
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!((parts, id.as_bytes()[14]), (vec![8, 4, 4, 4, 12], b'8'), "{id}");
    }

    #[test]
    fn exponential_histograms_count_every_value_that_was_observed() {
        let mut waits = Distribution { buckets: vec![0; catalogue::DURATION_BOUNDS.len() + 1], ..Default::default() };
        let mut exponential = ExponentialHistograms::default();
        let origin = Origin { began: Timestamp::default(), region: None, account: None };
        let mut frame = Frame { at: Timestamp::from_millis(1_700_000_000_000), ..Frame::default() };
        for fresh in [vec![3.0, 70.0], vec![], vec![5_000.0]] {
            fresh.iter().for_each(|value| waits.add(*value));
            waits.fresh = fresh.into_iter().map(|value| (frame.at, value)).collect();
            frame.samples = vec![sample(&catalogue::QUEUE_WAIT, 1, Value::Distribution(waits.clone()))];
            exponential.observe(&frame);
        }
        let form = Form { origin: &origin, max_points: 10, is_short: true, exponential: Some(&exponential) };
        let requests = requests_in(&form, &frame, None);
        let of_resource = &requests[0].0.resource_metrics[0];
        let Some(Data::ExponentialHistogram(histogram)) = &of_resource.scope_metrics[0].metrics[0].data else {
            panic!("{of_resource:?}")
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum, point.attributes.len()), (3, Some(5_073.0), 1));
        assert_eq!(point.time_unix_nano - point.start_time_unix_nano, 1_000_000_000);
        let keys: Vec<&str> =
            of_resource.resource.as_ref().unwrap().attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys, ["service.name"], "the short form");
    }

    #[test]
    fn waits_of_an_outage_are_reported_as_of_their_minutes_and_the_last_point_has_them_all() {
        let now = Timestamp::from_millis(1_700_000_040_000);
        let ago = |seconds: u64| now - std::time::Duration::from_secs(seconds);
        let mut waits = Distribution { buckets: vec![0; catalogue::DURATION_BOUNDS.len() + 1], ..Default::default() };
        let fresh = [(ago(3_600), 90.0), (ago(7_201), 5.0), (ago(7_199), 70.0), (ago(20), 1.0)];
        // One that was sent before the outage.
        [0.5].into_iter().chain(fresh.map(|(_, value)| value)).for_each(|value| waits.add(value));
        waits.fresh = fresh.to_vec();
        let samples = vec![sample(&catalogue::QUEUE_WAIT, 1, Value::Distribution(waits))];
        let frame = Frame { at: now, samples, ..Frame::default() };
        let origin = Origin { began: Timestamp::default(), region: None, account: None };
        let points = |(request, _): &(ExportMetricsServiceRequest, u64)| {
            let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
            let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
            let point = &histogram.data_points[0];
            let ago = (nanos(now) - point.time_unix_nano) / 1_000_000_000;
            (ago, point.count, point.sum.unwrap(), point.bucket_counts[2], point.bucket_counts[3])
        };
        let points_sent: Vec<_> =
            otlp_requests(&frame, &origin, None, MAX_POINTS_PER_REQUEST).iter().map(points).collect();
        let expected = [(7_200, 2, 5.5, 0, 0), (7_140, 3, 75.5, 0, 1), (3_540, 4, 165.5, 0, 2), (0, 5, 166.5, 0, 2)];
        assert_eq!(points_sent, expected);
        // The service went on while lists failed: what was reported until an hour ago stays as it is.
        let points_sent: Vec<_> =
            otlp_requests(&frame, &origin, Some(ago(3_650)), MAX_POINTS_PER_REQUEST).iter().map(points).collect();
        assert_eq!(points_sent, [(3_540, 2, 90.5, 0, 1), (0, 5, 166.5, 0, 2)]);
        let points_sent: Vec<_> =
            otlp_requests(&frame, &origin, Some(ago(30)), MAX_POINTS_PER_REQUEST).iter().map(points).collect();
        assert_eq!(points_sent, [(0, 5, 166.5, 0, 2)]);
    }

    #[test]
    fn while_the_count_catches_up_distributions_stand_in_the_minutes_that_are_counted_only() {
        let now = Timestamp::from_millis(1_700_000_040_000);
        let ago = |seconds: u64| now - std::time::Duration::from_secs(seconds);
        let frame = |fresh: &[(Timestamp, f64)], sent: usize, catch_up| {
            let mut waits =
                Distribution { buckets: vec![0; catalogue::DURATION_BOUNDS.len() + 1], ..Default::default() };
            (0..sent).for_each(|_| waits.add(1.0));
            fresh.iter().for_each(|(_, value)| waits.add(*value));
            waits.fresh = fresh.to_vec();
            let samples = vec![
                sample(&catalogue::QUEUE_WAIT, 1, Value::Distribution(waits)),
                sample(&GPU_CAPACITY, 1, Value::Gauge(4.0)),
            ];
            Frame { at: now, samples, catch_up, ..Frame::default() }
        };
        let origin = Origin { began: Timestamp::default(), region: None, account: None };
        let points = |frame: &Frame, until| -> Vec<(&str, u64)> {
            let requests = otlp_requests(frame, &origin, until, MAX_POINTS_PER_REQUEST);
            let metrics =
                requests.iter().flat_map(|(request, _)| &request.resource_metrics[0].scope_metrics[0].metrics);
            let point = |metric: &Metric| match metric.data.as_ref().unwrap() {
                Data::Histogram(histogram) => {
                    ("waits", (nanos(now) - histogram.data_points[0].time_unix_nano) / 1_000_000_000)
                }
                Data::Gauge(_) | Data::Sum(_) | Data::ExponentialHistogram(_) | Data::Summary(_) => ("gauge", 0),
            };
            metrics.map(point).collect()
        };
        let stopped = Some(ago(9_000));
        let first = frame(&[], 5, CatchUp::Stalled);
        assert_eq!(points(&first, stopped), [("gauge", 0)], "old totals are not said to be of now");
        assert_eq!(reported_by(&first, stopped), stopped);
        let soon = frame(&[], 5, CatchUp::UnderWay);
        assert_eq!(
            (points(&soon, stopped), reported_by(&soon, stopped)),
            (vec![], stopped),
            "all figures wait for a poll"
        );
        let second = frame(&[(ago(7_201), 5.0)], 5, CatchUp::UnderWay);
        assert_eq!(points(&second, stopped), [("waits", 7_200)]);
        let until = reported_by(&second, stopped);
        assert_eq!(until, Some(ago(7_200)));
        let third = frame(&[(ago(7_300), 5.0), (ago(3_600), 5.0)], 6, CatchUp::Done);
        assert_eq!(
            points(&third, until),
            [("waits", 3_540), ("gauge", 0), ("waits", 0)],
            "one is of a time that was reported"
        );
        assert_eq!(reported_by(&third, until), Some(now));
    }

    #[test]
    fn a_sum_that_is_taken_apart_and_put_together_again_is_no_lower_than_before() {
        let now = Timestamp::from_millis(1_700_000_040_000);
        let late = now - std::time::Duration::from_secs(3_600);
        let sum_of = |request: &(ExportMetricsServiceRequest, u64)| {
            let Some(Data::Histogram(histogram)) = &request.0.resource_metrics[0].scope_metrics[0].metrics[0].data
            else {
                panic!("{request:?}")
            };
            histogram.data_points[0].sum.unwrap()
        };
        let sent = |waits: &Distribution| -> Vec<f64> {
            let samples = vec![sample(&catalogue::QUEUE_WAIT, 1, Value::Distribution(waits.clone()))];
            let origin = Origin { began: Timestamp::default(), region: None, account: None };
            let frame = Frame { at: now, samples, ..Frame::default() };
            otlp_requests(&frame, &origin, None, MAX_POINTS_PER_REQUEST).iter().map(sum_of).collect()
        };
        let mut waits = Distribution { buckets: vec![0; catalogue::DURATION_BOUNDS.len() + 1], ..Default::default() };
        [0.1, 0.7].into_iter().for_each(|value| waits.add(value));
        let before = sent(&waits);
        waits.fresh = (1..2_000).map(|n| (late, f64::from(n) * 7.001)).collect();
        waits.fresh.clone().into_iter().for_each(|(_, value)| waits.add(value));
        waits.fresh.push((late + std::time::Duration::from_secs(600), 0.0));
        waits.add(0.0);
        let taken_apart = without_fresh(&waits).sum;
        assert_ne!(taken_apart.to_bits(), 0.8_f64.to_bits(), "the case is one in which it matters");
        let sums: Vec<f64> = before.into_iter().chain([whole_millis(taken_apart)]).chain(sent(&waits)).collect();
        assert!(sums.is_sorted(), "{sums:?}");
    }
}
