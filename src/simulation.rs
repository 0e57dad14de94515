//! Runs the whole service on one thread under virtual time. AWS, the bucket, receivers, clocks and disks are simulated; everything else
//! is the real service, from the first poll to the last notification.
//!
//! A seed generates a [`scenario::Scenario`]: jobs of a queue, one to three replicas, and faults. [`checks`] holds the invariants: figures
//! match the simulator's truth, waterfall and lending balance, counters never fall, every receiver gets every alert once. A scenario that
//! fails is shortened while it still fails, and printed. The same seed gives the same run, except for the order of what happens at the same
//! moment, which tokio draws.
//!
//! `TRAINSPOTTER_SEED=N` runs one seed, `TRAINSPOTTER_SCENARIO=FILE` a scenario from a file, `TRAINSPOTTER_SEEDS=N` N seeds from
//! `TRAINSPOTTER_FIRST_SEED` on, and `TRAINSPOTTER_DAYS=N` seeds until N days were simulated.
//!
//! What is not judged: figures within [`checks::AFTER`] of a fault; notifications that are sent twice around a fault that may keep the
//! sender from recording the first; counters after AWS's clock fell back, which the real one does not.

mod aws;
mod bucket;
mod checks;
mod inject_faults;
mod network;
mod planted_errors;
mod process;
mod product_hooks;
mod read_pages;
mod record;
mod regressions;
mod scenario;
mod shrink;
mod truth;
mod world;

pub(crate) use bucket::Bucket;
pub(crate) use product_hooks::{
    bucket_at, is_running, network_of, process_id, run_here, serve_store, show, without_jitter,
};

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use checks::{Failure, Past};
use network::{ask, get};
use planted_errors::Distortion;
use record::Look;
use scenario::Scenario;
use trainspotter_clock::Clock;
use truth::TrueJob;
use world::{Shared, World};

/// Seconds without faults at the end, after all jobs have ended.
const CALM: u64 = 400;

/// Seconds after which all jobs have ended.
const PATIENCE: f64 = 4.0 * 3_600.0;

/// Minimum number of job states that a seed compares with the truth, on average.
const MIN_JUDGED: u64 = 100;

/// Seeds of a usual run. A seed takes one to two seconds of CPU.
const SEEDS: u64 = 25;

/// A run that passed all checks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ended {
    /// Simulated seconds.
    seconds: f64,
    /// How often the state of a job on a page was compared with the truth.
    judged: u64,
}

/// Runs a scenario to its end.
fn run(scenario: &Scenario) -> Result<Ended, Failure> {
    run_and(scenario, None, |_| {})
}

/// Runs a scenario in a distorted world.
fn run_distorted(scenario: &Scenario, distortion: Distortion) -> Result<Ended, Failure> {
    run_and(scenario, Some(distortion), |_| {})
}

/// Runs a scenario, and passes what happened to `look`.
fn run_and(
    scenario: &Scenario,
    distortion: Option<Distortion>,
    look: impl FnOnce(&Past<'_>),
) -> Result<Ended, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, async {
        let (locals, mut wanted) = mpsc::unbounded_channel::<world::Local>();
        let world = World::new(scenario.clone(), distortion, locals);
        product_hooks::enter(Some(world.clone()));
        tokio::task::spawn_local(async move {
            while let Some(make) = wanted.recv().await {
                tokio::task::spawn_local(make());
            }
        });
        let jobs = run_to_the_end(&world).await;
        let world = world.lock().unwrap();
        let past = Past { world: &world, jobs, judged: Cell::default() };
        look(&past);
        checks::all(&past).map(|()| Ended { seconds: past.world.passed(), judged: past.judged.get() })
    });
    // Remaining tasks are dropped with the set; nothing else refers to this world.
    drop(local);
    runtime.shutdown_background();
    product_hooks::enter(None);
    ended
}

/// Runs all tasks to the end, and returns the true history of the jobs.
async fn run_to_the_end(world: &Shared) -> Vec<TrueJob> {
    inject_faults::write_rules(world);
    let stop = CancellationToken::new();
    let scenario = world.lock().unwrap().scenario.clone();
    let mut replicas = Vec::new();
    for replica in 0..scenario.replicas {
        replicas.push(tokio::task::spawn_local(process::replica(world.clone(), replica, stop.clone())));
    }
    for fault in scenario.faults {
        tokio::task::spawn_local(inject_faults::begin_fault(world.clone(), fault));
    }
    let looking = tokio::task::spawn_local(read_pages::look(world.clone()));
    tokio::time::sleep(Duration::from_secs(scenario.lasts)).await;
    while !true_jobs(world).await.iter().all(|job| job.is_ended) {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let mut world = world.lock().unwrap();
        if world.passed() > PATIENCE {
            world.violated("the jobs of this scenario never end");
        }
        if world.violation.is_some() {
            break;
        }
    }
    tokio::time::sleep(Duration::from_secs(CALM)).await;
    looking.abort();
    {
        let mut world = world.lock().unwrap();
        world.ended = Some(world.passed());
    }
    stop.cancel();
    for replica in replicas {
        replica.await.unwrap();
    }
    true_jobs(world).await
}

async fn true_jobs(world: &Shared) -> Vec<TrueJob> {
    let aws = world.lock().unwrap().aws.clone();
    let (_, text) = ask(aws, get("/_sim/truth/jobs?limit=1000")).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    answer["jobs"].as_array().unwrap().iter().map(TrueJob::of).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Results of several seeds.
#[derive(Default)]
struct Tally {
    seeds: u64,
    ended: Ended,
    failed: Vec<(u64, Failure)>,
}

/// Number of failures after which a run of many seeds ends.
const MAX_FAILURES: usize = 5;

/// Runs seeds while `goes_on`, on as many threads as there are cores.
fn run_seeds(first: u64, goes_on: impl Fn(&Tally, u64) -> bool + Sync) -> Tally {
    let (next, tally) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(&tally.lock().unwrap(), seed) {
                        return;
                    }
                    let ended = run(&Scenario::of(seed));
                    let mut tally = tally.lock().unwrap();
                    tally.seeds += 1;
                    match ended {
                        Ok(Ended { seconds, judged }) => {
                            tally.ended.seconds += seconds;
                            tally.ended.judged += judged;
                        }
                        Err(failure) => tally.failed.push((seed, failure)),
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

#[test]
#[expect(clippy::print_stderr, reason = "how much was simulated is what this test is about")]
fn whatever_happens_the_whole_service_keeps_its_promises() {
    let one = number("TRAINSPOTTER_SEED");
    if one.is_some() || std::env::var_os("TRAINSPOTTER_SCENARIO").is_some() {
        let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "trainspotter=info".to_owned());
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
    if let Ok(file) = std::env::var("TRAINSPOTTER_SCENARIO") {
        let scenario: Scenario = std::fs::read_to_string(file).unwrap().parse().unwrap();
        run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let first = one.or(number("TRAINSPOTTER_FIRST_SEED")).unwrap_or(0);
    let seeds = one.map_or_else(|| number("TRAINSPOTTER_SEEDS").unwrap_or(SEEDS), |_| 1);
    let days = number("TRAINSPOTTER_DAYS");
    let began = Clock::real().mark();
    let tally = run_seeds(first, |tally, seed| {
        let goes_on = days.map_or(seed < first + seeds, |days| tally.ended.seconds < days as f64 * 86_400.0);
        goes_on && tally.failed.len() < MAX_FAILURES
    });
    let (hours, minutes) = (tally.ended.seconds / 3_600.0, Clock::real().since(began).as_secs_f64() / 60.0);
    eprintln!(
        "{} seeds, {hours:.1} simulated hours, {:.1} of them a minute; {} states of jobs compared with the truth",
        tally.seeds,
        hours / minutes,
        tally.ended.judged
    );
    let Some((seed, failure)) = tally.failed.first() else {
        // Checks that are excused too often would find nothing.
        let judged = tally.ended.judged;
        assert!(
            judged >= MIN_JUDGED * tally.seeds || one.is_some(),
            "only {judged} states of jobs were compared with the truth"
        );
        return;
    };
    for (seed, failure) in &tally.failed {
        eprintln!("TRAINSPOTTER_SEED={seed}: {failure}");
    }
    let (short, how) = shrink::shortened(&Scenario::of(*seed), failure, run);
    panic!("TRAINSPOTTER_SEED={seed}: {failure}\n\nIn short, to be kept as a test: {how}\n\n{short}");
}

/// Seeds that are run twice. With replicas, tokio picks the order of tasks that wake at the same moment, so runs may differ.
const SEEDS_TWICE: [u64; 1] = [1];

#[test]
fn a_seed_is_the_same_run_again_and_again() {
    let all = |seed| {
        let mut all = (String::new(), String::new(), Vec::new());
        let ended = run_and(&Scenario::of(seed), None, |past| {
            let world = past.world;
            // Messages received at the same moment have no defined order.
            let mut received = world.received.clone();
            received.sort_by(|a, b| a.at.total_cmp(&b.at).then_with(|| a.topic.cmp(&b.topic)));
            let looks = world.looks.iter().map(|look| Look { port: 0, metrics: String::new(), ..look.clone() });
            all.0 = format!("{received:#?}");
            all.1 = format!("{:#?}", looks.collect::<Vec<Look>>());
            all.2 = world.objects.keys().cloned().collect::<Vec<String>>();
        });
        (all, ended.map_err(|failure| failure.to_string()))
    };
    for seed in SEEDS_TWICE {
        let (first, second) = (all(seed), all(seed));
        for (first, second) in [(&first.0.0, &second.0.0), (&first.0.1, &second.0.1)] {
            let differs = first.lines().zip(second.lines()).enumerate().find(|(_, (first, second))| first != second);
            assert_eq!(differs, None, "seed {seed}");
        }
        assert_eq!(first, second, "seed {seed}");
    }
}
