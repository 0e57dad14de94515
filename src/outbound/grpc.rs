//! gRPC channels for OTLP receivers.

use std::error::Error;
use std::net::SocketAddr;
use std::vec;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use tonic::transport::Channel;
use tonic::transport::ClientTlsConfig;
use tonic::transport::Endpoint;
use url::Url;

use crate::outbound::Guard;
use crate::outbound::OutboundError;
use crate::outbound::Proxies;

/// Creates a channel that connects on first use, with TLS if the endpoint is `https`. Timeouts are the endpoint's.
/// Requires a tokio runtime.
///
/// # Errors
/// The endpoint is not allowed, or the proxy cannot be used.
pub fn grpc_channel(mut endpoint: Endpoint, guard: Guard) -> Result<Channel, OutboundError> {
    let uri = endpoint.uri().clone();
    let url = Url::parse(&uri.to_string())?;
    match url.scheme() {
        "http" => {}
        "https" => {
            endpoint = endpoint
                .tls_config(ClientTlsConfig::new().with_native_roots())
                .map_err(|error| OutboundError::Tls(error.to_string()))?;
        }
        _ => return Err(OutboundError::EndpointScheme),
    }
    guard.judge(&url)?;
    let proxy = Proxies::from_environment()?.for_uri(&uri);
    // With a proxy, only the proxy's own name is resolved here, and it may be on this machine.
    let guard = if proxy.is_some() { Guard::new(true) } else { guard };
    let resolver = tower::service_fn(move |name: Name| {
        let guard = guard.clone();
        async move { addresses(&guard, name.as_str()).await }
    });
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let Some(proxy) = proxy else { return Ok(endpoint.connect_with_connector_lazy(connector)) };
    let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
    if let Some(authorization) = proxy.basic_auth() {
        tunnel = tunnel.with_auth(authorization.clone());
    }
    Ok(endpoint.connect_with_connector_lazy(tunnel))
}

async fn addresses(guard: &Guard, name: &str) -> Result<vec::IntoIter<SocketAddr>, Box<dyn Error + Send + Sync>> {
    let addresses: Vec<_> = guard.addresses(name).await?.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
    Ok(addresses.into_iter())
}
