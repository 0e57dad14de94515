//! This clock beside that of whoever answers: measured by the `Date` header of answers, and corrected for.
//!
//! `Date` has whole seconds and was written at some time between question and answer. Each answer therefore says between which
//! two numbers the difference lies; several of them together say it more exactly. Some come from proxies with clocks of their own: what
//! most of the first answers say is believed until many in a row say something else.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trainspotter_core::model::Timestamp;

/// `Date` leaves out what is less than a second.
const DATE_MILLIS: i64 = 1_000;

/// Answers older than this say nothing of now: clocks drift.
const MAX_AGE: Duration = Duration::from_secs(600);

/// When the first two answers contradict each other, the median of so many is believed.
const MEDIAN_OF: usize = 5;

/// As many answers in a row have to agree with each other, and not with what is known, to be believed instead.
const MIN_RIVALS: u32 = 24;

/// Answers in a row that contradict what is known, of which the latest are kept.
const MAX_CONTRADICTIONS: usize = 64;

/// So long, at least, must they span to tell a clock that runs at another speed from one that is set.
const MIN_RATE_SPAN: Duration = Duration::from_secs(5);

/// Part of the way by which answers may lie beside a steady speed; one that differs less than this from ours is drift.
const RATE_TOLERANCE: f64 = 0.05;

/// The most that a measurement may be uncertain by and still be allowed for: beyond it the network is to blame.
const MAX_ALLOWANCE_MILLIS: i64 = 10_000;

/// How this machine's clock differs from the one that it was compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// By how many seconds this machine's clock is ahead, at least; negative if it is behind. 0 while no difference is known.
    pub skew_seconds: f64,
    /// By how many seconds that may be more.
    pub uncertain_seconds: f64,
    /// By how many seconds the service's time is moved away from the machine's to make up for it.
    pub correction_seconds: f64,
    /// How many times as fast the other clock runs; `None` while both run alike. Then no correction holds.
    pub speed: Option<f64>,
}

/// What was measured, and what is added to a clock because of it.
#[derive(Debug, Default)]
pub(crate) struct Reference {
    correction_millis: AtomicI64,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// What the answers since then have in common.
    known: Option<(Timestamp, Bounds)>,
    /// The first answers, until some are believed.
    first: Vec<Bounds>,
    /// What the latest answers have in common that contradict what is known, and how many they are.
    rival: Option<(Bounds, u32)>,
    /// The latest answers that contradict what is known, one after another: when each came, and how far the other clock was ahead.
    contradictions: VecDeque<(Timestamp, i64)>,
    /// By how much the time of day had been set when the last answer came.
    moved_millis: i64,
}

/// By how many milliseconds the other clock is ahead of this one, uncorrected: no less and no more.
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

    fn later_by(self, millis: i64) -> Self {
        Self { least: self.least.saturating_add(millis), most: self.most.saturating_add(millis) }
    }

    fn middle(self) -> i64 {
        self.least + (self.most - self.least) / 2
    }

    /// What to add: nothing if that may be right, else what was added before if that may be right.
    fn correction(self, before: i64) -> i64 {
        let may_be = |millis: i64| (self.least..=self.most).contains(&millis);
        [0, before].into_iter().find(|millis| may_be(*millis)).unwrap_or_else(|| self.middle())
    }
}

impl Heard {
    /// What is known with one more answer; `None` if it changes nothing. By then the time of day had been set by `moved` since the last.
    fn take_in(&mut self, bounds: Bounds, received: Timestamp, moved: i64) -> Option<(Timestamp, Bounds)> {
        let Some((since, known)) = self.known else { return Some((received, self.settle(bounds, moved)?)) };
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
        // The time of day was set: either this machine was suspended and the difference is as before, or it is another one now.
        let shifted = known.later_by(-moved).with(bounds);
        if shifted.is_none() {
            *self = Self { first: vec![bounds], moved_millis: self.moved_millis, ..Self::default() };
        }
        Some((received, shifted?))
    }

    /// What the first answers come to: two that agree are enough.
    fn settle(&mut self, bounds: Bounds, moved: i64) -> Option<Bounds> {
        for earlier in &mut self.first {
            *earlier = earlier.later_by(-moved);
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

    /// What answers say that contradict what is known, once they are many in a row.
    fn rival_with(&mut self, bounds: Bounds) -> Option<Bounds> {
        let joined = self.rival.and_then(|(rival, count)| Some((rival.with(bounds)?, count + 1)));
        let (rival, count) = joined.unwrap_or((bounds, 1));
        self.rival = Some((rival, count));
        (count >= MIN_RIVALS).then_some(rival)
    }
}

impl Heard {
    /// How many times as fast the other clock runs, if answers that contradict what is known go away from it steadily.
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

    /// Takes in that an answer, asked for at `sent` and complete at `received` by the uncorrected clock, says `date`. By then the time
    /// of day had been set by `moved_millis` in all.
    pub(crate) fn hear(&self, sent: Timestamp, received: Timestamp, date: Timestamp, moved_millis: i64) {
        let bounds =
            Bounds { least: date.millis() - received.millis(), most: date.millis() + DATE_MILLIS - sent.millis() };
        let mut heard = self.heard();
        let moved = moved_millis - std::mem::replace(&mut heard.moved_millis, moved_millis);
        if let Some((since, bounds)) = heard.take_in(bounds, received, moved) {
            heard.known = Some((since, bounds));
            heard.rival = None;
            heard.first.clear();
            heard.contradictions.clear();
            let correction = bounds.correction(self.correction_millis());
            self.correction_millis.store(correction, Ordering::Relaxed);
        }
    }

    /// `None` before there were answers.
    pub(crate) fn comparison(&self) -> Option<Comparison> {
        let bounds = self.bounds()?;
        let ahead = 0.clamp(bounds.least, bounds.most);
        Some(Comparison {
            skew_seconds: seconds(-ahead),
            uncertain_seconds: seconds((bounds.most - ahead).max(ahead - bounds.least)),
            correction_seconds: seconds(self.correction_millis()),
            speed: self.heard().speed(),
        })
    }

    /// By how much the other clock may be ahead of the corrected one.
    pub(crate) fn may_be_ahead(&self) -> Duration {
        let ahead = self.bounds().map_or(0, |bounds| bounds.most.saturating_sub(self.correction_millis()));
        Duration::from_millis(ahead.clamp(0, MAX_ALLOWANCE_MILLIS).unsigned_abs())
    }

    fn bounds(&self) -> Option<Bounds> {
        self.heard().known.map(|(_, bounds)| bounds)
    }

    /// Whole after any panic.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes in an answer of a clock that is ahead by so many seconds, and returns the correction in seconds.
    fn hear(reference: &Reference, at: i64, ahead: i64) -> f64 {
        let received = Timestamp::from_millis(1_700_000_000_000 + at * 700);
        let sent = Timestamp::from_millis(received.millis() - 40);
        let date = (received.millis() + ahead * 1_000).div_euclid(1_000) * 1_000;
        reference.hear(sent, received, Timestamp::from_millis(date), 0);
        seconds(reference.correction_millis())
    }

    /// The different corrections, in hours, in the order in which they came.
    fn corrections(ahead: impl Fn(i64) -> i64) -> Vec<f64> {
        let reference = Reference::default();
        let mut seen: Vec<f64> = Vec::new();
        for at in 0..3_000 {
            let hours = (hear(&reference, at, ahead(at)) / 36.0).round() / 100.0;
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
        (0..10).for_each(|at| _ = hear(&reference, at, 0));
        (10..33).for_each(|at| assert_eq!(hear(&reference, at, 7_200), 0.0));
        assert!((hear(&reference, 33, 7_200) - 7_200.0).abs() < 1.0);
    }

    /// How fast another clock is found to run that runs so many times as fast, after so many answers, one each 200 ms.
    fn speed_of(speed: f64, answers: i32) -> Option<f64> {
        let reference = Reference::default();
        for number in 0..answers {
            let passed = f64::from(number) * 0.2;
            let at = |seconds: f64| Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs_f64(seconds);
            let date = Timestamp::from_millis(at(passed * speed).millis().div_euclid(1_000) * 1_000);
            reference.hear(at(passed), at(passed + 0.04), date, 0);
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
                hear(&reference, at, ahead(at));
                assert_eq!(reference.comparison().and_then(|comparison| comparison.speed), None, "{at}");
            });
        };
        never(|at| if at < 3 { 7_200 } else { 0 });
        never(|at| if at % 2 == 0 { 7_200 } else { -7_200 });
        never(|at| [7_200, 0, -7_200][usize::try_from(at % 3).unwrap()]);
    }
}
