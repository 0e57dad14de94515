//! Requirements of the OTLP specification for exporters, over real sockets: retry delays, compression, encodings of
//! distributions.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use trainspotter::config::{Histograms, Otlp, OtlpProtocol};
use trainspotter::publish::{Origin, OtlpSink, SinkError};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

use crate::support::frames::{AT, frame};
use crate::support::metric_receivers::{GrpcReceiver, HttpReceiver};
use crate::support::prometheus::{Server, is_installed};
use crate::support::remote_write;

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
async fn a_refusal_is_shown_in_the_words_of_the_receiver_with_what_to_do() {
    let receiver = HttpReceiver::start().await;
    let mut sink = OtlpSink::new(&Otlp::new(&receiver.url, OtlpProtocol::Http), origin()).unwrap();
    // A google.rpc.Status with the message "out of order".
    let status = b"\x08\x03\x12\x0cout of order";
    for (code, media_type, body, expected) in [
        (400, "application/x-protobuf", &status[..], "HTTP 400 Bad Request: out of order"),
        (400, "text/plain; charset=utf-8", b"duplicate\nlabel \x1b[31m", "Bad Request: duplicate label \u{fffd}[31m"),
        (404, "text/plain", b"otlp write receiver is not enabled", "Not Found: otlp write receiver is not enabled; `"),
        (413, "text/html", b"<html>nginx</html>", "413 Payload Too Large; raise the receiver's limit"),
        (415, "application/json", br#"{"message":"json only"}"#, "json only; the receiver must accept application/"),
        (503, "text/plain", b"starting", "HTTP 503 Service Unavailable: starting"),
        (400, "text/plain", &[b'x'; 100_000], &format!("{}…", "x".repeat(300))),
    ] {
        receiver.refuse_with(code, media_type, body);
        let error = sink.publish(&frame(0, &[])).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert_eq!(error.refused_points() > 0, code != 503, "points of an outage are sent again: {error}");
    }
    receiver.reject_points(1, &"y\n".repeat(20_000));
    let error = sink.publish(&frame(0, &[])).await.unwrap_err().to_string();
    assert!(error.chars().count() < 400 && !error.contains('\n'), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_an_outage_and_garbage_after_success_is_not() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let answers: [(&[u8], bool); 4] = [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", false),
        (b"HTTP/1.1 200 OK\r\ncontent-le", false),
        (b"", false),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            true,
        ),
    ];
    for (answer, is_taken) in answers {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/metrics", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                // The whole request: head, and as many bytes as it announces.
                loop {
                    socket.read_buf(&mut request).await.unwrap();
                    let text = String::from_utf8_lossy(&request).to_lowercase();
                    let Some(head) = text.find("\r\n\r\n") else { continue };
                    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
                    let length: usize = length.unwrap().parse().unwrap();
                    let head = request.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(head);
                    if request.len() >= head + 4 + length {
                        break;
                    }
                }
                socket.write_all(answer).await.unwrap();
                socket.shutdown().await.unwrap();
            }
        });
        let mut sink = OtlpSink::new(&Otlp::new(&url, OtlpProtocol::Http), origin()).unwrap();
        let result = sink.publish(&frame(0, &[])).await;
        match result {
            Ok(_) => assert!(is_taken, "{}", String::from_utf8_lossy(answer)),
            Err(error) => assert!(!is_taken && error.refused_points() == 0, "{error}"),
        }
        serving.abort();
    }
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

/// Prometheus checks that buckets, zeros and count agree, and computes quantiles from the buckets.
#[tokio::test]
async fn a_real_prometheus_takes_exponential_histograms_and_has_their_quantiles() {
    if !is_installed("prometheus") {
        return;
    }
    let receiver = HttpReceiver::start().await;
    let config = Otlp { histograms: Histograms::Exponential, ..Otlp::new(&receiver.url, OtlpProtocol::Http) };
    let mut sink = OtlpSink::new(&config, origin()).unwrap();
    // None; very close together, at the finest scale; and from a millisecond to weeks, with zeros.
    let close = [61.5, 61.500_1];
    let far: Vec<f64> = (0..200).map(|n| 0.002 * 1.1_f64.powi(n)).chain([0.0, 0.000_5]).collect();
    for (tick, fresh) in [(0, &[][..]), (1, &close), (2, &far)] {
        let frame = frame(tick, fresh);
        sink.observe(&frame);
        sink.publish(&frame).await.unwrap();
    }
    let server = Server::start_with("", &["--enable-feature=native-histograms"]).await;
    for request in receiver.requests() {
        server.write(remote_write::body(&request)).await.unwrap();
    }
    let at = |tick: f64| Some(AT.secs_f64() + tick * 60.0);
    let waits = "trainspotter_queue_wait_seconds";
    let value = async |query: String, tick: f64| {
        let found = server.values(&query, at(tick)).await;
        assert_eq!(found.len(), 1, "{query}: {found:?}");
        found[0].1
    };
    assert_eq!(value(format!("histogram_count({waits})"), 0.0).await, 0.0);
    assert_eq!(value(format!("histogram_count({waits})"), 1.0).await, 2.0);
    let median = value(format!("histogram_quantile(0.5, {waits})"), 1.0).await;
    assert!((median / 61.5 - 1.0).abs() < 0.003, "schema 8 has buckets of 0.27 %: {median}");
    let mut all = [&close[..], &far].concat();
    all.sort_by(f64::total_cmp);
    assert_eq!(value(format!("histogram_count({waits})"), 2.0).await, all.len() as f64);
    let sum = value(format!("histogram_sum({waits})"), 2.0).await;
    assert!((sum / all.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{sum}");
    for quantile in [0.1, 0.5, 0.9, 0.99] {
        let exact = all[(quantile * all.len() as f64) as usize];
        let found = value(format!("histogram_quantile({quantile}, {waits})"), 2.0).await;
        // A bucket of scale 2 is 19 % wide, and so are the gaps between two values 10 %.
        assert!((found / exact - 1.0).abs() < 0.25, "{quantile}: {found} instead of {exact}");
    }
}
