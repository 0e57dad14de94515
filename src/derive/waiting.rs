//! Waits as they happen: time waited by reason, estimates over waits that have not ended, and shares that starve.

use std::collections::{BTreeMap, BTreeSet};

use crate::derive::clocks::Clocks;
use crate::derive::fair;
use crate::derive::frame::{Estimate, FairShareFigures, ReasonFigures};
use crate::derive::gauges::no_share;
use crate::derive::reasons::{Judged, Reason};
use crate::derive::survival::Survival;
use crate::derive::{Counting, Inputs};
use crate::ledger::{Event, Job, What};
use crate::model::{QueueName, ShareName, Timestamp};

type Key = (QueueName, ShareName);

/// What is remembered of waits from tick to tick.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    survival: BTreeMap<Key, Survival>,
    pub(super) waited: Clocks,
    starved_since: BTreeMap<Key, Timestamp>,
}

/// Waiting jobs by queue, share and reason.
pub(super) fn reasons(judged: &[Judged<'_>]) -> Vec<ReasonFigures> {
    let mut rows: BTreeMap<(&QueueName, Option<&ShareName>, Reason), (u64, f64)> = BTreeMap::new();
    for one in judged {
        let (jobs, gpus) = rows.entry((one.job.queue(), one.job.share(), one.reason)).or_default();
        *jobs += one.jobs as u64;
        *gpus += one.gpus();
    }
    rows.into_iter()
        .map(|((queue, share, reason), (jobs, gpus))| ReasonFigures {
            queue: queue.clone(),
            share: share.cloned().unwrap_or_else(no_share),
            reason,
            jobs,
            gpus,
        })
        .collect()
}

impl Waiting {
    /// Takes in first waits that ended, with a start or without.
    pub(super) fn ended(&mut self, events: &[Event]) {
        for event in events {
            let (seconds, started) = match event.what {
                What::Dispatched { seconds, first: true } => (seconds, true),
                What::Cancelled { seconds } => (seconds, false),
                What::Dispatched { first: false, .. }
                | What::Started { .. }
                | What::Ran { .. }
                | What::Preempted { .. }
                | What::Ended { .. } => continue,
            };
            let key = (event.queue.clone(), event.share.clone().unwrap_or_else(no_share));
            self.survival.entry(key).or_default().record(event.at, seconds, started);
        }
    }
}

impl Counting {
    /// Seconds that a job has waited by reason, as far as it was watched.
    pub(super) fn waited(&self, job: &Job) -> BTreeMap<Reason, f64> {
        let seconds = self.waiting.waited.of(job);
        Reason::ALL.into_iter().zip(seconds).filter(|(_, seconds)| *seconds > 0.0).collect()
    }

    /// The estimates of now.
    pub(super) fn estimates(&mut self, inputs: &Inputs<'_>) -> Vec<Estimate> {
        let mut waiting: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
        for (queue, share, lane) in inputs.ledger.lanes().filter(|(_, _, lane)| lane.first_waits().len() > 0) {
            let ages = lane.first_waits().map(|since| inputs.now.seconds_since(since));
            waiting.insert((queue.clone(), share.cloned().unwrap_or_else(no_share)), ages.collect());
        }
        let survival = &mut self.waiting.survival;
        survival.values_mut().for_each(|survival| survival.forget(inputs.now));
        survival.retain(|(queue, _), _| inputs.queues.iter().any(|watched| watched.name == *queue));
        for key in waiting.keys() {
            survival.entry(key.clone()).or_default();
        }
        let none = Vec::new();
        let estimate = |(key, survival): (&Key, &Survival)| {
            let seconds = survival.quantiles(waiting.get(key).unwrap_or(&none))?;
            Some(Estimate { queue: key.0.clone(), share: key.1.clone(), seconds })
        };
        survival.iter().filter_map(estimate).collect()
    }

    /// For how many seconds each share has starved: a job within its quota, or within what it is due, waits for what others hold.
    pub(super) fn starved(
        &mut self,
        judged: &[Judged<'_>],
        fair_shares: &[FairShareFigures],
        now: Timestamp,
    ) -> BTreeMap<Key, f64> {
        let held_by_others =
            |one: &&Judged<'_>| one.entitled && matches!(one.reason, Reason::Reclaiming | Reason::CapacityInUse);
        let of_quotas = judged.iter().filter(held_by_others).map(|one| key_of(one.job));
        let starved: BTreeSet<Key> = of_quotas.chain(fair::starved(fair_shares, judged)).collect();
        let since = &mut self.waiting.starved_since;
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
