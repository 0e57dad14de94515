//! The syntax of rule files. Keys that Prometheus also has keep their names.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::rules::parse_threshold::Threshold;
use crate::rules::rule::{Datapoints, Fold, NoData, Stat};
use crate::yaml::HumanDuration;

/// Alarm rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    /// The rules.
    pub(super) rules: Vec<RuleText>,
}

/// A condition over a metric: one entry of `all` or `any`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClauseText {
    /// A metric of docs/METRICS.md or docs/RULES.md.
    #[serde(default)]
    pub(super) metric: Option<String>,
    /// As in a rule.
    #[serde(default)]
    pub(super) stat: Option<Stat>,
    /// As in a rule.
    #[serde(default)]
    pub(super) increase: Option<HumanDuration>,
    /// As in a rule.
    #[serde(default)]
    pub(super) change_over: Option<HumanDuration>,
    /// As in a rule.
    #[serde(default)]
    pub(super) fold: Option<Fold>,
    /// As in a rule.
    #[serde(default)]
    pub(super) r#where: BTreeMap<String, String>,
    /// As in a rule.
    #[serde(default)]
    pub(super) above: Option<Threshold>,
    /// As in a rule.
    #[serde(default)]
    pub(super) below: Option<Threshold>,
    /// As in a rule.
    #[serde(default)]
    pub(super) recover: Option<Threshold>,
}

/// "95 % of jobs start within 30 minutes": alerts if the error budget is spent too fast, over one hour, six hours,
/// and three days.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ObjectiveText {
    /// A distribution of durations, such as queue.wait.
    pub(super) metric: String,
    /// Required share of values within the bound: 95%.
    pub(super) target: Threshold,
    /// The bound: one of the bucket bounds of the metric, such as 30m.
    pub(super) within: HumanDuration,
    /// Only series whose labels match these globs.
    #[serde(default)]
    pub(super) r#where: BTreeMap<String, String>,
}

/// Conditions over metrics, and the texts of their alerts.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    /// Name of the alert: unique, and part of the identity of its instances.
    pub(super) alert: String,
    /// Several conditions over the same labels, all of which must hold. Replaces the single condition.
    #[serde(default)]
    pub(super) all: Option<Vec<ClauseText>>,
    /// Several conditions over the same labels, one of which must hold. Replaces the single condition.
    #[serde(default)]
    pub(super) any: Option<Vec<ClauseText>>,
    /// An objective. Replaces the condition.
    #[serde(default)]
    pub(super) objective: Option<ObjectiveText>,
    /// A metric of docs/METRICS.md, such as queue.wait.oldest, or of single jobs, such as job.scheduled.age.
    #[serde(default)]
    pub(super) metric: Option<String>,
    /// Statistic of a distribution, over its values of the last hour.
    #[serde(default)]
    pub(super) stat: Option<Stat>,
    /// Increase of a counter over this window, at most a day.
    #[serde(default)]
    pub(super) increase: Option<HumanDuration>,
    /// Difference of a gauge from its value this long ago, at most a day.
    #[serde(default)]
    pub(super) change_over: Option<HumanDuration>,
    /// One alert per combination of these labels.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// How series that differ only in other labels are combined. Default: the sum for `increase` and `stat: count`,
    /// else the maximum for `above` and the minimum for `below`.
    #[serde(default)]
    pub(super) fold: Option<Fold>,
    /// Only series whose labels match these globs.
    #[serde(default)]
    pub(super) r#where: BTreeMap<String, String>,
    /// Holds above this value: 30m, 40%, 12, depending on the metric's unit.
    #[serde(default)]
    pub(super) above: Option<Threshold>,
    /// Holds below this value.
    #[serde(default)]
    pub(super) below: Option<Threshold>,
    /// Hysteresis: a firing alert recovers only on this side of it.
    #[serde(default)]
    pub(super) recover: Option<Threshold>,
    /// Fires after the condition has held for this long.
    #[serde(default)]
    pub(super) r#for: Option<HumanDuration>,
    /// Replaces `for`: fires while the condition held in M of the last N evaluations, written `3 of 5`.
    #[serde(default)]
    pub(super) datapoints: Option<Datapoints>,
    /// Keeps firing for this long after the condition stops holding.
    #[serde(default)]
    pub(super) keep_firing_for: Option<HumanDuration>,
    /// Meaning of no data: keep the state, ok, or alert.
    #[serde(default)]
    pub(super) no_data: NoData,
    /// Maximum alerts of this rule; beyond it, one more alert gives their number. Default: 100.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: Option<usize>,
    /// Labels added to each alert; `severity` is customary.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// Texts of the alert; `summary` is required. Templates may use the `by` labels, `value` and `threshold`.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl RuleText {
    /// The condition of a rule that has neither `all` nor `any`.
    pub(super) fn clause(&self) -> ClauseText {
        ClauseText {
            metric: self.metric.clone(),
            stat: self.stat,
            increase: self.increase,
            change_over: self.change_over,
            fold: self.fold,
            r#where: self.r#where.clone(),
            above: self.above.clone(),
            below: self.below.clone(),
            recover: self.recover.clone(),
        }
    }

    /// Condition keys that are set on the rule itself.
    pub(super) fn own_keys(&self) -> Vec<&'static str> {
        let keys = [
            ("metric", self.metric.is_some()),
            ("stat", self.stat.is_some()),
            ("increase", self.increase.is_some()),
            ("change_over", self.change_over.is_some()),
            ("fold", self.fold.is_some()),
            ("where", !self.r#where.is_empty()),
            ("above", self.above.is_some()),
            ("below", self.below.is_some()),
            ("recover", self.recover.is_some()),
        ];
        keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect()
    }
}

/// Maximum N of `datapoints`.
const MAX_DATAPOINTS: usize = 100;

impl<'de> Deserialize<'de> for Datapoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let numbers = text.split_once(" of ").map(|(m, n)| (m.trim().parse::<usize>(), n.trim().parse::<usize>()));
        match numbers {
            Some((Ok(needed), Ok(of))) if (1..=of).contains(&needed) && of <= MAX_DATAPOINTS => Ok(Self { needed, of }),
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
