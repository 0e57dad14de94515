//! `history:` in the file: retention of history in the state file.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use trainspotter_core::yaml::HumanDuration;

/// Retention of history.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct History {
    /// Retention time. 0s stores nothing; with a log for replicas it must be above 0, since followers show the
    /// history.
    pub(crate) keep: HumanDuration,
    /// Maximum size; beyond it the oldest data is deleted early.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) megabytes: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { keep: HumanDuration(Duration::from_secs(7 * 86_400)), megabytes: 200 }
    }
}
