//! The service's own traces and logs, over gRPC to an OTLP receiver: one trace per poll and per notified alert, and
//! one record per log line.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;

use crate::support::config_file::configured;
use crate::support::hook::hook;
use crate::support::process::{listening, trainspotter};
use crate::support::ready_service::ready_service;

const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    records: Arc<Mutex<Vec<LogRecord>>>,
    /// Scopes of the records.
    scopes: Arc<Mutex<BTreeSet<String>>>,
    /// Resource attributes of the records.
    resource: Arc<Mutex<BTreeSet<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let of_scopes = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        self.spans.lock().unwrap().extend(of_scopes.flat_map(|of_scope| of_scope.spans));
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        for of_resource in request.into_inner().resource_logs {
            let attributes = of_resource.resource.unwrap_or_default().attributes;
            self.resource.lock().unwrap().extend(attributes.into_iter().map(|attribute| attribute.key));
            for of_scope in of_resource.scope_logs {
                self.scopes.lock().unwrap().insert(of_scope.scope.unwrap_or_default().name);
                self.records.lock().unwrap().extend(of_scope.log_records);
            }
        }
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

impl Collector {
    /// A listening collector, and its address.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .add_service(LogsServiceServer::new(collector.clone()));
        tokio::spawn(server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));
        (collector, address)
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect()
    }

    /// Records whose text contains this.
    fn records(&self, words: &str) -> Vec<LogRecord> {
        self.records.lock().unwrap().iter().filter(|record| text_of(record).contains(words)).cloned().collect()
    }
}

fn text_of(record: &LogRecord) -> String {
    // Libraries log fields without a message.
    let Some(Value::StringValue(text)) = record.body.as_ref().and_then(|body| body.value.as_ref()) else {
        return String::new();
    };
    text.clone()
}

#[tokio::test]
async fn a_poll_is_a_trace_and_an_alerts_way_to_its_receiver_another() {
    let (collector, traces) = Collector::start().await;
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

/// An unreachable receiver is reported in a log line, which is a record at the collector, with its fields.
#[tokio::test]
async fn lines_of_the_log_are_records_at_a_collector_and_sending_them_makes_no_others() {
    let (collector, logs) = Collector::start().await;
    let mut simulator = trainspotter(&["simulate", "--speed", "60", "--listen", "127.0.0.1:0"]);
    let (_simulator, endpoint) = listening(simulator.stderr(Stdio::piped()).spawn().unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let more = format!("logs: \"{logs}\"\npublish: {{ otlp: [{{ endpoint: \"http://127.0.0.1:9/v1/metrics\" }}] }}\n");
    let config = configured(folder.path(), &endpoint, &format!("poll: {{ every: 5s }}\n{more}"));
    // Also logs the lines of the exporter's libraries.
    let mut service = trainspotter(&["run", "--config", config.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let service = service.env("RUST_LOG", "debug,trainspotter=info,tonic::transport=debug").stderr(Stdio::piped());
    let (_service, _page) = listening(service.spawn().unwrap()).await;
    let complained = async {
        while collector.records("publishing failed").is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, complained).await.expect("a line of the log arrives as a record");
    let record = &collector.records("publishing failed")[0];
    assert_eq!(record.severity_number(), SeverityNumber::Warn);
    assert!(record.time_unix_nano > 0 || record.observed_time_unix_nano > 0, "{record:?}");
    let sink = record.attributes.iter().find(|attribute| attribute.key == "sink").expect("the fields of the line");
    let sink = sink.value.as_ref().and_then(|value| value.value.clone());
    assert_eq!(sink, Some(Value::StringValue("otlp".to_owned())));
    // Each exported batch makes its libraries log lines, and so does each attempt to publish.
    let libraries = ["tonic", "tower", "h2", "hyper", "hyper_util", "opentelemetry"];
    let scopes = collector.scopes.lock().unwrap().clone();
    let of_sending = |scope: &&String| libraries.contains(&scope.split("::").next().unwrap());
    assert!(scopes.iter().any(|scope| scope.starts_with("trainspotter")), "{scopes:?}");
    assert_eq!(scopes.iter().filter(of_sending).collect::<Vec<_>>(), Vec::<&String>::new());
    let resource = collector.resource.lock().unwrap().clone();
    assert!(
        ["service.name", "service.version", "service.instance.id"].iter().all(|key| resource.contains(*key)),
        "{resource:?}"
    );
    assert!(collector.spans("poll").is_empty(), "traces are off");
}
