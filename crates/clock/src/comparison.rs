//! This clock beside that of whoever answers: measured by the `Date` header of answers, and corrected for.
//!
//! `Date` has whole seconds and was written at some time between question and answer. Each answer therefore says between which
//! two numbers the difference lies; several of them together say it more exactly.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use trainspotter_core::model::Timestamp;

/// `Date` leaves out what is less than a second.
const DATE_MILLIS: i64 = 1_000;

/// Answers older than this say nothing of now: clocks drift.
const MAX_AGE: Duration = Duration::from_secs(600);

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
    /// An answer that contradicts them, or the first one. A single answer changes nothing: it may be a proxy's.
    doubted: Option<Bounds>,
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

    /// What to add: nothing if that may be right, else what was added before if that may be right.
    fn correction(self, before: i64) -> i64 {
        let may_be = |millis: i64| (self.least..=self.most).contains(&millis);
        let middle = self.least + (self.most - self.least) / 2;
        [0, before].into_iter().find(|millis| may_be(*millis)).unwrap_or(middle)
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
        let recent = heard.known.filter(|(since, _)| received.since(*since).max(since.since(received)) <= MAX_AGE);
        let recent = recent.or(heard.known.filter(|_| moved != 0));
        // If the time of day was set, either this machine was suspended and the difference is as before, or it is another one now.
        let known = recent.and_then(|(since, known)| {
            let after_step = || Some((received, known.later_by(-moved).with(bounds)?)).filter(|_| moved != 0);
            known.with(bounds).map(|both| (since, both)).or_else(after_step)
        });
        let agreed = || heard.doubted.and_then(|doubted| Some((received, doubted.with(bounds)?)));
        match known.or_else(agreed) {
            Some((since, bounds)) => {
                heard.known = Some((since, bounds));
                heard.doubted = None;
                let correction = bounds.correction(self.correction_millis());
                self.correction_millis.store(correction, Ordering::Relaxed);
            }
            None => heard.doubted = Some(bounds),
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
