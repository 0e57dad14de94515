//! Lifecycle of one alert instance, one evaluation at a time:
//!
//! ```text
//!            holds          for `hold`               not for `keep`
//! inactive ────────► pending ────────► firing ────────────────────► inactive
//!     ▲  does not hold  │                 ▲ holds again │
//!     └─────────────────┘                 └─────────────┘
//! ```
//!
//! With datapoints, "holds" means in M of the last N evaluations; fewer than M are pending.

use std::time::Duration;

use crate::model::Timestamp;
use crate::rules::alert::AlertState;
use crate::rules::rule::{Datapoints, HoldPolicy};

/// Maximum time that counts between two evaluations; the rest is a gap without evaluation.
const MAX_TICK: Duration = Duration::from_secs(15 * 60);

/// After a longer gap, pending alerts start over; firing alerts continue.
const MAX_OUTAGE: Duration = Duration::from_secs(60 * 60);

/// Effect of an evaluation on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Fired,
    Ended,
}

/// Advances one instance by one evaluation; `None` is inactive. `recent` holds the latest results, newest last; it is
/// used only with datapoints.
///
/// Fires after the condition has held for at least `hold`; resolves after it has not held for at least `keep`.
pub(super) fn advance(
    state: Option<AlertState>,
    recent: &mut Vec<bool>,
    holds: bool,
    hold_policy: HoldPolicy,
    now: Timestamp,
) -> (Option<AlertState>, Change) {
    let firing = state.is_some_and(|state| state.fired_at().is_some());
    let holds = match hold_policy.datapoints {
        Some(datapoints) => enough(recent, holds, datapoints, firing),
        None => {
            recent.clear();
            holds
        }
    };
    // While fewer datapoints hold than needed, the alert is pending.
    let rest = |active_at: Timestamp| recent.contains(&true).then_some(AlertState::Pending { active_at });
    match (state, holds) {
        (None, true) => rise(now, hold_policy.hold, now),
        (Some(AlertState::Pending { active_at }), true) => rise(active_at, hold_policy.hold, now),
        (None, false) => (rest(now), Change::None),
        (Some(AlertState::Pending { active_at }), false) => (rest(active_at), Change::None),
        (Some(AlertState::Firing { active_at, fired_at, .. }), true) => {
            (Some(AlertState::Firing { active_at, fired_at, keep_since: None }), Change::None)
        }
        (Some(AlertState::Firing { active_at, fired_at, keep_since }), false) => {
            let since = keep_since.unwrap_or(now);
            if now.since(since) >= hold_policy.keep {
                (rest(now), Change::Ended)
            } else {
                (Some(AlertState::Firing { active_at, fired_at, keep_since: Some(since) }), Change::None)
            }
        }
    }
}

/// Removes time without evaluation from the state's clocks: all of `gap`, the time since the last evaluation, if
/// evaluations were `missed`; otherwise what exceeds [`MAX_TICK`]. `None` if a pending alert starts over.
pub(super) fn after_gap(state: AlertState, gap: Duration, missed: bool) -> Option<AlertState> {
    let uncounted = if missed { gap } else { gap.saturating_sub(MAX_TICK) };
    match state {
        AlertState::Pending { .. } if gap > MAX_OUTAGE && missed => None,
        AlertState::Pending { active_at } => Some(AlertState::Pending { active_at: active_at + uncounted }),
        AlertState::Firing { active_at, fired_at, keep_since } => {
            let keep_since = keep_since.map(|since| since + uncounted);
            Some(AlertState::Firing { active_at, fired_at, keep_since })
        }
    }
}

fn rise(active_at: Timestamp, hold: Duration, now: Timestamp) -> (Option<AlertState>, Change) {
    if now.since(active_at) >= hold {
        (Some(AlertState::Firing { active_at, fired_at: now, keep_since: None }), Change::Fired)
    } else {
        (Some(AlertState::Pending { active_at }), Change::None)
    }
}

/// Whether enough of the latest evaluations held, including this one. A firing alert with fewer evaluations on record
/// than needed (the rule just got its `datapoints`) is not ended by the missing ones.
fn enough(recent: &mut Vec<bool>, holds: bool, datapoints: Datapoints, firing: bool) -> bool {
    recent.push(holds);
    recent.drain(..recent.len().saturating_sub(datapoints.of));
    let held = recent.iter().filter(|held| **held).count();
    let missing = if firing { datapoints.of - recent.len() } else { 0 };
    held + missing >= datapoints.needed
}
