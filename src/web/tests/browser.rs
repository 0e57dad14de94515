//! The page in a real browser, if there is one: it draws what the API says, keeps to its policy, and takes no markup
//! from names.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::web::tests::Server;

#[tokio::test]
async fn the_page_draws_what_the_api_says() {
    let server = Server::start().await;
    let Some((dom, messages)) = open(&format!("http://{}/", server.address)).await else { return };

    for (what, expected) in [
        ("the service's state", "2 alerts firing, 1 source failing"),
        ("a firing alert", "ShareWaitsTooLong"),
        ("markup in a summary, as text", "&lt;b&gt;language&lt;/b&gt;"),
        ("a queue", "<h3>research</h3>"),
        ("the oldest wait", "4h 10m"),
        ("the sum of the waterfall", "256 GPUs"),
        ("a share's bar", "own 16, free 0, lent 0, borrowed 4"),
        ("the longest-waiting job", "language-pretrain-0"),
        ("a reason", "share at limit"),
        ("a loan's hours", ">25<"),
        ("a failure's category", "user code"),
        ("a finding", "No job of audio has held an instance for 8 days."),
        ("a source in trouble", "research: rate exceeded (throttled)"),
        ("the title", "<title>(2) Trainspotter</title>"),
    ] {
        assert!(dom.contains(expected), "{what} is missing: {expected:?} in {dom}");
    }
    assert!(!dom.contains("All is well"), "all is well while an alert fires");
    assert!(!dom.contains("<b>language"), "a name became markup");
    assert!(!dom.contains("class=\"old\""), "the page takes fresh figures for old");
    assert!(!messages.contains("CONSOLE"), "the browser complains: {messages}");
}

/// A message links to an alert: its element is there, marked; and if the alert is not there any more, the page says so.
#[tokio::test]
async fn the_link_of_a_message_leads_to_its_alert() {
    let server = Server::start().await;
    let alerts = server.get("/api/v1/alerts").await.json();
    let id = alerts[1]["id"].as_str().unwrap();
    let Some((dom, _)) = open(&format!("http://{}/#alert-{id}", server.address)).await else { return };
    let marked = dom.split("<li ").find(|item| item.contains(&format!("id=\"alert-{id}\""))).unwrap();
    assert!(marked.contains(" wanted\""), "{marked}");
    let Some((dom, _)) = open(&format!("http://{}/#alert-0123456789abcdef", server.address)).await else { return };
    assert!(
        dom.contains("id=\"alert-0123456789abcdef\"") && dom.contains("is not firing and has not resolved recently"),
        "{dom}"
    );
    let Some((dom, messages)) = open(&format!("http://{}/runbooks/LongWait", server.address)).await else { return };
    assert!(dom.contains("<h1>A job has waited long</h1>") && !messages.contains("CONSOLE"), "{dom} {messages}");
}

#[tokio::test]
async fn the_page_works_behind_a_path_of_a_proxy() {
    let server = Server::behind("https://ops.example.com/trainspotter").await;
    // Without the `/` at its end the page is led to where its files are.
    let Some((dom, messages)) = open(&format!("http://{}/trainspotter", server.address)).await else { return };
    assert!(dom.contains("<h3>research</h3>"), "{dom}");
    assert!(!messages.contains("CONSOLE"), "the browser complains: {messages}");
}

/// Opens an address in headless Chromium, lets six seconds of the page's time pass, and returns the document and what
/// the browser logged. `None`, with a word on it, where there is no Chromium and none is required.
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
