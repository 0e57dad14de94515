//! The only clock: every wait and timestamp uses it, including those of the AWS SDKs.
//!
//! A clock may run faster than real time: the demo runs at 600 times real time. It is built on tokio's clock, so that
//! a paused runtime pauses it too. Clones of a clock always agree.
//!
//! A real clock follows the time of day: when NTP sets it, or a suspended machine wakes up, the clock is set too.
//! Waits are not affected if they wait for a duration from a [`Mark`]: marks know how much time has passed, whatever
//! the clock shows.
//!
//! A clock that is [compared](Clock::compared) with AWS's, by the dates of AWS's responses, shows AWS's time. Times
//! in responses, request signatures and the service's own timestamps then agree, even on a machine whose clock is
//! wrong.
//!
//! Durations come in two kinds. Most are in *clock* time (a poll every 30 s). Those that guard against the real
//! world, such as a connect timeout, are in *wall* time and go through [`Clock::of_wall`].

mod clock_steps;
mod comparison;

use std::time::{Duration, SystemTime};

use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_async::time::TimeSource;
use tokio::time::Instant;

use trainspotter_core::model::Timestamp;

use clock_steps::ClockSteps;
pub use comparison::Comparison;
use comparison::Reference;

/// A source of time and waits. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at: Timestamp,
    speed: f64,
    /// The time of day, if the clock follows it.
    steps: Option<ClockSteps>,
    /// The clock it is compared with, if any.
    reference: Option<&'static Reference>,
}

/// A point in time that is not affected when the clock is set.
#[derive(Clone, Copy, Debug)]
pub struct Mark(Instant);

impl Clock {
    /// The time of day, at real speed.
    pub fn real() -> Self {
        Self::following(time_of_day)
    }

    fn following(time_of_day: fn() -> SystemTime) -> Self {
        Self { steps: Some(ClockSteps::from_now(time_of_day)), ..Self::starting_at(timestamp(time_of_day()), 1.0) }
    }

    /// Returns this clock, set forward by the milliseconds that `moved_millis` returns at any moment: the time of day of a simulated
    /// machine.
    #[must_use]
    pub fn set_by(self, moved_millis: fn() -> i64) -> Self {
        Self { steps: Some(ClockSteps::Simulated(moved_millis)), ..self }
    }

    /// Whether this is a copy of `other`, compared with a server's clock or not.
    pub fn is_copy_of(&self, other: &Self) -> bool {
        (self.began, self.began_at) == (other.began, other.began_at)
    }

    /// Starts at the time of day and runs `speed` times as fast as real time. `speed` must be positive and finite.
    pub fn fast(speed: f64) -> Self {
        Self::starting_at(timestamp(time_of_day()), speed)
    }

    /// Starts at a given time, for reproducible runs.
    pub fn starting_at(began_at: Timestamp, speed: f64) -> Self {
        debug_assert!(speed.is_finite() && speed > 0.0, "speed {speed}");
        Self { began: Instant::now(), began_at, speed, steps: None, reference: None }
    }

    /// Returns this clock, to be compared with a server's clock from now on: see [`Clock::record_date`]. It and its copies
    /// are corrected together; the original is not. The measurements are leaked so that clocks can be copied: call it
    /// once per service.
    #[must_use]
    pub fn compared(self) -> Self {
        Self { reference: Some(Box::leak(Box::default())), ..self }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        let correction = self.reference.map_or(0, Reference::correction_millis);
        Timestamp::from_millis(self.uncorrected().millis().saturating_add(correction))
    }

    fn uncorrected(&self) -> Timestamp {
        let at = self.began_at + self.began.elapsed().mul_f64(self.speed);
        Timestamp::from_millis(at.millis().saturating_add(self.moved_millis()))
    }

    fn moved_millis(&self) -> i64 {
        self.steps.map_or(0, |steps| steps.moved_millis())
    }

    /// The current point in time.
    pub fn mark(&self) -> Mark {
        Mark(Instant::now())
    }

    /// Clock time since a mark, whether or not the clock was set meanwhile.
    pub fn since(&self, mark: Mark) -> Duration {
        mark.0.elapsed().mul_f64(self.speed)
    }

    /// The time of a mark, as the clock is set now.
    pub fn at(&self, mark: Mark) -> Timestamp {
        self.now() - self.since(mark)
    }

    /// Records a response with this `date`, requested at `sent` and just received. Does nothing unless the clock is
    /// [compared](Clock::compared).
    pub fn record_date(&self, sent: Mark, date: Timestamp) {
        if let Some(reference) = self.reference {
            let received = self.uncorrected();
            reference.record(received - self.since(sent), received, date, self.moved_millis());
        }
    }

    /// The difference from the compared clock; `None` if unknown.
    pub fn comparison(&self) -> Option<Comparison> {
        self.reference?.comparison()
    }

    /// An upper bound of the current time by any clock: the server's may be slightly ahead.
    pub fn now_at_the_latest(&self) -> Timestamp {
        self.now() + self.reference.map_or(Duration::ZERO, Reference::may_be_ahead)
    }

    /// Time of a request, and an upper bound of the time of its response: its content was true between these two.
    pub fn answered(&self, asked: Mark) -> (Timestamp, Timestamp) {
        (self.at(asked), self.now_at_the_latest())
    }

    /// Clock seconds per wall second.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Waits for a duration in clock time.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(span.div_f64(self.speed)).await;
    }

    /// Waits until the clock shows `at`; returns at once if it already does.
    pub async fn sleep_until(&self, at: Timestamp) {
        self.sleep(at.since(self.now())).await;
    }

    /// Waits until `span` has passed since a mark.
    pub async fn sleep_from(&self, mark: Mark, span: Duration) {
        self.sleep(span.saturating_sub(self.since(mark))).await;
    }

    /// The clock time that passes in `wall` time.
    pub fn of_wall(&self, wall: Duration) -> Duration {
        wall.mul_f64(self.speed)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the time of day")]
fn time_of_day() -> SystemTime {
    SystemTime::now()
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::from_millis(0) + at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
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

    /// Simulated steps of the time of day, in milliseconds.
    static SET: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

    fn settable() -> SystemTime {
        let set = SET.load(std::sync::atomic::Ordering::Relaxed);
        time_of_day() + Duration::from_millis((10_000_000 + set).unsigned_abs()) - Duration::from_secs(10_000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_real_clock_follows_when_the_time_of_day_is_set_and_marks_stay() {
        let clock = Clock::following(settable);
        let (began, mark) = (clock.now(), clock.mark());
        let shows = |clock: &Clock| clock.now().millis() - began.millis();
        for set in [0, 3_600_000, -3_600_000, 20_000, 0] {
            SET.store(set, std::sync::atomic::Ordering::Relaxed);
            let shown = shows(&clock);
            assert!((shown - set).abs() <= 100, "set by {set} ms it shows {shown}");
            assert_eq!(clock.since(mark), Duration::ZERO);
            assert!((clock.at(mark).millis() - began.millis() - set).abs() <= 100);
        }
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!((shows(&clock), clock.since(mark)), (60_000, Duration::from_secs(60)));
    }

    /// A clock compared with one that is ahead by `ahead` milliseconds, after `answers` responses that took 40 ms
    /// each.
    async fn compared(began: i64, ahead: i64, answers: usize) -> Clock {
        let clock = Clock::starting_at(Timestamp::from_millis(began), 1.0).compared();
        record_date(&clock, ahead, answers).await;
        clock
    }

    async fn record_date(clock: &Clock, ahead: i64, answers: usize) {
        for _ in 0..answers {
            clock.sleep(Duration::from_millis(370)).await;
            let sent = clock.mark();
            clock.sleep(Duration::from_millis(20)).await;
            let date = (clock.uncorrected().millis() + ahead).div_euclid(1_000) * 1_000;
            clock.sleep(Duration::from_millis(20)).await;
            clock.record_date(sent, Timestamp::from_millis(date));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dates_of_responses_show_the_skew_and_the_clock_is_corrected() {
        for ahead in [-86_400_000, -20_000, -3_000, 3_000, 20_000, 3_600_000_i64] {
            let clock = compared(1_700_000_000_123, ahead, 20).await;
            let shown = clock.now().millis() - clock.uncorrected().millis();
            assert!((shown - ahead).abs() < 600, "{ahead}: corrected by {shown}");
            let comparison = clock.comparison().unwrap();
            let off = (comparison.skew_seconds * 1_000.0 + ahead as f64).abs();
            assert!(off < 600.0 && comparison.uncertain_seconds < 0.6, "{ahead}: {comparison:?}");
            assert!(clock.now_at_the_latest().millis() >= clock.uncorrected().millis() + ahead);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clocks_that_agree_are_left_alone_and_one_strange_answer_changes_nothing() {
        let clock = compared(1_700_000_000_999, 0, 20).await;
        let agrees =
            |clock: &Clock| clock.now() == clock.uncorrected() && clock.comparison().unwrap().skew_seconds == 0.0;
        assert!(agrees(&clock));
        record_date(&clock, 86_400_000, 1).await;
        record_date(&clock, 0, 1).await;
        assert!(agrees(&clock));
        record_date(&clock, 7_200_000, 2).await;
        assert!(agrees(&clock), "two neither");
        // Many in a row: this machine's clock was set back.
        record_date(&clock, 7_200_000, 30).await;
        assert!((clock.comparison().unwrap().skew_seconds + 7_200.0).abs() < 2.0);
        record_date(&clock, 0, 30).await;
        assert!(agrees(&clock));
    }

    #[tokio::test(start_paused = true)]
    async fn one_response_shows_whether_the_machine_was_suspended_or_its_clock_was_set_wrong() {
        static MOVED: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
        fn moved() -> SystemTime {
            let moved = MOVED.load(std::sync::atomic::Ordering::Relaxed);
            time_of_day() + Duration::from_millis(moved.unsigned_abs())
        }
        let clock = Clock::following(moved).compared();
        record_date(&clock, 0, 3).await;
        // Time passed while it was suspended.
        MOVED.store(28_800_000, std::sync::atomic::Ordering::Relaxed);
        record_date(&clock, 0, 1).await;
        assert_eq!(clock.now(), clock.uncorrected());
        // A sudden step of a day, which no other response confirms.
        let (before, began) = (clock.now(), time_of_day());
        MOVED.store(28_800_000 + 86_400_000, std::sync::atomic::Ordering::Relaxed);
        assert!(clock.now() > before + Duration::from_secs(80_000));
        record_date(&clock, -86_400_000, 1).await;
        let passed = time_of_day().duration_since(began).unwrap() + Duration::from_secs(2);
        assert!(clock.now().since(before) < passed, "{before} {}", clock.now());
        assert!(before.since(clock.now()) < Duration::from_secs(2), "{before} {}", clock.now());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_known_before_two_answers_and_nothing_at_all_of_a_clock_that_is_not_compared() {
        assert_eq!(compared(0, 5_000, 1).await.comparison(), None);
        let plain = Clock::starting_at(Timestamp::from_millis(0), 1.0);
        record_date(&plain, 5_000, 5).await;
        assert_eq!((plain.comparison(), plain.now()), (None, plain.uncorrected()));
    }
}
