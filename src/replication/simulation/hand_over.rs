//! A planned stop: how long nobody leads, with the terms of the default lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::world::{Perils, Shared, World};
use crate::blocking::Inline;
use crate::replication::lease::{Role, Terms};
use crate::replication::open_log::prepare;
use crate::replication::replica_task::Order;
use crate::replication::{Identity, ReplicaStatus};
use crate::store::{Store, StoreHandle};

/// Maximum time of a request to S3 and of its response, in milliseconds.
const SLOWEST: u64 = 30;

/// The default lease.
const LEASE: Duration = Duration::from_secs(45);

/// A replica without a service.
struct Running {
    status: watch::Receiver<ReplicaStatus>,
    orders: mpsc::Sender<Order>,
    _store: StoreHandle,
}

async fn start(world: &Shared, number: usize) -> Running {
    let clock = world.lock().unwrap().clock;
    let identity = Identity {
        writer: format!("{number}-1"),
        watches: "us-east-1".to_owned(),
        account: None,
        config: String::new(),
        version: String::new(),
    };
    let storage = Arc::new(Bucket { world: Arc::clone(world), replica: number });
    let (store, terms) = (Store::reused().unwrap(), Terms::of(LEASE));
    let replica = prepare(store, None, storage, identity, terms, clock).await.unwrap();
    let (status, (store, calls)) = (replica.status(), StoreHandle::behind(replica.fence()));
    let (orders, ordered) = mpsc::channel(1);
    tokio::task::spawn_local(replica.run(calls, ordered));
    Running { status, orders, _store: store }
}

/// Time from the end of one leader to the beginning of the next.
async fn hand_over(seed: u64) -> Duration {
    let world = World::new(seed);
    {
        let mut world = world.lock().unwrap();
        (world.perils, world.slowest) = (Perils::default(), SLOWEST);
    }
    let mut first = start(&world, 1).await;
    first.status.wait_for(|status| status.role == Role::Leading).await.unwrap();
    let mut second = start(&world, 2).await;
    // Any moment between two looks of the follower.
    let moment = world.lock().unwrap().random(1_000..60_000);
    tokio::time::sleep(Duration::from_millis(moment)).await;
    assert_eq!(second.status.borrow_and_update().role, Role::Following, "seed {seed}");
    let (done, is_done) = oneshot::channel();
    assert!(first.orders.send(Order::HandOver { for_good: true, done }).await.is_ok());
    is_done.await.unwrap();
    let began = Instant::now();
    second.status.wait_for(|status| status.role == Role::Leading).await.unwrap();
    began.elapsed()
}

#[test]
fn after_a_planned_stop_another_replica_leads_within_a_second() {
    let _inline = Inline::on_this_thread();
    for seed in 0..200 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let took = LocalSet::new().block_on(&runtime, hand_over(seed));
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}
