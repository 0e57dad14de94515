//! Typical questions of users, in a real browser: from a message's link to the answer, on desktop and phone, in
//! light and dark mode. Also takes the screenshots of `docs/PAGES.md`: `UPDATE_DOCS=1 cargo test questions`.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::web::tests::Server;
use crate::web::{Access, Token};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs a script of `tests/pages` against the fixture.
async fn run(script: &str, server: &Server, arguments: &[&str]) {
    run_below("", script, server, arguments).await;
}

/// Runs a script against the fixture below a path. Prints a message if Node or Chromium are missing and not required.
async fn run_below(path: &str, script: &str, server: &Server, arguments: &[&str]) {
    let is_there = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    if let Some(missing) = ["node", "chromium"].into_iter().find(|program| !is_there(program)) {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "{missing} is required");
        eprintln!("skipped: no {missing}");
        return;
    }
    let running = Command::new("node")
        .arg(root().join("tests/pages").join(script))
        .arg(format!("http://{}{path}", server.address))
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(580), running).await.unwrap().unwrap();
    let (printed, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{printed}");
    assert!(output.status.success(), "{script}: {printed}\n{complained}");
}

#[tokio::test]
async fn each_question_is_answered_on_any_device() {
    let pictures = std::env::var_os("UPDATE_DOCS").map(|_| "docs/pages");
    run("questions.mjs", &Server::lively().await, &pictures.into_iter().collect::<Vec<_>>()).await;
}

/// Names chosen by users are shown as text everywhere, whatever they contain.
#[tokio::test]
async fn names_that_hold_markup_are_text_on_every_page() {
    run("hostile_names.mjs", &Server::lively().await, &[]).await;
}

/// Long names, very many shares and a service that knows nothing yet.
#[tokio::test]
async fn pages_bear_extremes() {
    run("extremes.mjs", &Server::lively().await, &[]).await;
}

/// A token that may read, behind a proxy that serves the pages below a path.
#[tokio::test]
async fn signing_in_leads_on_below_a_path() {
    let token = "read-token-of-bo-0001";
    let access = Access::new([Token::new("bo", token, false)]);
    let server = Server::with_tokens(access, Some("https://ops.example.com/trainspotter")).await;
    run_below("/trainspotter", "sign_in.mjs", &server, &[token]).await;
}

/// Runs axe-core, if it is installed in `target/peers/axe`.
#[tokio::test]
async fn pages_are_accessible() {
    let axe = root().join("target/peers/axe/node_modules/axe-core/axe.min.js");
    if !axe.exists() {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "axe-core is required: .ci/run installs it");
        eprintln!("skipped: no axe-core at {}", axe.display());
        return;
    }
    run("accessible.mjs", &Server::lively().await, &[axe.to_str().unwrap()]).await;
}

/// An open page without new data costs little, and a hidden one nothing.
#[tokio::test]
async fn an_open_page_costs_little() {
    run("cost.mjs", &Server::lively().await, &[]).await;
}
