//! Outbound connections, with common rules for AWS, receivers, OTLP and traces: blocked addresses, and proxies.
//!
//! - Credential and metadata endpoints are never called, whether a URL contains their address or DNS resolves to it
//!   ([`Guard`]). The only exception is the AWS SDK's loading of its own credentials.
//! - Requests to AWS without an SDK are signed here ([`Signer`]).
//! - `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` apply to all connections ([`Proxies`]). This machine
//!   is never called through a proxy.

mod body;
mod error;
mod grpc;
mod guard;
mod http;
mod proxy;
mod retry_after;
mod sdk;
mod signature;

pub use body::Body;
pub use error::{OutboundError, causes};
pub use grpc::grpc_channel;
pub use guard::{Guard, Refused};
pub use http::http_client;
pub use proxy::Proxies;
pub use retry_after::retry_after;
pub use sdk::{credentials_client, sdk_client};
pub use signature::{SignatureError, SignedEndpoint, SignedService, Signer};

#[cfg(test)]
mod tests;
