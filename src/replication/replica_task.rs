//! A replica: a store and its log, owned by one task. Store calls go through it, and their changes become records.

mod following;
mod leading;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::blocking;
use crate::objects::Created;
use crate::objects::Storage;
use crate::replication::LogError;
use crate::replication::ReplicaStatus;
use crate::replication::append_record::Fate;
use crate::replication::append_record::append;
use crate::replication::damaged_snapshots::DamagedCopies;
use crate::replication::lease::Lease;
use crate::replication::lease::Mono;
use crate::replication::lease::Role;
use crate::replication::lease::Step;
use crate::replication::object_names;
use crate::replication::record::Header;
use crate::replication::record::Purpose;
use crate::replication::record::Record;
use crate::replication::restore::Folder;
use crate::replication::time_limit::within;
use crate::store::Call;
use crate::store::Changes;
use crate::store::Fence;
use crate::store::Position;
use crate::store::Store;
use trainspotter_clock::Clock;

/// Maximum calls per record.
const MAX_BATCH: usize = 64;

/// Identity of a replica and its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// New with each start: the replica's name, a dash and a number.
    pub writer: String,
    /// Targets of the service: a log belongs to one service.
    pub watches: String,
    /// AWS account of the credentials, as far as known: a log belongs to one account.
    pub account: Option<String>,
    /// Digest of the configuration.
    pub config: String,
    /// Version of the program.
    pub version: String,
}

impl Identity {
    /// Refuses the state of a service in another account.
    pub(super) fn check_account(&self, store: &Store) -> Result<(), LogError> {
        let Some(own) = &self.account else { return Ok(()) };
        let found = store.account().map_err(LogError::store)?;
        let of = |account: &String| format!("{} in account {account}", self.watches);
        match found.filter(|found| found != own) {
            Some(found) => Err(LogError::OfAnother { found: of(&found), own: of(own) }),
            None => Ok(()),
        }
    }
}

/// A request to a replica besides store calls.
pub(super) enum Order {
    /// Give up the leadership and record it in the log; permanently if `for_good`. `done` is answered when this has
    /// succeeded or failed.
    HandOver { for_good: bool, done: oneshot::Sender<()> },
}

/// A record that may or may not be in the log.
struct Outstanding {
    record: Record,
    changes: Changes,
    /// When its first attempt began.
    began: Mono,
    /// Whether the store already has the changes.
    is_kept: bool,
}

/// A log as far as this replica has read it.
pub(super) struct Log<S> {
    pub(super) storage: Arc<S>,
    /// Position of the store, without an outstanding record.
    pub(super) position: Position,
    /// The last known record.
    pub(super) last: Option<Header>,
    /// The record after which the leader writes the next snapshot.
    pub(super) snapshot_at: u64,
    /// Snapshots that could not be used, until they are removed from the log.
    pub(super) damaged: Option<DamagedCopies>,
}

/// A store and its log.
pub(super) struct Replica<S> {
    store: Store,
    /// The state file, if there is one: snapshots are made of it beside the store.
    file: Option<PathBuf>,
    log: Log<S>,
    identity: Identity,
    lease: Lease,
    clock: Clock,
    /// When the lease's time began.
    began: Instant,
    outstanding: Option<Outstanding>,
    /// Changes in the store that are not in the log.
    unlogged: Changes,
    /// The record with which the current term began; 0 while following.
    term: u64,
    /// It has handed over and never leads again.
    retired: bool,
    /// Whether this replica is assigned the target.
    is_assigned: Arc<AtomicBool>,
    /// The store has changes that will never be in the log: it must be restored.
    has_diverged: bool,
    /// The last attempt to take over failed, and nothing was read or written since.
    failed_to_take_over: bool,
    trouble: Option<String>,
    /// While the bucket fails: whether it returns errors, to everybody.
    goes_on: bool,
    fence: Fence,
    status: watch::Sender<ReplicaStatus>,
    snapshots: Snapshots,
    /// When to look next whether the damaged snapshots are still there.
    look_for_damaged_at: Mono,
}

/// Settings of snapshots.
#[derive(Default)]
struct Snapshots {
    running: Option<AbortOnDropHandle<()>>,
    every: Option<u64>,
}

impl<S: Storage + 'static> Replica<S> {
    /// A follower whose store is at the log's position. `began` is when the lease's time began.
    pub(super) fn new(
        (store, file): (Store, Option<PathBuf>),
        log: Log<S>,
        identity: Identity,
        lease: Lease,
        clock: Clock,
        began: Instant,
    ) -> Self {
        let status = ReplicaStatus {
            role: Role::Following,
            term: 0,
            own: identity.writer.clone(),
            leader: None,
            number: log.position.number,
            written_at: None,
            same_config: true,
            trouble: None,
            is_ahead: false,
            damaged_copy: log.damaged.as_ref().map(DamagedCopies::report),
        };
        Self {
            store,
            file,
            log,
            identity,
            lease,
            clock,
            began,
            outstanding: None,
            unlogged: Changes::default(),
            term: 0,
            retired: false,
            is_assigned: Arc::new(AtomicBool::new(true)),
            has_diverged: false,
            failed_to_take_over: false,
            trouble: None,
            goes_on: true,
            fence: Fence::closed(began),
            status: watch::Sender::new(status),
            snapshots: Snapshots::default(),
            look_for_damaged_at: Mono::ZERO,
        }
    }

    /// Its status, from now on.
    pub(super) fn status(&self) -> watch::Receiver<ReplicaStatus> {
        self.status.subscribe()
    }

    /// The fence that lets notifications pass while it may send.
    pub(super) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// The flag whether this replica is assigned the target.
    pub(super) fn is_assigned(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_assigned)
    }

    /// Checks that this replica may write to the log: creates the last record again, which has no effect because it
    /// exists, and fails without the permission.
    pub(super) async fn check_right_to_write(&self) -> Result<(), LogError> {
        let (name, patience) = (object_names::record(self.log.position.number), self.patience());
        if let Some(same) = within(patience, self.log.storage.get(&name)).await?
            && within(patience, self.log.storage.create(&name, same)).await? == Created::Yes
        {
            return Err(LogError::Overwrites { name });
        }
        Ok(())
    }

    /// Makes copies more often, for tests.
    #[cfg(test)]
    pub(super) fn with_snapshots_every(mut self, records: u64) -> Self {
        self.snapshots.every = Some(records);
        self.log.snapshot_at = self.log.position.number + records;
        self
    }

    /// Follows and leads until all callers are gone.
    pub(super) async fn run(mut self, mut calls: mpsc::Receiver<Call>, mut orders: mpsc::Receiver<Order>) {
        loop {
            let wait = match self.lease.step(self.now()) {
                Step::Wait(until) => until,
                Step::Look if self.retired => self.now() + self.lease.terms().lease,
                Step::Look => {
                    self.lease.leave_to_others(!self.is_assigned.load(Ordering::SeqCst));
                    self.look().await;
                    self.now()
                }
                Step::Write => {
                    self.write().await;
                    self.now()
                }
            };
            self.make_snapshot();
            self.look_for_damaged_copies().await;
            self.show();
            let call = tokio::select! {
                biased;
                Some(Order::HandOver { for_good, done }) = orders.recv() => {
                    self.hand_over(for_good).await;
                    self.show();
                    // The caller may be gone.
                    let _ = done.send(());
                    continue;
                }
                call = calls.recv() => call,
                () = tokio::time::sleep_until(self.began + wait) => continue,
            };
            let Some(call) = call else { return };
            let mut batch = VecDeque::from([call]);
            while batch.len() < MAX_BATCH {
                let Ok(call) = calls.try_recv() else { break };
                batch.push_back(call);
            }
            self.run_batch(batch).await;
            self.show();
        }
    }

    fn now(&self) -> Mono {
        self.began.elapsed()
    }

    /// Publishes the status within this process.
    fn show(&mut self) {
        self.fence.open_until(if self.retired { None } else { self.lease.may_send_until() });
        let leader = self.log.last.as_ref().filter(|last| last.purpose != Purpose::HandOver);
        let status = ReplicaStatus {
            role: self.lease.role(),
            term: self.term,
            own: self.identity.writer.clone(),
            leader: leader.map(|last| last.writer.clone()),
            number: self.log.position.number,
            written_at: self.log.last.as_ref().map(|last| last.at),
            same_config: self.log.last.as_ref().is_none_or(|last| last.config == self.identity.config),
            trouble: self.trouble.clone(),
            is_ahead: !self.unlogged.is_empty(),
            damaged_copy: self.log.damaged.as_ref().map(DamagedCopies::report),
        };
        self.status.send_if_modified(|shown| {
            let is_new = *shown != status;
            if shown.same_config && !status.same_config {
                tracing::warn!(
                    leader = status.leader,
                    "the configuration of the leader differs from this replica's; give all replicas the same \
                     configuration"
                );
            }
            *shown = status;
            is_new
        });
    }

    /// Creates a record that follows the last one.
    fn record(&self, purpose: Purpose, changes: &Changes) -> Result<Record, LogError> {
        let header = Header {
            number: self.log.position.number + 1,
            purpose,
            writer: self.identity.writer.clone(),
            at: self.clock.now(),
            before: String::from_utf8_lossy(&self.log.position.digest).into_owned(),
            schema: Store::schema_version(),
            watches: self.identity.watches.clone(),
            config: self.identity.config.clone(),
            version: self.identity.version.clone(),
            bytes: 0,
            digest: String::new(),
        };
        Record::new(header, changes)
    }

    async fn append(&self, record: &Record) -> Fate {
        append(&*self.log.storage, record, self.patience()).await
    }

    fn patience(&self) -> Duration {
        self.lease.terms().request()
    }

    /// Position of the store after a record.
    fn after(&self, header: &Header) -> Position {
        Position {
            number: header.number,
            digest: header.digest.clone().into_bytes(),
            writer: self.identity.writer.clone(),
            is_ahead: false,
        }
    }

    fn set_trouble(&mut self, trouble: Option<String>) {
        if self.trouble != trouble {
            match &trouble {
                Some(trouble) => tracing::error!(trouble, "the replication log failed"),
                None => tracing::info!("the replication log works again"),
            }
            self.trouble = trouble;
        }
    }

    /// Writes a snapshot every so many records, if this is the leader and its state is in the log.
    fn make_snapshot(&mut self) {
        let is_running = self.snapshots.running.as_ref().is_some_and(|running| !running.is_finished());
        let is_clean = self.outstanding.is_none() && self.unlogged.is_empty() && self.trouble.is_none();
        if self.term == 0 || self.log.position.number < self.log.snapshot_at || is_running || !is_clean {
            return;
        }
        let every = self.snapshots.every.unwrap_or(super::snapshot::RECORDS_PER_SNAPSHOT);
        self.log.snapshot_at = self.log.position.number + every;
        let Ok(folder) = Folder::new() else { return };
        let file = self.file.clone().filter(|_| self.store.trouble().is_none());
        if file.is_none()
            && let Err(error) = self.store.copy_to(&folder.copy())
        {
            return tracing::warn!(%error, "cannot copy the state for a snapshot; retrying later");
        }
        // Until it is done the folder stays.
        let prepare = move || {
            if let Some(file) = file {
                Store::copy_file(&file, &folder.copy()).map_err(LogError::store)?;
            }
            super::snapshot::prepare(&folder.copy())
        };
        let (storage, patience) = (Arc::clone(&self.log.storage), self.patience());
        let damaged = self.log.damaged.as_ref().map_or_else(Vec::new, |damaged| damaged.names.clone());
        // The leader continues meanwhile, however slow the bucket is.
        let running = tokio::spawn(async move {
            let written = match blocking::run(prepare).await {
                Ok(Ok(Some(copy))) => super::snapshot::write(&*storage, copy, &damaged, patience).await,
                Ok(Ok(None)) | Err(_) => return,
                Ok(Err(error)) => Err(error),
            };
            match written {
                Ok(number) => tracing::info!(number, "wrote a snapshot to the replication log"),
                Err(error) => {
                    tracing::warn!(%error, "cannot write a snapshot to the replication log; retrying later")
                }
            }
        });
        self.snapshots.running = Some(AbortOnDropHandle::new(running));
    }

    /// Once per lease: whether the damaged snapshots are still in the log.
    async fn look_for_damaged_copies(&mut self) {
        let (now, patience) = (self.now(), self.patience());
        let Some(damaged) = self.log.damaged.as_mut().filter(|_| now >= self.look_for_damaged_at) else { return };
        if !damaged.are_still_there(&*self.log.storage, patience).await {
            tracing::info!("removed the corrupt snapshots from the replication log");
            self.log.damaged = None;
        }
        self.look_for_damaged_at = self.now() + self.lease.terms().lease;
    }
}
