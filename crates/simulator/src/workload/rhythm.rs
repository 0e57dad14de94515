//! Rhythms of submissions.

use std::f64::consts::TAU;

use schemars::JsonSchema;
use serde::Deserialize;

use trainspotter_core::model::Timestamp;

/// Period of a stream's rhythm, in seconds.
const RHYTHM: f64 = 5.0 * 3600.0;
/// The mean of (1 + cos x)² / 4.
const MEAN_SWELL: f64 = 0.375;

/// A rhythm of submissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rhythm {
    /// A peak about every five hours, at a different time for each team: visible in a demo of a few minutes.
    #[default]
    Quick,
    /// By hour of the day and day of the week, UTC: most in the early afternoon, little at night and on weekends.
    Calendar,
}

impl Rhythm {
    /// From 0 at the trough to 1 at the peak, `second` after the start and at the calendar time `at`. `crest` is the
    /// phase of the peak in the quick rhythm, 0 to 1. Squared, so that quiet times last longer.
    pub(super) fn swell(self, second: f64, at: Timestamp, crest: f64) -> f64 {
        match self {
            Self::Quick => (0.5 + 0.5 * (TAU * (second / RHYTHM - crest)).cos()).powi(2),
            Self::Calendar => of_calendar(at),
        }
    }

    /// Mean of [`Rhythm::swell`].
    pub(super) fn mean_swell(self) -> f64 {
        match self {
            Self::Quick => MEAN_SWELL,
            Self::Calendar => {
                let hours = (0..7 * 24).map(|hour| of_calendar(Timestamp::from_millis(hour * HOUR_MILLIS)));
                hours.sum::<f64>() / (7.0 * 24.0)
            }
        }
    }
}

pub(super) const HOUR_MILLIS: i64 = 3_600_000;

/// A bell curve around 14:00 above a floor for automated jobs; a third of it on weekends.
fn of_calendar(at: Timestamp) -> f64 {
    const FLOOR: f64 = 0.15;
    const PEAK: f64 = 14.0;
    const WIDTH: f64 = 4.5;
    let hours = at.seconds_since(Timestamp::from_millis(0)) / 3_600.0;
    let from_peak = (hours.rem_euclid(24.0) - PEAK + 12.0).rem_euclid(24.0) - 12.0;
    let by_hour = FLOOR + (1.0 - FLOOR) * (-(from_peak / WIDTH).powi(2)).exp();
    // 1 January 1970 was a Thursday: days 2 and 3 of each week from then on are the weekend.
    let weekend = (2.0..4.0).contains(&(hours / 24.0).rem_euclid(7.0));
    if weekend { by_hour / 3.0 } else { by_hour }
}
