//! Replicas that share targets: each target has a log and a lease of its own, and is led by one replica; together they lead about the same
//! number each.
//!
//! Every replica announces itself beside the logs ([members]), sees in the logs who leads what, and computes from that who is to lead each
//! target ([assignment]). It hands over what is another one's, and takes over what is its own. That no target is led twice does not rest on
//! any of this: the log of a target decides. A replica that is not the one to lead a target leaves it to others for a lease, and
//! then takes over nevertheless.

pub mod assignment;
pub mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::objects::Storage;
use crate::replication::Standing;
use crate::replication::lease::{Role, Terms};
use assignment::{Able, Leaders, assign};
use members::Members;

/// While a target has no leader, the other replicas are looked for this long after the last time, then after twice as long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The replica in a name that records give their writer: what comes before the number of the start.
pub fn replica_of(writer: &str) -> &str {
    writer.split_once('-').map_or(writer, |(replica, _)| replica)
}

/// The targets of this process, as far as they are shared with other replicas. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sharing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: Arc<str>,
    starts: AtomicU64,
    /// Whether there is more than one target.
    is_shared: AtomicBool,
    shards: Mutex<BTreeMap<Arc<str>, Shard>>,
    /// Replicas that took no part because there are too many, at each look.
    left_out: AtomicU64,
}

/// A target whose log is open here.
#[derive(Debug)]
struct Shard {
    start: u64,
    standing: watch::Receiver<Standing>,
    is_assigned: Arc<AtomicBool>,
    /// Set when this replica leads it and is not to lead it any longer.
    gives_up: CancellationToken,
}

/// When a replica has announced itself and looked for others last.
#[derive(Debug, Default)]
struct Last {
    announced: Option<Duration>,
    looked: Option<Duration>,
    /// How long after a look the next one follows while a target has no leader.
    pause: Option<Duration>,
}

/// A target is shared as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct SharedTarget {
    sharing: Sharing,
    target: Arc<str>,
    start: u64,
}

impl Sharing {
    /// The targets of a replica with this name, which has only letters and digits.
    pub fn new(own: &str) -> Self {
        let (starts, is_shared, shards, left_out) = Default::default();
        Self(Arc::new(Inner { own: own.into(), starts, is_shared, shards, left_out }))
    }

    /// A name for the writer of one log: another one each time.
    pub fn writer(&self) -> String {
        format!("{}-{}", self.0.own, self.0.starts.fetch_add(1, Ordering::Relaxed))
    }

    /// How many targets there are. A single one is led by whoever comes first.
    pub fn set_count(&self, targets: usize) {
        self.0.is_shared.store(targets > 1, Ordering::Relaxed);
    }

    /// How many replicas took no part since this was last asked, at each look, because there are too many.
    pub fn take_left_out(&self) -> u64 {
        self.0.left_out.swap(0, Ordering::Relaxed)
    }

    /// Takes in a target whose log is open. `is_assigned` is what its replica goes by.
    pub fn join(
        &self,
        target: &str,
        standing: watch::Receiver<Standing>,
        is_assigned: Arc<AtomicBool>,
    ) -> SharedTarget {
        is_assigned.store(!self.is_shared(), Ordering::SeqCst);
        let start = self.0.starts.fetch_add(1, Ordering::Relaxed);
        let (target, gives_up) = (Arc::<str>::from(target), CancellationToken::new());
        self.shards().insert(target.clone(), Shard { start, standing, is_assigned, gives_up });
        SharedTarget { sharing: self.clone(), target, start }
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

    /// Announces this replica and looks for the others, if it is time to: sooner where a target has no leader, who may be gone.
    async fn announce_and_look<S: Storage>(&self, members: &mut Members<S>, began: Instant, last: &mut Last) {
        let now = began.elapsed();
        let is_past = |at: Option<Duration>, pause| at.is_none_or(|at| now.saturating_sub(at) >= pause);
        let is_due = is_past(last.announced, members.every());
        if is_due {
            last.announced = Some(now);
            let able = able_of(&self.shards());
            members.announce(&able).await;
        }
        let has_vacancy = self.shards().values().any(|shard| shard.standing.borrow().leader.is_none());
        let pause = last.pause.filter(|_| has_vacancy).unwrap_or(LOOK_AGAIN).min(members.every());
        last.pause = Some(pause);
        if is_due || (has_vacancy && is_past(last.looked, pause)) {
            last.looked = Some(now);
            // A target that nobody leads for long is no reason to look as often.
            last.pause = Some(if has_vacancy { pause * 2 } else { LOOK_AGAIN });
            members.look(began).await;
            self.0.left_out.fetch_add(members.left_out() as u64, Ordering::Relaxed);
        }
    }

    /// Says of each target whether this replica is to lead it.
    fn assign(&self, members: &Members<impl Storage>) {
        let shards = self.shards();
        if !self.is_shared() {
            return shards.values().for_each(|shard| shard.is_assigned.store(true, Ordering::SeqCst));
        }
        let mut able: Able = members.living();
        able.insert(self.0.own.clone(), able_of(&shards));
        let leader = |shard: &Shard| shard.standing.borrow().leader.as_deref().map(|leader| replica_of(leader).into());
        let leaders: Leaders = shards.iter().map(|(target, shard)| (target.clone(), leader(shard))).collect();
        let assigned = assign(&able, &leaders);
        for (target, shard) in shards.iter() {
            let to = assigned.get(target);
            let is_own = to == Some(&self.0.own);
            shard.is_assigned.store(is_own, Ordering::SeqCst);
            let leads = shard.standing.borrow().role == Role::Leading;
            if let (false, true, Some(to)) = (is_own, leads && !shard.gives_up.is_cancelled(), to) {
                tracing::info!(target = &**target, %to, "this replica leads more targets than others and hands one over");
                shard.gives_up.cancel();
            }
        }
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared.load(Ordering::Relaxed)
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Shard>> {
        // What it holds is whole after each line.
        self.0.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn able_of(shards: &BTreeMap<Arc<str>, Shard>) -> BTreeSet<Arc<str>> {
    let can = |shard: &Shard| {
        let standing = shard.standing.borrow();
        standing.role == Role::Leading || standing.trouble.is_none()
    };
    shards.iter().filter(|(_, shard)| can(shard)).map(|(target, _)| target.clone()).collect()
}

impl SharedTarget {
    /// This replica leads the target from here on; `gives_up` is set when it is not to lead it any longer.
    pub fn leads(&self, gives_up: CancellationToken) {
        if let Some(shard) = self.sharing.shards().get_mut(&self.target).filter(|shard| shard.start == self.start) {
            shard.gives_up = gives_up;
        }
    }
}

impl Drop for SharedTarget {
    fn drop(&mut self) {
        let mut shards = self.sharing.shards();
        if shards.get(&self.target).is_some_and(|shard| shard.start == self.start) {
            shards.remove(&self.target);
        }
    }
}
