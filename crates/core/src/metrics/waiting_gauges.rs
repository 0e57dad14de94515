//! Gauges of waiting jobs: how many there are and why, the age of the oldest, what they demand, and estimates of waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::jobs::ShareJobs;
use crate::metrics::catalogue;
use crate::metrics::censored_wait_quantiles::BandEstimate;
use crate::metrics::frame::{Estimate, ReasonFigures};
use crate::metrics::gauges::Gauges;
use crate::metrics::kaplan_meier::QUANTILES;
use crate::metrics::reasons::Reason;
use crate::metrics::shares_with_series::{Demanded, Subjects, no_share, share_of};
use crate::metrics::{ForecastFigures, Inputs};
use crate::model::{InstanceType, JobStatus, Policy, PriorityBands, QueueName, ShareName, accelerators_of};

impl Gauges {
    pub(super) fn jobs(&mut self, subjects: &Subjects, inputs: &Inputs<'_>) {
        let label = |status: &JobStatus| -> Arc<str> { status.as_str().to_ascii_lowercase().into() };
        let known: Vec<Arc<str>> = JobStatus::KNOWN[..6].iter().map(label).collect();
        for (queue, share) in subjects {
            let mut counts: BTreeMap<Arc<str>, f64> = known.iter().map(|state| (Arc::clone(state), 0.0)).collect();
            let share_jobs = inputs.ledger.share_jobs(queue, share_of(share));
            for (status, count) in share_jobs.into_iter().flat_map(ShareJobs::counts) {
                *counts.entry(label(status)).or_default() += count as f64;
            }
            for (state, count) in counts {
                let pairs = [("queue", queue.shared()), ("share", share.shared()), ("state", state)];
                self.set(&catalogue::QUEUE_JOBS, pairs, count);
            }
        }
    }

    /// `demanded` are instance types that each share's jobs have requested: without waiting jobs they are reported
    /// as 0.
    pub(super) fn waiting(&mut self, subjects: &Subjects, demanded: &mut Demanded, inputs: &Inputs<'_>) {
        demanded.retain(|key, _| subjects.contains(key));
        for (queue, share) in subjects {
            let share_jobs = inputs.ledger.share_jobs(queue, share_of(share));
            let oldest =
                share_jobs.and_then(ShareJobs::oldest).map_or(0.0, |(since, _)| inputs.now.seconds_since(*since));
            // Sizes that are unknown are not 0: without any known size there is no largest.
            let (mut largest, mut are_unknown): (Option<f64>, bool) = (None, false);
            let known = demanded.entry((queue.clone(), share.clone())).or_default();
            known.extend(quota_units(queue, share, inputs).filter(|unit| accelerators_of(unit).is_some()));
            let in_flight =
                share_jobs.into_iter().flat_map(ShareJobs::in_flight).filter_map(|id| inputs.ledger.job(id));
            let waiting = share_jobs.into_iter().flat_map(ShareJobs::classes).map(|(class, _)| &class.demand);
            for capacity in in_flight.map(|job| &job.latest.demand).chain(waiting).flatten() {
                if !known.contains(&capacity.unit) && accelerators_of(&capacity.unit).is_some() {
                    known.insert(capacity.unit.clone());
                }
            }
            let mut demand: BTreeMap<&InstanceType, f64> = known.iter().map(|unit| (unit, 0.0)).collect();
            for (class, jobs) in share_jobs.into_iter().flat_map(ShareJobs::classes) {
                let gpus = class.gpus();
                are_unknown |= gpus.is_none();
                largest = gpus.into_iter().chain(largest).reduce(f64::max);
                for capacity in &class.demand {
                    if let Some(accelerators) = accelerators_of(&capacity.unit) {
                        let each = capacity.quantity * f64::from(accelerators.gpus());
                        *demand.entry(&capacity.unit).or_default() += each * jobs.len() as f64;
                    }
                }
            }
            let pairs = || [("queue", queue.shared()), ("share", share.shared())];
            self.set(&catalogue::QUEUE_WAIT_OLDEST, pairs(), oldest);
            if let Some(largest) = largest.or((!are_unknown).then_some(0.0)) {
                self.set(&catalogue::QUEUE_DEMAND_LARGEST, pairs(), largest);
            }
            for (unit, gpus) in demand {
                let [queue, share] = pairs();
                self.set(&catalogue::QUEUE_DEMAND, [queue, share, ("instance_type", unit.shared())], gpus);
            }
        }
    }

    pub(super) fn reasons(&mut self, subjects: &Subjects, rows: &[ReasonFigures]) {
        let counts: BTreeMap<_, u64> =
            rows.iter().map(|row| ((&row.queue, &row.share, row.reason), row.jobs)).collect();
        let names = Reason::ALL.map(|reason| (reason, Arc::<str>::from(reason.as_str())));
        for (queue, share) in subjects {
            for (reason, name) in &names {
                let count = counts.get(&(queue, share, *reason)).copied().unwrap_or(0);
                let pairs = [("queue", queue.shared()), ("share", share.shared()), ("reason", Arc::clone(name))];
                self.set(&catalogue::QUEUE_WAITING, pairs, count as f64);
            }
        }
    }

    pub(super) fn estimates(&mut self, rows: &[Estimate]) {
        for row in rows {
            for ((quantile, _), seconds) in QUANTILES.iter().zip(row.seconds) {
                let of_share = [("queue", row.queue.shared()), ("share", row.share.shared())];
                let [queue, share] = of_share;
                self.set(&catalogue::QUEUE_WAIT_ESTIMATE, [queue, share, ("percentile", (*quantile).into())], seconds);
            }
        }
    }

    /// Waits by priority band; nothing if no bands are configured.
    pub(super) fn bands(
        &mut self,
        subjects: &Subjects,
        bands: &PriorityBands,
        estimates: &[BandEstimate],
        inputs: &Inputs<'_>,
    ) {
        for (queue, share) in subjects.iter().filter(|_| bands.are_set()) {
            let mut oldest: BTreeMap<&Arc<str>, f64> = bands.names().map(|band| (band, 0.0)).collect();
            let share_jobs = inputs.ledger.share_jobs(queue, share_of(share));
            for (priority, since) in share_jobs.into_iter().flat_map(ShareJobs::oldest_by_priority) {
                if let Some(age) = bands.of(priority).and_then(|band| oldest.get_mut(band)) {
                    *age = inputs.now.seconds_since(since).max(*age);
                }
            }
            for (band, age) in oldest {
                let pairs = [("queue", queue.shared()), ("share", share.shared()), ("band", Arc::clone(band))];
                self.set(&catalogue::PRIORITY_WAIT_OLDEST, pairs, age);
            }
        }
        for BandEstimate { key: (queue, share), band, seconds } in estimates {
            for ((quantile, _), seconds) in QUANTILES.iter().zip(seconds) {
                let of_band = [("queue", queue.shared()), ("share", share.shared()), ("band", Arc::clone(band))];
                let [queue, share, band] = of_band;
                let pairs = [queue, share, band, ("percentile", (*quantile).into())];
                self.set(&catalogue::PRIORITY_WAIT_ESTIMATE, pairs, *seconds);
            }
        }
    }

    pub(super) fn starved(&mut self, subjects: &Subjects, seconds: &BTreeMap<(QueueName, ShareName), f64>) {
        for key in subjects {
            let pairs = [("queue", key.0.shared()), ("share", key.1.shared())];
            self.set(&catalogue::SHARE_STARVED, pairs, seconds.get(key).copied().unwrap_or(0.0));
        }
    }

    /// Shares with too few verified estimates have no samples.
    pub(super) fn forecasts(&mut self, subjects: &Subjects, figures: &[ForecastFigures]) {
        for ForecastFigures { queue, share, coverage, error_seconds } in figures {
            let share = if share.as_str().is_empty() { no_share() } else { share.clone() };
            if subjects.contains(&(queue.clone(), share.clone())) {
                let pairs = || [("queue", queue.shared()), ("share", share.shared())];
                self.set(&catalogue::FORECAST_COVERAGE, pairs(), *coverage);
                self.set(&catalogue::FORECAST_ERROR, pairs(), *error_seconds);
            }
        }
    }
}

/// Instance types for which a share has a quota.
fn quota_units(queue: &QueueName, share: &ShareName, inputs: &Inputs<'_>) -> impl Iterator<Item = InstanceType> {
    let queue = inputs.queues.iter().find(|other| other.name == *queue);
    let shares = queue.map_or(&[][..], |queue| match &queue.policy {
        Policy::QuotaShares(shares) => shares,
        Policy::Fifo | Policy::FairShare { .. } => &[],
    });
    let own = shares.iter().filter(move |other| other.name == *share);
    own.flat_map(|own| &own.limits).map(|limit| limit.unit.clone())
}
