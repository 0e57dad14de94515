//! Unbiased waiting times: the Kaplan-Meier estimator over jobs that started, jobs that still wait, and jobs
//! cancelled before they started (the latter two right-censored: their wait is at least that long).
//!
//! [`exact`] is the textbook estimator. [`KaplanMeier`] uses fine logarithmic buckets over a window that slides by
//! the hour, and is within 1 % of the exact one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Timestamp;

/// Waits that ended longer ago than this are dropped.
pub const WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Step of the sliding window.
const SLOT: Duration = Duration::from_secs(3600);

/// Ratio of a bucket's bounds: the error of a value is at most half of it.
const RATIO: f64 = 1.01;

/// Published quantiles.
pub const QUANTILES: [(&str, f64); 4] = [("p50", 0.50), ("p90", 0.90), ("p95", 0.95), ("p99", 0.99)];

/// The survival function of waits: after each time at which a job started, the fraction that still waits.
///
/// `waits` are seconds, and whether the wait ended with a start. At equal times starts come before censorings.
pub fn exact(mut waits: Vec<(f64, bool)>) -> Vec<(f64, f64)> {
    waits.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut at_risk = waits.len() as f64;
    let mut surviving = 1.0;
    let mut curve: Vec<(f64, f64)> = Vec::new();
    for same in waits.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let started = same.iter().filter(|(_, started)| *started).count();
        if let Some((seconds, _)) = same.first().filter(|_| started > 0) {
            surviving *= 1.0 - started as f64 / at_risk;
            curve.push((*seconds, surviving));
        }
        at_risk -= same.len() as f64;
    }
    curve
}

/// The first time by which a fraction `p` has started; `None` if the curve ends before.
pub fn quantile(curve: &[(f64, f64)], p: f64) -> Option<f64> {
    // Rounding: products of fractions are inexact.
    curve.iter().find(|(_, surviving)| *surviving <= 1.0 - p + 1e-12).map(|(seconds, _)| *seconds)
}

/// Ended waits of one share over [`WINDOW`], by slot and logarithmic bucket.
#[derive(Debug, Default)]
pub struct KaplanMeier {
    slots: BTreeMap<i64, Buckets>,
    /// Sum of all slots.
    ended: Buckets,
}

/// Per bucket: number of starts and of censorings.
type Buckets = BTreeMap<u16, (u32, u32)>;

impl KaplanMeier {
    /// Records a wait of so many seconds that ended at `at`, with a start or otherwise.
    pub fn record(&mut self, at: Timestamp, seconds: f64, started: bool) {
        let buckets = self.slots.entry(slot(at)).or_default();
        add(buckets, seconds, started);
        add(&mut self.ended, seconds, started);
    }

    /// Drops what has left the window.
    pub fn forget(&mut self, now: Timestamp) {
        let first = slot(now - WINDOW);
        while let Some(oldest) = self.slots.first_entry().filter(|oldest| *oldest.key() <= first) {
            for (bucket, (started, censored)) in oldest.remove() {
                let Some(all) = self.ended.get_mut(&bucket) else { continue };
                (all.0, all.1) = (all.0.saturating_sub(started), all.1.saturating_sub(censored));
                if *all == (0, 0) {
                    self.ended.remove(&bucket);
                }
            }
        }
    }

    /// The quantiles of [`QUANTILES`], with `waiting` as the ages of jobs that still wait. A quantile that the
    /// curve does not reach is at least the longest wait, which is returned. `None` without any wait.
    pub fn quantiles(&self, waiting: &[f64]) -> Option<[f64; 4]> {
        let mut all = self.ended.clone();
        let buckets: Vec<u16> = waiting.iter().map(|seconds| bucket(*seconds)).collect();
        for same in buckets.chunk_by(|a, b| a == b) {
            if let Some(bucket) = same.first() {
                let censored = &mut all.entry(*bucket).or_default().1;
                *censored = censored.saturating_add(u32::try_from(same.len()).unwrap_or(u32::MAX));
            }
        }
        let ended = all.keys().next_back().map(|bucket| middle(*bucket))?;
        // The ages of waiting jobs are exact.
        let oldest = waiting.iter().copied().fold(0.0, f64::max);
        let longest = if bucket(oldest) == bucket(ended) { oldest } else { ended };
        let mut at_risk: f64 = all.values().map(|(started, censored)| f64::from(started + censored)).sum();
        let mut surviving = 1.0;
        let mut curve = Vec::new();
        for (bucket, (started, censored)) in &all {
            if *started > 0 {
                surviving *= 1.0 - f64::from(*started) / at_risk;
                curve.push((middle(*bucket), surviving));
            }
            at_risk -= f64::from(started + censored);
        }
        Some(QUANTILES.map(|(_, p)| quantile(&curve, p).unwrap_or(longest)))
    }
}

fn slot(at: Timestamp) -> i64 {
    at.millis().div_euclid(i64::try_from(SLOT.as_millis()).unwrap_or(i64::MAX))
}

fn add(buckets: &mut Buckets, seconds: f64, started: bool) {
    let (starts, censorings) = buckets.entry(bucket(seconds)).or_default();
    *(if started { starts } else { censorings }) += 1;
}

/// Bucket 0 holds waits shorter than a second; bucket `i` begins at `RATIO^(i-1)` seconds.
fn bucket(seconds: f64) -> u16 {
    if seconds < 1.0 {
        return 0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates; a year is bucket 1736"
    )]
    let index = (seconds.ln() / RATIO.ln()).floor() as u16;
    index.saturating_add(1)
}

/// Geometric middle of a bucket.
fn middle(bucket: u16) -> f64 {
    if bucket == 0 { 0.0 } else { RATIO.powf(f64::from(bucket) - 0.5) }
}

#[cfg(test)]
mod tests;
