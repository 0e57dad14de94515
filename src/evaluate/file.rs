//! A rule file as it is written. Keys that Prometheus has too keep their names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::evaluate::level::Level;
use crate::evaluate::rule::{Datapoints, Fold, NoData, Stat};
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
    /// A metric of docs/METRICS.md, such as queue.wait.oldest. Required.
    #[serde(default)]
    pub(super) metric: Option<String>,
    /// What to take of a distribution: of its values in the last hour.
    #[serde(default)]
    pub(super) stat: Option<Stat>,
    /// Take a counter's increase over this long, at most a day.
    #[serde(default)]
    pub(super) increase: Option<HumanDuration>,
    /// One alert for each combination of these labels.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// How series that differ only in other labels become one value. If it is not given: the sum for `increase` and
    /// `stat: count`, else the largest for `above` and the smallest for `below`.
    #[serde(default)]
    pub(super) fold: Option<Fold>,
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
    /// Instead of `for`: fires while it held in M of the last N evaluations, written `3 of 5`.
    #[serde(default)]
    pub(super) datapoints: Option<Datapoints>,
    /// Goes on firing for this long after it no longer holds.
    #[serde(default)]
    pub(super) keep_firing_for: Option<HumanDuration>,
    /// What no data means: keep the state, ok, or alert.
    #[serde(default)]
    pub(super) no_data: NoData,
    /// Alerts of this rule at most; beyond it, one more says how many there are. 100 if it is not given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: Option<usize>,
    /// Added to each alert; severity is the customary one.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Texts for people: summary is required. Templates may name the labels of `by`, value and threshold.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,

    // Keys whose meaning is settled and which are told to be missing here rather than unknown.
    #[serde(default)]
    #[schemars(skip)]
    pub(super) all: Option<IgnoredAny>,
    #[serde(default)]
    #[schemars(skip)]
    pub(super) any: Option<IgnoredAny>,
    #[serde(default)]
    #[schemars(skip)]
    pub(super) objective: Option<IgnoredAny>,
}

/// Evaluations that a rule with `datapoints` looks at, at most.
const MOST_DATAPOINTS: usize = 100;

impl<'de> Deserialize<'de> for Datapoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers = text.split_once(" of ").map(|(m, n)| (m.trim().parse::<usize>(), n.trim().parse::<usize>()));
        match numbers {
            Some((Ok(needed), Ok(of))) if (1..=of).contains(&needed) && of <= MOST_DATAPOINTS => {
                Ok(Self { needed, of })
            }
            _ => {
                Err(D::Error::custom(format!("`{text}` is not M of N with M from 1 to N and N up to 100, like 3 of 5")))
            }
        }
    }
}

impl JsonSchema for Datapoints {
    fn schema_name() -> Cow<'static, str> {
        "Datapoints".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[0-9]+ of [0-9]+$",
            "description": "M of the last N evaluations: 3 of 5."
        })
    }
}
