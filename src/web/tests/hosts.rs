//! Host names and paths of requests.

use crate::web::tests::{Server, roles};

#[tokio::test]
async fn a_name_that_may_be_pointed_here_by_anybody_is_refused() {
    let server = Server::start().await;
    for host in ["evil.example", "evil.example:80", "localhost.evil.example"] {
        for path in ["/", "/metrics", "/api/v1/jobs", "/nothing"] {
            let answer = server.send_to(host, "GET", path, "").await;
            assert_eq!((answer.status, &*answer.error_code()), (403, "forbidden_host"), "{host} {path}");
            assert!(answer.text().contains("external_url"), "{}", answer.text());
            assert!(answer.has("x-content-type-options: nosniff"), "{}", answer.head);
        }
        let absolute = server.send_to("localhost", "GET", &format!("http://{host}/healthz"), "").await;
        assert_eq!(absolute.status, 403, "{host}");
    }
    for (method, path, body, _) in roles::pages().into_iter().chain(roles::routes()) {
        let answer = server.send_with("evil.example", &method, &path, "content-type: application/json\r\n", body).await;
        assert_eq!((answer.status, &*answer.error_code()), (403, "forbidden_host"), "{method} {path}");
    }
    for host in ["localhost:9464", "127.0.0.1", "[::1]:1", "10.1.2.3:9464", ""] {
        assert_eq!(server.send_to(host, "GET", "/healthz", "").await.status, 200, "{host}");
    }
    assert_eq!(server.send("GET", "/healthz", "host: evil.example\r\n").await.status, 403, "a second name");
}

#[tokio::test]
async fn the_path_of_the_external_url_may_be_passed_on_or_left_out() {
    let server = Server::behind("https://ops.example.com/trainspotter").await;
    for path in
        ["/", "/trainspotter/", "/trainspotter/assets/live.js", "/assets/live.js", "/trainspotter/api/v1/jobs?limit=1"]
    {
        assert_eq!(server.send_to("ops.example.com", "GET", path, "").await.status, 200, "{path}");
    }
    let folder = server.get("/trainspotter").await;
    assert!(folder.status == 308 && folder.has("location: /trainspotter/"), "{}", folder.head);
    assert_eq!(server.get("/trainspotters/").await.status, 404);
}

#[tokio::test]
async fn the_page_names_everything_relative_to_itself() {
    let server = Server::start().await;
    for path in [
        "/",
        "/assets/live.js",
        "/assets/overview.js",
        "/assets/gpus.js",
        "/assets/format.js",
        "/assets/page.css",
        "/assets/token.js",
        "/assets/sign_in.js",
    ] {
        let text = server.get(path).await.text().to_owned();
        for absolute in ["=\"/", "(\"/", " \"/", "`/", "url(/"] {
            assert!(!text.contains(absolute), "{path} holds {absolute:?}");
        }
    }
}
