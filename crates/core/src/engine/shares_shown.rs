//! Limits which shares have separate series. The other shares are mapped to `other` when a job is applied, so that
//! all figures of a job belong to one share and sums stay correct.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::Ledger;
use crate::model::{Policy, Queue, QueueName, ShareName, SharesShown, matches_glob};

/// Name of the aggregate of all other shares.
const OTHER: &str = "other";

/// Shares with separate series.
#[derive(Debug)]
pub(super) struct Shares {
    shown: SharesShown,
    /// Shares of quota-share queues: configured, hence few, and of most interest.
    quota_shares: BTreeMap<QueueName, BTreeSet<ShareName>>,
    /// Share identifiers with jobs, or with past jobs while their slot is not needed.
    identifiers: BTreeMap<QueueName, BTreeSet<ShareName>>,
    /// Queues without a free slot since the last tick, to avoid searching for each job of a page.
    full: BTreeSet<QueueName>,
    other: ShareName,
}

/// Which series a share's jobs belong to.
pub(super) enum Series {
    /// The share's own.
    Own,
    /// The share's own from now on, replacing those of another share whose jobs have all ended.
    InsteadOf(ShareName),
    /// `other`: the share is configured as hidden.
    Hidden,
    /// `other`: there is no free slot.
    NoPlace,
}

impl Shares {
    /// Resumes with shares that already have series. Until the topology is known, none counts as a quota share.
    pub(super) fn with(series: impl IntoIterator<Item = (QueueName, ShareName)>) -> Self {
        let other = ShareName::from(OTHER);
        let mut identifiers: BTreeMap<QueueName, BTreeSet<ShareName>> = BTreeMap::new();
        for (queue, share) in series.into_iter().filter(|(_, share)| *share != other && !share.as_str().is_empty()) {
            identifiers.entry(queue).or_default().insert(share);
        }
        Self { shown: SharesShown::default(), quota_shares: BTreeMap::new(), identifiers, full: BTreeSet::new(), other }
    }

    /// Changes which shares are shown; hidden ones lose their series with the next topology.
    pub(super) fn show(&mut self, shown: SharesShown) {
        self.shown = shown;
    }

    /// Applies the topology. Returns shares that lose their series because they have no jobs, and are no longer
    /// quota shares, are hidden, or are too many.
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
            let has_jobs = |share: &ShareName| ledger.share_jobs(queue, Some(share)).is_some();
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

    /// Called after a tick: slots may be free again.
    pub(super) fn reset_full(&mut self) {
        self.full.clear();
    }

    /// Name of the aggregate of shares without separate series.
    pub(super) fn other(&self) -> ShareName {
        self.other.clone()
    }

    /// The series for a job of this share.
    ///
    /// Ended jobs take free slots only, never that of another share.
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
        let gone = identifiers.iter().find(|shown| ledger.share_jobs(queue, Some(shown)).is_none()).cloned();
        let Some(gone) = gone else {
            self.full.insert(queue.clone());
            return Series::NoPlace;
        };
        identifiers.remove(&gone);
        identifiers.insert(share.clone());
        Series::InsteadOf(gone)
    }
}
