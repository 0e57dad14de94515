//! The service's own figures: targets, receivers, sinks, limits and rules.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::error::{ApiError, ErrorBody};
use crate::web::jobs::JobQuery;
use crate::web::place_filter::PlaceFilter;
use crate::web::watched_targets::ask_each;
use crate::web::{Pages, Snapshot};
use trainspotter_core::metrics::catalogue::{self, Metric};
use trainspotter_core::metrics::{Sample, Value};
use trainspotter_core::model::Place;
use trainspotter_core::rules::Rule;

/// The service's own figures, from the latest tick; counters since counting began.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ServiceBody {
    /// Watched accounts and regions.
    targets: Vec<TargetRow>,
    /// Receivers with pending or delivered notifications.
    receivers: Vec<ReceiverRow>,
    /// Sinks for metrics.
    sinks: Vec<SinkRow>,
    /// Projected monthly cost of the service itself at its current usage, without the tasks it runs on.
    costs: Vec<CostRow>,
    /// Limits that were hit.
    limits: Vec<LimitRow>,
    /// AWS API calls.
    calls: Vec<CallRow>,
    /// Unknown values from AWS.
    unknown_values: Vec<UnknownRow>,
    /// Size of the state file; null if unknown.
    store_bytes: Option<f64>,
    /// Time between the last two polls; null before the second.
    poll_interval_seconds: Option<f64>,
    /// Number of jobs in memory.
    jobs_kept: Option<f64>,
    /// Whether the rule files are invalid, so that the previous rules stay in effect.
    rules_broken: bool,
    /// Rules in effect.
    rules: Vec<RuleRow>,
}

/// An account and region.
#[derive(Debug, Serialize, ToSchema)]
struct TargetRow {
    /// Its name.
    target: String,
    /// Null while unknown.
    account: Option<String>,
    region: Option<String>,
    /// Its watched queues.
    queues: Vec<String>,
}

/// A receiver.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ReceiverRow {
    receiver: String,
    /// Number of pending notifications.
    pending: f64,
    /// Age of the oldest; 0 without any.
    oldest_seconds: f64,
    /// Attempts by outcome.
    deliveries: BTreeMap<String, f64>,
}

/// A sink.
#[derive(Debug, Default, Serialize, ToSchema)]
struct SinkRow {
    sink: String,
    /// Series in the last batch; null before the first.
    series: Option<f64>,
    /// Batches that it rejected or could not be sent.
    failures: f64,
    /// Series omitted by a budget, by metric.
    left_out: BTreeMap<String, f64>,
}

/// Cost of a destination.
#[derive(Debug, Serialize, ToSchema)]
struct CostRow {
    destination: String,
    /// US dollars per month, at the shipped prices.
    dollars: f64,
}

/// A limit that was hit.
#[derive(Debug, Serialize, ToSchema)]
struct LimitRow {
    limit: String,
    /// Number of hits.
    hits: f64,
}

/// Calls of one operation with one outcome.
#[derive(Debug, Serialize, ToSchema)]
struct CallRow {
    service: String,
    operation: String,
    outcome: String,
    calls: f64,
}

/// An unknown value.
#[derive(Debug, Serialize, ToSchema)]
struct UnknownRow {
    kind: String,
    value: String,
    seen: f64,
}

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
struct RuleRow {
    rule: String,
    /// Severity of its alerts; null without one.
    severity: Option<String>,
    /// Metrics it uses.
    #[schema(value_type = Vec<String>)]
    metrics: Vec<&'static str>,
    /// Labels that distinguish its alerts.
    #[schema(value_type = Vec<String>)]
    by: Vec<&'static str>,
    /// Failed evaluations.
    failures: f64,
}

/// What the service watches, notifies, publishes and evaluates, with problems.
#[utoipa::path(
    get, path = "/api/v1/service", tag = "service",
    responses((status = 200, body = ServiceBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn service(State(pages): State<Pages>) -> Result<Json<ServiceBody>, ApiError> {
    let answers = ask_each(pages.watched(&PlaceFilter::default()), |reply| JobQuery::Rules { reply }).await?;
    let rules = answers.given.into_iter().next().map(|(_, rules)| rules).unwrap_or_default();
    let latest = pages.latest();
    let frame = Of(&latest);
    Ok(Json(ServiceBody {
        targets: latest.iter().map(TargetRow::of).collect(),
        receivers: frame.receivers(),
        sinks: frame.sinks(),
        costs: frame
            .all(&catalogue::SERVICE_COST, |label, dollars| CostRow { destination: label("destination"), dollars }),
        limits: frame.all(&catalogue::LIMIT_HITS, |label, hits| LimitRow { limit: label("limit"), hits }),
        calls: frame.all(&catalogue::SOURCE_CALLS, |label, calls| CallRow {
            service: label("service"),
            operation: label("operation"),
            outcome: label("outcome"),
            calls,
        }),
        unknown_values: frame.all(&catalogue::SOURCE_UNKNOWN, |label, seen| UnknownRow {
            kind: label("kind"),
            value: label("value"),
            seen,
        }),
        store_bytes: frame.folded(&catalogue::STORE_SIZE, |sum, bytes| sum + bytes),
        poll_interval_seconds: frame.folded(&catalogue::POLL_INTERVAL, f64::max),
        jobs_kept: frame.folded(&catalogue::LEDGER_JOBS, |sum, jobs| sum + jobs),
        rules_broken: frame.folded(&catalogue::RULES_BROKEN, f64::max).is_some_and(|broken| broken > 0.0),
        rules: rules.iter().map(|rule| frame.rule(rule)).collect(),
    }))
}

impl TargetRow {
    fn of(snapshot: &Snapshot) -> Self {
        let Place { target, account, region } = &snapshot.place;
        Self {
            target: target.to_string(),
            account: account.as_deref().map(str::to_owned),
            region: region.as_deref().map(str::to_owned),
            queues: snapshot.frame.queues.iter().map(|queue| queue.queue.to_string()).collect(),
        }
    }
}

/// The frames of all targets, to look up samples of metrics.
struct Of<'a>(&'a [Snapshot]);

impl<'a> Of<'a> {
    fn samples(&self, metric: &Metric) -> impl Iterator<Item = (&'a Sample, f64)> {
        let name = metric.name;
        let samples = self.0.iter().flat_map(|snapshot| &snapshot.frame.samples);
        let of_metric = samples.filter(move |sample| sample.metric.name == name);
        of_metric.filter_map(|sample| match sample.value {
            Value::Gauge(value) | Value::Counter(value) => Some((sample, value)),
            Value::Distribution(_) => None,
        })
    }

    /// One value, folded over all targets.
    fn folded(&self, metric: &Metric, fold: impl Fn(f64, f64) -> f64) -> Option<f64> {
        self.samples(metric).map(|(_, value)| value).reduce(fold)
    }

    /// A row for each series above 0.
    fn all<T>(&self, metric: &Metric, row: impl Fn(&dyn Fn(&'static str) -> String, f64) -> T) -> Vec<T> {
        let mut sums: BTreeMap<Vec<&str>, (&Sample, f64)> = BTreeMap::new();
        for (sample, value) in self.samples(metric).filter(|(_, value)| *value > 0.0) {
            let key = sample.labels.values().map(|value| &**value).collect();
            sums.entry(key).or_insert((sample, 0.0)).1 += value;
        }
        sums.into_values().map(|(sample, value)| row(&|label| label_of(sample, label), value)).collect()
    }

    fn receivers(&self) -> Vec<ReceiverRow> {
        let mut rows: BTreeMap<String, ReceiverRow> = BTreeMap::new();
        let mut of = |sample: &Sample, set: &dyn Fn(&mut ReceiverRow)| {
            let receiver = label_of(sample, "receiver");
            set(rows.entry(receiver.clone()).or_insert(ReceiverRow { receiver, ..ReceiverRow::default() }));
        };
        for (sample, value) in self.samples(&catalogue::NOTIFY_PENDING) {
            of(sample, &|row| row.pending += value);
        }
        for (sample, value) in self.samples(&catalogue::NOTIFY_OLDEST) {
            of(sample, &|row| row.oldest_seconds = row.oldest_seconds.max(value));
        }
        for (sample, value) in self.samples(&catalogue::NOTIFY_DELIVERIES) {
            of(sample, &|row| *row.deliveries.entry(label_of(sample, "outcome")).or_default() += value);
        }
        rows.into_values().collect()
    }

    fn sinks(&self) -> Vec<SinkRow> {
        let mut rows: BTreeMap<String, SinkRow> = BTreeMap::new();
        let mut of = |sample: &Sample, set: &dyn Fn(&mut SinkRow)| {
            let sink = label_of(sample, "sink");
            set(rows.entry(sink.clone()).or_insert(SinkRow { sink, ..SinkRow::default() }));
        };
        for (sample, value) in self.samples(&catalogue::PUBLISH_SERIES) {
            of(sample, &|row| row.series = Some(row.series.unwrap_or_default() + value));
        }
        for (sample, value) in self.samples(&catalogue::PUBLISH_FAILURES) {
            of(sample, &|row| row.failures += value);
        }
        for (sample, value) in self.samples(&catalogue::PUBLISH_LEFT_OUT) {
            of(sample, &|row| _ = row.left_out.insert(label_of(sample, "metric"), value));
        }
        rows.into_values().collect()
    }

    fn rule(&self, rule: &Rule) -> RuleRow {
        let failures = self.samples(&catalogue::RULE_FAILURES);
        let of_rule = failures.filter(|(sample, _)| label_of(sample, "rule") == rule.name()).map(|(_, value)| value);
        RuleRow {
            rule: rule.name().to_owned(),
            severity: rule.label("severity").map(str::to_owned),
            metrics: rule.metrics().map(|metric| metric.name).collect(),
            by: rule.by().to_vec(),
            // The sum of an empty iterator is -0.
            failures: of_rule.fold(0.0, |sum, value| sum + value),
        }
    }
}

fn label_of(sample: &Sample, label: &'static str) -> String {
    sample.labels.get(label).map(ToString::to_string).unwrap_or_default()
}
