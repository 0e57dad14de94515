//! Compares this clock with the server's, by the `Date` header of responses, and computes a correction.
//!
//! `Date` has whole seconds and was written at some time between request and response. Each response therefore gives
//! a lower and an upper bound of the difference, and several responses narrow it. Some responses come from proxies
//! with wrong clocks: the majority of the first responses is trusted until many consecutive ones disagree.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trainspotter_core::model::Timestamp;

/// Truncation of `Date`.
const DATE_MILLIS: i64 = 1_000;

/// Maximum age of measurements: clocks drift.
const MAX_AGE: Duration = Duration::from_secs(600);

/// If the first two responses contradict each other, the median of this many is used.
const MEDIAN_OF: usize = 5;

/// Consecutive responses that agree with each other, and contradict the known difference, needed to replace it.
const MIN_RIVALS: u32 = 24;

/// Maximum contradicting responses kept; the latest ones.
const MAX_CONTRADICTIONS: usize = 64;

/// Minimum span of them to distinguish a clock that runs at another speed from one that was set.
const MIN_RATE_SPAN: Duration = Duration::from_secs(5);

/// Tolerated deviation from a steady speed, as a fraction of the change. A smaller difference from our speed is
/// drift.
const RATE_TOLERANCE: f64 = 0.05;

/// Maximum uncertainty that is allowed for; a larger one is caused by the network.
const MAX_ALLOWANCE_MILLIS: i64 = 10_000;

/// Difference between this machine's clock and the server's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Minimum seconds by which this machine's clock is ahead; negative if it is behind. 0 while no difference is
    /// known.
    pub skew_seconds: f64,
    /// Seconds by which the difference may be larger.
    pub uncertain_seconds: f64,
    /// Seconds by which the service's time is shifted from the machine's to correct it.
    pub correction_seconds: f64,
    /// Speed of the server's clock relative to ours; `None` if they run alike. Otherwise no correction lasts.
    pub speed: Option<f64>,
}

/// Measurements, and the resulting correction.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    correction_millis: AtomicI64,
    measurements: Mutex<Measurements>,
}

#[derive(Debug, Default)]
struct Measurements {
    /// Intersection of the bounds since then.
    known: Option<(Timestamp, Bounds)>,
    /// The first measurements, until a difference is trusted.
    first: Vec<Bounds>,
    /// Intersection of the latest contradicting measurements, and their number.
    rival: Option<(Bounds, u32)>,
    /// Latest consecutive contradicting measurements: time received, and how far the server's clock was ahead.
    contradictions: VecDeque<(Timestamp, i64)>,
    /// Total steps of the time of day at the last response.
    moved_millis: i64,
}

/// Bounds of how many milliseconds the server's clock is ahead of this one, uncorrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    least: i64,
    most: i64,
}

impl Bounds {
    fn with(self, other: Self) -> Option<Self> {
        let both = Self { least: self.least.max(other.least), most: self.most.min(other.most) };
        (both.least <= both.most).then_some(both)
    }

    fn shifted_by(self, millis: i64) -> Self {
        Self { least: self.least.saturating_add(millis), most: self.most.saturating_add(millis) }
    }

    fn middle(self) -> i64 {
        self.least + (self.most - self.least) / 2
    }

    /// The correction: none if the bounds allow it, else the previous one if they allow it.
    fn correction(self, before: i64) -> i64 {
        let may_be = |millis: i64| (self.least..=self.most).contains(&millis);
        [0, before].into_iter().find(|millis| may_be(*millis)).unwrap_or_else(|| self.middle())
    }
}

impl Measurements {
    /// The known bounds after one more measurement; `None` if it changes nothing. `moved` is the step of the time of
    /// day since the last one.
    fn add(&mut self, bounds: Bounds, received: Timestamp, moved: i64) -> Option<(Timestamp, Bounds)> {
        let Some((since, known)) = self.known else { return Some((received, self.first_bounds(bounds, moved)?)) };
        let is_recent = received.since(since).max(since.since(received)) <= MAX_AGE || moved != 0;
        if let Some(both) = known.with(bounds) {
            self.contradictions.clear();
            return Some(if is_recent { (since, both) } else { (received, bounds) });
        }
        if moved == 0 {
            self.contradictions.push_back((received, bounds.middle()));
            if self.contradictions.len() > MAX_CONTRADICTIONS {
                self.contradictions.pop_front();
            }
            return Some((received, self.rival_with(bounds)?));
        }
        // The time of day was set: either this machine was suspended and the difference is unchanged, or it is a new
        // one.
        let shifted = known.shifted_by(-moved).with(bounds);
        if shifted.is_none() {
            *self = Self { first: vec![bounds], moved_millis: self.moved_millis, ..Self::default() };
        }
        Some((received, shifted?))
    }

    /// The bounds from the first measurements: two that agree are enough.
    fn first_bounds(&mut self, bounds: Bounds, moved: i64) -> Option<Bounds> {
        for earlier in &mut self.first {
            *earlier = earlier.shifted_by(-moved);
        }
        if let [only] = self.first.as_slice()
            && let Some(both) = only.with(bounds)
        {
            return Some(both);
        }
        self.first.push(bounds);
        if self.first.len() < MEDIAN_OF {
            return None;
        }
        self.first.sort_by_key(|bounds| bounds.middle());
        let median = *self.first.get(self.first.len() / 2)?;
        Some(self.first.iter().fold(median, |median, bounds| median.with(*bounds).unwrap_or(median)))
    }

    /// The contradicting bounds, once enough consecutive measurements agree on them.
    fn rival_with(&mut self, bounds: Bounds) -> Option<Bounds> {
        let joined = self.rival.and_then(|(rival, count)| Some((rival.with(bounds)?, count + 1)));
        let (rival, count) = joined.unwrap_or((bounds, 1));
        self.rival = Some((rival, count));
        (count >= MIN_RIVALS).then_some(rival)
    }
}

impl Measurements {
    /// Relative speed of the server's clock, if contradicting measurements move away from ours steadily.
    fn speed(&self) -> Option<f64> {
        let (first, last) = (self.contradictions.front()?, self.contradictions.back()?);
        let span = last.0.seconds_since(first.0);
        if self.contradictions.len() < usize::try_from(MIN_RIVALS).ok()? || span < MIN_RATE_SPAN.as_secs_f64() {
            return None;
        }
        let way = seconds(last.1 - first.1);
        let gained = way / span;
        let tolerated = way.abs() * RATE_TOLERANCE + 2.0 * seconds(DATE_MILLIS);
        let is_steady = |(at, ahead): &(Timestamp, i64)| {
            (seconds(ahead - first.1) - at.seconds_since(first.0) * gained).abs() <= tolerated
        };
        let is_other = gained.abs() > RATE_TOLERANCE && way.abs() > tolerated;
        (is_other && self.contradictions.iter().all(is_steady)).then_some(1.0 + gained)
    }
}

impl Reference {
    pub(crate) fn correction_millis(&self) -> i64 {
        self.correction_millis.load(Ordering::Relaxed)
    }

    /// Records a response with this `date`, requested at `sent` and complete at `received` by the uncorrected clock.
    /// `moved_millis` is the total step of the time of day so far.
    pub(crate) fn record(&self, sent: Timestamp, received: Timestamp, date: Timestamp, moved_millis: i64) {
        let bounds =
            Bounds { least: date.millis() - received.millis(), most: date.millis() + DATE_MILLIS - sent.millis() };
        let mut measurements = self.measurements();
        let moved = moved_millis - std::mem::replace(&mut measurements.moved_millis, moved_millis);
        if let Some((since, bounds)) = measurements.add(bounds, received, moved) {
            measurements.known = Some((since, bounds));
            measurements.rival = None;
            measurements.first.clear();
            measurements.contradictions.clear();
            let correction = bounds.correction(self.correction_millis());
            self.correction_millis.store(correction, Ordering::Relaxed);
        }
    }

    /// The current comparison; `None` before the difference is known.
    pub(crate) fn comparison(&self) -> Option<Comparison> {
        let bounds = self.bounds()?;
        let ahead = 0.clamp(bounds.least, bounds.most);
        Some(Comparison {
            skew_seconds: seconds(-ahead),
            uncertain_seconds: seconds((bounds.most - ahead).max(ahead - bounds.least)),
            correction_seconds: seconds(self.correction_millis()),
            speed: self.measurements().speed(),
        })
    }

    /// How far the server's clock may be ahead of the corrected one.
    pub(crate) fn may_be_ahead(&self) -> Duration {
        let ahead = self.bounds().map_or(0, |bounds| bounds.most.saturating_sub(self.correction_millis()));
        Duration::from_millis(ahead.clamp(0, MAX_ALLOWANCE_MILLIS).unsigned_abs())
    }

    fn bounds(&self) -> Option<Bounds> {
        self.measurements().known.map(|(_, bounds)| bounds)
    }

    /// The state stays valid if another thread panics.
    fn measurements(&self) -> MutexGuard<'_, Measurements> {
        self.measurements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records a response of a clock that is ahead by so many seconds, and returns the correction in seconds.
    fn record(reference: &Reference, at: i64, ahead: i64) -> f64 {
        let received = Timestamp::from_millis(1_700_000_000_000 + at * 700);
        let sent = Timestamp::from_millis(received.millis() - 40);
        let date = (received.millis() + ahead * 1_000).div_euclid(1_000) * 1_000;
        reference.record(sent, received, Timestamp::from_millis(date), 0);
        seconds(reference.correction_millis())
    }

    /// The distinct corrections, in hours, in order.
    fn corrections(ahead: impl Fn(i64) -> i64) -> Vec<f64> {
        let reference = Reference::default();
        let mut seen: Vec<f64> = Vec::new();
        for at in 0..3_000 {
            let hours = (record(&reference, at, ahead(at)) / 36.0).round() / 100.0;
            if reference.comparison().is_some() && seen.last() != Some(&hours) {
                seen.push(hours);
            }
        }
        seen
    }

    #[test]
    fn clocks_of_several_proxies_are_no_reason_to_go_to_and_fro() {
        let dice =
            |at: i64| at.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(3_037_000_493).rotate_left(21) & 1 == 0;
        assert_eq!(corrections(|at| if at % 2 == 0 { 7_200 } else { -7_200 }), [2.0]);
        assert_eq!(corrections(|at| [7_200, 0, -7_200][usize::try_from(at % 3).unwrap()]), [0.0], "the median");
        assert_eq!(corrections(|at| if dice(at) { 7_200 } else { -7_200 }).len(), 1);
        assert_eq!(corrections(|at| if at % 24 == 23 { 0 } else { 7_200 }), [2.0]);
    }

    #[test]
    fn many_answers_in_a_row_are_believed_over_the_first() {
        assert_eq!(corrections(|at| if at < 3 { 7_200 } else { 0 }), [2.0, 0.0]);
        let reference = Reference::default();
        (0..10).for_each(|at| _ = record(&reference, at, 0));
        (10..33).for_each(|at| assert_eq!(record(&reference, at, 7_200), 0.0));
        assert!((record(&reference, 33, 7_200) - 7_200.0).abs() < 1.0);
    }

    /// The detected speed of a clock with this speed, after so many responses at intervals of 200 ms.
    fn speed_of(speed: f64, answers: i32) -> Option<f64> {
        let reference = Reference::default();
        for number in 0..answers {
            let passed = f64::from(number) * 0.2;
            let at = |seconds: f64| Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs_f64(seconds);
            let date = Timestamp::from_millis(at(passed * speed).millis().div_euclid(1_000) * 1_000);
            reference.record(at(passed), at(passed + 0.04), date, 0);
        }
        reference.comparison().and_then(|comparison| comparison.speed)
    }

    #[test]
    fn a_clock_that_runs_faster_is_found_and_one_that_was_set_is_not() {
        for speed in [600.0, 60.0, 5.0] {
            let found = speed_of(speed, 200).unwrap();
            assert!((found / speed - 1.0).abs() < 0.05, "{speed}: {found}");
        }
        assert_eq!([speed_of(1.0, 400), speed_of(1.001, 400), speed_of(600.0, 10)], [None; 3]);
        let never = |ahead: fn(i64) -> i64| {
            let reference = Reference::default();
            (0..400).for_each(|at| {
                record(&reference, at, ahead(at));
                assert_eq!(reference.comparison().and_then(|comparison| comparison.speed), None, "{at}");
            });
        };
        never(|at| if at < 3 { 7_200 } else { 0 });
        never(|at| if at % 2 == 0 { 7_200 } else { -7_200 });
        never(|at| [7_200, 0, -7_200][usize::try_from(at % 3).unwrap()]);
    }
}
