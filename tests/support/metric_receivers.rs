//! Receivers on the loopback interface that record requests and return configured responses.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ciborium::Value as Cbor;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;

/// An OTLP receiver over HTTP.
pub struct HttpReceiver {
    pub url: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<ExportMetricsServiceRequest>>,
    headers: Mutex<Vec<String>>,
    encodings: Mutex<Vec<Option<String>>>,
    answer: Mutex<Answer>,
    served: watch::Sender<usize>,
}

#[derive(Clone, Default)]
struct Answer {
    status: Option<(u16, Option<String>)>,
    /// Media type and content of error responses.
    body: (String, Vec<u8>),
    partial: Option<ExportMetricsPartialSuccess>,
}

impl HttpReceiver {
    pub async fn start() -> Self {
        let seen = Arc::<Seen>::default();
        let router = Router::new().fallback(take_metrics).with_state(Arc::clone(&seen));
        Self { url: format!("{}/v1/metrics", serve(router).await), seen }
    }

    pub fn requests(&self) -> Vec<ExportMetricsServiceRequest> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub fn headers(&self) -> Vec<String> {
        self.seen.headers.lock().unwrap().clone()
    }

    /// Compression of each body.
    pub fn encodings(&self) -> Vec<Option<String>> {
        self.seen.encodings.lock().unwrap().clone()
    }

    pub fn answer_with(&self, status: u16, retry_after: Option<&str>) {
        self.seen.answer.lock().unwrap().status = Some((status, retry_after.map(str::to_owned)));
    }

    /// Answers with this status and body.
    pub fn refuse_with(&self, status: u16, media_type: &str, body: &[u8]) {
        let body = (media_type.to_owned(), body.to_vec());
        *self.seen.answer.lock().unwrap() = Answer { status: Some((status, None)), body, partial: None };
    }

    pub fn reject_points(&self, points: i64, message: &str) {
        let partial = ExportMetricsPartialSuccess { rejected_data_points: points, error_message: message.to_owned() };
        *self.seen.answer.lock().unwrap() = Answer { partial: Some(partial), ..Answer::default() };
    }

    /// Waits until this many requests were answered.
    pub async fn served(&self, count: usize) {
        self.seen.served.subscribe().wait_for(|served| *served >= count).await.unwrap();
    }
}

async fn take_metrics(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportMetricsServiceRequest::decode(plain(&headers, &body).as_slice()).unwrap();
    seen.requests.lock().unwrap().push(request);
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    seen.headers.lock().unwrap().push(text("authorization").unwrap_or_default());
    seen.encodings.lock().unwrap().push(text("content-encoding"));
    seen.served.send_modify(|served| *served += 1);
    let answer = seen.answer.lock().unwrap().clone();
    if let Some((status, retry_after)) = answer.status {
        let (media_type, body) = answer.body;
        let mut headers = vec![("content-type", media_type)];
        headers.extend(retry_after.map(|value| ("retry-after", value)));
        let headers = axum::response::AppendHeaders(headers);
        return (StatusCode::from_u16(status).unwrap(), headers, Body::from(body)).into_response();
    }
    ExportMetricsServiceResponse { partial_success: answer.partial }.encode_to_vec().into_response()
}

/// An OTLP receiver over gRPC.
pub struct GrpcReceiver {
    pub origin: String,
    seen: GrpcSeen,
}

#[derive(Clone, Default)]
struct GrpcSeen {
    requests: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    headers: Arc<Mutex<Vec<String>>>,
    code: Arc<AtomicU32>,
    details: Arc<Mutex<Vec<u8>>>,
}

impl GrpcReceiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = GrpcSeen::default();
        let service = MetricsServiceServer::new(seen.clone()).accept_compressed(CompressionEncoding::Gzip);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));
        Self { origin, seen }
    }

    pub fn requests(&self) -> Vec<ExportMetricsServiceRequest> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub fn headers(&self) -> Vec<String> {
        self.seen.headers.lock().unwrap().clone()
    }

    /// Details of error responses, beside their message.
    pub fn with_details(&self, details: &[u8]) {
        *self.seen.details.lock().unwrap() = details.to_vec();
    }

    pub fn answer_with(&self, code: tonic::Code) {
        self.seen.code.store(u32::try_from(i32::from(code)).unwrap(), Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl MetricsService for GrpcSeen {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let header = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        self.headers.lock().unwrap().push(header.unwrap_or_default());
        self.requests.lock().unwrap().push(request.into_inner());
        match i32::try_from(self.code.load(Ordering::SeqCst)).unwrap() {
            0 => Ok(tonic::Response::new(ExportMetricsServiceResponse::default())),
            code => {
                let details = self.details.lock().unwrap().clone();
                Err(tonic::Status::with_details(tonic::Code::from(code), "as asked", details.into()))
            }
        }
    }
}

/// CloudWatch's `PutMetricData`, in the SDK's protocol: Smithy RPC v2 with CBOR.
pub struct CloudWatchReceiver {
    endpoint: String,
    seen: Arc<CloudWatchSeen>,
}

#[derive(Default)]
struct CloudWatchSeen {
    status: AtomicU16,
    bodies: Mutex<Vec<Vec<u8>>>,
    served: watch::Sender<usize>,
}

impl CloudWatchReceiver {
    pub async fn start() -> Self {
        let seen = Arc::<CloudWatchSeen>::default();
        let router = Router::new().fallback(take_data).with_state(Arc::clone(&seen));
        Self { endpoint: serve(router).await, seen }
    }

    pub fn client(&self) -> aws_sdk_cloudwatch::Client {
        cloudwatch_client(&self.endpoint)
    }

    pub fn answer_with(&self, status: u16) {
        self.seen.status.store(status, Ordering::SeqCst);
    }

    /// Total size of all bodies, before compression.
    pub fn bytes(&self) -> usize {
        self.seen.bodies.lock().unwrap().iter().map(Vec::len).sum()
    }

    /// Waits until this many requests were answered.
    pub async fn served(&self, count: usize) {
        self.seen.served.subscribe().wait_for(|served| *served >= count).await.unwrap();
    }

    /// Values and counts of the accepted data, by `Metric/dimension values`.
    pub fn data(&self) -> BTreeMap<String, Vec<(f64, f64)>> {
        let mut data = BTreeMap::<String, Vec<(f64, f64)>>::new();
        for body in self.seen.bodies.lock().unwrap().iter() {
            let request: Cbor = ciborium::from_reader(body.as_slice()).unwrap();
            for datum in list(&request, "MetricData") {
                let mut name = vec![text(&datum, "MetricName")];
                let mut dimensions: Vec<(String, String)> = list(&datum, "Dimensions")
                    .iter()
                    .map(|dimension| (text(dimension, "Name"), text(dimension, "Value")))
                    .collect();
                // Queue first, then share, then the rest.
                dimensions.sort_by_key(|(name, _)| (name != "Queue", name != "Share"));
                name.extend(dimensions.into_iter().map(|(_, value)| value));
                let values = list(&datum, "Values").iter().map(number).collect::<Vec<_>>();
                let counts = list(&datum, "Counts").iter().map(number).collect::<Vec<_>>();
                let single = get(&datum, "Value").map(|value| (number(&value), 1.0));
                data.entry(name.join("/")).or_default().extend(values.into_iter().zip(counts).chain(single));
            }
        }
        data
    }
}

/// A client without retries.
pub fn cloudwatch_client(endpoint: &str) -> aws_sdk_cloudwatch::Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(aws_sdk_cloudwatch::config::Region::new("us-east-1"))
        .credentials_provider(aws_credential_types::Credentials::new("id", "key", None, None, "test"))
        .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    aws_sdk_cloudwatch::Client::from_conf(config)
}

async fn take_data(State(seen): State<Arc<CloudWatchSeen>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["smithy-protocol"], "rpc-v2-cbor");
    let protocol = [("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")];
    let status = seen.status.load(Ordering::SeqCst);
    seen.served.send_modify(|served| *served += 1);
    if status == 400 {
        let fault = [("__type", "com.amazonaws.cloudwatch#InvalidParameterValueException"), ("message", "too old")];
        let mut body = Vec::new();
        ciborium::into_writer(&BTreeMap::from(fault), &mut body).unwrap();
        return (StatusCode::BAD_REQUEST, protocol, body).into_response();
    }
    if status > 299 {
        return (StatusCode::from_u16(status).unwrap(), protocol).into_response();
    }
    seen.bodies.lock().unwrap().push(plain(&headers, &body));
    // An empty map.
    (protocol, vec![0xa0]).into_response()
}

fn get(map: &Cbor, key: &str) -> Option<Cbor> {
    let entries = map.as_map().unwrap();
    entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value.clone())
}

fn list(map: &Cbor, key: &str) -> Vec<Cbor> {
    get(map, key).map(|list| list.as_array().unwrap().clone()).unwrap_or_default()
}

fn text(map: &Cbor, key: &str) -> String {
    get(map, key).unwrap().as_text().unwrap().to_owned()
}

fn number(value: &Cbor) -> f64 {
    value.as_float().unwrap_or_else(|| i128::from(value.as_integer().unwrap()) as f64)
}

fn plain(headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(body).read_to_end(&mut plain).unwrap();
        return plain;
    }
    body.to_vec()
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router.layer(axum::extract::DefaultBodyLimit::disable())).await });
    origin
}
