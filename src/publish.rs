//! Metric export: CloudWatch, OTLP, and the text that Prometheus scrapes.
//!
//! Each sink has a pure half, which turns a [`Frame`] into what goes over the wire, and a rim half, which sends it. The
//! pure halves know the sinks' limits; the rim halves know how a refusal differs from an outage.
//!
//! Invariants: a sink that fails or hangs delays no other sink, and its caller by no more than [`TIMEOUT`]; what
//! CloudWatch did not take is kept for the next time, up to a named limit; no secret reaches a log or an error.

mod cloudwatch;
mod metrics_document;
mod otlp;
mod prometheus_text;
mod sink;
mod volume;

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
pub use prometheus_text::{PROMETHEUS_CONTENT_TYPE, prometheus_text};
pub use sink::{Published, SetupError, SinkError};
pub use trainspotter_otlp::{LATE_AFTER, MAX_POINTS_PER_REQUEST, Origin, otlp_requests};
pub use volume::{WITH_NEWS, classic_use, otlp_use};

/// How long one attempt to publish to one sink may take, in wall time: it guards against the real network.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a sink's `Retry-After` is obeyed, in wall time: a wrong header must not silence a sink.
pub const MAX_HOLD: Duration = Duration::from_secs(300);

/// Gives each frame to each sink that is due.
#[derive(Debug)]
pub struct Publisher {
    clock: Clock,
    lanes: Vec<Lane>,
}

/// What became of one attempt to publish. Feeds `publish.series` and `publish.failures`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The sink: `cloudwatch`, `cloudwatch-otlp`, `otlp`, and `otlp-2` and so on for further OTLP receivers.
    pub sink: Arc<str>,
    /// How many series the sink took; 0 when it failed.
    pub series: u64,
    /// Values that were given up since the last report because [`MAX_PENDING_VALUES`] were waiting already.
    pub dropped: u64,
    /// Bytes of the points that were sent to CloudWatch by OTLP, as it charges for them; 0 for other sinks.
    pub bytes: u64,
    /// Values that no exponential histogram has because there are too many series, since the last report.
    pub histogram_values_left_out: u64,
    /// Series that a budget leaves out, by metric.
    pub left_out: BTreeMap<&'static str, u64>,
    /// How many of them were not left out before the last report.
    pub newly_left_out: u64,
    /// Why the sink did not take all.
    pub error: Option<SinkError>,
}

/// The ways to CloudWatch that are configured.
#[derive(Debug, Default)]
pub struct CloudWatchAccess {
    /// For `PutMetricData`.
    pub classic: Option<aws_sdk_cloudwatch::Client>,
    /// For OTLP.
    pub otlp: Option<SignedEndpoint>,
    /// Whether classic metrics have the dimensions Account and Region.
    pub places: Arc<AtomicBool>,
    /// How many targets share the budget.
    pub targets: Arc<AtomicUsize>,
}

impl Publisher {
    /// Prepares every sink of the configuration; connects to none. Needs a tokio runtime.
    pub fn new(
        config: &config::Publish,
        cloudwatch: CloudWatchAccess,
        origin: &Origin,
        clock: Clock,
    ) -> Result<Self, SetupError> {
        let mut lanes = Vec::new();
        if let Some(config) = &config.cloudwatch {
            if let Some(client) = cloudwatch.classic {
                let budget = budget_of(config)?;
                let sink = CloudWatchSink::new(client, config.namespace.clone()).within(budget);
                let sink = sink.with_places(cloudwatch.places).shared_among(cloudwatch.targets);
                lanes.push(Lane::new("cloudwatch".to_owned(), Sink::CloudWatch(Box::new(sink)), config.every));
            }
            if let Some(endpoint) = cloudwatch.otlp {
                let sink = OtlpSink::to_cloudwatch(endpoint, origin.clone())?
                    .in_form(config.histograms)
                    .repeating_unchanged(config.repeat_unchanged);
                lanes.push(Lane::new("cloudwatch-otlp".to_owned(), Sink::Otlp(Box::new(sink)), config.every));
            }
        }
        for (index, config) in config.otlp.iter().enumerate() {
            let name = if index == 0 { "otlp".to_owned() } else { format!("otlp-{}", index + 1) };
            let sink = OtlpSink::new(config, origin.clone())?;
            lanes.push(Lane::new(name, Sink::Otlp(Box::new(sink)), Duration::ZERO));
        }
        Ok(Self { clock, lanes })
    }

    /// The same, after an earlier run that may have published until then.
    #[must_use]
    pub fn after(mut self, reported_until: Option<Timestamp>) -> Self {
        for lane in &mut self.lanes {
            if let Sink::Otlp(sink) = &mut lane.sink {
                sink.after(reported_until);
            }
        }
        self
    }

    /// Gives the frame to every sink that is due, all at once. Every frame must pass through here, because
    /// distributions bring their new values only once. Returns one report per sink that was tried.
    pub async fn publish(&mut self, frame: Arc<Frame>) -> Vec<Report> {
        let clock = self.clock;
        let attempts = self.lanes.iter_mut().map(|lane| lane.publish(&frame, clock));
        join_all(attempts).await.into_iter().flatten().collect()
    }
}

/// A sink and its cadence.
#[derive(Debug)]
struct Lane {
    name: Arc<str>,
    sink: Sink,
    every: Duration,
    /// The last success.
    last: Option<Timestamp>,
    /// A `Retry-After` to obey.
    hold: Option<Timestamp>,
    /// Why the last attempt failed, as it was logged.
    failing: Option<String>,
}

#[derive(Debug)]
enum Sink {
    CloudWatch(Box<CloudWatchSink>),
    Otlp(Box<OtlpSink>),
}

impl Lane {
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
            Err(SinkError::Unavailable { reason: format!("no answer within {TIMEOUT:?}"), retry_after: None })
        });
        Some(self.conclude(result, frame.at, clock))
    }

    /// A sink that failed is due at once. A tenth of the cadence is forgiven, so that a tick that comes a little early
    /// does not make the sink wait for the one after it.
    fn is_due(&self, now: Timestamp) -> bool {
        // A time that is still to come, and a hold without end, are of a clock that was wrong.
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
                    tracing::info!(sink = &*self.name, "figures are published again");
                }
                (published, None)
            }
            Err(error) => {
                let reason = error.to_string();
                if self.failing.replace(reason.clone()).as_ref() != Some(&reason) {
                    tracing::warn!(sink = &*self.name, error = reason, "figures were not published");
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
                "series are left out because of publish.cloudwatch.budget"
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

/// The budget of custom metrics, if there is one.
fn budget_of(config: &config::CloudWatch) -> Result<Option<Budget>, SetupError> {
    let Some(dollars) = config.budget else { return Ok(None) };
    let wrong = |mistakes: Problems| SetupError::new("CloudWatch", mistakes.to_string());
    Ok(Some(Budget::new(dollars, config.every, &PriceTable::shipped().map_err(wrong)?)))
}
