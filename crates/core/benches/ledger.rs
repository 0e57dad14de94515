//! Memory per job, and CPU time of a poll and a tick: `cargo bench -p trainspotter-core --bench ledger`.
//!
//! Of all tracked jobs a tenth waits, 200 run, and the rest ended within six days. Each poll returns two pages of 100
//! summaries: one of unchanged waiting jobs, and one with changes in half of its jobs: jobs arrive, are dispatched,
//! end. Arguments `TRACKED SHARES` measure a single case.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use trainspotter_core::engine::Engine;
use trainspotter_core::engine::Saved;
use trainspotter_core::engine::cadence;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::JobDetails;
use trainspotter_core::model::JobSeen;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Observation;
use trainspotter_core::model::Policy;
use trainspotter_core::model::Queue;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ServiceEnvironment;
use trainspotter_core::model::Sharing;
use trainspotter_core::model::Source;
use trainspotter_core::model::Timestamp;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const POLL: Duration = Duration::from_secs(30);
/// Warm-up polls, and measured polls.
const POLLS: (u32, u32) = (10, 200);
/// Period in which the ended jobs ended.
const ENDED_WITHIN: Duration = Duration::from_secs(6 * 24 * 3_600);
/// Running jobs.
const RUNNING: usize = 200;
/// Summaries per page.
const PAGE: usize = 100;
/// Maximum shares per queue.
const SHARES_PER_QUEUE: usize = 50;
const INSTANCE: &str = "ml.p5.48xlarge";

/// Tracked jobs, and shares over all queues.
const CASES: [(usize, usize); 3] = [(10_000, 5), (100_000, 50), (1_000_000, 500)];

fn main() -> std::io::Result<()> {
    let arguments: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| tracked | waiting | shares | MB resident | bytes a job | µs a page, all as before | half new | ms a tick | worst |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    match arguments[..] {
        [tracked, shares] => measure(&mut out, tracked, shares),
        _ => CASES.into_iter().try_for_each(|(tracked, shares)| measure(&mut out, tracked, shares)),
    }
}

fn measure(out: &mut impl Write, tracked: usize, shares: usize) -> std::io::Result<()> {
    let before = resident();
    let mut world = World::new(tracked, shares);
    let (mut same, mut new) = (Vec::new(), Vec::new());
    let (mut ticking, mut worst) = (Duration::ZERO, Duration::ZERO);
    for poll in 0..POLLS.0 + POLLS.1 {
        world.now = world.now + POLL;
        same.push(time(&mut world, World::unchanged));
        new.push(time(&mut world, World::changed));
        world.answered();
        let began = cpu_time();
        let output = world.engine.tick(world.now);
        let ticked = cpu_time().saturating_sub(began);
        drop(output);
        if poll >= POLLS.0 {
            ticking += ticked;
            worst = worst.max(ticked);
        }
    }
    let bytes = resident().saturating_sub(before);
    let tick = ticking.as_secs_f64() / f64::from(POLLS.1);
    writeln!(
        out,
        "| {tracked} | {} | {shares} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
        world.waiting.len(),
        resident() as f64 / 1e6,
        bytes as f64 / tracked as f64,
        median(same).as_secs_f64() * 1e6,
        median(new).as_secs_f64() * 1e6,
        tick * 1e3,
        worst.as_secs_f64() * 1e3
    )
}

/// Time to apply a page. Wall time: the resolution of CPU time is too coarse for it.
fn time(world: &mut World, page: fn(&mut World) -> Observation) -> Duration {
    let page = vec![page(world)];
    let began = Instant::now();
    world.engine.observe(page);
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// An engine, and the jobs as AWS returns them.
struct World {
    engine: Engine,
    queues: Vec<Queue>,
    now: Timestamp,
    next: usize,
    shares: usize,
    waiting: VecDeque<Submitted>,
    running: VecDeque<(Submitted, Timestamp)>,
}

/// Everything that distinguishes one job from another.
#[derive(Clone, Copy)]
struct Submitted {
    number: usize,
    at: Timestamp,
}

impl World {
    fn new(tracked: usize, shares: usize) -> Self {
        let engine = Engine::new(Vec::new(), cadence(POLL * 30, POLL), Saved::default(), START);
        let mut world = Self {
            engine,
            queues: queues(shares),
            now: START + Duration::from_secs(3_600),
            next: 0,
            shares,
            waiting: VecDeque::new(),
            running: VecDeque::new(),
        };
        world.engine.observe(vec![Observation::Topology { at: START, queues: world.queues.clone() }]);
        let waiting = tracked / 10;
        let pages = (tracked - waiting - RUNNING) / PAGE;
        for _ in 0..pages {
            world.now = world.now + ENDED_WITHIN / u32::try_from(pages).unwrap_or(u32::MAX);
            let mut ended = Vec::new();
            for _ in 0..PAGE {
                let job = world.submit();
                ended.push(described(world.ended(job, world.now), job.number));
            }
            world.engine.observe(vec![Observation::Jobs { at: world.now, answered_at: world.now, jobs: ended }]);
            if world.next.is_multiple_of(20 * PAGE) {
                world.answered();
                world.engine.tick(world.now);
            }
        }
        for _ in 0..RUNNING {
            let (job, at) = (world.submit(), world.now);
            world.running.push_back((job, at));
        }
        for _ in 0..waiting {
            let job = world.submit();
            world.waiting.push_back(job);
        }
        let running: Vec<JobSeen> = world.running.iter().map(|(job, at)| world.dispatched(*job, *at)).collect();
        world.engine.observe(vec![Observation::Jobs { at: world.now, answered_at: world.now, jobs: running }]);
        for from in (0..waiting).step_by(PAGE) {
            let page = world.waiting.iter().skip(from).take(PAGE);
            let jobs = page.map(|job| described(world.seen(*job), job.number)).collect();
            world.engine.observe(vec![Observation::Jobs { at: world.now, answered_at: world.now, jobs }]);
        }
        world.answered();
        world.engine.tick(world.now);
        world
    }

    /// A page of unchanged waiting jobs.
    fn unchanged(&mut self) -> Observation {
        let from = self.next * 7_919 % (self.waiting.len() - PAGE);
        let jobs = self.waiting.iter().skip(from).take(PAGE).map(|job| self.seen(*job)).collect();
        Observation::Jobs { at: self.now, answered_at: self.now, jobs }
    }

    /// A page of which half has changed.
    fn changed(&mut self) -> Observation {
        let mut jobs = Vec::new();
        for _ in 0..PAGE / 6 {
            let arrived = self.submit();
            jobs.push(self.seen(arrived));
            self.waiting.push_back(arrived);
            if let Some(job) = self.waiting.pop_front() {
                jobs.push(self.dispatched(job, self.now));
                self.running.push_back((job, self.now));
            }
            if let Some((job, at)) = self.running.pop_front() {
                jobs.push(self.ended(job, at));
            }
        }
        jobs.extend(self.waiting.iter().take(PAGE - jobs.len()).map(|job| self.seen(*job)));
        Observation::Jobs { at: self.now, answered_at: self.now, jobs }
    }

    fn answered(&mut self) {
        let answer = |queue| Observation::Answered { source: Source::Jobs, queue, at: self.now };
        let lists = self.queues.iter().map(|queue| answer(Some(queue.name.clone())));
        let topology = Observation::Answered { source: Source::Topology, queue: None, at: self.now };
        self.engine.observe(lists.chain([topology]).collect());
    }

    fn submit(&mut self) -> Submitted {
        self.next += 1;
        Submitted { number: self.next, at: self.now }
    }

    fn seen(&self, Submitted { number, at }: Submitted) -> JobSeen {
        let share = number % self.shares;
        let id = format!("{:08x}-5c0a-4b7e-9d1f-{:012x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff, number);
        JobSeen {
            name: format!("pretrain-transformer-{number}").into(),
            share: Some(format!("share-{share}").into()),
            demand: vec![Capacity::new(INSTANCE, (1 << (number % 3)) as f64)].into(),
            ..JobSeen::new(id, self.queues[share / SHARES_PER_QUEUE].name.clone(), JobStatus::Runnable, at)
        }
    }

    fn dispatched(&self, job: Submitted, at: Timestamp) -> JobSeen {
        let job = self.seen(job);
        let training_job = Some(format!("AWSBatch{}", job.id).as_str().into());
        JobSeen { status: JobStatus::Running, scheduled_at: Some(at), started_at: Some(at), training_job, ..job }
    }

    fn ended(&self, job: Submitted, at: Timestamp) -> JobSeen {
        let job = self.dispatched(job, at);
        JobSeen { status: JobStatus::Succeeded, stopped_at: Some(self.now), ..job }
    }
}

/// Adds the details of a description to a job.
fn described(job: JobSeen, number: usize) -> JobSeen {
    let details = JobDetails {
        priority: Some((number % 7) as i32),
        owner: Some(format!("user-{}", number % 300).into()),
        ..JobDetails::default()
    };
    JobSeen { details: Some(Box::new(details)), ..job }
}

fn queues(shares: usize) -> Vec<Queue> {
    let names: Vec<usize> = (0..shares).collect();
    let share = |share: &usize| QuotaShare {
        name: format!("share-{share}").into(),
        enabled: true,
        limits: vec![Capacity::new(INSTANCE, 4.0)],
        sharing: Sharing::LendAndBorrow { borrow_limit: Some(100) },
        in_share_preemption: true,
    };
    let queue = |(index, shares): (usize, &[usize])| {
        Queue::new(
            format!("queue-{index}"),
            Policy::QuotaShares(shares.iter().map(share).collect()),
            Some(ServiceEnvironment {
                name: format!("environment-{index}"),
                enabled: true,
                limits: vec![Capacity::new(INSTANCE, 4.0 * shares.len() as f64)],
            }),
        )
    };
    names.chunks(SHARES_PER_QUEUE).enumerate().map(queue).collect()
}

/// CPU time of this thread; wall time where the system does not provide it.
fn cpu_time() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let reported = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = reported.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| BEGAN.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// Resident memory in bytes; 0 where the system does not provide it.
fn resident() -> usize {
    let reported = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = reported.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<usize>().ok());
    kib.unwrap_or(0) * 1_024
}
