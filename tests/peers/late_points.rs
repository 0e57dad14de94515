//! Late data points in a real Prometheus: what a service publishes over OTLP while job lists fail, and after a
//! downtime, is stored without rejections; totals never decrease; and waits have the time at which they ended, unless
//! that time was already reported.
//!
//! A Prometheus with an OTLP receiver stores a data point as one sample per series, at the point's own time, and
//! rejects samples older than the latest of their series. The same is written here, request by request, so that any
//! version works.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use serde_json::json;
use trainspotter::config::{Otlp, OtlpProtocol, Publish, Secret};
use trainspotter_core::metrics::catalogue::{ALL, Kind};
use trainspotter_simulator::workload::Synthetic;

use crate::support::demo::Demo;
use crate::support::metric_receivers::HttpReceiver;
use crate::support::prometheus::{Server, is_installed};
use crate::support::remote_write;

const SEED: u64 = 3;
/// Simulated seconds per real second.
const SPEED: f64 = 1_200.0;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const WAITS: &str = "trainspotter_queue_wait_seconds_count";

/// The demo's workload, with metrics published to `receiver`.
async fn demo(receiver: &HttpReceiver) -> Demo {
    let headers = BTreeMap::from([("authorization".to_owned(), Secret::new("Bearer nobody"))]);
    let otlp = Otlp { headers, ..Otlp::new(receiver.url.clone(), OtlpProtocol::Http) };
    Demo::start(SEED, SPEED, &Synthetic::default(), |_| Publish { cloudwatch: None, otlp: vec![otlp] }).await
}

/// A Prometheus to which the requests were written in order; it rejected none.
async fn stored(requests: &[ExportMetricsServiceRequest]) -> Server {
    let server = Server::start("").await;
    let mut refused = Vec::new();
    for request in requests {
        refused.extend(server.write(remote_write::body(request)).await.err());
    }
    assert!(refused.is_empty(), "seed {SEED}: {} of {} refused: {refused:#?}", refused.len(), requests.len());
    server
}

/// Seconds since 1970 of a time after the beginning of the demo.
fn seconds(demo: &Demo, after: Duration) -> f64 {
    (demo.began + after).secs_f64()
}

/// Increase of first waits between two times of the demo.
async fn grown(server: &Server, demo: &Demo, from: Duration, to: Duration) -> f64 {
    let (mut then, mut now) = (0.0, 0.0);
    // Without look-back: a sample counts until the next one.
    let query = format!("sum(last_over_time({WAITS}[12h]))");
    for (at, sum) in [(from, &mut then), (to, &mut now)] {
        *sum = server.values(&query, Some(seconds(demo, at))).await.iter().map(|(_, value)| value).sum();
    }
    now - then
}

/// No total decreases, from the beginning to the end.
async fn nothing_goes_back(server: &Server, at: f64) {
    let mut totals = 0;
    for metric in ALL.iter().filter(|metric| metric.kind != Kind::Gauge) {
        let suffixes: &[&str] = if metric.kind == Kind::Counter { &[""] } else { &["_bucket", "_count", "_sum"] };
        for suffix in suffixes {
            let name = format!("{}{suffix}", metric.prometheus_name());
            let resets = server.values(&format!("resets({name}[12h])"), Some(at)).await;
            totals += resets.len();
            let back: Vec<_> = resets.iter().filter(|(_, resets)| *resets > 0.0).collect();
            assert!(back.is_empty(), "seed {SEED}: {name} goes back: {back:#?}");
        }
    }
    assert!(totals > 100, "only {totals} totals are stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_of_an_outage_of_the_lists_contradict_nothing_that_was_reported() {
    if !is_installed("prometheus") {
        return;
    }
    let receiver = HttpReceiver::start().await;
    let mut demo = demo(&receiver).await;
    let fault = json!({"server_error": {"operation": "ListServiceJobs", "after": "3h", "for": "40m"}});
    demo.inject(&fault).await;
    let arranged = demo.clock.now().since(demo.began);
    demo.at(HOUR * 5).await;
    demo.stop_service().await;
    let server = stored(&receiver.requests()).await;
    nothing_goes_back(&server, seconds(&demo, HOUR * 6)).await;
    // Single jobs are still described, so some waits are known at once; most become known when the lists work again.
    let ended = arranged + HOUR * 3 + MINUTE * 40;
    let after = grown(&server, &demo, ended, ended + MINUTE * 30).await;
    assert!(after > 0.0, "seed {SEED}: the waits of the outage count when they are known");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_of_a_time_in_which_nothing_ran_stand_in_that_time() {
    if !is_installed("prometheus") {
        return;
    }
    let receiver = HttpReceiver::start().await;
    let mut demo = demo(&receiver).await;
    demo.at(HOUR * 2).await;
    demo.stop_service().await;
    let stopped_at = demo.clock.now().since(demo.began);
    demo.at(stopped_at + MINUTE * 90).await;
    let before = receiver.requests().len();
    demo.start_service().await;
    demo.at(stopped_at + HOUR * 3).await;
    demo.stop_service().await;
    assert!(receiver.requests().len() > before, "it publishes again");
    let server = stored(&receiver.requests()).await;
    nothing_goes_back(&server, seconds(&demo, HOUR * 6)).await;
    let mut minutes_with_waits = 0;
    for minute in 5..80 {
        let from = stopped_at + MINUTE * minute;
        minutes_with_waits += usize::from(grown(&server, &demo, from, from + MINUTE).await > 0.0);
    }
    assert!(minutes_with_waits > 5, "seed {SEED}: waits stand in {minutes_with_waits} minutes of the gap");
}
