//! Metrics by OTLP to CloudWatch, over real sockets to the simulated one, which checks signatures and limits.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use trainspotter::cost::{Assumed, assumed_frame};
use trainspotter::outbound::{SignedEndpoint, SignedService, Signer};
use trainspotter::publish::{Origin, OtlpSink, Published, SinkError};
use trainspotter_clock::Clock;
use trainspotter_core::metrics::catalogue::Kind;
use trainspotter_core::metrics::{Frame, Sample, Value as Figure, catalogue, labels};
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{export, parse_rules};
use trainspotter_simulator::workload::Workload;
use trainspotter_simulator::{Simulation, serve};

use crate::support::frames::{AT, frame};
use crate::support::http;

struct CloudWatch {
    root: String,
    clock: Clock,
    _stop: DropGuard,
}

impl CloudWatch {
    async fn start() -> Self {
        let clock = Clock::starting_at(AT, 1.0);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let nothing = Workload { setup: Default::default(), submissions: Vec::new() };
        tokio::spawn(serve(listener, Simulation::new(nothing, 7, clock), stop.clone()));
        Self { root, clock, _stop: stop.drop_guard() }
    }

    fn sink(&self, secret: &str, region: &str, clock: Clock) -> OtlpSink {
        let credentials = SharedCredentialsProvider::new(Credentials::new("simulated", secret, None, None, "test"));
        self.sink_as(credentials, region, clock)
    }

    fn sink_as(&self, credentials: SharedCredentialsProvider, region: &str, clock: Clock) -> OtlpSink {
        let signer = Signer::new(credentials, region.to_owned(), SignedService::Monitoring, clock);
        let url = format!("{}/v1/metrics", self.root).parse().unwrap();
        let origin = Origin { began: Timestamp::from_millis(1_600_000_000_000), region: None, account: None };
        OtlpSink::to_cloudwatch(SignedEndpoint { url, signer }, origin).unwrap()
    }

    fn allowed(&self) -> OtlpSink {
        self.sink("simulated", "us-east-1", self.clock)
    }

    async fn taken(&self) -> Value {
        http::get(format!("{}/_sim/truth/otlp", self.root)).await.unwrap().json().await.unwrap()
    }

    async fn fault(&self, fault: Value) {
        let url = format!("{}/_sim/faults", self.root);
        let answer = http::client().post(url).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

#[tokio::test]
async fn every_figure_arrives_under_its_name_with_its_labels_and_total() {
    let cloudwatch = CloudWatch::start().await;
    let mut sink = cloudwatch.allowed();
    for tick in 0..2 {
        let frame = frame(tick, &[61.5, 700.0]);
        let published = sink.publish(&frame).await.unwrap();
        assert_eq!(published, Published { series: frame.samples.len() as u64, dropped: 0 });
    }
    let taken = cloudwatch.taken().await;
    let expected = frame(1, &[61.5, 700.0]);
    assert_eq!(taken["series"].as_array().unwrap().len(), expected.samples.len());
    for sample in &expected.samples {
        let is_it = |series: &&Value| {
            let labels = sample.labels.iter().map(|(label, value)| (label.to_string(), json!(value.to_string())));
            series["name"] == sample.metric.otlp_name() && series["labels"] == Value::Object(labels.collect())
        };
        let series = taken["series"].as_array().unwrap().iter().find(is_it);
        let series = series.unwrap_or_else(|| panic!("{} is missing: {taken:#}", sample.metric.otlp_name()));
        let (kind, value) = match &sample.value {
            Figure::Gauge(value) => ("gauge", *value),
            Figure::Counter(value) => ("sum", *value),
            Figure::Distribution(distribution) => ("histogram", distribution.sum),
        };
        assert_eq!((&series["kind"], series["value"].as_f64()), (&json!(kind), Some(value)), "{series}");
        let temporality = if kind == "gauge" { Value::Null } else { json!("cumulative") };
        assert_eq!((&series["temporality"], &series["points"]), (&temporality, &json!(2)), "{series}");
    }
    let of_classic = expected.samples.iter().filter(|sample| sample.metric.is_in_cloudwatch()).count();
    assert!(of_classic < expected.samples.len(), "OTLP carries more than the classic metrics");
}

#[tokio::test]
async fn who_may_not_publish_loses_nothing() {
    let cloudwatch = CloudWatch::start().await;
    let [slow, fast] =
        [AT - Duration::from_secs(600), AT + Duration::from_secs(600)].map(|at| Clock::starting_at(at, 1.0));
    for (mut sink, part) in [
        (cloudwatch.sink("wrong", "us-east-1", cloudwatch.clock), "does not match"),
        (cloudwatch.sink("simulated", "eu-west-1", cloudwatch.clock), "scoped"),
        (cloudwatch.sink("simulated", "us-east-1", slow), "expired"),
        (cloudwatch.sink("simulated", "us-east-1", fast), "not yet current"),
    ] {
        let error = sink.publish(&frame(0, &[5.0])).await.unwrap_err();
        let SinkError::Unavailable { reason, .. } = &error else { panic!("{error}") };
        assert!(reason.contains(part) && reason.contains("cloudwatch:PutMetricData"), "{reason}");
        assert!(!reason.contains("wrong"), "the secret is not shown: {reason}");
    }
    let nobody = provide_credentials_fn(|| async { Err(CredentialsError::not_loaded("nobody logged in")) });
    let nobody = SharedCredentialsProvider::new(nobody);
    let unsigned =
        cloudwatch.sink_as(nobody, "us-east-1", cloudwatch.clock).publish(&frame(0, &[5.0])).await.unwrap_err();
    let SinkError::Unavailable { reason, .. } = &unsigned else { panic!("{unsigned}") };
    assert!(reason.contains("no AWS credentials") && reason.contains("nobody logged in"), "{reason}");
    let bare = http::client().post(format!("{}/v1/metrics", cloudwatch.root)).body(Vec::new()).send().await;
    assert_eq!(bare.unwrap().status().as_u16(), 403, "what is not signed is refused");
    cloudwatch.fault(json!({"expired_credentials": {"operation": "OtlpMetrics", "count": 1}})).await;
    let mut sink = cloudwatch.allowed();
    let expired = sink.publish(&frame(1, &[5.0])).await.unwrap_err();
    assert!(matches!(expired, SinkError::Unavailable { .. }), "{expired}");
    assert_eq!(cloudwatch.taken().await["points"], 0);
    sink.publish(&frame(2, &[5.0])).await.unwrap();
    assert_eq!(cloudwatch.taken().await["refused_points"], 0);
}

#[tokio::test]
async fn what_is_refused_in_part_is_counted_and_a_throttle_is_waited_out() {
    let cloudwatch = CloudWatch::start().await;
    let mut sink = cloudwatch.allowed();
    cloudwatch.fault(json!({"throttle": {"operation": "OtlpMetrics", "count": 1}})).await;
    let throttled = sink.publish(&frame(0, &[])).await.unwrap_err();
    assert!(matches!(throttled, SinkError::Unavailable { .. }), "{throttled}");

    let many = labels(std::array::from_fn::<_, 151, _>(|n| (&*format!("label{n}").leak(), "x".into())));
    let too_many = Sample { metric: &catalogue::SOURCE_AGE, labels: many, value: Figure::Gauge(1.0) };
    let mut samples = frame(1, &[]).samples.clone();
    samples.push(too_many);
    let refused = sink.publish(&Frame { at: AT, samples, ..Frame::default() }).await.unwrap_err();
    let SinkError::Rejected { dropped: 1, reason } = &refused else { panic!("{refused}") };
    assert!(reason.contains("150 labels"), "{reason}");
}

#[tokio::test]
async fn a_frame_of_long_labels_is_cut_into_requests_of_a_megabyte() {
    let cloudwatch = CloudWatch::start().await;
    let long = |n: u32| {
        let labels = labels([("source", format!("{n}-{}", "long".repeat(600)).into())]);
        Sample { metric: &catalogue::SOURCE_AGE, labels, value: Figure::Gauge(1.0) }
    };
    let samples: Vec<Sample> = (0..1_500).map(long).collect();
    let published = cloudwatch.allowed().publish(&Frame { at: AT, samples, ..Frame::default() }).await.unwrap();
    assert_eq!(published.series, 1_500);
    let taken = cloudwatch.taken().await;
    assert_eq!(taken["points"], 1_500);
    assert!(taken["requests"].as_u64() > Some(3), "{}", taken["requests"]);
}

/// A selector of a query: the metric, the labels of its matchers, and whether the increase over a range is taken.
struct Selector {
    metric: String,
    labels: Vec<String>,
    is_of_a_range: bool,
}

/// The selectors of a PromQL query, `{"name", label=~"value"}`.
fn selectors(query: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some((before, after)) = rest.split_once("{\"") {
        let (metric, after) = after.split_once('"').unwrap();
        let mut labels = Vec::new();
        let mut matchers = after;
        while let Some(more) = matchers.strip_prefix(", ") {
            let (label, value) = more.split_once("=~\"").unwrap();
            labels.push(label.to_owned());
            // A backslash escapes the following quote.
            let mut is_escaped = false;
            let end = value.find(|letter| {
                let ends = letter == '"' && !is_escaped;
                is_escaped = letter == '\\' && !is_escaped;
                ends
            });
            matchers = &value[end.unwrap() + 1..];
        }
        let is_of_a_range = matchers.starts_with("}[");
        assert!(matchers.starts_with('}'), "{query}");
        assert_eq!(is_of_a_range, before.ends_with("increase("), "{query}");
        found.push(Selector { metric: metric.to_owned(), labels, is_of_a_range });
        rest = matchers;
    }
    found
}

/// Every label in `by (...)` and `on (...)` of a query.
fn grouped_by(query: &str) -> Vec<String> {
    let lists = query.split("by (").skip(1).chain(query.split("on (").skip(1));
    let labels = lists.flat_map(|rest| rest.split_once(')').unwrap().0.split(", ").map(str::to_owned));
    labels.filter(|label| !label.is_empty()).collect()
}

/// The alarms exported from rules select what is sent: by its name and labels, and increases only of cumulative
/// metrics.
#[tokio::test]
async fn exported_promql_alarms_fit_what_the_endpoint_has() {
    let cloudwatch = CloudWatch::start().await;
    let assumed = Assumed {
        queues: 1,
        shares: 2,
        instance_types: 1,
        bands: 2,
        sinks: 1,
        receivers: 1,
        reserved: true,
        priced: true,
    };
    cloudwatch.allowed().publish(&assumed_frame(&assumed, AT)).await.unwrap();
    let taken = cloudwatch.taken().await;
    assert_eq!(taken["refused_points"], 0);
    let series = taken["series"].as_array().unwrap();
    let of = |name: &str| series.iter().filter(|series| series["name"] == name).collect::<Vec<_>>();

    let mut texts = vec![every_form()];
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/alerts")).unwrap() {
        let path = file.unwrap().path();
        let name = path.to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !name.ends_with(".test.yaml") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    let mut checked = 0;
    for text in texts {
        let exported = export::promql_alarms(&parse_rules("rules.yaml", &text).unwrap());
        let alarms: Vec<Value> = serde_json::from_str(&exported.text).unwrap();
        for alarm in alarms {
            let query = alarm["EvaluationCriteria"]["PromQLCriteria"]["Query"].as_str().unwrap();
            let selectors = selectors(query);
            assert!(!selectors.is_empty(), "{query}");
            for Selector { metric, labels, is_of_a_range } in &selectors {
                let found = of(metric);
                assert!(!found.is_empty(), "nothing is sent as {metric}: {query}");
                for series in found {
                    let has = |label: &String| series["labels"].get(label).is_some();
                    assert!(labels.iter().all(has) && grouped_by(query).iter().all(has), "{series}: {query}");
                    let expected = if *is_of_a_range { json!("cumulative") } else { Value::Null };
                    assert_eq!(series["temporality"], expected, "{series}: {query}");
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked}");
}

/// A rule of each kind over each kind of metric that can be exported.
fn every_form() -> String {
    let mut rules = String::from("rules:\n");
    let published = catalogue::ALL.iter().filter(|metric| metric.kind != Kind::Distribution);
    for (number, metric) in published.enumerate() {
        let take = if metric.kind == Kind::Counter { "increase: 1h, " } else { "" };
        let by = metric.labels.join(", ");
        let above = if metric.unit == catalogue::Unit::Seconds { "30m" } else { "0.5" };
        let filter = metric.labels.iter().find(|label| metric.closed_label(label).is_none() && **label != "queue");
        let filter = filter.map_or_else(String::new, |label| format!("where: {{ {label}: 'a-?*' }}, "));
        rules += &format!(
            "  - {{ alert: R{number}, metric: {}, {take}{filter}by: [{by}], above: {above}, annotations: {{ summary: x }} }}\n",
            metric.name
        );
    }
    rules
}
