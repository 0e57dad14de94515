//! When to try again. PURE.

use std::time::Duration;

use trainspotter_core::model::Timestamp;

/// The first span of the backoff.
const FIRST: Duration = Duration::from_secs(1);

/// The longest span of the backoff.
const MAX_LOOKBACK: Duration = Duration::from_secs(300);

/// How often to try what the receiver says it will never take. Someone may be repairing it.
pub(crate) const PARKED: Duration = Duration::from_secs(600);

/// The longest `Retry-After` that is honoured, so that no receiver can silence us for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

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

/// The span that a `Retry-After` header asks for: seconds, or a date, which is read against the answer's own `Date`
/// so that a receiver's wrong clock does no harm, and against `now` if it has none. At most one hour; `None` if it says
/// neither.
pub(crate) fn retry_after(header: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let asked = match header.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(header)?.since(date.and_then(http_date).unwrap_or(now)),
    };
    Some(asked.min(MAX_RETRY_AFTER))
}

fn http_date(text: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let at = parser.parse_timestamp(text.trim()).ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
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
    fn retry_after_is_read_in_both_forms_and_capped() {
        let now = Timestamp::from_millis(784_111_777_000);
        let check = |header: &str, date: Option<&str>, seconds: Option<u64>| {
            assert_eq!(retry_after(header, date, now), seconds.map(Duration::from_secs), "{header:?} {date:?}");
        };
        check("120", None, Some(120));
        check(" 0 ", None, Some(0));
        check("999999999", None, Some(3_600));
        check("Sun, 06 Nov 1994 08:50:07 GMT", None, Some(30));
        check("Sun, 06 Nov 1994 08:50:07 GMT", Some("Sun, 06 Nov 1994 08:50:00 GMT"), Some(7));
        check("Sun, 06 Nov 1994 08:49:00 GMT", None, Some(0));
        check("Sun, 06 Nov 2094 08:49:00 GMT", None, Some(3_600));
        check("soon", None, None);
        check("-5", None, None);
    }

    #[test]
    fn giving_up_takes_a_day_and_ten_attempts() {
        let day = Duration::from_secs(86_400);
        assert!(is_hopeless(day, 10, day));
        assert!(!is_hopeless(day, 9, day));
        assert!(!is_hopeless(day - Duration::from_millis(1), 1_000, day));
    }
}
