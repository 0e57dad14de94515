//! A rule file as it is written. Keys that Prometheus has too keep their names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::evaluate::level::Level;
use crate::evaluate::rule::{NoData, Stat};
use crate::yaml::HumanDuration;

/// Alarm rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// The rules.
    pub(super) rules: Vec<RuleText>,
}

/// A condition over a metric, and what to say when it holds.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    /// The alert's name: unique, and part of the identity of its alerts.
    pub(super) alert: String,
    /// A metric of docs/METRICS.md, such as queue.wait.oldest.
    pub(super) metric: String,
    /// What to take of a distribution: of its values in the last hour.
    #[serde(default)]
    pub(super) stat: Option<Stat>,
    /// Take a counter's increase over this long.
    #[serde(default)]
    pub(super) increase: Option<HumanDuration>,
    /// One alert for each combination of these labels. Series that differ only in other labels are folded: the largest counts
    /// for `above`, the smallest for `below`, the sum for `increase`.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// Only series whose labels match these globs.
    #[serde(default)]
    pub(super) r#where: BTreeMap<String, String>,
    /// Holds above this: 30m, 40%, 12, by the metric's unit.
    #[serde(default)]
    pub(super) above: Option<Level>,
    /// Holds below this.
    #[serde(default)]
    pub(super) below: Option<Level>,
    /// A firing alert recovers only on this side of it: hysteresis.
    #[serde(default)]
    pub(super) recover: Option<Level>,
    /// Fires once it has held for this long.
    #[serde(default)]
    pub(super) r#for: Option<HumanDuration>,
    /// Goes on firing for this long after it no longer holds.
    #[serde(default)]
    pub(super) keep_firing_for: Option<HumanDuration>,
    /// What no data means: keep the state, ok, or alert.
    #[serde(default)]
    pub(super) no_data: NoData,
    /// Alerts of this rule at most; beyond it, one more says how many there are.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: Option<usize>,
    /// Added to each alert; severity is the customary one.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Texts for people: summary is required. Templates may name the labels of `by`, value and threshold.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}
