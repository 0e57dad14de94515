//! A fake bucket for tests: stores objects, and returns prepared errors.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::net::TcpListener;

use crate::objects::s3::{Bucket, BucketAddress};
use crate::objects::{Rights, Setting};
use crate::outbound::{Guard, SignedService, Signer, http_client};
use trainspotter_clock::Clock;

/// An error returned instead of a result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: String,
    /// Whether the operation takes effect nevertheless, so that only the response is lost.
    pub(crate) is_done: bool,
}

impl Refusal {
    /// An error in S3's format.
    pub(crate) fn coded(status: u16, code: &str) -> Self {
        Self { status, body: format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>"), ..Self::default() }
    }
}

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<String, Vec<u8>>,
    refusals: VecDeque<Refusal>,
    /// Returned for all requests until it is cleared.
    outage: Option<Refusal>,
    puts: usize,
}

/// Handle to the fake bucket.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeS3(Arc<Mutex<Kept>>);

impl FakeS3 {
    /// Starts the server. The bucket is named `bucket`, the prefix `prefix`.
    pub(crate) async fn start() -> (Self, Bucket) {
        let fake = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let credentials = SharedCredentialsProvider::new(Credentials::new("id", "s3cret", None, None, "test"));
        let signer = Signer::new(credentials, "us-east-1".to_owned(), SignedService::S3, Clock::real());
        let address = BucketAddress {
            endpoint: Some(endpoint),
            bucket: "bucket".to_owned(),
            prefix: "prefix".to_owned(),
            region: "us-east-1".to_owned(),
            setting: Setting { place: "archive.to", region: "archive.region", rights: Rights::Keep },
        };
        let client = |url: &url::Url| http_client(url, Guard::new(true));
        let bucket = Bucket::new(address, signer, client, Clock::real()).unwrap();
        (fake, bucket)
    }

    /// Makes the next request fail.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.0.lock().unwrap().refusals.push_back(refusal);
    }

    /// Makes all requests fail from now on, or none.
    pub(crate) fn outage(&self, refusal: Option<Refusal>) {
        self.0.lock().unwrap().outage = refusal;
    }

    /// Number of writes.
    pub(crate) fn puts(&self) -> usize {
        self.0.lock().unwrap().puts
    }

    /// Contents of an object below the prefix.
    pub(crate) fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().objects.get(&format!("/bucket/prefix/{name}")).cloned()
    }
}

async fn answer(
    State(fake): State<FakeS3>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    assert!(headers.contains_key("authorization") && headers.contains_key("x-amz-content-sha256"), "{headers:?}");
    let mut kept = fake.0.lock().unwrap();
    let refusal = kept.refusals.pop_front().or_else(|| kept.outage.clone());
    let mut found = (StatusCode::OK, HeaderMap::new(), Vec::new());
    if refusal.as_ref().is_none_or(|refusal| refusal.is_done) {
        match method {
            Method::PUT => {
                kept.puts += 1;
                kept.objects.insert(uri.path().to_owned(), body.to_vec());
            }
            Method::DELETE => _ = kept.objects.remove(uri.path()),
            _ => match kept.objects.get(uri.path()) {
                Some(object) => found.2.clone_from(object),
                None => {
                    found.0 = StatusCode::NOT_FOUND;
                    found.2 = b"<Error><Code>NoSuchKey</Code></Error>".to_vec();
                }
            },
        }
    }
    let Some(refusal) = refusal else { return found };
    let pairs = refusal.headers.into_iter();
    let pairs = pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    (StatusCode::from_u16(refusal.status).unwrap(), pairs.collect(), refusal.body.into_bytes())
}
