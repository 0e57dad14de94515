//! Live replicas: each writes its own object repeatedly, with an increasing number. A replica whose number
//! increases is alive; clocks of different machines are never compared.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::objects::{Storage, StorageError};
use crate::replication::lease::{Mono, Terms};
use crate::replication::target_assignment::assignment::Able;
use crate::replication::time_limit::within;

/// Folder of announcements, beside the original log.
const FOLDER: &str = "replicas";

/// Maximum time between announcements.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Maximum replicas considered; further ones get no targets assigned.
const MAX_REPLICAS: usize = 64;

/// An announcement unchanged for this many times the timeout is removed.
const FORGOTTEN_AFTER: u32 = 10;

/// Announcement of a replica.
#[derive(Debug, Deserialize, Serialize)]
struct Announcement {
    /// Increases each time.
    number: u64,
    /// The targets it can lead.
    targets: BTreeSet<String>,
}

/// Another replica, as last seen.
#[derive(Debug)]
struct Seen {
    number: u64,
    targets: BTreeSet<Arc<str>>,
    /// When it was first seen, or last changed.
    at: Mono,
    /// Whether it was seen to change: an older announcement may be of a replica that ended long ago.
    has_changed: bool,
    /// Why its announcement could not be removed.
    removing: LastProblem,
}

impl Seen {
    fn is_present(&self, moment: Mono, gone_after: Duration) -> bool {
        self.has_changed && moment.saturating_sub(self.at) < gone_after
    }
}

/// The last problem, so that it is logged when it changes and not each time.
#[derive(Debug, Default)]
struct LastProblem(Option<String>);

impl LastProblem {
    /// Sets the current problem, if any. Returns whether it is new.
    fn changes_to(&mut self, now: Option<String>) -> bool {
        let is_new = self.0 != now;
        self.0 = now;
        is_new
    }
}

/// This replica and the others.
#[derive(Debug)]
pub struct Members<S> {
    storage: S,
    own: Arc<str>,
    terms: Terms,
    number: u64,
    others: BTreeMap<Arc<str>, Seen>,
    /// When the others were last read.
    looked: Mono,
    /// Number of replicas beyond the maximum.
    left_out: usize,
    announcing: LastProblem,
    looking: LastProblem,
}

impl<S: Storage> Members<S> {
    /// Starts without known replicas.
    pub fn new(storage: S, own: Arc<str>, terms: Terms) -> Self {
        let (announcing, looking) = (LastProblem::default(), LastProblem::default());
        let (number, others, looked, left_out) = (0, BTreeMap::new(), Mono::ZERO, 0);
        Self { storage, own, terms, number, others, looked, left_out, announcing, looking }
    }

    /// Interval between announcements.
    pub fn every(&self) -> Duration {
        (self.terms.lease / 6).min(MAX_PAUSE)
    }

    /// A replica whose announcement has not changed for this long counts as gone. It is shorter than a lease, so that
    /// the successor is known when the lease ends.
    fn gone_after(&self) -> Duration {
        self.every() * 4
    }

    /// Announces this replica and the targets it can lead. Failures are retried next time.
    pub async fn announce(&mut self, targets: &BTreeSet<Arc<str>>) {
        self.number += 1;
        let targets = targets.iter().map(|target| target.to_string()).collect();
        let announced = Announcement { number: self.number, targets };
        let Ok(bytes) = serde_json::to_vec(&announced) else { return };
        let announced = within(self.terms.request(), self.storage.put(&object(&self.own), bytes)).await;
        let problem = announced.err().map(|error| error.to_string());
        if self.announcing.changes_to(problem.clone()) {
            match problem {
                Some(error) => tracing::warn!(
                    error,
                    "cannot write this replica's announcement; other replicas lead its targets until it succeeds"
                ),
                None => tracing::info!("writing this replica's announcement succeeds again"),
            }
        }
    }

    /// Reads the announcements of others.
    pub async fn look(&mut self, began: Instant) {
        let before = self.looked;
        let done = self.try_to_look(began).await;
        self.looked = began.elapsed();
        let problem = done.err().map(|error| error.to_string());
        let is_new = self.looking.changes_to(problem.clone());
        if problem.is_none() && is_new {
            tracing::info!("reading the announcements of other replicas succeeds again");
        }
        if let Some(error) = problem {
            if is_new {
                tracing::warn!(
                    error,
                    "cannot read the announcements of other replicas; assuming that the last known replicas still run"
                );
            }
            // The time in which it could not look does not count.
            let (gone_after, blind) = (self.gone_after(), self.looked.saturating_sub(before));
            self.others
                .values_mut()
                .filter(|seen| seen.is_present(before, gone_after))
                .for_each(|seen| seen.at += blind);
        }
    }

    async fn try_to_look(&mut self, began: Instant) -> Result<(), StorageError> {
        let patience = self.terms.request();
        let names = within(patience, self.storage.list(FOLDER, "")).await?;
        let mut there: BTreeSet<Arc<str>> = names.iter().filter_map(|name| replica_in(name)).collect();
        let before = std::mem::replace(&mut self.left_out, there.len().saturating_sub(MAX_REPLICAS));
        match self.left_out {
            left_out if left_out == before => {}
            0 => tracing::info!(most = MAX_REPLICAS, "the number of replicas is within the maximum again"),
            left_out => {
                tracing::warn!(
                    left_out,
                    most = MAX_REPLICAS,
                    "more replicas than can share targets; those beyond the maximum are ignored"
                );
            }
        }
        there = there.into_iter().take(MAX_REPLICAS).collect();
        self.others.retain(|replica, _| there.contains(replica));
        for replica in there.into_iter().filter(|replica| *replica != self.own) {
            let Some(bytes) = within(patience, self.storage.get(&object(&replica))).await? else { continue };
            let Ok(Announcement { number, targets }) = serde_json::from_slice(&bytes) else { continue };
            let at = began.elapsed();
            let targets = targets.into_iter().map(Arc::from).collect();
            match self.others.get_mut(&replica) {
                Some(seen) if seen.number == number => {
                    if at.saturating_sub(seen.at) > self.terms.lease * FORGOTTEN_AFTER
                        && let Err(error) = within(patience, self.storage.delete(&object(&replica))).await
                        && seen.removing.changes_to(Some(error.to_string()))
                    {
                        tracing::warn!(
                            %error,
                            %replica,
                            "cannot delete the announcement of a replica that no longer runs; retrying"
                        );
                    }
                }
                Some(seen) => *seen = Seen { number, targets, at, has_changed: true, removing: LastProblem::default() },
                None => {
                    let seen = Seen { number, targets, at, has_changed: false, removing: LastProblem::default() };
                    self.others.insert(replica, seen);
                }
            }
        }
        Ok(())
    }

    /// The other replicas that are present, and which targets each can lead.
    pub fn present(&self) -> Able {
        let others = self.others.iter().filter(|(_, seen)| seen.is_present(self.looked, self.gone_after()));
        others.map(|(replica, seen)| (replica.clone(), seen.targets.clone())).collect()
    }

    /// Whether the announcements could not be read at the last look.
    pub fn is_blind(&self) -> bool {
        self.looking.0.is_some()
    }

    /// Number of replicas beyond the maximum.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Removes the announcement of this replica.
    pub async fn leave(&self) {
        if let Err(error) = within(self.terms.request(), self.storage.delete(&object(&self.own))).await {
            tracing::debug!(
                %error,
                "cannot delete this replica's announcement; other replicas ignore it once it is old"
            );
        }
    }
}

/// Checks that an announcement can be written, listed and read. It announces a replica that can lead no target yet.
pub(super) async fn check_permissions(storage: &impl Storage, own: &str, terms: Terms) -> Result<(), StorageError> {
    let (name, patience) = (object(own), terms.request());
    let nothing = Announcement { number: 0, targets: BTreeSet::new() };
    let bytes = serde_json::to_vec(&nothing).unwrap_or_default();
    within(patience, storage.list(FOLDER, "")).await?;
    within(patience, storage.put(&name, bytes)).await?;
    within(patience, storage.get(&name)).await?;
    Ok(())
}

fn object(replica: &str) -> String {
    format!("{FOLDER}/{replica}")
}

/// The replica in an announcement's name, if it is one.
fn replica_in(name: &str) -> Option<Arc<str>> {
    let replica = name.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let is_name = !replica.is_empty() && replica.chars().all(|letter| letter.is_ascii_alphanumeric());
    is_name.then(|| replica.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::folder::Folder;

    const LEASE: Duration = Duration::from_secs(45);

    #[tokio::test(start_paused = true)]
    async fn who_is_seen_to_change_is_present_until_it_leaves_or_stands_still() {
        let folder = tempfile::tempdir().unwrap();
        let targets: BTreeSet<Arc<str>> = ["one".into(), "two".into()].into();
        let began = Instant::now();
        let members = |own: &str| Members::new(Folder::new(folder.path().to_owned()), own.into(), Terms::of(LEASE));
        let (mut first, mut second, mut third) = (members("a"), members("b"), members("c"));
        second.announce(&targets).await;
        third.announce(&targets).await;
        std::fs::write(folder.path().join("replicas/broken"), "{").unwrap();
        first.look(began).await;
        assert!(first.present().is_empty(), "it may have ended long ago");
        second.announce(&targets).await;
        third.announce(&targets).await;
        first.look(began).await;
        assert_eq!(first.present(), [("b".into(), targets.clone()), ("c".into(), targets.clone())].into());
        second.leave().await;
        first.look(began).await;
        assert_eq!(first.present(), [("c".into(), targets.clone())].into());
        tokio::time::advance(first.gone_after()).await;
        assert!(first.gone_after() < LEASE);
        first.look(began).await;
        assert!(first.present().is_empty());
        tokio::time::advance(LEASE * (FORGOTTEN_AFTER + 1)).await;
        first.look(began).await;
        assert!(!folder.path().join("replicas/c").exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_cannot_be_read_makes_nobody_absent() {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let root = folder.path().join("log");
        let members = |own: &str| Members::new(Folder::new(root.clone()), own.into(), Terms::of(LEASE));
        let (mut first, mut second) = (members("a"), members("b"));
        let mut gone = members("c");
        for _ in 0..2 {
            gone.announce(&BTreeSet::new()).await;
            first.look(began).await;
        }
        tokio::time::advance(first.gone_after()).await;
        for _ in 0..2 {
            second.announce(&BTreeSet::new()).await;
            first.look(began).await;
        }
        assert_eq!(first.present().len(), 1, "one is gone");
        let aside = folder.path().join("aside");
        std::fs::rename(root.join("replicas"), &aside).unwrap();
        std::fs::write(root.join("replicas"), "").unwrap();
        tokio::time::advance(LEASE * 2).await;
        first.look(began).await;
        assert_eq!(first.present().into_keys().collect::<Vec<_>>(), ["b".into()], "and stays gone");
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_that_fails_is_logged_once_and_its_recovery_once() {
        crate::log_capture::keep_lines_enabled();
        let folder = tempfile::tempdir().unwrap();
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(log.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let began = Instant::now();
        let root = folder.path().join("log");
        let mut members = Members::new(Folder::new(root.clone()), "a".into(), Terms::of(LEASE));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join(FOLDER), "").unwrap();
        for _ in 0..3 {
            members.announce(&BTreeSet::new()).await;
            members.look(began).await;
        }
        std::fs::remove_file(root.join(FOLDER)).unwrap();
        for _ in 0..3 {
            members.announce(&BTreeSet::new()).await;
            members.look(began).await;
        }
        for other in 0..=MAX_REPLICAS {
            std::fs::write(root.join(FOLDER).join(format!("other{other}")), "{").unwrap();
        }
        for _ in 0..3 {
            members.look(began).await;
        }
        assert_eq!(members.left_out(), 2);
        let logged = std::fs::read_to_string(log.path()).unwrap();
        for text in [
            "cannot write this replica's announcement",
            "announcement succeeds again",
            "cannot read the announcements",
            "of other replicas succeeds again",
            "more replicas than",
        ] {
            assert_eq!(logged.matches(text).count(), 1, "{text}: {logged}");
        }
    }
}
