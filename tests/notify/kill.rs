//! Cases in which Alertmanager loses or duplicates alerts, with a real process, a real state file and a real SIGKILL:
//! a receiver that returns 429, an alert that ends before it could be sent, a kill, a FIFO topic, two services at
//! once.
//!
//! The process is this test binary, run again with the part of a service that commits and notifies.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sns::config::BehaviorVersion;
use aws_sdk_sns::config::Credentials;
use aws_sdk_sns::config::Region;
use aws_sdk_sns::config::retry::RetryConfig;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trainspotter::config::Channel;
use trainspotter::config::Endpoint;
use trainspotter::config::Receiver;
use trainspotter::config::Secret;
use trainspotter::notify::Integration;
use trainspotter::notify::Notifiers;
use trainspotter::notify::Sns;
use trainspotter::notify::Webhook;
use trainspotter::notify::outbox;
use trainspotter::notify::outbox::NotificationId;
use trainspotter::notify::sample_alerts;
use trainspotter::store::Commit;
use trainspotter::store::Store;
use trainspotter::store::StoreHandle;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

const FIRED: TransitionKind = TransitionKind::Fired;
const RESOLVED: TransitionKind = TransitionKind::Resolved(ResolveReason::Recovered);
const PATIENCE: Duration = Duration::from_secs(300);

/// `Retry-After` of a receiver that returns 429.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The service cuts its timestamps to milliseconds.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Set for the process to be killed: the state file, the receiver's address, and the alerts to commit.
const VARIABLES: [&str; 3] = ["TRAINSPOTTER_TEST_STATE", "TRAINSPOTTER_TEST_URL", "TRAINSPOTTER_TEST_COMMITS"];

/// Passed as the address of a receiver to select SNS.
const FIFO_TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts.fifo";

#[tokio::test]
async fn after_a_kill_the_resolve_is_sent_and_the_firing_not_again() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut reported) = hook(&[200]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut reported).await, id(FIRED));
    until_delivered(&state).await;
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut reported).await, id(RESOLVED));
    kill(second).await;
    assert!(reported.ids.is_empty(), "the firing was sent twice");
}

#[tokio::test]
async fn after_a_kill_with_a_hanging_receiver_firing_and_resolve_arrive_in_order_with_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    // Status 0 means no response.
    let (url, mut reported) = hook(&[0]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut reported).await, id(FIRED));
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut reported).await, id(FIRED));
    assert_eq!(next(&mut reported).await, id(RESOLVED));
    kill(second).await;
}

#[tokio::test]
async fn refused_once_with_429_then_resolved_and_killed_it_loses_neither_end() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut reported) = hook(&[429, 429]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut reported).await, id(FIRED));
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut reported).await, id(FIRED));
    assert_eq!(next(&mut reported).await, id(FIRED));
    assert_eq!(next(&mut reported).await, id(RESOLVED));
    kill(second).await;
}

#[tokio::test]
async fn a_429_is_tried_again_as_soon_as_the_receiver_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut reported) = hook(&[429]).await;
    let process = process(&state, &url, "fired");
    assert_eq!(next(&mut reported).await, id(FIRED));
    assert_eq!(next(&mut reported).await, id(FIRED));
    let passed = reported.arrived[1] - reported.arrived[0];
    // How much later depends on the load of the machine.
    assert!(RETRY_AFTER <= passed + CLOCK_STEP, "{passed:?}");
    until_delivered(&state).await;
    kill(process).await;
}

#[tokio::test]
async fn a_fifo_topic_drops_no_resolve_as_a_double_and_no_double_as_news() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut reported) = hook(&[0]).await;
    let url = format!("{FIFO_TOPIC} {url}");
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut reported).await, id(FIRED));
    kill(first).await;
    let second = process(&state, &url, "resolved");
    assert_eq!(next(&mut reported).await, id(FIRED), "SNS drops it by its deduplication id, if it had taken the first");
    assert_eq!(next(&mut reported).await, id(RESOLVED), "it has one of its own");
    kill(second).await;
}

#[tokio::test]
async fn of_two_services_with_one_state_file_the_second_waits_until_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let (url, mut reported) = hook(&[]).await;
    let first = process(&state, &url, "fired");
    assert_eq!(next(&mut reported).await, id(FIRED));
    until_delivered(&state).await;
    let second = process(&state, &url, "resolved");
    // Long enough for the second to have sent it, if it did not wait.
    assert!(tokio::time::timeout(Duration::from_secs(2), reported.ids.recv()).await.is_err(), "both tell");
    kill(first).await;
    assert_eq!(next(&mut reported).await, id(RESOLVED));
    kill(second).await;
}

/// Not a test: the process that the others kill.
#[tokio::test]
async fn the_process_that_is_killed() {
    let [Ok(state), Ok(url), Ok(commits)] = VARIABLES.map(std::env::var) else { return };
    let clock = Clock::real();
    let (store, _) = StoreHandle::open(Path::new(&state), clock.now()).await.unwrap();
    let receiver = Receiver::new("oncall", Channel::sns(String::new()));
    let kind = if commits == "fired" { FIRED } else { RESOLVED };
    let rows = outbox::rows(&[transition(kind)], std::slice::from_ref(&receiver), clock.now());
    store.commit(Arc::new(Commit { at: clock.now(), outbox: rows, ..Commit::default() })).await.unwrap();
    let integration = match url.split_once(' ') {
        Some((topic, endpoint)) => Integration::Sns(Sns::new(topic, sns(endpoint))),
        None => {
            Integration::Webhook(Webhook::new(&Endpoint { url: Secret::new(url), allow_loopback: true }, &[]).unwrap())
        }
    };
    let (_notifiers, mut tasks) = Notifiers::new(vec![(receiver, integration)], None, &store, clock);
    tokio::time::timeout(PATIENCE, tasks.remove(0).run(CancellationToken::new())).await.ok();
}

fn process(state: &Path, url: &str, commits: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["kill::the_process_that_is_killed", "--exact"])
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
    let mut transition = sample_alerts::test("oncall", at).transition;
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

/// A client without retries: the outbox retries.
fn sns(endpoint: &str) -> aws_sdk_sns::Client {
    let config = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .build();
    aws_sdk_sns::Client::from_conf(config)
}

type Script = (mpsc::UnboundedSender<(Instant, String)>, Arc<std::sync::Mutex<Vec<u16>>>);

/// The ids that a [`hook`] received.
struct Reported {
    ids: mpsc::UnboundedReceiver<(Instant, String)>,
    /// When the ids that [`next`] has returned arrived. Taken by the hook before it responds, so that waits of the
    /// service are measured from no later than they begin.
    arrived: Vec<Instant>,
}

/// A receiver with scripted statuses that then accepts everything. It acts as a webhook or as SNS, depending on the
/// request.
async fn hook(answers: &[u16]) -> (String, Reported) {
    let (sender, ids) = mpsc::unbounded_channel();
    let answers = Arc::new(std::sync::Mutex::new(answers.iter().rev().copied().collect::<Vec<_>>()));
    let take = async |State((sender, answers)): State<Script>, headers: HeaderMap, body: String| {
        let arrived = Instant::now();
        let deduplication = || body.split('&').find_map(|pair| pair.strip_prefix("MessageDeduplicationId="));
        let id = headers.get("webhook-id").map(|id| id.to_str().unwrap());
        sender.send((arrived, id.or_else(deduplication).unwrap().to_owned())).unwrap();
        let status = answers.lock().unwrap().pop().unwrap_or(200);
        if status == 0 {
            std::future::pending::<()>().await;
        }
        let taken = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
        let retry_after = [("retry-after", RETRY_AFTER.as_secs().to_string())];
        (StatusCode::from_u16(status).unwrap(), retry_after, taken)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = Router::new().fallback(take).with_state((sender, answers));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, Reported { ids, arrived: Vec::new() })
}

async fn next(reported: &mut Reported) -> String {
    let (arrived, id) = tokio::time::timeout(PATIENCE, reported.ids.recv()).await.unwrap().unwrap();
    reported.arrived.push(arrived);
    id
}
