//! The watched targets, their query channels, and which of them a request concerns.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use utoipa::{IntoParams, ToSchema};

use crate::notify::silence::Silence;
use crate::web::error::ApiError;
use crate::web::jobs::{JobQuery, ask};
use crate::web::operation_messages::Operation;
use crate::web::query::{given_twice, pairs, unknown_parameter};
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

/// Account and region of a row.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(super) struct PlaceRow {
    /// AWS account; null while unknown.
    account: Option<String>,
    /// The AWS region.
    region: Option<String>,
}

/// A row with account and region.
pub(super) trait InPlace {
    /// Sets the place.
    #[must_use]
    fn at(self, place: &Place) -> Self;
}

impl PlaceRow {
    pub(super) fn new(place: &Place) -> Self {
        let owned = |value: &Option<Arc<str>>| value.as_deref().map(str::to_owned);
        Self { account: owned(&place.account), region: owned(&place.region) }
    }
}

/// Implements [`InPlace`] for rows with a field `place`.
macro_rules! in_place {
    ($($row:ty),+) => {
        $(impl $crate::web::watched_targets::InPlace for $row {
            fn at(self, place: &trainspotter_core::model::Place) -> Self {
                Self { place: $crate::web::watched_targets::PlaceRow::new(place), ..self }
            }
        })+
    };
}

pub(super) use in_place;

/// Selects targets by account and region.
#[derive(Clone, Debug, Default, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlaceFilter {
    /// Only this AWS account.
    pub(super) account: Option<String>,
    /// Only this AWS region.
    pub(super) region: Option<String>,
}

impl PlaceFilter {
    /// Parses a query string without other parameters.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut filter = Self::default();
        for (key, value) in pairs(query.unwrap_or_default())? {
            match filter.take(&key, &value) {
                Some(false) => {}
                Some(true) => return Err(given_twice(&key)),
                None => {
                    return Err(unknown_parameter(&key, "there are account and region"));
                }
            }
        }
        Ok(filter)
    }

    /// Sets the filter if `key` is one of its parameters. Returns whether it was set before.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Option<bool> {
        let place = match key {
            "account" => &mut self.account,
            "region" => &mut self.region,
            _ => return None,
        };
        Some(place.replace(value.to_owned()).is_some())
    }

    /// Whether the filter matches a place.
    pub(super) fn fits(&self, place: &Place) -> bool {
        let is = |wanted: &Option<String>, known: &Option<Arc<str>>| {
            wanted.as_ref().is_none_or(|wanted| known.as_deref() == Some(wanted.as_str()))
        };
        is(&self.account, &place.account) && is(&self.region, &place.region)
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
