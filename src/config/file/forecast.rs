//! `forecast:` of the file: what estimates of when jobs start may cost.

use schemars::JsonSchema;
use serde::Deserialize;

/// The part of a core that forecasts may take unless the file says otherwise.
const CPU_SHARE: f64 = 0.05;

/// What estimates of when jobs start may cost.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Forecast {
    /// The part of one core that they may take, those of all targets together, from 0 to 1: 0.05 unless given, 0 for no estimates.
    pub(crate) cpu_share: f64,
}

impl Default for Forecast {
    fn default() -> Self {
        Self { cpu_share: CPU_SHARE }
    }
}
