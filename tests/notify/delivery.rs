//! Delivery over real sockets: a store, a notifier and misbehaving receivers.

mod flaky_store;
mod hook;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use trainspotter::config::Receiver;
use trainspotter::config::Secret;
use trainspotter::notify::Integration;
use trainspotter::notify::Notifiers;
use trainspotter::notify::Outcome;
use trainspotter::notify::outbox;
use trainspotter::notify::outbox::NotificationId;
use trainspotter::notify::outbox::RowState;
use trainspotter::notify::silence::Silence;
use trainspotter::store::Commit;
use trainspotter::store::Selection;
use trainspotter::store::Store;
use trainspotter::store::StoreHandle;
use trainspotter_clock::Clock;
use trainspotter_core::model::Matchers;
use trainspotter_core::model::Timestamp;

use crate::support::reserved_address::ReservedAddress;
use flaky_store::Flaky;
use hook::{Answer, Hook, TOKEN};
use service::{FIRED, RESOLVED, Service, hook, id, open, receiver, transition, within};

#[tokio::test]
async fn a_firing_and_its_resolve_arrive_in_order_under_their_own_ids() {
    let mut hook = Hook::start([]).await;
    let service = Service::start(Clock::real(), [("oncall", &hook)]);
    service.commit(&[transition("a", FIRED)]).await;
    let fired = hook.next().await;
    service.commit(&[transition("a", RESOLVED)]).await;
    let resolved = hook.next().await;
    assert_eq!(fired.id, id("a", FIRED, "oncall").as_str());
    assert_eq!(resolved.id, id("a", RESOLVED, "oncall").as_str());
    assert_eq!((fired.status(), resolved.status()), ("firing", "resolved"));
    assert_eq!(fired.body["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
    assert_eq!(fired.body["receiver"], "oncall");
    assert_eq!(fired.body["externalURL"], "https://spotter.example");
    assert_eq!(fired.header("content-type"), "application/json");
    assert!(fired.header("user-agent").starts_with("trainspotter/"));
    let age =
        Clock::real().now().seconds_since(Timestamp::from_secs_f64(fired.header("webhook-timestamp").parse().unwrap()));
    assert!(age < 60.0, "{age}");
    let (counts, rows) = service.stop().await;
    assert_eq!(counts, BTreeMap::from([(("oncall".to_owned(), Outcome::Delivered), 2)]));
    assert!(rows.iter().all(|row| matches!(row.state, RowState::Delivered { .. }) && row.attempts == 1));
}

#[tokio::test]
async fn what_fails_is_sent_again_under_the_same_id() {
    for answer in [Answer::Status(500), Answer::Status(503), Answer::Status(408), Answer::Status(425), Answer::Cut] {
        let mut hook = Hook::start([answer.clone()]).await;
        let service = Service::start(Clock::fast(100.0), [("oncall", &hook)]);
        service.commit(&[transition("a", FIRED)]).await;
        let (first, second) = (hook.next().await, hook.next().await);
        assert_eq!(first.id, second.id, "{answer:?}");
        assert_eq!(first.body, second.body, "{answer:?}");
        let (counts, rows) = service.stop().await;
        assert_eq!(counts[&("oncall".to_owned(), Outcome::Retried)], 1, "{answer:?}");
        assert_eq!(rows[0].attempts, 2, "{answer:?}");
        let error = rows[0].last_error.as_ref().unwrap();
        assert!(error.starts_with("127.0.0.1") && !error.contains(TOKEN), "{error}");
    }
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it() {
    // The clock is so fast that without the header every retry would follow at once.
    let mut hook = Hook::start([Answer::RetryAfter(429, 1), Answer::RetryAfter(503, 1)]).await;
    let service = Service::start(Clock::fast(1_000.0), [("oncall", &hook)]);
    service.commit(&[transition("a", FIRED), transition("b", FIRED)]).await;
    let calls = [hook.next().await, hook.next().await, hook.next().await];
    for pair in calls.windows(2) {
        let gap = pair[1].at - pair[0].at;
        assert!(gap >= Duration::from_millis(990), "{gap:?}");
    }
    service.stop().await;
}

#[tokio::test]
async fn an_alert_that_came_and_went_while_the_receiver_was_down_is_sent_in_order() {
    let reserved = ReservedAddress::reserve();
    let clock = Clock::fast(100.0);
    let url = Secret::new(format!("http://{}/{TOKEN}", reserved.address));
    let service = Service::with_urls(clock, vec![("oncall", url)]);
    service.commit(&[transition("a", FIRED)]).await;
    service.until(|rows| rows[0].attempts >= 2).await;
    service.commit(&[transition("a", RESOLVED)]).await;
    service.until(|rows| rows[0].attempts >= 4).await;
    let mut hook = Hook::start_on(reserved.listen(), []);
    let (first, second) = (hook.next().await, hook.next().await);
    assert_eq!(first.id, id("a", FIRED, "oncall").as_str());
    assert_eq!(second.id, id("a", RESOLVED, "oncall").as_str());
    let (_, rows) = service.stop().await;
    assert_eq!(rows[1].attempts, 1, "the resolve was not tried before its firing was delivered");
}

#[tokio::test]
async fn a_receiver_that_hangs_is_given_up_on_and_tried_again() {
    let mut hook = Hook::start([Answer::Hang]).await;
    let receivers = vec![("oncall", hook.url())];
    let store = Store::in_memory().unwrap();
    let service = Service::giving_up(Duration::from_millis(300), store, Clock::fast(100.0), receivers);
    service.commit(&[transition("a", FIRED)]).await;
    let (first, second) = (hook.next().await, hook.next().await);
    assert_eq!(first.id, second.id);
    let (_, rows) = service.stop().await;
    assert_eq!(rows[0].last_error.as_deref(), Some("no response within 300ms"));
}

#[tokio::test]
async fn a_message_that_will_not_be_taken_is_set_aside_and_delays_nothing() {
    let mut hook = Hook::start([Answer::Status(413)]).await;
    let clock = Clock::real();
    let service = Service::start(clock, [("oncall", &hook)]);
    service.commit(&[transition("a", FIRED), transition("a", RESOLVED), transition("b", FIRED)]).await;
    assert_eq!(hook.next().await.id, id("a", FIRED, "oncall").as_str());
    assert_eq!(hook.next().await.id, id("b", FIRED, "oncall").as_str());
    let (_, rows) = service.stop().await;
    assert_eq!(rows[0].state, RowState::Pending);
    let wait = rows[0].next_attempt_at.seconds_since(clock.now());
    assert!((590.0..=600.0).contains(&wait), "{wait}");
    assert!(rows[0].last_error.as_ref().unwrap().contains("413"), "{rows:?}");
    assert_eq!(rows[1].attempts, 0);
}

#[tokio::test]
async fn a_receiver_that_is_closed_is_left_alone_and_the_others_are_notified() {
    let elsewhere = Hook::start([]).await;
    let redirect = Answer::Redirect(format!("http://{}/", elsewhere.address));
    for (answer, says) in [
        (redirect, "redirects are not followed"),
        (Answer::Status(401), "401"),
        (Answer::Status(403), "403"),
        (Answer::Status(404), "404"),
        (Answer::Status(410), "410"),
    ] {
        let mut hook = Hook::start([answer]).await;
        let mut other = Hook::start([]).await;
        let service = Service::start(Clock::fast(300.0), [("oncall", &hook), ("other", &other)]);
        service.commit_for(&[transition("a", FIRED), transition("b", FIRED)], &["oncall"]).await;
        let began = Instant::now();
        assert_eq!(hook.next().await.id, id("a", FIRED, "oncall").as_str());
        let reported = other.next().await;
        assert_eq!((reported.status(), reported.alert("alertname")), ("firing", "ReceiverInTrouble"));
        assert_eq!(reported.alert("receiver"), "oncall");
        let summary = reported.body["alerts"][0]["annotations"]["summary"].as_str().unwrap();
        assert!(summary.contains(says) && !summary.contains(TOKEN), "{summary}");
        // Ten minutes by the clock without a message.
        let next = hook.next().await;
        assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
        assert_eq!(next.id, id("b", FIRED, "oncall").as_str());
        assert_eq!(hook.next().await.id, id("a", FIRED, "oncall").as_str());
        let over = other.next().await;
        assert_eq!((over.status(), over.alert("receiver")), ("resolved", "oncall"));
        service.stop().await;
        assert!(other.calls.is_empty());
    }
    assert!(elsewhere.calls.is_empty());
}

#[tokio::test]
async fn a_silence_holds_back_firings_but_never_the_resolve_of_what_was_sent() {
    let mut hook = Hook::start([]).await;
    let clock = Clock::fast(600.0);
    let service = Service::start(clock, [("oncall", &hook)]);
    service.commit(&[transition("sent", FIRED)]).await;
    assert_eq!(hook.next().await.id, id("sent", FIRED, "oncall").as_str());
    let silence = Silence {
        id: 0,
        matchers: Matchers::parse("queue=*o*").unwrap(),
        starts_at: clock.now() - Duration::from_secs(60),
        ends_at: clock.now() + Duration::from_secs(1_200),
        author: "ann".to_owned(),
        comment: "maintenance".to_owned(),
    };
    let begun = service.store.call(move |store| store.silence(&silence)).await.unwrap();
    service.commit(&[transition("short", FIRED), transition("long", FIRED), transition("other-x", FIRED)]).await;
    service.commit(&[transition("free", FIRED), transition("sent", RESOLVED), transition("short", RESOLVED)]).await;
    let now = [hook.next().await.id, hook.next().await.id];
    let expected = [id("free", FIRED, "oncall"), id("sent", RESOLVED, "oncall")];
    assert!(expected.iter().all(|id| now.contains(&id.as_str().to_owned())), "{now:?}");
    service.until(|rows| rows.iter().filter(|row| row.state.as_str() == "muted").count() == 2).await;
    assert!(hook.calls.is_empty());
    // It is ended early, and alerts that still fire are sent.
    assert!(service.store.call(move |store| store.end_silence(begun, clock.now())).await.unwrap());
    let late = [hook.next().await.id, hook.next().await.id];
    assert!(late.contains(&id("long", FIRED, "oncall").as_str().to_owned()), "{late:?}");
    let (_, rows) = service.stop().await;
    assert!(rows.iter().all(|row| *row.alert() != transition("short", FIRED).alert.id || row.attempts == 0));
}

#[tokio::test]
async fn a_receiver_with_matchers_is_notified_of_those_alerts_until_they_end() {
    let only_a = Receiver { matchers: Matchers::parse("queue=a*").unwrap(), ..receiver("oncall") };
    let mut store = Store::in_memory().unwrap();
    let at = Timestamp::from_millis(0);
    let both = |kind| [transition("a1", kind), transition("b1", kind)];
    for kind in [FIRED, RESOLVED] {
        let outbox = outbox::rows(&both(kind), std::slice::from_ref(&only_a), at);
        store.commit(&Commit { at, outbox, ..Commit::default() }).unwrap();
    }
    let reported: Vec<_> = store.outbox().unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(reported, [id("a1", FIRED, "oncall"), id("a1", RESOLVED, "oncall")]);
}

#[tokio::test]
async fn what_was_given_up_can_be_tried_again_firing_first() {
    let mut hook = Hook::start([]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.db");
    let mut store = open(&file);
    let at = Timestamp::from_millis(0);
    let outbox = outbox::rows(&[transition("a", FIRED), transition("a", RESOLVED)], &[receiver("oncall")], at);
    store.commit(&Commit { at, outbox, ..Commit::default() }).unwrap();
    let all = Selection { receiver: Some("oncall".to_owned()), ids: Vec::new() };
    let one = Selection { receiver: None, ids: vec![id("a", FIRED, "oncall").as_str()[..12].to_owned()] };
    let other = Selection { receiver: Some("nobody".to_owned()), ids: Vec::new() };
    assert_eq!(store.give_up(&other, at).unwrap(), 0);
    assert_eq!(store.give_up(&one, at).unwrap(), 2, "the resolve goes with its firing");
    assert!(store.outbox().unwrap().iter().all(|row| row.state.as_str() == "dead"));
    assert_eq!(store.retry(&all, Clock::real().now()).unwrap(), 2);
    let service = Service::on(store, Clock::real(), vec![("oncall", hook.url())]);
    assert_eq!(hook.next().await.id, id("a", FIRED, "oncall").as_str());
    assert_eq!(hook.next().await.id, id("a", RESOLVED, "oncall").as_str());
    service.stop().await;
}

#[tokio::test]
async fn one_message_that_a_receiver_chokes_on_does_not_hold_up_the_others() {
    let mut hook = Hook::start([Answer::Status(500)]).await;
    let service = Service::start(Clock::real(), [("oncall", &hook)]);
    service.commit(&[transition("a", FIRED), transition("b", FIRED), transition("c", FIRED)]).await;
    let mut reported = Vec::new();
    for _ in 0..4 {
        reported.push(hook.next().await.id);
    }
    let of = |alert| id(alert, FIRED, "oncall").as_str().to_owned();
    assert_eq!(reported[0], of("a"));
    assert_eq!(reported[1], of("b"), "the one that failed goes to the back");
    reported.sort();
    let mut expected = [of("a"), of("a"), of("b"), of("c")];
    expected.sort();
    assert_eq!(reported, expected);
    service.stop().await;
}

#[tokio::test]
async fn a_receiver_in_trouble_delays_no_other() {
    let hung = Hook::start(vec![Answer::Hang; 100]).await;
    let mut fine = Hook::start([]).await;
    let receivers = vec![("hung", hung.url()), ("fine", fine.url())];
    let store = Store::in_memory().unwrap();
    let service = Service::giving_up(Duration::from_secs(5), store, Clock::real(), receivers);
    let began = Instant::now();
    let alerts: Vec<_> = (0..50).map(|number| transition(&number.to_string(), FIRED)).collect();
    service.commit(&alerts).await;
    for alert in &alerts {
        assert_eq!(fine.next().await.id, NotificationId::of(alert, "fine").as_str());
    }
    // Sequentially, each would wait for the timeout of a hanging one.
    assert!(began.elapsed() < Duration::from_secs(50 * 15), "{:?}", began.elapsed());
    service.stop().await;
}

#[tokio::test]
async fn a_crash_between_commit_and_send_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut hook = Hook::start([]).await;
    let file = folder.path().join("state.db");
    let service = Service::on(open(&file), Clock::real(), vec![]);
    service.commit_for(&[transition("a", FIRED)], &["oncall"]).await;
    service.crash().await;
    let service = Service::on(open(&file), Clock::real(), vec![("oncall", hook.url())]);
    assert_eq!(hook.next().await.id, id("a", FIRED, "oncall").as_str());
    let (_, rows) = service.stop().await;
    assert!(matches!(rows[0].state, RowState::Delivered { .. }));
    let service = Service::on(open(&file), Clock::real(), vec![("oncall", hook.url())]);
    service.commit(&[transition("b", FIRED)]).await;
    assert_eq!(hook.next().await.id, id("b", FIRED, "oncall").as_str(), "what was delivered is not sent again");
    service.stop().await;
}

#[tokio::test]
async fn a_crash_between_send_and_mark_doubles_under_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let mut hook = Hook::start([Answer::Hang]).await;
    let file = folder.path().join("state.db");
    let service = Service::on(open(&file), Clock::real(), vec![("oncall", hook.url())]);
    service.commit(&[transition("a", FIRED)]).await;
    let first = hook.next().await;
    service.crash().await;
    let service = Service::on(open(&file), Clock::real(), vec![("oncall", hook.url())]);
    let second = hook.next().await;
    assert_eq!((first.id, first.body), (second.id, second.body));
    service.stop().await;
}

#[tokio::test]
async fn after_a_day_a_firing_is_given_up_and_its_resolve_with_it() {
    let mut hook = Hook::start(vec![Answer::Status(500); 100_000]).await;
    let service = Service::start(Clock::fast(50_000.0), [("oncall", &hook)]);
    service.commit(&[transition("a", FIRED), transition("a", RESOLVED)]).await;
    service.until(|rows| matches!(rows[0].state, RowState::Dead { .. })).await;
    let (counts, rows) = service.stop().await;
    assert!(matches!(rows[1].state, RowState::Dead { .. }));
    assert_eq!(rows[1].attempts, 0);
    let RowState::Dead { at } = rows[0].state else { panic!("{rows:?}") };
    assert!(at.since(rows[0].created_at) >= Duration::from_secs(86_400));
    assert!(rows[0].attempts >= 10, "{}", rows[0].attempts);
    assert_eq!(counts[&("oncall".to_owned(), Outcome::Dead)], 1);
    while let Ok(call) = hook.calls.try_recv() {
        assert_eq!(call.id, id("a", FIRED, "oncall").as_str());
    }
}

#[tokio::test]
async fn a_store_that_fails_after_the_send_causes_no_second_send() {
    let (mut hook, outbox, stop, task) = flaky(3, &["a", "b"]).await;
    assert_eq!(hook.next().await.id, id("a", FIRED, "oncall").as_str());
    assert_eq!(hook.next().await.id, id("b", FIRED, "oncall").as_str());
    stop.cancel();
    within(task).await.unwrap();
    assert_eq!(outbox.failures.load(Ordering::SeqCst), 0);
    assert!(hook.calls.is_empty());
}

#[tokio::test]
async fn a_store_that_never_recovers_does_not_hold_up_the_stop() {
    let (mut hook, _, stop, task) = flaky(u32::MAX, &["a"]).await;
    hook.next().await;
    stop.cancel();
    within(task).await.unwrap();
    // Shutdown tries everything once more, so at most one more call, never a loop.
    assert!(hook.calls.len() <= 1, "{}", hook.calls.len());
}

/// A notifier over a store whose first `failures` writes fail, with the firings of some alerts to deliver.
async fn flaky(failures: u32, alerts: &[&str]) -> (Hook, Flaky, CancellationToken, JoinHandle<()>) {
    let hook = Hook::start([]).await;
    let store = StoreHandle::start(Store::in_memory().unwrap()).unwrap();
    let outbox = Flaky { store: store.clone(), failures: Arc::new(AtomicU32::new(failures)) };
    let transitions: Vec<_> = alerts.iter().map(|alert| transition(alert, FIRED)).collect();
    let rows = outbox::rows(&transitions, &[receiver("oncall")], Timestamp::from_millis(0));
    store.commit(Arc::new(Commit { outbox: rows, ..Commit::default() })).await.unwrap();
    let webhook = self::hook(&hook.url()).unwrap();
    let receivers = vec![(receiver("oncall"), Integration::Webhook(webhook))];
    let (_, mut tasks) = Notifiers::new(receivers, None, &outbox, Clock::fast(1_000.0));
    let stop = CancellationToken::new();
    let task = tokio::spawn(tasks.remove(0).run(stop.clone()));
    (hook, outbox, stop, task)
}

#[tokio::test]
async fn what_is_due_when_the_service_stops_is_still_sent() {
    let mut hook = Hook::start([]).await;
    let mut service = Service::start(Clock::real(), [("oncall", &hook)]);
    service.commit(&[transition("a", FIRED)]).await;
    hook.next().await;
    // Long enough for the notifier to find nothing more and wait.
    tokio::time::sleep(Duration::from_millis(100)).await;
    service.ring = false;
    service.commit(&[transition("b", FIRED)]).await;
    let (_, rows) = service.stop().await;
    assert_eq!(hook.next().await.id, id("b", FIRED, "oncall").as_str());
    assert!(matches!(rows[1].state, RowState::Delivered { .. }));
}

#[tokio::test]
async fn a_receiver_that_is_down_does_not_hold_up_the_stop() {
    let reserved = ReservedAddress::reserve();
    let url = Secret::new(format!("http://{}/", reserved.address));
    let service = Service::with_urls(Clock::real(), vec![("oncall", url)]);
    let alerts: Vec<_> = (0..50).map(|number| transition(&number.to_string(), FIRED)).collect();
    service.commit(&alerts).await;
    let began = Instant::now();
    let (_, rows) = service.stop().await;
    // One by one with retries, fifty would take far longer.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert!(rows.iter().all(|row| row.state == RowState::Pending));
}

#[test]
#[expect(clippy::print_stdout, reason = "how the inner run says that it ran")]
fn without_ca_certificates_plain_http_works_and_https_reports_what_is_missing() {
    const NAME: &str = "delivery::without_ca_certificates_plain_http_works_and_https_reports_what_is_missing";
    if std::env::var_os("SSL_CERT_FILE").as_deref() != Some("/dev/null".as_ref()) {
        // A process cannot change its own environment, so this runs itself again with a different one.
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env("SSL_CERT_FILE", "/dev/null")
            .env("SSL_CERT_DIR", "/dev/null")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("inner run done"), "{run:?}");
        return;
    }
    hook(&Secret::new("http://receiver.example/")).unwrap();
    let error = hook(&Secret::new(format!("https://receiver.example/{TOKEN}"))).unwrap_err().to_string();
    assert!(error.contains("cannot create an HTTP client for receiver.example") && !error.contains(TOKEN), "{error}");
    println!("inner run done: {error}");
}
