//! What jobs cost in memory, and a poll and a tick in CPU time: `cargo bench --bench ledger`.
//!
//! Of all tracked jobs a tenth waits, 200 run, and the rest has ended. In each poll one page of 100 summaries comes in, of which
//! half tell of something new: jobs arrive, are dispatched, end. Arguments `TRACKED SHARES` measure one case.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use trainspotter::engine::Engine;
use trainspotter::engine::Saved;
use trainspotter::engine::cadence;
use trainspotter::model::Capacity;
use trainspotter::model::JobDetails;
use trainspotter::model::JobSeen;
use trainspotter::model::JobStatus;
use trainspotter::model::Observation;
use trainspotter::model::Policy;
use trainspotter::model::Queue;
use trainspotter::model::QuotaShare;
use trainspotter::model::ServiceEnvironment;
use trainspotter::model::Sharing;
use trainspotter::model::Source;
use trainspotter::model::Timestamp;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const POLL: Duration = Duration::from_secs(30);
/// Polls before the measurement, and polls that are measured.
const POLLS: (u32, u32) = (10, 40);
/// Jobs that run.
const RUNNING: usize = 200;
/// Summaries on a page.
const PAGE: usize = 100;
/// Shares of one queue, at most.
const SHARES_PER_QUEUE: usize = 50;
const INSTANCE: &str = "ml.p5.48xlarge";

/// Tracked jobs, and shares over all queues.
const CASES: [(usize, usize); 3] = [(10_000, 5), (100_000, 50), (1_000_000, 500)];

fn main() -> std::io::Result<()> {
    let arguments: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| tracked | waiting | shares | MB resident | bytes a job | µs to fold a page | ms a tick | worst |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    match arguments[..] {
        [tracked, shares] => measure(&mut out, tracked, shares),
        _ => CASES.into_iter().try_for_each(|(tracked, shares)| measure(&mut out, tracked, shares)),
    }
}

fn measure(out: &mut impl Write, tracked: usize, shares: usize) -> std::io::Result<()> {
    let before = resident();
    let mut world = World::new(tracked, shares);
    let (mut folding, mut ticking, mut worst) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for poll in 0..POLLS.0 + POLLS.1 {
        let page = world.page();
        let began = cpu_time();
        world.engine.observe(vec![page]);
        let folded = cpu_time();
        world.answered();
        let asked = cpu_time();
        let output = world.engine.tick(world.now);
        let ticked = cpu_time().saturating_sub(asked);
        drop(output);
        if poll >= POLLS.0 {
            folding += folded.saturating_sub(began);
            ticking += ticked;
            worst = worst.max(ticked);
        }
    }
    let bytes = resident().saturating_sub(before);
    let (fold, tick) = (folding.as_secs_f64() / f64::from(POLLS.1), ticking.as_secs_f64() / f64::from(POLLS.1));
    writeln!(
        out,
        "| {tracked} | {} | {shares} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
        world.waiting.len(),
        resident() as f64 / 1e6,
        bytes as f64 / tracked as f64,
        fold * 1e6,
        tick * 1e3,
        worst.as_secs_f64() * 1e3
    )
}

/// An engine, and the jobs as AWS would have them.
struct World {
    engine: Engine,
    queues: Vec<Queue>,
    now: Timestamp,
    next: usize,
    shares: usize,
    waiting: VecDeque<JobSeen>,
    running: VecDeque<JobSeen>,
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
        for _ in 0..(tracked - waiting - RUNNING) / PAGE {
            let ended: Vec<JobSeen> = (0..PAGE).map(|_| world.ended()).collect();
            world.engine.observe(vec![Observation::Jobs { at: world.now, jobs: ended }]);
        }
        for _ in 0..RUNNING {
            let job = world.submitted();
            world.running.push_back(dispatched(job, START));
        }
        for _ in 0..waiting {
            let job = world.submitted();
            world.waiting.push_back(job);
        }
        let open: Vec<JobSeen> = world.running.iter().chain(&world.waiting).cloned().collect();
        for jobs in open.chunks(PAGE) {
            world.engine.observe(vec![Observation::Jobs { at: world.now, jobs: jobs.to_vec() }]);
        }
        world.answered();
        world.engine.tick(world.now);
        world
    }

    /// A page of a poll: what is new first, then jobs that wait as before.
    fn page(&mut self) -> Observation {
        self.now = self.now + POLL;
        let mut jobs = Vec::new();
        for _ in 0..PAGE / 6 {
            let arrived = self.submitted();
            jobs.push(arrived.clone());
            self.waiting.push_back(arrived);
            if let Some(job) = self.waiting.pop_front() {
                let job = dispatched(job, self.now);
                jobs.push(job.clone());
                self.running.push_back(job);
            }
            if let Some(mut job) = self.running.pop_front() {
                job.status = JobStatus::Succeeded;
                job.stopped_at = Some(self.now);
                jobs.push(job);
            }
        }
        jobs.extend(self.waiting.iter().take(PAGE - jobs.len()).cloned());
        Observation::Jobs { at: self.now, jobs }
    }

    fn answered(&mut self) {
        let answer = |queue| Observation::Answered { source: Source::Jobs, queue, at: self.now };
        let lists = self.queues.iter().map(|queue| answer(Some(queue.name.clone())));
        let topology = Observation::Answered { source: Source::Topology, queue: None, at: self.now };
        self.engine.observe(lists.chain([topology]).collect());
    }

    fn submitted(&mut self) -> JobSeen {
        self.next += 1;
        let number = self.next;
        let share = number % self.shares;
        let id = format!("{:08x}-5c0a-4b7e-9d1f-{:012x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff, number);
        JobSeen {
            id: id.into(),
            name: format!("pretrain-transformer-{number}"),
            queue: self.queues[share / SHARES_PER_QUEUE].name.clone(),
            share: Some(format!("share-{share}").into()),
            status: JobStatus::Runnable,
            status_reason: None,
            created_at: START + Duration::from_millis(number as u64),
            scheduled_at: None,
            started_at: None,
            stopped_at: None,
            demand: vec![Capacity::new(INSTANCE, (1 << (number % 3)) as f64)],
            training_job: None,
            terminated: false,
            details: Some(Box::new(JobDetails {
                priority: Some((number % 7) as i32),
                tags: [("owner".to_owned(), format!("user-{}", number % 300))].into(),
                ..JobDetails::default()
            })),
        }
    }

    fn ended(&mut self) -> JobSeen {
        let at = self.now;
        let job = dispatched(self.submitted(), START);
        JobSeen { status: JobStatus::Succeeded, stopped_at: Some(at), ..job }
    }
}

fn dispatched(job: JobSeen, at: Timestamp) -> JobSeen {
    let training_job = Some(format!("AWSBatch{}", job.id).as_str().into());
    JobSeen { status: JobStatus::Running, scheduled_at: Some(at), started_at: Some(at), training_job, ..job }
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
    let queue = |(index, shares): (usize, &[usize])| Queue {
        name: format!("queue-{index}").into(),
        arn: String::new(),
        enabled: true,
        status_reason: None,
        has_time_limit: true,
        policy: Policy::QuotaShares(shares.iter().map(share).collect()),
        environment: Some(ServiceEnvironment {
            name: format!("environment-{index}"),
            enabled: true,
            limits: vec![Capacity::new(INSTANCE, 4.0 * shares.len() as f64)],
        }),
    };
    names.chunks(SHARES_PER_QUEUE).enumerate().map(queue).collect()
}

/// What this thread has computed so far; wall time where the system does not tell.
fn cpu_time() -> Duration {
    static BEGAN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(|| BEGAN.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// Bytes of memory that this process holds; 0 where the system does not tell.
fn resident() -> usize {
    let told = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<usize>().ok());
    kib.unwrap_or(0) * 1_024
}
