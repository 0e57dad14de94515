//! Which shares have series of their own: the others are taken for one, `other`, when a job is taken in, so that all figures of it are
//! those of one share and their sums stay right.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::Ledger;
use crate::model::{Policy, Queue, QueueName, ShareName, SharesShown, matches_glob};

/// What shares without series of their own are called.
const OTHER: &str = "other";

/// The shares that have series of their own.
#[derive(Debug)]
pub(super) struct Shares {
    shown: SharesShown,
    /// Shares of quota-share queues: they are configured, so they are few, and they are what people look for.
    quota_shares: BTreeMap<QueueName, BTreeSet<ShareName>>,
    /// Share identifiers that have jobs, or had some and nobody needed their place.
    identifiers: BTreeMap<QueueName, BTreeSet<ShareName>>,
    /// Queues in which no place was found since the last tick: it would be looked for again for each job of a page.
    full: BTreeSet<QueueName>,
    other: ShareName,
}

/// Whose series a share's jobs are in.
pub(super) enum Series {
    /// Its own.
    Own,
    /// Its own from now on, in place of those of another share, whose jobs have all ended.
    InsteadOf(ShareName),
    /// Those of all others, for it is not to be shown.
    Hidden,
    /// Those of all others, for want of a place.
    NoPlace,
}

impl Shares {
    /// Goes on with shares that have series already. Until it is known which of them are quota shares, none is.
    pub(super) fn with(series: impl IntoIterator<Item = (QueueName, ShareName)>) -> Self {
        let other = ShareName::from(OTHER);
        let mut identifiers: BTreeMap<QueueName, BTreeSet<ShareName>> = BTreeMap::new();
        for (queue, share) in series.into_iter().filter(|(_, share)| *share != other && !share.as_str().is_empty()) {
            identifiers.entry(queue).or_default().insert(share);
        }
        Self { shown: SharesShown::default(), quota_shares: BTreeMap::new(), identifiers, full: BTreeSet::new(), other }
    }

    /// Goes on with other shares shown; with the next topology those that are no longer to be shown go.
    pub(super) fn show(&mut self, shown: SharesShown) {
        self.shown = shown;
    }

    /// Takes in which queues there are, and their quota shares. Returned are shares that are to have no series any more, since they
    /// have no jobs, and are no quota shares of such a queue (any more), or not to be shown, or too many.
    pub(super) fn configured(&mut self, queues: &[Queue], ledger: &Ledger) -> Vec<(QueueName, ShareName)> {
        let names = |queue: &Queue| match &queue.policy {
            Policy::QuotaShares(shares) => shares.iter().map(|share| share.name.clone()).collect(),
            Policy::Fifo | Policy::FairShare { .. } => BTreeSet::new(),
        };
        let before = std::mem::take(&mut self.quota_shares);
        self.quota_shares = queues.iter().map(|queue| (queue.name.clone(), names(queue))).collect();
        self.identifiers.retain(|name, _| self.quota_shares.contains_key(name));
        let mut gone = Vec::new();
        for (queue, quota_shares) in &self.quota_shares {
            let identifiers = self.identifiers.entry(queue.clone()).or_default();
            identifiers.extend(before.get(queue).into_iter().flatten().cloned());
            identifiers.retain(|share| !quota_shares.contains(share));
            let has_jobs = |share: &ShareName| ledger.lane(queue, Some(share)).is_some();
            let is_shown = |share: &ShareName| self.shown.show.iter().any(|glob| matches_glob(glob, share.as_str()));
            let has_quota_shares = !quota_shares.is_empty();
            let mut extra = identifiers.len().saturating_sub(self.shown.most);
            let leaves = |share: &ShareName| {
                let leaves = !has_jobs(share) && (has_quota_shares || !is_shown(share) || extra > 0);
                extra = extra.saturating_sub(usize::from(leaves));
                leaves
            };
            gone.extend(identifiers.extract_if(.., leaves).map(|share| (queue.clone(), share)));
        }
        gone
    }

    /// A tick is over: there may be places again.
    pub(super) fn look_again(&mut self) {
        self.full.clear();
    }

    /// What the shares without series of their own are called together.
    pub(super) fn other(&self) -> ShareName {
        self.other.clone()
    }

    /// Whose series a job of this share is in.
    ///
    /// Jobs that have ended take a free place, but none that another share had.
    pub(super) fn series(&mut self, queue: &QueueName, share: &ShareName, has_ended: bool, ledger: &Ledger) -> Series {
        let has = |shares: &BTreeMap<QueueName, BTreeSet<ShareName>>| {
            shares.get(queue).is_some_and(|shares| shares.contains(share))
        };
        if has(&self.identifiers) || has(&self.quota_shares) || *share == self.other {
            return Series::Own;
        }
        if !self.shown.show.iter().any(|glob| matches_glob(glob, share.as_str())) {
            return Series::Hidden;
        }
        let identifiers = self.identifiers.entry(queue.clone()).or_default();
        if identifiers.len() < self.shown.most {
            identifiers.insert(share.clone());
            return Series::Own;
        }
        if has_ended || self.full.contains(queue) {
            return Series::NoPlace;
        }
        let gone = identifiers.iter().find(|shown| ledger.lane(queue, Some(shown)).is_none()).cloned();
        let Some(gone) = gone else {
            self.full.insert(queue.clone());
            return Series::NoPlace;
        };
        identifiers.remove(&gone);
        identifiers.insert(share.clone());
        Series::InsteadOf(gone)
    }
}
