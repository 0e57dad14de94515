//! The watched targets, their query channels, and queries to several of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};

use crate::notify::silence::Silence;
use crate::web::error::ApiError;
use crate::web::jobs::{JobQuery, ask};
use crate::web::operation_messages::Operation;
use crate::web::place_filter::PlaceFilter;
use crate::web::store_queries::PastQuery;
use crate::web::{Pages, Snapshot};
use trainspotter_core::model::Place;

/// Wall time limit per target when several are asked: one that does not answer in time is left out.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// All targets, by name. Changes while the service runs.
pub type Targets = watch::Receiver<Arc<[WatchedTarget]>>;

/// A target as the pages see it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WatchedTarget {
    /// Name and region; the account as far as it was known at creation.
    pub place: Place,
    /// The latest snapshot.
    pub snapshot: watch::Receiver<Snapshot>,
    /// Job queries, to the owner of the ledger. A query dropped without a reply becomes a 503.
    pub jobs: mpsc::Sender<JobQuery>,
    /// History queries, to the reader of the store. As above.
    pub history: mpsc::Sender<PastQuery>,
    /// Operations, to the owner of silences and outbox. As above.
    pub operations: mpsc::Sender<Operation>,
    /// Silences, with a short delay.
    pub silences: watch::Receiver<Arc<[Silence]>>,
}

impl WatchedTarget {
    /// The latest snapshot, with its place.
    pub(super) fn latest(&self) -> Snapshot {
        let mut snapshot = self.snapshot.borrow().clone();
        if snapshot.place.target.is_empty() {
            snapshot.place = self.place.clone();
        }
        snapshot
    }

    /// The place, as far as known now.
    pub(super) fn place_now(&self) -> Place {
        let known = self.snapshot.borrow().place.clone();
        if known.target.is_empty() { self.place.clone() } else { known }
    }
}

impl Pages {
    /// The latest snapshot of each target.
    pub(super) fn latest(&self) -> Vec<Snapshot> {
        self.targets.borrow().iter().map(WatchedTarget::latest).collect()
    }

    /// The latest snapshots of the matching targets.
    pub(super) fn latest_of(&self, filter: &PlaceFilter) -> Vec<Snapshot> {
        self.latest().into_iter().filter(|snapshot| filter.fits(&snapshot.place)).collect()
    }

    /// The matching targets.
    pub(super) fn watched(&self, filter: &PlaceFilter) -> Vec<WatchedTarget> {
        let targets = Arc::clone(&self.targets.borrow());
        targets.iter().filter(|target| filter.fits(&target.place_now())).cloned().collect()
    }

    /// Silences of all targets, without duplicates.
    pub(super) fn all_silences(&self) -> Vec<Silence> {
        let mut seen = BTreeSet::new();
        let targets = Arc::clone(&self.targets.borrow());
        let all = targets.iter().flat_map(|target| target.silences.borrow().to_vec());
        all.filter(|silence| seen.insert(silence.id)).collect()
    }
}

/// Answers of several targets, and the targets that did not answer.
pub(super) struct Answers<T> {
    pub(super) given: Vec<(WatchedTarget, T)>,
    pub(super) missing: Vec<String>,
}

/// Queries several targets concurrently. One that does not answer does not affect the others.
///
/// # Errors
/// None of them answers.
pub(super) async fn ask_each<T>(
    targets: Vec<WatchedTarget>,
    question: impl Fn(oneshot::Sender<T>) -> JobQuery,
) -> Result<Answers<T>, ApiError> {
    let is_alone = targets.len() == 1;
    let asking = targets.iter().map(|target| {
        let asked = ask(&target.jobs, &question);
        async move {
            if is_alone {
                return asked.await;
            }
            let late = || ApiError::unavailable("no_answer", "the job list is unavailable; try again");
            tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(|_| Err(late()))
        }
    });
    let answers = join_all(asking).await;
    let (mut given, mut missing, mut failed) = (Vec::new(), Vec::new(), None);
    for (target, answer) in targets.into_iter().zip(answers) {
        match answer {
            Ok(answer) => given.push((target, answer)),
            Err(error) => {
                missing.push(target.place.target.to_string());
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if given.is_empty() => Err(error),
        Some(_) | None => Ok(Answers { given, missing }),
    }
}
