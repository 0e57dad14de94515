//! Use of the shares' quotas over time, and which share uses whose: GPU-seconds by share and part, and by pair.
//!
//! AWS does not report whose instances a borrower uses. Loans are therefore assigned in proportion: of what a
//! queue's shares lend of a type, each borrower gets from each lender in proportion to what it borrows and what the
//! lender lends.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::frame::ShareFigures;
use crate::metrics::reasons::Diagnosis;
use crate::model::{Accelerators, QueueName, ShareName, accelerators_of};

/// Quota used by the share itself.
pub const OWN: &str = "own";

/// Quota used by other shares.
pub const LENT: &str = "lent";

/// Unused quota while no job of the share waits.
pub const IDLE: &str = "idle";

/// Unused quota while jobs of the share wait.
pub const IDLE_WHILE_WAITING: &str = "idle_while_waiting";

/// Used beyond the quota.
pub const BORROWED: &str = "borrowed";

/// GPUs by queue, share and part. Except for [`BORROWED`], the parts of a share sum to its quota.
pub(super) type Parts = BTreeMap<(QueueName, ShareName, &'static str), f64>;

/// Current use of each share's quota.
pub(super) fn parts(rows: &[ShareFigures], diagnosis: &[Diagnosis<'_>]) -> Parts {
    let waits: BTreeSet<_> = diagnosis.iter().filter_map(|one| Some((one.job.queue(), one.job.share()?))).collect();
    let mut parts = Parts::new();
    for row in rows {
        let Some(quota) = row.quota else { continue };
        let idle = if waits.contains(&(&row.queue, &row.share)) { IDLE_WHILE_WAITING } else { IDLE };
        let mut of_share = BTreeMap::from([(IDLE, 0.0), (IDLE_WHILE_WAITING, 0.0)]);
        of_share.extend([(OWN, row.used.min(quota)), (LENT, row.lent), (BORROWED, row.borrowed), (idle, row.idle)]);
        for (part, instances) in of_share {
            let key = (row.queue.clone(), row.share.clone(), part);
            *parts.entry(key).or_default() += instances * gpus_each(row);
        }
    }
    parts
}

/// GPUs by queue, lender and borrower.
pub(super) type Pairs = BTreeMap<(QueueName, ShareName, ShareName), f64>;

/// Current loans in GPUs; only pairs with any.
pub(super) fn pairs(rows: &[ShareFigures]) -> Pairs {
    let mut pairs = Pairs::new();
    let borrowers = rows.iter().filter(|row| row.borrowed > 0.0);
    for borrower in borrowers {
        let market = || rows.iter().filter(|row| row.queue == borrower.queue && row.unit == borrower.unit);
        let lent: f64 = market().map(|row| row.lent).sum();
        for lender in market().filter(|row| row.lent > 0.0) {
            let key = (lender.queue.clone(), lender.share.clone(), borrower.share.clone());
            *pairs.entry(key).or_default() += borrower.borrowed * lender.lent / lent * gpus_each(borrower);
        }
    }
    pairs
}

fn gpus_each(row: &ShareFigures) -> f64 {
    accelerators_of(&row.unit).map_or(0.0, |accelerators| f64::from(Accelerators::gpus(accelerators)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(share: &str, [used, borrowed, lent, idle]: [f64; 4]) -> ShareFigures {
        ShareFigures {
            queue: "research".into(),
            share: share.into(),
            unit: "ml.p5.48xlarge".into(),
            quota: Some(8.0),
            used,
            borrowed,
            lent,
            idle,
            most: None,
            largest_job: None,
            weight: None,
        }
    }

    #[test]
    fn a_pair_has_what_the_one_borrows_and_the_other_lends() {
        let rows = [
            row("a", [14.0, 6.0, 0.0, 0.0]),
            row("b", [10.0, 2.0, 0.0, 0.0]),
            row("c", [2.0, 0.0, 6.0, 0.0]),
            row("d", [3.0, 0.0, 2.0, 3.0]),
        ];
        let pairs = pairs(&rows);
        let of = |lender: &str, borrower: &str| pairs[&("research".into(), lender.into(), borrower.into())];
        assert_eq!([of("c", "a"), of("d", "a"), of("c", "b"), of("d", "b")], [36.0, 12.0, 12.0, 4.0]);
        assert_eq!(pairs.values().sum::<f64>(), 64.0, "all that is lent");

        let parts = parts(&rows, &[]);
        let of_quota = |share: &str| {
            let of_share = parts.iter().filter(|((_, name, part), _)| name.as_str() == share && *part != BORROWED);
            of_share.map(|(_, gpus)| gpus).sum::<f64>()
        };
        assert_eq!(["a", "b", "c", "d"].map(of_quota), [64.0; 4]);
    }
}
