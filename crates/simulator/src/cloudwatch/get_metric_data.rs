//! `GetMetricData` and `ListMetrics`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::World;
use crate::api_error::ApiError;
use crate::cloudwatch::Dimension;
use crate::cloudwatch::Metric;
use crate::cloudwatch::gpu;
use crate::cloudwatch::invalid_combination;
use crate::cloudwatch::invalid_value;
use crate::cloudwatch::period_statistics::MINUTE_MILLIS;
use crate::cloudwatch::period_statistics::Summary;
use crate::cloudwatch::search::Search;
use crate::page_token::PageToken;
use trainspotter_core::model::Timestamp;

const MAX_QUERIES: usize = 500;
/// Maximum data points per response; the rest is on the next page.
const MAX_DATAPOINTS: usize = 100_800;
/// Maximum metrics per page of ListMetrics.
const MAX_METRICS: usize = 500;
/// Maximum queried range: the retention of one-minute data.
const MAX_RANGE_MILLIS: i64 = 15 * 86_400_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetInput {
    metric_data_queries: Vec<Query>,
    start_time: f64,
    end_time: f64,
    scan_by: Option<String>,
    next_token: Option<String>,
    max_datapoints: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Query {
    id: String,
    metric_stat: Option<MetricStat>,
    expression: Option<String>,
    label: Option<String>,
    return_data: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricStat {
    metric: Metric,
    period: i64,
    stat: String,
    unit: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetOutput {
    metric_data_results: Vec<Series>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    messages: Vec<()>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Series {
    id: String,
    label: String,
    timestamps: Vec<f64>,
    values: Vec<f64>,
    status_code: &'static str,
}

/// Reads metrics, by name or by a SEARCH expression. Metric math and Metrics Insights are rejected by name.
pub(super) fn get_metric_data(world: &mut World, input: GetInput) -> Result<GetOutput, ApiError> {
    let (from, to) = check(&input)?;
    let skip = match input.next_token.as_deref().map(PageToken::decode) {
        None => 0,
        Some(Some(token)) => usize::try_from(token.order).unwrap_or(0),
        Some(None) => return Err(ApiError::bad("InvalidNextToken", "The NextToken is not valid.")),
    };
    let limit = input.max_datapoints.unwrap_or(MAX_DATAPOINTS).min(MAX_DATAPOINTS);
    let newest_first = input.scan_by.as_deref() != Some("TimestampAscending");
    let mut output = GetOutput { metric_data_results: Vec::new(), next_token: None, messages: Vec::new() };
    let mut datapoints = 0;
    for (number, query) in input.metric_data_queries.into_iter().enumerate().skip(skip) {
        if query.return_data == Some(false) {
            continue;
        }
        let mut found = query.series(world, from, to)?;
        datapoints += found.iter().map(|series| series.values.len()).sum::<usize>();
        if datapoints > limit && number > skip {
            let order = i64::try_from(number).unwrap_or(i64::MAX);
            output.next_token = Some(PageToken { page: 2, order, key: String::new() }.encode());
            break;
        }
        if newest_first {
            for series in &mut found {
                series.timestamps.reverse();
                series.values.reverse();
            }
        }
        output.metric_data_results.extend(found);
    }
    Ok(output)
}

impl Query {
    /// The series of a query, oldest data point first: one for a metric, any number for a search.
    fn series(self, world: &mut World, from: Timestamp, to: Timestamp) -> Result<Vec<Series>, ApiError> {
        let stats = match (self.metric_stat, self.expression) {
            (Some(stat), _) => vec![(self.label.unwrap_or_else(|| stat.metric.metric_name.clone()), stat)],
            (None, Some(expression)) => {
                let search = Search::parse(&expression)?;
                let found = search.find(world).into_iter();
                let stat = |metric: Metric| {
                    let values: Vec<_> = metric.dimensions.iter().map(|dimension| dimension.value.as_str()).collect();
                    let label = format!("{} {}", values.join(" "), metric.metric_name);
                    (label, MetricStat { metric, period: search.period, stat: search.stat.clone(), unit: None })
                };
                found.map(stat).collect()
            }
            (None, None) => Vec::new(),
        };
        let mut series = Vec::new();
        for (label, stat) in stats {
            let (timestamps, values) = points(world, &stat, from, to).into_iter().unzip();
            series.push(Series { id: self.id.clone(), label, timestamps, values, status_code: "Complete" });
        }
        Ok(series)
    }
}

fn check(input: &GetInput) -> Result<(Timestamp, Timestamp), ApiError> {
    let count = input.metric_data_queries.len();
    if count == 0 || count > MAX_QUERIES {
        return Err(invalid_value(format!(
            "The collection MetricDataQueries must have between 1 and {MAX_QUERIES} members, not {count}."
        )));
    }
    let mut ids = BTreeMap::new();
    for query in &input.metric_data_queries {
        let starts_well = query.id.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts_well || !query.id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(invalid_value(format!(
                "The value {} for parameter MetricDataQueries.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
                query.id
            )));
        }
        if ids.insert(query.id.as_str(), ()).is_some() {
            return Err(invalid_value(format!("The id {} is used by more than one query.", query.id)));
        }
        let stat = match (&query.metric_stat, &query.expression) {
            (Some(stat), None) => stat,
            (None, Some(expression)) => {
                Search::parse(expression)?;
                continue;
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid_combination(format!(
                    "Query {}: exactly one of Expression and MetricStat must be specified.",
                    query.id
                )));
            }
        };
        if stat.period < 60 || stat.period % 60 != 0 {
            return Err(invalid_value(format!(
                "Query {}: the period must be a multiple of 60, not {}.",
                query.id, stat.period
            )));
        }
        if Summary::of([(1.0, 1.0)]).statistic(&stat.stat).is_none() {
            return Err(invalid_value(format!("Query {}: unknown statistic {}.", query.id, stat.stat)));
        }
    }
    let (from, to) = (Timestamp::from_secs_f64(input.start_time), Timestamp::from_secs_f64(input.end_time));
    if from >= to {
        return Err(invalid_combination("The parameter StartTime must be less than the parameter EndTime."));
    }
    Ok((Timestamp::from_millis(from.millis().max(to.millis() - MAX_RANGE_MILLIS)), to))
}

/// Seconds and values, oldest first. The timestamp of a data point is the beginning of its period.
fn points(world: &mut World, stat: &MetricStat, from: Timestamp, to: Timestamp) -> Vec<(f64, f64)> {
    let metric = stat.metric.clone().sorted();
    let periods = periods(world, &metric, stat.unit.as_deref(), stat.period, from, to);
    #[expect(clippy::cast_precision_loss, reason = "seconds fit in 53 bits")]
    periods
        .into_iter()
        .filter_map(|(began, summary)| Some((began as f64, summary.statistic(&stat.stat)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

/// Periods of a metric by start second; empty if it was put with a unit other than the requested one.
pub(super) fn periods(
    world: &mut World,
    metric: &Metric,
    unit: Option<&str>,
    period: i64,
    from: Timestamp,
    to: Timestamp,
) -> BTreeMap<i64, Summary> {
    let mut periods: BTreeMap<i64, Summary> = BTreeMap::new();
    if unit.is_some_and(|unit| unit != world.metrics.unit(metric)) {
        return periods;
    }
    let minutes = match gpu::minutes(world, metric, from, to) {
        Some(minutes) => minutes,
        None => world.metrics.minutes(metric, from, to),
    };
    for (minute, summary) in minutes {
        let began = minute * MINUTE_MILLIS / 1_000;
        periods.entry(began - began.rem_euclid(period)).or_default().merge(&summary);
    }
    periods
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListInput {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<Filter>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    name: String,
    value: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListOutput {
    metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// Lists metrics that were put and those of running hosts, ordered by namespace, name and dimensions.
pub(super) fn list_metrics(world: &World, input: &ListInput) -> Result<ListOutput, ApiError> {
    let after = match input.next_token.as_deref() {
        None => None,
        Some(token) => {
            let bad = || ApiError::bad("InvalidNextToken", "The NextToken is not valid.");
            let key = PageToken::decode(token).ok_or_else(bad)?.key;
            Some(serde_json::from_str::<Metric>(&key).map_err(|_| bad())?)
        }
    };
    let hosts = gpu::metrics(world);
    let hosts = hosts.iter().filter(|metric| after.as_ref().is_none_or(|after| *metric > after));
    let mut metrics: Vec<Metric> =
        world.metrics.after(after.as_ref()).chain(hosts).filter(|metric| input.admits(metric)).cloned().collect();
    metrics.sort();
    let more = metrics.len() > MAX_METRICS;
    metrics.truncate(MAX_METRICS);
    let next_token = metrics.last().filter(|_| more).and_then(|last| {
        let key = serde_json::to_string(last).ok()?;
        Some(PageToken { page: 2, order: 0, key }.encode())
    });
    Ok(ListOutput { metrics, next_token })
}

impl ListInput {
    fn admits(&self, metric: &Metric) -> bool {
        let has = |filter: &Filter| {
            metric.dimensions.iter().any(|Dimension { name, value }| {
                *name == filter.name && filter.value.as_ref().is_none_or(|wanted| wanted == value)
            })
        };
        self.namespace.as_ref().is_none_or(|wanted| *wanted == metric.namespace)
            && self.metric_name.as_ref().is_none_or(|wanted| *wanted == metric.metric_name)
            && self.dimensions.iter().all(has)
    }
}
