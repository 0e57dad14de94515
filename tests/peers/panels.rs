//! Every panel of every dashboard over the metrics of a running service: each query returns data, or is listed with
//! the reason why not. A panel whose names all exist can still be empty forever: because of a wrong statistic, labels
//! that never occur together, or a counter that is never published.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use trainspotter::config::{CloudWatch, Publish};
use trainspotter::cost::{Assumed, assumed_frame};
use trainspotter::publish::CloudWatchSink;
use trainspotter_clock::Clock;
use trainspotter_core::metrics::{Frame, Value as Figure};
use trainspotter_core::model::{Place, Timestamp};
use trainspotter_simulator::workload::{Synthetic, Workload};
use trainspotter_simulator::{Simulation, serve};

use crate::support::demo::{Demo, PATIENCE};
use crate::support::frames::AT;
use crate::support::http;
use crate::support::metric_receivers::cloudwatch_client;
use crate::support::prometheus::{Server, is_installed};

const SEED: u64 = 7;
/// Simulated seconds per real second.
const SPEED: f64 = 900.0;
/// Simulated time after which everything has happened: preemptions and failures take some hours.
const ENOUGH: Duration = Duration::from_hours(10);

/// Queries without data in this simulation, with the reason.
const EMPTY: &[(&str, &str)] = &[
    ("trainspotter_forecast_", "forecasts are switched off here"),
    ("Trainspotter,Account,Region,", "figures have account and region only where several are watched"),
    ("JobsCancelled", "service jobs are terminated and never cancelled"),
    ("JobsTerminated", "nobody terminates a job here"),
    ("trainspotter_source_unknown_values_total", "AWS says nothing here that is not known"),
    ("trainspotter_rule_failures_total", "every rule can be evaluated here"),
];

/// Queries that may have no data, depending on the load of the machine.
const MAYBE_EMPTY: &[(&str, &str)] = &[
    ("trainspotter_limit_hits_total", "a limit bites only where polls are late"),
    ("trainspotter_alerts_active", "an alert may have ended by then"),
    (
        "trainspotter_job_failure_ratio",
        "ten jobs have to have ended within the hour; the panels on CloudWatch look at all hours",
    ),
];

/// Labels that exist only with several accounts or regions.
const MAYBE_ABSENT: [&str; 2] = ["account", "region"];

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_every_dashboard_shows_data() {
    let work = Synthetic { attempts: 3, failures: 0.2, ..Synthetic::default() };
    let demo = Demo::start(SEED, SPEED, &work, |_| Publish {
        cloudwatch: Some(CloudWatch::new("Trainspotter", Duration::from_secs(60))),
        otlp: Vec::new(),
    })
    .await;
    // Long enough that Prometheus, which scrapes every second, sees the counter increase.
    let fault = json!({"server_error": {"operation": "GetJobQueueSnapshot", "after": "3h", "for": "2h"}});
    demo.inject(&fault).await;
    let scraping = scraped(demo.page).await;
    demo.at(ENOUGH).await;
    let mut queries = Vec::new();
    queries.extend(cloudwatch_widgets());
    queries.extend(grafana_on_cloudwatch());
    assert!(queries.len() > 60, "{}", queries.len());
    let mut shown = Shown::default();
    for (panel, query) in &queries {
        shown.note(panel, query, has_data(demo.endpoint, (demo.began, demo.clock.now()), query).await);
    }
    if let Some(prometheus) = scraping {
        let queries = grafana_on_prometheus();
        assert!(queries.len() > 40, "{}", queries.len());
        for (panel, query) in &queries {
            shown.note(panel, query, !prometheus.values(query, None).await.is_empty());
        }
        for query in variables() {
            assert!(!prometheus.values(&query, None).await.is_empty(), "a variable without values: {query}");
        }
        shown.conclude(EMPTY);
    } else {
        let native: Vec<_> = EMPTY.iter().filter(|(name, _)| !name.starts_with("trainspotter_")).copied().collect();
        shown.conclude(&native);
    }
}

/// Results of the queries so far.
#[derive(Default)]
struct Shown {
    empty: BTreeMap<String, BTreeSet<String>>,
}

impl Shown {
    fn note(&mut self, panel: &str, query: &str, has_data: bool) {
        if !has_data {
            self.empty.entry(query.to_owned()).or_default().insert(panel.to_owned());
        }
    }

    /// The empty queries are exactly the expected ones.
    fn conclude(self, expected: &[(&str, &str)]) {
        let is_expected = |query: &String| expected.iter().chain(MAYBE_EMPTY).any(|(part, _)| query.contains(part));
        let unexpected: Vec<_> = self.empty.iter().filter(|(query, _)| !is_expected(query)).collect();
        assert!(unexpected.is_empty(), "seed {SEED}: panels without data: {unexpected:#?}");
        for (part, reason) in expected {
            let is_empty = self.empty.keys().any(|query| query.contains(part));
            assert!(is_empty, "{part} has data, so it need not be in the list ({reason})");
        }
    }
}

/// A Prometheus that scrapes the page every second, if available.
async fn scraped(page: SocketAddr) -> Option<Server> {
    if !is_installed("prometheus") {
        return None;
    }
    let config = format!(
        "scrape_configs:\n- job_name: trainspotter\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{page}']\n"
    );
    Some(Server::start(&config).await)
}

fn dashboard(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(file);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// `(panel, expression)` of the CloudWatch dashboard.
fn cloudwatch_widgets() -> Vec<(String, String)> {
    let body = dashboard("cloudwatch/trainspotter.json");
    let widgets = body["widgets"].as_array().unwrap().iter().filter(|widget| widget["type"] == "metric");
    let rows = widgets.flat_map(|widget| {
        let title = format!("CloudWatch, {}", widget["properties"]["title"].as_str().unwrap());
        let rows = widget["properties"]["metrics"].as_array().unwrap().iter();
        rows.map(move |row| {
            let options = row.as_array().unwrap().last().unwrap();
            let expression = options["expression"].as_str().expect("every row is a search");
            (title.clone(), expression.to_owned())
        })
    });
    rows.collect()
}

/// `(panel, query)` of a Grafana dashboard.
fn targets(file: &str) -> Vec<(String, Value)> {
    let board = dashboard(file);
    let panels = board["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| {
        let title = format!("{file}, {}", panel["title"].as_str().unwrap());
        panel["targets"].as_array().into_iter().flatten().map(move |target| (title.clone(), target.clone()))
    });
    targets.collect()
}

/// The searches that Grafana makes of its CloudWatch queries, with every queue and share selected: a dimension with
/// `*` is in the schema and not filtered.
fn grafana_on_cloudwatch() -> Vec<(String, String)> {
    let search = |target: Value| {
        let text = |key: &str| target[key].as_str().unwrap().to_owned();
        let (mut schema, mut terms) = (String::new(), String::new());
        for (name, value) in target["dimensions"].as_object().unwrap() {
            schema += &format!(",{name}");
            let value = value.as_str().unwrap();
            if value != "*" && !value.starts_with('$') {
                terms += &format!(" {name}=\"{value}\"");
            }
        }
        let namespace = text("namespace");
        let period = Some(text("period")).filter(|period| !period.is_empty()).unwrap_or_else(|| "300".to_owned());
        let (metric, statistic) = (text("metricName"), text("statistic"));
        format!("SEARCH('{{\"{namespace}\"{schema}}} MetricName=\"{metric}\"{terms}', '{statistic}', {period})")
    };
    let targets = targets("grafana/trainspotter-cloudwatch.json").into_iter();
    targets.map(|(panel, target)| (panel, search(target))).collect()
}

/// The queries of the Prometheus dashboard, with every queue and share selected.
fn grafana_on_prometheus() -> Vec<(String, String)> {
    let targets = targets("grafana/trainspotter-prometheus.json").into_iter();
    targets.map(|(panel, target)| (panel, filled_in(target["expr"].as_str().unwrap()))).collect()
}

/// The queries for the values of that dashboard's variables.
fn variables() -> Vec<String> {
    let board = dashboard("grafana/trainspotter-prometheus.json");
    let variables = board["templating"]["list"].as_array().unwrap().iter();
    let selector = |variable: &Value| {
        let values = variable["query"]["query"].as_str()?.strip_prefix("label_values(")?.strip_suffix(')')?.to_owned();
        let (selector, label) = values.rsplit_once(", ")?;
        if MAYBE_ABSENT.contains(&label) {
            return None;
        }
        Some(format!("count by ({label}) ({})", filled_in(selector)))
    };
    variables.filter_map(selector).collect()
}

fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "10s").replace("$window", "1h");
    ["$account", "$region", "$queue", "$share"].iter().fold(query, |query, variable| query.replace(variable, ".*"))
}

/// Metrics of one target among several, put twice each: searches with account and region find data, and those without
/// find none.
#[tokio::test]
async fn every_search_by_account_and_region_finds_what_was_put() {
    let clock = Clock::starting_at(AT, 1.0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap();
    let nothing = Workload { setup: Default::default(), submissions: Vec::new() };
    tokio::spawn(serve(listener, Simulation::new(nothing, SEED, clock), CancellationToken::new()));
    let assumed = Assumed {
        queues: 1,
        shares: 2,
        instance_types: 1,
        bands: 1,
        sinks: 1,
        receivers: 1,
        reserved: true,
        priced: true,
    };
    let place = Place { account: Some("111122223333".into()), ..Place::new("eu", "eu-west-1") };
    let mut sink = CloudWatchSink::new(cloudwatch_client(&format!("http://{endpoint}")), "Trainspotter".to_owned())
        .with_places(Arc::new(AtomicBool::new(true)));
    let mut frame = Frame { place, ..assumed_frame(&assumed, AT) };
    for _ in 0..2 {
        for sample in &mut frame.samples {
            match &mut sample.value {
                Figure::Gauge(_) => {}
                Figure::Counter(total) => *total += 1.0,
                Figure::Distribution(distribution) => distribution.fresh = vec![(AT, 60.0)],
            }
        }
        sink.observe(&frame);
        sink.publish(&frame).await.unwrap();
    }
    let hour = Duration::from_secs(3_600);
    let (with, without): (Vec<_>, Vec<_>) = cloudwatch_widgets()
        .into_iter()
        .filter(|(_, search)| search.contains("{Trainspotter,"))
        .partition(|(_, search)| search.contains("{Trainspotter,Account,Region,"));
    assert!(with.len() > 20 && with.len() == without.len(), "{} and {}", with.len(), without.len());
    for (expected, searches) in [(true, with), (false, without)] {
        for (widget, search) in searches {
            assert_eq!(has_data(endpoint, (AT - hour, AT + hour), &search).await, expected, "{widget}: {search}");
        }
    }
}

/// Whether the simulated CloudWatch returns a data point for this expression.
async fn has_data(endpoint: SocketAddr, (from, to): (Timestamp, Timestamp), expression: &str) -> bool {
    let body = json!({
        "MetricDataQueries": [{"Id": "e1", "Expression": expression}],
        "StartTime": from.secs_f64(),
        "EndTime": to.secs_f64(),
    });
    let request = http::client().post(format!("http://{endpoint}/"));
    let request = request.header("x-amz-target", "GraniteServiceVersion20100801.GetMetricData");
    let request = request.header("content-type", "application/x-amz-json-1.0").body(body.to_string());
    let answer = tokio::time::timeout(PATIENCE, request.send()).await.expect("CloudWatch answers").unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{expression}: {text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let series = answer["MetricDataResults"].as_array().unwrap();
    series.iter().any(|series| !series["Values"].as_array().unwrap().is_empty())
}
