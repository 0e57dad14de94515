//! What Alertmanager loses or doubles when it is killed, done to a real process with a real state file and a real SIGKILL.
//!
//! The process is this test binary, run again with the part of a service that commits and notifies.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use trainspotter::clock::Clock;
use trainspotter::config::Channel;
use trainspotter::config::Endpoint;
use trainspotter::config::Receiver;
use trainspotter::config::Secret;
use trainspotter::evaluate::Ending;
use trainspotter::evaluate::Transition;
use trainspotter::evaluate::TransitionKind;
use trainspotter::model::Timestamp;
use trainspotter::notify::Courier;
use trainspotter::notify::Notifiers;
use trainspotter::notify::Webhook;
use trainspotter::notify::outbox;
use trainspotter::notify::outbox::NotificationId;
use trainspotter::notify::sample;
use trainspotter::store::Commit;
use trainspotter::store::Store;
use trainspotter::store::StoreHandle;

const FIRED: TransitionKind = TransitionKind::Fired;
const RESOLVED: TransitionKind = TransitionKind::Resolved(Ending::Recovered);
const PATIENCE: Duration = Duration::from_secs(30);

/// Set for the process that is killed: the state file, the webhook, and what it commits.
const VARIABLES: [&str; 3] = ["TRAINSPOTTER_TEST_STATE", "TRAINSPOTTER_TEST_URL", "TRAINSPOTTER_TEST_COMMITS"];

#[tokio::test]
async fn after_a_kill_the_resolve_is_told_and_the_firing_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut told) = hook(&[200]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut told).await, id(FIRED));
    until_delivered(&state).await;
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut told).await, id(RESOLVED));
    kill(second).await;
    assert!(told.is_empty(), "the firing was told twice");
}

#[tokio::test]
async fn killed_while_the_receiver_hangs_it_tells_both_ends_in_order_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    // Status 0 is no answer at all.
    let (url, mut told) = hook(&[0]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut told).await, id(FIRED));
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut told).await, id(FIRED));
    assert_eq!(next(&mut told).await, id(RESOLVED));
    kill(second).await;
}

#[tokio::test]
async fn refused_once_with_429_then_resolved_and_killed_it_loses_neither_end() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut told) = hook(&[429, 429]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut told).await, id(FIRED));
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut told).await, id(FIRED));
    assert_eq!(next(&mut told).await, id(FIRED));
    assert_eq!(next(&mut told).await, id(RESOLVED));
    kill(second).await;
}

/// Not a test of its own: the process that the others kill.
#[tokio::test]
async fn the_process_that_is_killed() {
    let [Ok(state), Ok(url), Ok(commits)] = VARIABLES.map(std::env::var) else { return };
    let clock = Clock::real();
    let (store, _) = StoreHandle::open(Path::new(&state), clock.now()).await.unwrap();
    let receiver = Receiver::new("oncall", Channel::Sns { topic: String::new() });
    let kind = if commits == "fired" { FIRED } else { RESOLVED };
    let rows = outbox::rows(&[transition(kind)], std::slice::from_ref(&receiver), clock.now());
    store.commit(Arc::new(Commit { at: clock.now(), outbox: rows, ..Commit::default() })).await.unwrap();
    let webhook = Webhook::new(&Endpoint { url: Secret::new(url), allow_loopback: true }, &[]).unwrap();
    let (_notifiers, mut tasks) = Notifiers::new(vec![(receiver, Courier::Webhook(webhook))], None, &store, clock);
    tokio::time::timeout(PATIENCE, tasks.remove(0).run(CancellationToken::new())).await.ok();
}

fn process(state: &Path, url: &str, commits: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["the_process_that_is_killed", "--exact"])
        .env(VARIABLES[0], state)
        .env(VARIABLES[1], url)
        .env(VARIABLES[2], commits)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// SIGKILL, on Unix.
async fn kill(mut process: Child) {
    process.kill().await.unwrap();
}

fn transition(kind: TransitionKind) -> Transition {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let mut transition = sample::test("oncall", at).transition;
    transition.kind = kind;
    transition
}

fn id(kind: TransitionKind) -> String {
    NotificationId::of(&transition(kind), "oncall").to_string()
}

async fn until_delivered(state: &Path) {
    let (store, _) = Store::open(state, Timestamp::from_millis(0)).unwrap();
    let waiting = async {
        while store.outbox().unwrap().iter().any(|row| row.state.as_str() != "delivered") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

type Script = (mpsc::UnboundedSender<String>, Arc<std::sync::Mutex<Vec<u16>>>);

/// A receiver that answers with these statuses, and then takes everything.
async fn hook(answers: &[u16]) -> (String, mpsc::UnboundedReceiver<String>) {
    let (sender, told) = mpsc::unbounded_channel();
    let answers = Arc::new(std::sync::Mutex::new(answers.iter().rev().copied().collect::<Vec<_>>()));
    let take = async |State((sender, answers)): State<Script>, headers: HeaderMap| {
        sender.send(headers["webhook-id"].to_str().unwrap().to_owned()).unwrap();
        let status = answers.lock().unwrap().pop().unwrap_or(200);
        if status == 0 {
            std::future::pending::<()>().await;
        }
        StatusCode::from_u16(status).unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = Router::new().fallback(take).with_state((sender, answers));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, told)
}

async fn next(told: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap()
}
