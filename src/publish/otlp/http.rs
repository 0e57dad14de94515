//! OTLP over HTTP: plain, and signed for CloudWatch.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::config;
use crate::outbound::{Body, Guard, SignedEndpoint, http_client, retry_after};
use crate::publish::otlp::error::{ExportError, OtlpSetupError};
use crate::publish::otlp::refusal_message::message_in;
use trainspotter_clock::Clock;

/// Wall time limit to connect.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Wall time limit of a request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// Maximum bytes read of a response.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Media type of OTLP's binary encoding.
const PROTOBUF: &str = "application/x-protobuf";
const GZIP: &str = "gzip";

/// A receiver over HTTP.
pub(super) struct HttpReceiver {
    pub(super) client: reqwest::Client,
    pub(super) url: reqwest::Url,
    pub(super) headers: HeaderMap,
    pub(super) is_zipped: bool,
}

impl HttpReceiver {
    pub(super) fn new(config: &config::Otlp) -> Result<Self, OtlpSetupError> {
        let url = reqwest::Url::parse(config.endpoint.expose())?;
        let client = client_for(&url, timeout_of(config))?;
        Ok(Self { client, url, headers: headers_of(config)?, is_zipped: config.is_zipped })
    }

    pub(super) async fn export(
        &self,
        request: &ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, ExportError> {
        let mut headers = self.headers.clone();
        let mut body = request.encode_to_vec();
        if self.is_zipped {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(GZIP));
            body = gzip(&body)?;
        }
        post(&self.client, &self.url, headers, body, false).await
    }
}

/// Sends a signed request to CloudWatch. A permission error is retryable: it may be fixed later, and nothing is
/// dropped.
pub(super) async fn export_signed(
    client: &reqwest::Client,
    endpoint: &SignedEndpoint,
    request: &ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, ExportError> {
    let SignedEndpoint { url, signer } = endpoint;
    let body = gzip(&request.encode_to_vec())?;
    let signed = [("content-type", PROTOBUF), ("content-encoding", GZIP)];
    let mut headers = signer.headers("POST", url, &signed, &body).await?;
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(GZIP));
    let answer = post(client, url, headers, body, true).await;
    if answer.as_ref().is_err_and(ExportError::is_not_allowed) {
        signer.forget_credentials().await;
    }
    answer
}

/// Creates a client for one endpoint.
pub(super) fn client_for(url: &reqwest::Url, timeout: Duration) -> Result<reqwest::Client, OtlpSetupError> {
    let client = http_client(url, Guard::new(true))?;
    client.connect_timeout(CONNECT_TIMEOUT).timeout(timeout).build().map_err(OtlpSetupError::Client)
}

/// Timeout of a request: at most the default, since the next frame does not wait.
pub(super) fn timeout_of(config: &config::Otlp) -> Duration {
    config.timeout.map_or(REQUEST_TIMEOUT, |timeout| timeout.min(REQUEST_TIMEOUT))
}

/// The configured headers.
pub(super) fn headers_of(config: &config::Otlp) -> Result<HeaderMap, OtlpSetupError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|cause| OtlpSetupError::HeaderName { name: name.clone(), cause })?;
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|cause| OtlpSetupError::HeaderValue { name: name.clone(), cause })?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

async fn post(
    client: &reqwest::Client,
    url: &reqwest::Url,
    headers: HeaderMap,
    body: Vec<u8>,
    is_signed: bool,
) -> Result<ExportMetricsServiceResponse, ExportError> {
    let outage = |error: reqwest::Error| ExportError::Connection(error.without_url());
    let request = client.post(url.clone()).headers(headers).header(CONTENT_TYPE, PROTOBUF).body(body);
    let response = request.send().await.map_err(outage)?;
    let status = response.status();
    let retry_after = asked_pause(response.headers());
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.to_owned();
    let answer = Body::read(response, MAX_ANSWER_BYTES).await.map_err(outage)?.bytes;
    if status.is_success() {
        // A response with no body or another body means that everything was accepted.
        return Ok(ExportMetricsServiceResponse::decode(answer.as_slice()).unwrap_or_default());
    }
    Err(ExportError::Http { status, message: message_in(&media_type, &answer), retry_after, is_signed })
}

/// The pause requested by a refusal, in seconds or as a date.
fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    retry_after(text(RETRY_AFTER)?, text(DATE), Clock::real().now())
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}
