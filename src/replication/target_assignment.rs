//! Shares targets among replicas: each target has its own log and lease and is led by one replica; each replica
//! leads about the same number.
//!
//! Every replica announces itself beside the logs ([members]), reads from the logs who leads what, and computes
//! from that which replica should lead each target ([assignment]). It hands over targets of others and takes over
//! its own. That no target is led twice does not depend on any of this: the target's log decides. A replica that is
//! not assigned a target leaves it to others for a lease, and takes over after that.

pub mod assignment;
pub mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::objects::{Storage, StorageError};
use crate::replication::ReplicaStatus;
use crate::replication::lease::{Role, Terms};
use assignment::{Able, Leaders, assign};
use members::Members;

/// Delay after which members are read again while a target has no leader; it doubles each time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The replica in a writer's id: the part before the number of the start.
pub fn replica_of(writer: &str) -> &str {
    writer.split_once('-').map_or(writer, |(replica, _)| replica)
}

/// The targets of this process that are shared with other replicas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TargetAssignment(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: Arc<str>,
    starts: AtomicU64,
    /// Whether there is more than one target.
    is_shared: AtomicBool,
    shards: Mutex<BTreeMap<Arc<str>, Shard>>,
    /// Replicas beyond the maximum, counted at each look.
    left_out: AtomicU64,
}

/// A target whose log is open in this process.
#[derive(Debug)]
struct Shard {
    start: u64,
    status: watch::Receiver<ReplicaStatus>,
    is_assigned: Arc<AtomicBool>,
    /// Cancelled when this replica leads it and should no longer.
    gives_up: CancellationToken,
}

/// When this replica last announced itself and read the members.
#[derive(Debug, Default)]
struct Last {
    announced: Option<Duration>,
    looked: Option<Duration>,
    /// Delay after which members are read again while a target has no leader.
    pause: Option<Duration>,
}

/// Guard: the target is shared while this exists.
#[derive(Debug)]
#[must_use]
pub struct SharedTarget {
    assignment: TargetAssignment,
    target: Arc<str>,
    start: u64,
}

impl TargetAssignment {
    /// Creates the state for a replica with this name, which contains only letters and digits.
    pub fn new(own: &str) -> Self {
        let (starts, is_shared, shards, left_out) = Default::default();
        Self(Arc::new(Inner { own: own.into(), starts, is_shared, shards, left_out }))
    }

    /// Name of this replica.
    pub fn own(&self) -> Arc<str> {
        self.0.own.clone()
    }

    /// Whether the log of any target is open.
    pub fn has_open_logs(&self) -> bool {
        !self.shards().is_empty()
    }

    /// A new writer id for one log.
    pub fn writer(&self) -> String {
        format!("{}-{}", self.0.own, self.0.starts.fetch_add(1, Ordering::Relaxed))
    }

    /// Sets the number of targets. A single one is led by the first replica.
    pub fn set_count(&self, targets: usize) {
        self.0.is_shared.store(targets > 1, Ordering::Relaxed);
    }

    /// Returns and resets the number of replicas beyond the maximum, counted at each look.
    pub fn take_left_out(&self) -> u64 {
        self.0.left_out.swap(0, Ordering::Relaxed)
    }

    /// Adds a target whose log is open. `is_assigned` is the flag its replica reads.
    pub fn join(
        &self,
        target: &str,
        status: watch::Receiver<ReplicaStatus>,
        is_assigned: Arc<AtomicBool>,
    ) -> SharedTarget {
        is_assigned.store(!self.is_shared(), Ordering::SeqCst);
        let start = self.0.starts.fetch_add(1, Ordering::Relaxed);
        let (target, gives_up) = (Arc::<str>::from(target), CancellationToken::new());
        self.shards().insert(target.clone(), Shard { start, status, is_assigned, gives_up });
        SharedTarget { assignment: self.clone(), target, start }
    }

    /// Checks that announcements can be written, listed and read.
    ///
    /// # Errors
    /// One of these failed.
    pub async fn check_permissions(&self, storage: &impl Storage, terms: Terms) -> Result<(), StorageError> {
        members::check_permissions(storage, &self.0.own, terms).await
    }

    /// Announces this replica and assigns targets, until `stop`.
    pub async fn run<S: Storage>(self, storage: S, terms: Terms, stop: CancellationToken) {
        let began = Instant::now();
        let mut members = Members::new(storage, self.0.own.clone(), terms);
        let mut last = Last::default();
        loop {
            let round = async {
                if self.is_shared() {
                    self.announce_and_look(&mut members, began, &mut last).await;
                }
                self.assign(&members);
                tokio::time::sleep(terms.poll).await;
            };
            if stop.run_until_cancelled(round).await.is_none() {
                return members.leave().await;
            }
        }
    }

    /// Announces this replica and reads the members, if due: earlier if a target has no leader, since its leader
    /// may be gone.
    async fn announce_and_look<S: Storage>(&self, members: &mut Members<S>, began: Instant, last: &mut Last) {
        let now = began.elapsed();
        let is_past = |at: Option<Duration>, pause| at.is_none_or(|at| now.saturating_sub(at) >= pause);
        let is_due = is_past(last.announced, members.every());
        if is_due {
            last.announced = Some(now);
            let able = able_of(&self.shards());
            members.announce(&able).await;
        }
        let has_vacancy = self.shards().values().any(|shard| shard.status.borrow().leader.is_none());
        let pause = last.pause.filter(|_| has_vacancy).unwrap_or(LOOK_AGAIN).min(members.every());
        last.pause = Some(pause);
        if is_due || (has_vacancy && is_past(last.looked, pause)) {
            last.looked = Some(now);
            // A target without a leader for long is no reason to look as often.
            last.pause = Some(if has_vacancy { pause * 2 } else { LOOK_AGAIN });
            members.look(began).await;
            self.0.left_out.fetch_add(members.left_out() as u64, Ordering::Relaxed);
        }
    }

    /// Sets for each target whether this replica is assigned it.
    fn assign(&self, members: &Members<impl Storage>) {
        let shards = self.shards();
        if !self.is_shared() {
            return shards.values().for_each(|shard| shard.is_assigned.store(true, Ordering::SeqCst));
        }
        let mut able: Able = members.present();
        able.insert(self.0.own.clone(), able_of(&shards));
        let leader = |shard: &Shard| shard.status.borrow().leader.as_deref().map(|leader| replica_of(leader).into());
        let leaders: Leaders = shards.iter().map(|(target, shard)| (target.clone(), leader(shard))).collect();
        let assigned = assign(&able, &leaders);
        for (target, shard) in shards.iter() {
            let to = assigned.get(target);
            let is_own = to == Some(&self.0.own);
            shard.is_assigned.store(is_own, Ordering::SeqCst);
            let leads = shard.status.borrow().role == Role::Leading;
            if let (false, true, Some(to)) = (is_own, leads && !shard.gives_up.is_cancelled(), to) {
                let span = tracing::info_span!("watch", target = &**target);
                span.in_scope(|| tracing::info!(%to, "handing a target over to the replica that it is assigned to"));
                shard.gives_up.cancel();
            }
        }
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared.load(Ordering::Relaxed)
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Shard>> {
        // A poisoned lock is fine: the contents are valid after each line.
        self.0.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn able_of(shards: &BTreeMap<Arc<str>, Shard>) -> BTreeSet<Arc<str>> {
    let can = |shard: &Shard| {
        let status = shard.status.borrow();
        status.role == Role::Leading || status.trouble.is_none()
    };
    shards.iter().filter(|(_, shard)| can(shard)).map(|(target, _)| target.clone()).collect()
}

impl SharedTarget {
    /// Marks the target as led by this replica; `gives_up` is cancelled when it should no longer lead it.
    pub fn leads(&self, gives_up: CancellationToken) {
        if let Some(shard) = self.assignment.shards().get_mut(&self.target).filter(|shard| shard.start == self.start) {
            shard.gives_up = gives_up;
        }
    }
}

impl Drop for SharedTarget {
    fn drop(&mut self) {
        let mut shards = self.assignment.shards();
        if shards.get(&self.target).is_some_and(|shard| shard.start == self.start) {
            shards.remove(&self.target);
        }
    }
}
