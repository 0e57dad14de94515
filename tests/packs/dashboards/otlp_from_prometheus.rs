//! The dashboard for metrics sent to CloudWatch by OTLP: the Prometheus dashboard with OTLP names, for Grafana's data
//! source that queries CloudWatch with PromQL. It is generated from the other one, so that its checks apply here too.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use trainspotter_core::metrics::catalogue;

const SOURCE: &str = "dashboards/grafana/trainspotter-prometheus.json";
const MADE: &str = "dashboards/grafana/trainspotter-cloudwatch-promql.json";

/// A query with OTLP names; `None` if it uses distribution buckets, which CloudWatch does not document.
fn translated(query: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = query;
    while let Some(at) = rest.find("trainspotter_") {
        let (before, after) = rest.split_at(at);
        let end = after.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let metric = catalogue::ALL.iter().find(|metric| metric.prometheus_name() == name)?;
        text += before;
        text += &format!("{{\"{}\"", metric.otlp_name());
        rest = match after.strip_prefix('{') {
            Some(matchers) => {
                text += ", ";
                matchers
            }
            None => {
                text += "}";
                after
            }
        };
    }
    text += rest;
    Some(text)
}

/// Replaces each OTLP metric name in a query by its Prometheus name.
pub fn to_prometheus(query: &str) -> String {
    let mut text = String::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{\"") {
        let (name, after) = after.split_once('"').unwrap();
        let metric = catalogue::ALL.iter().find(|metric| metric.otlp_name() == name);
        text += before;
        text += &metric.map_or_else(|| name.to_owned(), |metric| metric.prometheus_name());
        text.push('{');
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    text + rest
}

fn made() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut board: Value = serde_json::from_str(&fs::read_to_string(root.join(SOURCE)).unwrap()).unwrap();
    board["uid"] = json!("trainspotter-cloudwatch-promql");
    board["title"] = json!("Trainspotter: training queues, CloudWatch by PromQL");
    board["description"] = json!(
        "What was sent to CloudWatch by OTLP. The data source is Amazon Managed Service for Prometheus at https://monitoring.REGION.amazonaws.com, signed for the service monitoring."
    );
    for variable in board["templating"]["list"].as_array_mut().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
        let (selector, label) = inner.rsplit_once(", ").unwrap();
        let query = format!("label_values({}, {label})", translated(selector).unwrap());
        variable["definition"] = json!(query);
        variable["query"]["query"] = json!(query);
    }
    let panels = board["panels"].as_array_mut().unwrap();
    for panel in panels.iter_mut() {
        let Some(targets) = panel["targets"].as_array_mut() else { continue };
        targets.retain_mut(|target| {
            let query = translated(target["expr"].as_str().unwrap());
            query.is_some_and(|query| {
                target["expr"] = json!(query);
                true
            })
        });
    }
    panels.retain(|panel| panel["type"] == "row" || !panel["targets"].as_array().unwrap().is_empty());
    board
}

#[test]
fn the_dashboard_for_otlp_is_that_for_prometheus_with_the_names_that_are_sent() {
    let text = serde_json::to_string_pretty(&made()).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MADE);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "{MADE} is not up to date; run: UPDATE_DOCS=1 cargo test dashboard_for_otlp"
    );
}

#[test]
fn names_are_translated_there_and_back() {
    let query = "sum by (queue) (trainspotter_queue_jobs{queue=~\"$queue\"}) / max(trainspotter_alerts)";
    let otlp = translated(query).unwrap();
    assert_eq!(
        otlp,
        "sum by (queue) ({\"trainspotter.queue.jobs\", queue=~\"$queue\"}) / max({\"trainspotter.alerts\"})"
    );
    assert_eq!(to_prometheus(&otlp), query.replace("trainspotter_alerts)", "trainspotter_alerts{})"));
    assert_eq!(translated("rate(trainspotter_queue_wait_seconds_bucket[5m])"), None);
}
