//! Fair shares: the entitlement of each by weight, its recent use, and which of them starve.
//!
//! The entitlement divides the capacity by the weights of the shares that have jobs now. AWS documents the
//! parameters but not the formulas; past use is taken to have a half-life of half the decay window, as in the
//! simulator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::jobs::ShareJobs;
use crate::metrics::Inputs;
use crate::metrics::catalogue::SHARE_USED_RECENT;
use crate::metrics::compute_reservation::{DEFAULT_DECAY, kept};
use crate::metrics::frame::{FairShareFigures, Waterfall};
use crate::metrics::reasons::{Diagnosis, Reason};
use crate::model::{Policy, Queue, QueueName, SavedSeries, ShareName, Timestamp, WeightedShare};

/// A share without jobs is dropped when its recent mean is below this many GPUs.
const NEGLIGIBLE: f64 = 0.01;

type Key = (QueueName, ShareName);

/// GPUs held by the shares of fair-share queues, as decaying means.
#[derive(Debug, Default)]
pub(super) struct RecentUse {
    of: BTreeMap<Key, Use>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    /// Recent mean GPUs at `at`.
    mean: f64,
    /// GPUs held since then.
    held: f64,
    at: Timestamp,
}

impl Use {
    fn mean(&self, decay: Duration, now: Timestamp) -> f64 {
        let half_lives = now.seconds_since(self.at) * 2.0 / decay.as_secs_f64();
        self.held + (self.mean - self.held) * (-half_lives).exp2()
    }
}

impl RecentUse {
    /// Restores the result of [`RecentUse::saved`]; until the next update, use is assumed constant since `then`.
    pub(super) fn restore(saved: &[SavedSeries], then: Timestamp) -> Self {
        let of_metric = saved.iter().filter(|series| series.metric == SHARE_USED_RECENT.name);
        let of = of_metric.filter_map(|series| {
            let key = (series.labels.get("queue")?.as_str().into(), series.labels.get("share")?.as_str().into());
            let mean = Some(series.value).filter(|mean| mean.is_finite())?;
            Some((key, Use { mean, held: mean, at: then }))
        });
        Self { of: of.collect() }
    }

    /// The recent means, as values of a gauge.
    pub(super) fn saved(&self) -> impl Iterator<Item = SavedSeries> {
        self.of.iter().map(|((queue, share), used)| SavedSeries {
            metric: SHARE_USED_RECENT.name.into(),
            labels: Arc::new(
                [("queue", queue.as_str()), ("share", share.as_str())].map(|(k, v)| (k.into(), v.into())).into(),
            ),
            value: used.mean,
            ..SavedSeries::default()
        })
    }

    /// Updates and returns the recent mean of a share that now holds `held`. A new share is assumed to have held
    /// that before.
    fn look(&mut self, key: Key, held: f64, decay: Duration, now: Timestamp) -> f64 {
        let used = self.of.entry(key).or_insert(Use { mean: held, held, at: now });
        *used = Use { mean: used.mean(decay, now), held, at: now };
        used.mean
    }

    /// Decays the means of a queue's shares without jobs.
    fn fade(&mut self, queue: &QueueName, with_jobs: &BTreeSet<ShareName>, decay: Duration, now: Timestamp) {
        self.of.retain(|(other, share), used| {
            if other == queue && !with_jobs.contains(share) {
                *used = Use { mean: used.mean(decay, now), held: 0.0, at: now };
                return used.mean >= NEGLIGIBLE;
            }
            true
        });
    }
}

impl RecentUse {
    /// Share identifiers of fair-share queues with open jobs, if the capacity in GPUs is known.
    pub(super) fn fair_shares(&mut self, inputs: &Inputs<'_>, waterfall: &[Waterfall]) -> Vec<FairShareFigures> {
        let mut rows = Vec::new();
        for (queue, row) in inputs.queues.iter().zip(waterfall) {
            let Policy::FairShare { decay, .. } = queue.policy else { continue };
            let decay = if decay.is_zero() { DEFAULT_DECAY } else { decay };
            let of_queue = due(queue, row.capacity_gpus, inputs);
            let with_jobs = of_queue.iter().map(|due| due.share.clone()).collect();
            for Entitlement { share, target, used } in of_queue {
                let recent = self.look((queue.name.clone(), share.clone()), used, decay, inputs.now);
                rows.push(FairShareFigures { queue: queue.name.clone(), share, target, used, recent });
            }
            self.fade(&queue.name, &with_jobs, decay, inputs.now);
        }
        let fair = |queue: &&Queue| matches!(queue.policy, Policy::FairShare { .. });
        let queues: BTreeSet<_> = inputs.queues.iter().filter(fair).map(|queue| &queue.name).collect();
        self.of.retain(|(queue, _), _| queues.contains(queue));
        rows
    }
}

/// Starving shares: they hold less than their entitlement, now and recently, while a job of theirs that fits into
/// the rest of it waits for capacity that others hold, or behind the jobs of others.
pub(super) fn starved<'a>(
    rows: &'a [FairShareFigures],
    diagnosis: &'a [Diagnosis<'_>],
) -> impl Iterator<Item = (QueueName, ShareName)> + use<'a> {
    let below: BTreeMap<_, f64> = rows
        .iter()
        .filter(|row| row.recent < row.target)
        .map(|row| ((&row.queue, &row.share), row.target - row.used))
        .collect();
    let held_by_others = diagnosis.iter().filter(|one| matches!(one.reason, Reason::CapacityInUse | Reason::Behind));
    held_by_others.filter_map(move |one| {
        let key = (one.job.queue(), one.job.share()?);
        let left = below.get(&key)?;
        (one.class.gpus()? <= left + 1e-9).then(|| (key.0.clone(), key.1.clone()))
    })
}

/// Entitlement and current use of a share with jobs, in GPUs.
struct Entitlement {
    share: ShareName,
    target: f64,
    used: f64,
}

/// The shares with open jobs of a fair-share queue; empty for other queues.
///
/// A share with a quarter of the weight is entitled to four times as much. Nobody is entitled to the compute
/// reservation.
fn due(queue: &Queue, capacity_gpus: Option<f64>, inputs: &Inputs<'_>) -> Vec<Entitlement> {
    let (Policy::FairShare { shares, .. }, Some(capacity)) = (&queue.policy, capacity_gpus) else {
        return Vec::new();
    };
    let gpus =
        |share_jobs: &ShareJobs| -> f64 { share_jobs.in_flight().filter_map(|id| inputs.ledger.job(id)?.gpus()).sum() };
    let with_jobs =
        inputs.ledger.shares_of(&queue.name).filter_map(|(share, share_jobs)| Some((share?.clone(), gpus(share_jobs))));
    let with_jobs: Vec<(ShareName, f64)> = with_jobs.collect();
    let part = |(share, _): &(ShareName, f64)| Some(1.0 / WeightedShare::weight_of(share.as_str(), shares)?);
    // The entitlement of one share depends on the weights of all.
    let Some(parts) = with_jobs.iter().map(part).collect::<Option<Vec<f64>>>() else { return Vec::new() };
    let all: f64 = parts.iter().sum();
    let left = capacity * (1.0 - kept(queue, inputs));
    let due = |((share, used), part)| Entitlement { share, target: left * part / all, used };
    with_jobs.into_iter().zip(parts).map(due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Ledger;
    use crate::model::{Capacity, JobSeen, JobStatus, Prices, Timestamp};

    fn job(id: &str, share: &str, status: JobStatus, instances: f64) -> JobSeen {
        JobSeen {
            name: id.into(),
            share: Some(share.into()),
            demand: vec![Capacity::new("ml.p5.48xlarge", instances)].into(),
            ..JobSeen::new(id, "prod", status, Timestamp::default())
        }
    }

    #[test]
    fn shares_with_jobs_are_due_the_capacity_by_their_weights_and_a_reservation_is_kept() {
        let mut ledger = Ledger::default();
        for (id, share, status, instances) in [
            ("1", "team-a", JobStatus::Running, 3.0),
            ("2", "team-a", JobStatus::Runnable, 8.0),
            ("3", "solo", JobStatus::Runnable, 1.0),
            ("4", "gone", JobStatus::Succeeded, 1.0),
        ] {
            ledger.observe(job(id, share, status, instances), Timestamp::default());
        }
        let of = |policy: Policy, capacity: Option<f64>, minutes: i64| {
            let queue = Queue::new("prod", policy, None);
            let inputs = Inputs {
                now: Timestamp::from_millis(minutes * 60_000),
                queues: std::slice::from_ref(&queue),
                ledger: &ledger,
                fronts: &BTreeMap::new(),
                prices: &Prices::default(),
                reserved: &[],
                sources: &[],
                expected_starts: &BTreeMap::new(),
                forecasts: &[],
            };
            let due = due(&queue, capacity, &inputs);
            due.into_iter().map(|row| (row.share.to_string(), row.target, row.used)).collect::<Vec<_>>()
        };
        let fair = |reservation| {
            let shares = vec![WeightedShare { share: "team-*".into(), weight: 0.25 }];
            Policy::FairShare { shares, decay: Duration::ZERO, reservation }
        };
        let rows = |solo: f64, team: f64| vec![("solo".to_owned(), solo, 0.0), ("team-a".to_owned(), team, 24.0)];
        assert_eq!(of(fair(0), Some(40.0), 1), rows(8.0, 32.0));
        assert_eq!(
            of(fair(50), Some(40.0), 1),
            rows(7.0, 28.0),
            "an eighth is kept: one that has just ended is active"
        );
        assert_eq!(of(fair(50), Some(40.0), 11), rows(6.0, 24.0), "and then a quarter");
        assert_eq!(of(fair(0), None, 1), []);
        assert_eq!(of(Policy::Fifo, Some(40.0), 1), []);
    }

    #[test]
    fn use_of_the_past_counts_half_after_half_of_the_window() {
        let (mut recent, window) = (RecentUse::default(), Duration::from_secs(3_600));
        let at = |minutes: i64| Timestamp::from_millis(minutes * 60_000);
        let key = || (QueueName::from("prod"), ShareName::from("team-a"));
        let mut look = |held, minutes| recent.look(key(), held, window, at(minutes));
        assert_eq!(look(0.0, 0), 0.0);
        assert_eq!(look(16.0, 30), 0.0, "until now it has held nothing");
        assert!((look(16.0, 60) - 8.0).abs() < 1e-9);
        assert!((look(0.0, 90) - 12.0).abs() < 1e-9);
        assert!((look(0.0, 120) - 6.0).abs() < 1e-9);

        let saved: Vec<_> = recent.saved().collect();
        let mut restored = RecentUse::restore(&saved, at(120));
        assert!((restored.look(key(), 0.0, window, at(240)) - 6.0).abs() < 1e-9, "nobody looked meanwhile");
        restored.fade(&"prod".into(), &BTreeSet::new(), window, at(270));
        assert!((restored.look(key(), 0.0, window, at(270)) - 3.0).abs() < 1e-9);
        restored.fade(&"prod".into(), &BTreeSet::new(), window, at(1_200));
        assert!(restored.of.is_empty(), "what has faded is forgotten");
    }

    #[test]
    fn a_share_starves_below_its_due_unless_it_has_had_its_part() {
        use crate::metrics::{Counting, Service, Value, frame};
        use crate::model::ServiceEnvironment;

        let queue = Queue::new(
            "prod",
            Policy::FairShare { shares: Vec::new(), decay: Duration::from_secs(3_600), reservation: 0 },
            Some(ServiceEnvironment {
                name: "gpus".to_owned(),
                enabled: true,
                limits: vec![Capacity::new("ml.p5.48xlarge", 4.0)],
            }),
        );
        let (mut ledger, mut counting) = (Ledger::default(), Counting::default());
        // Number of minutes that `late` has starved, after it was observed with these jobs.
        let mut starves = |minute: i64, jobs: &[(&str, &str, JobStatus, f64)]| {
            let now = Timestamp::from_millis(minute * 60_000);
            for (id, share, status, instances) in jobs {
                ledger.observe(job(id, share, status.clone(), *instances), now);
            }
            let inputs = Inputs {
                now,
                queues: std::slice::from_ref(&queue),
                ledger: &ledger,
                fronts: &BTreeMap::new(),
                prices: &Prices::default(),
                reserved: &[],
                sources: &[],
                expected_starts: &BTreeMap::new(),
                forecasts: &[],
            };
            let frame = frame(&inputs, &Service::default(), &mut counting);
            let of_late = |share: Option<&Arc<str>>| share.is_some_and(|share| &**share == "late");
            let mut samples = frame.samples.iter().filter(|one| one.metric.name == "share.starved");
            match samples.find(|one| of_late(one.labels.get("share"))).map(|one| &one.value) {
                Some(Value::Gauge(seconds)) => seconds / 60.0,
                other => panic!("{other:?}"),
            }
        };
        let (running, runnable) = (JobStatus::Running, JobStatus::Runnable);
        let late = ("1", "late", running.clone(), 4.0);
        assert_eq!(starves(0, &[late, ("2", "early", runnable.clone(), 4.0)]), 0.0);
        let ended = ("1", "late", JobStatus::Succeeded, 4.0);
        let again = ("3", "late", runnable.clone(), 2.0);
        assert_eq!(starves(60, &[ended, ("2", "early", running, 4.0), again]), 0.0, "it has had all for an hour");
        assert_eq!(starves(90, &[]), 0.0, "half of that counts: its due");
        assert_eq!(starves(91, &[]), 0.0, "since now");
        assert_eq!(starves(101, &[]), 10.0);
        assert_eq!(
            starves(102, &[("3", "late", JobStatus::Failed, 2.0), ("4", "late", runnable, 3.0)]),
            0.0,
            "too large"
        );
    }
}
