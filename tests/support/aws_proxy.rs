//! A proxy in front of AWS: counts requests by access key, service and path, and can lead access keys to other
//! accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::response::{IntoResponse as _, Response};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::http;

/// Maximum size of a request.
const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Kept {
    /// Endpoint of each access key that does not go to the usual one.
    other: BTreeMap<String, String>,
    /// Number of requests by access key, service and path.
    asked: BTreeMap<(String, String, String), usize>,
    /// Requests about jobs, in order.
    about_jobs: Vec<AboutJobs>,
}

/// A request for a list of jobs, the description of one, or the snapshot of a queue.
#[derive(Clone, Debug)]
pub struct AboutJobs {
    pub at: Instant,
    /// Access key.
    pub key: String,
    pub path: String,
    /// The described job.
    pub job: Option<String>,
}

/// Paths of these requests.
pub const LIST: &str = "/v1/listservicejobs";
pub const DESCRIBE: &str = "/v1/describeservicejob";
pub const SNAPSHOT: &str = "/v1/getjobqueuesnapshot";

/// The proxy.
#[derive(Clone, Debug)]
pub struct AwsProxy {
    pub endpoint: String,
    usual: String,
    kept: Arc<Mutex<Kept>>,
}

impl AwsProxy {
    /// Starts one in front of an endpoint.
    pub async fn start(usual: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Self { endpoint, usual: usual.to_owned(), kept: Arc::default() };
        let app = axum::Router::new().fallback(forward).with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        proxy
    }

    /// Sends requests of an access key to another endpoint.
    pub fn lead(&self, key: &str, endpoint: &str) {
        self.kept.lock().unwrap().other.insert(key.to_owned(), endpoint.to_owned());
    }

    /// How many requests an access key has sent to a service.
    pub fn asked(&self, key: &str, service: &str) -> usize {
        self.sum(|of, called, _| of == key && called == service)
    }

    /// Requests about jobs of all access keys so far, in order.
    pub fn about_jobs(&self) -> Vec<AboutJobs> {
        self.kept.lock().unwrap().about_jobs.clone()
    }

    fn note(&self, key: &str, path: &str, body: &[u8]) {
        if [LIST, DESCRIBE, SNAPSHOT].contains(&path) {
            let input: serde_json::Value = serde_json::from_slice(body).unwrap();
            let job = input["jobId"].as_str().map(str::to_owned);
            let request = AboutJobs { at: Instant::now(), key: key.to_owned(), path: path.to_owned(), job };
            self.kept.lock().unwrap().about_jobs.push(request);
        }
    }

    fn sum(&self, counts: impl Fn(&str, &str, &str) -> bool) -> usize {
        let kept = self.kept.lock().unwrap();
        kept.asked.iter().filter(|((key, service, path), _)| counts(key, service, path)).map(|(_, count)| count).sum()
    }

    /// Services to which an access key has sent requests.
    pub fn services_of(&self, key: &str) -> BTreeSet<String> {
        let kept = self.kept.lock().unwrap();
        kept.asked.keys().filter(|(of, ..)| of == key).map(|(_, service, _)| service.clone()).collect()
    }

    /// Counts a request. Returns its access key and the endpoint it goes to.
    fn count(&self, request: &Request) -> (String, String) {
        let signed = request.headers().get(AUTHORIZATION).map_or("", |value| value.to_str().unwrap());
        let scope = signed.split_once("Credential=").map_or("", |(_, rest)| rest.split(',').next().unwrap());
        let parts: Vec<&str> = scope.split('/').collect();
        let (key, service) = (parts[0].to_owned(), parts.get(3).copied().unwrap_or("unsigned").to_owned());
        let mut kept = self.kept.lock().unwrap();
        let endpoint = kept.other.get(&key).unwrap_or(&self.usual).clone();
        *kept.asked.entry((key.clone(), service, request.uri().path().to_owned())).or_default() += 1;
        (key, endpoint)
    }
}

async fn forward(State(proxy): State<AwsProxy>, request: Request) -> Response {
    let (key, endpoint) = proxy.count(&request);
    let (head, body) = request.into_parts();
    let url = format!("{endpoint}{}", head.uri);
    let body = to_bytes(body, MAX_BYTES).await.unwrap();
    proxy.note(&key, head.uri.path(), &body);
    let sent = http::client().request(head.method, url).headers(head.headers).body(body).send();
    let Ok(answer) = sent.await else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::builder().status(answer.status());
    for (name, value) in
        answer.headers().iter().filter(|(name, _)| ![TRANSFER_ENCODING, CONTENT_LENGTH].contains(*name))
    {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}
