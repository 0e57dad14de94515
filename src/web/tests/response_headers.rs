//! Headers of responses: security, compression, caching; and what pages may load.

use std::io::Read as _;
use std::time::Duration;

use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;

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
