//! Formats numbers and durations: `1 job`, `1.5 GPUs`, `1h 5m`.

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

/// With one decimal, unless it is 0. Zero has no sign.
pub fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = if text == "-0.0" { "0" } else { text.strip_suffix(".0").unwrap_or(&text) };
    text.to_owned()
}

/// Seconds in their two largest units, rounded down: `1h 5m`, `2d`, `45s`.
pub fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default().as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| whole >= *length).unwrap_or(units.len() - 1);
    let mut rest = whole;
    let mut parts = Vec::new();
    for (name, length) in units.iter().skip(first).take(2) {
        if rest >= *length || parts.is_empty() {
            parts.push(format!("{}{name}", rest / length));
        }
        rest %= length;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
        assert_eq!([1.0, 1.04, 1.5, 16.0].map(|gpus| amount(gpus, "GPU")), ["1 GPU", "1 GPU", "1.5 GPUs", "16 GPUs"]);
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!([0.0, -0.0, -0.04, -2.8e-16, -0.26].map(trimmed), ["0", "0", "0", "0", "-0.3"]);
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let seconds = [f64::NAN, -1.0, 0.0, 45.9, 60.0, 61.0, 3_600.0, 3_605.0, 3_900.0, 86_400.0, 86_460.0, 97_300.0];
        let shown = ["0s", "0s", "0s", "45s", "1m", "1m 1s", "1h", "1h", "1h 5m", "1d", "1d", "1d 3h"];
        assert_eq!(seconds.map(duration), shown);
    }
}
