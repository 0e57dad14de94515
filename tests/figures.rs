//! Conservation laws of the figures, at every tick of random lives of queues.
//!
//! The scheduler is the world, a ledger watches it, and the derived figures must add up and agree with what is true.

#![expect(clippy::unwrap_used, reason = "a world that cannot be read has failed the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter::derive::{self, Counting, Frame, Inputs, Reason, Service, Value};
use trainspotter::ledger::Ledger;
use trainspotter::model::{
    Capacity, JobDetails, JobSeen, JobStatus, Policy, Queue, QuotaShare, ServiceEnvironment, Sharing, Timestamp,
};
use trainspotter::scheduler::{Delays, Job, Plan, PlannedOutcome, QueueSetup, Scheduler, Setup, Submission, Terms};

const TYPE: &str = "ml.p5.48xlarge";
const GPUS: f64 = 8.0;
/// Per instance and hour.
const DOLLARS: f64 = 98.0;
const TICK: Duration = Duration::from_secs(30);
const TICKS: u32 = 400;

fn sharing(pick: u64) -> Sharing {
    match pick % 4 {
        0 => Sharing::Reserve,
        1 => Sharing::Lend,
        2 => Sharing::LendAndBorrow { borrow_limit: None },
        _ => Sharing::LendAndBorrow { borrow_limit: Some(50) },
    }
}

/// Numbers that look random and are the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A queue of four quota shares and a FIFO queue, each with its own environment.
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
    let queues = vec![queue("quotas", Policy::QuotaShares(shares.collect())), queue("fifo", Policy::Fifo)];
    let environments = vec![environment("quotas", limits.iter().sum()), environment("fifo", 8.0)];
    Setup { environments, queues, delays: Delays::TYPICAL, ..Setup::default() }
}

fn submission(dice: &mut Dice) -> Submission {
    let quotas = dice.roll(4) > 0;
    let share = ["a", "b", "c", "d"][usize::try_from(dice.roll(4)).unwrap()];
    Submission {
        at: Timestamp::default() + TICK * u32::try_from(dice.roll(u64::from(TICKS))).unwrap(),
        name: "train".to_owned(),
        queue: if quotas { "quotas" } else { "fifo" }.into(),
        share: quotas.then(|| share.into()),
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
    JobSeen {
        id: job.id.clone(),
        arn: job.id.to_string(),
        name: job.name.clone(),
        queue: job.queue.clone(),
        share: job.share.clone(),
        status: job.status.clone(),
        status_reason: job.status_reason.as_deref().map(str::to_owned),
        created_at: job.created_at,
        scheduled_at: job.scheduled_at,
        started_at: job.started_at,
        stopped_at: job.stopped_at,
        demand: job.demand.to_vec(),
        training_job: job.training_job.clone(),
        terminated: job.terminated,
        details: Some(details),
    }
}

/// One world and what is derived from watching it.
struct World {
    scheduler: Scheduler,
    queues: Vec<Queue>,
    ledger: Ledger,
    counting: Counting,
    /// GPU-seconds by queue and part, summed from the gauges.
    integral: BTreeMap<(String, &'static str), f64>,
    runnable: u64,
    unexplained: u64,
    lent: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let setup = setup(&mut dice);
        let queues = setup.queues.iter().zip(&setup.environments).map(|(queue, environment)| Queue {
            name: queue.name.clone(),
            arn: String::new(),
            enabled: true,
            status_reason: None,
            has_time_limit: true,
            policy: queue.policy.clone(),
            environment: Some(environment.clone()),
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
            counting: Counting::new(&[], Timestamp::from_millis(-1)),
            integral: BTreeMap::new(),
            runnable: 0,
            unexplained: 0,
            lent: false,
        }
    }

    fn tick(&mut self, now: Timestamp) -> Frame {
        self.scheduler.advance(now);
        for job in self.scheduler.jobs() {
            self.ledger.observe(seen(job), now);
        }
        self.counting.count(self.ledger.take_events(), now);
        let (utilisation, fronts) = (BTreeMap::new(), BTreeMap::new());
        let inputs = Inputs {
            now,
            queues: &self.queues,
            ledger: &self.ledger,
            utilisation: &utilisation,
            fronts: &fronts,
            prices: &BTreeMap::from([(TYPE.into(), DOLLARS)]),
            sources: &[],
        };
        derive::frame(&inputs, &Service::default(), &mut self.counting)
    }

    /// The laws that hold in each frame.
    fn laws(&mut self, frame: &Frame) {
        for row in &frame.waterfall {
            let capacity = row.capacity_gpus.unwrap();
            let sum: f64 = row.parts.values().sum();
            assert!((sum - capacity).abs() < 1e-9, "{row:?}");
            let causes: f64 = row.unallocated.values().sum();
            assert!((causes - row.parts["unallocated"]).abs() < 1e-9, "{row:?}");
            assert!(row.parts.values().chain(row.unallocated.values()).all(|gpus| *gpus >= 0.0), "{row:?}");
            for (part, dollars) in &row.dollars_per_hour {
                assert!((dollars - row.parts[part] / GPUS * DOLLARS).abs() < 1e-9, "{row:?}");
            }
            assert_eq!(row.dollars_per_hour.len(), row.parts.len());
            for (part, gpus) in &row.parts {
                let at_zero = frame.at == Timestamp::default();
                let seconds = if at_zero { 0.0 } else { TICK.as_secs_f64() };
                *self.integral.entry((row.queue.to_string(), part)).or_default() += gpus * seconds;
            }
        }
        let (borrowed, lent) =
            frame.shares.iter().fold((0.0, 0.0), |(borrowed, lent), row| (borrowed + row.borrowed, lent + row.lent));
        assert!((borrowed - lent).abs() < 1e-9, "{:?}", frame.shares);
        self.lent |= lent > 0.0;
        let loans: f64 = frame.loans.iter().map(|loan| loan.gpus).sum();
        assert!((loans - lent * GPUS).abs() < 1e-9, "{:?}", frame.loans);
        for row in frame.shares.iter().filter(|row| row.used <= row.quota.unwrap_or(0.0)) {
            assert!((row.used + row.lent + row.idle - row.quota.unwrap()).abs() < 1e-9, "{row:?}");
        }
        let waiting = self.scheduler.jobs().filter(|job| job.status.is_waiting()).count() as u64;
        assert_eq!(frame.reasons.iter().map(|row| row.jobs).sum::<u64>(), waiting, "one reason each");
        // The scheduler has decided all it can: nothing that it left RUNNABLE waits for a decision.
        let runnable = self.scheduler.jobs().filter(|job| job.status == JobStatus::Runnable).count() as u64;
        let submitted = waiting - runnable;
        let evaluating: u64 =
            frame.reasons.iter().filter(|row| row.reason == Reason::Evaluating).map(|row| row.jobs).sum();
        self.runnable += runnable;
        self.unexplained += evaluating - submitted.min(evaluating);
    }
}

fn counter(frame: &Frame, metric: &str, labels: [&str; 2]) -> f64 {
    let of = |sample: &&derive::Sample| {
        sample.metric.name == metric
            && sample.labels.values().map(|value| &**value).eq({
                let mut labels = labels;
                // Label values come in the order of label names: part, queue.
                labels.reverse();
                labels
            })
    };
    match frame.samples.iter().find(of).map(|sample| &sample.value) {
        Some(Value::Counter(value)) => *value,
        other => panic!("{metric} {labels:?}: {other:?}"),
    }
}

#[test]
fn every_tick_of_every_world_adds_up() {
    let (mut runnable, mut unexplained, mut lent) = (0, 0, 0);
    for seed in 0..6 {
        let mut world = World::new(seed);
        let mut last = Frame::default();
        for tick in 0..TICKS {
            last = world.tick(Timestamp::default() + TICK * tick);
            world.laws(&last);
        }
        for ((queue, part), expected) in &world.integral {
            let counted = counter(&last, "gpu.time", [queue, part]);
            assert!((counted - expected).abs() < 1e-6, "seed {seed}: {queue} {part}: {counted} of {expected}");
        }
        holds_what_jobs_held(&world, &last, seed);
        (runnable, unexplained) = (runnable + world.runnable, unexplained + world.unexplained);
        lent += u32::from(world.lent);
    }
    assert!(runnable > 5_000 && lent > 1, "the worlds are busy: {runnable} job-ticks, {lent} lend");
    let ratio = unexplained as f64 / runnable as f64;
    assert!(ratio < 0.01, "{unexplained} of {runnable} job-ticks without an explanation");
}

/// What the counters say was held equals what the scheduler knows to have been held, within one interval at each end.
fn holds_what_jobs_held(world: &World, frame: &Frame, seed: u64) {
    for queue in ["quotas", "fifo"] {
        let held = ["scheduled", "starting", "running_busy", "running_idle", "running_unknown"];
        let counted: f64 = held.iter().map(|part| counter(frame, "gpu.time", [queue, part])).sum();
        let (mut truth, mut slack) = (0.0, 0.0);
        for job in world.scheduler.jobs().filter(|job| job.queue.as_str() == queue) {
            let gpus: f64 = job.demand.iter().map(|capacity| capacity.quantity * GPUS).sum();
            for span in job.spans.iter().filter(|span| span.phase != trainspotter::scheduler::Phase::Waiting) {
                truth += gpus * span.to.unwrap_or(frame.at).seconds_since(span.from);
                slack += gpus * TICK.as_secs_f64();
            }
        }
        assert!(truth > 0.0 && (counted - truth).abs() <= slack, "seed {seed}: {queue}: {counted} of {truth}");
        // The ends are as often early as late: over a whole world they cancel out.
        assert!((counted / truth - 1.0).abs() < 0.02, "seed {seed}: {queue}: {counted} of {truth}");
    }
}

#[test]
fn a_stuck_queue_is_silent_in_the_histogram_and_loud_in_the_estimate() {
    let mut world = World::new(1);
    let mut before: Option<(u64, f64)> = None;
    for hour in 0..6 {
        let now = Timestamp::default() + Duration::from_secs(hour * 3600);
        for number in 0..40 {
            let job =
                JobSeen { id: format!("stuck-{number}").into(), queue: "fifo".into(), ..waiting(Timestamp::default()) };
            world.ledger.observe(job, now);
        }
        let frame = {
            let (utilisation, fronts) = (BTreeMap::new(), BTreeMap::new());
            let inputs = Inputs {
                now,
                queues: &world.queues,
                ledger: &world.ledger,
                utilisation: &utilisation,
                fronts: &fronts,
                prices: &BTreeMap::new(),
                sources: &[],
            };
            derive::frame(&inputs, &Service::default(), &mut world.counting)
        };
        let of_fifo = |labels: &derive::Labels| labels.values().any(|value| &**value == "fifo");
        let count = frame.samples.iter().find(|one| one.metric.name == "queue.wait" && of_fifo(&one.labels));
        let Some(Value::Distribution(waits)) = count.map(|one| &one.value) else { panic!("no histogram") };
        let p95 = frame.estimates.iter().find(|row| row.queue.as_str() == "fifo").unwrap().seconds[2];
        if let Some((count, earlier)) = before.replace((waits.count, p95)) {
            assert_eq!(waits.count, count, "silent");
            assert!((p95 - earlier - 3600.0).abs() < 1.0, "an hour later it is an hour more: {earlier} then {p95}");
        }
    }
}

fn waiting(created_at: Timestamp) -> JobSeen {
    JobSeen {
        id: "job".into(),
        arn: String::new(),
        name: "train".to_owned(),
        queue: "fifo".into(),
        share: None,
        status: JobStatus::Runnable,
        status_reason: None,
        created_at,
        scheduled_at: None,
        started_at: None,
        stopped_at: None,
        demand: vec![Capacity::new(TYPE, 1.0)],
        training_job: None,
        terminated: false,
        details: None,
    }
}
