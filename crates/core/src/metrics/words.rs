//! Numbers in words.

use std::time::Duration;

/// `1 job`, `2 jobs`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// An amount with its unit, whole or with one decimal: `1 GPU`, `1.5 GPUs`.
pub fn amount(amount: f64, unit: &str) -> String {
    let text = trimmed(amount);
    let plural = if text == "1" { "" } else { "s" };
    format!("{text} {unit}{plural}")
}

/// With one decimal, if that is not 0.
pub fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Seconds as people say them, to the minute once it is one.
pub fn spoken(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    match (whole / 3600, whole % 3600 / 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, _) => format!("{minutes} m"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
        assert_eq!([1.0, 1.04, 1.5, 16.0].map(|gpus| amount(gpus, "GPU")), ["1 GPU", "1 GPU", "1.5 GPUs", "16 GPUs"]);
    }
}
