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
    of_queue: BTreeMap<QueueName, BTreeSet<ShareName>>,
    /// Queues in which no room was found since the last tick: it would be looked for again for each job of a page.
    full: BTreeSet<QueueName>,
    other: ShareName,
}

/// What a share is told of as.
pub(super) enum Told {
    /// As itself.
    Itself,
    /// As itself from now on, in place of another one that has no jobs any more.
    InsteadOf(ShareName),
    /// Together with others, for it is not to be shown.
    Hidden(ShareName),
    /// Together with others, for want of room.
    NoRoom(ShareName),
}

impl Shares {
    pub(super) fn new(shown: SharesShown) -> Self {
        Self { shown, of_queue: BTreeMap::new(), full: BTreeSet::new(), other: OTHER.into() }
    }

    /// Quota shares are configured, so they are few, and they are what people look for.
    pub(super) fn configured(&mut self, queues: &[Queue]) {
        self.of_queue.retain(|name, _| queues.iter().any(|queue| queue.name == *name));
        for queue in queues {
            if let Policy::QuotaShares(shares) = &queue.policy {
                let of_queue = self.of_queue.entry(queue.name.clone()).or_default();
                of_queue.extend(shares.iter().map(|share| share.name.clone()));
            }
        }
    }

    /// A tick is over: there may be room again.
    pub(super) fn look_again(&mut self) {
        self.full.clear();
    }

    /// What a job's share is told of as. Where there is no room, a share whose jobs have all ended makes some.
    pub(super) fn told(&mut self, queue: &QueueName, share: &ShareName, ledger: &Ledger) -> Told {
        if self.of_queue.get(queue).is_some_and(|shares| shares.contains(share)) || *share == self.other {
            return Told::Itself;
        }
        if !self.shown.show.iter().any(|glob| matches_glob(glob, share.as_str())) {
            return Told::Hidden(self.other.clone());
        }
        let of_queue = self.of_queue.entry(queue.clone()).or_default();
        if of_queue.len() < self.shown.most {
            of_queue.insert(share.clone());
            return Told::Itself;
        }
        if self.full.contains(queue) {
            return Told::NoRoom(self.other.clone());
        }
        let gone = of_queue.iter().find(|shown| ledger.lane(queue, Some(shown)).is_none()).cloned();
        let Some(gone) = gone else {
            self.full.insert(queue.clone());
            return Told::NoRoom(self.other.clone());
        };
        of_queue.remove(&gone);
        of_queue.insert(share.clone());
        Told::InsteadOf(gone)
    }
}
