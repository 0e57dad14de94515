//! Checks the body of a CloudWatch dashboard for `PutDashboard`.

use std::collections::BTreeSet;

use serde_json::Value;
use trainspotter_core::metrics::catalogue;
use trainspotter_core::metrics::catalogue::{Kind, Metric, cloudwatch_dimension};

use crate::dashboards::grid::{self, Tile};
use crate::dashboards::label_values;

/// Namespace of the dashboards.
const NAMESPACE: &str = "Trainspotter";
/// `PutDashboard`: at most 500 widgets.
const MAX_WIDGETS: usize = 500;
/// A search expression has at most 1024 characters.
const MAX_SEARCH: usize = 1_024;

/// Metrics of AWS Batch in `AWS/Batch` for service jobs, all by `JobQueueName` (Batch user guide, "CloudWatch
/// metrics").
const NATIVE: &[&str] = &[
    "JobsSubmitted",
    "JobsMovedToPending",
    "JobsMovedToRunnable",
    "JobsMovedToScheduled",
    "JobsMovedToStarting",
    "JobsMovedToRunning",
    "JobsMovedToSucceeded",
    "JobsMovedToFailed",
    "JobsCancelled",
    "JobsTerminated",
    "JobsRetried",
    "JobsPreempted",
    "JobSubmittedToRunnableDuration",
    "JobSubmittedToFirstScheduledDuration",
    "JobAttemptRunnableToScheduledDuration",
    "JobAttemptScheduledToStartingDuration",
    "JobAttemptStartingToRunningDuration",
    "JobAttemptExecutionDuration",
    "JobAttemptDuration",
];

/// Problems of a dashboard body.
pub fn check(body: &Value) -> Vec<String> {
    let widgets = body["widgets"].as_array().unwrap();
    let tiles: Vec<Tile> = widgets
        .iter()
        .enumerate()
        .map(|(index, widget)| Tile::read(format!("widget {index}"), widget, ["x", "y", "width", "height"]))
        .collect();
    let mut problems = grid::check("widget", &tiles);
    if widgets.len() > MAX_WIDGETS {
        problems.push(format!("{} widgets; the limit is {MAX_WIDGETS}", widgets.len()));
    }
    for (index, widget) in widgets.iter().enumerate() {
        let properties = &widget["properties"];
        match widget["type"].as_str() {
            Some("text") if properties["markdown"].is_string() => {}
            Some("text") => problems.push(format!("widget {index} has no markdown")),
            Some("metric") => {
                problems.extend(check_metric_widget(properties).into_iter().map(|p| format!("widget {index}{p}")));
            }
            other => problems.push(format!("widget {index} has the type {other:?}")),
        }
    }
    problems
}

fn check_metric_widget(properties: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for required in ["region", "title"] {
        if !properties[required].is_string() {
            problems.push(format!(" has no {required}"));
        }
    }
    if properties["period"].as_u64().is_none_or(|period| period == 0 || period % 60 != 0) {
        problems.push(" has a period that is no multiple of 60".to_owned());
    }
    let rows = properties["metrics"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        problems.push(" shows nothing".to_owned());
    }
    let mut ids = BTreeSet::new();
    for row in rows.iter().map(|row| row.as_array().unwrap()) {
        let options = row.last().unwrap();
        if let Some(id) = options["id"].as_str()
            && !(id.starts_with(|c: char| c.is_ascii_lowercase()) && ids.insert(id.to_owned()))
        {
            problems.push(format!(": the id {id} is taken or does not begin with a small letter"));
        }
        let found = match options["expression"].as_str() {
            Some(expression) => check_searches(expression, options["label"].as_str().unwrap_or_default()),
            None => check_row(row, properties),
        };
        problems.extend(found.into_iter().map(|problem| format!(": {problem}")));
    }
    problems
}

/// Searches of our own metrics that do not occur both with and without account and region: they would be empty with
/// one target, or with several.
pub fn not_in_all_places(body: &Value) -> Vec<String> {
    let widgets = body["widgets"].as_array().unwrap().iter();
    let rows = widgets.flat_map(|widget| widget["properties"]["metrics"].as_array().into_iter().flatten());
    let searches: BTreeSet<&str> = rows.filter_map(|row| row.as_array()?.last()?["expression"].as_str()).collect();
    let (bare, placed) = (format!("{{{NAMESPACE},"), format!("{{{NAMESPACE},Account,Region,"));
    let of_ours = searches.iter().filter(|search| search.contains(&bare));
    let (with, without): (Vec<&&str>, Vec<&&str>) = of_ours.partition(|search| search.contains(&placed));
    let lacks_places = without.iter().filter(|search| !searches.contains(search.replace(&bare, &placed).as_str()));
    let only_places = with.iter().filter(|search| !searches.contains(search.replace(&placed, &bare).as_str()));
    lacks_places.chain(only_places).map(|search| (**search).to_owned()).collect()
}

/// `[namespace, metric, dimension, value, ..., {options}]`.
fn check_row(row: &[Value], properties: &Value) -> Vec<String> {
    let texts: Vec<&str> = row.iter().filter_map(Value::as_str).collect();
    let (Some(namespace), Some(metric)) = (texts.first(), texts.get(1)) else {
        return vec!["a row names no metric".to_owned()];
    };
    let dimensions: Vec<(&str, &str)> = texts[2..].chunks(2).map(|pair| (pair[0], pair[1])).collect();
    let stat = row.last().unwrap()["stat"].as_str().or(properties["stat"].as_str()).unwrap_or("Average");
    check_use(namespace, metric, &dimensions, stat)
}

/// Checks every `SEARCH('{namespace,dimension,...} MetricName="metric" Dimension="value"', 'stat', period)` of an
/// expression.
fn check_searches(expression: &str, label: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !expression.contains("SEARCH('") {
        problems.push(format!("the expression searches for nothing: {expression}"));
    }
    for search in expression.split("SEARCH('").skip(1) {
        let mut parts = search.split("', '");
        let (Some(query), Some(rest)) = (parts.next(), parts.next()) else {
            problems.push(format!("the search has no statistic: {search}"));
            continue;
        };
        if query.len() > MAX_SEARCH {
            problems.push(format!("the search has {} characters; the limit is {MAX_SEARCH}", query.len()));
        }
        let stat = rest.split('\'').next().unwrap_or_default();
        let Some((schema, terms)) = query.strip_prefix('{').and_then(|query| query.split_once('}')) else {
            problems.push(format!("the search has no schema: {query}"));
            continue;
        };
        let mut schema = schema.split(',');
        let namespace = schema.next().unwrap_or_default();
        if namespace.contains('/') && !namespace.starts_with('"') {
            problems.push(format!("the namespace {namespace} needs quotes"));
        }
        let terms: Vec<(&str, &str)> = terms.split("\" ").filter_map(|term| term.trim().split_once("=\"")).collect();
        let value =
            |name: &str| terms.iter().find(|(term, _)| *term == name).map(|(_, value)| value.trim_end_matches('"'));
        let dimensions: Vec<(&str, &str)> = schema.map(|name| (name, value(name).unwrap_or("*"))).collect();
        let metric = value("MetricName").unwrap_or_default();
        problems.extend(check_use(namespace.trim_matches('"'), metric, &dimensions, stat));
        for (term, _) in &terms {
            if *term != "MetricName" && !dimensions.iter().any(|(name, _)| name == term) {
                problems.push(format!("the search filters by {term}, which its schema does not have"));
            }
        }
        problems.extend(check_label(label, &dimensions));
    }
    problems
}

/// Reports `${PROP('Dim.X')}` without a dimension X.
pub fn check_label(label: &str, dimensions: &[(&str, &str)]) -> Vec<String> {
    label
        .split("${PROP('Dim.")
        .skip(1)
        .map(|rest| rest.split('\'').next().unwrap_or_default())
        .filter(|name| !dimensions.iter().any(|(dimension, _)| dimension == name))
        .map(|name| format!("the label names the dimension {name}, which the search does not have"))
        .collect()
}

/// Reports a metric, dimensions or values that do not exist, and an unsuitable statistic.
pub fn check_use(namespace: &str, name: &str, dimensions: &[(&str, &str)], stat: &str) -> Vec<String> {
    let given: BTreeSet<String> = dimensions.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing = || vec![format!("no metric is called {name} in {namespace}")];
    if namespace == "AWS/Batch" {
        return match NATIVE.contains(&name) {
            true if given == BTreeSet::from(["JobQueueName".to_owned()]) => Vec::new(),
            true => vec![format!("{name} has the dimension JobQueueName only")],
            false => missing(),
        };
    }
    let known = catalogue::ALL.iter().copied().filter(|_| namespace == NAMESPACE);
    let Some(metric) = known.into_iter().find(|m| m.is_in_cloudwatch() && m.cloudwatch_name() == name) else {
        return missing();
    };
    let has: BTreeSet<String> = metric.labels.iter().map(|label| cloudwatch_dimension(label)).collect();
    // With several accounts or regions, all metrics have both.
    let places = BTreeSet::from(["Account".to_owned(), "Region".to_owned()]);
    let in_places: BTreeSet<String> = has.union(&places).cloned().collect();
    if has != given && in_places != given {
        let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
        return vec![format!("{name} has the dimensions {}, not {}", list(has), list(given))];
    }
    let label_of = |dimension: &str| metric.labels.iter().find(|label| cloudwatch_dimension(label) == dimension);
    let values = dimensions.iter().filter_map(|(name, value)| Some((label_of(name)?, value)));
    values
        .flat_map(|(label, value)| label_values::check(metric, label, value))
        .chain(check_stat(metric, name, stat))
        .collect()
}

fn check_stat(metric: &Metric, name: &str, stat: &str) -> Option<String> {
    match metric.kind {
        Kind::Counter if stat != "Sum" => Some(format!("{name} is sent as its increase: use Sum, not {stat}")),
        Kind::Gauge if stat == "Sum" => {
            Some(format!("{name} is a gauge: its sum over a period depends on how often it is published"))
        }
        Kind::Counter | Kind::Gauge | Kind::Distribution => None,
    }
}
