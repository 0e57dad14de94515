//! An engine that is killed repeatedly beside one that is not: in the end both have counted what happened.
//!
//! Both poll the same random world as the service does, with some requests unanswered; time is virtual, so that many
//! worlds can be tried. One engine is killed at any point of a poll and resumes from its last tick. In some worlds
//! lists lag, and the clock is slightly ahead or behind, within the uncertainty of a measurement.
//! `TRAINSPOTTER_SEEDS=N` runs N worlds; `TRAINSPOTTER_SEED=N` runs one.

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::engine::{self, Engine, Output, Saved};
use trainspotter_core::model::{
    JobSeen, JobStatus, Observation, Policy, Questions, Queue, SavedJobs, SavedSeries, Source, Timestamp,
};
use trainspotter_core::scheduler::{self, Scheduler};

use support::random_worlds::{Dice, described, second, world};

const SEEDS: u64 = 100;
/// Seconds between polls.
const EVERY: u64 = 30;
/// Maximum time between a request and the state that its response shows: the call itself, and the uncertainty of the
/// clock.
const WITHIN: Duration = Duration::from_secs(2);
/// The last poll before which jobs are submitted.
const LAST_ARRIVAL: u64 = 3_000 / EVERY;
/// The last polls, without kills.
const QUIET_POLLS: u64 = 40;
const COUNTED: [&str; 6] =
    ["job.ended", "job.failures", "job.preemptions", "queue.wait", "queue.wait.requeue", "job.run"];

/// An engine, and the state saved by its last tick.
struct Service {
    engine: Engine,
    kept: Saved,
    jobs: SavedJobs,
    questions: Questions,
    /// For how many polls it is down: this one, or an outage.
    dead_for: u64,
    deaths: u64,
}

impl Service {
    fn new() -> Self {
        let kept = Saved::default();
        Self {
            engine: start(&kept),
            kept,
            jobs: SavedJobs::default(),
            questions: Questions::default(),
            dead_for: 0,
            deaths: 0,
        }
    }

    fn die(&mut self, polls: u64) {
        self.engine = start(&self.kept);
        self.dead_for = polls;
        self.deaths += 1;
    }

    fn tick(&mut self, now: Timestamp) {
        let Output { alerts, series, jobs, queues, events, forecast, counted_until, open_since, .. } =
            self.engine.tick(now);
        self.jobs.add(jobs);
        self.kept.events.extend(events);
        let mut known = std::mem::take(&mut self.kept.forecast);
        for (name, body) in forecast.changes {
            match body {
                Some(body) => known.insert(name, body),
                None => known.remove(&name),
            };
        }
        let (counted_until, open_since, ticked_at) = (Some(counted_until), Some(open_since), Some(now));
        self.kept = Saved {
            alerts,
            series,
            jobs: self.jobs.kept().collect(),
            queues,
            events: std::mem::take(&mut self.kept.events),
            forecast: known,
            ticked_at,
            counted_until,
            open_since,
        };
    }
}

fn start(kept: &Saved) -> Engine {
    let every = Duration::from_secs(EVERY);
    Engine::new(Vec::new(), engine::cadence(every * 30, every), kept.clone(), Timestamp::default())
}

/// The steps of a poll, in the service's order.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Waiting,
    Scheduled,
    Starting,
    Running,
    Arrivals,
    Descriptions,
    Answered,
}

const STEPS: [Step; 7] =
    [Step::Waiting, Step::Scheduled, Step::Starting, Step::Running, Step::Arrivals, Step::Descriptions, Step::Answered];

/// The account, as it is and as lists show it, and the observers' clock.
struct World {
    scheduler: Scheduler,
    /// The same account, `lag` earlier.
    listed: Scheduler,
    lag: Duration,
    /// Milliseconds by which the clock is ahead of the account's.
    ahead: i64,
}

impl World {
    fn of(seed: u64, dice: &mut Dice) -> Self {
        let scheduler = world(seed, dice);
        let lag = Duration::from_secs([0, 2, 5, 0, 20][usize::try_from(seed % 5).unwrap()]);
        let ahead = [0, 1_500, -1_500][usize::try_from(seed % 3).unwrap()];
        Self { listed: scheduler.clone(), scheduler, lag, ahead }
    }

    fn advance(&mut self, to: Timestamp) {
        self.scheduler.advance(to);
        self.listed.advance((to - self.lag).max(Timestamp::default()));
    }

    /// Time on the observers' clock.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.scheduler.now().millis() + self.ahead)
    }
}

/// One poll of both engines. Time passes between its steps, and the second engine may be killed.
fn poll(world: &mut World, services: &mut [Service; 2], dice: &mut Dice, is_quiet: bool) {
    let began_at = world.now();
    for service in services.iter_mut() {
        service.dead_for = if is_quiet { 0 } else { service.dead_for.saturating_sub(1) };
        let known = Observation::Answered { source: Source::Topology, queue: None, at: began_at };
        service.engine.observe(vec![topology(began_at), known]);
        service.questions = service.engine.questions(began_at);
    }
    for step in STEPS {
        world.advance(world.scheduler.now() + Duration::from_secs(dice.roll(4)));
        for service in services.iter_mut().filter(|service| service.dead_for == 0) {
            let observations = take(step, world, service, began_at, dice);
            service.engine.observe(observations);
            if dice.one_in(8) || step == Step::Answered {
                service.tick(world.now());
            }
        }
        if !is_quiet && services[1].dead_for == 0 && dice.one_in(12) {
            // The next one starts with its own poll and requests.
            services[1].die(if dice.one_in(30) { dice.roll(60).max(1) } else { 1 });
        }
    }
}

/// The observations of a service in one step.
fn take(step: Step, world: &World, service: &Service, began_at: Timestamp, dice: &mut Dice) -> Vec<Observation> {
    let at = world.now();
    let page = |wanted: &dyn Fn(&scheduler::Job) -> bool| {
        let jobs: Vec<JobSeen> = world.listed.jobs().filter(|job| wanted(job)).map(scheduler::Job::listed).collect();
        Observation::Jobs { at, answered_at: at + WITHIN, jobs }
    };
    let of = |status: JobStatus| page(&|job| job.status == status);
    let queue = || "prod".into();
    match step {
        Step::Waiting => {
            vec![page(&|job| job.status.is_waiting()), Observation::WaitingListed { queue: queue(), since: at }]
        }
        Step::Scheduled => vec![of(JobStatus::Scheduled)],
        Step::Starting => vec![of(JobStatus::Starting)],
        Step::Running => vec![of(JobStatus::Running), Observation::InFlightListed { queue: queue(), since: began_at }],
        Step::Arrivals => {
            let after = service.questions.created_after.get(&queue()).copied().or(service.questions.since).unwrap();
            vec![page(&|job| job.created_at > after)]
        }
        Step::Descriptions => {
            // Now and then there is hardly any budget.
            let most = if dice.one_in(3) { dice.roll(3) } else { 100 };
            let wanted = service.engine.questions(at).jobs.into_iter().take(usize::try_from(most).unwrap());
            let jobs = wanted.filter_map(|id| world.scheduler.job(&id)).map(described).collect();
            vec![Observation::Jobs { at, answered_at: at + WITHIN, jobs }]
        }
        Step::Answered => {
            vec![Observation::Answered { source: Source::Jobs, queue: Some(queue()), at: began_at }]
        }
    }
}

fn topology(at: Timestamp) -> Observation {
    let queue = Queue { has_time_limit: false, ..Queue::new("prod", Policy::Fifo, None) };
    Observation::Topology { at, queues: vec![queue] }
}

/// Counters by metric.
fn counted(service: &Service) -> BTreeMap<&'static str, f64> {
    let value = |series: &SavedSeries| if series.count > 0 { series.count as f64 } else { series.value };
    let of = |metric| service.kept.series.iter().filter(move |series| series.metric == metric);
    COUNTED.into_iter().map(|metric| (metric, of(metric).map(value).sum())).collect()
}

/// Lower and upper bounds of the true counts, by metric.
fn happened(scheduler: &Scheduler) -> BTreeMap<&'static str, (f64, f64)> {
    let jobs = |wanted: &dyn Fn(&scheduler::Job) -> bool| scheduler.jobs().filter(|job| wanted(job)).count() as f64;
    let spans = |phase, attempts: std::ops::RangeFrom<u32>| {
        let spans = scheduler.jobs().flat_map(|job| &job.spans);
        spans.filter(|span| span.phase == phase && attempts.contains(&span.attempt)).count() as f64
    };
    let exactly = |count: f64| (count, count);
    let requeued = spans(scheduler::Phase::Scheduled, 2..);
    // AWS lists no attempts that found no instances, so one that starts and ends between polls is never seen.
    let found_none: f64 = scheduler.jobs().map(|job| f64::from(job.capacity_failures)).sum();
    [
        ("job.ended", exactly(jobs(&|job| job.status.is_ended()))),
        ("job.failures", exactly(jobs(&|job| job.status == JobStatus::Failed))),
        ("job.preemptions", exactly(scheduler.jobs().map(|job| f64::from(job.preemptions)).sum())),
        ("job.run", exactly(spans(scheduler::Phase::Running, 1..))),
        ("queue.wait", exactly(jobs(&|job| job.first_scheduled_at.is_some()))),
        ("queue.wait.requeue", (requeued - found_none, requeued)),
    ]
    .into()
}

/// Observes a world with both until all its jobs have ended, and a while longer.
fn watch(seed: u64) -> (Scheduler, [Service; 2]) {
    let mut dice = Dice::of(seed);
    let mut world = World::of(seed, &mut dice);
    let mut services = [Service::new(), Service::new()];
    let mut quiet_polls = 0;
    for number in 0.. {
        world.advance(world.scheduler.now().max(second(number * EVERY)));
        let is_over = number > LAST_ARRIVAL && world.scheduler.jobs().all(|job| job.status.is_ended());
        poll(&mut world, &mut services, &mut dice, is_over);
        quiet_polls += u64::from(is_over);
        if quiet_polls == QUIET_POLLS {
            break;
        }
    }
    (world.scheduler, services)
}

#[test]
fn repeated_crashes_count_every_event_in_the_end() {
    let number = |name: &str| std::env::var(name).ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds =
        number("TRAINSPOTTER_SEED").map_or(0..number("TRAINSPOTTER_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut deaths, mut preemptions) = (0, 0.0);
    let mut wrong: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for seed in seeds {
        let (scheduler, services) = watch(seed);
        let truth = happened(&scheduler);
        deaths += services[1].deaths;
        preemptions += truth["job.preemptions"].0;
        for (who, service) in ["who never dies", "who dies"].into_iter().zip(&services) {
            for (metric, counted) in counted(service) {
                let (least, most) = truth[metric];
                if counted < least || most < counted {
                    let what = format!("{metric} of the one {who}: {counted} is not {least} to {most}");
                    wrong.entry(what).or_insert((0, seed)).0 += 1;
                }
            }
        }
    }
    eprintln!("{deaths} deaths, {preemptions} preemptions");
    let wrong: Vec<String> =
        wrong.iter().map(|(what, (count, seed))| format!("{count} x {what}, first with seed {seed}")).collect();
    assert_eq!(wrong, [""; 0]);
}
