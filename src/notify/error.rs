//! Why a receiver cannot be used as it is configured. No text shows a URL or another secret.

use crate::outbound::OutboundError;

/// Why a receiver cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum IntegrationError {
    /// Its URL is none.
    #[error("the URL cannot be read: {0}")]
    Url(#[from] url::ParseError),
    /// Its URL must not or cannot be called.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// There is no HTTP client for it, for example because this machine has no CA certificates.
    #[error("no client for {host}: {causes}")]
    Client {
        /// Its host.
        host: String,
        /// All causes in a line.
        causes: String,
        /// The same as it came.
        source: reqwest::Error,
    },
    /// A header that goes with each request has a name that headers cannot have.
    #[error("{0:?} is no header's name")]
    HeaderName(String),
    /// The value of a header that goes with each request cannot be sent.
    #[error("the value of the header {0:?} holds a character that headers cannot carry")]
    HeaderValue(String),
    /// It is a topic, and nobody made a client for those.
    #[error("there is no client for SNS")]
    NoSnsClient,
}
