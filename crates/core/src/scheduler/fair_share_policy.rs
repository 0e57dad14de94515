//! Fair share: the share with the least usage for its weight goes first.
//!
//! AWS documents the parameters but not the formulas. Here a share's usage is what it holds now plus an exponentially
//! weighted mean of past use, whose half-life is half the decay window. Usage is multiplied by the weight factor, so
//! a share with a quarter of the weight factor gets four times as much. At equal usage, for example none at all, the
//! lower weight factor goes first. All arithmetic gives the same result on every machine.

use std::cmp::Ordering;
use std::f64::consts::LN_2;
use std::time::Duration;

use crate::model::ShareName;
use crate::model::Timestamp;
use crate::model::WeightedShare;
use crate::scheduler::decision::Decision;
use crate::scheduler::job_entry::Entry;
use crate::scheduler::pool::Amounts;
use crate::scheduler::pool::Pool;
use crate::scheduler::share_state::ShareState;

/// Decay window if none, or zero, is given.
const DEFAULT_DECAY: Duration = Duration::from_secs(600);
/// Maximum active share identifiers per queue.
pub const MAX_ACTIVE: usize = 500;

/// A fair-share policy.
#[derive(Clone, Debug)]
pub struct FairShare {
    weights: Vec<WeightedShare>,
    decay: Duration,
    reservation: f64,
}

/// Sort key of a share's head; the least goes first.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Weighted usage of its share.
    pub score: f64,
    /// Weight factor of its share.
    pub weight: f64,
    /// Number of the job.
    pub head: usize,
}

impl Turn {
    /// The key of a head in queues that do not compare usage.
    pub fn by_number(head: usize) -> Self {
        Self { score: 0.0, weight: 0.0, head }
    }

    /// Orders by usage, then weight, then age.
    pub fn cmp(&self, other: &Self) -> Ordering {
        let used = self.score.total_cmp(&other.score);
        used.then(self.weight.total_cmp(&other.weight)).then(self.head.cmp(&other.head))
    }
}

impl FairShare {
    /// Prepares a policy; `reservation` is in percent.
    pub fn new(weights: &[WeightedShare], decay: Duration, reservation: u8) -> Self {
        let decay = if decay.is_zero() { DEFAULT_DECAY } else { decay };
        Self { weights: weights.to_vec(), decay, reservation: f64::from(reservation.min(99)) / 100.0 }
    }

    /// The head of the share with the least usage goes next; it blocks the queue if it does not fit.
    pub fn decide(&self, share_states: &[ShareState], jobs: &[Entry], pool: &Pool, now: Timestamp) -> Decision {
        let next = share_states
            .iter()
            .filter_map(|share_state| Some((share_state, share_state.head().filter(|head| !jobs[*head].held)?)))
            .map(|(share_state, head)| self.turn(share_state, Amounts::ZERO, head, now))
            .min_by(Turn::cmp);
        match next {
            Some(Turn { head, .. }) if jobs[head].fits(&self.room(share_states, pool, now)) => Decision::Start(head),
            Some(_) | None => Decision::Wait,
        }
    }

    /// The sort key of a share's head if the share held `more` than it does.
    pub fn turn(&self, share_state: &ShareState, more: Amounts, head: usize, now: Timestamp) -> Turn {
        let share = share_state.share.as_ref().map_or("", ShareName::as_str);
        let weight = WeightedShare::weight_of(share, &self.weights).unwrap_or(1.0);
        Turn { score: (instances(share_state.used.plus(more)) + self.mean(share_state, now)) * weight, weight, head }
    }

    /// Records a share's usage up to now; call before it changes.
    pub fn note(&self, share_state: &mut ShareState, now: Timestamp) {
        let mean = self.mean(share_state, now);
        share_state.past.mean = mean;
        share_state.past.at = now;
        share_state.past.active_at = Some(now);
    }

    /// Number of active share identifiers: those with jobs, or with jobs within the decay window.
    pub fn active(&self, share_states: &[ShareState], now: Timestamp) -> usize {
        let recent = |share_state: &ShareState| share_state.past.active_at.is_some_and(|at| now.since(at) < self.decay);
        share_states.iter().filter(|share_state| share_state.open > 0 || recent(share_state)).count()
    }

    /// Free capacity that is not reserved for inactive shares; the reservation is (reservation)^(active shares) of
    /// the total. While nothing is in use nothing is reserved, so that no job waits forever.
    pub fn room(&self, share_states: &[ShareState], pool: &Pool, now: Timestamp) -> Amounts {
        let free = pool.free();
        if self.reservation == 0.0 || pool.used == Amounts::ZERO {
            return free;
        }
        let kept = (0..self.active(share_states, now)).fold(1.0, |kept, _| kept * self.reservation);
        #[expect(clippy::cast_possible_truncation, reason = "no more than the limit")]
        let reserved = Amounts(pool.limits.0.map(|limit| (f64::from(limit) * kept).floor() as i32));
        free.minus(reserved)
    }

    fn mean(&self, share_state: &ShareState, now: Timestamp) -> f64 {
        let used = instances(share_state.used);
        let half_lives = now.seconds_since(share_state.past.at) * 2.0 / self.decay.as_secs_f64();
        used + (share_state.past.mean - used) * exp2_neg(half_lives)
    }
}

#[expect(clippy::cast_precision_loss, reason = "instance counts are far below 2^52")]
fn instances(amounts: Amounts) -> f64 {
    amounts.total() as f64
}

/// 2^-x for x >= 0 to within one per mille; 0 if the result would be smaller than that. The standard math library may
/// differ between machines in the last bit, and one bit can change a history.
fn exp2_neg(x: f64) -> f64 {
    if x >= 10.0 {
        return 0.0;
    }
    let whole = x.floor();
    let x = x - whole;
    // Taylor series of 2^-x around 0.
    let part = 1.0 - x * (LN_2 - x * (0.240_227 - x * (0.055_504 - x * 0.009_618)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 9")]
    let steps = whole as u64;
    (0..steps).fold(part, |part, _| part / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_counts_half_after_half_the_window() {
        for (x, expected) in
            [(0.0, 1.0), (0.5, 0.5_f64.sqrt()), (1.0, 0.5), (2.5, 0.1768), (9.5, 0.001_381), (10.0, 0.0), (1e9, 0.0)]
        {
            assert!((exp2_neg(x) - expected).abs() < 1e-3, "2^-{x} is {}", exp2_neg(x));
        }
        let fair = FairShare::new(&[], Duration::from_secs(3600), 0);
        let at = |seconds| Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(seconds);
        let mut share_state = ShareState::new(Some("a".into()));
        fair.note(&mut share_state, at(0));
        share_state.used.0[0] = 8;
        assert!((fair.mean(&share_state, at(1800)) - 4.0).abs() < 0.01);
        fair.note(&mut share_state, at(1800));
        share_state.used.0[0] = 0;
        assert!((fair.mean(&share_state, at(3600)) - 2.0).abs() < 0.01);
        assert!((fair.turn(&share_state, Amounts::ZERO, 0, at(3600)).score - 2.0).abs() < 0.01);
    }
}
