//! Timestamps, in AWS Batch's only resolution: milliseconds since the epoch.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in UTC, in whole milliseconds since the Unix epoch. Displays and serialises as RFC 3339.
///
/// `Option<Timestamp>` has the same size: most times of a job are unknown, and there are millions of them. The price
/// is the earliest representable time, which is stored as the second earliest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

/// The bit that differs between `i64::MIN` and 0: flipping it keeps the order when a signed number becomes unsigned.
const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// From milliseconds since the epoch, as in the Batch API.
    pub const fn from_millis(millis: i64) -> Self {
        match NonZeroU64::new(millis.cast_unsigned() ^ SIGN) {
            Some(kept) => Self(kept),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// From seconds since the epoch, as in the SageMaker and CloudWatch APIs.
    pub fn from_secs_f64(seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates, and no API speaks of the year 292 million"
        )]
        let millis = (seconds * 1000.0).round() as i64;
        Self::from_millis(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// Seconds since the epoch.
    pub fn secs_f64(self) -> f64 {
        self.millis() as f64 / 1000.0
    }

    /// Time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.millis().saturating_sub(earlier.millis())).unwrap_or(0))
    }

    /// Seconds since `earlier`; zero if `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.since(earlier).as_secs_f64()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::from_millis(0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({})", self.millis())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::from_millis(self.millis().saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self::from_millis(self.millis().saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.millis()) {
            Ok(at) => at.fmt(f),
            // Outside the years -9999..=9999, print the number.
            Err(_) => write!(f, "{} ms", self.millis()),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = jiff::Timestamp::deserialize(deserializer)?;
        Ok(Self::from_millis(at.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc_3339() {
        assert_eq!(Timestamp::from_millis(1_700_000_000_250).to_string(), "2023-11-14T22:13:20.25Z");
    }

    #[test]
    fn moments_are_kept_in_order_and_cost_nothing_when_missing() {
        let millis = [i64::MIN + 1, -1, 0, 1, i64::MAX];
        let moments = millis.map(Timestamp::from_millis);
        assert_eq!(moments.map(Timestamp::millis), millis);
        assert!(moments.is_sorted());
        assert_eq!(Timestamp::from_millis(i64::MIN), moments[0]);
        assert_eq!(Timestamp::default().millis(), 0);
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<i64>());
    }

    #[test]
    fn a_difference_is_never_negative() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
        assert_eq!(late.since(early), Duration::from_millis(2_500));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
