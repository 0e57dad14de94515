//! The pages in a real browser, if there is one: they render the API's data, comply with their security policy, and
//! do not interpret names as markup.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse as _};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;
use crate::web::{Access, Token};

#[tokio::test]
async fn the_overview_shows_the_values_of_the_api() {
    let server = Server::start().await;
    let Some((dom, messages)) = open(&format!("http://{}/", server.address)).await else { return };

    for (what, expected) in [
        ("the service's state", "2 alerts firing, 1 problem"),
        ("where it is bad", "<h1>2 alerts firing on research</h1>"),
        ("a firing alert", "ShareWaitsTooLong"),
        ("markup in a summary, as text", "&lt;b&gt;language&lt;/b&gt;"),
        ("a queue", ">research</a></h3>"),
        ("the oldest wait", "4h 10m"),
        ("the sum of the waterfall", "256 GPUs"),
        ("a cause of unallocated GPUs", "<strong>16</strong> no demand"),
        ("the longest-waiting job", "language-pretrain-0"),
        ("a reason", "Share at its limit"),
        ("a failure's category", "The job's own code"),
        ("a finding", "No job of audio has held an instance for 8 days."),
        ("a source in trouble", "research: rate exceeded (throttled)"),
        ("a silence", "UTC by ann: maintenance"),
        ("the title", "<title>(2) Overview · Trainspotter</title>"),
    ] {
        assert!(dom.contains(expected), "{what} is missing: {expected:?} in {dom}");
    }
    assert!(!dom.contains("No alert fires"), "all is well while an alert fires");
    assert!(!dom.contains("<b>language"), "a name became markup");
    assert!(!dom.contains("class=\"old\""), "the page takes fresh figures for old");
    assert!(!messages.contains("CONSOLE"), "the browser complains: {messages}");
}

/// The link of a message leads to the alert's page, as does a link of an earlier version; a resolved alert is still
/// shown.
#[tokio::test]
async fn the_link_of_a_message_leads_to_its_alert() {
    let server = Server::start().await;
    let alerts = server.get("/api/v1/alerts").await.json();
    let id = alerts[1]["id"].as_str().unwrap();
    for path in [format!("alerts/{id}"), format!("#alert-{id}")] {
        let Some((dom, messages)) = open(&format!("http://{}/{path}", server.address)).await else { return };
        assert!(dom.contains("<p class=\"lead\">audio waits 35m (p95)</p>"), "{path}: {dom}");
        assert!(dom.contains("above 30m for 10m; resolves at 20m"), "{path}: {dom}");
        assert!(!messages.contains("CONSOLE"), "the browser complains: {messages}");
    }
    let ended = fixture_snapshot::past_alerts().pop().unwrap().alert.id;
    let Some((dom, _)) = open(&format!("http://{}/alerts/{ended}", server.address)).await else { return };
    assert!(dom.contains("2026-02-24 23:40 UTC") && dom.contains("the condition no longer holds"), "{dom}");
    let Some((dom, _)) = open(&format!("http://{}/alerts/0123456789abcdef", server.address)).await else { return };
    assert!(dom.contains("it ended more than 30 days ago, or was a test notification"), "{dom}");
    let Some((dom, messages)) = open(&format!("http://{}/runbooks/LongWait", server.address)).await else { return };
    assert!(dom.contains("<h1>A job has waited long</h1>") && !messages.contains("CONSOLE"), "{dom} {messages}");
    assert!(dom.contains("2 alerts firing"), "the state of the service stands above a runbook, too: {dom}");
}

#[tokio::test]
async fn the_pages_work_behind_a_path_of_a_proxy() {
    let server = Server::behind("https://ops.example.com/trainspotter").await;
    // Without the trailing `/` the browser is redirected to it.
    let Some((dom, messages)) = open(&format!("http://{}/trainspotter", server.address)).await else { return };
    assert!(dom.contains(">research</a></h3>"), "{dom}");
    assert!(!messages.contains("CONSOLE"), "the browser complains: {messages}");
    let id = &fixture_snapshot::snapshot().alerts[1].id;
    let Some((dom, _)) = open(&format!("http://{}/trainspotter/alerts/{id}", server.address)).await else { return };
    assert!(dom.contains("/trainspotter/queues/research\""), "{dom}");
}

/// A page that requires a token asks for it; with the token in its tab the browser gets the page and all its data.
#[tokio::test]
async fn the_token_of_a_tab_opens_the_page() {
    let token = "read-token-of-bo-0001";
    let server = Server::with_tokens(Access::new([Token::new("bo", token, false)]), None).await;
    let Some((dom, _)) = open(&format!("http://{}/runbooks/LongWait", server.address)).await else { return };
    assert!(dom.contains("<form id=\"sign-in\">") && !dom.contains("A job has waited long"), "{dom}");
    let address = with_a_token(server.address, token).await;
    for (path, expected) in [("", ">research</a></h3>"), ("runbooks/LongWait", "<h1>A job has waited long</h1>")] {
        let Some((dom, messages)) = open(&format!("http://{address}/test/{path}")).await else { return };
        assert!(dom.contains(expected) && !dom.contains("id=\"sign-in\""), "{path}: {dom} {messages}");
        assert!(!dom.contains(token) && !messages.contains("Uncaught"), "{messages}");
    }
    let address = with_a_token(server.address, "a-token-of-nobody-0001").await;
    let Some((dom, _)) = open(&format!("http://{address}/test/")).await else { return };
    assert!(dom.contains("Unknown token") && !dom.contains("research"), "{dom}");
}

/// A proxy to the server at another port, where a page below `/test` stores a token in the tab and continues to the
/// page of that path.
async fn with_a_token(server: std::net::SocketAddr, token: &'static str) -> std::net::SocketAddr {
    let pass = async move |request: Request| {
        if let Some(path) = request.uri().path().strip_prefix("/test") {
            let page = format!(
                "<script>sessionStorage.setItem('trainspotter.token', '{token}'); location.replace('{path}')</script>"
            );
            return Html(page).into_response();
        }
        let asked = reqwest::Client::new().get(format!("http://{server}{}", request.uri()));
        let headers =
            [ACCEPT, AUTHORIZATION].into_iter().filter_map(|name| Some((request.headers().get(&name)?.clone(), name)));
        let answer = headers.fold(asked, |asked, (value, name)| asked.header(name, value)).send().await.unwrap();
        let kind = answer.headers()[CONTENT_TYPE].clone();
        (answer.status(), [(CONTENT_TYPE, kind)], answer.bytes().await.unwrap()).into_response()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });
    address
}

/// Opens an address in headless Chromium, lets six seconds of the page's time pass, and returns the DOM and the
/// browser's log. `None`, with a message, if Chromium is missing and not required.
async fn open(address: &str) -> Option<(String, String)> {
    let profile = tempfile::tempdir().unwrap();
    let running = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"])
        .args(["--virtual-time-budget=6000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(address)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(Duration::from_secs(300), running).await.unwrap() {
        Ok(output) => Some((text(output.stdout), text(output.stderr))),
        Err(error) => {
            assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "Chromium is required: {error}");
            eprintln!("skipped: no chromium ({error})");
            None
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
