//! `reports:` in the file: scheduled reports.

use schemars::JsonSchema;
use serde::Deserialize;

/// A scheduled report.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// Interval, for completed days, weeks or months: daily, weekly (from Monday) or monthly.
    pub(crate) every: Every,
    /// The name of a receiver.
    pub(crate) to: String,
    /// Grouping keys: queue, share, owner, account, region, instance_type, or a tag listed in `tags`.
    #[serde(default)]
    pub(crate) by: Vec<String>,
}

/// Interval of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Every {
    /// For each day.
    Daily,
    /// For each week, from Monday on.
    Weekly,
    /// For each month.
    Monthly,
}
