//! OTLP: the whole frame to a receiver, over HTTP or gRPC, each time from the beginning of the count.
//!
//! The SDK of OpenTelemetry stamps with its own clock and owns the values; these messages are built from the frame
//! instead, so that figures carry the time they are for, under a fast clock too.

mod encode;

use std::fmt;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use crate::config;
use crate::config::OtlpProtocol;
use crate::config::shown_url;
use crate::outbound::{Guard, SignedEndpoint, causes, grpc_channel, http_client};
use crate::publish::Published;
use crate::publish::SetupError;
use crate::publish::SinkError;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;

pub use encode::{MAX_POINTS_PER_REQUEST, Origin, otlp_requests};

/// How long connecting may take, in wall time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request may take, in wall time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(8);
/// How much of an answer is read. A receiver says little.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Of one request to CloudWatch, before compression: "1 MB" (AWS, "OTLP endpoints"), taken as the smaller one.
const MAX_SIGNED_BYTES: usize = 1_000_000;
/// Answers that mean that the caller may not, and not that the figures are wrong.
const NOT_ALLOWED: [&str; 2] = ["HTTP 401", "HTTP 403"];
/// As much of what a refusal says is logged, in characters.
const MAX_MESSAGE: usize = 300;
/// The media type of OTLP's binary encoding.
const PROTOBUF: &str = "application/x-protobuf";
/// Who is asking.
const USER_AGENT: &str = concat!("trainspotter/", env!("CARGO_PKG_VERSION"));

/// Publishes to one OTLP receiver.
pub struct OtlpSink {
    origin: Origin,
    transport: Transport,
    /// Up to when distributions were sent, by this run or an earlier one: nothing is added to time that was reported.
    reported_until: Option<Timestamp>,
}

enum Transport {
    Http {
        client: reqwest::Client,
        url: reqwest::Url,
        headers: HeaderMap,
    },
    /// CloudWatch: HTTP, each request with a signature of its own.
    Signed {
        client: reqwest::Client,
        endpoint: SignedEndpoint,
    },
    Grpc {
        client: Box<MetricsServiceClient<Channel>>,
        metadata: MetadataMap,
    },
}

impl OtlpSink {
    /// Prepares a sink; connects on first use. Needs a tokio runtime.
    pub fn new(config: &config::Otlp, origin: Origin) -> Result<Self, SetupError> {
        let endpoint = config.endpoint.expose();
        let wrong = |reason: String| SetupError { endpoint: shown_url(endpoint), reason };
        let headers = headers_of(config).map_err(wrong)?;
        let transport = match config.protocol {
            OtlpProtocol::Http => http(endpoint, headers).map_err(wrong)?,
            OtlpProtocol::Grpc => grpc(endpoint, headers).map_err(wrong)?,
        };
        Ok(Self { origin, transport, reported_until: None })
    }

    /// Prepares a sink for CloudWatch's own endpoint; connects on first use.
    pub fn to_cloudwatch(endpoint: SignedEndpoint, origin: Origin) -> Result<Self, SetupError> {
        let wrong = |reason: String| SetupError { endpoint: shown_url(endpoint.url.as_str()), reason };
        let client = http_client_for(&endpoint.url).map_err(wrong)?;
        Ok(Self { origin, transport: Transport::Signed { client, endpoint }, reported_until: None })
    }

    /// Figures up to `reported_until` may have been sent by an earlier run.
    pub(super) fn after(&mut self, reported_until: Option<Timestamp>) {
        self.reported_until = reported_until;
    }

    /// Sends the whole frame. After a failure nothing needs to be kept: the next frame says it all again.
    pub async fn publish(&mut self, frame: &Frame) -> Result<Published, SinkError> {
        let (mut series, mut refused, mut refusal) = (0, 0, None);
        let reported_until = self.reported_until;
        let reported_by = encode::reported_by(frame, reported_until);
        for (request, points) in self.requests(frame, reported_until) {
            let answer = match &mut self.transport {
                Transport::Http { client, url, headers } => {
                    post(client, url, headers.clone(), zipped(&request)?, points).await
                }
                Transport::Signed { client, endpoint } => {
                    post_signed(client, endpoint, zipped(&request)?, points).await
                }
                Transport::Grpc { client, metadata } => export(client, metadata, request, points).await,
            };
            match answer.and_then(partial_success) {
                Ok(()) => {
                    self.reported_until = reported_by;
                    series += points;
                }
                Err(SinkError::Rejected { dropped, reason }) => {
                    self.reported_until = reported_by;
                    refused += dropped;
                    refusal = Some(reason);
                }
                Err(unavailable @ SinkError::Unavailable { .. }) => return Err(unavailable),
            }
        }
        match refusal {
            None => Ok(Published { series, dropped: 0 }),
            Some(reason) => Err(SinkError::Rejected { dropped: refused, reason }),
        }
    }
}

impl OtlpSink {
    /// The frame in requests that the receiver takes.
    fn requests(&self, frame: &Frame, until: Option<Timestamp>) -> Vec<(ExportMetricsServiceRequest, u64)> {
        let mut most = MAX_POINTS_PER_REQUEST;
        let is_bounded = matches!(self.transport, Transport::Signed { .. });
        loop {
            let requests = otlp_requests(frame, &self.origin, until, most);
            let fit = |(request, _): &(ExportMetricsServiceRequest, u64)| request.encoded_len() <= MAX_SIGNED_BYTES;
            if !is_bounded || most == 1 || requests.iter().all(fit) {
                return requests;
            }
            most = most.div_ceil(2);
        }
    }
}

impl fmt::Debug for OtlpSink {
    /// Without headers and without the URL's user and query, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match &self.transport {
            Transport::Http { .. } => "http",
            Transport::Signed { .. } => "signed http",
            Transport::Grpc { .. } => "grpc",
        };
        f.debug_struct("OtlpSink").field("transport", &transport).finish_non_exhaustive()
    }
}

fn headers_of(config: &config::Otlp) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?;
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| format!("the value of the header {name:?} holds a character that headers cannot carry"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

fn http(endpoint: &str, headers: HeaderMap) -> Result<Transport, String> {
    let url = reqwest::Url::parse(endpoint).map_err(|error| format!("not a URL: {error}"))?;
    let client = http_client_for(&url)?;
    Ok(Transport::Http { client, url, headers })
}

fn http_client_for(url: &reqwest::Url) -> Result<reqwest::Client, String> {
    let client = http_client(url, Guard::new(true)).map_err(|error| error.to_string())?;
    let client = client.connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT);
    client.build().map_err(|error| {
        format!("{error:?}; an https endpoint needs the machine's CA certificates (package ca-certificates)")
    })
}

fn grpc(endpoint: &str, headers: HeaderMap) -> Result<Transport, String> {
    let endpoint = Endpoint::from_shared(endpoint.to_owned())
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(|error| format!("not an origin such as http://collector:4317: {error}"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT);
    let client = grpc_channel(endpoint, Guard::new(true)).map_err(|error| error.to_string())?;
    let client = MetricsServiceClient::new(client);
    let client = client.send_compressed(CompressionEncoding::Gzip);
    Ok(Transport::Grpc { client: Box::new(client), metadata: MetadataMap::from_headers(headers) })
}

async fn export(
    client: &mut MetricsServiceClient<Channel>,
    metadata: &MetadataMap,
    body: ExportMetricsServiceRequest,
    points: u64,
) -> Result<ExportMetricsServiceResponse, SinkError> {
    let mut request = tonic::Request::new(body);
    *request.metadata_mut() = metadata.clone();
    match client.export(request).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => {
            let reason = format!("gRPC {:?}: {}", status.code(), status.message());
            Err(if is_passing(status.code()) {
                SinkError::unavailable(reason)
            } else {
                SinkError::Rejected { dropped: points, reason }
            })
        }
    }
}

/// The codes that OTLP calls retryable (OTLP specification, "OTLP/gRPC Response"). `ResourceExhausted` is taken as one
/// without the detail that the specification asks for, because the next frame is sent anyway.
fn is_passing(code: tonic::Code) -> bool {
    use tonic::Code;
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// A signed request. Who may not send one now may send it later, with other credentials or rights: nothing is given up.
async fn post_signed(
    client: &reqwest::Client,
    endpoint: &SignedEndpoint,
    body: Vec<u8>,
    points: u64,
) -> Result<ExportMetricsServiceResponse, SinkError> {
    let SignedEndpoint { url, signer } = endpoint;
    let signed = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let headers = signer.headers("POST", url, &signed, &body).await;
    let headers = headers.map_err(|error| SinkError::unavailable(error.to_string()))?;
    match post(client, url, headers, body, points).await {
        Err(SinkError::Rejected { reason, .. }) if NOT_ALLOWED.iter().any(|status| reason.starts_with(status)) => {
            signer.forget_credentials().await;
            Err(SinkError::unavailable(format!(
                "{reason}; the service's role needs cloudwatch:PutMetricData without a condition on the namespace"
            )))
        }
        answer => answer,
    }
}

fn zipped(request: &ExportMetricsServiceRequest) -> Result<Vec<u8>, SinkError> {
    gzip(&request.encode_to_vec()).map_err(|error| SinkError::unavailable(error.to_string()))
}

async fn post(
    client: &reqwest::Client,
    url: &reqwest::Url,
    headers: HeaderMap,
    body: Vec<u8>,
    points: u64,
) -> Result<ExportMetricsServiceResponse, SinkError> {
    let outage = |error: reqwest::Error| SinkError::unavailable(causes(&error.without_url()));
    let request = client
        .post(url.clone())
        .headers(headers)
        .header(CONTENT_TYPE, PROTOBUF)
        .header(CONTENT_ENCODING, "gzip")
        .body(body);
    let mut response = request.send().await.map_err(outage)?;
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(outage)? {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER_BYTES {
            answer.truncate(MAX_ANSWER_BYTES);
            break;
        }
    }
    if status.is_success() {
        // A receiver that answers with no or another body has taken everything.
        return Ok(ExportMetricsServiceResponse::decode(answer.as_slice()).unwrap_or_default());
    }
    let reason = match message_of(&answer) {
        Some(message) => format!("HTTP {status}: {message}"),
        None => format!("HTTP {status}"),
    };
    Err(match status {
        // The statuses that OTLP calls retryable (OTLP specification, "OTLP/HTTP Response").
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => SinkError::Unavailable { reason, retry_after },
        _ => SinkError::Rejected { dropped: points, reason },
    })
}

/// What a refusal says for people, as AWS's services do in JSON.
fn message_of(answer: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let message = body.get("message").or(body.get("Message"))?.as_str()?;
    Some(message.chars().filter(|letter| !letter.is_control()).take(MAX_MESSAGE).collect())
}

/// `Retry-After` in seconds. Its other form, a date, is rare here and ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// A receiver may take a part, and it may take all and still have something to say.
fn partial_success(answer: ExportMetricsServiceResponse) -> Result<(), SinkError> {
    let Some(partial) = answer.partial_success else { return Ok(()) };
    match u64::try_from(partial.rejected_data_points) {
        Ok(0) | Err(_) => {
            if !partial.error_message.is_empty() {
                tracing::warn!(message = partial.error_message, "the OTLP receiver took all points, with a warning");
            }
            Ok(())
        }
        Ok(dropped) => Err(SinkError::Rejected { dropped, reason: partial.error_message }),
    }
}
