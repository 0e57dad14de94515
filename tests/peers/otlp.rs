//! Requirements of the OTLP specification for exporters, over real sockets: retry delays, compression, encodings of
//! distributions.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use trainspotter::config::{Histograms, Otlp, OtlpProtocol};
use trainspotter::publish::{Origin, OtlpSink, SinkError};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

use crate::support::frames::frame;
use crate::support::receivers::{GrpcReceiver, HttpReceiver};

fn origin() -> Origin {
    Origin { began: Timestamp::from_millis(1_600_000_000_000), region: None, account: None }
}

fn pause(error: &SinkError) -> Option<Duration> {
    let SinkError::Unavailable { retry_after, .. } = error else { panic!("{error}") };
    *retry_after
}

/// An HTTP date.
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap()
}

#[tokio::test]
async fn a_pause_is_asked_for_in_seconds_or_by_a_date_and_over_grpc_by_retry_info() {
    let receiver = HttpReceiver::start().await;
    let mut sink = OtlpSink::new(&Otlp::new(&receiver.url, OtlpProtocol::Http), origin()).unwrap();
    receiver.answer_with(503, Some("42"));
    assert_eq!(pause(&sink.publish(&frame(0, &[])).await.unwrap_err()), Some(Duration::from_secs(42)));
    receiver.answer_with(429, Some(&http_date(Clock::real().now() + Duration::from_secs(120))));
    let asked = pause(&sink.publish(&frame(0, &[])).await.unwrap_err()).unwrap();
    assert!((100..=121).contains(&asked.as_secs()), "{asked:?}");

    let receiver = GrpcReceiver::start().await;
    let mut sink = OtlpSink::new(&Otlp::new(&receiver.origin, OtlpProtocol::Grpc), origin()).unwrap();
    receiver.answer_with(tonic::Code::ResourceExhausted);
    assert_eq!(pause(&sink.publish(&frame(0, &[])).await.unwrap_err()), None);
    // A google.rpc.Status with a RetryInfo of 9 seconds.
    let mut details = vec![0x1a, 0x30, 0x0a, 0x28];
    details.extend_from_slice(b"type.googleapis.com/google.rpc.RetryInfo");
    details.extend_from_slice(&[0x12, 0x04, 0x0a, 0x02, 0x08, 0x09]);
    receiver.with_details(&details);
    assert_eq!(pause(&sink.publish(&frame(0, &[])).await.unwrap_err()), Some(Duration::from_secs(9)));
}

#[tokio::test]
async fn bodies_are_compressed_unless_configured_otherwise() {
    let receiver = HttpReceiver::start().await;
    for is_zipped in [true, false] {
        let config = Otlp { is_zipped, ..Otlp::new(&receiver.url, OtlpProtocol::Http) };
        OtlpSink::new(&config, origin()).unwrap().publish(&frame(0, &[1.0])).await.unwrap();
    }
    assert_eq!(receiver.encodings(), [Some("gzip".to_owned()), None]);
    let requests = receiver.requests();
    assert_eq!(requests[0], requests[1]);

    let receiver = GrpcReceiver::start().await;
    let config = Otlp { is_zipped: false, ..Otlp::new(&receiver.origin, OtlpProtocol::Grpc) };
    OtlpSink::new(&config, origin()).unwrap().publish(&frame(0, &[1.0])).await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn distributions_go_out_as_exponential_histograms_where_that_is_chosen() {
    let (http, grpc) = (HttpReceiver::start().await, GrpcReceiver::start().await);
    for (endpoint, protocol) in [(&http.url, OtlpProtocol::Http), (&grpc.origin, OtlpProtocol::Grpc)] {
        let config = Otlp { histograms: Histograms::Exponential, ..Otlp::new(endpoint, protocol) };
        let mut sink = OtlpSink::new(&config, origin()).unwrap();
        for (tick, fresh) in [(0, &[0.5, 61.5][..]), (1, &[]), (2, &[700_000.0])] {
            let frame = frame(tick, fresh);
            sink.observe(&frame);
            sink.publish(&frame).await.unwrap();
        }
    }
    for requests in [http.requests(), grpc.requests()] {
        let mut counts = BTreeMap::<u64, u64>::new();
        for (index, request) in requests.iter().enumerate() {
            for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
                assert!(!matches!(metric.data, Some(Data::Histogram(_))), "{} has explicit buckets", metric.name);
                let Some(Data::ExponentialHistogram(histogram)) = &metric.data else { continue };
                assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
                for point in &histogram.data_points {
                    let buckets = point.positive.clone().unwrap_or_default().bucket_counts;
                    assert_eq!(buckets.iter().sum::<u64>() + point.zero_count, point.count);
                    assert!(point.start_time_unix_nano > 0 && point.start_time_unix_nano < point.time_unix_nano);
                    *counts.entry(index as u64).or_default() += point.count;
                }
            }
        }
        assert_eq!(counts, BTreeMap::from([(0, 2), (1, 2), (2, 3)]), "cumulative over three frames");
    }
}
