//! Errors of OTLP receivers, classified by how to proceed.

use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{InvalidHeaderName, InvalidHeaderValue};

use crate::outbound::{OutboundError, SignatureError, causes};
use crate::publish::SinkError;

/// Permission that CloudWatch requires.
const REQUIRED_PERMISSION: &str =
    "the service's role needs cloudwatch:PutMetricData without a condition on the namespace";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// An HTTP error response.
    #[error("HTTP {status}{}", message_suffix(.message.as_deref()))]
    Http {
        status: StatusCode,
        /// Its message.
        message: Option<String>,
        /// The requested pause.
        retry_after: Option<Duration>,
        /// Whether the request was signed: then a permission error may be temporary.
        is_signed: bool,
    },
    /// A gRPC error.
    #[error("gRPC {code:?}{}", message_suffix(Some(message.as_str()).filter(|message| !message.is_empty())))]
    Grpc { code: tonic::Code, message: String, retry_after: Option<Duration> },
    /// There was no response.
    #[error("{}", causes(.0))]
    Connection(#[source] reqwest::Error),
    /// The request could not be signed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The body could not be compressed.
    #[error("compressing the body: {0}")]
    Compression(#[from] io::Error),
    /// The receiver accepted a part only.
    #[error("{}", if .message.is_empty() { "the receiver gave no reason" } else { .message.as_str() })]
    Partial { refused: u64, message: String },
}

impl ExportError {
    /// Whether a retry may succeed, as defined by OTLP (OTLP specification, "OTLP/HTTP Response" and "OTLP/gRPC
    /// Response"). `ResourceExhausted` counts as retryable even without the detail that the specification requires,
    /// since the next frame is sent anyway.
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

    /// Whether AWS reports missing permissions: the same data are accepted with other credentials or permissions.
    pub(super) fn is_not_allowed(&self) -> bool {
        let refusals = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        matches!(self, Self::Http { status, is_signed: true, .. } if refusals.contains(status))
    }

    /// What to do about it, if the response says so.
    fn advice(&self) -> Option<&'static str> {
        if self.is_not_allowed() {
            return Some(REQUIRED_PERMISSION);
        }
        match self {
            Self::Http { status, is_signed: false, .. } => match status.as_u16() {
                300..=399 => Some("redirects are not followed: configure the URL that this one leads to"),
                401 | 403 => Some("check `headers` of this receiver"),
                404 | 405 => Some("`endpoint` must be the whole URL, which usually ends with /v1/metrics"),
                413 => Some("raise the receiver's limit on the size of a request; one has at most 1,000 points"),
                415 => Some("the receiver must accept application/x-protobuf, and gzip unless `compression: none`"),
                _ => None,
            },
            Self::Grpc { code: tonic::Code::Unauthenticated | tonic::Code::PermissionDenied, .. } => {
                Some("check `headers` of this receiver")
            }
            Self::Grpc { code: tonic::Code::Unimplemented, .. } => {
                Some("the receiver must accept OTLP metrics over gRPC, and gzip unless `compression: none`")
            }
            Self::Http { .. }
            | Self::Grpc { .. }
            | Self::Connection(_)
            | Self::Signature(_)
            | Self::Compression(_)
            | Self::Partial { .. } => None,
        }
    }

    /// Converts to a sink error for a request with `points` points.
    pub(super) fn into_sink_error(self, points: u64) -> SinkError {
        let reason = self.advice().map_or_else(|| self.to_string(), |advice| format!("{self}; {advice}"));
        let is_retryable = self.is_retryable();
        let retry_after = match self {
            Self::Partial { refused, .. } => return SinkError::Rejected { dropped: refused, reason },
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

fn message_suffix(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(": {message}"))
}

/// Why a receiver cannot be used as configured. Never contains a header's value.
#[derive(Debug, thiserror::Error)]
pub enum OtlpSetupError {
    /// Invalid header name.
    #[error("{name:?} is not a valid header name")]
    HeaderName {
        /// The configured name.
        name: String,
        /// What is wrong.
        #[source]
        cause: InvalidHeaderName,
    },
    /// Invalid header value.
    #[error("the value of the header {name:?} contains a character that is not allowed in headers")]
    HeaderValue {
        /// The header.
        name: String,
        /// What is wrong.
        #[source]
        cause: InvalidHeaderValue,
    },
    /// Invalid URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// The endpoint is not an origin.
    #[error("not an origin such as http://collector:4317: {0}")]
    Origin(#[source] tonic::transport::Error),
    /// The endpoint is not allowed.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The HTTP client cannot be created.
    #[error("{0:?}; an https endpoint needs the machine's CA certificates (package ca-certificates)")]
    Client(#[source] reqwest::Error),
}
