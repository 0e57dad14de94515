//! The one clock. Everything that waits or stamps takes time from here, the AWS SDKs too.
//!
//! A clock may run faster than the wall: the demo lives at 600 times real time. It is built on tokio's clock, so that a
//! paused runtime pauses it too. Two clones of a clock always agree.
//!
//! Durations come in two kinds. Most are in *clock* time (a poll every 30 s). What guards against the real world, such
//! as a connect timeout, is in *wall* time and goes through [`Clock::of_wall`].

use std::time::{Duration, SystemTime};

use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_async::time::TimeSource;
use tokio::time::Instant;

use trainspotter_core::model::Timestamp;

/// A source of time and of waiting. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at: Timestamp,
    speed: f64,
}

impl Clock {
    /// The time of day, at the speed of the wall.
    pub fn real() -> Self {
        Self::fast(1.0)
    }

    /// Starts at the time of day and runs `speed` times as fast as the wall. `speed` must be positive and finite.
    pub fn fast(speed: f64) -> Self {
        Self::starting_at(time_of_day(), speed)
    }

    /// Starts at a chosen moment: reproducible runs.
    pub fn starting_at(began_at: Timestamp, speed: f64) -> Self {
        debug_assert!(speed.is_finite() && speed > 0.0, "speed {speed}");
        Self { began: Instant::now(), began_at, speed }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.began_at + self.began.elapsed().mul_f64(self.speed)
    }

    /// Clock seconds per wall second.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Waits for a span of clock time.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span.div_f64(self.speed)).await;
    }

    /// Waits until the clock shows `at`; not at all if it already does.
    pub async fn sleep_until(&self, at: Timestamp) {
        self.sleep(at.since(self.now())).await;
    }

    /// The span of clock time in which `wall` time passes.
    pub fn of_wall(&self, wall: Duration) -> Duration {
        wall.mul_f64(self.speed)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time of day")]
fn time_of_day() -> Timestamp {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(0) + since_epoch
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Clock::now(self).since(Timestamp::from_millis(0))
    }
}

impl AsyncSleep for Clock {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = *self;
        Sleep::new(async move { clock.sleep(duration).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_covers_more_time_in_the_same_wall_time() {
        let clock = Clock::starting_at(Timestamp::from_millis(0), 600.0);
        clock.sleep(Duration::from_secs(3600)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(3_600_000));
        assert_eq!(clock.began.elapsed(), Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_past_takes_no_time() {
        let clock = Clock::starting_at(Timestamp::from_millis(5_000), 1.0);
        clock.sleep_until(Timestamp::from_millis(1_000)).await;
        assert_eq!(clock.now(), Timestamp::from_millis(5_000));
    }
}
