//! Checks names in PromQL: the metrics of a query, its matchers, and the remaining labels.
//!
//! Whether a query parses is checked by Prometheus itself in `tests/peers/prometheus.rs`.

use std::collections::BTreeSet;

use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::{Kind, Metric};

use crate::dashboards::label_values;

/// Functions that require a counter.
const OF_TOTALS: &[&str] = &["rate", "increase", "irate"];
/// Words followed by a list of labels.
const OF_LABELS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];
const AGGREGATIONS: &[&str] = &["sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "stddev"];
/// Labels of the target, which metrics may have besides those of the catalogue.
const OF_TARGETS: [&str; 2] = ["account", "region"];
const OPERATORS: &[&str] = &["and", "or", "unless", "bool", "offset", "inf", "nan"];

/// Problems of a query and its legend (`{{label}}`).
pub fn check(query: &str, legend: &str) -> Vec<String> {
    let tokens = tokens(query);
    let mut problems = Vec::new();
    // Labels of the metrics, labels to keep, and whether there is any aggregation.
    let (mut labels, mut kept, mut aggregated) = (BTreeSet::new(), BTreeSet::new(), false);
    let mut at = 0;
    while at < tokens.len() {
        let Token::Word(word) = &tokens[at] else {
            at += 1;
            continue;
        };
        at += 1;
        if OF_LABELS.contains(&word.as_str()) {
            let end = tokens[at..].iter().position(|token| *token == Token::Sign(')')).unwrap_or(0);
            kept.extend(tokens[at..at + end].iter().filter_map(Token::word));
            at += end;
        } else if tokens.get(at) == Some(&Token::Sign('(')) || AGGREGATIONS.contains(&word.as_str()) {
            aggregated |= AGGREGATIONS.contains(&word.as_str());
        } else if !OPERATORS.contains(&word.to_lowercase().as_str()) {
            let caller = at.checked_sub(3).and_then(|at| tokens[at].word());
            let end = matchers_end(&tokens, at);
            problems.extend(check_selector(word, &tokens[at..end], caller.as_deref(), &mut labels));
            at = end;
        }
    }
    problems.extend(kept.difference(&labels).map(|label| format!("no metric of this query has the label {label}")));
    for label in legend_labels(legend) {
        if !labels.contains(&label) {
            problems.push(format!("no metric of this query has the label {label}"));
        } else if aggregated && !kept.contains(&label) {
            problems.push(format!("the legend's label {label} is aggregated away"));
        }
    }
    problems
}

fn check_selector(name: &str, matchers: &[Token], caller: Option<&str>, labels: &mut BTreeSet<String>) -> Vec<String> {
    let Some((metric, is_total)) = find(name) else { return vec![format!("no metric is called {name}")] };
    let has_bounds = name.ends_with("_bucket") && metric.kind == Kind::Distribution;
    labels.extend(metric.labels.iter().map(|label| (*label).to_owned()));
    labels.extend(has_bounds.then(|| "le".to_owned()));
    labels.extend(OF_TARGETS.map(str::to_owned));
    let mut problems = Vec::new();
    for (label, value) in pairs(matchers) {
        if OF_TARGETS.contains(&label.as_str()) {
            continue;
        }
        let is_bound = has_bounds && label == "le";
        if !is_bound && !metric.labels.contains(&label.as_str()) {
            problems.push(format!("{name} has no label {label}"));
        }
        problems.extend(label_values::check(metric, &label, &value));
    }
    let of_total = caller.filter(|caller| OF_TOTALS.contains(caller));
    match (of_total, is_total) {
        (Some(_), true) | (None, false) => {}
        (Some(caller), false) => problems.push(format!("{name} is a gauge: {caller} makes no sense of it")),
        (None, true) => problems.push(format!("{name} only grows: use rate or increase")),
    }
    problems
}

/// The metric with this name in Prometheus, and whether the series is a counter.
pub fn find(name: &str) -> Option<(&'static Metric, bool)> {
    let known = |name: &str| catalogue::ALL.iter().copied().find(|metric| metric.prometheus_name() == name);
    if let Some(metric) = known(name) {
        return (metric.kind != Kind::Distribution).then_some((metric, metric.kind == Kind::Counter));
    }
    let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
    known(family).filter(|metric| metric.kind == Kind::Distribution).map(|metric| (metric, true))
}

fn legend_labels(legend: &str) -> Vec<String> {
    legend.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim().to_owned())).collect()
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

impl Token {
    fn word(&self) -> Option<String> {
        match self {
            Self::Word(word) => Some(word.clone()),
            Self::Text(_) | Self::Sign(_) => None,
        }
    }
}

/// Words, quoted texts and signs; numbers, spaces and ranges in brackets are skipped.
fn tokens(query: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = query.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' | '\'' => tokens.push(Token::Text(rest.by_ref().take_while(|c| *c != next).collect())),
            '[' => rest.by_ref().take_while(|c| *c != ']').for_each(drop),
            _ if next.is_ascii_digit() => while rest.next_if(|c| c.is_alphanumeric() || *c == '.').is_some() {},
            _ if next.is_alphabetic() || next == '_' => {
                let mut word = String::from(next);
                while let Some(more) = rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
                    word.push(more);
                }
                tokens.push(Token::Word(word));
            }
            _ if next.is_whitespace() => {}
            _ => tokens.push(Token::Sign(next)),
        }
    }
    tokens
}

fn matchers_end(tokens: &[Token], at: usize) -> usize {
    if tokens.get(at) != Some(&Token::Sign('{')) {
        return at;
    }
    tokens[at..].iter().position(|token| *token == Token::Sign('}')).map_or(tokens.len(), |end| at + end)
}

/// Pairs of `label op "value"`.
fn pairs(matchers: &[Token]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut label = None;
    for token in matchers {
        match token {
            Token::Word(word) => label = Some(word.clone()),
            Token::Text(value) => pairs.extend(label.take().map(|label| (label, value.clone()))),
            Token::Sign(_) => {}
        }
    }
    pairs
}
