//! With a log the alerts of a removed target are ended by one replica: the one that leads the target's log, as when a
//! replica leads a target that is configured.
//!
//! A replica with an older configuration may still watch the target, and would begin the alerts again. It has
//! precedence: nothing is ended until no other replica has written to the log, or announced that it can lead the
//! target, for two leases; and ending stops when one does.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::config::{Replication, Target};
use crate::objects::{AnyStorage, Storage, StorageError};
use crate::replication::known_targets::{self, KnownTarget};
use crate::replication::lease::{Role, Terms};
use crate::replication::target_assignment::members::Members;
use crate::replication::{ReplicaStatus, Replicas};
use crate::service::StartError;
use crate::service::removed_targets::{end_and_send, span_of};
use crate::service::shared_by_targets::Shared;
use crate::service::target_replica::{self, Failed};
use crate::store::StoreError;

/// Wall time between attempts to write the notes about targets: nothing else waits for them.
const RETRY_DELAY: Duration = Duration::from_secs(10);

/// Leases between checks whether targets were removed.
const CHECK_EVERY: u32 = 4;

/// Leases without any sign of another replica before alerts are ended.
const QUIET: u32 = 2;

/// Ends the alerts of all targets that the log knows and that are not among these, until `stop`.
pub(super) async fn end_alerts_except(
    shared: &Shared,
    replication: &Replication,
    now: &[Target],
    stop: &CancellationToken,
) {
    let terms = Terms::of(replication.lease);
    let opening = target_replica::storage(&shared.config, replication, &replication.log, shared.clock);
    // On failure the log cannot be opened either, and that error is reported.
    let Some(Ok(storage)) = stop.run_until_cancelled(opening).await else { return };
    let now = target_replica::known(now);
    let mut trouble = Trouble::default();
    let noting = async {
        while !shared.assignment.has_open_logs() {
            tokio::time::sleep(target_replica::REOPEN_DELAY).await;
        }
        if !is_own_log(shared, replication, &storage, &now).await {
            return false;
        }
        while !trouble.is_none_after(&known_targets::note(&storage, &now, terms).await) {
            tokio::time::sleep(RETRY_DELAY).await;
        }
        true
    };
    if stop.run_until_cancelled(noting).await != Some(true) {
        return;
    }
    loop {
        let Some(removed) = stop.run_until_cancelled(known_targets::removed(&storage, &now, terms)).await else {
            return;
        };
        trouble.is_none_after(&removed);
        let ending = removed.iter().flatten().map(|known| {
            let ending = end(shared, replication, &storage, known, stop);
            ending.instrument(span_of(&known.name))
        });
        join_all(ending).await;
        if stop.run_until_cancelled(tokio::time::sleep(terms.lease * CHECK_EVERY)).await.is_none() {
            return;
        }
    }
}

/// Whether the original log has no owner yet or belongs to this service: beside the log of another service nothing is
/// noted. Retries until it can be read.
async fn is_own_log(shared: &Shared, replication: &Replication, storage: &AnyStorage, now: &[KnownTarget]) -> bool {
    loop {
        match target_replica::watches(&shared.config, replication, &replication.log, shared.clock).await {
            Ok(None) => return true,
            Ok(Some(owner)) => {
                let is_own = known_targets::is_own_log(storage, &owner, now, Terms::of(replication.lease)).await;
                if let Ok(is_own) = is_own {
                    return is_own;
                }
            }
            // The replicas report it.
            Err(Failed::Lasting(_)) => return false,
            Err(Failed::ForNow(_)) => {}
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// The last problem with the notes, so that it is logged when it changes and not each time.
#[derive(Default)]
struct Trouble(Option<String>);

impl Trouble {
    /// Logs the problem, if it is a new one. Returns whether there is none.
    fn is_none_after<T>(&mut self, done: &Result<T, StorageError>) -> bool {
        let problem = done.as_ref().err().map(ToString::to_string);
        if problem.is_some() && self.0 != problem {
            tracing::warn!(problem, "cannot find out whether targets were removed; retrying");
        }
        self.0 = problem;
        self.0.is_none()
    }
}

/// Ends the alerts of a removed target, and forgets it once everything was sent.
async fn end(
    shared: &Shared,
    replication: &Replication,
    root: &AnyStorage,
    known: &KnownTarget,
    stop: &CancellationToken,
) {
    let opening = async {
        // A target that was removed just now ends its alerts itself.
        shared.running.until_ended(&known.name).await;
        open(shared, replication, known).await
    };
    let Some(opened) = stop.run_until_cancelled(opening).await else { return };
    let ended = match opened {
        Ok(Some((replicas, mut others))) => {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => Ok(false),
                ended = lead_and_end(shared, &replicas, &mut others) => ended,
            };
            replicas.hand_over(true).await;
            ended.map_err(|error| error.to_string())
        }
        // Without a log it has no alerts; or it has another name now, and the log and its alerts go on.
        Ok(None) => Ok(true),
        Err(error) => Err(error.to_string()),
    };
    let forgotten = match ended {
        Ok(false) => return,
        Ok(true) => known_targets::forget(root, &known.name, Terms::of(replication.lease)).await,
        Err(error) => return log_failure(&error),
    };
    if let Err(error) = forgotten {
        log_failure(&error.to_string());
    }
}

fn log_failure(problem: &str) {
    tracing::warn!(problem, "cannot resolve the alerts of a removed target; retrying later");
}

/// Opens the log of a removed target. Retries until it can be reached.
async fn open(
    shared: &Shared,
    replication: &Replication,
    known: &KnownTarget,
) -> Result<Option<(Replicas, Others)>, StartError> {
    loop {
        let opening = async {
            let storage = target_replica::storage(&shared.config, replication, &replication.log, shared.clock).await?;
            let Some(replicas) = target_replica::open_removed(shared, replication, known).await? else {
                return Ok(None);
            };
            let members = Members::new(storage, shared.assignment.own(), Terms::of(replication.lease));
            let others = Others::new(members, &known.name, replication.lease, replicas.status.borrow().number);
            Ok(Some((replicas, others)))
        };
        match opening.await {
            Ok(opened) => return Ok(opened),
            Err(Failed::Lasting(error)) => return Err(error),
            Err(Failed::ForNow(_)) => tokio::time::sleep(target_replica::REOPEN_DELAY).await,
        }
    }
}

/// Follows the log, and ends its alerts once this replica leads it and there is no sign of others. Returns whether
/// everything was sent.
async fn lead_and_end<S: Storage>(
    shared: &Shared,
    replicas: &Replicas,
    others: &mut Others<S>,
) -> Result<bool, StoreError> {
    let attempt = Terms::of(others.lease).attempt();
    let mut status = replicas.status.clone();
    loop {
        let now = status.borrow_and_update().clone();
        others.follow(&now);
        if now.role == Role::Leading && others.are_quiet() {
            let store = replicas.store.for_term(now.term);
            let term_ends = async { status.wait_for(|status| status.term != now.term).await.is_ok() };
            tokio::select! {
                biased;
                goes_on = term_ends => if !goes_on { return Ok(false) },
                () = others.appear() => return Ok(false),
                ended = end_and_send(shared, &store, attempt) => {
                    if !matches!(ended, Err(StoreError::NotLeading)) { return ended }
                }
            }
            // Another replica has taken over.
            if status.wait_for(|status| status.term != now.term).await.is_err() {
                return Ok(false);
            }
        } else {
            tokio::select! {
                biased;
                // The replica's thread has ended, which it reports.
                is_new = status.changed() => if is_new.is_err() { return Ok(false) },
                is_there = others.look() => if is_there { return Ok(false) },
            }
        }
    }
}

/// The other replicas, as far as they concern one target.
struct Others<S = AnyStorage> {
    members: Members<S>,
    target: String,
    lease: Duration,
    began: Instant,
    look_at: Instant,
    /// Since when there has been no sign of them.
    quiet_since: Instant,
    /// The last record of the target's log.
    number: u64,
}

impl<S: Storage> Others<S> {
    fn new(members: Members<S>, target: &str, lease: Duration, number: u64) -> Self {
        let began = Instant::now();
        let target = target.to_owned();
        Self { members, target, lease, began, look_at: began, quiet_since: began, number }
    }

    /// Notices the records that others wrote.
    fn follow(&mut self, status: &ReplicaStatus) {
        let is_of_others = status.role == Role::Following && status.number != self.number;
        if is_of_others || status.trouble.is_some() {
            self.quiet_since = Instant::now();
        }
        self.number = status.number;
    }

    /// Whether there has been no sign of them for so long that none watches the target.
    fn are_quiet(&self) -> bool {
        self.quiet_since.elapsed() >= self.lease * QUIET
    }

    /// Reads the announcements when they are due. Returns whether another replica can lead the target.
    async fn look(&mut self) -> bool {
        tokio::time::sleep_until(self.look_at).await;
        self.members.look(self.began).await;
        self.look_at = Instant::now() + self.members.every();
        if self.members.is_blind() {
            self.quiet_since = Instant::now();
        }
        self.members.present().values().any(|targets| targets.contains(self.target.as_str()))
    }

    /// Waits until another replica can lead the target.
    async fn appear(&mut self) {
        while !self.look().await {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::folder::Folder;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    const LEASE: Duration = Duration::from_secs(45);

    fn status(role: Role, number: u64) -> ReplicaStatus {
        ReplicaStatus {
            role,
            term: 0,
            own: "own-1".to_owned(),
            leader: None,
            number,
            written_at: None,
            same_config: true,
            trouble: None,
            is_ahead: false,
            damaged_copy: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn others_are_quiet_two_leases_after_their_last_record() {
        let folder = tempfile::tempdir().unwrap();
        let members = Members::new(Folder::new(folder.path().to_owned()), "own".into(), Terms::of(LEASE));
        let mut others = Others::new(members, "one", LEASE, 7);
        let almost = LEASE * QUIET - Duration::from_secs(1);
        tokio::time::advance(almost).await;
        others.follow(&status(Role::Following, 7));
        assert!(!others.are_quiet());
        others.follow(&status(Role::Following, 8));
        tokio::time::advance(almost).await;
        assert!(!others.are_quiet(), "another one has written");
        // Its own records.
        others.follow(&status(Role::Leading, 9));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(others.are_quiet());
        others.follow(&ReplicaStatus { trouble: Some("no answer".to_owned()), ..status(Role::Leading, 9) });
        assert!(!others.are_quiet(), "what others wrote is unknown");
    }

    #[tokio::test(start_paused = true)]
    async fn another_replica_appears_once_it_announces_the_target_and_what_cannot_be_read_is_not_quiet() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("log");
        let members = |own: &str| Members::new(Folder::new(root.clone()), own.into(), Terms::of(LEASE));
        let mut others = Others::new(members("own"), "one", LEASE, 7);
        let mut old = members("old");
        let announced =
            |targets: &[&str]| -> BTreeSet<Arc<str>> { targets.iter().map(|name| (*name).into()).collect() };
        for targets in [&[][..], &["two"][..]] {
            old.announce(&announced(targets)).await;
            assert!(!others.look().await, "{targets:?}");
        }
        old.announce(&announced(&["one", "two"])).await;
        assert!(others.look().await);
        old.leave().await;
        assert!(!others.look().await);
        tokio::time::advance(LEASE * QUIET).await;
        assert!(others.are_quiet());
        std::fs::remove_dir_all(root.join("replicas")).unwrap();
        std::fs::write(root.join("replicas"), "").unwrap();
        assert!(!others.look().await);
        assert!(!others.are_quiet());
    }
}
