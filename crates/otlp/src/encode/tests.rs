//! Encoding a frame: no duplicates, no losses, and correct times.

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
fn the_instance_id_is_stable_as_long_as_the_totals_continue() {
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
    let form =
        Form { origin: &origin, max_points: 10, is_short: true, exponential: Some(&exponential), unchanged: None };
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
    // A value that was sent before the outage.
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
    let points_sent: Vec<_> = otlp_requests(&frame, &origin, None, MAX_POINTS_PER_REQUEST).iter().map(points).collect();
    let expected = [(7_200, 2, 5.5, 0, 0), (7_140, 3, 75.5, 0, 1), (3_540, 4, 165.5, 0, 2), (0, 5, 166.5, 0, 2)];
    assert_eq!(points_sent, expected);
    // The service kept running while lists failed: what was reported until an hour ago stays unchanged.
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
        let mut waits = Distribution { buckets: vec![0; catalogue::DURATION_BOUNDS.len() + 1], ..Default::default() };
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
        let metrics = requests.iter().flat_map(|(request, _)| &request.resource_metrics[0].scope_metrics[0].metrics);
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
    assert_eq!((points(&soon, stopped), reported_by(&soon, stopped)), (vec![], stopped), "all figures wait for a poll");
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
        let Some(Data::Histogram(histogram)) = &request.0.resource_metrics[0].scope_metrics[0].metrics[0].data else {
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
