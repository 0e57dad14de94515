//! Use of shares: quota, used, borrowed and lent instances, per share and instance type; and how long a share has
//! been unused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::jobs::Ledger;
use crate::metrics::Inputs;
use crate::metrics::catalogue::SHARE_UNUSED;
use crate::metrics::frame::ShareFigures;
use crate::metrics::reasons::most;
use crate::model::{
    InstanceType, Policy, Queue, QueueName, QuotaShare, SavedSeries, ShareName, Timestamp, WeightedShare,
};

/// Seconds that each share with a quota has been unused, as far as observed.
pub(super) type Unused = BTreeMap<(QueueName, ShareName), f64>;

/// Instances held by jobs in flight, by queue, share (if any) and instance type.
pub(super) type Held = BTreeMap<(QueueName, Option<ShareName>, InstanceType), f64>;

/// When a job last held an instance, for each share with a quota.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    at: BTreeMap<(QueueName, ShareName), Timestamp>,
    /// Time of the last update.
    looked_at: Timestamp,
}

impl LastUse {
    /// Restores the result of [`LastUse::saved`]; nothing was observed since `then`.
    pub(super) fn restore(saved: &[SavedSeries], then: Timestamp) -> Self {
        let of_metric = saved.iter().filter(|series| series.metric == SHARE_UNUSED.name);
        let at = of_metric.filter_map(|series| {
            let key = (series.labels.get("queue")?.as_str().into(), series.labels.get("share")?.as_str().into());
            Some((key, then - Duration::try_from_secs_f64(series.value).ok()?))
        });
        Self { at: at.collect(), looked_at: then }
    }

    /// Unused seconds by share, as values of a gauge.
    pub(super) fn saved(&self) -> impl Iterator<Item = SavedSeries> {
        self.at.iter().map(|((queue, share), at)| SavedSeries {
            metric: SHARE_UNUSED.name.into(),
            labels: Arc::new(
                [("queue", queue.as_str()), ("share", share.as_str())].map(|(k, v)| (k.into(), v.into())).into(),
            ),
            value: self.looked_at.seconds_since(*at),
            ..SavedSeries::default()
        })
    }

    /// Updates and returns the unused seconds of each share with a quota; a new share counts as just used.
    pub(super) fn unused(&mut self, rows: &[ShareFigures], now: Timestamp) -> Unused {
        let with_quota = || rows.iter().filter(|row| row.quota.is_some());
        let Self { at, looked_at } = self;
        *looked_at = now;
        let subjects: BTreeSet<_> = with_quota().map(|row| (row.queue.clone(), row.share.clone())).collect();
        at.retain(|key, _| subjects.contains(key));
        for key in subjects {
            at.entry(key).or_insert(now);
        }
        for row in with_quota().filter(|row| row.used > 0.0) {
            at.insert((row.queue.clone(), row.share.clone()), now);
        }
        at.iter().map(|(key, at)| (key.clone(), now.seconds_since(*at))).collect()
    }
}

/// Instances held by jobs in flight.
pub(super) fn held(ledger: &Ledger) -> Held {
    let mut held = Held::new();
    for job in ledger.in_flight() {
        for capacity in &job.latest.demand {
            let key = (job.queue().clone(), job.share().cloned(), capacity.unit.clone());
            *held.entry(key).or_default() += capacity.quantity;
        }
    }
    held
}

/// Rows of a queue: one per share and instance type with a quota or use.
pub(super) fn figures(queue: &Queue, held: &Held) -> Vec<ShareFigures> {
    let used: BTreeMap<(&ShareName, &InstanceType), f64> = held
        .iter()
        .filter(|((name, _, _), _)| *name == queue.name)
        .filter_map(|((_, share, unit), quantity)| Some(((share.as_ref()?, unit), *quantity)))
        .collect();
    match &queue.policy {
        Policy::QuotaShares(shares) => quota_shares(queue, shares, &used),
        Policy::Fifo | Policy::FairShare { .. } => {
            used.iter().map(|((share, unit), used)| row(queue, share, unit, None, *used)).collect()
        }
    }
}

/// Completes the table of shares: adds those of fair-share queues that hold nothing, whether configured or with
/// waiting jobs only, and the weights.
pub(super) fn with_idle(mut rows: Vec<ShareFigures>, inputs: &Inputs<'_>) -> Vec<ShareFigures> {
    for queue in inputs.queues {
        let Policy::FairShare { shares, .. } = &queue.policy else { continue };
        // An entry that ends in `*` is a pattern for share identifiers.
        let configured = shares.iter().map(|entry| &entry.share).filter(|share| !share.as_str().ends_with('*'));
        let with_jobs = inputs.ledger.shares_of(&queue.name).filter_map(|(share, _)| share);
        let all: BTreeSet<&ShareName> = configured.chain(with_jobs).collect();
        let holds: BTreeSet<ShareName> =
            rows.iter().filter(|row| row.queue == queue.name).map(|row| row.share.clone()).collect();
        let unit = queue.environment.as_ref().and_then(|environment| environment.limits.first());
        let unit = unit.map_or_else(|| InstanceType::ANY.into(), |limit| limit.unit.clone());
        rows.extend(
            all.into_iter().filter(|share| !holds.contains(*share)).map(|share| row(queue, share, &unit, None, 0.0)),
        );
        for row in rows.iter_mut().filter(|row| row.queue == queue.name) {
            row.weight = WeightedShare::weight_of(row.share.as_str(), shares);
        }
    }
    rows.sort_by(|a, b| (&a.queue, &a.share, &a.unit).cmp(&(&b.queue, &b.share, &b.unit)));
    rows
}

/// Borrowed is the use beyond a share's quota, as far as others leave that much unused, so that borrowed and lent
/// have the same sum. AWS does not report the lender, so it counts as lent by the lending shares in proportion to
/// what each leaves unused.
fn quota_shares(
    queue: &Queue,
    shares: &[QuotaShare],
    used: &BTreeMap<(&ShareName, &InstanceType), f64>,
) -> Vec<ShareFigures> {
    let configured = shares.iter().flat_map(|share| share.limits.iter().map(|limit| (&share.name, &limit.unit)));
    let keys: BTreeSet<(&ShareName, &InstanceType)> = configured.chain(used.keys().copied()).collect();
    let share_named = |name: &ShareName| shares.iter().find(|share| share.name == *name);
    let mut rows: Vec<ShareFigures> = keys
        .into_iter()
        .map(|key| {
            // The quota of a share that AWS has not listed is unknown. A listed share has none of a type without a limit.
            let quota = share_named(key.0).map(|share| share.limit(key.1).unwrap_or(0.0));
            row(queue, key.0, key.1, quota, used.get(&key).copied().unwrap_or(0.0))
        })
        .collect();
    let units: BTreeSet<InstanceType> = rows.iter().map(|row| row.unit.clone()).collect();
    let pooled = |unit: &InstanceType| shares.iter().filter(|s| s.lends()).filter_map(|s| s.limit(unit)).sum::<f64>();
    for row in &mut rows {
        let Some(own) = share_named(&row.share) else { continue };
        let most = most(own, &row.unit);
        row.most = most.is_finite().then_some(most);
        row.largest_job = row.quota.map(|quota| most.min(pooled(&row.unit).max(quota)));
    }
    for unit in units {
        let lends = |row: &ShareFigures| share_named(&row.share).is_some_and(|share| share.lends());
        let idle = |row: &ShareFigures| if lends(row) { (row.quota.unwrap_or(0.0) - row.used).max(0.0) } else { 0.0 };
        let of_unit = || rows.iter().filter(|row| row.unit == unit);
        let borrowed: f64 = of_unit().map(|row| row.borrowed).sum();
        let lendable: f64 = of_unit().map(idle).sum();
        // The use beyond quotas may exceed what others leave unused: a limit was lowered while jobs ran, or a job
        // that is being preempted was listed before its successor. That part is borrowed from nobody.
        let of = |part: f64, whole: f64| if whole > 0.0 { (part / whole).min(1.0) } else { 0.0 };
        let (lent_of_idle, lent_of_excess) = (of(borrowed, lendable), of(lendable, borrowed));
        for row in rows.iter_mut().filter(|row| row.unit == unit) {
            row.lent = idle(row) * lent_of_idle;
            row.borrowed *= lent_of_excess;
            row.idle = (row.quota.unwrap_or(0.0) - row.used - row.lent).max(0.0);
        }
    }
    rows
}

fn row(queue: &Queue, share: &ShareName, unit: &InstanceType, quota: Option<f64>, used: f64) -> ShareFigures {
    let borrowed = quota.map_or(0.0, |quota| (used - quota).max(0.0));
    ShareFigures {
        queue: queue.name.clone(),
        share: share.clone(),
        unit: unit.clone(),
        quota,
        used,
        borrowed,
        lent: 0.0,
        idle: 0.0,
        most: None,
        largest_job: None,
        weight: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Capacity, Sharing};

    #[test]
    fn the_quota_of_a_share_that_is_not_listed_is_unknown() {
        let unit: InstanceType = "ml.p5.48xlarge".into();
        let listed = QuotaShare {
            name: "a".into(),
            enabled: true,
            limits: vec![Capacity::new("ml.p5.48xlarge", 4.0)],
            sharing: Sharing::LendAndBorrow { borrow_limit: None },
            in_share_preemption: false,
        };
        let held = |share: &str| (("prod".into(), Some(share.into()), unit.clone()), 2.0);
        for (shares, expected) in [(vec![], [None, None]), (vec![listed], [Some(4.0), None])] {
            let queue = Queue::new("prod", Policy::QuotaShares(shares), None);
            let rows = figures(&queue, &[held("a"), held("b")].into());
            let quotas: Vec<Option<f64>> = rows.iter().map(|row| row.quota).collect();
            assert_eq!(quotas, expected);
            assert!(rows.iter().all(|row| (row.used, row.borrowed, row.lent) == (2.0, 0.0, 0.0)), "{rows:?}");
        }
    }
}
