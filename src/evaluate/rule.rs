//! A rule that has been checked.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::derive::catalogue::{Label, Metric, Unit};
use crate::evaluate::glob;
use crate::evaluate::state::Terms;
use crate::evaluate::wording::{self, Templates};

/// A condition over a metric, and what to say when it holds. Cannot hold what the evaluator could not evaluate.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) name: String,
    pub(super) metric: &'static Metric,
    pub(super) stat: Option<Stat>,
    pub(super) increase: Option<Duration>,
    pub(super) by: Vec<Label>,
    pub(super) fold: Fold,
    pub(super) filters: Vec<(Label, String)>,
    pub(super) condition: Condition,
    pub(super) hold: Duration,
    pub(super) datapoints: Option<Datapoints>,
    pub(super) keep_firing_for: Duration,
    pub(super) no_data: NoData,
    pub(super) limit: usize,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) templates: Templates,
}

/// What to take of a distribution: of its values in the last hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stat {
    P50,
    P90,
    P95,
    P99,
    Mean,
    Max,
    Count,
}

/// How several series become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Fold {
    Max,
    Min,
    Sum,
    Mean,
}

/// M of N: how many of the last evaluations must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datapoints {
    /// M, at least 1.
    pub needed: usize,
    /// N, at least M.
    pub of: usize,
}

/// What no data means to a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoData {
    /// Nothing: the alert stays as it is.
    #[default]
    Keep,
    /// That the condition does not hold.
    Ok,
    /// That it does.
    Alert,
}

/// When a rule holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Above the threshold; once it fires, until it is not above `recover`, which is no higher.
    Above {
        /// In the metric's unit.
        threshold: f64,
        /// In the metric's unit.
        recover: f64,
    },
    /// Below the threshold; once it fires, until it is not below `recover`, which is no lower.
    Below {
        /// In the metric's unit.
        threshold: f64,
        /// In the metric's unit.
        recover: f64,
    },
}

impl Condition {
    /// Whether a value holds, given whether the alert fires already.
    pub(super) fn holds(self, value: f64, firing: bool) -> bool {
        match self {
            Self::Above { threshold, recover } => value > if firing { recover } else { threshold },
            Self::Below { threshold, recover } => value < if firing { recover } else { threshold },
        }
    }

    /// Whether a value that can only be too small holds for certain.
    pub(super) fn holds_at_least(self, value: f64) -> bool {
        match self {
            Self::Above { threshold, .. } => value > threshold,
            Self::Below { .. } => false,
        }
    }

    pub(super) fn threshold(self) -> f64 {
        match self {
            Self::Above { threshold, .. } | Self::Below { threshold, .. } => threshold,
        }
    }
}

impl Rule {
    /// The rule's name (`alert:` in the file).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The metric it looks at.
    pub fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// The unit of its values.
    pub(super) fn unit(&self) -> Unit {
        unit_of(self.metric, self.stat)
    }

    /// A value of this rule in words.
    pub(super) fn in_words(&self, value: f64) -> String {
        wording::of_value(value, self.unit())
    }

    pub(super) fn terms(&self) -> Terms {
        Terms { hold: self.hold, keep: self.keep_firing_for, datapoints: self.datapoints }
    }

    /// Whether label values are among those that the rule looks at, as far as its filters speak of them.
    pub(super) fn covers(&self, by: &BTreeMap<String, String>) -> bool {
        let passes = |(label, glob): &(Label, String)| by.get(*label).is_none_or(|value| glob::matches(glob, value));
        by.len() == self.by.len()
            && self.by.iter().all(|label| by.contains_key(*label))
            && self.filters.iter().all(passes)
    }
}

/// The unit of the values that a rule takes from a metric.
pub(super) fn unit_of(metric: &Metric, stat: Option<Stat>) -> Unit {
    if stat == Some(Stat::Count) { Unit::Count } else { metric.unit }
}
