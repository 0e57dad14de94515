//! Why something outside cannot be called. No text shows a whole URL, or what a proxy's URL holds.

use crate::outbound::Refused;

/// Why something outside cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// It is no URL.
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    /// The scheme of a URL is not one of HTTP.
    #[error("the URL begins with https:// or http://, not {0}://")]
    Scheme(String),
    /// The scheme of a gRPC endpoint is not one of HTTP.
    #[error("the endpoint must begin with http:// or https://")]
    EndpointScheme,
    /// The URL names no host.
    #[error("the URL names no host")]
    NoHost,
    /// Host and port of the URL are nothing that could be called.
    #[error("{host}: not an origin")]
    NotAnOrigin {
        /// The URL's host.
        host: String,
    },
    /// The address that the URL names must not be called.
    #[error("{host}: {refused}")]
    Refused {
        /// The URL's host.
        host: String,
        /// Why not.
        #[source]
        refused: Refused,
    },
    /// The same of an endpoint.
    #[error(transparent)]
    EndpointRefused(#[from] Refused),
    /// A variable of the environment is to name a proxy, and does not.
    #[error("{0} is not the URL of a proxy, such as http://proxy.example:3128")]
    Proxy(String),
    /// The proxy of the environment cannot be used for a host.
    #[error("{host}: the proxy of the environment cannot be used")]
    ProxyFor {
        /// The URL's host.
        host: String,
    },
    /// The proxy of the environment cannot be used for AWS.
    #[error("the proxy's URL cannot be used for AWS")]
    ProxyForAws,
    /// TLS cannot be set up, for example because there are no CA certificates.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// An error with its causes, which the outermost often does not name.
pub fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
