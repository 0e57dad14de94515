//! `PutMetricData` with the limits of its API reference: one invalid datum rejects the whole request.

use std::time::Duration;

use serde::Deserialize;

use crate::api_error::ApiError;
use crate::cloudwatch::Dimension;
use crate::cloudwatch::Metric;
use crate::cloudwatch::invalid_combination;
use crate::cloudwatch::invalid_value;
use crate::cloudwatch::metric_store::Metrics;
use crate::cloudwatch::period_statistics::Summary;
use trainspotter_core::model::Timestamp;

const MAX_DATA: usize = 1_000;
const MAX_VALUES: usize = 150;
const MAX_DIMENSIONS: usize = 30;
const MAX_NAME: usize = 255;
const MAX_DIMENSION_VALUE: usize = 1_024;
/// Values lie between -2^360 and 2^360.
const MAX_EXPONENT: i32 = 360;
const OLDEST: Duration = Duration::from_hours(14 * 24);
const NEWEST: Duration = Duration::from_hours(2);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Input {
    namespace: String,
    #[serde(default)]
    metric_data: Vec<Datum>,
    #[serde(default)]
    entity_metric_data: Vec<EntityData>,
}

/// Data about an entity, which is not stored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EntityData {
    #[serde(default)]
    metric_data: Vec<Datum>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Datum {
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    timestamp: Option<f64>,
    value: Option<f64>,
    values: Option<Vec<f64>>,
    counts: Option<Vec<f64>>,
    statistic_values: Option<StatisticSet>,
    unit: Option<String>,
    storage_resolution: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StatisticSet {
    sample_count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
}

/// Validates everything, then stores everything.
pub(super) fn put_metric_data(metrics: &mut Metrics, now: Timestamp, input: Input) -> Result<(), ApiError> {
    check_name("Namespace", &input.namespace, MAX_NAME)?;
    if input.namespace.starts_with("AWS/") {
        return Err(invalid_value(format!("The value {} for parameter Namespace is invalid.", input.namespace)));
    }
    let data: Vec<Datum> = input
        .metric_data
        .into_iter()
        .chain(input.entity_metric_data.into_iter().flat_map(|of| of.metric_data))
        .collect();
    if data.is_empty() {
        let message = "The parameter MetricData is required.";
        return Err(ApiError::bad("MissingRequiredParameterException", message));
    }
    if data.len() > MAX_DATA {
        return Err(invalid_value(format!("The collection MetricData must not have a size greater than {MAX_DATA}.")));
    }
    let mut accepted = Vec::with_capacity(data.len());
    for (datum, n) in data.into_iter().zip(1..) {
        let place = format!("MetricData.member.{n}");
        check_identity(&datum, &place)?;
        let at = time_of(&datum, now, &place)?;
        let summary = summary_of(&datum, &place)?;
        let mut dimensions = datum.dimensions;
        dimensions.sort();
        accepted.push((
            Metric { namespace: input.namespace.clone(), metric_name: datum.metric_name, dimensions },
            datum.unit,
            at,
            summary,
        ));
    }
    for (metric, unit, at, summary) in accepted {
        metrics.put(metric, unit, at, summary);
    }
    Ok(())
}

fn check_identity(datum: &Datum, place: &str) -> Result<(), ApiError> {
    check_name(&format!("{place}.MetricName"), &datum.metric_name, MAX_NAME)?;
    if datum.dimensions.len() > MAX_DIMENSIONS {
        return Err(invalid_value(format!(
            "The collection {place}.Dimensions must not have a size greater than {MAX_DIMENSIONS}."
        )));
    }
    if datum.storage_resolution.is_some_and(|seconds| ![1, 60].contains(&seconds)) {
        return Err(invalid_value(format!("The parameter {place}.StorageResolution must be 1 or 60.")));
    }
    for (dimension, n) in datum.dimensions.iter().zip(1..) {
        let place = format!("{place}.Dimensions.member.{n}");
        check_name(&format!("{place}.Name"), &dimension.name, MAX_NAME)?;
        check_name(&format!("{place}.Value"), &dimension.value, MAX_DIMENSION_VALUE)?;
        if dimension.name.starts_with(':') {
            return Err(invalid_value(format!("The parameter {place}.Name must not start with a colon.")));
        }
    }
    Ok(())
}

fn check_name(place: &str, name: &str, max: usize) -> Result<(), ApiError> {
    let length = name.chars().count();
    if length == 0 || name.trim().is_empty() {
        return Err(invalid_value(format!("The parameter {place} must not be empty.")));
    }
    if length > max {
        return Err(invalid_value(format!("The parameter {place} must be shorter than {} characters.", max + 1)));
    }
    if !name.chars().all(|c| c.is_ascii() && !c.is_ascii_control()) {
        return Err(invalid_value(format!("The parameter {place} must be printable ASCII.")));
    }
    Ok(())
}

fn time_of(datum: &Datum, now: Timestamp, place: &str) -> Result<Timestamp, ApiError> {
    let at = datum.timestamp.map_or(now, Timestamp::from_secs_f64);
    if at < now - OLDEST || at > now + NEWEST {
        return Err(invalid_value(format!(
            "The parameter {place}.Timestamp must specify a time no more than two weeks in the past and no more than \
             two hours in the future."
        )));
    }
    Ok(at)
}

fn summary_of(datum: &Datum, place: &str) -> Result<Summary, ApiError> {
    let check = |value: f64, member: &str| {
        if value.is_finite() && value.abs() <= 2f64.powi(MAX_EXPONENT) {
            Ok(value)
        } else {
            Err(invalid_value(format!("The value {value} for parameter {place}.{member} is invalid.")))
        }
    };
    match (datum.value, &datum.values, &datum.statistic_values) {
        (Some(value), None, None) => Ok(Summary::of([(check(value, "Value")?, 1.0)])),
        (None, Some(values), None) => {
            if values.is_empty() || values.len() > MAX_VALUES {
                return Err(invalid_value(format!(
                    "The collection {place}.Values must have between 1 and {MAX_VALUES} members."
                )));
            }
            let ones = vec![1.0; values.len()];
            let counts = datum.counts.as_ref().unwrap_or(&ones);
            if counts.len() != values.len() {
                return Err(invalid_combination(format!(
                    "The parameters {place}.Values and {place}.Counts must have the same number of members."
                )));
            }
            let mut pairs = Vec::with_capacity(values.len());
            for (value, count) in values.iter().zip(counts) {
                let count = check(*count, "Counts")?;
                if count <= 0.0 {
                    return Err(invalid_value(format!("The value {count} for parameter {place}.Counts is invalid.")));
                }
                pairs.push((check(*value, "Values")?, count));
            }
            Ok(Summary::of(pairs))
        }
        (None, None, Some(set)) => Ok(Summary {
            count: check(set.sample_count, "StatisticValues.SampleCount")?,
            sum: check(set.sum, "StatisticValues.Sum")?,
            min: check(set.minimum, "StatisticValues.Minimum")?,
            max: check(set.maximum, "StatisticValues.Maximum")?,
            values: Vec::new(),
        }),
        (None, None, None) => Err(ApiError::bad(
            "MissingRequiredParameterException",
            format!("At least one of the parameters {place}.Value, .Values or .StatisticValues must be specified."),
        )),
        _ => Err(invalid_combination(format!(
            "The parameters {place}.Value, .Values and .StatisticValues are mutually exclusive."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn check(json: serde_json::Value, expected: Result<u64, &str>) {
        let input = serde_json::from_value(json.clone()).unwrap();
        let mut metrics = Metrics::default();
        let result = put_metric_data(&mut metrics, NOW, input);
        match expected {
            Ok(count) => {
                assert_eq!(result, Ok(()), "{json}");
                assert_eq!(metrics.data_accepted(), count, "{json}");
            }
            Err(part) => {
                let message = result.unwrap_err().message;
                assert!(message.contains(part), "{json}: {message}");
                assert_eq!(metrics.data_accepted(), 0, "nothing of a refused request is kept");
            }
        }
    }

    fn datum(members: serde_json::Value) -> serde_json::Value {
        let mut datum = serde_json::json!({"MetricName": "m"});
        for (key, value) in members.as_object().unwrap() {
            datum[key] = value.clone();
        }
        serde_json::json!({"Namespace": "n", "MetricData": [{"MetricName": "first", "Value": 1.0}, datum]})
    }

    #[test]
    fn limits_are_enforced() {
        let now = NOW.secs_f64();
        let cases = [
            (serde_json::json!({"Value": 1.0}), Ok(2)),
            (serde_json::json!({"Value": 2f64.powi(361)}), Err("member.2.Value is invalid")),
            (serde_json::json!({"Values": [1.0, 2.0], "Counts": [1.0]}), Err("same number")),
            (serde_json::json!({"Values": vec![1.0; 150]}), Ok(2)),
            (serde_json::json!({"Values": vec![1.0; 151]}), Err("between 1 and 150")),
            (serde_json::json!({"Values": [1.0], "Value": 1.0}), Err("mutually exclusive")),
            (serde_json::json!({}), Err("must be specified")),
            (serde_json::json!({"Value": 1.0, "MetricName": ""}), Err("must not be empty")),
            (serde_json::json!({"Value": 1.0, "MetricName": "x".repeat(256)}), Err("shorter than 256")),
            (serde_json::json!({"Value": 1.0, "Timestamp": now - 14.0 * 86_400.0}), Ok(2)),
            (serde_json::json!({"Value": 1.0, "Timestamp": now - 15.0 * 86_400.0}), Err("two weeks")),
            (serde_json::json!({"Value": 1.0, "Timestamp": now + 7_201.0}), Err("two hours")),
            (serde_json::json!({"Value": 1.0, "Dimensions": dimensions(30)}), Ok(2)),
            (serde_json::json!({"Value": 1.0, "Dimensions": dimensions(31)}), Err("greater than 30")),
        ];
        for (members, expected) in cases {
            check(datum(members), expected);
        }
        let many = vec![serde_json::json!({"MetricName": "m", "Value": 1.0}); 1_001];
        check(serde_json::json!({"Namespace": "n", "MetricData": many[..1_000]}), Ok(1_000));
        check(serde_json::json!({"Namespace": "n", "MetricData": many}), Err("greater than 1000"));
    }

    #[test]
    fn what_is_not_a_number_is_refused() {
        let datum = Datum {
            metric_name: "m".to_owned(),
            dimensions: Vec::new(),
            timestamp: None,
            value: Some(f64::NAN),
            values: None,
            counts: None,
            statistic_values: None,
            unit: None,
            storage_resolution: None,
        };
        let input = Input { namespace: "n".to_owned(), metric_data: vec![datum], entity_metric_data: Vec::new() };
        let error = put_metric_data(&mut Metrics::default(), NOW, input).unwrap_err();
        assert_eq!(error.code, "InvalidParameterValueException");
    }

    fn dimensions(count: usize) -> Vec<serde_json::Value> {
        (0..count).map(|n| serde_json::json!({"Name": format!("d{n}"), "Value": "v"})).collect()
    }
}
