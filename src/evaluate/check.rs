//! From a rule file to rules that can be evaluated, or to every mistake in it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::derive::catalogue::{self, Kind, Label, Metric};
use crate::evaluate::file::{RuleFile, RuleText};
use crate::evaluate::level::Level;
use crate::evaluate::rule::{self, Condition, Fold, Rule, Stat};
use crate::evaluate::wording::Templates;
use crate::yaml::{Document, HumanDuration, Problem, Problems, nearest};

/// Alerts of one rule at most, unless the rule says otherwise.
const DEFAULT_LIMIT: usize = 100;

/// What a rule may say at most.
const HIGHEST_LIMIT: usize = 1_000;

/// The longest `increase`: the past that it needs is kept in memory.
const LONGEST_INCREASE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a template may name besides the labels of `by`.
const WORDS: [&str; 2] = ["value", "threshold"];

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
        self.told_to_people(text);
        self.spans(text);
        if self.is_not_built(text) {
            return None;
        }
        let metric = self.metric(text)?;
        self.stat_fits(metric, text);
        let by: Vec<Label> = (0_usize..)
            .zip(&text.by)
            .filter_map(|(index, label)| self.label(metric, label, &format!("by[{index}]")))
            .collect();
        let mut filters = Vec::new();
        for (label, glob) in &text.r#where {
            filters.extend(self.label(metric, label, &format!("where.{label}")).map(|label| (label, glob.clone())));
        }
        let condition = self.condition(metric, text);
        let templates = self.templates(&by, text);
        let condition = condition?;
        let duration = |written: Option<HumanDuration>| written.map(|duration| duration.0);
        Some(Rule {
            name: text.alert.clone(),
            metric,
            stat: text.stat,
            increase: duration(text.increase),
            by,
            fold: text.fold.unwrap_or_else(|| usual_fold(text, condition)),
            filters,
            condition,
            hold: duration(text.r#for).unwrap_or_default(),
            datapoints: text.datapoints,
            keep_firing_for: duration(text.keep_firing_for).unwrap_or_default(),
            no_data: text.no_data,
            limit: text.limit.unwrap_or(DEFAULT_LIMIT),
            labels: text.labels.clone(),
            templates: templates?,
        })
    }

    /// What does not depend on the metric: labels and annotations.
    fn told_to_people(&mut self, text: &RuleText) {
        if text.annotations.get("summary").is_none_or(|summary| summary.trim().is_empty()) {
            self.problem("annotations", "a `summary` is missing: one line that people read first");
        }
        for label in text.labels.keys() {
            if label == "alertname" || text.by.contains(label) {
                self.problem(&format!("labels.{label}"), "this label is set by the rule itself");
            } else if !is_label_name(label) {
                let message = format!("`{label}` cannot be a label: letters, digits and _ only, and no digit first");
                self.problem(&format!("labels.{label}"), message);
            }
        }
    }

    fn spans(&mut self, text: &RuleText) {
        if text.datapoints.is_some() && text.r#for.is_some() {
            self.problem("datapoints", "a rule has `for` or `datapoints`, not both");
        }
        if text.increase.is_some_and(|over| over.0.is_zero() || over.0 > LONGEST_INCREASE) {
            self.problem("increase", "must be longer than 0s and no longer than 24h");
        }
        if text.limit.is_some_and(|limit| limit == 0 || limit > HIGHEST_LIMIT) {
            self.problem("limit", format!("must be from 1 to {HIGHEST_LIMIT}"));
        }
    }

    fn is_not_built(&mut self, text: &RuleText) -> bool {
        let asked = [("all", &text.all), ("any", &text.any), ("objective", &text.objective)];
        let asked: Vec<&str> = asked.into_iter().filter(|(_, given)| given.is_some()).map(|(key, _)| key).collect();
        for key in &asked {
            self.problem(key, format!("`{key}` is not built yet; write a rule over one `metric`"));
        }
        !asked.is_empty()
    }

    fn metric(&mut self, text: &RuleText) -> Option<&'static Metric> {
        let Some(name) = &text.metric else {
            self.problem("alert", "this rule has no `metric`; docs/METRICS.md lists them");
            return None;
        };
        let found = catalogue::find(name);
        if found.is_none() {
            let names = catalogue::ALL.iter().map(|metric| metric.name);
            let hint = nearest(name, names)
                .map_or_else(|| "docs/METRICS.md lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            self.problem("metric", format!("there is no metric `{name}`; {hint}"));
        }
        found
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
            let message = match (label, metric.labels) {
                ("job", _) => "rules about single jobs are not built yet".to_owned(),
                (_, []) => format!("`{}` has no labels", metric.name),
                (_, labels) => format!("`{}` has no label `{label}`; it has {}", metric.name, labels.join(", ")),
            };
            self.problem(key, message);
        }
        found
    }

    fn condition(&mut self, metric: &Metric, text: &RuleText) -> Option<Condition> {
        let unit = rule::unit_of(metric, text.stat);
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
        let words: BTreeSet<&str> = by.iter().copied().chain(WORDS).collect();
        match Templates::compile(&text.annotations, &words) {
            Ok(templates) => Some(templates),
            Err(problems) => {
                for (name, message) in problems {
                    self.problem(&format!("annotations.{name}"), message);
                }
                None
            }
        }
    }
}

/// Sums where a sum means something; otherwise the value that is closest to holding.
fn usual_fold(text: &RuleText, condition: Condition) -> Fold {
    match condition {
        _ if text.increase.is_some() || text.stat == Some(Stat::Count) => Fold::Sum,
        Condition::Above { .. } => Fold::Max,
        Condition::Below { .. } => Fold::Min,
    }
}

/// Whether Prometheus and Alertmanager take it for a label.
fn is_label_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(letters) && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}
