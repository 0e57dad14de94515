//! Logs to stderr, and the service's own traces over OTLP if asked for: each poll is a trace, and so is each alert's way to its receivers.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithTonicConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::Endpoint;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;
use crate::outbound::{Guard, grpc_channel};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str =
    "info,aws_config=warn,aws_smithy_runtime=warn,aws_smithy_http_client=error,hyper_util=warn,rusqlite_migration=warn";

/// The spans that are traced: the service's own, and not those of libraries.
const TRACED: &str = "off,trainspotter=debug";

/// Wall time for connecting to the receiver of traces, and for one export.
const TRACES_TIMEOUT: Duration = Duration::from_secs(10);

/// Flushes traces when dropped at the end of the process.
#[derive(Debug)]
#[must_use]
pub struct Logs(Option<SdkTracerProvider>);

/// Begins to log. `traces` is the gRPC endpoint of an OTLP receiver. Call it once, inside a tokio runtime.
///
/// # Errors
///
/// When `traces` is not an endpoint that can be used, or logs were started before.
pub fn start_logs(format: LogFormat, traces: Option<&str>) -> Result<Logs, String> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Pretty => lines.with_target(false).compact().boxed(),
    };
    let provider = traces.map(tracer_provider).transpose()?;
    // Each has a filter of its own: what is traced need not be logged.
    let spans = provider.as_ref().map(|provider| {
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("trainspotter"));
        spans.with_filter(EnvFilter::new(TRACED))
    });
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|error| format!("logs cannot be started: {error}"))?;
    Ok(Logs(provider))
}

fn tracer_provider(endpoint: &str) -> Result<SdkTracerProvider, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("traces cannot be sent: {error}");
    let collector = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| wrong(&error))?;
    let collector = collector.connect_timeout(TRACES_TIMEOUT).timeout(TRACES_TIMEOUT);
    let channel = grpc_channel(collector, Guard::new(true)).map_err(|error| wrong(&error))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_channel(channel).build();
    let exporter = exporter.map_err(|error| wrong(&error))?;
    let resource = Resource::builder().with_service_name("trainspotter").build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
