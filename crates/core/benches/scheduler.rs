//! Speed of the scheduler, by jobs, shares and backlog: `cargo bench -p trainspotter-core --bench scheduler`.
//!
//! Shares lend and borrow and are busy at different times, so that there is much lending and preemption; jobs arrive
//! as fast as they end, so the initial backlog stays. Arguments `JOBS SHARES BACKLOG` measure a single case.

#![expect(clippy::disallowed_methods, reason = "a measurement of real time")]

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use trainspotter_core::model::Capacity;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Policy;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ServiceEnvironment;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Sharing;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Plan;
use trainspotter_core::scheduler::PlannedOutcome;
use trainspotter_core::scheduler::QueueSetup;
use trainspotter_core::scheduler::Scheduler;
use trainspotter_core::scheduler::Setup;
use trainspotter_core::scheduler::Submission;
use trainspotter_core::scheduler::Terms;

const TYPE: &str = "ml.p5.48xlarge";
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Total instances.
const CAPACITY: u32 = 1_000;
/// Instances per job, with equal probability.
const SIZES: [u32; 4] = [1, 1, 2, 4];
/// Mean run time in seconds, uniform from zero to twice this.
const MEAN_RUN: u64 = 1_800;
/// Mean seconds that an attempt holds its instances before it runs and while it stops, in total.
const OVERHEAD: u64 = 150;
/// Period of a share's busy times, in seconds.
const RHYTHM: u64 = 6 * 3_600;

/// Jobs, shares, and waiting jobs.
const CASES: [(u64, u32, u64); 9] = [
    (100_000, 1, 1_000),
    (100_000, 5, 1_000),
    (100_000, 20, 1_000),
    (100_000, 20, 10_000),
    (100_000, 20, 50_000),
    (1_000_000, 1, 1_000),
    (1_000_000, 20, 1_000),
    (1_000_000, 20, 10_000),
    (1_000_000, 20, 100_000),
];

fn main() -> std::io::Result<()> {
    let arguments: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "| jobs | shares | backlog | seconds | us per job | preemptions | bytes per job |")?;
    writeln!(out, "|---:|---:|---:|---:|---:|---:|---:|")?;
    match arguments[..] {
        [jobs, shares, backlog] => measure(&mut out, (jobs, u32::try_from(shares).unwrap_or(1), backlog)),
        _ => CASES.into_iter().try_for_each(|case| measure(&mut out, case)),
    }
}

fn measure(out: &mut impl Write, (jobs, shares, backlog): (u64, u32, u64)) -> std::io::Result<()> {
    let names: Vec<ShareName> = (0..shares).map(|index| ShareName::new(format!("share-{index}"))).collect();
    let mut random = Random(7);
    let before = resident();
    let began = Instant::now();
    let mut scheduler = Scheduler::new(setup(&names), 1, START);
    let mut waiting = 0;
    for n in 0..jobs {
        let at = START + Duration::from_secs_f64(n.saturating_sub(backlog) as f64 * seconds_between());
        scheduler.advance(at);
        if let Err(refusal) = scheduler.submit(submission(&mut random, &names, n, at)) {
            writeln!(out, "{refusal}")?;
        }
        if n == jobs / 2 {
            waiting = scheduler.count(&QueueName::from("queue"), &JobStatus::Runnable);
        }
    }
    while let Some(next) = scheduler.next_event() {
        scheduler.advance(next + Duration::from_secs(24 * 3_600));
    }
    let seconds = began.elapsed().as_secs_f64();
    let bytes = resident().saturating_sub(before) / jobs;
    let preemptions: u32 = scheduler.jobs().map(|job| job.preemptions).sum();
    let micros = seconds * 1e6 / jobs as f64;
    writeln!(out, "| {jobs} | {shares} | {waiting} | {seconds:.2} | {micros:.1} | {preemptions} | {bytes} |")
}

fn setup(shares: &[ShareName]) -> Setup {
    let each = f64::from(CAPACITY) / shares.len() as f64;
    let share = |name: &ShareName| QuotaShare {
        name: name.clone(),
        enabled: true,
        limits: vec![Capacity::new(TYPE, each)],
        sharing: Sharing::LendAndBorrow { borrow_limit: None },
        in_share_preemption: false,
    };
    let limits = vec![Capacity::new(TYPE, f64::from(CAPACITY))];
    Setup {
        environments: vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }],
        queues: vec![QueueSetup::new("queue", "gpus", Policy::QuotaShares(shares.iter().map(share).collect()))],
        ..Setup::default()
    }
}

/// Time per job at full use of the capacity.
fn seconds_between() -> f64 {
    let size = f64::from(SIZES.iter().sum::<u32>()) / SIZES.len() as f64;
    size * (MEAN_RUN + OVERHEAD) as f64 / f64::from(CAPACITY)
}

fn submission(random: &mut Random, names: &[ShareName], n: u64, at: Timestamp) -> Submission {
    let count = SIZES[random.below(SIZES.len() as u64) as usize];
    // A share is busy in one half of the period and quiet in the other, with its own phase.
    let phase = at.since(START).as_secs() % RHYTHM * names.len() as u64 / RHYTHM;
    let busy = names.len() as u64 / 2;
    let which = if random.below(4) > 0 { phase + random.below(busy + 1) } else { random.below(names.len() as u64) };
    Submission {
        at,
        name: format!("train-{:05}", n % 100_000),
        queue: "queue".into(),
        share: Some(names[(which % names.len() as u64) as usize].clone()),
        priority: random.below(3) as i32,
        demand: vec![Capacity::new(TYPE, f64::from(count))],
        tags: BTreeMap::from([("owner".to_owned(), format!("owner-{}", random.below(50)))]),
        plan: Plan::Runs {
            duration: Duration::from_secs(1 + random.below(2 * MEAN_RUN)),
            outcome: PlannedOutcome::Succeeds,
        },
        terms: Terms::default(),
        utilisation: 0.8,
    }
}

/// A linear congruential generator (Knuth, MMIX): good enough to vary jobs, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Resident bytes of this process, if the kernel provides it.
fn resident() -> u64 {
    const PAGE: u64 = 4_096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok()).map_or(0, |pages| pages * PAGE)
}
