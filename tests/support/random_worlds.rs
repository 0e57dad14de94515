//! Random worlds: jobs of two quota shares that fail, are preempted, find no instances and wait again.

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::model::{
    Attempt, Capacity, JobDetails, JobSeen, Policy, QuotaShare, ServiceEnvironment, Sharing, StoppedAttempt, Timestamp,
};
use trainspotter_core::scheduler::{
    self, AfterRequeue, Delays, Job, Outage, Plan, PlannedAttempt, PlannedOutcome, QueueSetup, Quirks, RetryStrategy,
    Scheduler, Setup, Submission, Terms,
};

const TYPE: &str = "ml.p5.48xlarge";
/// Jobs per world.
const JOBS: u64 = 8;

/// Pseudo-random numbers from a seed.
pub struct Dice(u64);

impl Dice {
    /// The random numbers of a world.
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(104_729).wrapping_add(7))
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

pub fn second(seconds: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(seconds)
}

fn setup(dice: &mut Dice) -> Setup {
    let share = |name: &str, limit: f64| QuotaShare {
        name: name.into(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, limit)],
        sharing: Sharing::LendAndBorrow { borrow_limit: None },
        in_share_preemption: false,
    };
    let queue = QueueSetup {
        name: "prod".into(),
        enabled: true,
        priority: 1,
        policy: Policy::QuotaShares(vec![share("a", 1.0), share("b", 2.0)]),
        environment: "gpus".to_owned(),
        time_limits: Vec::new(),
    };
    let limits = vec![Capacity::new(TYPE, 3.0)];
    let environment = ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits };
    let from = dice.roll(3_600);
    let outage = Outage { unit: TYPE.into(), from: second(from), to: Some(second(from + dice.roll(900))) };
    let after_requeue = if dice.one_in(2) { AfterRequeue::Kept } else { AfterRequeue::Cleared };
    Setup {
        environments: vec![environment],
        queues: vec![queue],
        delays: Delays::TYPICAL,
        quirks: Quirks { after_requeue, ..Quirks::default() },
        outages: vec![outage],
    }
}

fn submission(dice: &mut Dice) -> Submission {
    let attempt = |dice: &mut Dice| PlannedAttempt {
        duration: Duration::from_secs(20 + dice.roll(1_500)),
        outcome: if dice.one_in(3) { PlannedOutcome::Fails("exit 1".into()) } else { PlannedOutcome::Succeeds },
    };
    let attempts = (0..3).map(|_| attempt(dice)).collect();
    let share = if dice.one_in(2) { "a" } else { "b" };
    Submission {
        at: second(dice.roll(3_000)),
        name: "train".to_owned(),
        queue: "prod".into(),
        share: Some(share.into()),
        priority: 0,
        demand: vec![Capacity::new(TYPE, 1.0 + dice.roll(2) as f64)],
        tags: BTreeMap::new(),
        plan: Plan::Attempts(attempts),
        terms: Terms {
            retry: RetryStrategy { attempts: 1 + u32::try_from(dice.roll(3)).unwrap(), ..RetryStrategy::default() },
            ..Terms::default()
        },
        utilisation: 0.9,
    }
}

/// A job as described by AWS.
pub fn described(job: &Job) -> JobSeen {
    let reason = |attempt: &scheduler::Attempt| attempt.status_reason.as_deref().map(str::to_owned);
    let attempts = job.attempts.iter().map(|attempt| Attempt {
        started_at: attempt.started_at,
        stopped_at: attempt.stopped_at,
        status_reason: reason(attempt),
        training_job: attempt.training_job.clone(),
    });
    let preempted = job.preempted.iter().map(|attempt| StoppedAttempt {
        started_at: attempt.started_at,
        stopped_at: attempt.stopped_at,
        status_reason: reason(attempt),
    });
    let details = JobDetails {
        priority: Some(job.priority),
        attempts: attempts.collect(),
        most_attempts: None,
        most_preemptions: None,
        preemptions: job.preemptions,
        preempted: preempted.collect(),
        attempt_timeout: None,
        owner: None,
        tags: std::collections::BTreeMap::new(),
        start_by: None,
    };
    JobSeen { details: Some(Box::new(details)), ..job.listed() }
}

/// A world from this seed, before its first event.
pub fn world(seed: u64, dice: &mut Dice) -> Scheduler {
    let mut scheduler = Scheduler::new(setup(dice), seed, Timestamp::default());
    for _ in 0..JOBS {
        scheduler.submit(submission(dice)).unwrap();
    }
    scheduler
}
