//! Quantile levels that follow the observed miss rate (adaptive conformal inference): each end of the interval should be missed by one in ten
//! estimates, even when the workload changes.

use crate::forecast::calibration::Truth;
use crate::model::Timestamp;

/// Target miss rate of each end.
const MISSES: f64 = 0.1;

/// Step of a level for one resolved estimate. A batch steps by the square root of its size.
const ADAPTATION: f64 = 0.05;

/// Maximum adjustment of a level.
const MAX_ADAPTED: f64 = 0.5;

/// Estimates that resolve after forecasts of the same five minutes form a batch.
const BATCH_MILLIS: i64 = 300_000;

/// Adaptive levels of one group.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// Adjustments of the low and the high level; positive narrows the interval.
    pub(super) adapted: [f64; 2],
    batch: Batch,
}

/// A batch: for each end the number of estimates and of misses. They are correlated.
#[derive(Debug, Default)]
struct Batch {
    which: i64,
    ends: [(u32, u32); 2],
}

impl Levels {
    /// Levels of the low end, the median and the high end.
    pub(super) fn now(&self) -> [f64; 3] {
        [MISSES + self.adapted[0], 0.5, 1.0 - MISSES - self.adapted[1]]
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
        for (adapted, (all, missed)) in self.adapted.iter_mut().zip(ends).filter(|(_, (all, _))| *all > 0) {
            let (all, missed) = (f64::from(all), f64::from(missed));
            let step = ADAPTATION * all.sqrt() * (MISSES - missed / all);
            *adapted = (*adapted + step).clamp(-MAX_ADAPTED, MAX_ADAPTED);
        }
    }
}
