//! Replicas, an object store and receivers in one thread, under virtual time: whatever dies, is paused, cut off, slow or lost, and in
//! whatever order, the promises of `docs/NOTIFICATIONS.md` hold, and the log is one line.
//!
//! The replicas, their stores, rules, outboxes and notifiers are the real ones; what is not there are the network and the disk. A seed
//! decides what happens when. `TRAINSPOTTER_SEED=N` runs one seed, `TRAINSPOTTER_SEEDS=N` so many of them.

mod bucket;
pub(super) mod mutant;
mod process;
mod sharing;
mod verify;
mod world;

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::LocalSet;

use mutant::Mutant;
use process::Process;
use world::{Shared, World};

/// After this much virtual time nothing goes wrong any more.
const QUIET: Duration = Duration::from_secs(700);

/// After so much more everything has to be delivered.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Seeds of a usual run. A seed takes a quarter of a second of CPU.
const SEEDS: u64 = 100;

/// Runs one seed to its end. Says what went wrong.
fn run(seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    let world = local.block_on(&runtime, async {
        let world = World::new(seed);
        let replicas = world.lock().unwrap().replicas;
        for replica in 0..replicas {
            tokio::task::spawn_local(live(Arc::clone(&world), replica));
        }
        tokio::task::spawn_local(world::weather(Arc::clone(&world)));
        until_quiet(&world).await;
        world
    });
    // Tasks that are left go with the set.
    drop(local);
    let world = world.lock().unwrap();
    verify::verify(&world)
}

/// Waits until nothing is left to be delivered.
async fn until_quiet(world: &Shared) {
    loop {
        tokio::time::sleep(Duration::from_secs(20)).await;
        let world = world.lock().unwrap();
        let passed = world.passed();
        if (passed > QUIET + Duration::from_secs(100) && world.is_delivered())
            || passed > QUIET + PATIENCE
            || world.violation.is_some()
        {
            return;
        }
    }
}

/// A replica that dies now and then, and starts again with an empty disk, or with the one it had.
async fn live(world: Shared, replica: usize) {
    let begins = world.lock().unwrap().random(0..20_000);
    tokio::time::sleep(Duration::from_millis(begins)).await;
    loop {
        let (process, lives) = {
            let mut world = world.lock().unwrap();
            let lives = world.lifetime();
            (Process::new(&mut world, replica), lives)
        };
        let running = process.run(Arc::clone(&world));
        tokio::pin!(running);
        tokio::select! {
            biased;
            () = tokio::time::sleep(lives) => {}
            () = &mut running => {}
        }
        let rest = {
            let mut world = world.lock().unwrap();
            world.died(replica);
            world.rng.random_range(500..60_000)
        };
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
#[expect(clippy::print_stderr, reason = "how many seeds there were is what this test is about")]
fn whatever_happens_to_replicas_nothing_is_lost_and_nothing_doubled() {
    if number("TRAINSPOTTER_SEED").is_some() {
        let _ = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_test_writer().try_init();
    }
    let seeds = match number("TRAINSPOTTER_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TRAINSPOTTER_SEEDS").unwrap_or(SEEDS),
    };
    let failed: Vec<String> = seeds
        .clone()
        .filter_map(|seed| run(seed).err().map(|problem| format!("TRAINSPOTTER_SEED={seed}: {problem}")))
        .take(5)
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    eprintln!("{} seeds, each delivered in full and in order", seeds.count());
}

#[test]
fn what_is_wrong_is_found() {
    for mutant in [Mutant::ActsBeforeItAppends, Mutant::SendsWithoutALease, Mutant::TrustsALostAnswer] {
        mutant::switch(Some(mutant));
        let found = (0..400).any(|seed| run(seed).is_err());
        mutant::switch(None);
        assert!(found, "{mutant:?} is not found by 400 seeds");
    }
}
