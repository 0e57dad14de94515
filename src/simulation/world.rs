//! Everything outside the processes: AWS, the bucket, and the machines' clocks and disks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::aws;
use super::planted_errors::Distortion;
use super::scenario::{Fault, FaultKind, Scenario};
use crate::simulation::record::{Look, Received, Silenced};
use crate::store::StoreError;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;

pub(super) type Shared = Arc<Mutex<World>>;

/// Start of the simulated time.
const BEGIN: Timestamp = Timestamp::from_millis(1_760_000_000_000);

/// What happens to a request on the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) there: Duration,
    /// It never arrives.
    pub(super) is_cut_off: bool,
    /// It arrives, but its response does not.
    pub(super) is_answer_lost: bool,
}

/// Makes a future that stays on this thread.
pub(super) type Local = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Pages of a process, by its simulated port.
#[derive(Clone)]
pub(super) struct Page {
    pub(super) port: u16,
    pub(super) router: Router,
}

/// What happens to a call of a store on the disk.
pub(super) struct Disk {
    pub(super) delay: Duration,
    pub(super) error: Option<StoreError>,
}

/// Random numbers for one purpose.
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    pub(super) fn millis(&mut self, range: Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    pub(super) fn one_in(&mut self, sides: u64) -> bool {
        self.0.random_range(0..sides) == 0
    }
}

/// FNV-1a: the same with every toolchain.
fn fingerprint(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Everything but the processes themselves.
pub(super) struct World {
    pub(super) scenario: Scenario,
    /// How the world is distorted, if it is.
    pub(super) distortion: Option<Distortion>,
    /// Number of draws of random numbers, by purpose.
    draws: BTreeMap<(usize, u64), u64>,
    began: Instant,
    pub(super) aws: Router,
    pub(super) folder: tempfile::TempDir,
    pub(super) locals: mpsc::UnboundedSender<Local>,
    clocks: Vec<(Clock, usize)>,
    pub(super) pages: Vec<Page>,
    /// Number of started processes.
    pub(super) processes: u64,
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    /// The replica that wrote the last record of the log.
    pub(super) writer: Option<usize>,
    pub(super) received: Vec<Received>,
    pub(super) looks: Vec<Look>,
    pub(super) silenced: Vec<Silenced>,
    /// When the shutdown of the processes was requested.
    pub(super) ended: Option<f64>,
    pub(super) violation: Option<String>,
    /// Number of responses of AWS that were changed.
    pub(super) mangled: u64,
}

impl World {
    pub(super) fn new(
        scenario: Scenario,
        distortion: Option<Distortion>,
        locals: mpsc::UnboundedSender<Local>,
    ) -> Shared {
        clear_steps();
        let simulation = aws::simulation(&scenario, Clock::starting_at(BEGIN, 1.0));
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Arc::new(Mutex::new(Self {
            draws: BTreeMap::new(),
            scenario,
            distortion,
            began: Instant::now(),
            aws: simulation.router(),
            folder: folder.unwrap(),
            locals,
            clocks: Vec::new(),
            pages: Vec::new(),
            processes: 0,
            objects: BTreeMap::new(),
            writer: None,
            received: Vec::new(),
            looks: Vec::new(),
            silenced: Vec::new(),
            ended: None,
            violation: None,
            mangled: 0,
        }))
    }

    /// Seconds since the start.
    pub(super) fn passed(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Random numbers for one request of a replica, by its operation and count, so that they do not depend on the order of requests at the same
    /// moment.
    pub(super) fn draw(&mut self, replica: usize, purpose: &[&[u8]]) -> Draw {
        let purpose = fingerprint(purpose);
        let count = self.draws.entry((replica, purpose)).or_default();
        *count += 1;
        let own = fingerprint(&[&self.scenario.seed.to_le_bytes(), &replica.to_le_bytes(), &count.to_le_bytes()]);
        Draw(ChaCha8Rng::seed_from_u64(own ^ purpose))
    }

    pub(super) fn violated(&mut self, what: impl Into<String>) {
        let at = self.passed();
        self.violation.get_or_insert(format!("at {at:.0} s: {}", what.into()));
    }

    /// The current fault of a kind, for a replica.
    fn fault(&self, kind: FaultKind, replica: usize) -> Option<&Fault> {
        let now = self.passed();
        let covers = |fault: &&Fault| {
            let (from, to) = (fault.at as f64, (fault.at + fault.lasts) as f64);
            fault.kind == kind && fault.replica == replica && (from..to).contains(&now)
        };
        self.scenario.faults.iter().find(covers)
    }

    pub(super) fn has(&self, kind: FaultKind, replica: usize) -> bool {
        self.fault(kind, replica).is_some()
    }

    /// What happens to a replica's request to AWS.
    pub(super) fn way(&mut self, replica: usize, request: &[&[u8]]) -> Way {
        let mut draw = self.draw(replica, request);
        let there = Duration::from_millis(draw.millis(5..60));
        let is_cut_off = self.has(FaultKind::Partition, replica);
        let is_answer_lost = self.has(FaultKind::LostAnswers, replica) && draw.one_in(4);
        Way { there, is_cut_off, is_answer_lost }
    }

    /// Whether a fault of a kind that affects all replicas is active: faults of the bucket and of disks do.
    pub(super) fn has_any(&self, kind: FaultKind) -> bool {
        (0..self.scenario.replicas).any(|replica| self.has(kind, replica))
    }

    /// Records that a replica sends a notification: no other may have written to the log since this one did.
    pub(super) fn sends(&mut self, replica: usize) {
        if let Some(writer) = self.writer.filter(|writer| *writer != replica) {
            self.violated(format!("replica {replica} sends a notification after replica {writer} has taken over"));
        }
    }

    /// What happens to a call of a store on the disk.
    pub(super) fn disk(&mut self) -> Disk {
        let delay = if self.has_any(FaultKind::SlowDisk) { self.draw(0, &[b"disk"]).millis(100..4_000) } else { 0 };
        let error = self.has_any(FaultKind::FailingDisk).then(|| StoreError::Sqlite("disk I/O error".to_owned()));
        Disk { delay: Duration::from_millis(delay), error }
    }

    /// The clock of a replica's machine, for a new process.
    pub(super) fn clock(&mut self, replica: usize) -> Clock {
        // Machines' clocks differ a little, so that they can be distinguished.
        let apart = Duration::from_millis(replica as u64);
        let clock = Clock::starting_at(BEGIN + self.began.elapsed() + apart, 1.0).set_by(MOVED[replica]);
        self.clocks.push((clock, replica));
        clock
    }

    pub(super) fn replica_of(&self, clock: &Clock) -> usize {
        self.clocks.iter().find(|(own, _)| own.is_copy_of(clock)).map_or(0, |(_, replica)| *replica)
    }

    /// Records the messages that a topic received.
    pub(super) fn took(&mut self, form: &[u8], is_answer_lost: bool) {
        let pairs: BTreeMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
        if pairs.get("Action").is_none_or(|action| action != "Publish") {
            return;
        }
        let texts: Value = serde_json::from_str(&pairs["Message"]).unwrap_or_default();
        let body: Value = serde_json::from_str(texts["http"].as_str().unwrap_or_default()).unwrap_or_default();
        for alert in body["alerts"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let received = Received {
                at: self.passed() - self.distortion.map_or(0.0, Distortion::early_by),
                topic: pairs["TopicArn"].clone(),
                rule: text(&alert["labels"]["alertname"]),
                episode: format!("{} {}", text(&alert["fingerprint"]), text(&alert["startsAt"])),
                is_resolved: text(&alert["status"]) == "resolved",
                because: text(&alert["endedBecause"]),
                is_answer_lost,
            };
            let copies = self.distortion.map_or(1, |distortion| distortion.copies(received.is_resolved));
            self.received.extend(std::iter::repeat_n(received, copies));
        }
    }
}

/// Converts AWS's time to seconds since the start.
pub(super) fn seconds(at: &Value) -> Option<f64> {
    let at: Timestamp = serde_json::from_value(at.clone()).ok()?;
    Some(at.seconds_since(BEGIN))
}

thread_local! {
    /// Seconds by which each machine's clock is ahead.
    static STEPS: [std::cell::Cell<i64>; 3] = const { [const { std::cell::Cell::new(0) }; 3] };
}

/// The same in milliseconds, by machine.
const MOVED: [fn() -> i64; 3] = [|| moved_millis(0), || moved_millis(1), || moved_millis(2)];

fn moved_millis(replica: usize) -> i64 {
    STEPS.with(|steps| steps[replica].get()) * 1_000
}

/// Sets a machine's clock.
pub(super) fn step(replica: usize, seconds: i64) {
    STEPS.with(|steps| steps[replica].set(steps[replica].get() + seconds));
}

fn clear_steps() {
    STEPS.with(|steps| steps.iter().for_each(|step| step.set(0)));
}
