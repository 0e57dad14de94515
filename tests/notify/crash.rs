//! Crashes at every step between {evaluate, commit, send, response received, mark}, for every behaviour of a
//! receiver, in virtual time.
//!
//! The rules, the outbox in SQLite, the notifiers and the handling of responses are real; there is no network, and a
//! crashed process is a task that is dropped at a step of its work.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use trainspotter::config::Channel;
use trainspotter::config::Group;
use trainspotter::config::Receiver;
use trainspotter::notify::Deliver;
use trainspotter::notify::Failure;
use trainspotter::notify::Notifiers;
use trainspotter::notify::Receipt;
use trainspotter::notify::RetryClass;
use trainspotter::notify::judge;
use trainspotter::notify::message::Message;
use trainspotter::notify::outbox;
use trainspotter::notify::outbox::Due;
use trainspotter::notify::outbox::Kind;
use trainspotter::notify::outbox::NotificationId;
use trainspotter::notify::outbox::Outbox;
use trainspotter::notify::outbox::OutboxError;
use trainspotter::notify::outbox::RECEIVER_IN_TROUBLE;
use trainspotter::notify::outbox::Verdict;
use trainspotter::store::Commit;
use trainspotter::store::Store;
use trainspotter_clock::Clock;
use trainspotter_core::metrics::Frame;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::SourceHealth;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue::QUEUE_JOBS;
use trainspotter_core::metrics::labels;
use trainspotter_core::model::Source;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::ActiveAlerts;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::Rule;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::parse_rules;

/// The misbehaving receiver, and a working one.
const RECEIVERS: [&str; 2] = ["flaky", "spare"];

const TICK: Duration = Duration::from_secs(30);

/// Virtual time after which the condition no longer holds.
const QUIET: Duration = Duration::from_secs(270);

/// Virtual time after which everything must be delivered: the longest backoff is ten minutes.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// When the condition holds in which queue, in seconds from the start.
const HOLDS: [(&str, u64, u64); 3] = [("prod", 60, 120), ("dev", 90, 210), ("prod", 180, 240)];

/// Grouping delay in the case where the flaky receiver gets several alerts at once: each message is about both queues
/// then.
const TOGETHER: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    Takes,
    Says(u16),
    Asks(u16, &'static str),
    /// No response, and the message is lost.
    Hangs,
    /// No response, but the message was accepted.
    TakesAndHangs,
    Cuts,
    /// The message was accepted, and the response is lost.
    TakesAndCuts,
}

const BEHAVIOURS: [Behaviour; 12] = [
    Behaviour::Takes,
    Behaviour::Says(429),
    Behaviour::Asks(429, "7"),
    Behaviour::Asks(503, "Tue, 14 Nov 2023 22:14:50 GMT"),
    Behaviour::Says(500),
    Behaviour::Hangs,
    Behaviour::TakesAndHangs,
    Behaviour::Cuts,
    Behaviour::TakesAndCuts,
    Behaviour::Says(410),
    Behaviour::Says(307),
    Behaviour::Says(400),
];

/// State that survives a crash, and records of what happened.
struct World {
    store: Store,
    clock: Clock,
    /// Behaviour of the flaky receiver, attempt by attempt; afterwards it accepts everything.
    script: VecDeque<Behaviour>,
    /// Steps at which the process crashes.
    crash_at: BTreeSet<u32>,
    steps: u32,
    crashed: Arc<Notify>,
    /// Whether the flaky receiver gets several alerts in one message.
    grouped: bool,
    /// Messages accepted by receivers, in order.
    taken: Vec<Taken>,
    /// Accepted, and not yet marked as delivered.
    unmarked: BTreeSet<NotificationId>,
    /// Accepted, with the response lost.
    lost: BTreeSet<NotificationId>,
}

/// A message: its receiver, id and content.
struct Taken {
    to: &'static str,
    id: NotificationId,
    reported: Vec<Sent>,
}

/// Rule, queue, episode, and whether it fired or was resolved.
type Sent = (String, String, Timestamp, Kind);

type Shared = Arc<Mutex<World>>;

/// A step of the process's work: it may crash here.
async fn step(world: &Shared) {
    let dies = {
        let mut world = world.lock().unwrap();
        world.steps += 1;
        let dies = world.crash_at.contains(&world.steps);
        if dies {
            let unmarked = world.unmarked.clone();
            world.lost.extend(unmarked);
            world.crashed.notify_one();
        }
        dies
    };
    if dies {
        std::future::pending::<()>().await;
    }
}

#[derive(Debug)]
struct Wire {
    receiver: &'static str,
    world: Handle,
}

#[derive(Clone)]
struct Handle(Shared);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("world")
    }
}

impl World {
    fn take(&mut self, receiver: &'static str, message: &Message) {
        let id = message.id.clone();
        let told_before = self.taken.iter().any(|taken| taken.id == id);
        assert!(!told_before || self.lost.contains(&id), "{id} was sent twice though its answer was not lost");
        let reported = |transition: &Transition| {
            let alert = &transition.alert;
            let queue = alert.by.get("queue").cloned().unwrap_or_default();
            (alert.rule.clone(), queue, alert.state.fired_at().unwrap(), Kind::of(transition))
        };
        let reported = message.transitions().map(reported).collect();
        self.taken.push(Taken { to: receiver, id: id.clone(), reported });
        self.unmarked.insert(id);
    }
}

impl Deliver for Wire {
    async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        let world = &self.world.0;
        step(world).await;
        let behaviour = {
            let mut world = world.lock().unwrap();
            let scripted = if self.receiver == RECEIVERS[0] { world.script.pop_front() } else { None };
            let behaviour = scripted.unwrap_or(Behaviour::Takes);
            if matches!(behaviour, Behaviour::Takes | Behaviour::TakesAndHangs | Behaviour::TakesAndCuts) {
                world.take(self.receiver, message);
            }
            if matches!(behaviour, Behaviour::TakesAndHangs | Behaviour::TakesAndCuts) {
                world.lost.insert(message.id.clone());
            }
            behaviour
        };
        step(world).await;
        let cut = Failure { reason: "connection reset".to_owned(), remedy: RetryClass::Retry { after: None } };
        let answer = match behaviour {
            Behaviour::Takes => judge("flaky", 202, None, None, clock),
            Behaviour::Says(status) => judge("flaky", status, None, None, clock),
            Behaviour::Asks(status, after) => judge("flaky", status, Some(after), None, clock),
            Behaviour::Hangs | Behaviour::TakesAndHangs => std::future::pending().await,
            Behaviour::Cuts | Behaviour::TakesAndCuts => Some(cut),
        };
        answer.map_or(Ok(Receipt::default()), Err)
    }
}

impl Outbox for Handle {
    async fn due(&self, receiver: &str, now: Timestamp, limit: usize) -> Result<Due, OutboxError> {
        Ok(self.0.lock().unwrap().store.due(receiver, now, limit).unwrap())
    }

    async fn due_together(&self, receiver: &str, now: Timestamp) -> Result<Due, OutboxError> {
        Ok(self.0.lock().unwrap().store.due_together(receiver, now).unwrap())
    }

    async fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        step(&self.0).await;
        self.0.lock().unwrap().store.begin(first, others, now).unwrap();
        step(&self.0).await;
        Ok(())
    }

    async fn firing(&self) -> Result<Vec<Alert>, OutboxError> {
        Ok(self.0.lock().unwrap().store.firing().unwrap())
    }

    async fn settle(&self, id: &NotificationId, verdict: Verdict, others: &[String]) -> Result<(), OutboxError> {
        step(&self.0).await;
        {
            let mut world = self.0.lock().unwrap();
            world.store.settle(id, &verdict, others).unwrap();
            world.unmarked.remove(id);
        }
        step(&self.0).await;
        Ok(())
    }
}

/// The process: evaluates, commits and notifies, until it crashes or is stopped.
async fn process(world: Shared, rules: Arc<[Rule]>) {
    let (clock, grouped, alerts) = {
        let world = world.lock().unwrap();
        (world.clock, world.grouped, world.store.load().unwrap().alerts)
    };
    let mut book = ActiveAlerts::restore(alerts);
    let config = |receiver| config(receiver, grouped);
    let integrations =
        RECEIVERS.map(|receiver| (config(receiver), Wire { receiver, world: Handle(Arc::clone(&world)) }));
    let (notifiers, tasks) = Notifiers::new(integrations.into(), None, &Handle(Arc::clone(&world)), clock);
    let stop = CancellationToken::new();
    let delivering = futures_util::future::join_all(tasks.into_iter().map(|task| task.run(stop.clone())));
    let receivers = RECEIVERS.map(config);
    let keeping = async {
        loop {
            let now = clock.now();
            let transitions = book.step(&rules, &frame(now, grouped), now);
            if !transitions.is_empty() {
                step(&world).await;
            }
            let outbox = outbox::rows(&transitions, &receivers, now);
            let commit = Commit { at: now, alerts: book.alerts().cloned().collect(), outbox, ..Commit::default() };
            world.lock().unwrap().store.commit(&commit).unwrap();
            if !transitions.is_empty() {
                step(&world).await;
            }
            notifiers.committed();
            // When nothing happens any more, use fewer ticks to save time.
            let passed = now.since(start());
            let every = if passed < QUIET { TICK } else { TICK * 10 };
            let next = passed.as_secs() / every.as_secs() + 1;
            clock.sleep_until(start() + every * u32::try_from(next).unwrap()).await;
        }
    };
    tokio::join!(delivering, keeping);
}

fn start() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

fn config(receiver: &str, grouped: bool) -> Receiver {
    let group = (grouped && receiver == RECEIVERS[0]).then(|| Group { by: Vec::new(), wait: TOGETHER });
    Receiver { group, ..Receiver::new(receiver, Channel::sns(String::new())) }
}

/// One queue, or two if alerts are to be grouped.
fn frame(now: Timestamp, grouped: bool) -> Frame {
    let second = now.since(start()).as_secs();
    let sample = |queue: &str| {
        let holds = HOLDS.iter().any(|(of, from, to)| *of == queue && (*from..*to).contains(&second));
        let labels = labels([("queue", queue.into()), ("share", "".into()), ("state", "runnable".into())]);
        Sample { metric: &QUEUE_JOBS, labels, value: Value::Gauge(if holds { 9.0 } else { 1.0 }) }
    };
    let samples = ["prod", "dev"].into_iter().take(if grouped { 2 } else { 1 }).map(sample).collect();
    let fresh =
        |source| SourceHealth { source, age_seconds: Some(0.0), error: None, note: None, failing: Default::default() };
    Frame { at: now, sources: Source::ALL.map(fresh).to_vec(), samples, ..Frame::default() }
}

/// Runs a case to its end. Returns the number of steps.
async fn run(script: &[Behaviour], grouped: bool, crash_at: &[u32], rules: &Arc<[Rule]>) -> u32 {
    let world = Arc::new(Mutex::new(World {
        store: Store::in_memory().unwrap(),
        clock: Clock::starting_at(start(), 1.0),
        script: script.iter().copied().collect(),
        crash_at: crash_at.iter().copied().collect(),
        steps: 0,
        crashed: Arc::default(),
        grouped,
        taken: Vec::new(),
        unmarked: BTreeSet::new(),
        lost: BTreeSet::new(),
    }));
    let (clock, crashed) = {
        let world = world.lock().unwrap();
        (world.clock, Arc::clone(&world.crashed))
    };
    let ended = async {
        loop {
            tokio::time::sleep(TICK * 10).await;
            let now = clock.now();
            let waiting: u32 =
                world.lock().unwrap().store.backlog().unwrap().values().map(|backlog| backlog.pending).sum();
            if waiting == 0 && now.since(start()) > Duration::from_secs(300) {
                return;
            }
            assert!(now.since(start()) < PATIENCE, "not delivered in time");
        }
    };
    tokio::pin!(ended);
    loop {
        tokio::select! {
            biased;
            () = crashed.notified() => world.lock().unwrap().unmarked.clear(),
            () = &mut ended => break,
            () = process(Arc::clone(&world), Arc::clone(rules)) => {}
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let world = world.lock().unwrap();
    verify(&world, script);
    world.steps
}

fn verify(world: &World, script: &[Behaviour]) {
    const WHOLE: [Kind; 4] = [Kind::Fired, Kind::Resolved, Kind::Fired, Kind::Resolved];
    for receiver in RECEIVERS {
        let together = world.grouped && receiver == RECEIVERS[0];
        // Rejected groups are split, even if an earlier attempt was accepted and its response lost: then alerts are
        // sent again.
        let apart = together && script.contains(&Behaviour::Says(400));
        let of_receiver = || world.taken.iter().filter(|taken| taken.to == receiver && !is_trouble(taken));
        let mut contents = BTreeMap::new();
        for taken in of_receiver() {
            let content = contents.entry(&taken.id).or_insert(&taken.reported);
            assert!(apart || *content == &taken.reported, "an id always tells the same");
        }
        for (queue, episodes) in [("prod", 2), ("dev", usize::from(world.grouped))] {
            let mut first: Vec<(Timestamp, Kind)> = Vec::new();
            let mut ids = BTreeMap::new();
            for taken in of_receiver() {
                for (_, _, episode, kind) in taken.reported.iter().filter(|(_, of, ..)| of == queue) {
                    let known = ids.entry((*episode, kind.as_str())).or_insert_with(|| {
                        first.push((*episode, *kind));
                        taken.id.clone()
                    });
                    assert!(apart || *known == taken.id, "one end of one episode has one id");
                }
            }
            let in_order = first.is_sorted_by_key(|(episode, kind)| (*episode, *kind == Kind::Resolved));
            assert!(in_order || (apart && !world.lost.is_empty()), "{first:?}");
            let kinds: Vec<Kind> = first.iter().map(|(_, kind)| *kind).collect();
            let resolved = kinds.iter().filter(|kind| **kind == Kind::Resolved).count();
            // An alert that fired and ended before it was sent is sent once.
            assert!(
                resolved == episodes && (together || kinds == WHOLE[..2 * episodes]),
                "{receiver} {queue} {first:?}"
            );
            let distinct: BTreeSet<_> = ids.values().collect();
            assert!(together || distinct.len() == 2 * episodes);
        }
        if together && !apart && world.crash_at.is_empty() {
            assert!(of_receiver().all(|taken| taken.reported.len() > 1), "both queues are sent together");
        }
    }
    verify_trouble(world, script);
}

fn is_trouble(taken: &Taken) -> bool {
    taken.reported.iter().any(|(rule, ..)| rule == RECEIVER_IN_TROUBLE)
}

/// A parked receiver is reported to the other one, and so is its recovery, each under one id.
fn verify_trouble(world: &World, script: &[Behaviour]) {
    let parked = script.iter().any(|behaviour| matches!(behaviour, Behaviour::Says(410 | 307)));
    let trouble: Vec<_> = world.taken.iter().filter(|taken| is_trouble(taken)).collect();
    assert!(trouble.iter().all(|taken| taken.to == RECEIVERS[1]));
    let of = |kind| trouble.iter().filter(move |taken| taken.reported[0].3 == kind).map(|taken| &taken.id);
    let (fired, resolved): (BTreeSet<_>, BTreeSet<_>) = (of(Kind::Fired).collect(), of(Kind::Resolved).collect());
    assert_eq!(fired.len(), resolved.len(), "trouble that was reported is over");
    // A crash can lose the response that would have parked it, and there may be too few messages afterwards to park
    // it.
    assert!(!parked || !fired.is_empty() || !world.crash_at.is_empty());
    assert!(parked || fired.is_empty());
}

#[test]
#[expect(clippy::print_stderr, reason = "how many cases there were is what this test is about")]
fn whatever_crashes_when_every_episode_is_sent_from_beginning_to_end() {
    let mut scripts: Vec<Vec<Behaviour>> = Vec::new();
    for first in BEHAVIOURS {
        for second in BEHAVIOURS {
            scripts.push(vec![first, second]);
        }
    }
    let rules =
        "rules: [{ alert: Backlog, metric: queue.jobs, by: [queue], above: 5, annotations: { summary: full } }]";
    let rules: Arc<[Rule]> = parse_rules("rules.yaml", rules).unwrap().into();
    let (mut cases, mut crashes) = (0_u32, 0_u32);
    std::thread::scope(|scope| {
        let halves = scripts.chunks(scripts.len().div_ceil(2)).map(|scripts| {
            let rules = Arc::clone(&rules);
            scope.spawn(move || enumerate(scripts, &rules))
        });
        for half in halves.collect::<Vec<_>>() {
            let (more_cases, more_crashes) = half.join().unwrap();
            cases += more_cases;
            crashes += more_crashes;
        }
    });
    eprintln!("{cases} cases with {crashes} crashes, each delivered in full and in order");
    assert!(cases > 2_000, "{cases}");
}

/// Runs every script without a crash, with a crash at every step, and now and then with a second one soon after. For
/// two misbehaviours the crash is at every fourth step only (every twelfth with grouping), with a different offset
/// per script, unless `TRAINSPOTTER_CRASHES` is set: then it is at every step, which takes minutes.
fn enumerate(scripts: &[Vec<Behaviour>], rules: &Arc<[Rule]>) -> (u32, u32) {
    let (mut cases, mut crashes) = (0, 0);
    let everything = std::env::var_os("TRAINSPOTTER_CRASHES").is_some();
    for (number, script) in (0..).zip(scripts) {
        let whole = everything || script[0] == Behaviour::Takes;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            for (grouped, every) in [(false, 4), (true, 12)] {
                let every = if whole { 1 } else { every };
                let steps = run(script, grouped, &[], rules).await;
                cases += 1;
                for first in (1..=steps).filter(|step| (step + number) % every == 0) {
                    run(script, grouped, &[first], rules).await;
                    (cases, crashes) = (cases + 1, crashes + 1);
                    if first % 5 == 0 {
                        run(script, grouped, &[first, first + 2], rules).await;
                        (cases, crashes) = (cases + 1, crashes + 2);
                    }
                }
            }
        });
    }
    (cases, crashes)
}
