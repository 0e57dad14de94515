//! `GetMetricStatistics`, the predecessor of GetMetricData.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use crate::World;
use crate::api_error::ApiError;
use crate::cloudwatch::Dimension;
use crate::cloudwatch::Metric;
use crate::cloudwatch::get_metric_data;
use crate::cloudwatch::invalid_combination;
use crate::cloudwatch::invalid_value;
use crate::cloudwatch::period_statistics::Summary;
use trainspotter_core::model::Timestamp;

/// Maximum data points per call.
const MAX_DATAPOINTS: f64 = 1_440.0;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    namespace: String,
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    start_time: f64,
    end_time: f64,
    period: i64,
    #[serde(default)]
    statistics: Vec<String>,
    #[serde(default)]
    extended_statistics: Vec<String>,
    unit: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Output {
    label: String,
    datapoints: Vec<Datapoint>,
}

/// A period with the requested statistics.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Datapoint {
    timestamp: f64,
    #[serde(flatten)]
    statistics: BTreeMap<String, f64>,
    unit: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extended_statistics: BTreeMap<String, f64>,
}

/// Reads a metric's periods, oldest first (AWS guarantees no order).
pub(super) fn get_metric_statistics(world: &mut World, input: Input) -> Result<Output, ApiError> {
    check(&input)?;
    let metric =
        Metric { namespace: input.namespace, metric_name: input.metric_name, dimensions: input.dimensions }.sorted();
    let (from, to) = (Timestamp::from_secs_f64(input.start_time), Timestamp::from_secs_f64(input.end_time));
    let periods = get_metric_data::periods(world, &metric, input.unit.as_deref(), input.period, from, to);
    let unit = world.metrics.unit(&metric).to_owned();
    let values = |names: &[String], summary: &Summary| {
        let value = |name: &String| Some((name.clone(), summary.statistic(name).filter(|value| value.is_finite())?));
        names.iter().filter_map(value).collect::<BTreeMap<_, _>>()
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds fit in 53 bits")]
    let datapoint = |(began, summary): (i64, Summary)| Datapoint {
        timestamp: began as f64,
        statistics: values(&input.statistics, &summary),
        unit: unit.clone(),
        extended_statistics: values(&input.extended_statistics, &summary),
    };
    Ok(Output { datapoints: periods.into_iter().map(datapoint).collect(), label: metric.metric_name })
}

fn check(input: &Input) -> Result<(), ApiError> {
    if input.statistics.is_empty() == input.extended_statistics.is_empty() {
        return Err(invalid_combination(
            "Either Statistics or ExtendedStatistics must be specified, and not both of them.",
        ));
    }
    let unknown = |name: &&String| Summary::of([(1.0, 1.0)]).statistic(name).is_none();
    if let Some(name) = input.extended_statistics.iter().find(unknown) {
        return Err(invalid_value(format!("The value {name} for parameter ExtendedStatistics is not supported.")));
    }
    if input.period % 60 != 0 {
        return Err(invalid_value("The parameter Period must be a multiple of 60."));
    }
    if input.start_time >= input.end_time {
        return Err(invalid_value("The parameter StartTime must be less than the parameter EndTime."));
    }
    #[expect(clippy::cast_precision_loss, reason = "periods are far below 2^53 seconds")]
    let datapoints = (input.end_time - input.start_time) / input.period as f64;
    if datapoints > MAX_DATAPOINTS {
        return Err(invalid_combination(format!(
            "You have requested up to {datapoints:.0} datapoints, which exceeds the limit of {MAX_DATAPOINTS}. You may \
             reduce the datapoints requested by increasing Period, or decreasing the time range."
        )));
    }
    Ok(())
}
