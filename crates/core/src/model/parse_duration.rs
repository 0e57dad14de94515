//! Durations in config syntax: `30m`, `1h 30m`, `7d`.

use std::time::Duration;

/// Maximum duration: ten years. A longer one is a typo, and arithmetic on times stays in range.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(3_653 * 86_400);

/// Parses a duration. Rejects `M`, which humantime reads as months and users mean as minutes.
///
/// # Errors
///
/// What is wrong, and the correct form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if has_months(text) {
        let minutes = text.replace('M', "m");
        return Err(format!("`M` means months; write `{minutes}` for minutes, or days such as 30d"));
    }
    let unknown = |_| format!("`{text}` is not a duration; write it like 30s, 15m or 1h 30m");
    let duration = humantime::parse_duration(text).map_err(unknown)?;
    if duration > MAX_DURATION {
        return Err(format!("`{text}` is longer than ten years"));
    }
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(format!("`{text}` is finer than a millisecond, the smallest unit"));
    }
    Ok(duration)
}

/// Whether a unit is a single `M`.
fn has_months(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphabetic();
    text.split(|letter| !is_letter(letter)).any(|unit| unit == "M")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_mean_them() {
        for (text, seconds) in [
            ("30s", Some(30.0)),
            ("15m", Some(900.0)),
            ("1h 30m", Some(5_400.0)),
            ("1h30m", Some(5_400.0)),
            ("7d", Some(604_800.0)),
            ("0s", Some(0.0)),
            ("500ms", Some(0.5)),
            ("1 month", Some(2_630_016.0)),
            ("30M", None),
            ("1h 30M", None),
            ("1h30M", None),
            ("30 M", None),
            ("30", None),
            ("", None),
            ("-5m", None),
            ("soon", None),
            ("5ns", None),
            ("1us", None),
            ("100y", None),
            ("99999999999999999999d", None),
        ] {
            let found = parse_duration(text).ok().map(|duration| duration.as_secs_f64());
            assert_eq!(found, seconds, "{text}");
        }
        assert!(parse_duration("30M").unwrap_err().contains("write `30m` for minutes"));
    }
}
