//! Every sink against a real receiver on the loopback interface.

use crate::support::frames;
use crate::support::metric_receivers;

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use trainspotter::config::{self, Otlp, OtlpProtocol, Secret};
use trainspotter::publish::{
    CloudWatchAccess, CloudWatchSink, Deltas, MAX_HOLD, Origin, OtlpSink, Published, Publisher, SinkError, TIMEOUT,
    prometheus_text,
};
use trainspotter_clock::Clock;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::model::Timestamp;

use frames::{AT, frame};
use metric_receivers::{CloudWatchReceiver, GrpcReceiver, HttpReceiver};

const WAITS: &[f64] = &[0.5, 1.0, 61.5, 61.5, 700_000.0];

fn origin() -> Origin {
    Origin { began: Timestamp::from_millis(1_600_000_000_000), region: Some("us-east-1".to_owned()), account: None }
}

fn classic(client: aws_sdk_cloudwatch::Client) -> CloudWatchAccess {
    CloudWatchAccess { classic: Some(client), ..CloudWatchAccess::default() }
}

fn otlp(endpoint: &str, protocol: OtlpProtocol) -> Otlp {
    let headers = BTreeMap::from([("authorization".to_owned(), Secret::new("Bearer hunter2"))]);
    Otlp { headers, ..Otlp::new(endpoint, protocol) }
}

/// Series by name and labels, as Prometheus stores them.
type Stored = BTreeMap<(String, BTreeMap<String, String>), f64>;

fn stored_by_prometheus(text: &str) -> Stored {
    let mut stored = Stored::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        let mut pairs = BTreeMap::new();
        for pair in labels.strip_suffix('}').unwrap().split("\",").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once("=\"").unwrap();
            let value = value.strip_suffix('"').unwrap_or(value);
            let value = value.replace("\\\"", "\"").replace("\\n", "\n").replace("\\\\", "\\");
            pairs.insert(label.to_owned(), value);
        }
        let before = stored.insert((name.to_owned(), pairs), value.parse().unwrap());
        assert_eq!(before, None, "twice: {line}");
    }
    stored
}

fn stored_from_otlp(requests: &[ExportMetricsServiceRequest]) -> Stored {
    let mut stored = Stored::new();
    let metrics = requests.iter().flat_map(|request| &request.resource_metrics).flat_map(|r| &r.scope_metrics);
    for metric in metrics.flat_map(|scope| &scope.metrics) {
        let name = catalogue::ALL.iter().find(|known| known.otlp_name() == metric.name).unwrap().prometheus_name();
        let mut put = |suffix: &str, labels: BTreeMap<String, String>, value: f64| {
            stored.insert((format!("{name}{suffix}"), labels), value);
        };
        let number = |value| match value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            other => panic!("{other:?}"),
        };
        match metric.data.clone().unwrap() {
            Data::Gauge(gauge) => {
                for point in gauge.data_points {
                    assert_eq!(point.time_unix_nano, 1_700_000_000_250_000_000);
                    put("", pairs(&point.attributes), number(point.value));
                }
            }
            Data::Sum(sum) => {
                assert!(sum.is_monotonic);
                for point in sum.data_points {
                    assert_eq!(point.start_time_unix_nano, 1_600_000_000_000_000_000);
                    put("", pairs(&point.attributes), number(point.value));
                }
            }
            Data::Histogram(histogram) => {
                for point in histogram.data_points {
                    let labels = pairs(&point.attributes);
                    let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                    let mut below = 0;
                    for (bound, count) in bounds.zip(&point.bucket_counts) {
                        below += count;
                        let mut labels = labels.clone();
                        labels.insert("le".to_owned(), bound);
                        put("_bucket", labels, below as f64);
                    }
                    put("_count", labels.clone(), point.count as f64);
                    put("_sum", labels, point.sum.unwrap());
                }
            }
            other @ (Data::ExponentialHistogram(_) | Data::Summary(_)) => panic!("{other:?}"),
        }
    }
    stored
}

fn pairs(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let pair = |attribute: &KeyValue| {
        let Some(any_value::Value::StringValue(value)) = attribute.value.clone().unwrap().value else {
            panic!("{attribute:?}");
        };
        (attribute.key.clone(), value)
    };
    attributes.iter().map(pair).collect()
}

#[tokio::test]
async fn otlp_over_http_and_grpc_carries_the_figures_that_prometheus_reads() {
    let frame = frame(0, WAITS);
    let expected = stored_by_prometheus(&prometheus_text(std::slice::from_ref(&frame)));
    assert_eq!(expected.len(), 7 + 14 + 2, "7 numbers; buckets, sum and count of the one histogram");

    let http = HttpReceiver::start().await;
    let mut sink = OtlpSink::new(&otlp(&http.url, OtlpProtocol::Http), origin()).unwrap();
    assert_eq!(sink.publish(&frame).await, Ok(Published { series: 8, dropped: 0 }));
    assert_eq!(stored_from_otlp(&http.requests()), expected);

    let grpc = GrpcReceiver::start().await;
    let mut sink = OtlpSink::new(&otlp(&grpc.origin, OtlpProtocol::Grpc), origin()).unwrap();
    assert_eq!(sink.publish(&frame).await, Ok(Published { series: 8, dropped: 0 }));
    assert_eq!(stored_from_otlp(&grpc.requests()), expected);

    for receiver in [http.headers(), grpc.headers()] {
        assert_eq!(receiver, ["Bearer hunter2"], "headers are sent with each request");
    }
    let resource = http.requests()[0].resource_metrics[0].resource.clone().unwrap();
    assert_eq!(
        pairs(&resource.attributes),
        BTreeMap::from(
            [
                ("service.name", "trainspotter"),
                ("service.version", env!("CARGO_PKG_VERSION")),
                ("service.instance.id", origin().instance_id().as_str()),
                ("cloud.region", "us-east-1")
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
        )
    );
}

#[tokio::test]
async fn an_http_receiver_that_refuses_is_distinguished_from_one_that_is_away() {
    let receiver = HttpReceiver::start().await;
    let mut sink = OtlpSink::new(&otlp(&receiver.url, OtlpProtocol::Http), origin()).unwrap();
    let unavailable = |reason: &str, seconds: Option<u64>| SinkError::Unavailable {
        reason: reason.to_owned(),
        retry_after: seconds.map(Duration::from_secs),
    };
    let rejected = |reason: &str| SinkError::Rejected { dropped: 8, reason: reason.to_owned() };
    for (status, retry_after, expected) in [
        (429, Some("7"), unavailable("HTTP 429 Too Many Requests", Some(7))),
        (502, None, unavailable("HTTP 502 Bad Gateway", None)),
        (503, Some("Fri, 31 Dec 1999 23:59:59 GMT"), unavailable("HTTP 503 Service Unavailable", Some(0))),
        (503, Some("soon"), unavailable("HTTP 503 Service Unavailable", None)),
        (504, None, unavailable("HTTP 504 Gateway Timeout", None)),
        (400, None, rejected("HTTP 400 Bad Request")),
        (401, None, rejected("HTTP 401 Unauthorized; check `headers` of this receiver")),
        (
            307,
            None,
            rejected(
                "HTTP 307 Temporary Redirect; redirects are not followed: configure the URL that this one leads to",
            ),
        ),
        (
            404,
            None,
            rejected("HTTP 404 Not Found; `endpoint` must be the whole URL, which usually ends with /v1/metrics"),
        ),
        (500, None, rejected("HTTP 500 Internal Server Error")),
    ] {
        receiver.answer_with(status, retry_after);
        assert_eq!(sink.publish(&frame(0, WAITS)).await, Err(expected), "{status}");
    }
    receiver.reject_points(3, "too old");
    let partly = SinkError::Rejected { dropped: 3, reason: "too old".to_owned() };
    assert_eq!(sink.publish(&frame(0, WAITS)).await, Err(partly));
    receiver.reject_points(2, "");
    let silent = SinkError::Rejected { dropped: 2, reason: "the receiver gave no reason".to_owned() };
    assert_eq!(sink.publish(&frame(0, WAITS)).await, Err(silent));
    receiver.reject_points(0, "a warning");
    assert_eq!(sink.publish(&frame(0, WAITS)).await, Ok(Published { series: 8, dropped: 0 }));
}

#[tokio::test]
async fn a_grpc_receiver_that_refuses_is_distinguished_from_one_that_is_away() {
    let receiver = GrpcReceiver::start().await;
    let mut sink = OtlpSink::new(&otlp(&receiver.origin, OtlpProtocol::Grpc), origin()).unwrap();
    for (code, may_pass) in [
        (tonic::Code::Unavailable, true),
        (tonic::Code::ResourceExhausted, true),
        (tonic::Code::DeadlineExceeded, true),
        (tonic::Code::InvalidArgument, false),
        (tonic::Code::Unauthenticated, false),
        (tonic::Code::Unimplemented, false),
    ] {
        receiver.answer_with(code);
        let error = sink.publish(&frame(0, WAITS)).await.unwrap_err();
        assert_eq!(matches!(error, SinkError::Unavailable { .. }), may_pass, "{error}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_outage_and_secrets_stay_secret() {
    for (endpoint, protocol) in
        [("http://127.0.0.1:1/v1/metrics", OtlpProtocol::Http), ("http://127.0.0.1:1", OtlpProtocol::Grpc)]
    {
        let mut sink = OtlpSink::new(&otlp(endpoint, protocol), origin()).unwrap();
        let error = sink.publish(&frame(0, WAITS)).await.unwrap_err();
        assert!(matches!(error, SinkError::Unavailable { .. }), "{error}");
        assert!(!format!("{sink:?} {error} {error:?}").contains("hunter2"));
    }
    let mut broken = otlp("http://127.0.0.1:1", OtlpProtocol::Http);
    broken.headers.insert("x-key".to_owned(), Secret::new("hunter2\n"));
    let error = OtlpSink::new(&broken, origin()).unwrap_err();
    assert!(error.to_string().contains("x-key") && !format!("{error:?}").contains("hunter2"), "{error}");
}

#[tokio::test]
async fn an_endpoint_that_cannot_work_is_refused_at_once() {
    for (endpoint, protocol) in [
        ("collector:4317", OtlpProtocol::Grpc),
        ("collector", OtlpProtocol::Grpc),
        ("ftp://collector/v1/metrics", OtlpProtocol::Http),
        ("collector:4318", OtlpProtocol::Http),
        ("not a url", OtlpProtocol::Http),
    ] {
        let error = OtlpSink::new(&otlp(endpoint, protocol), origin()).unwrap_err();
        assert!(!format!("{error}").contains("/v1/metrics"), "a path may hold a key: {error}");
    }
}

#[tokio::test]
async fn cloudwatch_gets_gauges_increases_and_values_and_what_failed_comes_again() {
    let receiver = CloudWatchReceiver::start().await;
    let mut sink = CloudWatchSink::new(receiver.client(), "Trainspotter".to_owned());
    let first = frame(0, WAITS);
    sink.observe(&first);
    receiver.answer_with(503);
    let away = sink.publish(&first).await.unwrap_err();
    assert!(matches!(away, SinkError::Unavailable { .. }), "{away}");

    receiver.answer_with(200);
    let second = frame(3, &[61.5]);
    sink.observe(&second);
    assert_eq!(sink.publish(&second).await, Ok(Published { series: 7, dropped: 0 }));
    let data = receiver.data();
    assert_eq!(data["JobPreemptions/prod/research"], [(3.0, 1.0)], "the increase");
    assert_eq!(data["QueueJobs/prod/(none)/running"], [(0.0, 1.0)], "an empty label has a name");
    let values = [(0.5, 1.0), (1.0, 1.0), (61.5, 3.0), (700_000.0, 1.0)];
    assert_eq!(data["QueueWait/prod/research"], values, "each value as often as it occurred, the failed try included");
    assert!(!data.contains_key("GpuTime/prod/running_busy"), "not worth its price: {data:?}");
}

#[tokio::test]
async fn what_cloudwatch_finds_fault_with_is_not_sent_again() {
    let receiver = CloudWatchReceiver::start().await;
    let mut sink = CloudWatchSink::new(receiver.client(), "Trainspotter".to_owned());
    receiver.answer_with(400);
    let first = frame(0, WAITS);
    sink.observe(&first);
    let refused = sink.publish(&first).await.unwrap_err();
    let SinkError::Rejected { dropped: 6, reason } = &refused else { panic!("{refused}") };
    assert!(reason.contains("too old"), "{reason}");

    receiver.answer_with(200);
    let second = frame(1, &[61.5]);
    sink.observe(&second);
    sink.publish(&second).await.unwrap();
    assert_eq!(receiver.data()["QueueWait/prod/research"], [(61.5, 1.0)]);
}

#[tokio::test]
async fn a_client_that_waits_for_ever_is_given_up() {
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = metric_receivers::cloudwatch_client(&format!("http://{}", hanging.local_addr().unwrap()));
    let config =
        config::Publish { cloudwatch: Some(config::CloudWatch::new("T", Duration::from_secs(60))), otlp: Vec::new() };
    let mut publisher = Publisher::new(&config, classic(client), &origin(), Clock::starting_at(AT, 1.0)).unwrap();
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let reports = publisher.publish(frame(0, &[])).await;
    assert_eq!(before.elapsed().as_secs(), TIMEOUT.as_secs());
    assert!(matches!(reports[0].error, Some(SinkError::Unavailable { .. })), "{reports:?}");
}

#[tokio::test]
async fn a_request_is_never_larger_than_its_estimate() {
    let receiver = CloudWatchReceiver::start().await;
    let values: Vec<f64> = (0..20_000).map(|n| f64::from(n) + 0.1).collect();
    let frame = frame(0, &values);
    let mut deltas = Deltas::default();
    deltas.observe(&frame.samples, frame.at);
    let estimate: usize = deltas.batches(&frame.samples, frame.at).iter().map(|batch| batch.bytes).sum();
    let mut sink = CloudWatchSink::new(receiver.client(), "Trainspotter".to_owned());
    sink.observe(&frame);
    sink.publish(&frame).await.unwrap();
    let sent = receiver.bytes();
    assert!(sent <= estimate && estimate <= sent * 3 / 2, "sent {sent}, estimated {estimate}");
}

#[tokio::test]
async fn a_sink_that_hangs_delays_no_other_and_a_cadence_is_kept() {
    // A listener that never responds.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = HttpReceiver::start().await;
    let cloudwatch = CloudWatchReceiver::start().await;
    let config = config::Publish {
        cloudwatch: Some(config::CloudWatch::new("T", Duration::from_secs(120))),
        otlp: vec![
            otlp(&format!("http://{}", hanging.local_addr().unwrap()), OtlpProtocol::Http),
            otlp(&receiver.url, OtlpProtocol::Http),
        ],
    };
    let clock = Clock::starting_at(AT, 1.0);
    let mut publisher = Publisher::new(&config, classic(cloudwatch.client()), &origin(), clock).unwrap();
    let mut tried = Vec::new();
    for tick in 0..3 {
        let publishing = publisher.publish(frame(tick, &[f64::from(tick)]));
        let others_are_served = async {
            receiver.served(tick as usize + 1).await;
            if tick != 1 {
                cloudwatch.served(tick as usize / 2 + 1).await;
            }
            // From here on, whatever still waits is waiting for the hanging one.
            tokio::time::pause();
        };
        let (reports, ()) = tokio::join!(publishing, others_are_served);
        tokio::time::resume();
        tried.push(reports.iter().map(|report| (report.sink.to_string(), report.error.is_none())).collect::<Vec<_>>());
    }
    let both = [("otlp".to_owned(), false), ("otlp-2".to_owned(), true)];
    let all = [("cloudwatch".to_owned(), true), both[0].clone(), both[1].clone()];
    assert_eq!(tried, [all.to_vec(), both.to_vec(), all.to_vec()], "CloudWatch every other minute");
    let waits: Vec<(f64, f64)> = vec![(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)];
    assert_eq!(cloudwatch.data()["QueueWait/prod/research"], waits, "values of frames that were not due come later");
}

#[tokio::test]
async fn what_is_rejected_makes_no_sink_due_earlier() {
    let cloudwatch = CloudWatchReceiver::start().await;
    let config =
        config::Publish { cloudwatch: Some(config::CloudWatch::new("T", Duration::from_secs(120))), otlp: Vec::new() };
    let clock = Clock::starting_at(AT, 1.0);
    let mut publisher = Publisher::new(&config, classic(cloudwatch.client()), &origin(), clock).unwrap();
    let mut tries = Vec::new();
    // Rejected, rejected, and away from the fifth frame on: only an outage is tried again at once.
    for (tick, status) in [(0, 400), (1, 400), (2, 400), (3, 400), (4, 503), (5, 503), (6, 200), (7, 200)] {
        cloudwatch.answer_with(status);
        tries.push(publisher.publish(frame(tick, &[f64::from(tick)])).await.len());
    }
    assert_eq!(tries, [1, 0, 1, 0, 1, 1, 1, 0]);
}

#[tokio::test]
async fn a_sink_that_asks_for_a_pause_gets_it_but_not_for_ever() {
    let receiver = HttpReceiver::start().await;
    let cloudwatch = CloudWatchReceiver::start().await;
    let config = config::Publish { cloudwatch: None, otlp: vec![otlp(&receiver.url, OtlpProtocol::Http)] };
    let clock = Clock::starting_at(AT, 1.0);
    let mut publisher = Publisher::new(&config, classic(cloudwatch.client()), &origin(), clock).unwrap();
    receiver.answer_with(429, Some("999999"));
    assert_eq!(publisher.publish(frame(0, &[])).await.len(), 1);
    let held = u32::try_from(MAX_HOLD.as_secs() / 60).unwrap();
    assert_eq!(publisher.publish(frame(held - 1, &[])).await, [], "held");
    assert_eq!(publisher.publish(frame(held, &[])).await.len(), 1, "tried again");
}
