//! Routing in virtual time: escalation, reminders and inhibition, each also with crashes and lost responses.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trainspotter::config::Channel;
use trainspotter::config::Escalation;
use trainspotter::config::Group;
use trainspotter::config::Inhibition;
use trainspotter::config::Receiver;
use trainspotter::notify::Deliver;
use trainspotter::notify::Failure;
use trainspotter::notify::Notifiers;
use trainspotter::notify::Receipt;
use trainspotter::notify::RetryClass;
use trainspotter::notify::message::Message;
use trainspotter::notify::outbox;
use trainspotter::notify::outbox::Due;
use trainspotter::notify::outbox::Kind;
use trainspotter::notify::outbox::NotificationId;
use trainspotter::notify::outbox::Outbox;
use trainspotter::notify::outbox::OutboxError;
use trainspotter::notify::outbox::Verdict;
use trainspotter::notify::silence::Silence;
use trainspotter::store::Commit;
use trainspotter::store::Store;
use trainspotter_clock::Clock;
use trainspotter_core::model::Matchers;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

use crate::support::alerts;

const TICK: Duration = Duration::from_secs(10);

/// An alert by name, and the minutes from which and until which it fires.
type Episode = (&'static str, u32, u32);

/// Minute, receiver, alert, and `fired` or `resolved`.
type Sent = (u64, &'static str, String, &'static str);

/// Failures of messages and of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    None,
    /// The response to the first attempt of every message is lost.
    AnswerLost,
    /// The process crashes every five minutes and is restarted.
    Crashes,
    /// The receiver rejects every message with several alerts.
    RefusesSeveral,
}

#[tokio::test(start_paused = true)]
async fn what_still_fires_is_escalated_and_what_ended_is_not() {
    let first = Receiver {
        matchers: matcher("severity=page"),
        escalate: Some(Escalation { after: minutes(30), to: "boss".to_owned() }),
        ..receiver("first")
    };
    let boss = Receiver { matchers: matcher("severity=never"), ..receiver("boss") };
    let receivers = [first, boss];
    check(
        &receivers,
        &[("Short", 0, 29), ("Long", 0, 45)],
        &[],
        &[
            (0, "first", "Long", "fired"),
            (0, "first", "Short", "fired"),
            (29, "first", "Short", "resolved"),
            (30, "boss", "Long", "fired"),
            (45, "boss", "Long", "resolved"),
            (45, "first", "Long", "resolved"),
        ],
    )
    .await;
    // An alert that fires again is escalated by its new start time.
    check(
        &receivers,
        &[("Long", 0, 20), ("Long", 25, 60)],
        &[],
        &[
            (0, "first", "Long", "fired"),
            (20, "first", "Long", "resolved"),
            (25, "first", "Long", "fired"),
            (55, "boss", "Long", "fired"),
            (60, "boss", "Long", "resolved"),
            (60, "first", "Long", "resolved"),
        ],
    )
    .await;
    // The alert is silenced: no escalation.
    let silenced = [silence("Long", 10, 90)];
    check(
        &receivers,
        &[("Long", 0, 45)],
        &silenced,
        &[(0, "first", "Long", "fired"), (45, "first", "Long", "resolved")],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_still_fires_is_sent_again_and_resolved_once() {
    let reminded = [Receiver { repeat_interval: Some(minutes(20)), ..receiver("oncall") }];
    check(
        &reminded,
        &[("Long", 0, 50)],
        &[],
        &[
            (0, "oncall", "Long", "fired"),
            (20, "oncall", "Long", "fired"),
            (40, "oncall", "Long", "fired"),
            (50, "oncall", "Long", "resolved"),
        ],
    )
    .await;
    // A silence of an hour leaves one reminder of three, and the resolve passes.
    check(
        &reminded,
        &[("Long", 0, 75)],
        &[silence("Long", 10, 70)],
        &[(0, "oncall", "Long", "fired"), (70, "oncall", "Long", "fired"), (75, "oncall", "Long", "resolved")],
    )
    .await;
    // The reminder was held until the end: the resolve is sent nevertheless.
    check(
        &reminded,
        &[("Long", 0, 50)],
        &[silence("Long", 10, 70)],
        // Sent after the reminder, which is checked again every minute.
        &[(0, "oncall", "Long", "fired"), (51, "oncall", "Long", "resolved")],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_inhibited_is_sent_when_the_other_alert_ends_and_resolves_pass() {
    let rule = Inhibition {
        when: matcher("alertname=Down"),
        mute: matcher("alertname=Slow*"),
        same: vec!["queue".to_owned()],
    };
    let receivers = [Receiver { inhibit: vec![rule], ..receiver("oncall") }];
    check(
        &receivers,
        &[("SlowBefore", 0, 20), ("Down", 10, 40), ("SlowWithin", 15, 30), ("SlowBeyond", 15, 60)],
        &[],
        &[
            (0, "oncall", "SlowBefore", "fired"),
            (10, "oncall", "Down", "fired"),
            (20, "oncall", "SlowBefore", "resolved"),
            (40, "oncall", "Down", "resolved"),
            // Held notifications are checked again every minute.
            (41, "oncall", "SlowBeyond", "fired"),
            (60, "oncall", "SlowBeyond", "resolved"),
        ],
    )
    .await;
    let other_queue =
        Inhibition { same: vec!["severity".to_owned(), "alertname".to_owned()], ..receivers[0].inhibit[0].clone() };
    let receivers = [Receiver { inhibit: vec![other_queue], ..receiver("oncall") }];
    check(
        &receivers,
        &[("Down", 0, 20), ("Slow", 5, 20)],
        &[],
        &[
            (0, "oncall", "Down", "fired"),
            (5, "oncall", "Slow", "fired"),
            (20, "oncall", "Down", "resolved"),
            (20, "oncall", "Slow", "resolved"),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_digest_reports_an_hour_in_one_message() {
    let group = Group { by: vec!["queue".to_owned()], wait: minutes(60) };
    let digest = [Receiver { group: Some(group), ..receiver("oncall") }];
    let episodes = [("Flaps", 5, 10), ("Flaps", 20, 25), ("Lasts", 30, 90), ("Silenced", 40, 50), ("Late", 80, 110)];
    let (reported, ids) = run(&digest, &episodes, &[silence("Silenced", 0, 120)], Trouble::None).await;
    // One message with each episode's latest state, an hour after the first of them; later episodes are in another.
    let expected =
        [(65, "oncall", "Flaps", "resolved"), (65, "oncall", "Flaps", "resolved"), (65, "oncall", "Lasts", "fired")];
    assert_eq!(reported, expected.map(|(at, who, what, kind)| (at, who, what.to_owned(), kind)));
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn alerts_rejected_as_a_group_are_sent_separately() {
    let group = Group { by: Vec::new(), wait: minutes(2) };
    let receivers = [Receiver { group: Some(group), ..receiver("oncall") }];
    let (reported, ids) = run(&receivers, &[("Down", 0, 90), ("Slow", 1, 90)], &[], Trouble::RefusesSeveral).await;
    let expected = [
        (2, "oncall", "Down", "fired"),
        (2, "oncall", "Slow", "fired"),
        (92, "oncall", "Down", "resolved"),
        (92, "oncall", "Slow", "resolved"),
    ];
    assert_eq!(reported, expected.map(|(at, who, what, kind)| (at, who, what.to_owned(), kind)));
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn alerts_that_agree_in_a_label_go_together_and_others_on_their_own() {
    let group = Group { by: vec!["alertname".to_owned()], wait: minutes(2) };
    let receivers = [Receiver { group: Some(group), ..receiver("oncall") }];
    let episodes = [("Down", 0, 30), ("Slow", 1, 30)];
    let (reported, ids) = run(&receivers, &episodes, &[], Trouble::None).await;
    let expected = [
        (2, "oncall", "Down", "fired"),
        (3, "oncall", "Slow", "fired"),
        (32, "oncall", "Down", "resolved"),
        (32, "oncall", "Slow", "resolved"),
    ];
    assert_eq!(reported, expected.map(|(at, who, what, kind)| (at, who, what.to_owned(), kind)));
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 4);
}

/// Runs the episodes for two hours, with every kind of failure. `expected` is what is sent without failures; with
/// failures the same is sent under the same ids, possibly more than once.
async fn check(
    receivers: &[Receiver],
    episodes: &[Episode],
    silences: &[Silence],
    expected: &[(u64, &'static str, &str, &'static str)],
) {
    let expected: Vec<Sent> =
        expected.iter().map(|(at, who, what, kind)| (*at, *who, (*what).to_owned(), *kind)).collect();
    let (reported, ids) = run(receivers, episodes, silences, Trouble::None).await;
    assert_eq!(reported, expected);
    let once: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(once.len(), ids.len(), "sent twice");
    for trouble in [Trouble::AnswerLost, Trouble::Crashes] {
        let (reported, ids) = run(receivers, episodes, silences, trouble).await;
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), once, "{trouble:?}: {reported:?}");
    }
}

async fn run(
    receivers: &[Receiver],
    episodes: &[Episode],
    silences: &[Silence],
    trouble: Trouble,
) -> (Vec<Sent>, Vec<NotificationId>) {
    let clock = Clock::starting_at(start(), 1.0);
    let mut store = Store::in_memory().unwrap();
    for silence in silences {
        store.silence(silence).unwrap();
    }
    let desk = Desk(Arc::new(Mutex::new(store)));
    let heard = Received::default();
    while clock.now().since(start()) < minutes(120) {
        let names: Vec<&'static str> = receivers.iter().map(|receiver| known(&receiver.name)).collect();
        let wire = |name| Wire { name, heard: Arc::clone(&heard), trouble };
        let integrations = receivers.iter().cloned().zip(names.into_iter().map(wire)).collect();
        let (notifiers, tasks) = Notifiers::new(integrations, None, &desk, clock);
        let sending = futures_util::future::join_all(tasks.into_iter().map(|task| task.run(CancellationToken::new())));
        let life = if trouble == Trouble::Crashes { minutes(5) - TICK / 2 } else { minutes(120) };
        let keeping = keep(&desk, clock, receivers, episodes, &notifiers);
        let _ = tokio::time::timeout(life, async { tokio::join!(sending, keeping) }).await;
    }
    let mut heard = heard.lock().unwrap().clone();
    heard.sort();
    heard.into_iter().map(|(at, who, what, kind, id)| ((at.since(start()).as_secs() / 60, who, what, kind), id)).unzip()
}

/// Commits starts and ends.
async fn keep(desk: &Desk, clock: Clock, receivers: &[Receiver], episodes: &[Episode], notifiers: &Notifiers) {
    loop {
        let now = clock.now();
        commit(desk, receivers, episodes, now);
        notifiers.committed();
        let ticks = u32::try_from(now.since(start()).as_secs() / TICK.as_secs()).unwrap();
        clock.sleep_until(start() + TICK * (ticks + 1)).await;
    }
}

/// Commits the differences to the store.
fn commit(desk: &Desk, receivers: &[Receiver], episodes: &[Episode], now: Timestamp) {
    let mut store = desk.0.lock().unwrap();
    let before = store.firing().unwrap();
    let alerts: Vec<Alert> = episodes.iter().filter_map(|episode| firing(*episode, now)).collect();
    let fires = |alerts: &[Alert], alert: &Alert| alerts.iter().any(|other| other.id == alert.id);
    let begun = alerts.iter().filter(|alert| !fires(&before, alert)).map(|alert| (alert, TransitionKind::Fired));
    let ended = before.iter().filter(|alert| !fires(&alerts, alert));
    let ended = ended.map(|alert| (alert, TransitionKind::Resolved(ResolveReason::Recovered)));
    let transition = |(alert, kind): (&Alert, _)| Transition { alert: alert.clone(), kind, at: now };
    let transitions: Vec<_> = begun.chain(ended).map(transition).collect();
    let mut rows = outbox::rows(&transitions, receivers, now);
    rows.extend(outbox::reminders(&alerts, receivers, now));
    store.commit(&Commit { at: now, alerts, outbox: rows, ..Commit::default() }).unwrap();
}

/// The alert of an episode, if it fires now.
fn firing((name, from, until): Episode, now: Timestamp) -> Option<Alert> {
    let fired_at = start() + minutes(from);
    let alert = Alert {
        labels: labels(&[("alertname", name), ("queue", "prod"), ("severity", "page")]),
        evaluated_at: now,
        ..alerts::firing(name, labels(&[("queue", "prod")]), fired_at)
    };
    (fired_at <= now && now < start() + minutes(until)).then_some(alert)
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn minutes(minutes: u32) -> Duration {
    Duration::from_secs(60) * minutes
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
}

fn receiver(name: &str) -> Receiver {
    Receiver::new(name, Channel::sns(String::new()))
}

fn matcher(text: &str) -> Matchers {
    Matchers::parse(text).unwrap()
}

fn silence(alert: &str, from: u32, until: u32) -> Silence {
    Silence {
        id: 0,
        matchers: matcher(&format!("alertname={alert}")),
        starts_at: start() + minutes(from),
        ends_at: start() + minutes(until),
        author: "ann".to_owned(),
        comment: String::new(),
    }
}

fn known(name: &str) -> &'static str {
    ["first", "boss", "oncall"].into_iter().find(|known| *known == name).unwrap()
}

type Received = Arc<Mutex<Vec<(Timestamp, &'static str, String, &'static str, NotificationId)>>>;

/// A notifier that records its messages.
#[derive(Debug)]
struct Wire {
    name: &'static str,
    heard: Received,
    trouble: Trouble,
}

impl Deliver for Wire {
    async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        if self.trouble == Trouble::RefusesSeveral && !message.others.is_empty() {
            return Err(Failure { reason: "too large".to_owned(), remedy: RetryClass::SetAside });
        }
        let mut heard = self.heard.lock().unwrap();
        let before = heard.iter().any(|(.., id)| *id == message.id);
        for transition in message.transitions() {
            let kind = Kind::of(transition).as_str();
            heard.push((clock.now(), self.name, transition.alert.rule.clone(), kind, message.id.clone()));
        }
        if self.trouble == Trouble::AnswerLost && !before {
            return Err(Failure { reason: "lost".to_owned(), remedy: RetryClass::Retry { after: None } });
        }
        Ok(Receipt::default())
    }
}

/// A store that responds synchronously, as virtual time requires.
#[derive(Clone)]
struct Desk(Arc<Mutex<Store>>);

impl Outbox for Desk {
    async fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, OutboxError> {
        Ok(self.0.lock().unwrap().due(receiver, now, limit).unwrap())
    }

    async fn due_together(&self, receiver: &str, now: Timestamp) -> Result<Due, OutboxError> {
        Ok(self.0.lock().unwrap().due_together(receiver, now).unwrap())
    }

    async fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        self.0.lock().unwrap().begin(first, others, now).unwrap();
        Ok(())
    }

    async fn firing(&self) -> Result<Vec<Alert>, OutboxError> {
        Ok(self.0.lock().unwrap().firing().unwrap())
    }

    async fn settle(&self, id: &NotificationId, verdict: Verdict, others: &[String]) -> Result<(), OutboxError> {
        self.0.lock().unwrap().settle(id, &verdict, others).unwrap();
        Ok(())
    }
}
