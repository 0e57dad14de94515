//! Offsets that follow the observed miss rate: each end of the interval should be missed by one in ten estimates, even when the workload
//! changes. This is quantile tracking with a leaky integral (Angelopoulos, Candès and Tibshirani, "Conformal PID control for time series
//! prediction", 2023).
//!
//! An offset moves an end outwards after misses, and slowly back after hits. The leak and the maximum inwards prevent windup: the outcome of an
//! estimate is known hours later, and an end that moves inwards all that time misses a whole backlog before it moves back. A start before the low
//! end is known sooner than one after the high end, so the low end may move further.

use crate::forecast::calibration::Truth;
use crate::model::Timestamp;

/// Target miss rate of each end.
pub(super) const MISSES: f64 = 0.1;

/// Step of an offset for one resolved estimate, in spreads of the interval. A batch steps by the square root of its size.
const STEP: f64 = 0.2;

/// Fraction of an offset that each batch removes.
const LEAK: f64 = 0.05;

/// Maximum offset outwards, in spreads of the interval.
const MAX_OUTWARDS: f64 = 4.0;

/// Maximum offsets inwards of the low and the high end, in spreads of the interval.
const MAX_INWARDS: [f64; 2] = [0.5, 0.15];

/// Estimates that resolve after forecasts of the same five minutes form a batch.
const BATCH_MILLIS: i64 = 300_000;

/// Offsets of one group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    /// How far the low and the high end are moved outwards, in spreads of the interval.
    pub(super) outwards: [f64; 2],
    batch: Batch,
}

/// A batch: for each end the number of estimates and of misses. They are correlated.
#[derive(Debug, Default)]
struct Batch {
    which: i64,
    ends: [(u32, u32); 2],
}

impl Offsets {
    /// Corrections of the low end, the median and the high end.
    pub(super) fn now(&self) -> [f64; 3] {
        [-self.outwards[0], 0.0, self.outwards[1]]
    }

    /// Adds a resolved estimate to its batch.
    pub(super) fn count(&mut self, truth: &Truth) {
        self.settle(truth.after);
        let Some(shown) = truth.shown else { return };
        let [low, high] = &mut self.batch.ends;
        *low = (low.0 + 1, low.1 + u32::from(truth.actual < shown.low));
        if truth.late_after.is_none() {
            *high = (high.0 + 1, high.1 + u32::from(truth.actual > shown.high));
        }
    }

    /// Adds a missed high end of a job that still waits to the batch of the forecast before.
    pub(super) fn count_late(&mut self, after: Timestamp) {
        self.settle(after);
        let [_, high] = &mut self.batch.ends;
        *high = (high.0 + 1, high.1 + 1);
    }

    /// Starts the batch of a forecast at `after` and applies the previous one: more misses than [`MISSES`] widen the interval, fewer narrow it.
    pub(super) fn settle(&mut self, after: Timestamp) {
        let which = after.millis().div_euclid(BATCH_MILLIS);
        if self.batch.which == which {
            return;
        }
        let ends = std::mem::take(&mut self.batch).ends;
        self.batch.which = which;
        let ends = self.outwards.iter_mut().zip(MAX_INWARDS).zip(ends);
        for ((outwards, max_inwards), (all, missed)) in ends.filter(|(_, (all, _))| *all > 0) {
            let (all, missed) = (f64::from(all), f64::from(missed));
            let step = STEP * all.sqrt() * (missed / all - MISSES);
            *outwards = (*outwards * (1.0 - LEAK) + step).clamp(-max_inwards, MAX_OUTWARDS);
        }
    }
}
