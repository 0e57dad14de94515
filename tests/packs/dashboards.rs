//! Checks dashboards and alert rules against the catalogue: every metric, dimension and label in them exists.
//!
//! A dashboard with a metric that nobody publishes looks fine and shows nothing, so a renamed metric must fail here.

mod cloudwatch;
mod grafana;
mod grid;
mod label_values;
mod links;
mod names_in_alert_rules;
mod otlp_from_prometheus;
mod promql;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Problems of a pack, one sentence each.
type Problems = Vec<String>;

#[test]
fn every_dashboard_names_only_what_exists() {
    let files = files("dashboards", "json");
    assert!(files.len() >= 3, "dashboards are gone: {files:?}");
    let mut problems = Problems::new();
    for path in files {
        let body: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let found = if body.get("widgets").is_some() { cloudwatch::check(&body) } else { grafana::check(&body) };
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", path.display())));
        if body.get("widgets").is_some() {
            assert_eq!(cloudwatch::not_in_all_places(&body), Problems::new());
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_alert_rule_names_only_what_exists() {
    let mut problems = Problems::new();
    for path in files("alerts", "yaml") {
        let found = names_in_alert_rules::check(&names_in_alert_rules::parse(&fs::read_to_string(&path).unwrap()));
        problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", path.display())));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn promql_that_cannot_show_anything_is_found() {
    let check = |query: &str, legend: &str, expected: &[&str]| {
        assert_eq!(promql::check(query, legend), expected, "{query}");
    };
    check("sum by (queue) (trainspotter_queue_jobs{state=\"running\"})", "{{queue}}", &[]);
    check("trainspotter_queue_jobs / on (queue) group_left () trainspotter_gpu_capacity_gpus", "{{queue}}", &[]);
    check("histogram_quantile(0.9, sum by (le) (rate(trainspotter_queue_wait_seconds_bucket[5m])))", "p90", &[]);
    check("trainspotter_queue_job", "", &["no metric is called trainspotter_queue_job"]);
    check("up == 1", "", &["no metric is called up"]);
    check("trainspotter_gpu_capacity_gpus{share=\"a\"}", "", &["trainspotter_gpu_capacity_gpus has no label share"]);
    check("sum by (host) (trainspotter_queue_jobs)", "", &["no metric of this query has the label host"]);
    check("sum by (queue) (trainspotter_queue_jobs)", "{{share}}", &["the legend's label share is aggregated away"]);
    check("sum(trainspotter_queue_jobs)", "{{queue}}", &["the legend's label queue is aggregated away"]);
    check("trainspotter_queue_jobs", "{{le}}", &["no metric of this query has the label le"]);
    check("trainspotter_queue_jobs{state=\"runable\"}", "", &["queue.jobs never has state=runable"]);
    check("trainspotter_queue_jobs{state=~\"running|queued\"}", "", &["queue.jobs never has state=queued"]);
    check("trainspotter_queue_wait_seconds", "", &["no metric is called trainspotter_queue_wait_seconds"]);
    check(
        "trainspotter_job_preemptions_total",
        "",
        &["trainspotter_job_preemptions_total only grows: use rate or increase"],
    );
    check("rate(trainspotter_queue_jobs[5m])", "", &["trainspotter_queue_jobs is a gauge: rate makes no sense of it"]);
}

#[test]
fn a_cloudwatch_dashboard_that_cannot_show_anything_is_found() {
    let widget = |x: u64, search: &str, label: &str| {
        json!({"type": "metric", "x": x, "y": 0, "width": 12, "height": 6, "properties": {
            "title": "t", "region": "us-east-1", "period": 300,
            "metrics": [[{"expression": format!("SEARCH('{search}', 'Sum', 300)"), "id": "e1", "label": label}]],
        }})
    };
    let check = |widgets: Vec<Value>, expected: &[&str]| {
        assert_eq!(cloudwatch::check(&json!({"widgets": widgets})), expected);
    };
    let good = "{Trainspotter,Queue,Share} MetricName=\"JobPreemptions\"";
    check(vec![widget(0, good, "${PROP('Dim.Share')}")], &[]);
    check(vec![widget(0, good, "a"), widget(12, good, "b")], &[]);
    check(vec![widget(0, good, "a"), widget(6, good, "b")], &["widgets 0 and 1 overlap"]);
    check(vec![widget(20, good, "a")], &["widget 0 is 12 wide at 20: the grid has 24 columns"]);
    check(
        vec![widget(0, "{Trainspotter,Queue} MetricName=\"JobPreemptions\"", "")],
        &["widget 0: JobPreemptions has the dimensions Queue, Share, not Queue"],
    );
    check(vec![widget(0, "{Trainspotter,Account,Region,Queue,Share} MetricName=\"JobPreemptions\"", "")], &[]);
    let body = json!({ "widgets": [widget(0, good, "a")] });
    assert_eq!(cloudwatch::not_in_all_places(&body).len(), 1);
    check(
        vec![widget(0, "{Trainspotter,Queue,Share} MetricName=\"Preemptions\"", "")],
        &["widget 0: no metric is called Preemptions in Trainspotter"],
    );
    check(
        vec![widget(0, good, "${PROP('Dim.Host')}")],
        &["widget 0: the label names the dimension Host, which the search does not have"],
    );
    check(
        vec![widget(0, "{\"AWS/Batch\",JobQueueName} MetricName=\"JobsWaiting\"", "")],
        &["widget 0: no metric is called JobsWaiting in AWS/Batch"],
    );
    check(
        vec![widget(0, "{Trainspotter,Queue,Share,State} MetricName=\"QueueJobs\" State=\"waiting\"", "")],
        &[
            "widget 0: queue.jobs never has state=waiting",
            "widget 0: QueueJobs is a gauge: its sum over a period depends on how often it is published",
        ],
    );
    let mut nowhere = widget(0, good, "");
    nowhere["properties"].as_object_mut().unwrap().remove("region");
    check(vec![nowhere], &["widget 0 has no region"]);
}

#[test]
fn a_grafana_dashboard_that_cannot_show_anything_is_found() {
    let board = |panel: Value| {
        let variable = json!({"name": "datasource", "type": "datasource", "query": "prometheus"});
        json!({"schemaVersion": 39, "title": "t", "uid": "u", "panels": [panel], "templating": {"list": [variable]}})
    };
    let panel = json!({
        "id": 1, "type": "stat", "title": "p", "description": "d", "datasource": {"uid": "${datasource}"},
        "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}, "fieldConfig": {"defaults": {"unit": "s"}},
        "targets": [{"refId": "A", "expr": "max(trainspotter_queue_wait_oldest_seconds{queue=~\"$queue\"})"}],
    });
    assert_eq!(grafana::check(&board(panel.clone())), ["panel p: the variable $queue is not defined"]);
    let mut bare = panel;
    bare["targets"][0]["expr"] = json!("trainspotter_oldest_wait");
    bare["fieldConfig"] = json!({});
    bare.as_object_mut().unwrap().remove("description");
    assert_eq!(
        grafana::check(&board(bare)),
        ["panel p has no description", "panel p has no unit", "panel p: no metric is called trainspotter_oldest_wait"]
    );
}

#[test]
fn an_alert_rule_that_cannot_fire_is_found() {
    let check = |rule: &str, expected: &[&str]| {
        assert_eq!(names_in_alert_rules::check(&names_in_alert_rules::parse(rule)), expected, "{rule}")
    };
    check("rules:\n- alert: A\n  metric: queue.wait\n  by: [queue, share]\n  where: { queue: 'prod-*' }\n", &[]);
    check("metric: queue.waits\n", &["no metric is called queue.waits"]);
    check("metric: gpu.idle.ratio\nby: [share]\n", &["gpu.idle.ratio has no label share"]);
    check("metric: queue.jobs\nwhere: { state: queued }\n", &["queue.jobs never has state=queued"]);
    check("groups:\n- rules:\n  - expr: trainspotter_nothing > 1\n", &["no metric is called trainspotter_nothing"]);
}

/// Files in a folder of the project, by extension, in order; empty if the folder does not exist.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
