//! Simulates replicas, an object store and receivers in one thread, in virtual time. Whatever dies, is paused, cut
//! off, slow or lost, and in any order: the promises of `docs/NOTIFICATIONS.md` hold, and the log has one order.
//!
//! Replicas, stores, rules, outboxes and notifiers are the real ones; network and disk are simulated. A seed
//! determines all events. `TRAINSPOTTER_SEED=N` runs one seed, `TRAINSPOTTER_SEEDS=N` the first N, and
//! `TRAINSPOTTER_SEEDS=M..N` a part of them.

mod bucket;
mod faults;
mod hand_over;
pub(super) mod mutant;
mod mutant_outbox;
mod process;
mod seed_selection;
mod target_assignment;
mod verify;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::blocking::Inline;
use mutant::Mutant;
use process::Process;
use seed_selection::Progress;
use world::{End, Shared, World};

/// Virtual time after which no more faults occur.
const QUIET: Duration = Duration::from_secs(350);

/// Time after that until a replica leads again and has evaluated the condition.
const SETTLED: Duration = Duration::from_secs(45);

/// Time after that until everything must be delivered.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Number of seeds of a normal run. A seed takes a fourteenth of a second of CPU.
const SEEDS: u64 = 2_000;

/// Runs one seed. Returns the violation, if any.
fn run(seed: u64) -> Result<(), String> {
    let world = world_after(seed);
    let world = world.lock().unwrap();
    verify::verify(&world)
}

/// The world after one seed.
fn world_after(seed: u64) -> Shared {
    let _inline = Inline::on_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    let world = local.block_on(&runtime, async {
        let world = World::new(seed);
        let replicas = world.lock().unwrap().replicas;
        for replica in 0..replicas {
            tokio::task::spawn_local(run_replica(Arc::clone(&world), replica));
        }
        tokio::task::spawn_local(faults::make_trouble(Arc::clone(&world)));
        until_quiet(&world).await;
        world
    });
    // Remaining tasks end with the set.
    drop(local);
    world
}

/// Waits until nothing is left to deliver.
async fn until_quiet(world: &Shared) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let world = world.lock().unwrap();
        if world.is_delivered() || world.passed() > QUIET + PATIENCE || world.violation.is_some() {
            return;
        }
    }
}

/// How long a process may take to stop.
const GRACE: Duration = Duration::from_secs(60);

/// A replica that dies or is stopped now and then, and starts again with an empty disk.
async fn run_replica(world: Shared, replica: usize) {
    let begins = world.lock().unwrap().random(0..15_000);
    tokio::time::sleep(Duration::from_millis(begins)).await;
    loop {
        let (process, (lasts, end)) = {
            let mut world = world.lock().unwrap();
            let lifetime = world.lifetime();
            (Process::new(&mut world, replica), lifetime)
        };
        let stop = CancellationToken::new();
        let running = process.run(Arc::clone(&world), stop.clone());
        tokio::pin!(running);
        let has_ended = tokio::select! {
            biased;
            () = tokio::time::sleep(lasts) => false,
            () = &mut running => true,
        };
        let is_fault = match end {
            _ if has_ended => true,
            End::Death => true,
            End::Stop => {
                stop.cancel();
                tokio::time::timeout(GRACE, running).await.is_err()
            }
        };
        let rest = {
            let mut world = world.lock().unwrap();
            world.ended(replica, is_fault);
            world.rng.random_range(500..40_000)
        };
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
}

/// Maximum seeds for a mutant to be found.
const MAX_SEEDS_TO_FIND: u64 = 1_000;

#[test]
#[expect(clippy::print_stderr, reason = "how many seeds there were is what this test is about")]
fn whatever_happens_to_replicas_nothing_is_lost_and_nothing_doubled() {
    let seeds = seed_selection::selected(SEEDS);
    if std::env::var_os("TRAINSPOTTER_SEED").is_some() {
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
    }
    let failed = failures(seeds.clone(), None, 5);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    eprintln!("{} seeds, each delivered in full and in order", seeds.count());
}

/// Runs seeds on one thread per core. Returns the first violations, and stops once there are `enough`.
fn failures(seeds: Range<u64>, mutant: Option<Mutant>, enough: usize) -> Vec<String> {
    let (next, failed) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let progress = Progress::of(seeds.clone());
    let work = || {
        mutant::switch(mutant);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().unwrap().len() >= enough {
                break;
            }
            if let Err(problem) = run(seed) {
                failed.lock().unwrap().push(format!("TRAINSPOTTER_SEED={seed}: {problem}"));
            }
            progress.done();
        }
    };
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            threads.spawn(work);
        }
    });
    failed.into_inner().unwrap()
}

#[test]
fn a_seed_runs_the_same_each_time() {
    for seed in 0..8 {
        let events = || world_after(seed).lock().unwrap().events_of_run();
        let (first, again) = (events(), events());
        let differs = first.iter().zip(&again).find(|(first, again)| first != again);
        assert_eq!(differs, None, "TRAINSPOTTER_SEED={seed}");
        assert_eq!(first.len(), again.len(), "TRAINSPOTTER_SEED={seed}");
    }
}

/// A seed that no longer finds its mutant is replaced in [`Mutant::ALL`]: searching for one takes minutes.
#[test]
fn what_is_wrong_is_found_by_the_seed_that_is_known_to_find_it() {
    let stale = Mutant::ALL.into_iter().filter_map(|(mutant, known)| {
        let found = failures(known..known + 1, Some(mutant), 1);
        if !found.is_empty() {
            return None;
        }
        let found = failures(0..MAX_SEEDS_TO_FIND, Some(mutant), 1);
        Some(match found.first() {
            Some(found) => format!("{mutant:?} is no longer found by seed {known}, but by another: {found}"),
            None => format!("{mutant:?} is found neither by seed {known} nor by {MAX_SEEDS_TO_FIND} others"),
        })
    });
    let stale: Vec<String> = stale.collect();
    assert!(stale.is_empty(), "{}", stale.join("\n"));
}
