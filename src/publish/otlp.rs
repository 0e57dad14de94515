//! OTLP: sends the whole frame to a receiver over HTTP or gRPC, with cumulative values since counting began.
//!
//! The OpenTelemetry SDK uses its own clock and owns the values. These messages are built from the frame instead,
//! so that figures carry the time they are for, even with a fast clock.

mod error;
mod grpc;
mod http;
mod refusal_message;

use std::fmt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message;

use crate::config;
use crate::config::shown_url;
use crate::config::{Histograms, OtlpProtocol};
use crate::outbound::SignedEndpoint;
use crate::publish::Published;
use crate::publish::SetupError;
use crate::publish::SinkError;
use crate::publish::otlp::error::ExportError;
use crate::publish::otlp::grpc::GrpcReceiver;
use crate::publish::otlp::http::{HttpReceiver, REQUEST_TIMEOUT, client_for, export_signed};
use crate::publish::otlp::refusal_message::shown;
use trainspotter_core::metrics::CatchUp;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;
use trainspotter_otlp::{
    ExponentialHistograms, Form, MAX_POINTS_PER_REQUEST, Origin, Unchanged, charged_bytes, reported_by, requests_in,
};

pub use error::OtlpSetupError;

/// CloudWatch's request size limit before compression: "1 MB" (AWS, "OTLP endpoints"), interpreted as the smaller
/// one.
const MAX_SIGNED_BYTES: usize = 1_000_000;

/// Publishes to one OTLP receiver.
pub struct OtlpSink {
    origin: Origin,
    transport: Transport,
    /// Time up to which distributions were sent, by this run or an earlier one: nothing is added to reported time.
    reported_until: Option<Timestamp>,
    /// Bytes sent to CloudWatch and not yet taken, as billed.
    charged_bytes: u64,
    /// Exponential histograms, if configured.
    exponential: Option<ExponentialHistograms>,
    /// Previously sent points, if unchanged ones are sent less often.
    unchanged: Option<Unchanged>,
    /// The receiver's last warning.
    warning: Option<String>,
}

enum Transport {
    Http(Box<HttpReceiver>),
    /// CloudWatch: HTTP with signed requests.
    Signed {
        client: reqwest::Client,
        endpoint: Box<SignedEndpoint>,
    },
    Grpc(Box<GrpcReceiver>),
}

impl OtlpSink {
    /// Creates a sink that connects on first use. Requires a tokio runtime.
    pub fn new(config: &config::Otlp, origin: Origin) -> Result<Self, SetupError> {
        let wrong = |cause: OtlpSetupError| SetupError::new(shown_url(config.endpoint.expose()), cause);
        let transport = match config.protocol {
            OtlpProtocol::Http => Transport::Http(Box::new(HttpReceiver::new(config).map_err(wrong)?)),
            OtlpProtocol::Grpc => Transport::Grpc(Box::new(GrpcReceiver::new(config).map_err(wrong)?)),
        };
        Ok(Self::with(transport, origin).in_form(config.histograms))
    }

    /// Creates a sink for CloudWatch's endpoint that connects on first use.
    pub fn to_cloudwatch(endpoint: SignedEndpoint, origin: Origin) -> Result<Self, SetupError> {
        let wrong = |cause: OtlpSetupError| SetupError::new(shown_url(endpoint.url.as_str()), cause);
        let client = client_for(&endpoint.url, REQUEST_TIMEOUT).map_err(wrong)?;
        Ok(Self::with(Transport::Signed { client, endpoint: Box::new(endpoint) }, origin))
    }

    fn with(transport: Transport, origin: Origin) -> Self {
        Self {
            origin,
            transport,
            reported_until: None,
            charged_bytes: 0,
            exponential: None,
            unchanged: None,
            warning: None,
        }
    }

    /// Sets the form of distributions.
    #[must_use]
    pub fn in_form(mut self, histograms: Histograms) -> Self {
        self.exponential = match histograms {
            Histograms::Explicit => None,
            Histograms::Exponential => Some(ExponentialHistograms::default()),
        };
        self
    }

    /// Sets how often unchanged points are sent; with each frame if zero.
    #[must_use]
    pub fn repeating_unchanged(mut self, every: Duration) -> Self {
        self.unchanged = (!every.is_zero()).then(|| Unchanged::every(every));
        self
    }

    /// Records a frame without sending it. Every frame must be observed once.
    pub fn observe(&mut self, frame: &Frame) {
        if let Some(exponential) = &mut self.exponential {
            exponential.observe(frame);
        }
    }

    /// Sets the time up to which an earlier run may have published.
    pub(super) fn after(&mut self, reported_until: Option<Timestamp>) {
        self.reported_until = reported_until;
    }

    /// Returns and resets the bytes sent, as billed by CloudWatch.
    pub(super) fn take_charged_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.charged_bytes)
    }

    /// Returns and resets the number of values without an exponential histogram because there are too many series.
    pub(super) fn take_left_out(&mut self) -> u64 {
        self.exponential.as_mut().map_or(0, ExponentialHistograms::take_left_out)
    }

    /// Sends the whole frame. Nothing is kept after a failure: the next frame contains everything.
    pub async fn publish(&mut self, frame: &Frame) -> Result<Published, SinkError> {
        let (mut series, mut refused, mut refusal) = (0, 0, None);
        let reported_until = self.reported_until;
        let reported_by = reported_by(frame, reported_until);
        let is_charged = matches!(self.transport, Transport::Signed { .. });
        for (request, points) in self.requests(frame, reported_until) {
            // Only CloudWatch bills by these bytes.
            let charged = if is_charged { charged_bytes(&request) } else { 0 };
            let answer = match &mut self.transport {
                Transport::Http(receiver) => receiver.export(&request).await,
                Transport::Signed { client, endpoint } => export_signed(client, endpoint, &request).await,
                Transport::Grpc(receiver) => receiver.export(request).await,
            };
            match answer.and_then(whole).map_err(|error| error.into_sink_error(points)) {
                Ok(warning) => {
                    self.charged_bytes += charged;
                    self.reported_until = reported_by;
                    series += points;
                    self.warn(warning);
                }
                Err(SinkError::Rejected { dropped, reason }) => {
                    self.reported_until = reported_by;
                    refused += dropped;
                    refusal = Some(reason);
                }
                Err(unavailable @ SinkError::Unavailable { .. }) => return Err(unavailable),
            }
        }
        // Until counting has caught up, not everything is sent.
        if let Some(unchanged) = self.unchanged.as_mut().filter(|_| frame.catch_up == CatchUp::Done) {
            unchanged.taken(frame);
        }
        match refusal {
            None => Ok(Published { series, dropped: 0 }),
            Some(reason) => Err(SinkError::Rejected { dropped: refused, reason }),
        }
    }
}

impl OtlpSink {
    /// Logs a warning of the receiver, once until it sends another.
    fn warn(&mut self, warning: Option<String>) {
        if let Some(warning) = warning.filter(|warning| self.warning.as_ref() != Some(warning)) {
            tracing::warn!(warning, "the OTLP receiver accepted all points, with a warning");
            self.warning = Some(warning);
        }
    }

    /// The frame as requests within the receiver's limits.
    fn requests(&self, frame: &Frame, until: Option<Timestamp>) -> Vec<(ExportMetricsServiceRequest, u64)> {
        let mut most = MAX_POINTS_PER_REQUEST;
        let is_bounded = matches!(self.transport, Transport::Signed { .. });
        loop {
            let form = Form {
                origin: &self.origin,
                max_points: most,
                is_short: is_bounded,
                exponential: self.exponential.as_ref(),
                unchanged: self.unchanged.as_ref(),
            };
            let requests = requests_in(&form, frame, until);
            let fit = |(request, _): &(ExportMetricsServiceRequest, u64)| request.encoded_len() <= MAX_SIGNED_BYTES;
            if !is_bounded || most == 1 || requests.iter().all(fit) {
                return requests;
            }
            most = most.div_ceil(2);
        }
    }
}

impl fmt::Debug for OtlpSink {
    /// Omits headers and the URL's user and query, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match &self.transport {
            Transport::Http(_) => "http",
            Transport::Signed { .. } => "signed http",
            Transport::Grpc(_) => "grpc",
        };
        f.debug_struct("OtlpSink").field("transport", &transport).finish_non_exhaustive()
    }
}

/// A response may report partial success, or success with a warning, which is returned.
fn whole(answer: ExportMetricsServiceResponse) -> Result<Option<String>, ExportError> {
    let Some(partial) = answer.partial_success else { return Ok(None) };
    let message = shown(&partial.error_message);
    match u64::try_from(partial.rejected_data_points) {
        Ok(0) | Err(_) => Ok(Some(message).filter(|message| !message.is_empty())),
        Ok(refused) => Err(ExportError::Partial { refused, message }),
    }
}
