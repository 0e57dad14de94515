//! A process: a replica, and the service's work while it leads.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::bucket::Bucket;
use super::mutant;
use super::mutant_outbox::SimulatedOutbox;
use super::world::RECEIVERS;
use super::world::{HOLDS, Shared, Taken, World, start};
use crate::config::{Channel, Receiver};
use crate::notify::message::Message;
use crate::notify::outbox;
use crate::notify::{Deliver, Failure, Notifiers, Receipt, RetryClass};
use crate::replication::Identity;
use crate::replication::lease::{Role, Terms};
use crate::replication::open_log::prepare;
use crate::replication::replica_task::Order;
use crate::store::{Commit, Store, StoreHandle};
use trainspotter_clock::Clock;
use trainspotter_core::metrics::catalogue::QUEUE_JOBS;
use trainspotter_core::metrics::{Frame, Sample, SourceHealth, Value, labels};
use trainspotter_core::model::{SavedSeries, Source, Timestamp};
use trainspotter_core::rules::{ActiveAlerts, Rule, parse_rules};

pub(super) const LEASE: Duration = Duration::from_secs(30);

const TICK: Duration = Duration::from_secs(15);

/// Number of records between snapshots.
const RECORDS_PER_SNAPSHOT: u64 = 40;

/// The counter.
pub(super) const COUNTER: &str = "job.ended";

pub(super) const COUNTED_UNTIL: &str = "counted_until";

pub(super) struct Process {
    replica: usize,
    writer: String,
}

impl Process {
    pub(super) fn new(world: &mut World, replica: usize) -> Self {
        world.started += 1;
        Self { replica, writer: format!("{replica}-{}", world.started) }
    }

    /// Runs until it has handed over, as requested by `stop`.
    pub(super) async fn run(self, world: Shared, stop: CancellationToken) {
        let replica = self.replica;
        Pausable { inner: Box::pin(self.live(Arc::clone(&world), stop)), world, replica }.await;
    }

    async fn live(self, world: Shared, stop: CancellationToken) {
        let clock = world.lock().unwrap().clock;
        let identity = Identity {
            writer: self.writer.clone(),
            watches: "us-east-1".to_owned(),
            account: None,
            config: String::new(),
            version: String::new(),
        };
        let bucket = Bucket { world: Arc::clone(&world), replica: self.replica };
        let replica = loop {
            if stop.is_cancelled() {
                return;
            }
            let store = Store::reused().unwrap();
            let terms = Terms { poll: LEASE / 10, ..Terms::of(LEASE) };
            let storage = Arc::new(bucket.clone());
            match prepare(store, None, storage, identity.clone(), terms, clock).await {
                Ok(replica) => break replica,
                Err(error) if error.is_lasting() => return world.lock().unwrap().violated(error.to_string()),
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        let mut status = replica.status();
        let (handle, calls) = StoreHandle::behind(replica.fence());
        let (orders, ordered) = mpsc::channel(1);
        let replica = replica.with_snapshots_every(RECORDS_PER_SNAPSHOT);
        let serving = async {
            loop {
                let (role, term) = {
                    let status = status.borrow_and_update();
                    (status.role, status.term)
                };
                if role == Role::Leading {
                    let led = lead(Arc::clone(&world), handle.for_term(term), self.writer.clone(), stop.clone());
                    let over = async {
                        let changed = status.wait_for(|status| status.term != term).await;
                        assert!(changed.is_ok(), "the replica goes on");
                    };
                    tokio::select! { biased; () = over => {}, () = led => break }
                } else {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        changed = status.changed() => assert!(changed.is_ok(), "the replica goes on"),
                    }
                }
            }
            let (done, is_done) = oneshot::channel();
            assert!(orders.send(Order::HandOver { for_good: true, done }).await.is_ok(), "the replica goes on");
            assert!(is_done.await.is_ok(), "it says when it has handed over");
        };
        tokio::select! { biased; () = replica.run(calls, ordered) => {}, () = serving => {} }
    }
}

/// The work of a leader: evaluates, commits and sends. With `stop` it finishes what it has begun.
async fn lead(world: Shared, store: StoreHandle, writer: String, stop: CancellationToken) {
    let clock = world.lock().unwrap().clock;
    let Ok(saved) = store.load().await else { return std::future::pending().await };
    let mut counted = saved.series.first().map_or(0.0, |series| series.value);
    if mutant::forgets_counters() {
        counted = 0.0;
    }
    let mut counted_until = saved.watermarks.get(COUNTED_UNTIL).copied().unwrap_or(start());
    let mut alerts = ActiveAlerts::restore(saved.alerts);
    let rules = rules();
    let receivers = RECEIVERS.map(|name| Receiver::new(name, Channel::sns(String::new())));
    let wires = receivers.iter().zip(RECEIVERS).map(|(receiver, name)| {
        (receiver.clone(), Wire { receiver: name, world: Arc::clone(&world), writer: writer.clone() })
    });
    let (notifiers, tasks) = Notifiers::new(wires.collect(), None, &SimulatedOutbox(store.clone()), clock);
    let attempt = Terms::of(LEASE).attempt();
    let tasks = tasks.into_iter().map(|task| task.with_attempt_timeout(attempt).run(stop.clone()));
    let ticking = async {
        let mut uncommitted = Vec::new();
        loop {
            let now = clock.now();
            let moment = now.since(start());
            world.lock().unwrap().evaluated.push(moment);
            let transitions = alerts.step(&rules, &frame(now), now);
            uncommitted.extend(outbox::rows(&transitions, &receivers, now));
            counted += count(&world, counted_until, now);
            counted_until = now;
            let series = SavedSeries {
                metric: COUNTER.into(),
                labels: Arc::default(),
                value: counted,
                buckets: Vec::new(),
                sum: 0.0,
                count: 0,
            };
            let commit = Commit {
                at: now,
                alerts: alerts.alerts().cloned().collect(),
                outbox: uncommitted.clone(),
                series: vec![series],
                watermarks: [(COUNTED_UNTIL.to_owned(), counted_until)].into(),
                ..Commit::default()
            };
            let committed = store.commit(Arc::new(commit)).await;
            if let Err(error) = &committed {
                tracing::debug!(%error, "not committed");
            }
            if committed.is_ok() {
                uncommitted.clear();
                notifiers.committed();
                {
                    let mut world = world.lock().unwrap();
                    world.ticks.push(moment);
                    // Until it is counted, notifications of this tick may be pending.
                    world.waiting = 1;
                }
                let waiting = store.backlog().await.map(|all| all.values().map(|of| of.pending).sum());
                world.lock().unwrap().waiting = waiting.unwrap_or(1);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = clock.sleep(TICK) => {}
            }
        }
    };
    tokio::join!(ticking, futures_util::future::join_all(tasks));
}

fn count(world: &Shared, after: Timestamp, until: Timestamp) -> f64 {
    let world = world.lock().unwrap();
    let events = world.events.iter().map(|event| start() + *event);
    u32::try_from(events.filter(|at| *at > after && *at <= until).count()).unwrap().into()
}

fn rules() -> Vec<Rule> {
    let rules =
        "rules: [{ alert: Backlog, metric: queue.jobs, by: [queue], above: 5, annotations: { summary: full } }]";
    parse_rules("rules.yaml", rules).unwrap()
}

fn frame(now: Timestamp) -> Frame {
    let second = now.since(start()).as_secs();
    let holds = HOLDS.iter().any(|(from, to)| (*from..*to).contains(&second));
    let labels = labels([("queue", "prod".into()), ("share", "".into()), ("state", "runnable".into())]);
    let sample = Sample { metric: &QUEUE_JOBS, labels, value: Value::Gauge(if holds { 9.0 } else { 1.0 }) };
    let fresh =
        |source| SourceHealth { source, age_seconds: Some(0.0), error: None, note: None, failing: Default::default() };
    Frame { at: now, sources: Source::ALL.map(fresh).to_vec(), samples: vec![sample], ..Frame::default() }
}

/// The connection to a receiver.
struct Wire {
    receiver: &'static str,
    world: Shared,
    writer: String,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.receiver)
    }
}

impl Deliver for Wire {
    async fn deliver(&self, message: &Message, _clock: &Clock) -> Result<Receipt, Failure> {
        let (there, refuses, hangs, is_answer_lost) = {
            let mut world = self.world.lock().unwrap();
            if world.leader() != Some(&self.writer) {
                let leader = world.leader().unwrap_or("nobody").to_owned();
                world.violated(format!("{} sends, and {leader} leads", self.writer));
            }
            let bad = world.perils.bad_receivers;
            let there = world.random(1..200);
            let refuses = world.happens(bad, 0.1) || world.refusing.contains(self.receiver);
            (there, refuses, world.happens(bad, 0.05), world.happens(bad, 0.1))
        };
        // A sent message arrives even if its sender is gone.
        let transition = message.transitions().next().cloned().unwrap();
        let (world, receiver, id) = (Arc::clone(&self.world), self.receiver, message.id.clone());
        let taking = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(there)).await;
            if refuses {
                return;
            }
            let mut world = world.lock().unwrap();
            let taken = Taken {
                at: world.passed(),
                receiver,
                id: id.clone(),
                episode: transition.alert.state.fired_at().unwrap(),
                kind: outbox::Kind::of(&transition),
                is_trouble: transition.alert.rule == outbox::RECEIVER_IN_TROUBLE,
            };
            world.taken.push(taken);
            if is_answer_lost || hangs {
                world.unanswered.insert(id);
            }
        });
        taking.await.unwrap();
        if hangs {
            return std::future::pending().await;
        }
        let failed = |reason: &str| Failure { reason: reason.to_owned(), remedy: RetryClass::Retry { after: None } };
        match (refuses, is_answer_lost) {
            (true, _) => Err(failed("503")),
            (false, true) => Err(failed("connection reset")),
            (false, false) => Ok(Receipt::default()),
        }
    }
}

/// A process that does not run while it is paused; time continues.
struct Pausable {
    inner: Pin<Box<dyn Future<Output = ()>>>,
    world: Shared,
    replica: usize,
}

impl Future for Pausable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut world = self.world.lock().unwrap();
            if world.paused.contains(&self.replica) {
                world.wakers.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(context)
    }
}
