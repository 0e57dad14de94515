//! Injects faults: pauses, partitions, outages of the bucket, and receivers that refuse.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use crate::replication::simulation::world::{Perils, RECEIVERS, Shared};

/// Injects faults.
pub(super) async fn make_trouble(world: Shared) {
    loop {
        let wait = world.lock().unwrap().random(1_000..25_000);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let mut of = world.lock().unwrap();
        if of.is_quiet() {
            return;
        }
        let replicas = of.replicas as u64;
        let anybody = usize::try_from(of.random(0..replicas)).unwrap();
        // Faults of the leader matter most.
        let leader = of.leader().and_then(|writer| writer.split_once('-')?.0.parse().ok());
        let replica = leader.filter(|_| of.rng.random_bool(0.5)).unwrap_or(anybody);
        // Often short, sometimes longer than a lease.
        let lasts = if of.rng.random_bool(0.5) { of.random(200..15_000) } else { of.random(20_000..90_000) };
        let lasts = Duration::from_millis(lasts);
        let Perils { pauses, partitions, outages, bad_receivers, .. } = of.perils;
        match of.random(0..4) {
            0 if pauses => {
                tracing::debug!(at = ?of.passed(), replica, ?lasts, "paused");
                of.paused.insert(replica);
                drop(of);
                tokio::task::spawn_local(resume(Arc::clone(&world), replica, lasts));
            }
            1 if partitions => {
                let everybody = of.rng.random_bool(0.2);
                let cut: Vec<usize> = if everybody { (0..of.replicas).collect() } else { vec![replica] };
                of.cut_off.extend(&cut);
                drop(of);
                tokio::task::spawn_local(reconnect(Arc::clone(&world), cut, lasts));
            }
            2 if outages && !of.is_out => {
                of.is_out = true;
                drop(of);
                tokio::task::spawn_local(recover(Arc::clone(&world), lasts));
            }
            3 if bad_receivers => {
                let receiver = RECEIVERS[replica % RECEIVERS.len()];
                of.refusing.insert(receiver);
                drop(of);
                tokio::task::spawn_local(accept(Arc::clone(&world), receiver, lasts));
            }
            _ => {}
        }
    }
}

async fn resume(world: Shared, replica: usize, after: Duration) {
    world.lock().unwrap().fault();
    tokio::time::sleep(after).await;
    let mut world = world.lock().unwrap();
    world.paused.remove(&replica);
    world.fault();
    for waker in std::mem::take(&mut world.wakers) {
        waker.wake();
    }
}

async fn reconnect(world: Shared, cut: Vec<usize>, after: Duration) {
    tokio::time::sleep(after).await;
    let mut world = world.lock().unwrap();
    world.cut_off.retain(|replica| !cut.contains(replica));
}

async fn recover(world: Shared, after: Duration) {
    tokio::time::sleep(after).await;
    world.lock().unwrap().is_out = false;
}

async fn accept(world: Shared, receiver: &'static str, after: Duration) {
    tokio::time::sleep(after).await;
    world.lock().unwrap().refusing.remove(receiver);
}
