//! Shares that starve: a job within its quota or entitlement waits for capacity that others hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::Job;
use crate::metrics::censored_wait_quantiles::Key;
use crate::metrics::fair_share;
use crate::metrics::frame::FairShareFigures;
use crate::metrics::reasons::{Diagnosis, Reason};
use crate::metrics::shares_with_series::no_share;
use crate::model::Timestamp;

/// Since when each share has starved.
#[derive(Debug, Default)]
pub(super) struct StarvingShares(BTreeMap<Key, Timestamp>);

impl StarvingShares {
    /// Seconds that each share has starved: a job within its quota or entitlement waits for capacity that others
    /// hold.
    pub(super) fn starved(
        &mut self,
        diagnosis: &[Diagnosis<'_>],
        fair_shares: &[FairShareFigures],
        now: Timestamp,
    ) -> BTreeMap<Key, f64> {
        let held_by_others =
            |one: &&Diagnosis<'_>| one.entitled && matches!(one.reason, Reason::Reclaiming | Reason::CapacityInUse);
        let of_quotas = diagnosis.iter().filter(held_by_others).map(|one| key_of(one.job));
        let starved: BTreeSet<Key> = of_quotas.chain(fair_share::starved(fair_shares, diagnosis)).collect();
        let since = &mut self.0;
        since.retain(|key, _| starved.contains(key));
        for key in starved {
            since.entry(key).or_insert(now);
        }
        since.iter().map(|(key, since)| (key.clone(), now.seconds_since(*since))).collect()
    }
}

fn key_of(job: &Job) -> Key {
    (job.queue().clone(), job.share().cloned().unwrap_or_else(no_share))
}
