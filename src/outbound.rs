//! Connections to elsewhere, by one rule for AWS, receivers, OTLP and traces: which addresses are never called, and through which
//! proxy the others are.
//!
//! - Addresses where credentials and metadata are served are never called, whether a URL names one or DNS leads there ([`Guard`]).
//!   Only what the AWS SDK asks for its own credentials goes there.
//! - What is signed for AWS beside its SDKs is signed here ([`Signer`]).
//! - `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` apply to all ([`Proxies`]). This machine is never called through a proxy.

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
