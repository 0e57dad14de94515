//! Metric export: CloudWatch, OTLP, and the text that Prometheus scrapes.
//!
//! Each sink has a pure part, which converts a [`Frame`] to requests within the sink's limits, and an I/O part,
//! which sends them and distinguishes refusals from outages.
//!
//! Invariants: a sink that fails or hangs delays no other sink, and its caller by at most [`TIMEOUT`]; what
//! CloudWatch did not accept is kept for the next attempt, up to a named limit; no secret appears in logs or
//! errors.

mod cloudwatch;
mod metrics_document;
mod otlp;
mod projected_volume;
mod prometheus_text;
mod sink_result;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use futures_util::future::join_all;

use crate::config;
use crate::cost::PriceTable;
use crate::outbound::SignedEndpoint;
use trainspotter_clock::Clock;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;
use trainspotter_core::yaml::Problems;

pub use cloudwatch::{
    Admission, Batch, Budget, CloudWatchSink, Deltas, MAX_BYTES_PER_REQUEST, MAX_DATA_PER_REQUEST, MAX_DIMENSIONS,
    MAX_PENDING_VALUES, MAX_REMEMBERED_SERIES, MAX_VALUES_PER_DATUM,
};
pub use metrics_document::metrics_markdown;
pub use otlp::{OtlpSetupError, OtlpSink};
pub use projected_volume::{CHANGED_FRACTION, affordable_series, classic_use, otlp_use};
pub use prometheus_text::{PROMETHEUS_CONTENT_TYPE, prometheus_text};
pub use sink_result::{Published, SetupError, SinkError};
pub use trainspotter_otlp::{LATE_AFTER, MAX_POINTS_PER_REQUEST, Origin, otlp_requests};

/// Wall time limit of one attempt to publish to a sink.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum pause by a sink's `Retry-After`, in wall time: a wrong header must not silence a sink.
pub const MAX_HOLD: Duration = Duration::from_secs(300);

/// Passes each frame to each sink that is due.
#[derive(Debug)]
pub struct Publisher {
    clock: Clock,
    schedules: Vec<SinkSchedule>,
}

/// Result of an attempt to publish. Source of `publish.series` and `publish.failures`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The sink: `cloudwatch`, `cloudwatch-otlp`, `otlp`, and `otlp-2` and so on for further OTLP receivers.
    pub sink: Arc<str>,
    /// Number of accepted series; 0 on failure.
    pub series: u64,
    /// Values dropped since the last report because [`MAX_PENDING_VALUES`] were pending.
    pub dropped: u64,
    /// Bytes of points sent to CloudWatch by OTLP, as billed; 0 for other sinks.
    pub bytes: u64,
    /// Values without an exponential histogram because there are too many series, since the last report.
    pub histogram_values_left_out: u64,
    /// Series omitted by a budget, by metric.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Series newly omitted since the last report.
    pub newly_left_out: u64,
    /// Why the sink did not accept everything.
    pub error: Option<SinkError>,
}

/// Configured access to CloudWatch.
#[derive(Debug, Default)]
pub struct CloudWatchAccess {
    /// For `PutMetricData`.
    pub classic: Option<aws_sdk_cloudwatch::Client>,
    /// For OTLP.
    pub otlp: Option<SignedEndpoint>,
    /// Whether classic metrics have the dimensions Account and Region.
    pub places: Arc<AtomicBool>,
    /// Number of targets that share the budget.
    pub targets: Arc<AtomicUsize>,
}

impl Publisher {
    /// Creates all configured sinks; connects to none. Requires a tokio runtime.
    pub fn new(
        config: &config::Publish,
        cloudwatch: CloudWatchAccess,
        origin: &Origin,
        clock: Clock,
    ) -> Result<Self, SetupError> {
        let mut schedules = Vec::new();
        if let Some(config) = &config.cloudwatch {
            if let Some(client) = cloudwatch.classic {
                let budget = budget_of(config)?;
                let sink = CloudWatchSink::new(client, config.namespace.clone()).within(budget);
                let sink = sink.with_places(cloudwatch.places).shared_among(cloudwatch.targets);
                schedules.push(SinkSchedule::new(
                    "cloudwatch".to_owned(),
                    Sink::CloudWatch(Box::new(sink)),
                    config.every,
                ));
            }
            if let Some(endpoint) = cloudwatch.otlp {
                let sink = OtlpSink::to_cloudwatch(endpoint, origin.clone())?
                    .in_form(config.histograms)
                    .repeating_unchanged(config.repeat_unchanged);
                schedules.push(SinkSchedule::new(
                    "cloudwatch-otlp".to_owned(),
                    Sink::Otlp(Box::new(sink)),
                    config.every,
                ));
            }
        }
        for (index, config) in config.otlp.iter().enumerate() {
            let name = if index == 0 { "otlp".to_owned() } else { format!("otlp-{}", index + 1) };
            let sink = OtlpSink::new(config, origin.clone())?;
            schedules.push(SinkSchedule::new(name, Sink::Otlp(Box::new(sink)), Duration::ZERO));
        }
        Ok(Self { clock, schedules })
    }

    /// Sets the time up to which an earlier run may have published.
    #[must_use]
    pub fn after(mut self, reported_until: Option<Timestamp>) -> Self {
        for schedule in &mut self.schedules {
            if let Sink::Otlp(sink) = &mut schedule.sink {
                sink.after(reported_until);
            }
        }
        self
    }

    /// Passes the frame to all due sinks concurrently. Every frame must pass through here, since distributions
    /// contain their new values only once. Returns one report per sink tried.
    pub async fn publish(&mut self, frame: Arc<Frame>) -> Vec<Report> {
        let clock = self.clock;
        let attempts = self.schedules.iter_mut().map(|schedule| schedule.publish(&frame, clock));
        join_all(attempts).await.into_iter().flatten().collect()
    }
}

/// A sink with its interval.
#[derive(Debug)]
struct SinkSchedule {
    name: Arc<str>,
    sink: Sink,
    every: Duration,
    /// Time of the last success or rejection.
    last: Option<Timestamp>,
    /// End of a pause by `Retry-After`.
    hold: Option<Timestamp>,
    /// Error of the last attempt, without its numbers.
    failing: Option<String>,
}

#[derive(Debug)]
enum Sink {
    CloudWatch(Box<CloudWatchSink>),
    Otlp(Box<OtlpSink>),
}

impl SinkSchedule {
    fn new(name: String, sink: Sink, every: Duration) -> Self {
        Self { name: name.into(), sink, every, last: None, hold: None, failing: None }
    }

    async fn publish(&mut self, frame: &Frame, clock: Clock) -> Option<Report> {
        match &mut self.sink {
            Sink::CloudWatch(sink) => sink.observe(frame),
            Sink::Otlp(sink) => sink.observe(frame),
        }
        if !self.is_due(frame.at) {
            return None;
        }
        let attempt = async {
            match &mut self.sink {
                Sink::CloudWatch(sink) => sink.publish(frame).await,
                Sink::Otlp(sink) => sink.publish(frame).await,
            }
        };
        let result = tokio::time::timeout(TIMEOUT, attempt).await.unwrap_or_else(|_| {
            Err(SinkError::Unavailable { reason: format!("no response within {TIMEOUT:?}"), retry_after: None })
        });
        Some(self.conclude(result, frame.at, clock))
    }

    /// Whether the sink is due. After a failure it is due at once. A tenth of the interval is tolerated, so that a
    /// slightly early tick does not delay the sink to the next one.
    fn is_due(&self, now: Timestamp) -> bool {
        // A last success or a pause in the future stems from a clock that was wrong.
        let held = self.hold.is_some_and(|until| now < until && self.last.is_none_or(|last| last <= now));
        let early = self.last.is_some_and(|last| last <= now && now.since(last) < self.every.mul_f64(0.9));
        !held && !early
    }

    fn conclude(&mut self, result: Result<Published, SinkError>, now: Timestamp, clock: Clock) -> Report {
        self.hold = None;
        let (published, error) = match result {
            Ok(published) => {
                self.last = Some(now);
                if self.failing.take().is_some() {
                    tracing::info!(sink = &*self.name, "publishing succeeds again");
                }
                (published, None)
            }
            Err(error) => {
                let reason = error.to_string();
                // Times and numbers of points differ with each attempt.
                let kind: String = reason.chars().filter(|letter| !letter.is_ascii_digit()).collect();
                let is_new = self.failing.replace(kind.clone()).is_none_or(|before| before != kind);
                if is_new {
                    let what_next = match error {
                        SinkError::Unavailable { .. } => "publishing failed; trying again with a later tick",
                        SinkError::Rejected { .. } => {
                            "a sink rejected data points, which are dropped; the next ones are sent as usual"
                        }
                    };
                    tracing::warn!(sink = &*self.name, error = reason, "{what_next}");
                }
                // What is dropped is not sent again, so that the next frame is not due earlier.
                if matches!(error, SinkError::Rejected { .. }) {
                    self.last = Some(now);
                }
                self.hold = error.retry_after().map(|wait| now + clock.of_wall(wait.min(MAX_HOLD)));
                (Published::default(), Some(error))
            }
        };
        let (left_out, newly_left_out) = match &mut self.sink {
            Sink::CloudWatch(sink) => (sink.left_out(), sink.take_newly_left_out()),
            Sink::Otlp(_) => (BTreeMap::new(), 0),
        };
        let (bytes, histogram_values_left_out) = match &mut self.sink {
            Sink::CloudWatch(_) => (0, 0),
            Sink::Otlp(sink) => (sink.take_charged_bytes(), sink.take_left_out()),
        };
        if newly_left_out > 0 {
            let metrics: Vec<String> = left_out.iter().map(|(metric, series)| format!("{metric} ({series})")).collect();
            tracing::warn!(
                sink = &*self.name,
                metrics = metrics.join(", "),
                "CloudWatch series were left out to stay within publish.cloudwatch.budget; raise the budget to \
                 publish them"
            );
        }
        Report {
            sink: Arc::clone(&self.name),
            series: published.series,
            dropped: published.dropped,
            bytes,
            histogram_values_left_out,
            left_out,
            newly_left_out,
            error,
        }
    }
}

/// The budget for custom metrics, if any.
fn budget_of(config: &config::CloudWatch) -> Result<Option<Budget>, SetupError> {
    let Some(dollars) = config.budget else { return Ok(None) };
    let wrong = |mistakes: Problems| SetupError::new("CloudWatch", mistakes.to_string());
    Ok(Some(Budget::new(dollars, config.every, &PriceTable::shipped().map_err(wrong)?)))
}
