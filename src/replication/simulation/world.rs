//! The simulated world apart from the replicas: the bucket, the receivers, the clock, and a record of the run.

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

/// When the alert's condition holds, in seconds.
pub(super) const HOLDS: [(u64, u64); 2] = [(30, 130), (210, 310)];

pub(super) const RECEIVERS: [&str; 2] = ["oncall", "team"];

pub(super) type Shared = Arc<Mutex<World>>;

/// Possible faults of a run. Each run has some of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Perils {
    pub(super) deaths: bool,
    /// Processes are stopped as in a deployment.
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
    /// At once.
    Death,
    /// By a stop request, with a hand-over.
    Stop,
}

/// Longer than a run.
const FOREVER: Duration = Duration::from_secs(100_000);

/// A message that a receiver accepted.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) at: Duration,
    pub(super) receiver: &'static str,
    pub(super) id: NotificationId,
    pub(super) episode: Timestamp,
    pub(super) kind: Kind,
    /// Whether it reports a failing receiver.
    pub(super) is_trouble: bool,
}

/// The world, without the replicas.
pub(super) struct World {
    pub(super) rng: ChaCha8Rng,
    pub(super) perils: Perils,
    pub(super) replicas: usize,
    pub(super) clock: Clock,
    began: Instant,
    /// Maximum time of a request to the bucket, and of its response, in milliseconds, without faults.
    pub(super) slowest: u64,
    /// The bucket.
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// Headers of all records, as created.
    pub(super) log: Vec<Header>,
    /// Replicas that cannot reach the bucket.
    pub(super) cut_off: BTreeSet<usize>,
    /// Whether the bucket returns errors to everybody.
    pub(super) is_out: bool,
    pub(super) paused: BTreeSet<usize>,
    /// Receivers that refuse everything.
    pub(super) refusing: BTreeSet<&'static str>,
    pub(super) wakers: Vec<Waker>,
    /// Times of faults: a lost response, a death, a pause, an unreachable bucket.
    pub(super) faults: Vec<Duration>,
    pub(super) taken: Vec<Taken>,
    /// Notifications whose response was lost.
    pub(super) unanswered: BTreeSet<NotificationId>,
    /// Undelivered notifications in the outbox of the last leader.
    pub(super) waiting: u32,
    /// When a leader evaluated the condition, committed or not.
    pub(super) evaluated: Vec<Duration>,
    /// Those of them with a committed tick.
    pub(super) ticks: Vec<Duration>,
    /// Number of process starts.
    pub(super) started: u64,
    /// Times of the events to count.
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
            slowest: 60,
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

    /// Whether a fault with this chance occurs, while faults may occur.
    pub(super) fn happens(&mut self, peril: bool, chance: f64) -> bool {
        peril && !self.is_quiet() && self.rng.random_bool(chance)
    }

    pub(super) fn fault(&mut self) {
        let at = self.passed();
        self.faults.push(at);
    }

    /// Lifetime of the next process, and how it ends.
    pub(super) fn lifetime(&mut self) -> (Duration, End) {
        let lasts = Duration::from_millis(self.rng.random_range(5_000..250_000));
        let end = if self.rng.random_bool(0.5) { End::Death } else { End::Stop };
        let Perils { deaths, stops, .. } = self.perils;
        let happens = match end {
            End::Death => deaths,
            End::Stop => stops,
        };
        if happens && self.passed() + lasts < QUIET { (lasts, end) } else { (FOREVER, End::Death) }
    }

    /// A process has ended. `is_fault` means that it could not finish.
    pub(super) fn ended(&mut self, replica: usize, is_fault: bool) {
        if is_fault {
            self.fault();
        }
        self.paused.remove(&replica);
    }

    /// The leader by the log.
    pub(super) fn leader(&self) -> Option<&str> {
        let last = self.log.iter().rev().find(|header| header.purpose != Purpose::Changes)?;
        (last.purpose == Purpose::TakeOver).then_some(last.writer.as_str())
    }

    /// All events, one per line: records, accepted messages, ticks and faults.
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

    /// Whether everything has been delivered.
    pub(super) fn is_delivered(&self) -> bool {
        self.waiting == 0 && self.ticks.last().is_some_and(|at| *at > QUIET + SETTLED)
    }
}

pub(super) fn start() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000)
}
