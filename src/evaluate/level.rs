//! Thresholds as people write them, by the unit of the metric: `30m`, `40%`, `12`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::derive::catalogue::Unit;

/// A threshold as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level(serde_json::Value);

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if value.is_number() || value.is_string() {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom("a threshold is written like 30m, 40% or 12"))
        }
    }
}

impl JsonSchema for Level {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "number"],
            "description": "A threshold, by the metric's unit: 30m for seconds, 40% for ratios, a number otherwise."
        })
    }
}

impl Level {
    /// The number in the metric's unit, or how to write it.
    pub(super) fn in_unit(&self, unit: Unit) -> Result<f64, String> {
        let text = self.0.as_str();
        match unit {
            Unit::Seconds => text
                .and_then(|text| humantime::parse_duration(text).ok())
                .map(|duration| duration.as_secs_f64())
                .ok_or_else(|| format!("`{self}` is not a duration; the metric is in seconds, write it like 30m")),
            Unit::Ratio => text
                .and_then(|text| text.strip_suffix('%')?.trim().parse::<f64>().ok())
                .map(|percent| percent / 100.0)
                .or_else(|| self.0.as_f64())
                .ok_or_else(|| format!("`{self}` is not a share; write it like 40%")),
            Unit::Count | Unit::Gpus | Unit::GpuSeconds | Unit::Instances | Unit::Bytes => {
                self.0.as_f64().ok_or_else(|| format!("`{self}` is not a number; the metric counts, write it like 12"))
            }
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_str() {
            Some(text) => f.write_str(text),
            None => self.0.fmt(f),
        }
    }
}
