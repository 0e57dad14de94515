//! HTTP clients for the AWS SDK.

use aws_smithy_http_client::Builder;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::TlsContext;
use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::HttpClient;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::http::HttpConnectorFuture;
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use url::Url;

use crate::outbound::Guard;
use crate::outbound::Proxies;

/// A client for calls to AWS. With `plain` it trusts no certificates, and needs none.
///
/// # Errors
/// The process has a proxy that cannot be used.
pub fn sdk_client(plain: bool, guard: Guard) -> Result<SharedHttpClient, String> {
    let inner = client(plain, Some(guard.clone()))?;
    Ok(SharedHttpClient::new(Guarded { inner, guard }))
}

/// A client for what the SDK asks about its own credentials: the only one that may call where those are served.
///
/// # Errors
/// As for [`sdk_client`].
pub fn credentials_client(plain: bool) -> Result<SharedHttpClient, String> {
    client(plain, None)
}

fn client(plain: bool, guard: Option<Guard>) -> Result<SharedHttpClient, String> {
    let proxy = Proxies::from_environment()?.for_sdk(plain)?;
    let trust = if plain { TrustStore::empty() } else { TrustStore::default() };
    let context = TlsContext::builder().with_trust_store(trust).build().map_err(|error| error.to_string())?;
    let connector = move |settings: Option<&HttpConnectorSettings>, components: Option<&RuntimeComponents>| {
        connector(settings, components, context.clone(), proxy.clone(), guard.clone())
    };
    Ok(Builder::new().build_with_connector_fn(connector))
}

fn connector(
    settings: Option<&HttpConnectorSettings>,
    components: Option<&RuntimeComponents>,
    context: TlsContext,
    proxy: ProxyConfig,
    guard: Option<Guard>,
) -> Connector {
    let mut builder = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context);
    builder.set_connector_settings(settings.cloned());
    builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
    builder.set_proxy_config(Some(proxy));
    match guard {
        Some(guard) => builder.build_with_resolver(guard),
        None => builder.build(),
    }
}

/// Refuses the addresses that a URL names itself, which no resolver sees: of the configuration, or of the environment.
#[derive(Debug)]
struct Guarded<T> {
    inner: T,
    guard: Guard,
}

impl HttpClient for Guarded<SharedHttpClient> {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Guarded { inner, guard: self.guard.clone() })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl HttpConnector for Guarded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let judged = Url::parse(request.uri()).ok().map_or(Ok(()), |url| self.guard.judge(&url));
        match judged {
            Ok(()) => self.inner.call(request),
            Err(refused) => HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into()))),
        }
    }
}
