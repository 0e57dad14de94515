//! A rule that has been checked.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::metrics::Reason;
use crate::metrics::catalogue::{Label, Metric, Unit};
use crate::model::{LabelValue, PLACE_LABELS, Place, matches_glob};
use crate::rules::wait_objective::Objective;
use crate::rules::wording::{self, Templates};

/// Conditions over metrics, and what to say when they hold. Cannot hold what the evaluator could not evaluate.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) name: String,
    /// At least one.
    pub(super) clauses: Vec<Clause>,
    pub(super) combine: Combine,
    pub(super) by: Vec<Label>,
    pub(super) hold: Duration,
    pub(super) datapoints: Option<Datapoints>,
    pub(super) keep_firing_for: Duration,
    pub(super) no_data: NoData,
    pub(super) limit: usize,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) templates: Templates,
    /// The objective over first waits that it is about, if it is.
    pub(super) objective: Option<Objective>,
}

/// How the clauses of a rule make one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combine {
    /// All must hold; a rule of one clause, too.
    All,
    /// One must hold.
    Any,
}

/// A condition over one metric.
#[derive(Clone, Debug)]
pub(super) struct Clause {
    pub(super) metric: &'static Metric,
    pub(super) take: Aggregation,
    pub(super) fold: Fold,
    pub(super) filters: Vec<(Label, String)>,
    pub(super) condition: Condition,
}

/// What is taken of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aggregation {
    /// The value now, of a gauge.
    Now,
    /// A statistic of the last hour, of a distribution.
    Stat(Stat),
    /// How much a counter grew.
    Increase(Duration),
    /// How much a gauge is above what it was so long ago; negative if it is below.
    Change(Duration),
    /// The share of a distribution's values of this window that are above the bound with this index.
    FractionAbove(usize, Duration),
}

impl Aggregation {
    /// How far back it looks into what the evaluator remembers.
    pub(super) fn window(self) -> Option<Duration> {
        match self {
            Self::Now | Self::Stat(_) => None,
            Self::Increase(over) | Self::Change(over) | Self::FractionAbove(_, over) => Some(over),
        }
    }

    /// The index of the bound that an objective is about.
    pub(super) fn bound(self) -> Option<usize> {
        match self {
            Self::Now | Self::Stat(_) | Self::Increase(_) | Self::Change(_) => None,
            Self::FractionAbove(bound, _) => Some(bound),
        }
    }
}

/// What to take of a distribution: of its values in the last hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
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

/// How long and how often a rule wants its condition to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct HoldPolicy {
    pub(super) hold: Duration,
    pub(super) keep: Duration,
    pub(super) datapoints: Option<Datapoints>,
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

    pub(super) fn threshold(self) -> f64 {
        match self {
            Self::Above { threshold, .. } | Self::Below { threshold, .. } => threshold,
        }
    }
}

impl Clause {
    /// A value of this clause in words.
    pub(super) fn in_words(&self, value: f64) -> String {
        wording::of_value(value, self.unit())
    }

    /// The unit of its values and of its threshold.
    pub(super) fn unit(&self) -> Unit {
        unit_of(self.metric, self.take)
    }

    /// Whether it is about jobs that wait.
    pub(super) fn is_about_waiting(&self) -> bool {
        self.metric.about.is_waiting()
    }

    fn passes(&self, by: &BTreeMap<String, String>, place: &Place) -> bool {
        let value = |label: &str| by.get(label).map(String::as_str).or(place.get(label).map(|value| &**value));
        let passes = |(label, glob): &(Label, String)| value(label).is_none_or(|value| matches_glob(glob, value));
        self.filters.iter().all(passes)
    }
}

impl Rule {
    /// The objective over first waits that it is about; the rules of one objective have the same.
    pub fn objective(&self) -> Option<&Objective> {
        self.objective.as_ref()
    }

    /// The rule's name (`alert:` in the file).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A label that the rule gives all its alerts.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// The labels that the rule gives all its alerts.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()))
    }

    /// Its annotations as they are written, by name.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.templates.sources()
    }

    /// The labels that tell its alerts apart.
    pub fn by(&self) -> &[Label] {
        &self.by
    }

    /// What is known of a label of its alerts before there are any.
    pub fn value_of(&self, label: &str) -> LabelValue<'_> {
        if label == "alertname" {
            return LabelValue::Known(&self.name);
        }
        if !self.by.contains(&label) && !PLACE_LABELS.contains(&label) {
            return LabelValue::Known(self.label(label).unwrap_or_default());
        }
        // Where one of several conditions must hold, the filters of none of them must.
        let binding = match (self.combine, self.clauses.as_slice()) {
            (Combine::Any, [_, _, ..]) => &[],
            (Combine::Any | Combine::All, clauses) => clauses,
        };
        let filters = binding.iter().flat_map(|clause| &clause.filters);
        LabelValue::Within(filters.filter(|(of, _)| *of == label).map(|(_, glob)| glob.as_str()).collect())
    }

    /// Whether it selects or groups by a label of which this is true.
    pub(super) fn asks_for(&self, is: impl Fn(&str) -> bool) -> bool {
        let filters = self.clauses.iter().flat_map(|clause| &clause.filters).map(|(label, _)| *label);
        self.by.iter().copied().chain(filters).any(is)
    }

    /// The metrics it looks at, in the order of its conditions; at least one.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> {
        self.clauses.iter().map(|clause| clause.metric)
    }

    /// How far back it compares with what was; `None` if it does not.
    pub fn looks_back(&self) -> Option<Duration> {
        self.clauses.iter().filter_map(|clause| clause.take.window()).max()
    }

    /// The reasons for waiting that an alert is about, by the clause that holds and the alert's own labels; `None` if it is about all.
    pub(super) fn wanted_reasons<'a>(
        &'a self,
        clause: &'a Clause,
        by: &'a BTreeMap<String, String>,
    ) -> Option<impl Fn(Reason) -> bool + 'a> {
        // Of a rule of which one condition is enough, only that one counts.
        let all = self.combine == Combine::All;
        let clauses = self.clauses.iter().filter(move |other| all || std::ptr::eq(*other, clause));
        let filters = clauses.flat_map(|clause| &clause.filters).filter(|(label, _)| *label == "reason");
        let globs: Vec<&str> =
            filters.map(|(_, glob)| glob.as_str()).chain(by.get("reason").map(String::as_str)).collect();
        (!globs.is_empty())
            .then_some(move |reason: Reason| globs.iter().all(|glob| matches_glob(glob, reason.as_str())))
    }

    pub(super) fn hold_policy(&self) -> HoldPolicy {
        HoldPolicy { hold: self.hold, keep: self.keep_firing_for, datapoints: self.datapoints }
    }

    /// How many of the clauses, from the first on, must be looked at to find every instance that may begin: where all must hold
    /// and no data does not, the first one does.
    pub(super) fn beginning(&self) -> usize {
        match (self.combine, self.no_data) {
            (Combine::All, NoData::Keep | NoData::Ok) => 1,
            (Combine::All, NoData::Alert) | (Combine::Any, _) => self.clauses.len(),
        }
    }

    /// Whether label values are among those that the rule looks at, as far as its filters speak of them.
    pub(super) fn covers(&self, by: &BTreeMap<String, String>, place: &Place) -> bool {
        by.len() == self.by.len()
            && self.by.iter().all(|label| by.contains_key(*label))
            && match self.combine {
                Combine::All => self.clauses.iter().all(|clause| clause.passes(by, place)),
                Combine::Any => self.clauses.iter().any(|clause| clause.passes(by, place)),
            }
    }
}

/// The unit of the values that are taken from a metric.
pub(super) fn unit_of(metric: &Metric, take: Aggregation) -> Unit {
    match take {
        Aggregation::Stat(Stat::Count) => Unit::Count,
        Aggregation::FractionAbove(..) => Unit::Ratio,
        Aggregation::Now | Aggregation::Stat(_) | Aggregation::Increase(_) | Aggregation::Change(_) => metric.unit,
    }
}
