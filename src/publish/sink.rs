//! What every sink answers.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// What a sink took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// How many series.
    pub series: u64,
    /// Values given up since the last success because too many were waiting.
    pub dropped: u64,
}

/// Why a sink did not take a frame, in the two ways that a caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkError {
    /// The same figures may be taken later; nothing that was not taken is lost.
    Unavailable {
        /// What happened.
        reason: String,
        /// How long the sink asked to be left alone, in wall time.
        retry_after: Option<Duration>,
    },
    /// The same figures would be refused again, so they are not sent again.
    Rejected {
        /// How many data points were refused.
        dropped: u64,
        /// What the sink said.
        reason: String,
    },
}

impl SinkError {
    /// How long the sink asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Rejected { .. } => None,
        }
    }

    /// Data points that were refused for good.
    pub fn refused_points(&self) -> u64 {
        match self {
            Self::Unavailable { .. } => 0,
            Self::Rejected { dropped, .. } => *dropped,
        }
    }

    /// An outage without a wish for a pause.
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

/// A sink that cannot work as configured.
#[derive(Debug)]
pub struct SetupError {
    /// The sink's endpoint.
    endpoint: String,
    /// What is wrong. Never holds a header's value.
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
