//! Errors of S3, and the resulting texts.

use super::*;
use crate::objects::Trouble;
use crate::objects::fake_s3::{FakeS3, Refusal};

const ELSEWHERE: &str = "the bucket bucket is in eu-west-1, but the request went to us-east-1: set `archive.region`";

/// Errors, whether they are permanent, whether the bucket responded, and the text.
fn refusals() -> Vec<(Refusal, bool, Trouble, &'static str)> {
    let region = vec![("x-amz-bucket-region", "eu-west-1")];
    let with_region = |refusal: Refusal| Refusal { headers: region.clone(), ..refusal };
    let in_text = Refusal {
        body: "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>".to_owned(),
        ..Refusal::coded(400, "")
    };
    let bare = |status: u16| Refusal { status, ..Refusal::default() };
    let page = Refusal { body: "<html>proxy</html>".to_owned(), ..bare(403) };
    vec![
        (
            Refusal::coded(404, "NoSuchBucket"),
            true,
            Trouble::Answered,
            "the bucket bucket does not exist: create it, or correct `archive.to`",
        ),
        (
            Refusal::coded(403, "AccessDenied"),
            true,
            Trouble::Answered,
            "access to the bucket bucket is denied (AccessDenied): allow s3:GetObject",
        ),
        (Refusal::coded(403, "InvalidAccessKeyId"), true, Trouble::Answered, "(InvalidAccessKeyId)"),
        (Refusal::coded(403, "SignatureDoesNotMatch"), true, Trouble::Answered, "(SignatureDoesNotMatch)"),
        (Refusal::coded(403, "AllAccessDisabled"), true, Trouble::Answered, "(AllAccessDisabled)"),
        (page, true, Trouble::Answered, "access to the bucket bucket is denied (403)"),
        (with_region(Refusal::coded(301, "PermanentRedirect")), true, Trouble::Answered, ELSEWHERE),
        (with_region(bare(301)), true, Trouble::Answered, ELSEWHERE),
        (with_region(bare(400)), true, Trouble::Answered, ELSEWHERE),
        (in_text, true, Trouble::Answered, ELSEWHERE),
        (bare(301), true, Trouble::Answered, "is in another region"),
        (Refusal::coded(400, "ExpiredToken"), false, Trouble::Silent, "credentials for the bucket bucket have expired"),
        (Refusal::coded(403, "RequestTimeTooSkewed"), false, Trouble::Silent, "the clock of this machine is wrong"),
        (Refusal::coded(503, "SlowDown"), false, Trouble::Answered, "responded with 503 Service Unavailable SlowDown"),
        (Refusal::coded(500, "InternalError"), false, Trouble::Answered, "responded with 500"),
        (bare(503), false, Trouble::Answered, "responded with 503"),
        (bare(400), false, Trouble::Answered, "no error code of S3: 127.0.0.1:"),
        (bare(405), false, Trouble::Answered, "is no S3 endpoint, or a proxy responded"),
        (Refusal::coded(429, "TooManyRequests"), false, Trouble::Answered, "responded with 429"),
        (Refusal::coded(418, "SomethingNew"), false, Trouble::Answered, "SomethingNew"),
    ]
}

#[tokio::test]
async fn every_refusal_has_a_cause_and_whether_a_retry_helps() {
    let (fake, bucket) = FakeS3::start().await;
    for (refusal, is_lasting, trouble, words) in refusals() {
        fake.outage(Some(refusal.clone()));
        let errors = [
            bucket.get("a").await.unwrap_err(),
            bucket.put("a", b"x".to_vec()).await.unwrap_err(),
            bucket.list("jobs", "").await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.problem.contains(words), "{refusal:?}: {error}");
            assert_eq!((error.is_lasting, error.trouble), (is_lasting, trouble), "{refusal:?}: {error}");
            assert!(!error.problem.contains("s3cret"), "{error}");
        }
    }
    fake.outage(None);
    assert_eq!(bucket.get("a").await, Ok(None), "what is not there is no error");
    bucket.put("a", b"x".to_vec()).await.unwrap();
    assert_eq!(bucket.get("a").await, Ok(Some(b"x".to_vec())));
}

#[tokio::test]
async fn a_page_of_a_proxy_is_not_an_empty_list() {
    let (fake, bucket) = FakeS3::start().await;
    for body in ["", "<html>Please log in</html>", "<ListAllMyBucketsResult/>"] {
        fake.outage(Some(Refusal { status: 200, body: body.to_owned(), ..Refusal::default() }));
        for error in [bucket.list("records", "").await.unwrap_err(), bucket.list_tagged("rules").await.unwrap_err()] {
            assert!(!error.is_lasting, "{error}");
            assert!(
                error.problem.contains("the response to listing the bucket bucket is not a list: 127.0.0.1:"),
                "{error}"
            );
        }
    }
    let body =
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><KeyCount>0</KeyCount></ListBucketResult>";
    fake.outage(Some(Refusal { status: 200, body: body.to_owned(), ..Refusal::default() }));
    assert_eq!(bucket.list("records", "").await, Ok(Vec::new()));
}

#[tokio::test]
async fn an_answer_without_an_end_takes_no_memory() {
    let (fake, bucket) = FakeS3::start().await;
    for status in [200, 403] {
        let body = "<Error><Code>AccessDenied</Code>".to_owned() + &"x".repeat(MAX_LIST_BYTES);
        fake.outage(Some(Refusal { status, body, ..Refusal::default() }));
        let listed = bucket.list("jobs", "").await.unwrap_err();
        let tagged = bucket.list_tagged("jobs").await.unwrap_err();
        let text = bucket.get_unless("a", None, 1_000).await.unwrap_err();
        for error in [listed, tagged, text] {
            let wanted = if status == 200 { "is larger than" } else { "access to the bucket" };
            assert!(error.is_lasting && error.problem.contains(wanted), "{status}: {error}");
            assert!(error.problem.len() < 1_000, "{status}: {} bytes", error.problem.len());
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_unreachable_bucket() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let (_, mut bucket) = FakeS3::start().await;
    bucket.root = format!("http://{address}/bucket/").parse().unwrap();
    let error = bucket.get("a").await.unwrap_err();
    assert!(!error.is_lasting && !error.problem.is_empty(), "{error}");
}
