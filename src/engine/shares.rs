//! Which shares have series of their own: the others are taken for one, `other`, when a job is taken in, so that all figures of it are
//! those of one share and their sums stay right.

use std::collections::{BTreeMap, BTreeSet};

use crate::evaluate::matches_glob;
use crate::ledger::Ledger;
use crate::model::{Policy, Queue, QueueName, ShareName, SharesShown};

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
    pub(super) fn new(shown: SharesShown) -> Self {
        Self {
            shown,
            quota_shares: BTreeMap::new(),
            identifiers: BTreeMap::new(),
            full: BTreeSet::new(),
            other: OTHER.into(),
        }
    }

    /// Takes in which queues there are, and their quota shares.
    pub(super) fn configured(&mut self, queues: &[Queue]) {
        self.identifiers.retain(|name, _| queues.iter().any(|queue| queue.name == *name));
        let names = |queue: &Queue| match &queue.policy {
            Policy::QuotaShares(shares) => shares.iter().map(|share| share.name.clone()).collect(),
            Policy::Fifo | Policy::FairShare { .. } => BTreeSet::new(),
        };
        self.quota_shares = queues.iter().map(|queue| (queue.name.clone(), names(queue))).collect();
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
    pub(super) fn series(&mut self, queue: &QueueName, share: &ShareName, ledger: &Ledger) -> Series {
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
        if self.full.contains(queue) {
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
