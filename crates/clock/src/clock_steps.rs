//! Steps of the time of day: NTP sets it, and a suspended machine wakes up hours later.
//!
//! The monotonic clock sees neither. What it missed is the change in its difference from the time of day.

use std::time::{Duration, Instant, SystemTime};

/// Smaller differences are ignored, so that virtual time is exact: two clocks cannot be read at the same instant.
const STEP_MILLIS: i64 = 100;

/// Two readings further apart than this are discarded.
const MAX_BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// Maximum tries, on a machine that is too busy to read both clocks together.
const MAX_READINGS: usize = 5;

/// By what the time of day has moved apart from the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClockSteps {
    /// By the difference since the first common reading of both clocks.
    Read { time_of_day: fn() -> SystemTime, began: Reading },
    /// By the milliseconds that this returns, in a simulation.
    Simulated(fn() -> i64),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    of_day: SystemTime,
    monotonic: Instant,
}

impl ClockSteps {
    pub(crate) fn from_now(time_of_day: fn() -> SystemTime) -> Self {
        Self::Read { time_of_day, began: read(time_of_day) }
    }

    /// Milliseconds by which the time of day was set forward, in whole steps; negative if it was set back.
    pub(crate) fn moved_millis(&self) -> i64 {
        let (now, began) = match self {
            Self::Read { time_of_day, began } => (read(*time_of_day), began),
            Self::Simulated(moved_millis) => return moved_millis(),
        };
        let passed = millis(now.monotonic.saturating_duration_since(began.monotonic));
        let of_day = match now.of_day.duration_since(began.of_day) {
            Ok(later) => millis(later),
            Err(earlier) => -millis(earlier.duration()),
        };
        (of_day - passed) / STEP_MILLIS * STEP_MILLIS
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that compares the time of day with the monotonic clock"
)]
fn read(time_of_day: fn() -> SystemTime) -> Reading {
    let mut monotonic = Instant::now();
    let mut of_day = time_of_day();
    for _ in 1..MAX_READINGS {
        if monotonic.elapsed() <= MAX_BETWEEN_READINGS {
            break;
        }
        monotonic = Instant::now();
        of_day = time_of_day();
    }
    Reading { of_day, monotonic }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
