//! `GetMetricData` and `ListMetrics`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::World;
use crate::cloudwatch::Dimension;
use crate::cloudwatch::Metric;
use crate::cloudwatch::gpu;
use crate::cloudwatch::invalid_combination;
use crate::cloudwatch::invalid_value;
use crate::cloudwatch::series::MINUTE_MILLIS;
use crate::cloudwatch::series::Summary;
use crate::page_token::PageToken;
use crate::reply::ApiError;
use trainspotter_core::model::Timestamp;

const MAX_QUERIES: usize = 500;
/// Datapoints per answer; what is more comes on the next page.
const MAX_DATAPOINTS: usize = 100_800;
/// Metrics per page of ListMetrics.
const MAX_METRICS: usize = 500;
/// Longest range answered: as long as one-minute data is kept.
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

/// Reads metrics. Expressions, SEARCH and Metrics Insights are refused by name.
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
        let Some(stat) = query.metric_stat.filter(|_| query.return_data != Some(false)) else { continue };
        let mut points = points(world, &stat, from, to)?;
        datapoints += points.len();
        if datapoints > limit && number > skip {
            let order = i64::try_from(number).unwrap_or(i64::MAX);
            output.next_token = Some(PageToken { page: 2, order, key: String::new() }.encode());
            break;
        }
        if newest_first {
            points.reverse();
        }
        let (timestamps, values) = points.into_iter().unzip();
        output.metric_data_results.push(Series {
            id: query.id,
            label: query.label.unwrap_or(stat.metric.metric_name),
            timestamps,
            values,
            status_code: "Complete",
        });
    }
    Ok(output)
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
        let Some(stat) = &query.metric_stat else {
            return Err(invalid_value(format!(
                "Query {} is an expression, which the simulator does not evaluate: use MetricStat.",
                query.id
            )));
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

/// Seconds and values, oldest first. A datapoint stands at the beginning of its period.
fn points(world: &mut World, stat: &MetricStat, from: Timestamp, to: Timestamp) -> Result<Vec<(f64, f64)>, ApiError> {
    let metric = stat.metric.clone().sorted();
    let periods = periods(world, &metric, stat.unit.as_deref(), stat.period, from, to);
    #[expect(clippy::cast_precision_loss, reason = "seconds fit in 53 bits")]
    let points = periods
        .into_iter()
        .filter_map(|(began, summary)| Some((began as f64, summary.statistic(&stat.stat)?)))
        .filter(|(_, value)| value.is_finite())
        .collect();
    Ok(points)
}

/// A metric's periods by the second they begin at; none if it was put with another unit than the one asked for.
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

/// Lists what was put and the hosts that run now, ordered by namespace, name and dimensions.
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
