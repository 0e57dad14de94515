//! A random history of four queues, and the figures derived from observing it.

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::jobs::Ledger;
use trainspotter_core::metrics::{self, Counting, Frame, Inputs, Service, Why};
use trainspotter_core::model::{
    Capacity, JobDetails, JobSeen, Policy, Queue, QuotaShare, ServiceEnvironment, Sharing, Timestamp, WeightedShare,
};
use trainspotter_core::scheduler::{
    Delays, Job, Outage, Plan, PlannedOutcome, QueueSetup, Scheduler, Setup, Submission, Terms,
};

pub const TYPE: &str = "ml.p5.48xlarge";
pub const GPUS: f64 = 8.0;
/// Per instance-hour.
pub const DOLLARS: f64 = 98.0;
pub const TICK: Duration = Duration::from_secs(30);
pub const TICKS: u32 = 400;

/// Time of a tick.
pub fn tick(number: u32) -> Timestamp {
    Timestamp::default() + TICK * number
}

fn sharing(pick: u64) -> Sharing {
    match pick % 4 {
        0 => Sharing::Reserve,
        1 => Sharing::Lend,
        2 => Sharing::LendAndBorrow { borrow_limit: None },
        _ => Sharing::LendAndBorrow { borrow_limit: Some(50) },
    }
}

/// Pseudo-random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A queue with four quota shares, one with three fair shares and a FIFO queue, each with its own environment. For a
/// while no instances are available.
fn setup(dice: &mut Dice) -> Setup {
    let limits: Vec<f64> = (0..4).map(|_| 2.0 + dice.roll(6) as f64).collect();
    let shares = ["a", "b", "c", "d"].iter().zip(&limits).map(|(name, limit)| QuotaShare {
        name: (*name).into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, *limit)],
        sharing: sharing(dice.roll(4)),
        in_share_preemption: false,
    });
    let queue = |name: &str, policy| QueueSetup {
        name: name.into(),
        enabled: true,
        priority: 1,
        policy,
        environment: format!("{name}-environment"),
        time_limits: Vec::new(),
    };
    let environment = |name: &str, instances| ServiceEnvironment {
        name: format!("{name}-environment"),
        enabled: true,
        limits: vec![Capacity::new(TYPE, instances)],
    };
    let weights = [("a", 1.0), ("b", 0.25), ("c", 1.0)];
    let weights = weights.map(|(share, weight)| WeightedShare { share: share.into(), weight }).into();
    let fair = Policy::FairShare { shares: weights, decay: Duration::from_secs(1_200), reservation: 60 };
    let quotas = Policy::QuotaShares(shares.collect());
    let queues = vec![queue("quotas", quotas), queue("fifo", Policy::Fifo), queue("fair", fair)];
    let environments =
        vec![environment("quotas", limits.iter().sum()), environment("fifo", 8.0), environment("fair", 6.0)];
    let outages = vec![Outage { unit: TYPE.into(), from: tick(100), to: Some(tick(130)) }];
    Setup { environments, queues, outages, delays: Delays::TYPICAL, ..Setup::default() }
}

fn submission(dice: &mut Dice) -> Submission {
    let (queue, shares) = match dice.roll(8) {
        0 | 1 => ("fifo", 0),
        2 => ("fair", 3),
        _ => ("quotas", 4),
    };
    let share = ["a", "b", "c", "d"][usize::try_from(dice.roll(shares.max(1))).unwrap()];
    Submission {
        at: tick(u32::try_from(dice.roll(u64::from(TICKS))).unwrap()),
        name: "train".to_owned(),
        queue: queue.into(),
        share: (shares > 0).then(|| share.into()),
        priority: i32::try_from(dice.roll(3)).unwrap(),
        demand: vec![Capacity::new(TYPE, 1.0 + dice.roll(4) as f64)],
        tags: BTreeMap::new(),
        plan: Plan::Runs {
            duration: Duration::from_secs(60 + dice.roll(3_000)),
            outcome: if dice.roll(10) > 0 { PlannedOutcome::Succeeds } else { PlannedOutcome::Fails("exit 1".into()) },
        },
        terms: Terms::default(),
        utilisation: 0.9,
    }
}

fn seen(job: &Job) -> JobSeen {
    let details = JobDetails { priority: Some(job.priority), preemptions: job.preemptions, ..JobDetails::default() };
    JobSeen { details: Some(Box::new(details)), ..job.listed() }
}

/// One simulated system and its observers.
pub struct World {
    pub scheduler: Scheduler,
    pub queues: Vec<Queue>,
    pub ledger: Ledger,
    pub counting: Counting,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let setup = setup(&mut dice);
        let queues = setup.queues.iter().zip(&setup.environments).map(|(queue, environment)| {
            Queue::new(queue.name.clone(), queue.policy.clone(), Some(environment.clone()))
        });
        let queues = queues.collect();
        let mut scheduler = Scheduler::new(setup, seed, Timestamp::default());
        for _ in 0..200 {
            scheduler.submit(submission(&mut dice)).unwrap();
        }
        Self {
            scheduler,
            queues,
            ledger: Ledger::default(),
            counting: Counting::new(&[], &[], Timestamp::from_millis(-1)),
        }
    }

    pub fn tick(&mut self, now: Timestamp) -> Frame {
        self.scheduler.advance(now);
        for job in self.scheduler.jobs() {
            let changes = self.ledger.observe(seen(job), now);
            self.counting.record(changes);
        }
        self.counting.count(&self.ledger, now);
        self.frame(now)
    }

    /// Figures computed from the ledger.
    pub fn frame(&mut self, now: Timestamp) -> Frame {
        let fronts = BTreeMap::new();
        let inputs = Inputs {
            now,
            queues: &self.queues,
            ledger: &self.ledger,
            fronts: &fronts,
            prices: &BTreeMap::from([(TYPE.into(), DOLLARS)]),
            reserved: &[],
            sources: &[],
            expected_starts: &BTreeMap::new(),
            forecasts: &[],
        };
        metrics::frame(&inputs, &Service::default(), &mut self.counting)
    }

    /// Why a job waits, according to the ledger.
    pub fn why(&self, job: &Job, now: Timestamp) -> Option<Why> {
        let fronts = BTreeMap::new();
        let inputs = Inputs {
            now,
            queues: &self.queues,
            ledger: &self.ledger,
            fronts: &fronts,
            prices: &BTreeMap::new(),
            reserved: &[],
            sources: &[],
            expected_starts: &BTreeMap::new(),
            forecasts: &[],
        };
        metrics::why(self.ledger.job(&job.id)?, &inputs, &self.counting)
    }
}
