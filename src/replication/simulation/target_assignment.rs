//! Simulates three replicas and thirty targets in one thread, in virtual time: replicas die, stop, start and lose
//! the bucket. Two replicas must never send for the same target; each target is led again within a lease, and
//! within a minute after a replica starts or ends each leads its part.
//!
//! Logs, leases, announcements and assignments are the real ones. `TRAINSPOTTER_SEED=N` runs one seed,
//! `TRAINSPOTTER_SEEDS=N` that many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::seed_selection;
use super::world::start;
use crate::blocking::Inline;
use crate::objects::{Created, Storage, StorageError};
use crate::replication::Identity;
use crate::replication::lease::{Role, Terms};
use crate::replication::open_log::prepare;
use crate::replication::replica_task::Order;
use crate::replication::target_assignment::TargetAssignment;
use crate::store::{Fence, Store, StoreHandle};
use trainspotter_clock::Clock;

const REPLICAS: usize = 3;
const TARGETS: usize = 30;
const LEASE: Duration = Duration::from_secs(45);
/// Time that a take-over may need beyond the lease: slow or lost requests, and the pause between two looks.
const SLACK: Duration = Duration::from_secs(12);
const MINUTE: Duration = Duration::from_secs(60);
/// Number of events per run.
const EPISODES: usize = 3;
/// Number of seeds of a normal run. A seed takes a second of CPU.
const SEEDS: u64 = 6;

type Shared = Arc<Mutex<World>>;

struct World {
    rng: ChaCha8Rng,
    began: Instant,
    clock: Clock,
    objects: BTreeMap<String, Vec<u8>>,
    cut_off: BTreeSet<usize>,
    /// Fences of the live replicas.
    fences: BTreeMap<(usize, usize), Fence>,
    started: u64,
    violation: Option<String>,
}

/// The bucket as seen by one replica below a prefix.
#[derive(Clone)]
struct LogFolder {
    world: Shared,
    replica: usize,
    prefix: String,
}

impl LogFolder {
    async fn request<T: Send + 'static>(
        &self,
        name: &str,
        may_be_lost: bool,
        act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, String) -> T + Send + 'static,
    ) -> Result<T, StorageError> {
        let (there, back, is_lost, is_answer_lost) = {
            let mut world = self.world.lock().unwrap();
            // A replica that cannot read a log waits for another lease, so reads of logs are lost only if the
            // reader is cut off.
            let is_of_log = !self.prefix.is_empty();
            let chance = if is_of_log { 0.01 } else { 0.003 };
            let is_answer_lost = (may_be_lost || !is_of_log) && world.rng.random_bool(chance);
            let mut millis = || Duration::from_millis(world.rng.random_range(1..80));
            let (there, back) = (millis(), millis());
            (there, back, world.cut_off.contains(&self.replica), is_answer_lost)
        };
        if is_lost {
            return std::future::pending().await;
        }
        let (world, name, replica) = (Arc::clone(&self.world), format!("{}{name}", self.prefix), self.replica);
        // A request that has left arrives even if its caller is gone.
        let acting = tokio::spawn(async move {
            tokio::time::sleep(there).await;
            let done = act(&mut world.lock().unwrap().objects, name);
            tokio::time::sleep(back).await;
            let is_cut_off = world.lock().unwrap().cut_off.contains(&replica);
            (done, is_cut_off)
        });
        match acting.await.unwrap() {
            (_, true) => std::future::pending().await,
            (_, false) if is_answer_lost => Err(StorageError::silent("connection reset")),
            (done, false) => Ok(done),
        }
    }
}

impl Storage for LogFolder {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.request(name, false, |objects, name| objects.get(&name).cloned()).await
    }

    async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<Created, StorageError> {
        let create = |objects: &mut BTreeMap<String, Vec<u8>>, name| match objects.contains_key(&name) {
            true => Created::Exists,
            false => {
                objects.insert(name, bytes);
                Created::Yes
            }
        };
        self.request(name, true, create).await
    }

    async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), StorageError> {
        self.request(name, true, |objects, name| _ = objects.insert(name, bytes)).await
    }

    async fn list(&self, folder: &str, after: &str) -> Result<Vec<String>, StorageError> {
        let prefix = self.prefix.clone();
        let after = format!("{prefix}{after}");
        let list = move |objects: &mut BTreeMap<String, Vec<u8>>, folder: String| {
            let names = objects.range(after.clone()..).map(|(name, _)| name);
            let names = names.filter(|name| **name > after && name.starts_with(&folder));
            names.take(1_000).map(|name| name[prefix.len()..].to_owned()).collect()
        };
        self.request(&format!("{folder}/"), false, list).await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.request(name, true, |objects, name| _ = objects.remove(&name)).await
    }
}

/// A process with all targets. It dies when dropped.
struct Process {
    replica: usize,
    world: Shared,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Process {
    fn start(world: &Shared, replica: usize) -> Self {
        let mut of = world.lock().unwrap();
        of.started += 1;
        let (assignment, stop) =
            (TargetAssignment::new(&format!("r{replica}s{}", of.started)), CancellationToken::new());
        drop(of);
        assignment.set_count(TARGETS);
        let mut tasks = JoinSet::new();
        let folder = |prefix: String| LogFolder { world: Arc::clone(world), replica, prefix };
        let terms = Terms { poll: Duration::from_secs(1), ..Terms::of(LEASE) };
        tasks.spawn_local(assignment.clone().run(folder(String::new()), terms, stop.clone()));
        for target in 0..TARGETS {
            let folder = folder(format!("t{target:02}/"));
            tasks.spawn_local(watch(folder, target, assignment.clone(), terms, stop.clone()));
        }
        Self { replica, world: Arc::clone(world), tasks, stop }
    }

    /// Stops like a service that is asked to.
    async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.world.lock().unwrap().fences.retain(|(replica, _), _| *replica != self.replica);
    }
}

/// One target of a process: follows, leads, and gives up targets of others.
async fn watch(folder: LogFolder, target: usize, assignment: TargetAssignment, terms: Terms, stop: CancellationToken) {
    let (world, of) = (Arc::clone(&folder.world), folder.replica);
    let clock = world.lock().unwrap().clock;
    let (watches, config, version) = (format!("t{target:02}"), String::new(), String::new());
    let identity = Identity { writer: assignment.writer(), watches, account: None, config, version };
    let replica = loop {
        let (store, storage) = (Store::reused().unwrap(), Arc::new(folder.clone()));
        let opening = prepare(store, None, storage, identity.clone(), terms, clock);
        match stop.run_until_cancelled(opening).await {
            None => return,
            Some(Ok(replica)) => break replica,
            Some(Err(error)) if error.is_lasting() => {
                world.lock().unwrap().violation.get_or_insert(error.to_string());
                return;
            }
            Some(Err(_)) => tokio::time::sleep(Duration::from_secs(2)).await,
        }
    };
    let (mut status, fence) = (replica.status(), replica.fence());
    world.lock().unwrap().fences.insert((of, target), fence.clone());
    let (_handle, calls) = StoreHandle::behind(fence);
    let (orders, ordered) = mpsc::channel(1);
    let shared = assignment.join(&format!("t{target:02}"), status.clone(), replica.is_assigned());
    let hand_over = async |for_good| {
        let (done, is_done) = oneshot::channel();
        let _ = orders.send(Order::HandOver { for_good, done }).await;
        let _ = is_done.await;
    };
    let serving = async {
        while !stop.is_cancelled() {
            let gives_up = stop.child_token();
            let leads = status.wait_for(|status| status.role == Role::Leading);
            if stop.run_until_cancelled(leads).await.is_none() {
                break;
            }
            shared.leads(gives_up.clone());
            let lost = status.wait_for(|status| status.role != Role::Leading);
            if gives_up.run_until_cancelled(lost).await.is_none() {
                // A last tick, and notifications in flight.
                let last = world.lock().unwrap().rng.random_range(100..3_000);
                tokio::time::sleep(Duration::from_millis(last)).await;
                hand_over(stop.is_cancelled()).await;
            }
        }
        hand_over(true).await;
    };
    tokio::select! {
        biased;
        () = replica.run(calls, ordered) => {}
        () = serving => {}
    }
}

/// Number of targets each replica leads, and targets without a leader. Two leaders of one target are a violation.
fn led(world: &Shared) -> (Vec<usize>, Vec<usize>) {
    let mut world = world.lock().unwrap();
    let (mut counts, mut unled) = (vec![0; REPLICAS], Vec::new());
    for target in 0..TARGETS {
        let open = |replica: &usize| world.fences.get(&(*replica, target)).is_some_and(Fence::is_open);
        let leaders: Vec<usize> = (0..REPLICAS).filter(open).collect();
        match leaders[..] {
            [] => unled.push(target),
            [leader] => counts[leader] += 1,
            _ => {
                let at = world.began.elapsed();
                world.violation.get_or_insert(format!("at {at:?}: {leaders:?} send for target {target}"));
            }
        }
    }
    (counts, unled)
}

/// Waits until a time. Reports targets with two leaders, then checks that each target is led by one of `healthy`,
/// evenly if `is_even`.
async fn wait(world: &Shared, until: Instant, healthy: &[usize], is_even: bool, after: &str) -> Result<(), String> {
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(250)).await;
        led(world);
        let violation = world.lock().unwrap().violation.clone();
        if let Some(violation) = violation {
            return Err(violation);
        }
    }
    let (counts, unled) = led(world);
    let of: Vec<usize> = healthy.iter().map(|replica| counts[*replica]).collect();
    let is_spread = of.iter().max().unwrap() - of.iter().min().unwrap() <= 1;
    if unled.is_empty() && of.iter().sum::<usize>() == TARGETS && (is_spread || !is_even) {
        return Ok(());
    }
    Err(format!("{after}: {counts:?} are led by each, {healthy:?} are healthy, nobody leads {unled:?}"))
}

async fn run(world: &Shared) -> Result<(), String> {
    let roll = |below: u64| world.lock().unwrap().rng.random_range(0..below);
    let mut processes = Vec::new();
    for replica in 0..REPLICAS {
        tokio::time::sleep(Duration::from_millis(roll(5_000))).await;
        processes.push(Some(Process::start(world, replica)));
    }
    let all: Vec<usize> = (0..REPLICAS).collect();
    wait(world, Instant::now() + MINUTE, &all, true, "a minute after the start").await?;
    for _ in 0..EPISODES {
        let which = usize::try_from(roll(REPLICAS as u64)).unwrap();
        let rest: Vec<usize> = all.iter().copied().filter(|replica| *replica != which).collect();
        let began = Instant::now();
        match roll(3) {
            0 => drop(processes[which].take()),
            1 => {
                let stopping = processes[which].take().unwrap().stop();
                if tokio::time::timeout(Duration::from_secs(20), stopping).await.is_err() {
                    return Err("a stop takes more than 20 s".to_owned());
                }
                wait(world, Instant::now() + Duration::from_secs(8), &rest, false, "8 s after a stop").await?;
            }
            _ => _ = world.lock().unwrap().cut_off.insert(which),
        }
        wait(world, began + LEASE + SLACK, &rest, false, "a lease after a replica went").await?;
        wait(world, began + MINUTE, &rest, true, "a minute after a replica went").await?;
        world.lock().unwrap().cut_off.clear();
        if processes[which].is_none() {
            processes[which] = Some(Process::start(world, which));
        }
        wait(world, Instant::now() + MINUTE, &all, true, "a minute after a replica came").await?;
    }
    Ok(())
}

/// Runs one seed. Says all that is in the bucket at the end, or what went wrong.
fn simulate(seed: u64) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let _inline = Inline::on_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let world = Arc::new(Mutex::new(World {
            rng: ChaCha8Rng::seed_from_u64(seed),
            began: Instant::now(),
            clock: Clock::starting_at(start(), 1.0),
            objects: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            fences: BTreeMap::new(),
            started: 0,
            violation: None,
        }));
        run(&world).await?;
        let objects = world.lock().unwrap().objects.clone();
        Ok(objects)
    })
}

#[test]
fn thirty_targets_are_led_by_one_replica_each_and_spread_whatever_happens_to_them() {
    for seed in seed_selection::selected(SEEDS) {
        if let Err(problem) = simulate(seed) {
            panic!("TRAINSPOTTER_SEED={seed}: {problem}");
        }
    }
}

#[test]
fn a_seed_of_shared_targets_runs_the_same_each_time() {
    let seed = seed_selection::selected(SEEDS).start;
    let [first, again] = [simulate(seed), simulate(seed)].map(Result::unwrap);
    assert!(first.len() > TARGETS * EPISODES, "each target has a log");
    let differs = first.iter().zip(&again).find(|(first, again)| first != again);
    let shown = differs.map(|((name, bytes), (_, other))| {
        format!("{name}: {} and {}", String::from_utf8_lossy(bytes), String::from_utf8_lossy(other))
    });
    assert_eq!(shown, None, "TRAINSPOTTER_SEED={seed}");
    assert_eq!(first.len(), again.len(), "TRAINSPOTTER_SEED={seed}");
}
