//! Logs to stderr and, if configured, traces and log records over OTLP: one trace per poll and per notified alert,
//! one log record per log line.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::{Channel, Endpoint};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;
use crate::outbound::{Guard, OutboundError, grpc_channel};
use crate::service::watched_exporter::Watched;
use trainspotter_clock::Clock;
use trainspotter_otlp::uuid_of;

/// Default log filter if `RUST_LOG` is not set. `aws_config` warns of credentials in every poll, with its own structures; the
/// state of the sources has the same, once and in words.
const DEFAULT_FILTER: &str = "info,aws_config=error,aws_smithy_runtime=warn,aws_smithy_http_client=error,hyper_util=warn,rusqlite_migration=warn";

/// Spans that are traced: the service's own, not those of libraries.
const TRACED: &str = "off,trainspotter=debug";

/// Log targets that are never exported: the exporter's own libraries. Exporting their lines would create a new
/// batch for each batch.
const NEVER_SENT: [&str; 8] =
    ["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp", "tonic", "tower", "h2", "hyper", "hyper_util"];

/// Wall time limit for connecting to an OTLP receiver, and for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// There is no exporter for traces.
    #[error("cannot set up the export of traces: {0}")]
    Traces(#[source] ExportError),
    /// There is no exporter for log records.
    #[error("cannot set up the export of logs: {0}")]
    Records(#[source] ExportError),
    /// Logging was already started.
    #[error("cannot set up logging: {0}")]
    Started(#[from] TryInitError),
}

/// Why an OTLP exporter cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The endpoint is not a valid URL.
    #[error(transparent)]
    Endpoint(#[from] tonic::transport::Error),
    /// The endpoint address is not allowed.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// Building the exporter failed.
    #[error(transparent)]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Guard of the exporters: flushes the last traces and log records when dropped at the end of the process.
#[derive(Debug)]
#[must_use]
pub struct Logs {
    traces: Option<SdkTracerProvider>,
    records: Option<SdkLoggerProvider>,
}

/// OTLP gRPC endpoints for the service's own telemetry.
#[derive(Clone, Copy, Debug, Default)]
pub struct SentLogs<'a> {
    /// Endpoint for traces.
    pub traces: Option<&'a str>,
    /// Endpoint for log records.
    pub logs: Option<&'a str>,
}

/// Initializes logging. Call it once, inside a tokio runtime.
///
/// # Errors
/// See [`LogsError`].
pub fn start_logs(format: LogFormat, sent: SentLogs<'_>) -> Result<Logs, LogsError> {
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Pretty => lines.with_target(false).compact().boxed(),
    };
    let traces = sent.traces.map(tracer_provider).transpose().map_err(LogsError::Traces)?;
    let records = sent.logs.map(logger_provider).transpose().map_err(LogsError::Records)?;
    // Separate filters: spans are exported even if they are not logged.
    let spans = traces.as_ref().map(|provider| {
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("trainspotter"));
        spans.with_filter(EnvFilter::new(TRACED))
    });
    let sent = records.as_ref().map(|provider| {
        let is_sent = filter_fn(|metadata| is_sent(metadata.target()));
        OpenTelemetryTracingBridge::new(provider).with_filter(filter().and(is_sent))
    });
    tracing_subscriber::registry().with(lines.with_filter(filter())).with(spans).with(sent).try_init()?;
    Ok(Logs { traces, records })
}

/// The filter of the log.
fn filter() -> EnvFilter {
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER))
}

/// Whether log lines of this target may be exported as log records.
fn is_sent(target: &str) -> bool {
    let library = target.split("::").next().unwrap_or_default();
    !NEVER_SENT.contains(&library)
}

fn tracer_provider(endpoint: &str) -> Result<SdkTracerProvider, ExportError> {
    let exporter = SpanExporter::builder().with_tonic().with_channel(channel(endpoint)?).build()?;
    let exporter = Watched::new("traces", exporter);
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

fn logger_provider(endpoint: &str) -> Result<SdkLoggerProvider, ExportError> {
    let exporter = LogExporter::builder().with_tonic().with_channel(channel(endpoint)?).build()?;
    let exporter = Watched::new("logs", exporter);
    Ok(SdkLoggerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build())
}

fn channel(endpoint: &str) -> Result<Channel, ExportError> {
    let collector = Endpoint::from_shared(endpoint.to_owned())?;
    let collector = collector.connect_timeout(EXPORT_TIMEOUT).timeout(EXPORT_TIMEOUT);
    Ok(grpc_channel(collector, Guard::new(true))?)
}

fn resource() -> Resource {
    // Unique per process, to distinguish the telemetry of two replicas.
    let instance =
        format!("{} {} {:?}", std::process::id(), Clock::real().now().millis(), std::env::var_os("HOSTNAME"));
    Resource::builder()
        .with_service_name("trainspotter")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", uuid_of(&instance)))
        .build()
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%error, "cannot send the last traces; they are lost");
        }
        if let Some(Err(error)) = self.records.as_ref().map(SdkLoggerProvider::shutdown) {
            tracing::warn!(%error, "cannot send the last log records; they are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{DEFAULT_FILTER, EnvFilter, is_sent};

    #[test]
    fn what_the_service_reports_itself_is_not_logged_by_the_sdk_too() {
        crate::log_capture::keep_lines_enabled();
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let filter = EnvFilter::new(DEFAULT_FILTER);
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "aws_config::sts::assume_role", "STS refused to grant assume role");
            tracing::error!(target: "aws_config::profile", "a profile cannot be read");
            tracing::info!(target: "hyper_util::client", "a new connection");
            tracing::info!(target: "trainspotter::service", "started");
        });
        let logged = std::fs::read_to_string(file.path()).unwrap();
        let expected = ["a profile cannot be read", "started"];
        assert_eq!(logged.lines().count(), expected.len(), "{logged}");
        assert!(expected.iter().all(|line| logged.contains(line)), "{logged}");
    }

    #[test]
    fn log_lines_of_the_export_itself_are_never_exported() {
        for target in
            ["tonic::transport::channel", "tower::buffer::worker", "h2", "hyper_util::client", "opentelemetry"]
        {
            assert!(!is_sent(target), "{target}");
        }
        assert!(is_sent("trainspotter::publish") && is_sent("towering") && is_sent(""));
    }
}
