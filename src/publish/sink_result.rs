//! Results of sinks.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a sink accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Number of series.
    pub series: u64,
    /// Values dropped since the last success because too many were pending.
    pub dropped: u64,
}

/// Why a sink did not accept a frame, by how the caller can proceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// Temporary: a retry may succeed, and nothing is lost.
    Unavailable {
        /// The reason.
        reason: String,
        /// The requested pause, in wall time.
        retry_after: Option<Duration>,
    },
    /// Permanent: the same data would be rejected again, so they are dropped.
    Rejected {
        /// Number of rejected data points.
        dropped: u64,
        /// The sink's message.
        reason: String,
    },
}

impl SinkError {
    /// The requested pause.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Rejected { .. } => None,
        }
    }

    /// Number of permanently rejected data points.
    pub fn refused_points(&self) -> u64 {
        match self {
            Self::Unavailable { .. } => 0,
            Self::Rejected { dropped, .. } => *dropped,
        }
    }

    /// A temporary failure without a requested pause.
    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { reason, .. } => write!(f, "unavailable: {reason}"),
            Self::Rejected { dropped, reason } => write!(f, "rejected {dropped} data points: {reason}"),
        }
    }
}

impl Error for SinkError {}

/// A sink is configured incorrectly.
#[derive(Debug)]
pub struct SetupError {
    /// Endpoint of the sink.
    endpoint: String,
    /// What is wrong. Never contains a header's value.
    cause: Box<dyn Error + Send + Sync>,
}

impl SetupError {
    pub(super) fn new(endpoint: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { endpoint: endpoint.into(), cause: cause.into() }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot publish to {}: {}", self.endpoint, self.cause)
    }
}

impl Error for SetupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.as_ref())
    }
}
