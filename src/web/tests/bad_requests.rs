//! Refused requests: invalid parameters, unknown paths, sizes.

use crate::web::tests::Server;

#[tokio::test]
async fn bad_requests_get_a_message_with_the_valid_form() {
    let server = Server::start().await;
    for (query, reported) in [
        ("limit=0", "from 1 to 500"),
        ("limit=501", "from 1 to 500"),
        ("limit=ten", "from 1 to 500"),
        ("limit=", "from 1 to 500"),
        ("state=idle", "there are submitted, pending, runnable"),
        ("reason=tired", "there are misconfigured, disabled, exceeds_share"),
        ("sort=oldest", "there are created, newest and waiting"),
        ("reason=behind&reason=behind", "given twice"),
        ("statee=running", "unknown parameter \\\"statee\\\""),
        ("queue=a&queue=b", "given twice"),
        ("after=yesterday", "`next` of the page before"),
        ("after=x_job", "`next` of the page before"),
    ] {
        let answer = server.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!((answer.status, &*answer.error_code()), (400, "bad_request"), "{query}");
        assert!(answer.text().contains(reported), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn not_found_is_reported_as_json() {
    let server = Server::start().await;
    for (method, path, status, code) in [
        ("GET", "/api/v1/jobs/none", 404, "not_found"),
        ("GET", "/api/v1/jobs/%2e%2e%2fetc", 404, "not_found"),
        ("GET", "/api/v1/jobs/%ff", 400, "bad_request"),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/assets/../web.rs", 404, "not_found"),
        ("POST", "/api/v1/queues", 405, "method_not_allowed"),
        ("DELETE", "/api/v1/jobs/job-00", 405, "method_not_allowed"),
        ("POST", "/", 405, "method_not_allowed"),
    ] {
        let answer = server.send(method, path, "").await;
        assert_eq!((answer.status, &*answer.error_code()), (status, code), "{method} {path}");
    }
}

#[tokio::test]
async fn a_large_body_is_refused_unread() {
    let answer = Server::start().await.send("GET", "/healthz", "content-length: 20000\r\n").await;
    assert_eq!((answer.status, &*answer.error_code()), (413, "too_large"));
}

#[tokio::test]
async fn a_path_without_end_is_refused_in_few_words() {
    let server = Server::start().await;
    let long = |length| "a".repeat(length);
    let answer = server.get(&format!("/api/v1/jobs?name={}", long(9_000))).await;
    assert_eq!((answer.status, &*answer.error_code()), (414, "uri_too_long"));
    for length in [60_000, 200_000] {
        let answer = server.get(&format!("/api/v1/jobs?name={}", long(length))).await;
        assert!([414, 431].contains(&answer.status), "{}", answer.status);
    }
    let many = server.get(&format!("/api/v1/jobs?{}", "limit=1&".repeat(900))).await;
    assert_eq!((many.status, &*many.error_code()), (400, "bad_request"));
    for query in [format!("{}=1", long(7_000)), format!("limit={}", long(7_000)), format!("after={}", long(7_000))] {
        let answer = server.get(&format!("/api/v1/jobs?{query}")).await;
        assert!(answer.status == 400 && answer.body.len() < 1_000, "{} bytes", answer.body.len());
    }
}

#[tokio::test]
async fn odd_requests_get_plain_answers() {
    let server = Server::start().await;
    for (method, path, status) in [
        ("GET", "/api/v1/jobs?name=%ff", 400),
        ("GET", "/api/v1/jobs?%ff=1", 400),
        ("GET", "/api/v1/jobs?name=%F0%9F%9A%82", 200),
        ("GET", "/api/v1/jobs?after=99999999999999999999_job", 400),
        ("GET", "/api/v1/jobs?after=9223372036854775807_job", 200),
        ("GET", "/api/v1/jobs?after=-9223372036854775808_", 200),
        ("GET", "/api/v1/jobs?limit=18446744073709551617", 400),
        ("GET", "/api/v1/jobs?&&&", 200),
        ("OPTIONS", "/api/v1/jobs", 405),
        ("OPTIONS", "*", 404),
        ("TRACE", "/", 405),
        ("BREW", "/healthz", 405),
        ("HEAD", "/api/v1/jobs?limit=1", 200),
        ("HEAD", "/metrics", 200),
    ] {
        assert_eq!(server.send(method, path, "").await.status, status, "{method} {path}");
    }
}
