//! What there is besides the replicas, and what goes wrong.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::Waker;
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::QUIET;
use super::SETTLED;
use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::replication::record::Header;
use crate::replication::record::Purpose;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

/// When the condition of the alert holds, in seconds.
pub(super) const HOLDS: [(u64, u64); 2] = [(30, 130), (210, 310)];

pub(super) const RECEIVERS: [&str; 2] = ["oncall", "team"];

pub(super) type Shared = Arc<Mutex<World>>;

/// What can go wrong in a run. A run has some of these, and not the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Perils {
    pub(super) deaths: bool,
    /// Processes are stopped as a deployment does it.
    pub(super) stops: bool,
    pub(super) pauses: bool,
    pub(super) partitions: bool,
    pub(super) lost_answers: bool,
    pub(super) slow_puts: bool,
    pub(super) outages: bool,
    pub(super) bad_receivers: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At once, whatever it is about.
    Death,
    /// It is asked to, and hands over.
    Stop,
}

/// Longer than a run.
const FOREVER: Duration = Duration::from_secs(100_000);

/// A message that a receiver took.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) at: Duration,
    pub(super) receiver: &'static str,
    pub(super) id: NotificationId,
    pub(super) episode: Timestamp,
    pub(super) kind: Kind,
    /// It says that a receiver is in trouble.
    pub(super) is_trouble: bool,
}

/// Everything but the replicas themselves.
pub(super) struct World {
    pub(super) rng: ChaCha8Rng,
    pub(super) perils: Perils,
    pub(super) replicas: usize,
    pub(super) clock: Clock,
    began: Instant,
    /// The bucket.
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// The headers of all records, as they were created.
    pub(super) log: Vec<Header>,
    /// Who cannot reach the bucket now.
    pub(super) cut_off: BTreeSet<usize>,
    /// The bucket answers everybody with an error.
    pub(super) is_out: bool,
    pub(super) paused: BTreeSet<usize>,
    /// Receivers that refuse everything now.
    pub(super) refusing: BTreeSet<&'static str>,
    pub(super) wakers: Vec<Waker>,
    /// When something went wrong: a lost answer, a death, a pause, a bucket that was not reached.
    pub(super) faults: Vec<Duration>,
    pub(super) taken: Vec<Taken>,
    /// Whose answer did not arrive.
    pub(super) unanswered: BTreeSet<NotificationId>,
    /// What is in the outbox of the one who ticked last and has not been delivered.
    pub(super) waiting: u32,
    /// When a leader looked at the condition, whether or not it could commit what it saw.
    pub(super) evaluated: Vec<Duration>,
    /// Those of them whose commit was answered.
    pub(super) ticks: Vec<Duration>,
    /// How many times a process was started.
    pub(super) started: u64,
    /// When the events to be counted were.
    pub(super) events: Vec<Duration>,
    pub(super) violation: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64) -> Shared {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut perils = || rng.random_bool(0.45);
        let perils = Perils {
            deaths: perils(),
            stops: perils(),
            pauses: perils(),
            partitions: perils(),
            lost_answers: perils(),
            slow_puts: perils(),
            outages: perils(),
            bad_receivers: perils(),
        };
        let replicas = rng.random_range(2..=5);
        let mut events: Vec<Duration> = (0..40).map(|_| Duration::from_millis(rng.random_range(0..350_000))).collect();
        events.sort_unstable();
        Arc::new(Mutex::new(Self {
            rng,
            perils,
            replicas,
            clock: Clock::starting_at(start(), 1.0),
            began: Instant::now(),
            objects: BTreeMap::new(),
            log: Vec::new(),
            cut_off: BTreeSet::new(),
            is_out: false,
            paused: BTreeSet::new(),
            refusing: BTreeSet::new(),
            wakers: Vec::new(),
            faults: Vec::new(),
            taken: Vec::new(),
            unanswered: BTreeSet::new(),
            waiting: 0,
            evaluated: Vec::new(),
            ticks: Vec::new(),
            started: 0,
            events,
            violation: None,
        }))
    }

    pub(super) fn passed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.passed() > QUIET
    }

    pub(super) fn random(&mut self, range: Range<u64>) -> u64 {
        self.rng.random_range(range)
    }

    /// Whether something with this chance happens, while anything may go wrong.
    pub(super) fn happens(&mut self, peril: bool, chance: f64) -> bool {
        peril && !self.is_quiet() && self.rng.random_bool(chance)
    }

    pub(super) fn fault(&mut self) {
        let at = self.passed();
        self.faults.push(at);
    }

    /// How long the next process lives, and how it ends.
    pub(super) fn lifetime(&mut self) -> (Duration, End) {
        let lives = Duration::from_millis(self.rng.random_range(5_000..250_000));
        let end = if self.rng.random_bool(0.5) { End::Death } else { End::Stop };
        let Perils { deaths, stops, .. } = self.perils;
        let happens = match end {
            End::Death => deaths,
            End::Stop => stops,
        };
        if happens && self.passed() + lives < QUIET { (lives, end) } else { (FOREVER, End::Death) }
    }

    /// A process is gone. `is_fault` says that it could not end what it was about.
    pub(super) fn ended(&mut self, replica: usize, is_fault: bool) {
        if is_fault {
            self.fault();
        }
        self.paused.remove(&replica);
    }

    /// Who leads by the log.
    pub(super) fn leader(&self) -> Option<&str> {
        let last = self.log.iter().rev().find(|header| header.purpose != Purpose::Changes)?;
        (last.purpose == Purpose::TakeOver).then_some(last.writer.as_str())
    }

    /// All that happened, a line each: records, messages that were taken, ticks and faults.
    pub(super) fn events_of_run(&self) -> Vec<String> {
        let records = self.log.iter().map(|record| format!("{record:?}"));
        let taken = self.taken.iter().map(|taken| format!("{taken:?}"));
        let ticks = self.evaluated.iter().map(|at| format!("tick {at:?}"));
        let faults = self.faults.iter().map(|at| format!("fault {at:?}"));
        records.chain(taken).chain(ticks).chain(faults).collect()
    }

    pub(super) fn violated(&mut self, what: String) {
        let at = self.passed();
        self.violation.get_or_insert(format!("at {at:?}: {what}"));
    }

    /// Whether all that was to be sent has been.
    pub(super) fn is_delivered(&self) -> bool {
        self.waiting == 0 && self.ticks.last().is_some_and(|at| *at > QUIET + SETTLED)
    }
}

pub(super) fn start() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}

/// Lets things go wrong.
pub(super) async fn make_trouble(world: Shared) {
    loop {
        let wait = world.lock().unwrap().random(1_000..25_000);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let mut of = world.lock().unwrap();
        if of.is_quiet() {
            return;
        }
        let replicas = of.replicas as u64;
        let anybody = usize::try_from(of.random(0..replicas)).unwrap();
        // What goes wrong with the leader is what matters most.
        let leader = of.leader().and_then(|writer| writer.split_once('-')?.0.parse().ok());
        let replica = leader.filter(|_| of.rng.random_bool(0.5)).unwrap_or(anybody);
        // Often just short, sometimes beyond a lease.
        let lasts = if of.rng.random_bool(0.5) { of.random(200..15_000) } else { of.random(20_000..90_000) };
        let lasts = Duration::from_millis(lasts);
        let Perils { pauses, partitions, outages, bad_receivers, .. } = of.perils;
        match of.random(0..4) {
            0 if pauses => {
                tracing::debug!(at = ?of.passed(), replica, ?lasts, "paused");
                of.paused.insert(replica);
                drop(of);
                tokio::task::spawn_local(resume(Arc::clone(&world), replica, lasts));
            }
            1 if partitions => {
                let everybody = of.rng.random_bool(0.2);
                let cut: Vec<usize> = if everybody { (0..of.replicas).collect() } else { vec![replica] };
                of.cut_off.extend(&cut);
                drop(of);
                tokio::task::spawn_local(reconnect(Arc::clone(&world), cut, lasts));
            }
            2 if outages && !of.is_out => {
                of.is_out = true;
                drop(of);
                tokio::task::spawn_local(recover(Arc::clone(&world), lasts));
            }
            3 if bad_receivers => {
                let receiver = RECEIVERS[replica % RECEIVERS.len()];
                of.refusing.insert(receiver);
                drop(of);
                tokio::task::spawn_local(accept(Arc::clone(&world), receiver, lasts));
            }
            _ => {}
        }
    }
}

async fn resume(world: Shared, replica: usize, after: Duration) {
    world.lock().unwrap().fault();
    tokio::time::sleep(after).await;
    let mut world = world.lock().unwrap();
    world.paused.remove(&replica);
    world.fault();
    for waker in std::mem::take(&mut world.wakers) {
        waker.wake();
    }
}

async fn reconnect(world: Shared, cut: Vec<usize>, after: Duration) {
    tokio::time::sleep(after).await;
    let mut world = world.lock().unwrap();
    world.cut_off.retain(|replica| !cut.contains(replica));
}

async fn recover(world: Shared, after: Duration) {
    tokio::time::sleep(after).await;
    world.lock().unwrap().is_out = false;
}

async fn accept(world: Shared, receiver: &'static str, after: Duration) {
    tokio::time::sleep(after).await;
    world.lock().unwrap().refusing.remove(receiver);
}
