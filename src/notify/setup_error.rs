//! Errors of receiver configurations. No text contains a URL or another secret.

use crate::outbound::OutboundError;

/// Why a receiver cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum IntegrationError {
    /// The URL is invalid.
    #[error("invalid URL: {0}")]
    Url(#[from] url::ParseError),
    /// The URL's address is not allowed or not reachable.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The HTTP client cannot be created, for example because this machine has no CA certificates.
    #[error("cannot create an HTTP client for {host}: {causes}")]
    Client {
        /// Its host.
        host: String,
        /// The chain of causes in one line.
        causes: String,
        /// The original error.
        source: reqwest::Error,
    },
    /// The name of a configured header is invalid.
    #[error("{0:?} is not a valid header name")]
    HeaderName(String),
    /// The value of a configured header is invalid.
    #[error("the value of the header {0:?} contains a character that is not allowed in headers")]
    HeaderValue(String),
    /// The receiver is a topic, and there is no SNS client.
    #[error("the SNS client is not configured")]
    NoSnsClient,
}
