//! Latency of job pages while the engine ticks: `cargo bench -p trainspotter-core --bench pages`.
//!
//! One thread owns an engine, as in the service. It ticks every 30 s, and 50 viewers send a request every 2 s, each
//! for another page: the longest-waiting jobs, the first jobs of a queue, of a share or of an owner, jobs by a prefix
//! of their name or id, or a single job. Requests sent during a tick are answered after it. Time is simulated, and
//! computation is measured: nothing sleeps. Arguments `TRACKED SHARES` measure a single case.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::jobs::{Filter, Job};
use trainspotter_core::model::{
    Capacity, JobDetails, JobSeen, JobStatus, Observation, Policy, Queue, QuotaShare, ServiceEnvironment, Sharing,
    Source, Timestamp,
};
use trainspotter_core::rules::parse_rules;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const EVERY: Duration = Duration::from_secs(30);
const VIEWERS: u32 = 50;
const VIEWERS_ASK_EVERY: Duration = Duration::from_secs(2);
const TICKS: u32 = 20;
const SHARES_PER_QUEUE: usize = 50;
const LIMIT: usize = 100;
/// Maximum latency of a response.
const PROMPT: Duration = Duration::from_millis(100);

/// Tracked jobs, of which a tenth waits, and shares.
const CASES: [(usize, usize); 3] = [(10_000, 5), (100_000, 50), (1_000_000, 500)];

const RULES: &str = "rules:
  - { alert: Stuck, by: [queue, job], any: [{ metric: job.scheduled.age, above: 45m }, { metric: job.starting.age, above: 45m }],
      annotations: { summary: x } }
  - { alert: Waits, by: [job], metric: job.waiting.age, above: 30d, annotations: { summary: x } }
  - { alert: Preempted, by: [job], metric: job.preempted, above: 3, annotations: { summary: x } }
";

fn main() -> std::io::Result<()> {
    let arguments: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| tracked | kept in full | MB resident | tick, ms | with rules over jobs, ms | page, µs | a scan, µs | ratio | p99 answer, ms | within 100 ms | latest tick, % of its interval |"
    )?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    match arguments[..] {
        [tracked, shares] => measure(&mut out, tracked, shares),
        _ => CASES.into_iter().try_for_each(|(tracked, shares)| measure(&mut out, tracked, shares)),
    }
}

fn measure(out: &mut impl Write, tracked: usize, shares: usize) -> std::io::Result<()> {
    let (mut engine, mut now) = filled(tracked, shares);
    let megabytes = resident() as f64 / 1e6;
    let plain = tick(&mut engine, shares, now);
    if let Ok(rules) = parse_rules("rules.yaml", RULES) {
        engine.set_rules(rules);
    }
    let (mut busy_until, mut ticking) = (now, Duration::ZERO);
    let (mut answers, mut pages, mut latest) = (Vec::new(), Vec::new(), Duration::ZERO);
    let between = VIEWERS_ASK_EVERY / VIEWERS;
    for _ in 0..TICKS {
        now = now + EVERY;
        latest = latest.max(busy_until.since(now));
        let took = tick(&mut engine, shares, now);
        ticking += took;
        busy_until = now.max(busy_until) + took;
        let mut asked = now;
        while asked < now + EVERY {
            let took = page(&engine, pages.len(), tracked, shares);
            pages.push(took);
            busy_until = busy_until.max(asked) + took;
            answers.push(busy_until.since(asked));
            asked = asked + between;
        }
    }
    let scan = scan(&engine);
    answers.sort_unstable();
    let prompt = answers.iter().filter(|took| **took <= PROMPT).count() as f64 / answers.len() as f64;
    let mean = pages.iter().sum::<Duration>() / u32::try_from(pages.len()).unwrap_or(1);
    let p99 = answers.get(answers.len() * 99 / 100).copied().unwrap_or_default();
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
    writeln!(
        out,
        "| {tracked} | {} | {megabytes:.0} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} | {:.2} % | {:.2} |",
        engine.ledger().len(),
        millis(plain),
        millis(ticking / TICKS),
        millis(mean) * 1e3,
        millis(scan) * 1e3,
        scan.as_secs_f64() / mean.as_secs_f64(),
        millis(p99),
        prompt * 100.0,
        latest.as_secs_f64() / EVERY.as_secs_f64() * 100.0,
    )
}

fn tick(engine: &mut Engine, shares: usize, now: Timestamp) -> Duration {
    engine.observe(answered(shares, now));
    let began = Instant::now();
    drop(engine.tick(now));
    began.elapsed()
}

/// Time for one page, a different one for each number.
fn page(engine: &Engine, number: usize, tracked: usize, shares: usize) -> Duration {
    let job = number.wrapping_mul(7_919) % tracked;
    let share = job % shares;
    let runnable = Filter { state: Some(JobStatus::Runnable), ..Filter::default() };
    let filter = match number % 7 {
        0 => runnable,
        1 => Filter { queue: Some(queue_of(share).as_str().into()), ..runnable },
        2 => Filter { share: Some(format!("share-{share}").into()), state: Some(JobStatus::Succeeded), ..runnable },
        3 => Filter { owner: Some(format!("user-{}", job % 300)), ..runnable },
        4 => Filter { name: Some(format!("pretrain-transformer-{}", job / 100)), state: None, ..runnable },
        5 => Filter { id: id_of(job).get(..4).map(str::to_owned), state: None, ..runnable },
        _ => Filter::default(),
    };
    let began = Instant::now();
    let found = engine.ledger().list(&filter, None, LIMIT);
    std::hint::black_box(found.jobs.iter().map(|job| row(job).len()).sum::<usize>());
    began.elapsed()
}

/// A row of a list.
fn row(job: &Job) -> String {
    format!("{} {} {:?} {:?} {:?}", job.latest.id, job.latest.name, job.status(), job.owner(), job.gpus())
}

/// Time for a page of the longest-waiting jobs by a scan of all jobs.
fn scan(engine: &Engine) -> Duration {
    let began = Instant::now();
    let waiting = engine.ledger().jobs().filter(|job| *job.status() == JobStatus::Runnable);
    let mut places: Vec<_> = waiting.map(|job| (job.latest.created_at, job.latest.id.clone())).collect();
    if places.len() > LIMIT {
        places.select_nth_unstable(LIMIT);
        places.truncate(LIMIT);
    }
    places.sort_unstable();
    std::hint::black_box(places.iter().filter_map(|(_, id)| engine.job(id)).map(|job| row(job).len()).sum::<usize>());
    began.elapsed()
}

fn filled(tracked: usize, shares: usize) -> (Engine, Timestamp) {
    let rules = Vec::new();
    let mut engine = Engine::new(rules, cadence(EVERY * 30, EVERY), Saved::default(), START);
    engine.observe(vec![Observation::Topology { at: START, queues: queues(shares) }]);
    let ended = tracked - tracked / 10;
    let mut now = START;
    for from in (0..tracked).step_by(100) {
        now = now + Duration::from_secs(5 * 24 * 3_600) / u32::try_from(tracked / 100).unwrap_or(1);
        let jobs = (from..tracked.min(from + 100)).map(|number| seen(number, shares, number < ended, now)).collect();
        engine.observe(vec![Observation::Jobs { at: now, answered_at: now, jobs }]);
        if from.is_multiple_of(2_000) {
            engine.observe(answered(shares, now));
            drop(engine.tick(now));
        }
    }
    (engine, now)
}

fn answered(shares: usize, at: Timestamp) -> Vec<Observation> {
    let answer = |source, queue| Observation::Answered { source, queue, at };
    let lists = queues(shares).into_iter().map(|queue| answer(Source::Jobs, Some(queue.name)));
    lists.chain([answer(Source::Topology, None)]).collect()
}

fn id_of(number: usize) -> String {
    format!("{:08x}-5c0a-4b7e-9d1f-{number:012x}", number.wrapping_mul(2_654_435_761) & 0xffff_ffff)
}

fn queue_of(share: usize) -> String {
    format!("queue-{}", share / SHARES_PER_QUEUE)
}

fn seen(number: usize, shares: usize, has_ended: bool, at: Timestamp) -> JobSeen {
    let share = number % shares;
    let then = Some(at).filter(|_| has_ended);
    let details = JobDetails {
        priority: i32::try_from(number % 7).ok(),
        owner: Some(format!("user-{}", number % 300).into()),
        ..JobDetails::default()
    };
    JobSeen {
        name: format!("pretrain-transformer-{number}").into(),
        share: Some(format!("share-{share}").into()),
        scheduled_at: then,
        started_at: then,
        stopped_at: then,
        demand: vec![Capacity::new("ml.p5.48xlarge", (1 << (number % 3)) as f64)].into(),
        details: Some(Box::new(details)),
        ..JobSeen::new(
            id_of(number),
            queue_of(share),
            if has_ended { JobStatus::Succeeded } else { JobStatus::Runnable },
            at,
        )
    }
}

fn queues(shares: usize) -> Vec<Queue> {
    let mut by_queue: BTreeMap<String, Vec<QuotaShare>> = BTreeMap::new();
    for share in 0..shares {
        by_queue.entry(queue_of(share)).or_default().push(QuotaShare {
            name: format!("share-{share}").into(),
            enabled: true,
            limits: vec![Capacity::new("ml.p5.48xlarge", 4.0)],
            sharing: Sharing::LendAndBorrow { borrow_limit: Some(100) },
            in_share_preemption: true,
        });
    }
    let queue = |(name, shares): (String, Vec<QuotaShare>)| {
        let limits = vec![Capacity::new("ml.p5.48xlarge", 4.0 * shares.len() as f64)];
        let environment = ServiceEnvironment { name: name.clone(), enabled: true, limits };
        Queue::new(name, Policy::QuotaShares(shares), Some(environment))
    };
    by_queue.into_iter().map(queue).collect()
}

/// Resident memory in bytes; 0 where the system does not provide it.
fn resident() -> usize {
    let reported = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = reported.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<usize>().ok());
    kib.unwrap_or(0) * 1_024
}
