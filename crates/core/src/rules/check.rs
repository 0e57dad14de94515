//! Checks a rule file, and returns its rules or every error in it.

mod clause;
pub(super) mod values;

use std::collections::BTreeSet;

use crate::metrics::catalogue::{self, Kind, Label, Unit};
use crate::model::{PLACE_LABELS, check_name};
use crate::rules::annotations::Templates;
use crate::rules::burn_rate::{self, WINDOWS};
use crate::rules::file::{ClauseText, ObjectiveText, RuleFile, RuleText};
use crate::rules::objective::Objective;
use crate::rules::rule::{Clause, Combine, Rule};
use crate::yaml::{Document, HumanDuration, Problem, Problems};

/// The service's own alert about a receiver that fails. Reserved: no rule may have this name.
pub const RECEIVER_IN_TROUBLE: &str = "ReceiverInTrouble";

/// Name of reports where they are sent like alerts. Reserved: no rule may have this name.
pub const REPORT: &str = "UsageReport";

/// Default maximum of alerts per rule.
const DEFAULT_LIMIT: usize = 100;

/// Maximum value of a rule's `limit`.
const HIGHEST_LIMIT: usize = 1_000;

/// Maximum conditions per rule: a rule with more is a program.
const MAX_CLAUSES: usize = 10;

/// Maximum annotations per rule.
const MAX_ANNOTATIONS: usize = 20;

/// Names available to templates besides the `by` labels.
const WORDS: [&str; 2] = ["value", "threshold"];

/// Checks a whole file.
pub(super) fn check(document: &Document<RuleFile>) -> Result<Vec<Rule>, Problems> {
    let mut problems = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    let mut names = BTreeSet::new();
    for (index, text) in document.value.rules.iter().enumerate() {
        let mut check = Check { document, path: format!("rules[{index}]"), problems: Vec::new() };
        if text.alert.trim().is_empty() {
            check.problem("alert", "an alert name is required");
        } else if let Err(why) = check_name(&text.alert) {
            check.problem("alert", format!("this name {why}"));
        } else if text.alert == RECEIVER_IN_TROUBLE {
            check.problem("alert", "reserved: the service raises alerts with this name when a receiver fails");
        } else if text.alert == REPORT {
            check.problem("alert", "reserved: the service sends reports under this name");
        }
        if let Some(taken) = names_of(text).find(|name| !names.insert(name.clone())) {
            check.problem("alert", format!("another rule is already named `{taken}`"));
        }
        rules.extend(check.rules(text));
        problems.extend(check.problems);
    }
    document.conclude(problems)?;
    Ok(rules)
}

/// Names that a rule occupies: an objective becomes several rules, and its own name is taken as well.
fn names_of(text: &RuleText) -> impl Iterator<Item = String> {
    let windows = text.objective.is_some().then_some(WINDOWS).into_iter().flatten();
    let of_window = |window: burn_rate::Window| objective_name(&text.alert, window);
    std::iter::once(text.alert.clone()).chain(windows.map(of_window))
}

fn objective_name(alert: &str, window: burn_rate::Window) -> String {
    format!("{alert}-{}", window.name)
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

    /// The rules of one entry: one, or one per window for an objective. Problems are collected in either case.
    fn rules(&mut self, text: &RuleText) -> Vec<Rule> {
        self.labels_and_annotations(text);
        self.spans(text);
        let kinds = [("all", text.all.is_some()), ("any", text.any.is_some()), ("objective", text.objective.is_some())];
        let given: Vec<&str> = kinds.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).collect();
        if let [kind, rest @ ..] = given.as_slice() {
            for key in text.own_keys().iter().chain(rest) {
                self.problem(key, format!("`{key}` cannot be combined with `{kind}`"));
            }
        }
        let (combine, clauses) = match (&text.all, &text.any, &text.objective) {
            (_, _, Some(objective)) => return self.objective(text, objective),
            (Some(all), _, _) => (Combine::All, self.clauses("all", all, text)),
            (None, Some(any), _) => (Combine::Any, self.clauses("any", any, text)),
            (None, None, None) => {
                (Combine::All, self.clause("", &text.clause(), &text.by).map(|(clause, by)| (vec![clause], by)))
            }
        };
        let (clauses, by) = clauses.unzip();
        let templates = self.templates(by.as_deref().unwrap_or_default(), text);
        let parts = clauses.zip(by).zip(templates);
        parts.map(|((clauses, by), templates)| rule(text, clauses, combine, by, templates)).into_iter().collect()
    }

    fn clauses(&mut self, key: &str, texts: &[ClauseText], text: &RuleText) -> Option<(Vec<Clause>, Vec<Label>)> {
        if texts.is_empty() || texts.len() > MAX_CLAUSES {
            self.problem(key, format!("must have from 1 to {MAX_CLAUSES} conditions"));
        }
        let found: Vec<_> = (0..)
            .zip(texts)
            .map(|(index, clause): (usize, _)| self.clause(&format!("{key}[{index}]."), clause, &text.by))
            .collect();
        let (clauses, mut bys): (Vec<_>, Vec<_>) = found.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let by = bys.pop()?;
        Some((clauses, by))
    }

    fn objective(&mut self, text: &RuleText, objective: &ObjectiveText) -> Vec<Rule> {
        let metric = self.known_metric("objective.metric", &objective.metric);
        let target = objective.target.in_unit(Unit::Ratio).map_err(|message| self.problem("objective.target", message));
        if target.is_ok_and(|target| !(0.5..1.0).contains(&target)) {
            self.problem("objective.target", "must be at least 50% and less than 100%: the rest is the error budget");
        }
        let bound = burn_rate::bound(objective.within.0);
        if let Err(message) = &bound {
            self.problem("objective.within", message.clone());
        }
        let Some(metric) = metric else { return Vec::new() };
        if metric.kind != Kind::Distribution {
            self.problem("objective.metric", "an objective requires a distribution, such as queue.wait");
        }
        let by = self.labels(metric, &text.by);
        let filters = self.filters(metric, "objective.where", &objective.r#where);
        let templates = self.templates(&by, text);
        let (Ok(target), Ok(bound), Some(templates)) = (target, bound, templates) else { return Vec::new() };
        let of_window = |window: burn_rate::Window| {
            let clauses = window.clauses(metric, bound, 1.0 - target, &filters)?;
            let mut rule = rule(text, clauses, Combine::All, by.clone(), templates.clone());
            rule.objective = (metric.name == catalogue::QUEUE_WAIT.name).then(|| Objective {
                name: rule.name.clone(),
                within_seconds: objective.within.0.as_secs_f64(),
                target,
                filters: filters.clone(),
            });
            rule.name = objective_name(&rule.name, window);
            rule.labels.entry("severity".to_owned()).or_insert_with(|| window.severity.to_owned());
            Some(rule)
        };
        WINDOWS.into_iter().filter_map(of_window).collect()
    }

    /// Checks what does not depend on the metric: labels and annotations.
    fn labels_and_annotations(&mut self, text: &RuleText) {
        if text.annotations.len() > MAX_ANNOTATIONS {
            self.problem("annotations", format!("there are more than {MAX_ANNOTATIONS}"));
        }
        if text.annotations.get("summary").is_none_or(|summary| summary.trim().is_empty()) {
            self.problem("annotations", "a one-line `summary` is required");
        }
        for label in text.labels.keys() {
            let is_built_in = label == "alertname" || PLACE_LABELS.contains(&label.as_str());
            if is_built_in || text.by.contains(label) {
                self.problem(&format!("labels.{label}"), "this label is set automatically");
            } else if !is_label_name(label) {
                let message =
                    format!("`{label}` is not a label name: use letters, digits and _, not starting with a digit");
                self.problem(&format!("labels.{label}"), message);
            }
        }
    }

    fn spans(&mut self, text: &RuleText) {
        if text.datapoints.is_some() && text.r#for.is_some() {
            self.problem("datapoints", "a rule has `for` or `datapoints`, not both");
        }
        if text.limit.is_some_and(|limit| limit == 0 || limit > HIGHEST_LIMIT) {
            self.problem("limit", format!("must be from 1 to {HIGHEST_LIMIT}"));
        }
    }

    /// Compiles the annotations and renders them once, so that unknown names are found now rather than when an alert
    /// fires.
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

fn rule(text: &RuleText, clauses: Vec<Clause>, combine: Combine, by: Vec<Label>, templates: Templates) -> Rule {
    let duration = |written: Option<HumanDuration>| written.map(|duration| duration.0).unwrap_or_default();
    Rule {
        name: text.alert.clone(),
        clauses,
        combine,
        by,
        hold: duration(text.r#for),
        datapoints: text.datapoints,
        keep_firing_for: duration(text.keep_firing_for),
        no_data: text.no_data,
        limit: text.limit.unwrap_or(DEFAULT_LIMIT),
        labels: text.labels.clone(),
        templates: templates.into(),
        objective: None,
    }
}

/// Whether Prometheus and Alertmanager accept it as a label name.
pub(super) fn is_label_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.chars().all(letters) && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}
