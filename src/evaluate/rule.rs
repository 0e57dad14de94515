//! A rule that has been checked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::derive::catalogue::{self, Kind, Label, Metric};
use crate::evaluate::file::{RuleFile, RuleText};
use crate::evaluate::level::Level;
use crate::evaluate::wording::{self, Templates};
use crate::yaml::{Document, Problem, Problems, nearest};

/// Alerts of one rule at most, unless the rule says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// A condition over a metric, and what to say when it holds. Cannot hold what the evaluator could not evaluate.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) name: String,
    pub(super) metric: &'static Metric,
    pub(super) stat: Option<Stat>,
    pub(super) increase: Option<Duration>,
    pub(super) by: Vec<Label>,
    pub(super) filters: Vec<(Label, String)>,
    pub(super) condition: Condition,
    pub(super) hold: Duration,
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

    /// Of two values, the one that is closer to holding.
    pub(super) fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Above { .. } => a.max(b),
            Self::Below { .. } => a.min(b),
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

    /// A value of this rule in words.
    pub(super) fn in_words(&self, value: f64) -> String {
        let counts = self.stat == Some(Stat::Count);
        wording::of_value(value, if counts { catalogue::Unit::Count } else { self.metric.unit })
    }
}

/// Checks a whole file.
pub(super) fn check(document: &Document<RuleFile>) -> Result<Vec<Rule>, Problems> {
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    let mut rules = Vec::new();
    for (index, text) in document.value.rules.iter().enumerate() {
        let mut check = Check { document, path: format!("rules[{index}]"), problems: Vec::new() };
        if text.alert.trim().is_empty() {
            check.problem("alert", "an alert needs a name");
        } else if !names.insert(&text.alert) {
            check.problem("alert", format!("another rule is called `{}` already", text.alert));
        }
        rules.extend(check.rule(text));
        problems.extend(check.problems);
    }
    document.conclude(problems)?;
    Ok(rules)
}

struct Check<'a> {
    document: &'a Document<RuleFile>,
    path: String,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.document.problem(&format!("{}.{key}", self.path), message));
    }

    /// The rule, as far as it can be made; its problems are kept in any case.
    fn rule(&mut self, text: &RuleText) -> Option<Rule> {
        let Some(metric) = catalogue::find(&text.metric) else {
            let names = catalogue::ALL.iter().map(|metric| metric.name);
            let hint = nearest(&text.metric, names)
                .map_or_else(|| "docs/METRICS.md lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            self.problem("metric", format!("there is no metric `{}`; {hint}", text.metric));
            return None;
        };
        self.stat_fits(metric, text);
        let by: Vec<Label> = (0_usize..)
            .zip(&text.by)
            .filter_map(|(index, label)| self.label(metric, label, &format!("by[{index}]")))
            .collect();
        let filters = text.r#where.iter();
        let filters = filters
            .filter_map(|(label, glob)| Some((self.label(metric, label, &format!("where.{label}"))?, glob.clone())));
        let filters = filters.collect();
        let condition = self.condition(metric, text);
        if !text.annotations.contains_key("summary") {
            self.problem("annotations", "a `summary` is missing: one line that people read first");
        }
        for reserved in ["alertname"].into_iter().chain(by.iter().copied()) {
            if text.labels.contains_key(reserved) {
                self.problem(&format!("labels.{reserved}"), "this label is set by the rule itself");
            }
        }
        let templates = self.templates(&by, text);
        let duration = |written: Option<crate::yaml::HumanDuration>| written.map(|duration| duration.0);
        Some(Rule {
            name: text.alert.clone(),
            metric,
            stat: text.stat,
            increase: duration(text.increase),
            by,
            filters,
            condition: condition?,
            hold: duration(text.r#for).unwrap_or_default(),
            keep_firing_for: duration(text.keep_firing_for).unwrap_or_default(),
            no_data: text.no_data,
            limit: text.limit.unwrap_or(DEFAULT_LIMIT).max(1),
            labels: text.labels.clone(),
            templates: templates?,
        })
    }

    fn stat_fits(&mut self, metric: &Metric, text: &RuleText) {
        match (metric.kind, text.stat, text.increase) {
            (Kind::Distribution, None, _) => {
                let message = "this metric is a distribution; say which `stat`: p50, p90, p95, p99, mean, max or count";
                self.problem("metric", message);
            }
            (Kind::Gauge | Kind::Counter, Some(_), _) => {
                self.problem("stat", "only a distribution has a `stat`");
            }
            (Kind::Counter, _, None) => {
                self.problem("metric", "this metric only grows; compare its increase, such as `increase: 10m`");
            }
            (Kind::Gauge | Kind::Distribution, _, Some(_)) => {
                self.problem("increase", "only a counter has an `increase`");
            }
            (Kind::Gauge | Kind::Distribution | Kind::Counter, _, _) => {}
        }
    }

    fn label(&mut self, metric: &'static Metric, label: &str, key: &str) -> Option<Label> {
        let found = metric.labels.iter().copied().find(|known| *known == label);
        if found.is_none() {
            let message = format!("`{}` has no label `{label}`; it has {}", metric.name, metric.labels.join(", "));
            self.problem(key, message);
        }
        found
    }

    fn condition(&mut self, metric: &Metric, text: &RuleText) -> Option<Condition> {
        let unit = if text.stat == Some(Stat::Count) { catalogue::Unit::Count } else { metric.unit };
        let mut number = |key: &str, level: &Option<Level>| {
            level.as_ref().map(|level| level.in_unit(unit).map_err(|message| self.problem(key, message)))
        };
        let levels = (number("above", &text.above), number("below", &text.below), number("recover", &text.recover));
        let recover_of = |threshold: f64, recover: Option<Result<f64, ()>>| recover.unwrap_or(Ok(threshold)).ok();
        match levels {
            (Some(threshold), None, recover) => {
                let threshold = threshold.ok()?;
                let recover = recover_of(threshold, recover)?;
                if recover > threshold {
                    self.problem("recover", "must not be above `above`: it is where the alert ends");
                }
                Some(Condition::Above { threshold, recover })
            }
            (None, Some(threshold), recover) => {
                let threshold = threshold.ok()?;
                let recover = recover_of(threshold, recover)?;
                if recover < threshold {
                    self.problem("recover", "must not be below `below`: it is where the alert ends");
                }
                Some(Condition::Below { threshold, recover })
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                self.problem("alert", "a rule has exactly one of `above` and `below`");
                None
            }
        }
    }

    /// Compiles the annotations and renders them once, so that an unknown name is found now and not at night.
    fn templates(&mut self, by: &[Label], text: &RuleText) -> Option<Templates> {
        let words = by.iter().copied().chain(["value", "threshold"]).map(|word| (word.to_owned(), word.to_owned()));
        let rendered = Templates::compile(&text.annotations).and_then(|templates| {
            let (_, problems) = templates.render(&words.collect());
            if problems.is_empty() { Ok(templates) } else { Err(problems) }
        });
        match rendered {
            Ok(templates) => Some(templates),
            Err(problems) => {
                for (name, message) in problems {
                    let known: Vec<&str> = by.iter().copied().chain(["value", "threshold"]).collect();
                    let message = format!("{message}; a template may name {}", known.join(", "));
                    self.problem(&format!("annotations.{name}"), message);
                }
                None
            }
        }
    }
}
