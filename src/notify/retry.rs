//! Retry timing. PURE.

use std::time::Duration;

/// Initial backoff.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);

/// Maximum backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Retry interval of a parked receiver or message. Someone may be repairing it.
pub(crate) const PARKED: Duration = Duration::from_secs(600);

/// Minimum attempts before giving up: time in which this service was down does not count against the receiver.
const GIVE_UP_ATTEMPTS: u32 = 10;

/// Exponential backoff with full jitter: up to 1 s after the first failure, doubling with each further one up to 5
/// min. `fraction` in `0..1` is the jitter.
pub(crate) fn backoff(failures: u32, fraction: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (INITIAL_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF).mul_f64(fraction)
}

/// Whether to give up a notification.
pub(crate) fn should_give_up(tried_for: Duration, attempts: u32, give_up_after: Duration) -> bool {
    tried_for >= give_up_after && attempts >= GIVE_UP_ATTEMPTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_from_one_second_to_five_minutes() {
        let longest: Vec<u64> = (1..=10).map(|failures| backoff(failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff(u32::MAX, 1.0), MAX_BACKOFF);
        assert_eq!(backoff(5, 0.0), Duration::ZERO);
        assert_eq!(backoff(5, 0.5), Duration::from_secs(8));
    }

    #[test]
    fn giving_up_takes_a_day_and_ten_attempts() {
        let day = Duration::from_secs(86_400);
        assert!(should_give_up(day, 10, day));
        assert!(!should_give_up(day, 9, day));
        assert!(!should_give_up(day - Duration::from_millis(1), 1_000, day));
    }
}
