//! Parses `Retry-After` headers. Pure.

use std::time::Duration;

use trainspotter_core::model::Timestamp;

/// Maximum pause, so that no receiver can block us for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The pause requested by a `Retry-After` header: seconds or a date. A date is relative to the response's own
/// `Date`, so that a wrong clock of the receiver does not matter, or to `now` without one. At most one hour; `None`
/// if invalid.
pub fn retry_after(header: &str, date: Option<&str>, now: Timestamp) -> Option<Duration> {
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
}
