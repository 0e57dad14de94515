//! S3 as far as a log needs it: objects that are created once, a region, a clock, and rights that can be taken away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::net::TcpListener;

/// What is asked of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Get,
    Put,
    List,
    Delete,
}

/// What S3 says instead of doing it.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
}

pub const DENIED: Refusal = Refusal { status: 403, code: "AccessDenied" };

/// Requests that are signed for another time than this are refused, as by S3.
const MAX_SKEW_SECONDS: i64 = 15 * 60;

#[derive(Debug, Default)]
struct Kept {
    objects: BTreeMap<String, Vec<u8>>,
    refused: BTreeMap<Operation, Refusal>,
    /// Whether `If-None-Match` is ignored, as by some other stores.
    overwrites: bool,
}

/// The bucket `bucket`.
#[derive(Clone, Debug)]
pub struct S3 {
    pub endpoint: String,
    region: &'static str,
    kept: Arc<Mutex<Kept>>,
}

impl S3 {
    pub async fn start(region: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let s3 = Self { endpoint, region, kept: Arc::default() };
        let app = axum::Router::new().fallback(answer).with_state(s3.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        s3
    }

    /// From now on an operation is refused; done again without a refusal.
    pub fn refuse(&self, operation: Operation, refusal: Option<Refusal>) {
        let mut kept = self.kept.lock().unwrap();
        match refusal {
            Some(refusal) => _ = kept.refused.insert(operation, refusal),
            None => _ = kept.refused.remove(&operation),
        }
    }

    /// From now on `If-None-Match` is ignored, or is not.
    pub fn overwrite(&self, overwrites: bool) {
        self.kept.lock().unwrap().overwrites = overwrites;
    }

    /// All that is in the bucket.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.kept.lock().unwrap().objects.clone()
    }

    pub fn put(&self, name: &str, bytes: impl Into<Vec<u8>>) {
        self.kept.lock().unwrap().objects.insert(name.to_owned(), bytes.into());
    }

    pub fn remove(&self, name: &str) {
        self.kept.lock().unwrap().objects.remove(name);
    }
}

async fn answer(
    State(s3): State<S3>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let name = uri.path().strip_prefix("/bucket/").map(str::to_owned);
    let Some(name) = name else { return error(&s3, 404, "NoSuchBucket") };
    let operation = match method {
        Method::PUT => Operation::Put,
        Method::DELETE => Operation::Delete,
        _ if query.contains_key("list-type") => Operation::List,
        _ => Operation::Get,
    };
    if let Some(refusal) = check_signature(&s3, &headers) {
        return error(&s3, refusal.status, refusal.code);
    }
    let mut kept = s3.kept.lock().unwrap();
    if let Some(Refusal { status, code }) = kept.refused.get(&operation) {
        return error(&s3, *status, code);
    }
    match operation {
        Operation::Put
            if headers.contains_key("if-none-match") && kept.objects.contains_key(&name) && !kept.overwrites =>
        {
            error(&s3, 412, "PreconditionFailed")
        }
        Operation::Put => {
            kept.objects.insert(name, body.to_vec());
            StatusCode::OK.into_response()
        }
        Operation::Delete => {
            kept.objects.remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        Operation::Get => match kept.objects.get(&name) {
            Some(object) => object.clone().into_response(),
            // Who may not list does not learn whether there is an object.
            None if kept.refused.contains_key(&Operation::List) => error(&s3, 403, "AccessDenied"),
            None => error(&s3, 404, "NoSuchKey"),
        },
        Operation::List => {
            let of = |name: &str| query.get(name).cloned().unwrap_or_default();
            let (prefix, after) = (of("prefix"), of("start-after"));
            let names = kept.objects.keys().filter(|name| name.starts_with(&prefix) && **name > after);
            let keys: String =
                names.take(1_000).map(|name| format!("<Contents><Key>{name}</Key></Contents>")).collect();
            format!("<ListBucketResult>{keys}</ListBucketResult>").into_response()
        }
    }
}

/// A request has to be signed for now, and for the bucket's region.
fn check_signature(s3: &S3, headers: &HeaderMap) -> Option<Refusal> {
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text("x-amz-date")).unwrap();
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    if at.duration_since(Timestamp::now()).as_secs().abs() > MAX_SKEW_SECONDS {
        return Some(Refusal { status: 403, code: "RequestTimeTooSkewed" });
    }
    let is_signed_here = text("authorization").contains(&format!("/{}/s3/aws4_request", s3.region));
    (!is_signed_here).then_some(Refusal { status: 400, code: "AuthorizationHeaderMalformed" })
}

fn error(s3: &S3, status: u16, code: &str) -> Response {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
    let mut answer = (StatusCode::from_u16(status).unwrap(), body).into_response();
    answer.headers_mut().insert("x-amz-bucket-region", HeaderValue::from_static(s3.region));
    answer
}
