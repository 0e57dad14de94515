//! `forecast:` in the file: cost limit of start estimates.

use schemars::JsonSchema;
use serde::Deserialize;

/// Default share of a core for forecasts.
const CPU_SHARE: f64 = 0.05;

/// Cost limit of start estimates.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Forecast {
    /// Share of one core for estimates, over all targets, from 0 to 1: 0.05 by default, 0 disables estimates.
    pub(crate) cpu_share: f64,
}

impl Default for Forecast {
    fn default() -> Self {
        Self { cpu_share: CPU_SHARE }
    }
}
