//! HTTP clients for receivers and collectors.

use reqwest::ClientBuilder;
use tonic::transport::Uri;
use url::Url;

use crate::outbound::Guard;
use crate::outbound::OutboundError;
use crate::outbound::Proxies;

/// Creates a client for `url` only, without redirects. The caller sets timeouts.
///
/// # Errors
/// The URL is not `http` or `https` with a host, its IP address is blocked, or the proxy cannot be used. The error
/// does not contain the URL.
pub fn http_client(url: &Url, guard: Guard) -> Result<ClientBuilder, OutboundError> {
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("trainspotter/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none());
    match url.scheme() {
        "https" => {}
        // Plain HTTP needs no CA certificates, and slim images have none.
        "http" => client = client.tls_certs_only([]),
        scheme => return Err(OutboundError::Scheme(scheme.to_owned())),
    }
    let host = url.host().ok_or(OutboundError::NoHost)?.to_string();
    guard.judge(url).map_err(|refused| OutboundError::Refused { host: host.clone(), refused })?;
    let origin = url.origin().ascii_serialization().parse::<Uri>();
    let origin = origin.map_err(|_| OutboundError::NotAnOrigin { host: host.clone() })?;
    let Some(proxy) = Proxies::from_environment()?.for_uri(&origin) else {
        return Ok(client.no_proxy().dns_resolver(guard));
    };
    let unusable = |_| OutboundError::ProxyFor { host };
    let mut through = reqwest::Proxy::all(proxy.uri().to_string()).map_err(unusable)?;
    if let Some(authorization) = proxy.basic_auth() {
        through = through.custom_http_auth(authorization.clone());
    }
    // With a proxy, only the proxy's own name is resolved here, and it may be on this machine.
    Ok(client.proxy(through).dns_resolver(Guard::new(true)))
}
