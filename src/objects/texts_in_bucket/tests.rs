//! What is downloaded again, and errors of buckets that are only read.

use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode, Uri};
use tokio::net::TcpListener;

use super::*;
use crate::objects::Rights;

const READ: Setting = Setting { place: "rules", region: "rules[].region", rights: Rights::Read };

/// The next response: status, region header, body.
type Answer = Arc<Mutex<(u16, Option<&'static str>, String)>>;

/// An S3 server with a fixed response.
async fn s3(answer: Answer) -> String {
    let handler = move || {
        let (status, region, body) = answer.lock().unwrap().clone();
        let mut headers = HeaderMap::new();
        if let Some(region) = region {
            headers.insert("x-amz-bucket-region", region.parse().unwrap());
        }
        async move { (StatusCode::from_u16(status).unwrap(), headers, body) }
    };
    serve(axum::Router::new().fallback(handler)).await
}

async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}")
}

fn access(endpoint: &str) -> BucketAccess<'_> {
    BucketAccess { region: Some("us-east-1"), endpoint: Some(endpoint), role: None }
}

fn code(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>")
}

#[tokio::test]
async fn a_bucket_that_is_only_read_asks_for_fewer_rights() {
    let answer = Answer::default();
    let endpoint = s3(Arc::clone(&answer)).await;
    let mut texts = Texts::open("settings", access(&endpoint), READ, Clock::real()).await.unwrap();
    for (status, region, body, wanted) in [
        (404, None, code("NoSuchBucket"), "the bucket settings does not exist: create it, or correct `rules`"),
        (403, None, code("AccessDenied"), "(AccessDenied): allow s3:GetObject on its objects"),
        (
            301,
            Some("eu-west-1"),
            String::new(),
            "is in eu-west-1, but the request went to us-east-1: set `rules[].region`",
        ),
    ] {
        *answer.lock().unwrap() = (status, region, body);
        for error in [texts.one("a.yaml").await.unwrap_err(), texts.folder("", |_| true).await.unwrap_err()] {
            assert!(error.is_lasting && error.problem.contains(wanted), "{error}");
            assert!(!error.problem.contains("PutObject"), "{error}");
        }
    }
}

/// Objects with ETags, and how often each was downloaded.
#[derive(Clone, Default)]
struct Objects {
    texts: Arc<Mutex<Vec<(String, String)>>>,
    sent: Arc<Mutex<u32>>,
}

impl Objects {
    fn set(&self, texts: &[(&str, &str)]) {
        *self.texts.lock().unwrap() =
            texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    }

    fn tag(text: &str) -> String {
        format!("\"{:x}-{}\"", text.len(), text.chars().next().map_or(0, u32::from))
    }

    fn answer(&self, uri: &Uri, headers: &HeaderMap) -> (StatusCode, HeaderMap, String) {
        let texts = self.texts.lock().unwrap();
        if uri.query().is_some_and(|query| query.contains("list-type=2")) {
            let rows = texts.iter().map(|(name, text)| {
                let tag = Self::tag(text).replace('"', "&quot;");
                format!("<Contents><Key>{name}</Key><ETag>{tag}</ETag><Size>{}</Size></Contents>", text.len())
            });
            let list: String = rows.collect();
            return (
                StatusCode::OK,
                HeaderMap::new(),
                format!("<ListBucketResult><IsTruncated>false</IsTruncated>{list}</ListBucketResult>"),
            );
        }
        let name = uri.path().strip_prefix("/settings/").unwrap();
        let Some((_, text)) = texts.iter().find(|(other, _)| other == name) else {
            return (StatusCode::NOT_FOUND, HeaderMap::new(), code("NoSuchKey"));
        };
        let tag = Self::tag(text);
        if headers.get("if-none-match").is_some_and(|known| *known == *tag) {
            return (StatusCode::NOT_MODIFIED, HeaderMap::new(), String::new());
        }
        *self.sent.lock().unwrap() += 1;
        (StatusCode::OK, [("etag".parse().unwrap(), tag.parse().unwrap())].into_iter().collect(), text.clone())
    }
}

#[tokio::test]
async fn only_what_has_changed_is_read_again() {
    let objects = Objects::default();
    let answering = objects.clone();
    let handler = move |uri: Uri, headers: HeaderMap| {
        let answer = answering.answer(&uri, &headers);
        async move { answer }
    };
    let endpoint = serve(axum::Router::new().fallback(handler)).await;
    let mut texts = Texts::open("settings", access(&endpoint), READ, Clock::real()).await.unwrap();
    let sent = || std::mem::take(&mut *objects.sent.lock().unwrap());

    objects.set(&[("rules/a.yaml", "one"), ("rules/b.yaml", "two"), ("rules/note.txt", "no rules")]);
    let is_rules = |name: &str| name.ends_with(".yaml");
    let found = texts.folder("rules", is_rules).await.unwrap();
    let expected = [("s3://settings/rules/a.yaml", "one"), ("s3://settings/rules/b.yaml", "two")];
    assert_eq!(found, expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
    assert_eq!(sent(), 2);
    assert_eq!(texts.folder("rules", is_rules).await.unwrap(), found);
    assert_eq!(sent(), 0, "a list says that nothing has changed");
    objects.set(&[("rules/b.yaml", "three")]);
    let found = texts.folder("rules", is_rules).await.unwrap();
    assert_eq!(found, [("s3://settings/rules/b.yaml".to_owned(), "three".to_owned())].into());
    assert_eq!(sent(), 1);

    assert_eq!(texts.one("rules/b.yaml").await.as_deref(), Ok("three"));
    assert_eq!(sent(), 0, "not modified");
    let gone = texts.one("rules/a.yaml").await.unwrap_err();
    assert!(gone.problem.contains("there is no object s3://settings/rules/a.yaml"), "{gone}");
    let large = "x".repeat(2 << 20);
    objects.set(&[("rules/b.yaml", large.as_str())]);
    assert!(texts.one("rules/b.yaml").await.unwrap_err().problem.contains("is larger than 1048576 bytes"));
    objects.set(&[("rules/b?.yaml", "odd")]);
    assert!(texts.folder("rules", is_rules).await.unwrap_err().problem.contains("rename it"));
}
