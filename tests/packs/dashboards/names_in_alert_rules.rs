//! Checks alert rules: ours, with metrics of the catalogue, and Prometheus', with PromQL.

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};
use trainspotter_core::metrics::{catalogue, single_jobs};

use crate::dashboards::label_values;
use crate::dashboards::promql;

/// Parses YAML as JSON with every scalar as a string. Packs use no aliases.
pub fn parse(text: &str) -> Value {
    let mut open: Vec<(Option<String>, Value)> = Vec::new();
    let mut key: Option<String> = None;
    let mut root = Value::Null;
    for event in Parser::new_from_str(text) {
        let done = match event.unwrap().0 {
            Event::MappingStart(..) => {
                open.push((key.take(), Value::Object(Map::new())));
                continue;
            }
            Event::SequenceStart(..) => {
                open.push((key.take(), Value::Array(Vec::new())));
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let (its_key, value) = open.pop().unwrap();
                key = its_key;
                value
            }
            Event::Scalar(text, ..) => {
                if key.is_none() && matches!(open.last(), Some((_, Value::Object(_)))) {
                    key = Some(text.into_owned());
                    continue;
                }
                Value::String(text.into_owned())
            }
            Event::Alias(_) => panic!("packs use no aliases"),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            None => root = done,
            Some((_, Value::Array(list))) => list.push(done),
            Some((_, Value::Object(map))) => {
                map.insert(key.take().unwrap(), done);
            }
            Some(_) => unreachable!("only collections are open"),
        }
    }
    root
}

/// Problems of any rule in a document.
pub fn check(document: &Value) -> Vec<String> {
    match document {
        Value::Array(list) => list.iter().flat_map(check).collect(),
        Value::Object(map) => {
            let mut problems = check_rule(map);
            problems.extend(map.values().flat_map(check));
            problems
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn check_rule(rule: &Map<String, Value>) -> Vec<String> {
    if let Some(query) = rule.get("expr").and_then(Value::as_str) {
        return promql::check(query, "");
    }
    let Some(name) = rule.get("metric").and_then(Value::as_str) else { return Vec::new() };
    let Some(metric) = catalogue::find(name).or_else(|| single_jobs::find(name)) else {
        return vec![format!("no metric is called {name}")];
    };
    let by = rule.get("by").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let filters: Vec<(&str, &str)> = rule
        .get("where")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(label, value)| Some((label.as_str(), value.as_str()?)))
        .collect();
    let mut problems: Vec<String> = by
        .chain(filters.iter().map(|(label, _)| *label))
        .filter(|label| !metric.labels.contains(label))
        .map(|label| format!("{name} has no label {label}"))
        .collect();
    problems.extend(filters.iter().flat_map(|(label, value)| label_values::check(metric, label, value)));
    problems
}
