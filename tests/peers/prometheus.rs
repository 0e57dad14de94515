//! Validation by Prometheus itself: promtool lints the metrics page, and a real server scrapes it and parses every
//! dashboard query. Skipped with a message if Prometheus is not installed.

use crate::support::frames;
use crate::support::prometheus::{Server, is_installed};

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use serde_json::Value;
use trainspotter::publish::{PROMETHEUS_CONTENT_TYPE, prometheus_text};
use trainspotter_core::metrics::catalogue::{ALL, DURATION_BOUNDS, Kind};
use trainspotter_core::metrics::{Distribution, Frame, Labels, Sample, Value as Figure};

use frames::frame;

/// Timeout of the server's start and first scrape, in wall time.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn promtool_finds_nothing_to_complain_about() {
    if !is_installed("promtool") {
        return;
    }
    for text in [prometheus_text(&[frame(0, &[0.5, 90.0])]), prometheus_text(&[everything().into()])] {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

#[tokio::test]
async fn a_real_prometheus_stores_the_scraped_values_and_parses_every_dashboard_query() {
    if !is_installed("prometheus") {
        return;
    }
    let text = prometheus_text(&[frame(0, &[0.5, 90.0, 90.0])]);
    let page = text.clone();
    let answer = move || async move { ([("content-type", PROMETHEUS_CONTENT_TYPE)], page) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    tokio::spawn(async { axum::serve(listener, Router::new().route("/metrics", get(answer))).await });

    let config = format!(
        "scrape_configs:\n- job_name: trainspotter\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{target}']\n"
    );
    let server = Server::start(&config).await;
    let stored = tokio::time::timeout(PATIENCE, series_of(&server)).await.expect("Prometheus scraped nothing");
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(stored.len(), lines, "each line is a series: {stored:#?}");
    let value = |series: &str| stored.get(series).unwrap_or_else(|| panic!("{series} is not in {stored:#?}"));
    assert_eq!(value("trainspotter_queue_jobs queue=prod share=research state=runnable"), "17");
    assert_eq!(value("trainspotter_queue_jobs queue=prod state=running"), "0", "an empty label is no label");
    assert_eq!(value("trainspotter_queue_wait_seconds_bucket le=300 queue=prod share=research"), "3");
    assert_eq!(value("trainspotter_queue_wait_seconds_sum queue=prod share=research"), "180.5");
    assert_eq!(value("trainspotter_job_preemptions_total queue=prod share=research"), "40");
    let hard =
        "trainspotter_share_used_instances instance_type=ml.p5.48xlarge queue=quote\" back\\slash\nline share=größe";
    assert_eq!(value(hard), "2.5");

    let queries = dashboard_queries();
    assert!(queries.len() > 40, "{}", queries.len());
    for query in queries {
        let answer = server.ask(&query, None).await;
        assert_eq!(answer["status"], "success", "{query}: {}", answer["error"]);
    }
}

/// Values by name and labels, as soon as there are any.
async fn series_of(server: &Server) -> BTreeMap<String, String> {
    loop {
        let answer = server.ask("{job=\"trainspotter\",__name__=~\"trainspotter_.+\"}", None).await;
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        if !result.is_empty() {
            return result.iter().map(series).collect();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn series(result: &Value) -> (String, String) {
    let labels: BTreeMap<&str, &str> = result["metric"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let mut name = labels["__name__"].to_owned();
    for (label, value) in labels.iter().filter(|(label, _)| !["__name__", "job", "instance"].contains(label)) {
        name.push_str(&format!(" {label}={value}"));
    }
    (name, result["value"][1].as_str().unwrap().to_owned())
}

/// Every query of the Prometheus dashboard, with its variables filled in as Grafana does.
fn dashboard_queries() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/grafana/trainspotter-prometheus.json");
    let board: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets
        .map(|target| {
            let query = target["expr"].as_str().unwrap();
            query
                .replace("$__rate_interval", "2m")
                .replace("$window", "1h")
                .replace("$queue", ".*")
                .replace("$share", ".*")
        })
        .collect()
}

/// One series of every metric.
fn everything() -> Frame {
    let sample = |metric: &&'static trainspotter_core::metrics::catalogue::Metric| {
        let labels: Labels = metric.labels.iter().map(|label| (*label, "x".into())).collect();
        let value = match metric.kind {
            Kind::Gauge => Figure::Gauge(1.0),
            Kind::Counter => Figure::Counter(1.0),
            Kind::Distribution => {
                let mut buckets = vec![0; DURATION_BOUNDS.len() + 1];
                buckets[0] = 1;
                Figure::Distribution(Distribution { buckets, sum: 1.0, count: 1, ..Distribution::default() })
            }
        };
        Sample { metric, labels, value }
    };
    Frame { samples: ALL.iter().map(sample).collect(), ..Frame::default() }
}
