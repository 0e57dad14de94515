//! HTTP clients for the AWS SDK. Each response is read completely before the SDK sees it, with limits on size and
//! time: no operation used here streams, and the SDK has neither limit.

use std::time::Duration;

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
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use url::Url;

use crate::outbound::Guard;
use crate::outbound::OutboundError;
use crate::outbound::Proxies;

/// Maximum size of a response. A full page of jobs or metrics is less than 5 MiB; a larger response is not from
/// AWS, and would take too much memory.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Wall time limit to read a response after its first byte, where the SDK's own timeouts end.
const REST_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates a client for AWS. With `plain` it trusts no certificates, and needs none.
///
/// # Errors
/// The proxy cannot be used.
pub fn sdk_client(plain: bool, guard: Guard) -> Result<SharedHttpClient, OutboundError> {
    let inner = client(plain, Some(guard.clone()))?;
    Ok(SharedHttpClient::new(Guarded { inner, guard }))
}

/// Creates a client for the SDK's credential providers: the only one that may call credential endpoints.
///
/// # Errors
/// As for [`sdk_client`].
pub fn credentials_client(plain: bool) -> Result<SharedHttpClient, OutboundError> {
    client(plain, None)
}

fn client(plain: bool, guard: Option<Guard>) -> Result<SharedHttpClient, OutboundError> {
    let proxy = Proxies::from_environment()?.for_sdk(plain)?;
    let trust = if plain { TrustStore::empty() } else { TrustStore::default() };
    let context = TlsContext::builder().with_trust_store(trust).build();
    let context = context.map_err(|error| OutboundError::Tls(error.to_string()))?;
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

/// Blocks IP addresses in URLs, which no resolver sees, from the configuration or the environment.
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
        if let Err(refused) = judged {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into())));
        }
        let inner = self.inner.clone();
        HttpConnectorFuture::new(async move {
            let mut response = inner.call(request).await?;
            let body = std::mem::replace(response.body_mut(), SdkBody::taken());
            let late = |_| ConnectorError::timeout("the response is incomplete".into());
            *response.body_mut() = tokio::time::timeout(REST_TIMEOUT, whole(body)).await.map_err(late)??;
            Ok(response)
        })
    }
}

/// Reads a body completely.
async fn whole(body: SdkBody) -> Result<SdkBody, ConnectorError> {
    let mut stream = ByteStream::new(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.try_next().await.map_err(|error| ConnectorError::io(error.into()))? {
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            let message = format!("the response is larger than {} MiB", MAX_ANSWER_BYTES >> 20);
            return Err(ConnectorError::other(message.into(), None));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(SdkBody::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_up_to_a_size() {
        let most = whole(SdkBody::from(vec![b' '; MAX_ANSWER_BYTES])).await.unwrap();
        assert_eq!(most.bytes().map(<[u8]>::len), Some(MAX_ANSWER_BYTES));
        let error = whole(SdkBody::from(vec![b' '; MAX_ANSWER_BYTES + 1])).await.unwrap_err();
        assert!(error.to_string().contains("other"), "it is not tried again: {error}");
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(why, "the response is larger than 32 MiB");
    }
}
