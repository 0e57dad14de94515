//! The network between a process and AWS, a call within this process: requests and responses can be late, cut off or lost.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use axum::body::{Body, Bytes};
use axum::http::Request;
use tower::ServiceExt as _;

use super::world::Shared;
use crate::aws::{CONNECT_TIMEOUT, READ_TIMEOUT};
use crate::mutated_inputs::mutated;

/// Token with the right to operate.
pub(super) const TOKEN: &str = "an operator of the simulation";

/// One replica's connection to AWS.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) world: Shared,
    pub(super) replica: usize,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("replica", &self.replica).finish_non_exhaustive()
    }
}

impl HttpClient for Link {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Link {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self { world, replica } = self.clone();
        HttpConnectorFuture::new(async move {
            let body = Bytes::copy_from_slice(request.body().bytes().unwrap_or_default());
            let (way, router) = {
                let mut world = world.lock().unwrap();
                if is_publish(&body) {
                    world.sends(replica);
                }
                (world.way(replica, &[request.uri().as_bytes(), &in_any_order(&body)]), world.aws.clone())
            };
            tokio::time::sleep(way.there).await;
            if way.is_cut_off {
                tokio::time::sleep(CONNECT_TIMEOUT).await;
                return Err(ConnectorError::timeout("cut off".into()));
            }
            let sent = body.clone();
            let answer = async {
                let answer = router.oneshot(of_http(&request, with_short_pages(request.uri(), body))).await.unwrap();
                let (parts, body) = answer.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await;
                (parts, body)
            };
            let late = |_| ConnectorError::timeout("no answer".into());
            let (parts, body) = tokio::time::timeout(READ_TIMEOUT, answer).await.map_err(late)?;
            if parts.status.is_success() {
                world.lock().unwrap().took(&sent, way.is_answer_lost);
            }
            if way.is_answer_lost {
                return Err(ConnectorError::io("connection reset".into()));
            }
            let mut body = body.map_err(|error| ConnectorError::io(error.into()))?.to_vec();
            distort(&world, replica, &request, &mut body);
            let status = parts.status.as_u16().try_into().unwrap();
            let mut response = HttpResponse::new(status, SdkBody::from(body));
            for (name, value) in &parts.headers {
                response.headers_mut().append(name.as_str().to_owned(), value.to_str().unwrap().to_owned());
            }
            Ok(response)
        })
    }
}

fn distort(world: &Shared, replica: usize, request: &HttpRequest, body: &mut Vec<u8>) {
    let mut world = world.lock().unwrap();
    let Some(distortion) = world.distortion else { return };
    if request.uri().ends_with("/listservicejobs") {
        *body = distortion.of_jobs(body);
    }
    let Some(sides) = distortion.mangles_one_in() else { return };
    let mut draw = world.draw(replica, &[b"mangled", request.uri().as_bytes()]);
    if draw.one_in(sides) {
        *body = mutated(&[&*body], draw.millis(0..u64::MAX));
        world.mangled += 1;
    }
}

/// Whether a request is for a topic: SNS gets forms, and AWS Batch JSON.
fn is_publish(body: &[u8]) -> bool {
    body.starts_with(b"Action=Publish")
}

/// The SDK sends message attributes in varying order.
fn in_any_order(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    if is_publish(body) {
        bytes.sort_unstable();
    }
    bytes
}

/// Maximum rows of a page of jobs: AWS may return fewer than requested.
const ROWS_OF_A_PAGE: u64 = 2;

/// The request with a smaller page size.
fn with_short_pages(uri: &str, body: Bytes) -> Bytes {
    let parsed = if uri.ends_with("/listservicejobs") { serde_json::from_slice(&body).ok() } else { None };
    let Some(serde_json::Value::Object(mut fields)) = parsed else { return body };
    fields.insert("maxResults".to_owned(), ROWS_OF_A_PAGE.into());
    serde_json::Value::Object(fields).to_string().into()
}

fn of_http(request: &HttpRequest, body: Bytes) -> Request<Body> {
    let mut made = Request::builder().method(request.method()).uri(request.uri());
    for (name, value) in request.headers() {
        made = made.header(name, value);
    }
    made.body(Body::from(body)).unwrap()
}

/// The response of a page or the simulator: status, and JSON or text.
pub(super) async fn ask(router: axum::Router, request: Request<Body>) -> (u16, String) {
    let answer = router.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// A request without a body.
pub(super) fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "localhost").body(Body::empty()).unwrap()
}

/// A request with JSON and the operator's token.
pub(super) fn post(path: &str, json: &serde_json::Value) -> Request<Body> {
    let made = Request::post(path).header("host", "localhost").header("content-type", "application/json");
    made.header("authorization", format!("Bearer {}", TOKEN)).body(Body::from(json.to_string())).unwrap()
}
