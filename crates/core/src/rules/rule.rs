//! A checked rule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::metrics::Reason;
use crate::metrics::catalogue::{Label, Metric, Unit};
use crate::model::{LabelValue, PLACE_LABELS, Place, matches_glob};
use crate::rules::annotations::{self, Templates};
use crate::rules::objective::Objective;

/// Conditions over metrics, and the texts of their alerts. Holds nothing that the evaluator could not evaluate.
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
    /// Compiled; shared by the engines of all targets.
    pub(super) templates: Arc<Templates>,
    /// The objective over first waits that it belongs to, if any.
    pub(super) objective: Option<Objective>,
}

/// How clauses combine into one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Combine {
    /// All must hold; also used for a single clause.
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

/// How a value is taken from a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aggregation {
    /// The current value of a gauge.
    Now,
    /// A statistic of the last hour, of a distribution.
    Stat(Stat),
    /// Increase of a counter.
    Increase(Duration),
    /// Difference of a gauge from its value that long ago; negative if it fell.
    Change(Duration),
    /// The fraction of a distribution's values in the window above the bound with this index.
    FractionAbove(usize, Duration),
}

impl Aggregation {
    /// How far back it looks into past values.
    pub(super) fn window(self) -> Option<Duration> {
        match self {
            Self::Now | Self::Stat(_) => None,
            Self::Increase(over) | Self::Change(over) | Self::FractionAbove(_, over) => Some(over),
        }
    }

    /// Index of an objective's bucket bound.
    pub(super) fn bound(self) -> Option<usize> {
        match self {
            Self::Now | Self::Stat(_) | Self::Increase(_) | Self::Change(_) => None,
            Self::FractionAbove(bound, _) => Some(bound),
        }
    }
}

/// A statistic of a distribution, over its values of the last hour.
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

/// How several series are combined into one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Fold {
    Max,
    Min,
    Sum,
    Mean,
}

/// M of N: how many of the latest evaluations must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datapoints {
    /// M, at least 1.
    pub needed: usize,
    /// N, at least M.
    pub of: usize,
}

/// How long and how often the condition must hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct HoldPolicy {
    pub(super) hold: Duration,
    pub(super) keep: Duration,
    pub(super) datapoints: Option<Datapoints>,
}

/// Meaning of no data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoData {
    /// The alert keeps its state.
    #[default]
    Keep,
    /// The condition does not hold.
    Ok,
    /// The condition holds.
    Alert,
}

/// When a rule holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Above the threshold; once firing, until the value is not above `recover`, which is not higher than the
    /// threshold.
    Above {
        /// In the metric's unit.
        threshold: f64,
        /// In the metric's unit.
        recover: f64,
    },
    /// Below the threshold; once firing, until the value is not below `recover`, which is not lower than the
    /// threshold.
    Below {
        /// In the metric's unit.
        threshold: f64,
        /// In the metric's unit.
        recover: f64,
    },
}

impl Condition {
    /// Whether a value holds; `firing` selects `recover` over the threshold.
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
    /// Formats a value of this clause.
    pub(super) fn in_words(&self, value: f64) -> String {
        annotations::of_value(value, self.unit())
    }

    /// Unit of its values and threshold.
    pub(super) fn unit(&self) -> Unit {
        unit_of(self.metric, self.take)
    }

    /// Whether it is about waiting jobs.
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
    /// The objective over first waits that it belongs to; all rules of one objective share it.
    pub fn objective(&self) -> Option<&Objective> {
        self.objective.as_ref()
    }

    /// The rule's name (`alert:` in the file).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A label that the rule adds to its alerts.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    /// The labels that the rule adds to its alerts.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(label, value)| (label.as_str(), value.as_str()))
    }

    /// Its annotations as written, by name.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.templates.sources()
    }

    /// Why it never holds, given why one of its conditions, by metric and filters, never has a value: with `all` one such
    /// condition is enough, with `any` all of them must lack values. `None` if it may hold, or if no data is what it fires on.
    pub fn never_holds<F>(&self, lacks: F) -> Option<String>
    where
        F: Fn(&Metric, &[(Label, String)]) -> Option<String>,
    {
        if self.no_data == NoData::Alert {
            return None;
        }
        let mut whys = self.clauses.iter().map(|clause| lacks(clause.metric, &clause.filters));
        match self.combine {
            Combine::All => whys.flatten().next(),
            Combine::Any => whys.clone().all(|why| why.is_some()).then(|| whys.next().flatten()).flatten(),
        }
    }

    /// The labels that distinguish its alerts.
    pub fn by(&self) -> &[Label] {
        &self.by
    }

    /// What is known about a label of its alerts in advance.
    pub fn value_of(&self, label: &str) -> LabelValue<'_> {
        if label == "alertname" {
            return LabelValue::Known(&self.name);
        }
        if !self.by.contains(&label) && !PLACE_LABELS.contains(&label) {
            return LabelValue::Known(self.label(label).unwrap_or_default());
        }
        // With `any`, no single condition's filters are binding.
        let binding = match (self.combine, self.clauses.as_slice()) {
            (Combine::Any, [_, _, ..]) => &[],
            (Combine::Any | Combine::All, clauses) => clauses,
        };
        let filters = binding.iter().flat_map(|clause| &clause.filters);
        LabelValue::Within(filters.filter(|(of, _)| *of == label).map(|(_, glob)| glob.as_str()).collect())
    }

    /// Whether it selects or groups by a label that satisfies `is`.
    pub(super) fn asks_for(&self, is: impl Fn(&str) -> bool) -> bool {
        let filters = self.clauses.iter().flat_map(|clause| &clause.filters).map(|(label, _)| *label);
        self.by.iter().copied().chain(filters).any(is)
    }

    /// The metrics of its conditions, in order; at least one.
    pub fn metrics(&self) -> impl Iterator<Item = &'static Metric> {
        self.clauses.iter().map(|clause| clause.metric)
    }

    /// How far back it compares with the past; `None` if it does not.
    pub fn looks_back(&self) -> Option<Duration> {
        self.clauses.iter().filter_map(|clause| clause.take.window()).max()
    }

    /// The wait reasons that an alert is about, by the clause that holds and the alert's labels; `None` for all
    /// reasons.
    pub(super) fn wanted_reasons<'a>(
        &'a self,
        clause: &'a Clause,
        by: &'a BTreeMap<String, String>,
    ) -> Option<impl Fn(Reason) -> bool + 'a> {
        // With `any`, only the clause that holds counts.
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

    /// How many of the first clauses must be evaluated to find every instance that may start: one is enough if all
    /// clauses must hold and no data does not hold.
    pub(super) fn beginning(&self) -> usize {
        match (self.combine, self.no_data) {
            (Combine::All, NoData::Keep | NoData::Ok) => 1,
            (Combine::All, NoData::Alert) | (Combine::Any, _) => self.clauses.len(),
        }
    }

    /// Whether the rule's filters match these label values.
    pub(super) fn covers(&self, by: &BTreeMap<String, String>, place: &Place) -> bool {
        by.len() == self.by.len()
            && self.by.iter().all(|label| by.contains_key(*label))
            && match self.combine {
                Combine::All => self.clauses.iter().all(|clause| clause.passes(by, place)),
                Combine::Any => self.clauses.iter().any(|clause| clause.passes(by, place)),
            }
    }
}

/// Unit of the values aggregated from a metric.
pub(super) fn unit_of(metric: &Metric, take: Aggregation) -> Unit {
    match take {
        Aggregation::Stat(Stat::Count) => Unit::Count,
        Aggregation::FractionAbove(..) => Unit::Ratio,
        Aggregation::Now | Aggregation::Stat(_) | Aggregation::Increase(_) | Aggregation::Change(_) => metric.unit,
    }
}
