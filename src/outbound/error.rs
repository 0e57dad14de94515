//! Why an outbound connection is not possible. No text contains a whole URL, or credentials of a proxy.

use crate::outbound::Refused;

/// Why an outbound connection is not possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// Invalid URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// The URL's scheme is not HTTP.
    #[error("the URL must begin with https:// or http://, not {0}://")]
    Scheme(String),
    /// The gRPC endpoint's scheme is not HTTP.
    #[error("the endpoint must begin with http:// or https://")]
    EndpointScheme,
    /// The URL has no host.
    #[error("the URL has no host")]
    NoHost,
    /// Host and port do not form an origin.
    #[error("{host}: not an origin")]
    NotAnOrigin {
        /// Host of the URL.
        host: String,
    },
    /// The IP address in the URL is blocked.
    #[error("{host}: {refused}")]
    Refused {
        /// Host of the URL.
        host: String,
        /// The reason.
        #[source]
        refused: Refused,
    },
    /// The IP address in an endpoint is blocked.
    #[error(transparent)]
    EndpointRefused(#[from] Refused),
    /// An environment variable does not contain a valid proxy URL.
    #[error("{0} is not the URL of a proxy, such as http://proxy.example:3128")]
    Proxy(String),
    /// The proxy cannot be used for a host.
    #[error("{host}: cannot use the proxy from the environment")]
    ProxyFor {
        /// Host of the URL.
        host: String,
    },
    /// The proxy cannot be used for AWS.
    #[error("cannot use the proxy's URL for AWS")]
    ProxyForAws,
    /// TLS initialization failed, for example without CA certificates.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Formats an error with its causes, which the outermost often omits.
pub fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
