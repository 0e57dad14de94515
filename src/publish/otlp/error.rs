//! Why a receiver of OTLP did not take a request, as far as what to do next depends on it.

use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{InvalidHeaderName, InvalidHeaderValue};

use crate::outbound::{OutboundError, SignatureError, causes};
use crate::publish::SinkError;

/// What CloudWatch wants of the service's role.
const NEEDS: &str = "the service's role needs cloudwatch:PutMetricData without a condition on the namespace";

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// An answer over HTTP that is no success.
    #[error("HTTP {status}{}", said(.message.as_deref()))]
    Http {
        status: StatusCode,
        /// What it says for people.
        message: Option<String>,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
        /// Whether the request was signed: then who may not now may later.
        is_signed: bool,
    },
    /// The same over gRPC.
    #[error("gRPC {code:?}: {message}")]
    Grpc { code: tonic::Code, message: String, retry_after: Option<Duration> },
    /// There was no answer.
    #[error("{}", causes(.0))]
    Connection(#[source] reqwest::Error),
    /// The request could not be signed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The body could not be compressed.
    #[error("compressing the body: {0}")]
    Compression(#[from] io::Error),
    /// The receiver took a part.
    #[error("{message}")]
    Partial { refused: u64, message: String },
}

impl ExportError {
    /// Whether the same request may be taken later: what OTLP calls retryable (OTLP specification, "OTLP/HTTP Response" and "OTLP/gRPC
    /// Response"). `ResourceExhausted` is taken as retryable without the detail that the specification asks for, because the next frame is
    /// sent anyway.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Http { status, .. } => {
                let retryable = [
                    StatusCode::TOO_MANY_REQUESTS,
                    StatusCode::BAD_GATEWAY,
                    StatusCode::SERVICE_UNAVAILABLE,
                    StatusCode::GATEWAY_TIMEOUT,
                ];
                retryable.contains(status) || self.is_not_allowed()
            }
            Self::Grpc { code, .. } => matches!(
                code,
                tonic::Code::Cancelled
                    | tonic::Code::DeadlineExceeded
                    | tonic::Code::ResourceExhausted
                    | tonic::Code::Aborted
                    | tonic::Code::OutOfRange
                    | tonic::Code::Unavailable
                    | tonic::Code::DataLoss
            ),
            Self::Connection(_) | Self::Signature(_) | Self::Compression(_) => true,
            Self::Partial { .. } => false,
        }
    }

    /// Whether AWS says that the caller may not: with other credentials or rights the same figures are taken.
    pub(super) fn is_not_allowed(&self) -> bool {
        let refusals = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Http { status, is_signed: true, .. } if refusals.contains(status))
    }

    /// What the caller does about a request of so many points.
    pub(super) fn into_sink_error(self, points: u64) -> SinkError {
        let reason = if self.is_not_allowed() { format!("{self}; {NEEDS}") } else { self.to_string() };
        let is_retryable = self.is_retryable();
        let retry_after = match self {
            Self::Partial { refused, message } => return SinkError::Rejected { dropped: refused, reason: message },
            Self::Http { retry_after, .. } | Self::Grpc { retry_after, .. } => retry_after,
            Self::Connection(_) | Self::Signature(_) | Self::Compression(_) => None,
        };
        if is_retryable {
            SinkError::Unavailable { reason, retry_after }
        } else {
            SinkError::Rejected { dropped: points, reason }
        }
    }
}

fn said(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(": {message}"))
}

/// Why a receiver cannot be used as configured. Never shows a header's value.
#[derive(Debug, thiserror::Error)]
pub enum OtlpSetupError {
    /// A header's name is none.
    #[error("{name:?} is not a header name")]
    HeaderName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        #[source]
        cause: InvalidHeaderName,
    },
    /// A header's value cannot be sent.
    #[error("the value of the header {name:?} holds a character that headers cannot carry")]
    HeaderValue {
        /// The header.
        name: String,
        /// What is wrong.
        #[source]
        cause: InvalidHeaderValue,
    },
    /// The endpoint is no URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// The endpoint is no origin.
    #[error("not an origin such as http://collector:4317: {0}")]
    Origin(#[source] tonic::transport::Error),
    /// The endpoint must not or cannot be called.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// There can be no client.
    #[error("{0:?}; an https endpoint needs the machine's CA certificates (package ca-certificates)")]
    Client(#[source] reqwest::Error),
}
