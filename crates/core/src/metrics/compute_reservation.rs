//! Capacity that a fair-share policy reserves for inactive share identifiers.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::metrics::Inputs;
use crate::model::{Policy, Queue, ShareName};

/// Decay window for a policy with zero: Batch's default.
pub(super) const DEFAULT_DECAY: Duration = Duration::from_secs(600);

/// Fraction of a queue's capacity, 0 to 1, that its compute reservation keeps for inactive share identifiers: the
/// reservation to the power of the number of active ones. Active are those with jobs now or within the decay
/// window.
pub(super) fn kept(queue: &Queue, inputs: &Inputs<'_>) -> f64 {
    let Policy::FairShare { decay, reservation, .. } = queue.policy else { return 0.0 };
    if reservation == 0 {
        return 0.0;
    }
    let since = inputs.now - if decay.is_zero() { DEFAULT_DECAY } else { decay };
    let ended = inputs.ledger.ended_since(since).filter(|job| *job.queue() == queue.name);
    let recent = ended.filter_map(|job| job.share());
    let with_jobs = inputs.ledger.shares_of(&queue.name).filter_map(|(share, _)| share);
    let active: BTreeSet<&ShareName> = with_jobs.chain(recent).collect();
    (f64::from(reservation.min(99)) / 100.0).powi(i32::try_from(active.len()).unwrap_or(i32::MAX))
}
