//! Runs a workload through the scheduler, and makes forecasts at regular times from what is known then.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use trainspotter_core::forecast::{
    Forecaster, HORIZON, InitialState, JobTraits, OpenJob, Outlook, Profile, WaitEnd, run,
};
use trainspotter_core::model::{JobStatus, QueueName, ShareName, Timestamp};
use trainspotter_core::scheduler::{
    Delays, Job, Plan, PlannedOutcome, Scheduler, Setup, Submission, Terms, TransitionKind,
};

use crate::workload::{Workload, WorkloadJob};

/// A tested estimate with the actual start and two simpler predictions, in seconds.
#[derive(Clone, Debug)]
pub struct Tested {
    pub share: ShareName,
    /// Number of the job.
    pub job: usize,
    /// Time of the estimate.
    pub at: Timestamp,
    pub low: f64,
    pub middle: f64,
    pub high: f64,
    pub actual: f64,
    pub mean_of_day: f64,
    pub plan: f64,
    /// Wait of the job at the time of the estimate.
    pub age: f64,
    /// Evenly spaced quantiles of the share's waits in the day before.
    pub waits: Vec<f64>,
}

/// Runs of one forecast: fewer than in the service, so that the measurement does not take hours.
pub const TESTED_RUNS: usize = 30;

/// Number of forecasts over a workload, evenly spaced over its submissions.
pub const MOMENTS: usize = 300;

/// Delay of a forecast after a submission, so that jobs that start at once no longer wait.
const AFTER_SUBMISSION: Duration = Duration::from_secs(60);

/// Fractions of the submissions: for training, and before the tested part.
const SPLIT: (f64, f64) = (0.2, 0.4);

/// Number of quantiles of past waits stored with an estimate.
const WAIT_QUANTILES: usize = 101;

/// Maximum tested estimates of one job, as in the service.
const MAX_OF_JOB: usize = 8;

struct Made {
    share: ShareName,
    at: Timestamp,
    ends: [f64; 3],
    mean_of_day: f64,
    plan: f64,
    age: f64,
    waits: Vec<f64>,
}

/// State of a replay.
struct Replay<'a> {
    workload: &'a Workload,
    scheduler: Scheduler,
    setup: Setup,
    forecaster: Forecaster,
    dispatched: BTreeMap<usize, Timestamp>,
    waits: VecDeque<(Timestamp, ShareName, f64)>,
    made: BTreeMap<usize, Vec<Made>>,
    tested: Vec<Tested>,
}

/// Makes forecasts over a workload: trains on the first part of the submissions, calibrates on the next one, and
/// tests on the rest.
pub fn replay(workload: &Workload, policy: &str) -> Vec<Tested> {
    let setup = workload.setup(policy);
    let Some(begin) = workload.jobs.first().map(|job| job.at) else { return Vec::new() };
    let mut scheduler = Scheduler::new(setup.clone(), 1, begin - Duration::from_secs(1));
    let is_fifo = policy == "FIFO";
    for job in &workload.jobs {
        // Rejected submissions are ignored.
        let _ = scheduler.submit(submission(job, is_fifo));
    }
    scheduler.keep_transitions(begin - Duration::from_secs(1));
    let setup = Setup { delays: Delays::NONE, ..setup };
    let mut replay = Replay {
        workload,
        scheduler,
        setup,
        forecaster: Forecaster::default(),
        dispatched: BTreeMap::new(),
        waits: VecDeque::new(),
        made: BTreeMap::new(),
        tested: Vec::new(),
    };
    for step in 0..MOMENTS {
        let part = SPLIT.0 + (1.0 - SPLIT.0) * step as f64 / MOMENTS as f64;
        let index = (part * workload.jobs.len() as f64) as usize;
        let Some(now) = workload.jobs.get(index).map(|job| job.at + AFTER_SUBMISSION) else { continue };
        replay.advance(now);
        replay.forecast(now, part >= SPLIT.1);
    }
    // Jobs that wait at the end are tested too, if they ever start.
    replay.advance(begin + workload.span() * 3);
    replay.tested
}

fn submission(job: &WorkloadJob, is_fifo: bool) -> Submission {
    Submission {
        at: job.at,
        name: job.name.clone(),
        queue: "q".into(),
        share: Some(job.share.clone()).filter(|_| !is_fifo),
        priority: 0,
        demand: vec![trainspotter_core::model::Capacity::new(crate::workload::TYPE, job.instances)],
        tags: BTreeMap::new(),
        plan: Plan::Runs { duration: Duration::from_secs_f64(job.seconds), outcome: PlannedOutcome::Succeeds },
        terms: Terms::default(),
        utilisation: 0.8,
    }
}

impl Replay<'_> {
    fn advance(&mut self, to: Timestamp) {
        self.scheduler.advance(to);
        for transition in self.scheduler.take_transitions() {
            let number = transition.job;
            let Some(job) = self.scheduler.job_number(number).cloned() else { continue };
            let traits = self.traits(&job);
            match transition.kind {
                TransitionKind::Submitted => {
                    let demand = job.demand.to_vec().into();
                    self.forecaster.arrived(&job.id, (transition.at, None), &traits, job.priority, &demand);
                }
                TransitionKind::Moved { to: JobStatus::Scheduled, .. } => {
                    self.dispatched.insert(number, transition.at);
                    self.forecaster.wait_ended(&job.id, transition.at, WaitEnd::Dispatched);
                    let share = self.share(number);
                    self.waits.push_back((transition.at, share, transition.at.seconds_since(job.created_at)));
                    self.test(number, transition.at);
                }
                TransitionKind::Moved { to: JobStatus::Succeeded | JobStatus::Failed, .. } => {
                    self.attempt_ended(number, &job, &traits, transition.at, true);
                }
                TransitionKind::Preempted => self.attempt_ended(number, &job, &traits, transition.at, false),
                TransitionKind::Moved { .. } | TransitionKind::Retried | TransitionKind::Terminated => {}
            }
        }
        while self.waits.front().is_some_and(|(at, ..)| to.since(*at) > Duration::from_secs(86_400)) {
            self.waits.pop_front();
        }
    }

    fn attempt_ended(&mut self, number: usize, job: &Job, traits: &JobTraits, at: Timestamp, ended: bool) {
        if let Some(since) = self.dispatched.remove(&number) {
            let attempt = job.preemptions + u32::from(ended) * 1_000;
            self.forecaster.attempt_ended(&job.id, attempt, traits, (since, at.seconds_since(since)), ended);
        }
    }

    fn test(&mut self, number: usize, at: Timestamp) {
        for made in self.made.remove(&number).unwrap_or_default() {
            let [low, middle, high] = made.ends;
            let Made { share, at: made_at, mean_of_day, plan, age, waits, .. } = made;
            // As for estimates, all times beyond the horizon are equal.
            let actual = at.seconds_since(made_at).min(HORIZON.as_secs_f64());
            let job = number;
            self.tested.push(Tested {
                share,
                job,
                at: made_at,
                low,
                middle,
                high,
                actual,
                mean_of_day,
                plan,
                age,
                waits,
            });
        }
    }

    fn share(&self, number: usize) -> ShareName {
        self.workload.jobs.get(number).map_or_else(|| ShareName::new(""), |job| job.share.clone())
    }

    fn traits(&self, job: &Job) -> JobTraits {
        let submitted = self.workload.jobs.get(job.number);
        JobTraits {
            queue: QueueName::new("q"),
            share: job.share.clone(),
            owner: submitted.map(|job| job.owner.clone()).filter(|owner| !owner.is_empty()),
            name: job.name.clone(),
            instances: job.demand.iter().map(|capacity| capacity.quantity).sum(),
        }
    }

    fn open_job(&mut self, job: &Job) -> OpenJob {
        let kind = self.traits(job).kind();
        OpenJob {
            id: job.id.clone(),
            queue: job.queue.clone(),
            share: job.share.clone(),
            priority: job.priority,
            demand: job.demand.to_vec().into(),
            created_at: job.created_at,
            dispatched_at: self.dispatched.get(&job.number).copied().filter(|_| job.status.is_in_flight()),
            holds_at_most: None,
            preemption_retries: None,
            kind,
            profile: self.forecaster.profile(kind),
            lacks_instances: false,
        }
    }

    fn forecast(&mut self, now: Timestamp, is_test: bool) {
        let open: Vec<Job> = self.scheduler.jobs().filter(|job| !job.status.is_ended()).cloned().collect();
        let (mut in_flight, mut waiting) = (Vec::new(), Vec::new());
        let mut numbers = Vec::new();
        for job in &open {
            let one = self.open_job(job);
            if job.status.is_in_flight() {
                in_flight.push(one);
            } else {
                waiting.push(one);
                numbers.push(job.number);
            }
        }
        let arrivals = self.forecaster.arrivals(now, |_, _| true);
        let ended = self.forecaster.ended();
        let setup = self.setup.clone();
        let initial =
            InitialState { now, setup, disabled: Vec::new(), in_flight, waiting, left_out: 0, arrivals, ended };
        self.forecaster.take(&initial, &run(&initial, TESTED_RUNS));
        if is_test {
            self.note(&initial, &numbers, &open);
        }
    }

    /// Records the estimates that are due, by the rule of the service.
    fn note(&mut self, initial: &InitialState, numbers: &[usize], open: &[Job]) {
        let plan = run(&self.planned(initial, open), 1);
        let horizon = HORIZON.as_secs_f64();
        let past = self.past_waits();
        for (index, (number, job)) in numbers.iter().zip(&initial.waiting).enumerate() {
            let Outlook::Expected(estimate) = self.forecaster.shown(&job.id) else { continue };
            let made = self.made.get(number).map_or(&[][..], Vec::as_slice);
            let is_due = made.first().zip(made.last()).is_none_or(|(first, last)| {
                initial.now.since(last.at) >= last.at.since(first.at).max(Duration::from_secs(300))
            });
            let is_new = initial.now.since(job.created_at) < AFTER_SUBMISSION;
            if is_new || !is_due || made.len() >= MAX_OF_JOB {
                continue;
            }
            let seconds = |at: Option<Timestamp>| at.map_or(horizon, |at| at.seconds_since(initial.now));
            let share = self.share(*number);
            let (mean, waits) = past.get(&share).cloned().unwrap_or_default();
            let age = initial.now.seconds_since(job.created_at);
            let plan = match plan.by_job.get(index) {
                Some(trainspotter_core::forecast::JobStarts::Runs { seconds, .. }) => seconds.first().copied(),
                _ => None,
            };
            self.made.entry(*number).or_default().push(Made {
                share,
                at: initial.now,
                ends: [seconds(estimate.p10), seconds(estimate.p50), seconds(estimate.p90)],
                mean_of_day: (mean - age).max(0.0),
                plan: plan.unwrap_or(horizon).min(horizon),
                age,
                waits,
            });
        }
    }

    /// Mean and quantiles of each share's waits in the day before.
    fn past_waits(&self) -> BTreeMap<ShareName, (f64, Vec<f64>)> {
        let mut of_shares: BTreeMap<ShareName, Vec<f64>> = BTreeMap::new();
        for (_, share, wait) in &self.waits {
            of_shares.entry(share.clone()).or_default().push(*wait);
        }
        let summary = |(share, mut waits): (ShareName, Vec<f64>)| {
            waits.sort_by(f64::total_cmp);
            let quantile = |index: usize| waits.get((waits.len() - 1) * index / (WAIT_QUANTILES - 1)).copied();
            let mean = waits.iter().sum::<f64>() / waits.len() as f64;
            (share, (mean, (0..WAIT_QUANTILES).filter_map(quantile).collect()))
        };
        of_shares.into_iter().map(summary).collect()
    }

    /// The same initial state for a planner that knows only requested time limits: 30 minutes times a power of two, at least
    /// 1.5 times the run time.
    fn planned(&self, initial: &InitialState, open: &[Job]) -> InitialState {
        let limits: BTreeMap<_, _> = open.iter().map(|job| (&job.id, self.limit(job.number))).collect();
        let with_limit = |job: &OpenJob| {
            let seconds = limits.get(&job.id).copied().unwrap_or(3600.0);
            OpenJob { profile: Profile::certain(seconds), ..job.clone() }
        };
        InitialState {
            in_flight: initial.in_flight.iter().map(with_limit).collect(),
            waiting: initial.waiting.iter().map(with_limit).collect(),
            arrivals: trainspotter_core::forecast::PastArrivals::default(),
            ..initial.clone()
        }
    }

    fn limit(&self, number: usize) -> f64 {
        let seconds = self.workload.jobs.get(number).map_or(0.0, |job| job.seconds * 1.5);
        (0..12).map(|power| 1800.0 * f64::from(1 << power)).find(|limit| *limit >= seconds).unwrap_or(seconds)
    }
}
