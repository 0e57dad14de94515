//! `reports:` of the file: reports that are sent again and again.

use schemars::JsonSchema;
use serde::Deserialize;

/// A report that is sent again and again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// How often, each time about the whole days, weeks or months that are over: daily, weekly (from Monday on) or monthly.
    pub(crate) every: Every,
    /// The name of a receiver.
    pub(crate) to: String,
    /// What it is broken down by: queue, share, owner, account, region, instance_type, or a tag of `tags`.
    #[serde(default)]
    pub(crate) by: Vec<String>,
}

/// How often a report is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// About each day.
    Daily,
    /// About each week, from Monday on.
    Weekly,
    /// About each month.
    Monthly,
}
