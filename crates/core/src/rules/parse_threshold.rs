//! Thresholds as written, by the unit of the metric: `30m`, `40%`, `12`.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::metrics::catalogue::Unit;
use crate::model::parse_duration;

/// A threshold as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Threshold(serde_json::Value);

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if value.is_number() || value.is_string() {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom("a threshold is written like 30m, 40% or 12"))
        }
    }
}

impl JsonSchema for Threshold {
    fn schema_name() -> Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "number"],
            "description": "A threshold in the metric's unit: 30m for seconds, 40% for ratios, $100 for dollars, a number otherwise."
        })
    }
}

impl Threshold {
    /// A threshold as text.
    pub(super) fn written(text: &str) -> Self {
        Self(serde_json::Value::from(text))
    }

    /// The number in the metric's unit, always finite, or an error that explains how to write it.
    pub(super) fn in_unit(&self, unit: Unit) -> Result<f64, String> {
        let plain = || self.0.as_f64();
        // An invalid duration is reported as elsewhere, if the text is a duration at all.
        if let (Unit::Seconds, Some(text)) = (unit, self.0.as_str().filter(|text| !text.contains(['%', '$']))) {
            return parse_duration(text).map(|duration| duration.as_secs_f64());
        }
        let (number, hint) = match unit {
            Unit::Seconds => (self.duration(), "is not a duration; the metric is in seconds, write it like 30m"),
            // A plain 40 is a forgotten percent sign: that threshold would never be reached.
            Unit::Ratio => {
                (self.percent().or_else(|| plain().filter(|ratio| *ratio <= 1.0)), "is not a ratio; write it like 40%")
            }
            Unit::Dollars => {
                (self.dollars().or_else(plain), "is not an amount; the metric is in dollars, write it like $100")
            }
            Unit::Count | Unit::Gpus | Unit::GpuSeconds | Unit::Instances | Unit::Bytes => {
                (plain(), "is not a number; the metric counts, write it like 12")
            }
        };
        number.filter(|number| number.is_finite()).ok_or_else(|| format!("`{self}` {hint}"))
    }

    fn duration(&self) -> Option<f64> {
        parse_duration(self.0.as_str()?).ok().map(|duration| duration.as_secs_f64())
    }

    fn percent(&self) -> Option<f64> {
        let percent: f64 = self.0.as_str()?.strip_suffix('%')?.trim().parse().ok()?;
        Some(percent / 100.0)
    }

    fn dollars(&self) -> Option<f64> {
        self.0.as_str()?.strip_prefix('$')?.trim().parse().ok()
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            Some(text) => f.write_str(text),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_threshold_is_read_in_the_metrics_unit_and_no_other() {
        for (written, unit, expected) in [
            (json!("30m"), Unit::Seconds, Some(1_800.0)),
            (json!("1h 30m"), Unit::Seconds, Some(5_400.0)),
            (json!(1800), Unit::Seconds, None),
            (json!("40%"), Unit::Seconds, None),
            (json!("40%"), Unit::Ratio, Some(0.4)),
            (json!("120 %"), Unit::Ratio, Some(1.2)),
            (json!(0.4), Unit::Ratio, Some(0.4)),
            (json!(40), Unit::Ratio, None),
            (json!("nan%"), Unit::Ratio, None),
            (json!("30m"), Unit::Ratio, None),
            (json!("$100"), Unit::Dollars, Some(100.0)),
            (json!("100"), Unit::Dollars, None),
            (json!(12), Unit::Gpus, Some(12.0)),
            (json!("12"), Unit::Count, None),
            (json!("12%"), Unit::Count, None),
        ] {
            assert_eq!(Threshold(written.clone()).in_unit(unit).ok(), expected, "{written} in {unit:?}");
        }
    }
}
