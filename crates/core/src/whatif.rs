//! What if: the past, replayed as it was and then with something changed. PURE.
//!
//! The replay of what really was comes first: how far it is from what happened is how far what is said of a change may be off.

mod change;
mod outcome;
mod past;
mod rank;
mod repeated;
mod report;
mod setup_row;
#[cfg(test)]
mod tests;

pub use change::{Change, ChangeError, parse, with_changes};
pub use outcome::{Outcome, QueueOutcome, ShareOutcome};
pub use past::{Past, PastJob, Seen};
pub use rank::{Candidate, candidates};
pub use repeated::note as note_of_replays;
pub use report::{QueueReport, Report, ShareReport, UseReport, Waits};
pub use setup_row::{SetupRow, of_queues, setup_of_rows};

use crate::model::{Prices, Timestamp};

/// The past as it happened, as it is replayed, and as it would have been with changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What happened, as far as it was recorded.
    pub happened: Option<Outcome>,
    /// The replay of what was.
    pub before: Outcome,
    /// The replay with the changes.
    pub after: Outcome,
    /// By how much the replays with the changes differ in the p95 of each share of `before`, in seconds.
    p95_spreads: Vec<f64>,
}

/// Replays a past as it was and with changes. `progress` gets which of the two replays is how far, from 0 to 1.
///
/// # Errors
/// A change is about something that there is not.
pub fn answer(
    past: &Past,
    changes: &[Change],
    prices: &Prices,
    mut progress: impl FnMut(usize, f64),
) -> Result<Answer, ChangeError> {
    // What cannot be changed is said before anything takes long.
    with_changes(past, changes)?;
    let before = before(past, prices, |part| progress(0, part));
    answer_beside(past, &before, changes, prices, |part| progress(1, part))
}

/// The replay of what was, beside which many changes can be put.
#[derive(Clone, Debug, PartialEq)]
pub struct Before(Outcome);

/// Replays a past as it was. `progress` gets how far that is, from 0 to 1.
pub fn before(past: &Past, prices: &Prices, progress: impl FnMut(f64)) -> Before {
    Before(repeated::replay(past, prices, progress).middle)
}

/// Replays a past with changes and puts that beside the replay of what was. `progress` gets how far that is, from 0 to 1.
///
/// # Errors
/// A change is about something that there is not.
pub fn answer_beside(
    past: &Past,
    before: &Before,
    changes: &[Change],
    prices: &Prices,
    progress: impl FnMut(f64),
) -> Result<Answer, ChangeError> {
    let after = repeated::replay(&with_changes(past, changes)?, prices, progress);
    let spread = |share: &ShareOutcome| after.spread(share, |share| share.p95);
    let p95_spreads = before.0.shares.iter().map(spread).collect();
    Ok(Answer { happened: outcome::happened(past), before: before.0.clone(), after: after.middle, p95_spreads })
}

/// Replays a past as it is, as often as [`answer`] does: the medians.
pub fn replay(past: &Past, prices: &Prices) -> Outcome {
    repeated::replay(past, prices, |_| {}).middle
}

impl Answer {
    /// By how much the replay of what was misses a wait of a share, in seconds: what is said of it may be off by as much. `None` if it was not
    /// recorded.
    pub fn error_of(&self, share: &ShareOutcome, wait: impl Fn(&ShareOutcome) -> Option<f64>) -> Option<f64> {
        let find = |outcome: &Outcome| outcome.share(&share.queue, share.share.as_ref()).and_then(&wait);
        Some((find(self.happened.as_ref()?)? - find(&self.before)?).abs())
    }

    /// By how much the p95 of a share after the changes may be off, in seconds: as much as the replay of what was misses what happened, or as far as
    /// the replays with the changes are apart, whichever is more. `None` if nothing was recorded and the replays agree.
    pub fn p95_error(&self, share: &ShareOutcome) -> Option<f64> {
        let places = self.before.shares.iter().zip(&self.p95_spreads);
        let spread =
            places.filter(|(one, _)| one.queue == share.queue && one.share == share.share).map(|(_, spread)| *spread);
        let spread = spread.fold(0.0, f64::max);
        let missed = self.error_of(share, |share| share.p95);
        missed.map(|missed| missed.max(spread)).or(Some(spread).filter(|spread| *spread > 0.0))
    }

    /// From when to when the past is.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.before.from, self.before.to)
    }
}
