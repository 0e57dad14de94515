//! When to try again. PURE.

use std::time::Duration;

/// The first span of the backoff.
const FIRST: Duration = Duration::from_secs(1);

/// The longest span of the backoff.
const MAX_LOOKBACK: Duration = Duration::from_secs(300);

/// How often to try what the receiver says it will never take. Someone may be repairing it.
pub(crate) const PARKED: Duration = Duration::from_secs(600);

/// A notification is given up only if it was also tried this often: time in which this service was down does not count against the receiver.
const GIVE_UP_ATTEMPTS: u32 = 10;

/// Exponential backoff with full jitter: up to 1 s after the first failure, up to twice that after each further one, at
/// most 5 min. `fraction` in `0..1` is the jitter.
pub(crate) fn backoff(failures: u32, fraction: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST * 2_u32.pow(doublings)).min(MAX_LOOKBACK).mul_f64(fraction)
}

/// Whether a notification has been tried for long enough.
pub(crate) fn is_hopeless(tried_for: Duration, attempts: u32, give_up_after: Duration) -> bool {
    tried_for >= give_up_after && attempts >= GIVE_UP_ATTEMPTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_one_second_to_five_minutes() {
        let longest: Vec<u64> = (1..=10).map(|failures| backoff(failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff(u32::MAX, 1.0), MAX_LOOKBACK);
        assert_eq!(backoff(5, 0.0), Duration::ZERO);
        assert_eq!(backoff(5, 0.5), Duration::from_secs(8));
    }

    #[test]
    fn giving_up_takes_a_day_and_ten_attempts() {
        let day = Duration::from_secs(86_400);
        assert!(is_hopeless(day, 10, day));
        assert!(!is_hopeless(day, 9, day));
        assert!(!is_hopeless(day - Duration::from_millis(1), 1_000, day));
    }
}
