//! Lints for rules that are valid but probably not intended.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::metrics::catalogue::{Range, Unit};
use crate::model::format;
use crate::rules::rule::{Aggregation, Clause, Combine, Condition, Rule, unit_of};
use crate::yaml::nearest;

/// Threshold of "too long to wait for an alert".
const LONG: Duration = Duration::from_secs(86_400);

/// Returns one line per finding, each starting with the rule's name. `poll_every` is the evaluation interval.
pub fn lint(rules: &[Rule], poll_every: Duration) -> Vec<String> {
    let mut found = Vec::new();
    let mut meanings: BTreeMap<String, &str> = BTreeMap::new();
    for rule in rules {
        let mut tell = |what: String| found.push(format!("{}: {what}", rule.name));
        for clause in &rule.clauses {
            if let Some(what) = always_or_never(clause) {
                tell(what);
            }
        }
        if rule.combine == Combine::All
            && let Some(what) = contradiction(rule)
        {
            tell(what);
        }
        let every = format::duration(poll_every.as_secs_f64());
        if !rule.hold.is_zero() && rule.hold < poll_every {
            tell(format!("`for` is shorter than the {every} between two evaluations, so it has no effect"));
        }
        for (key, span) in rule.clauses.iter().filter_map(looks_back).filter(|(_, span)| *span < poll_every) {
            let span = format::duration(span.as_secs_f64());
            tell(format!(
                "`{key}: {span}` is shorter than the {every} between two evaluations, so it compares nothing"
            ));
        }
        labels(rule).for_each(&mut tell);
        for (key, span) in [("for", rule.hold), ("keep_firing_for", rule.keep_firing_for)] {
            if span > LONG {
                tell(format!("`{key}` is {}: is more than a day meant?", format::duration(span.as_secs_f64())));
            }
        }
        if let Some(key) = delay_of_objective(rule) {
            tell(format!("`{key}` with `objective` only delays its alerts: its windows already smooth them"));
        }
        if flaps(rule) {
            tell(
                "flaps: fires and resolves on every fluctuation; give it `for`, `recover` or `keep_firing_for`"
                    .to_owned(),
            );
        }
        let meaning = format!("{:?} {:?} {:?} {:?}", rule.clauses, rule.combine, rule.by, rule.labels.get("severity"));
        if let Some(other) = meanings.insert(meaning, &rule.name) {
            tell(format!("duplicates {other}: same conditions, `by` and severity"));
        }
        if !rule.templates.sources().any(|(name, _)| name.starts_with("runbook")) {
            tell("has no `runbook` annotation, which the person on call needs".to_owned());
        }
    }
    found
}

/// A delay that a rule of an objective adds to its windows.
fn delay_of_objective(rule: &Rule) -> Option<&'static str> {
    let is_objective = rule.clauses.iter().all(|clause| matches!(clause.take, Aggregation::FractionAbove(..)));
    let delays = if rule.datapoints.is_some() { Some("datapoints") } else { (!rule.hold.is_zero()).then_some("for") };
    delays.filter(|_| is_objective)
}

/// How far back a condition looks, and the key that sets it.
fn looks_back(clause: &Clause) -> Option<(&'static str, Duration)> {
    match clause.take {
        Aggregation::Increase(over) => Some(("increase", over)),
        Aggregation::Change(over) => Some(("change_over", over)),
        Aggregation::Now | Aggregation::Stat(_) | Aggregation::FractionAbove(..) => None,
    }
}

/// Labels with a probably unintended meaning.
fn labels(rule: &Rule) -> impl Iterator<Item = String> {
    rule.labels.iter().filter_map(|(name, value)| {
        if value.contains("{{") {
            Some(format!("label `{name}` is the literal text `{value}`: only annotations are templates"))
        } else if value.trim().is_empty() {
            Some(format!("label `{name}` is empty, which is the same as absent"))
        } else {
            let known =
                ["severity", "owner"].into_iter().find(|known| known.eq_ignore_ascii_case(name) && known != name);
            if let Some(known) = known {
                return Some(format!("label `{name}` is not `{known}`: labels are case-sensitive"));
            }
            let is_lacking = !rule.labels.contains_key("severity") && nearest(name, ["severity"].into_iter()).is_some();
            is_lacking.then(|| format!("label `{name}`: did you mean `severity`, which receivers usually match?"))
        }
    })
}

/// Two conditions over the same value that never hold together. With several series, one may be above and another
/// below.
fn contradiction(rule: &Rule) -> Option<String> {
    let clauses = &rule.clauses;
    let is_one_series = |clause: &Clause| clause.metric.labels.iter().all(|label| rule.by.contains(label));
    let same = |one: &Clause, other: &Clause| {
        one.metric.name == other.metric.name
            && one.take == other.take
            && one.filters == other.filters
            && (one.fold == other.fold || is_one_series(one))
    };
    clauses.iter().find_map(|one| {
        let Condition::Above { threshold: low, .. } = one.condition else { return None };
        clauses.iter().filter(|other| same(one, other)).find_map(|other| match other.condition {
            Condition::Below { threshold: high, .. } if high <= low => Some(format!(
                "never holds: `{}` cannot be above {} and below {} at the same time",
                one.metric.name,
                one.in_words(low),
                one.in_words(high)
            )),
            Condition::Below { .. } | Condition::Above { .. } => None,
        })
    })
}

/// A condition that always or never holds, given the metric's range.
fn always_or_never(clause: &Clause) -> Option<String> {
    let (least, most) = range(clause)?;
    let words = |value| clause.in_words(value);
    let name = clause.metric.name;
    match clause.condition {
        Condition::Above { threshold, .. } if threshold >= most => {
            Some(format!("never holds: `{name}` is at most {}", words(most)))
        }
        Condition::Above { threshold, .. } if threshold < least => {
            Some(format!("always holds: `{name}` is at least {}", words(least)))
        }
        Condition::Below { threshold, .. } if threshold <= least => {
            Some(format!("never holds: `{name}` is at least {}", words(least)))
        }
        Condition::Below { threshold, .. } if threshold > most => {
            Some(format!("always holds: `{name}` is at most {}", words(most)))
        }
        Condition::Above { .. } | Condition::Below { .. } => None,
    }
}

/// The range of the condition's value; `None` for differences.
fn range(clause: &Clause) -> Option<(f64, f64)> {
    match clause.take {
        Aggregation::Change(_) => None,
        Aggregation::FractionAbove(..) => Some(Range::UpToOne.bounds()),
        Aggregation::Now | Aggregation::Stat(_) | Aggregation::Increase(_) => Some(clause.metric.range.bounds()),
    }
}

/// Whether a rule looks at single values that fluctuate, without any smoothing.
fn flaps(rule: &Rule) -> bool {
    let wiggles = |clause: &Clause| {
        let smooth = match clause.condition {
            Condition::Above { threshold, recover } | Condition::Below { threshold, recover } => threshold != recover,
        };
        clause.take == Aggregation::Now && unit_of(clause.metric, clause.take) == Unit::Ratio && !smooth
    };
    let wiggles = match rule.combine {
        Combine::All => rule.clauses.iter().all(wiggles),
        Combine::Any => rule.clauses.iter().any(wiggles),
    };
    wiggles && rule.hold.is_zero() && rule.keep_firing_for.is_zero() && rule.datapoints.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse_rules;

    fn check(rules: &str, expected: &[&str]) {
        let rules = parse_rules("rules.yaml", &format!("rules: [{rules}]")).unwrap();
        assert_eq!(lint(&rules, Duration::from_secs(30)), expected);
    }

    fn rule(name: &str, rest: &str) -> String {
        format!("{{ alert: {name}, annotations: {{ summary: x, runbook: y }}, {rest} }}")
    }

    #[test]
    fn what_is_hardly_meant_is_reported() {
        let one = |rest: &str, expected: &str| check(&rule("A", rest), &[&format!("A: {expected}")]);
        one("metric: gpu.idle.ratio, above: 100%, for: 5m", "never holds: `gpu.idle.ratio` is at most 100 %");
        one("metric: queue.wait.oldest, below: 0s, for: 5m", "never holds: `queue.wait.oldest` is at least 0s");
        one("metric: gpu.capacity, above: -1", "always holds: `gpu.capacity` is at least 0 GPUs");
    }

    #[test]
    fn labels_windows_and_conditions_that_mean_nothing() {
        let one = |rest: &str, expected: &str| check(&rule("A", rest), &[&format!("A: {expected}")]);
        let two = |below: &str| {
            format!(
                "by: [queue, share], all: [{{ metric: queue.wait.oldest, above: 1h }}, {{ metric: queue.wait.oldest, below: {below} }}]"
            )
        };
        one(&two("30m"), "never holds: `queue.wait.oldest` cannot be above 1h and below 30m at the same time");
        check(&rule("A", &two("2h")), &[]);
        check(&rule("A", &two("30m").replace("[queue, share]", "[queue]")), &[]);
        let nothing = "is shorter than the 30s between two evaluations, so it compares nothing";
        one("metric: job.ended, increase: 1s, above: 3", &format!("`increase: 1s` {nothing}"));
        one("metric: queue.jobs, change_over: 10s, above: 3", &format!("`change_over: 10s` {nothing}"));
        let labelled = |label: &str| format!("metric: queue.jobs, above: 3, labels: {{ {label} }}");
        one(
            &labelled("team: '{{ queue }}'"),
            "label `team` is the literal text `{{ queue }}`: only annotations are templates",
        );
        one(&labelled("severity: ''"), "label `severity` is empty, which is the same as absent");
        one(&labelled("Severity: page"), "label `Severity` is not `severity`: labels are case-sensitive");
        one(&labelled("sevrity: page"), "label `sevrity`: did you mean `severity`, which receivers usually match?");
    }

    #[test]
    fn rules_that_are_fine_are_not_mentioned() {
        check(&rule("A", "metric: share.utilisation, above: 100%, for: 5m"), &[]);
        check(&rule("A", "metric: queue.jobs, change_over: 1h, below: -5"), &[]);
        check(&rule("A", "metric: gpu.idle.ratio, above: 50%, recover: 40%"), &[]);
        check(
            &[rule("A", "metric: gpu.capacity, above: 1"), rule("B", "metric: gpu.capacity, above: 2")].join(", "),
            &[],
        );
    }

    #[test]
    fn an_objective_needs_nothing_that_delays_it() {
        let objective =
            |more: &str| rule("A", &format!("objective: {{ metric: queue.wait, target: 95%, within: 30m }}{more}"));
        check(&objective(""), &[]);
        for (key, more) in [("for", ", for: 10m"), ("datapoints", ", datapoints: 3 of 5")] {
            let says = |window: &str| {
                format!("A-{window}: `{key}` with `objective` only delays its alerts: its windows already smooth them")
            };
            let expected = ["1h", "6h", "3d"].map(says);
            check(&objective(more), &expected.each_ref().map(String::as_str));
        }
    }

    #[test]
    fn spans_doubles_and_runbooks() {
        let short = "A: `for` is shorter than the 30s between two evaluations, so it has no effect";
        check(&rule("A", "metric: gpu.capacity, above: 1, for: 20s"), &[short]);
        check(&rule("A", "metric: gpu.capacity, above: 1, for: 1d"), &[]);
        let long = "A: `for` is 1d 1h: is more than a day meant?";
        check(&rule("A", "metric: gpu.capacity, above: 1, for: 25h"), &[long]);
        let flaps = "A: flaps: fires and resolves on every fluctuation; give it `for`, `recover` or `keep_firing_for`";
        check(&rule("A", "metric: gpu.idle.ratio, above: 50%"), &[flaps]);
        let twice = [rule("A", "metric: gpu.capacity, above: 1"), rule("B", "metric: gpu.capacity, above: 1, for: 5m")];
        check(&twice.join(", "), &["B: duplicates A: same conditions, `by` and severity"]);
        let bare = "{ alert: A, annotations: { summary: x }, metric: gpu.capacity, above: 1 }";
        check(bare, &["A: has no `runbook` annotation, which the person on call needs"]);
    }
}
