//! Checks a Grafana dashboard, on Prometheus or on CloudWatch.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::dashboards::cloudwatch;
use crate::dashboards::grid::{self, Tile};
use crate::dashboards::otlp_from_prometheus::to_prometheus;
use crate::dashboards::promql;

/// Minimum schema version: Grafana migrates older ones in untested ways.
const OLDEST_SCHEMA: u64 = 36;

/// Problems of a dashboard.
pub fn check(board: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for required in ["title", "uid"] {
        if !board[required].is_string() {
            problems.push(format!("the dashboard has no {required}"));
        }
    }
    if board["schemaVersion"].as_u64().is_none_or(|version| version < OLDEST_SCHEMA) {
        problems.push(format!("schemaVersion is below {OLDEST_SCHEMA}"));
    }
    let panels = board["panels"].as_array().unwrap();
    let tiles: Vec<Tile> = panels
        .iter()
        .map(|panel| Tile::read(format!("panel {}", title(panel)), &panel["gridPos"], ["x", "y", "w", "h"]))
        .collect();
    problems.extend(grid::check("panel", &tiles));
    let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    if ids.len() != panels.len() {
        problems.push("panels share an id or have none".to_owned());
    }
    let variables = board["templating"]["list"].as_array().map(Vec::as_slice).unwrap_or_default();
    problems.extend(variables.iter().flat_map(check_variable));
    let defined: BTreeSet<&str> = variables.iter().filter_map(|variable| variable["name"].as_str()).collect();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        problems.extend(check_panel(panel, &defined));
    }
    problems
}

fn check_panel(panel: &Value, defined: &BTreeSet<&str>) -> Vec<String> {
    let name = title(panel);
    let mut problems = Vec::new();
    if panel["description"].as_str().is_none_or(str::is_empty) {
        problems.push(format!("panel {name} has no description"));
    }
    if !panel["fieldConfig"]["defaults"]["unit"].is_string() {
        problems.push(format!("panel {name} has no unit"));
    }
    if panel["datasource"]["uid"] != "${datasource}" {
        problems.push(format!("panel {name} is tied to one data source"));
    }
    let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ids: BTreeSet<&str> = targets.iter().filter_map(|target| target["refId"].as_str()).collect();
    if targets.is_empty() || ids.len() != targets.len() {
        problems.push(format!("panel {name} has no query, or queries that share a refId"));
    }
    for target in targets {
        problems.extend(check_target(target).into_iter().map(|problem| format!("panel {name}: {problem}")));
        for variable in variables_in(target).difference(&defined.iter().map(|name| (*name).to_owned()).collect()) {
            problems.push(format!("panel {name}: the variable ${variable} is not defined"));
        }
    }
    problems
}

fn check_target(target: &Value) -> Vec<String> {
    if let Some(query) = target["expr"].as_str() {
        return promql::check(&to_prometheus(query), target["legendFormat"].as_str().unwrap_or_default());
    }
    let text = |key: &str| target[key].as_str().unwrap_or_default();
    let dimensions: Vec<(&str, &str)> = target["dimensions"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
        .collect();
    let mut problems = cloudwatch::check_use(text("namespace"), text("metricName"), &dimensions, text("statistic"));
    problems.extend(cloudwatch::check_label(text("label"), &dimensions));
    problems
}

/// Checks `label_values(selector, label)` on Prometheus, `dimensionValues` on CloudWatch.
fn check_variable(variable: &Value) -> Vec<String> {
    let query = &variable["query"];
    if let Some(values) = query["query"].as_str().and_then(|query| query.strip_prefix("label_values(")) {
        let (selector, label) = values.trim_end_matches(')').rsplit_once(", ").unwrap();
        return promql::check(&to_prometheus(selector), &format!("{{{{{label}}}}}"));
    }
    if query["queryType"] == "dimensionValues" {
        let text = |key: &str| query[key].as_str().unwrap_or_default();
        // The query selects one of the metric's dimensions; the others follow from the metric.
        let dimensions = ["Queue", "Share"].map(|name| (name, "*"));
        let mut problems = cloudwatch::check_use(text("namespace"), text("metricName"), &dimensions, "Maximum");
        if !dimensions.iter().any(|(name, _)| *name == text("dimensionKey")) {
            problems.push(format!("{} has no dimension {}", text("metricName"), text("dimensionKey")));
        }
        return problems;
    }
    Vec::new()
}

/// `$name` and `${name}` in a query, except Grafana's own, which begin with `__`, and CloudWatch's, which are calls.
fn variables_in(target: &Value) -> BTreeSet<String> {
    let text = target.to_string();
    let name = |rest: &str| -> String {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    text.split('$').skip(1).map(name).filter(|name| !name.starts_with("__") && name != "PROP").collect()
}

fn title(panel: &Value) -> &str {
    panel["title"].as_str().unwrap_or("without a title")
}
