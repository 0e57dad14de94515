//! The service's own traces, over gRPC to a receiver of OTLP: a poll is one, an alert's way to its receiver another.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;

use crate::support::hook::hook;
use crate::support::process::{listening, trainspotter};
use crate::support::ready::ready_service;

const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let of_scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.0.lock().unwrap().extend(of_scopes.flat_map(|of_scope| of_scope.spans));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    fn spans(&self, name: &str) -> Vec<Span> {
        self.0.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }
}

#[tokio::test]
async fn a_poll_is_a_trace_and_an_alerts_way_to_its_receiver_another() {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let traces = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    tokio::spawn(server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let rules =
        "rules: [{ alert: Polls, metric: poll.interval, above: 0s, no_data: ok, annotations: { summary: polls } }]\n";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let receiver = hook().await;
    let more = format!(
        "traces: \"{traces}\"\nrules: [rules.yaml]\nreceivers: [{{ name: hook, webhook: {{ url: \"{}\", allow_loopback: true }} }}]\n",
        receiver.url
    );
    let (_service, ..) = ready_service(folder.path(), &endpoint, &more).await;
    let complete = async {
        while collector.spans("alert.delivery").is_empty() || collector.spans("poll").is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.expect("polls and the delivery are traced");
    let (transitions, deliveries) = (collector.spans("alert.transition"), collector.spans("alert.delivery"));
    assert_eq!(transitions[0].trace_id, deliveries[0].trace_id, "one trace");
    assert!(transitions[0].start_time_unix_nano <= deliveries[0].start_time_unix_nano);
    let poll = &collector.spans("poll")[0];
    assert!(poll.parent_span_id.is_empty(), "a poll is a trace of its own: {poll:?}");
    assert!(poll.trace_id != deliveries[0].trace_id);
    let parts = collector.spans("poll_jobs");
    assert!(parts.iter().any(|part| part.trace_id == poll.trace_id), "{parts:?}");
}
