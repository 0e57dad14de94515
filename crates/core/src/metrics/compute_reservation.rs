//! What a fair-share policy keeps free for share identifiers that are not active.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::metrics::Inputs;
use crate::model::{Policy, Queue, ShareName};

/// The decay window where the policy says zero: Batch's own default.
pub(super) const DEFAULT_DECAY: Duration = Duration::from_secs(600);

/// The part of a queue's capacity, 0 to 1, that its policy's compute reservation keeps for share identifiers that are not active: the
/// reservation to the power of the number of those that are. Active are those that have jobs, and those that had some within the decay
/// window.
pub(super) fn kept(queue: &Queue, inputs: &Inputs<'_>) -> f64 {
    let Policy::FairShare { decay, reservation, .. } = queue.policy else { return 0.0 };
    if reservation == 0 {
        return 0.0;
    }
    let since = inputs.now - if decay.is_zero() { DEFAULT_DECAY } else { decay };
    let ended = inputs.ledger.ended_since(since).filter(|job| *job.queue() == queue.name);
    let recent = ended.filter_map(|job| job.share());
    let with_jobs = inputs.ledger.lanes_of(&queue.name).filter_map(|(share, _)| share);
    let active: BTreeSet<&ShareName> = with_jobs.chain(recent).collect();
    (f64::from(reservation.min(99)) / 100.0).powi(i32::try_from(active.len()).unwrap_or(i32::MAX))
}
