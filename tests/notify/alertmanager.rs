//! A real Alertmanager accepts our posts, shows the alert while it fires, and resolves it on our resolve.
//!
//! The binary is `prometheus-alertmanager` on the path, or the one named by `TRAINSPOTTER_ALERTMANAGER`. Without one
//! this test is skipped with a message, unless `TRAINSPOTTER_PEERS` requires peers.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::ports;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{Channel, Endpoint, Receiver, Secret};
use trainspotter::notify::message::Message;
use trainspotter::notify::{Alertmanager, Deliver as _, Integration, Notifiers, outbox, sample_alerts};
use trainspotter::store::{Commit, StoreHandle};
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, AlertId, ResolveReason, Transition, TransitionKind};

const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test]
async fn a_real_alertmanager_shows_the_alert_until_it_is_resolved() {
    let named = std::env::var("TRAINSPOTTER_ALERTMANAGER").unwrap_or_else(|_| "prometheus-alertmanager".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("alertmanager.yml");
    std::fs::write(&config, "route: { receiver: none }\nreceivers: [{ name: none }]\n").unwrap();
    let address = format!("127.0.0.1:{}", ports::for_program());
    let started = Command::new(&named)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.path().display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--cluster.listen-address=")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let Ok(_alertmanager) = started else {
        assert!(std::env::var_os("TRAINSPOTTER_PEERS").is_none(), "{named} is required");
        eprintln!("skipped: no {named}");
        return;
    };
    let root = format!("http://{address}");
    until(&root, |alerts| alerts.is_empty()).await;
    let endpoint = Endpoint { url: Secret::new(root.clone()), allow_loopback: true };
    let integration = Integration::Alertmanager(Alertmanager::new(&endpoint).unwrap());

    let clock = Clock::real();
    let mut row = sample_alerts::test("existing", clock.now() - Duration::from_secs(5));
    let send = async |row: &_| integration.deliver(&Message::of(row, Some("https://spotter.example")), &clock).await;
    send(&row).await.unwrap();
    // Sent twice, as after a crash: still one alert.
    send(&row).await.unwrap();
    let alerts = until(&root, |alerts| !alerts.is_empty()).await;
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0]["labels"]["alertname"], "TestNotification");
    assert_eq!(alerts[0]["status"]["state"], "active");
    assert!(alerts[0]["generatorURL"].as_str().unwrap().starts_with("https://spotter.example/alerts/"));
    let ends_at: jiff::Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
    let minutes = (ends_at.as_millisecond() - clock.now().millis()) / 60_000;
    assert!((3..=5).contains(&minutes), "it ends by itself when nobody repeats it, and not before: {ends_at}");

    row.transition.kind = TransitionKind::Resolved(ResolveReason::Recovered);
    row.transition.at = clock.now();
    send(&row).await.unwrap();
    until(&root, |alerts| alerts.is_empty()).await;
}

/// The alerts that it shows, once they are as wanted.
async fn until(root: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let http = reqwest::Client::builder().tls_certs_only([]).build().unwrap();
    let waiting = async {
        loop {
            if let Ok(answer) = http.get(format!("{root}/api/v2/alerts")).send().await
                && let Ok(alerts) = answer.json::<Vec<Value>>().await
                && wanted(&alerts)
            {
                return alerts;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}

/// A fake that stores its posts: whether each alert is reported as firing, by alert. It returns 404 while requested
/// to.
#[derive(Clone, Default)]
struct Posted(Arc<Mutex<Vec<BTreeMap<String, bool>>>>, Arc<AtomicBool>);

impl Posted {
    async fn serve(&self, clock: Clock) -> Endpoint {
        let posted = self.clone();
        let take = move |Json(alerts): Json<Vec<Value>>| async move {
            let fires = |alert: &Value| {
                let ends_at: jiff::Timestamp = alert["endsAt"].as_str().unwrap().parse().unwrap();
                (alert["labels"]["queue"].as_str().unwrap().to_owned(), ends_at.as_millisecond() > clock.now().millis())
            };
            posted.0.lock().unwrap().push(alerts.iter().map(fires).collect());
            if posted.1.load(Ordering::SeqCst) { StatusCode::NOT_FOUND } else { StatusCode::OK }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Secret::new(format!("http://{}", listener.local_addr().unwrap()));
        let app = Router::new().route("/api/v2/alerts", post(take));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Endpoint { url, allow_loopback: true }
    }

    /// Waits for `count` posts after `from` that match, and returns all posts since then.
    async fn until(
        &self,
        from: usize,
        count: usize,
        wanted: impl Fn(&BTreeMap<String, bool>) -> bool,
    ) -> Vec<BTreeMap<String, bool>> {
        let waiting = async {
            loop {
                let since = self.0.lock().unwrap()[from..].to_vec();
                if since.iter().filter(|post| wanted(post)).count() >= count {
                    return since;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn reported(queue: &str, kind: TransitionKind, at: Timestamp) -> Transition {
    let mut transition = sample_alerts::test("existing", at).transition;
    let alert = &mut transition.alert;
    alert.by = BTreeMap::from([("queue".to_owned(), queue.to_owned())]);
    alert.labels.insert("queue".to_owned(), queue.to_owned());
    alert.id = AlertId::of(&alert.rule, &alert.by);
    Transition { kind, ..transition }
}

#[tokio::test]
async fn what_fires_is_posted_again_until_it_ends_and_after_a_restart_too() {
    let clock = Clock::fast(60.0);
    let posted = Posted::default();
    let endpoint = posted.serve(clock).await;
    let receiver =
        Receiver::new("existing", Channel::Alertmanager { endpoint: endpoint.clone(), headers: BTreeMap::new() });
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(&folder.path().join("state.db"), clock.now()).await.unwrap().0;
    let start = || {
        let integration = Integration::Alertmanager(Alertmanager::new(&endpoint).unwrap());
        let (notifiers, tasks) = Notifiers::new(vec![(receiver.clone(), integration)], None, &store, clock);
        let stop = CancellationToken::new();
        let running: Vec<_> = tasks.into_iter().map(|task| tokio::spawn(task.run(stop.clone()))).collect();
        (notifiers, stop, running)
    };
    let fired_at = clock.now();
    let fired = ["a", "b"].map(|queue| reported(queue, TransitionKind::Fired, fired_at));
    let commit = async |transitions: &[Transition], alerts: Vec<Alert>| {
        let outbox = outbox::rows(transitions, std::slice::from_ref(&receiver), clock.now());
        let commit = Commit { at: clock.now(), alerts, outbox, ..Commit::default() };
        store.commit(Arc::new(commit)).await.unwrap();
    };
    let (notifiers, stop, running) = start();
    commit(&fired, fired.iter().map(|transition| transition.alert.clone()).collect()).await;
    notifiers.committed();
    let both = |post: &BTreeMap<String, bool>| post.len() == 2 && post.values().all(|fires| *fires);
    posted.until(0, 2, both).await;
    stop.cancel();
    futures_util::future::join_all(running).await;

    let before = posted.len();
    let (notifiers, stop, running) = start();
    posted.until(before, 2, both).await;

    let before = posted.len();
    let ended = Transition {
        kind: TransitionKind::Resolved(ResolveReason::Recovered),
        at: clock.now(),
        ..reported("a", TransitionKind::Fired, fired_at)
    };
    commit(&[ended], vec![fired[1].alert.clone()]).await;
    notifiers.committed();
    let ends = |post: &BTreeMap<String, bool>| post.get("a") == Some(&false);
    let ended_by = before + posted.until(before, 1, ends).await.iter().position(ends).unwrap();
    let after = posted.until(ended_by + 1, 2, |post| post.get("b") == Some(&true)).await;
    assert!(after.iter().all(|post| !post.contains_key("a")), "what has ended comes back: {after:?}");
    stop.cancel();
    futures_util::future::join_all(running).await;
}

/// There are no new alerts to send, so that only the repetition can detect the unreachable receiver.
#[tokio::test]
async fn other_receivers_are_notified_of_an_unreachable_receiver_again() {
    let clock = Clock::fast(600.0);
    let posted = Posted::default();
    let endpoint = posted.serve(clock).await;
    let channel = Channel::Alertmanager { endpoint: endpoint.clone(), headers: BTreeMap::new() };
    let receiver = Receiver::new("existing", channel.clone());
    let folder = tempfile::tempdir().unwrap();
    let store = StoreHandle::open(&folder.path().join("state.db"), clock.now()).await.unwrap().0;
    let integrations = [receiver.clone(), Receiver::new("other", channel)]
        .map(|receiver| (receiver, Integration::Alertmanager(Alertmanager::new(&endpoint).unwrap())));
    let (notifiers, tasks) = Notifiers::new(integrations.into(), None, &store, clock);
    // The other receiver gets no messages here: its queue is inspected.
    let first = tasks.into_iter().next().unwrap();
    let running = tokio::spawn(first.run(CancellationToken::new()));
    let fired = reported("a", TransitionKind::Fired, clock.now());
    let outbox = outbox::rows(std::slice::from_ref(&fired), &[receiver], clock.now());
    let commit = Commit { at: clock.now(), alerts: vec![fired.alert], outbox, ..Commit::default() };
    store.commit(Arc::new(commit)).await.unwrap();
    notifiers.committed();
    posted.until(0, 1, |_| true).await;
    let waits_for_other = async |kind: &'static str| {
        let waiting = async {
            let is_there = |row: &outbox::OutboxRow| row.receiver == "other" && row.kind().as_str() == kind;
            while !store.call(|store| store.outbox()).await.unwrap().iter().any(is_there) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    };
    posted.1.store(true, Ordering::SeqCst);
    waits_for_other("fired").await;
    posted.1.store(false, Ordering::SeqCst);
    waits_for_other("resolved").await;
    running.abort();
}
