//! Quantiles of first waits by share and priority band, as Kaplan-Meier estimates: they include waits that are not
//! finished yet, or ended without a dispatch.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::jobs::{Event, EventKind, Job};
use crate::metrics::Inputs;
use crate::metrics::frame::Estimate;
use crate::metrics::kaplan_meier::KaplanMeier;
use crate::metrics::reasons::Reason;
use crate::metrics::shares_with_series::no_share;
use crate::metrics::time_waited_by_reason::WaitByReason;
use crate::model::{PriorityBands, QueueName, ShareName, Timestamp};

pub(super) type Key = (QueueName, ShareName);
type BandKey = (Key, Arc<str>);

/// Waiting time of a share and priority band.
pub(super) struct BandEstimate {
    pub(super) key: Key,
    pub(super) band: Arc<str>,
    /// By [`crate::metrics::kaplan_meier::QUANTILES`].
    pub(super) seconds: [f64; 4],
}

/// Completed first waits, by subject.
#[derive(Debug)]
struct FirstWaits<K>(BTreeMap<K, KaplanMeier>);

impl<K> Default for FirstWaits<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> FirstWaits<K> {
    fn record(&mut self, key: K, at: Timestamp, seconds: f64, started: bool) {
        self.0.entry(key).or_default().record(at, seconds, started);
    }

    /// Current estimates, including the ages of waiting jobs; unwatched subjects are dropped.
    fn estimates(
        &mut self,
        waiting: &BTreeMap<K, Vec<f64>>,
        now: Timestamp,
        is_watched: impl Fn(&K) -> bool,
    ) -> Vec<(K, [f64; 4])> {
        self.0.retain(|key, _| is_watched(key));
        self.0.values_mut().for_each(|survival| survival.forget(now));
        for key in waiting.keys() {
            self.0.entry(key.clone()).or_default();
        }
        let ages = |key: &K| waiting.get(key).map_or(&[][..], Vec::as_slice);
        self.0.iter().filter_map(|(key, survival)| Some((key.clone(), survival.quantiles(ages(key))?))).collect()
    }
}

/// State about waits, kept from tick to tick.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    of_shares: FirstWaits<Key>,
    of_bands: FirstWaits<BandKey>,
    pub(super) waited: WaitByReason,
}

impl Waiting {
    /// Forgets the waits of a share.
    pub(super) fn forget_share(&mut self, queue: &QueueName, share: &ShareName) {
        let is_of_another = |(of_queue, of_share): &Key| of_queue != queue || of_share != share;
        self.of_shares.0.retain(|key, _| is_of_another(key));
        self.of_bands.0.retain(|(key, _), _| is_of_another(key));
    }

    /// Records ended first waits, with a start or without.
    pub(super) fn ended(&mut self, events: &[Event], bands: &PriorityBands) {
        for event in events {
            let (seconds, started) = match event.what {
                EventKind::Dispatched { seconds, first: true } => (seconds, true),
                EventKind::Cancelled { seconds } => (seconds, false),
                EventKind::Dispatched { first: false, .. }
                | EventKind::Started { .. }
                | EventKind::Ran { .. }
                | EventKind::Preempted { .. }
                | EventKind::Ended { .. } => continue,
            };
            let key = (event.queue.clone(), event.share.clone().unwrap_or_else(no_share));
            if let Some(band) = bands.of(event.priority) {
                self.of_bands.record((key.clone(), Arc::clone(band)), event.at, seconds, started);
            }
            self.of_shares.record(key, event.at, seconds, started);
        }
    }

    /// Seconds that a job has waited by reason, as far as observed.
    pub(super) fn waited_by_reason(&self, job: &Job) -> BTreeMap<Reason, f64> {
        let seconds = self.waited.of(job);
        Reason::ALL.into_iter().zip(seconds).filter(|(_, seconds)| *seconds > 0.0).collect()
    }

    /// Current estimates, by share, and by share and priority band.
    pub(super) fn estimates_of_all(
        &mut self,
        inputs: &Inputs<'_>,
        bands: &PriorityBands,
    ) -> (Vec<Estimate>, Vec<BandEstimate>) {
        let mut by_share: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
        let mut by_band: BTreeMap<BandKey, Vec<f64>> = BTreeMap::new();
        for (queue, share, share_jobs) in inputs.ledger.shares() {
            let key = (queue.clone(), share.cloned().unwrap_or_else(no_share));
            let ages = share_jobs.first_waits().map(|(priority, since)| (priority, inputs.now.seconds_since(since)));
            let ages: Vec<(Option<i32>, f64)> = ages.collect();
            for of_priority in ages.chunk_by(|(one, _), (other, _)| one == other) {
                let band = of_priority.first().and_then(|(priority, _)| bands.of(*priority));
                if let Some(band) = band {
                    let ages = by_band.entry((key.clone(), Arc::clone(band))).or_default();
                    ages.extend(of_priority.iter().map(|(_, age)| age));
                }
            }
            if !ages.is_empty() {
                by_share.insert(key, ages.into_iter().map(|(_, age)| age).collect());
            }
        }
        let watched = |queue: &QueueName| inputs.queues.iter().any(|watched| watched.name == *queue);
        let of_shares = self.of_shares.estimates(&by_share, inputs.now, |(queue, _)| watched(queue));
        let of_bands = self.of_bands.estimates(&by_band, inputs.now, |((queue, _), _)| watched(queue));
        let estimate = |((queue, share), seconds)| Estimate { queue, share, seconds };
        let of_bands = of_bands.into_iter().map(|((key, band), seconds)| BandEstimate { key, band, seconds });
        (of_shares.into_iter().map(estimate).collect(), of_bands.collect())
    }
}
