//! What becomes of the shares' quotas over time, and who works on whose: GPU-seconds by share and part, and by pair.
//!
//! AWS does not say whose instance a borrower is on. A pair's part is therefore in proportion: of all that a queue's
//! shares lend of a type, each borrower has as much from each lender as it borrows and that one lends.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::frame::ShareFigures;
use crate::metrics::reasons::Diagnosis;
use crate::model::{Accelerators, QueueName, ShareName, accelerators_of};

/// Of its quota, used by the share itself.
pub const OWN: &str = "own";
/// Of its quota, used by others.
pub const LENT: &str = "lent";
/// Of its quota, used by nobody, while no job of the share waits.
pub const IDLE: &str = "idle";
/// Of its quota, used by nobody, although jobs of the share wait.
pub const IDLE_WHILE_WAITING: &str = "idle_while_waiting";
/// Beyond its quota.
pub const BORROWED: &str = "borrowed";

/// Assumed times between checkpoints, with their label: what a job has done since the last one is lost with it.
pub const CHECKPOINTS: [(&str, f64); 3] = [("10m", 600.0), ("30m", 1_800.0), ("1h", 3_600.0)];

/// GPUs by queue, share and part. But for [`BORROWED`], the parts of a share sum to its quota.
pub(super) type Parts = BTreeMap<(QueueName, ShareName, &'static str), f64>;

/// What each share with a quota does with it now.
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

/// Who has how many GPUs of whose quota now; only pairs that have any.
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

/// GPU-seconds lost when an attempt is stopped after `ran` seconds, if it had made a checkpoint every `interval` seconds.
pub(super) fn lost_since_checkpoint(ran: f64, interval: f64, gpus: f64) -> f64 {
    ran % interval * gpus
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

    #[test]
    fn a_checkpoint_saves_what_was_done_before_it() {
        let lost = CHECKPOINTS.map(|(_, interval)| lost_since_checkpoint(4_000.0, interval, 8.0));
        assert_eq!(lost, [3_200.0, 3_200.0, 3_200.0]);
        assert_eq!(lost_since_checkpoint(2_000.0, 1_800.0, 2.0), 400.0);
        assert_eq!(lost_since_checkpoint(500.0, 600.0, 2.0), 1_000.0, "before the first one all is lost");
    }
}
