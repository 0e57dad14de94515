//! `history:` of the file: how much of the past the state file keeps.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use trainspotter_core::yaml::HumanDuration;

/// How much of the past is kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct History {
    /// For how long. 0s keeps none; with a log of replicas there must be some, which is what followers show.
    pub(crate) keep: HumanDuration,
    /// Beyond this the oldest goes before its time.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) megabytes: u32,
}

impl Default for History {
    fn default() -> Self {
        Self { keep: HumanDuration(Duration::from_secs(7 * 86_400)), megabytes: 200 }
    }
}
