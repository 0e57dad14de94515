//! Refused requests, and time limits.

use std::io::Read as _;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::web::GRACE;
use crate::web::serve;
use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;

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
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    for path in ["/", "/healthz", "/api/v1/queues", "/api/v1/openapi.json"] {
        let answer = server.send("HEAD", path, "").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{path}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let server = Server::start().await;
    for path in ["/", "/assets/live.js", "/api/v1/queues", "/metrics", "/nothing", "/api/v1/jobs?limit=0"] {
        let answer = server.get(path).await;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-",
        ] {
            assert!(answer.has(header), "{path} lacks {header:?}: {}", answer.head);
        }
        assert!(!answer.has("server:"), "{path} names its server");
    }
}

#[tokio::test]
async fn answers_are_compressed_for_who_can_read_it() {
    let server = Server::start().await;
    let plain = server.get("/api/v1/queues").await;
    let packed = server.send("GET", "/api/v1/queues", "accept-encoding: gzip\r\n").await;
    assert!(!plain.has("content-encoding") && packed.has("content-encoding: gzip"));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&*packed.body).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
}

/// Every file that a page references exists, and complies with the pages' security policy.
#[tokio::test]
async fn the_pages_keep_to_their_own_policy() {
    let server = Server::start().await;
    let pages =
        ["/", "/alerts", "/alerts/1", "/jobs", "/jobs/1", "/queues/q", "/queues/q/shares/s", "/health", "/runbooks"];
    for page in pages {
        let html = server.get(page).await.text().to_owned();
        for forbidden in
            ["<style", " style=", " onclick=", "<script>", "http://", "https://", "{root}", "{main}", "{title}"]
        {
            assert!(!html.contains(forbidden), "{page} holds {forbidden:?}");
        }
        let root = "../".repeat(page.matches('/').count().saturating_sub(1));
        let scripts = html.split("src=\"").skip(1).filter_map(|rest| rest.split_once('"'));
        let script = scripts.map(|(path, _)| path).find(|path| path.ends_with(".js")).unwrap();
        assert!(script.trim_start_matches("./").starts_with(&root), "{page} names {script}");
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web/assets");
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let content_type = match name.rsplit_once('.') {
            Some((_, "js")) => "text/javascript",
            Some((_, "css")) => "text/css",
            _ => continue,
        };
        let answer = server.get(&format!("/assets/{name}")).await;
        assert_eq!(answer.status, 200, "{name} is not served");
        assert!(answer.has(&format!("content-type: {content_type}")), "{name}: {}", answer.head);
        if content_type == "text/css" {
            continue;
        }
        let text = answer.text().to_owned();
        assert!(text.lines().count() <= 500, "{name} is too long");
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"]
        {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(forbidden), "{name} uses {forbidden}");
        }
    }
    for vendored in ["uPlot.iife.min.js", "uPlot.min.css", "LICENSE"] {
        assert_eq!(server.get(&format!("/assets/vendor/{vendored}")).await.status, 200, "{vendored}");
    }
    assert!(server.get("/favicon.svg").await.has("content-type: image/svg+xml"));
}

/// Pages poll every few seconds; an unchanged response costs a few hundred bytes.
#[tokio::test]
async fn what_a_reader_has_is_not_sent_again() {
    let server = Server::start().await;
    let first = server.get("/api/v1/waterfall").await;
    let tag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    for known in [tag.clone(), format!("\"other\", {tag}"), tag.replace("w/", ""), "*".to_owned()] {
        let again =
            server.send("GET", "/api/v1/waterfall", &format!("if-none-match: {}\r\n", known.replace("w/", "W/"))).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
        assert!(again.has(&format!("etag: {tag}")), "{}", again.head);
    }
    let other = server.send("GET", "/api/v1/waterfall", "if-none-match: W/\"0123\"\r\n").await;
    assert_eq!((other.status, &other.body), (200, &first.body));
    server.snapshot.send_replace(fixture_snapshot::snapshot_at(fixture_snapshot::now() + Duration::from_secs(600)));
    let later =
        server.send("GET", "/api/v1/waterfall", &format!("if-none-match: {}\r\n", tag.replace("w/", "W/"))).await;
    assert_eq!(later.status, 200);
    assert!(!server.get("/api/v1/jobs?limit=0").await.has("etag"), "errors are not kept");
}

#[tokio::test]
async fn a_ledger_that_is_gone_is_not_an_empty_list() {
    let server = Server::serving(fixture_snapshot::snapshot(), mpsc::channel(1).0).await;
    for path in ["/api/v1/jobs", "/api/v1/jobs/job-00"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, &*answer.error_code()), (503, "no_answer"), "{path}");
        assert!(answer.has("retry-after: 2"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_ledger_that_hangs_costs_a_reader_ten_seconds() {
    let (jobs, mut questions) = mpsc::channel(1);
    let server = Server::serving(fixture_snapshot::snapshot(), jobs).await;
    let asking = async { server.get("/api/v1/jobs").await };
    let hanging = async {
        let question = questions.recv().await;
        // Nothing arrives from here on, so time can be skipped.
        tokio::time::pause();
        let hangs = tokio::time::Instant::now();
        (question, hangs)
    };
    let (answer, (_question, hangs)) = tokio::join!(asking, hanging);
    assert_eq!((answer.status, &*answer.error_code()), (504, "timed_out"));
    assert!((9..=10).contains(&hangs.elapsed().as_secs()), "{:?}", hangs.elapsed());
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

#[tokio::test]
async fn stopping_waits_for_open_requests_but_not_for_ever() {
    let (begun, mut has_begun) = mpsc::channel(1);
    let hangs = move || {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            std::future::pending::<()>().await;
        }
    };
    let router = axum::Router::new().route("/", axum::routing::get(hangs));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let serving = tokio::spawn(async move { serve(listener, router, None, stopped).await });

    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    has_begun.recv().await.unwrap();
    // Nothing arrives from here on, so time can be skipped.
    tokio::time::pause();
    let stopped = tokio::time::Instant::now();
    stop.cancel();
    serving.await.unwrap().unwrap();
    assert_eq!(stopped.elapsed().as_secs(), GRACE.as_secs());
}
