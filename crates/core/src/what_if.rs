//! What-if: replays the past unchanged, then with changes. PURE.
//!
//! The unchanged replay is compared with what happened: its error estimates the error of the replay with changes.

mod candidates;
mod change;
mod outcome;
mod past;
mod repeated;
mod report;
mod stored_setup;
#[cfg(test)]
mod tests;

pub use candidates::{Candidate, candidates};
pub use change::{Change, ChangeError, parse, with_changes};
pub use outcome::{Outcome, QueueOutcome, ShareOutcome};
pub use past::{Past, PastJob, Seen};
pub use repeated::note as note_of_replays;
pub use report::{QueueReport, Report, ShareReport, UseReport, Waits};
pub use stored_setup::{SetupRow, of_queues, setup_of_rows};

use crate::model::{Prices, Timestamp};

/// The past as recorded, as replayed, and as replayed with changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What happened, as far as it was recorded.
    pub happened: Option<Outcome>,
    /// The replay without changes.
    pub before: Outcome,
    /// The replay with the changes.
    pub after: Outcome,
    /// Spread of the p95 of each share of `before` over the replays with changes, in seconds.
    p95_spreads: Vec<f64>,
}

/// Replays a past without and with changes. `progress` receives the progress of both, from 0 to 1.
///
/// # Errors
/// A change refers to something that does not exist.
pub fn answer(
    past: &Past,
    changes: &[Change],
    prices: &Prices,
    mut progress: impl FnMut(usize, f64),
) -> Result<Answer, ChangeError> {
    // Report invalid changes before the slow part.
    with_changes(past, changes)?;
    let before = before(past, prices, |part| progress(0, part));
    answer_beside(past, &before, changes, prices, |part| progress(1, part))
}

/// A replay without changes, to compare many changes with.
#[derive(Clone, Debug, PartialEq)]
pub struct Before(Outcome);

/// Replays a past without changes. `progress` receives a fraction from 0 to 1.
pub fn before(past: &Past, prices: &Prices, progress: impl FnMut(f64)) -> Before {
    Before(repeated::replay(past, prices, progress).middle)
}

/// Replays a past with changes, and compares it with the replay without. `progress` receives a fraction from 0 to 1.
///
/// # Errors
/// A change refers to something that does not exist.
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

/// Replays a past as is, as many times as [`answer`] does, and returns the medians.
pub fn replay(past: &Past, prices: &Prices) -> Outcome {
    repeated::replay(past, prices, |_| {}).middle
}

impl Answer {
    /// Error of the replay without changes for a wait of a share, in seconds; statements about a change may be off by
    /// as much. `None` if the wait was not recorded.
    pub fn error_of(&self, share: &ShareOutcome, wait: impl Fn(&ShareOutcome) -> Option<f64>) -> Option<f64> {
        let find = |outcome: &Outcome| outcome.share(&share.queue, share.share.as_ref()).and_then(&wait);
        Some((find(self.happened.as_ref()?)? - find(&self.before)?).abs())
    }

    /// Uncertainty of a share's p95 with the changes, in seconds: the error of the replay without changes, or the
    /// spread of the replays with changes, whichever is larger. `None` if nothing was recorded and the replays agree.
    pub fn p95_error(&self, share: &ShareOutcome) -> Option<f64> {
        let places = self.before.shares.iter().zip(&self.p95_spreads);
        let spread =
            places.filter(|(one, _)| one.queue == share.queue && one.share == share.share).map(|(_, spread)| *spread);
        let spread = spread.fold(0.0, f64::max);
        let missed = self.error_of(share, |share| share.p95);
        missed.map(|missed| missed.max(spread)).or(Some(spread).filter(|spread| *spread > 0.0))
    }

    /// Period of the past.
    pub fn span(&self) -> (Timestamp, Timestamp) {
        (self.before.from, self.before.to)
    }
}
