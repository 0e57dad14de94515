//! Metric alarms: stored and described, never evaluated. Their state is always INSUFFICIENT_DATA at first; OK for
//! PromQL alarms.

use std::collections::BTreeMap;

use ciborium::Value;
use serde::Deserialize;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::cloudwatch::period_statistics::Summary;
use crate::page_token::PageToken;
use trainspotter_core::model::Timestamp;

/// Maximum metric queries per alarm.
const MAX_QUERIES: usize = 20;
/// Maximum evaluation range: a day, or a week if the period is an hour or more.
const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
const DEFAULT_PAGE: usize = 50;
/// Members that describe a single metric; they exclude `Metrics` and `EvaluationCriteria`.
const OF_METRIC: [&str; 7] =
    ["MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic"];
const LOW_SAMPLE_COUNTS: [&str; 2] = ["evaluate", "ignore"];
/// Operators that compare with an anomaly detection band.
const BAND_OPERATORS: [&str; 3] =
    ["LessThanLowerOrGreaterThanUpperThreshold", "LessThanLowerThreshold", "GreaterThanUpperThreshold"];
const MISSING_DATA: [&str; 4] = ["breaching", "notBreaching", "ignore", "missing"];

/// The alarms by name.
pub(super) type Alarms = BTreeMap<String, Alarm>;

/// An alarm as it was put.
#[derive(Debug)]
pub(super) struct Alarm {
    /// Members of the request that descriptions return.
    members: Vec<(Value, Value)>,
    created_at: Timestamp,
    changed_at: Timestamp,
    state: &'static str,
}

/// Input of the validation rules of an alarm.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AlarmInput {
    alarm_name: String,
    #[serde(rename = "OKActions", default)]
    ok_actions: Vec<String>,
    #[serde(default)]
    alarm_actions: Vec<String>,
    #[serde(default)]
    insufficient_data_actions: Vec<String>,
    metric_name: Option<String>,
    namespace: Option<String>,
    statistic: Option<String>,
    extended_statistic: Option<String>,
    period: Option<i64>,
    evaluation_periods: Option<i64>,
    datapoints_to_alarm: Option<i64>,
    threshold: Option<f64>,
    comparison_operator: Option<String>,
    treat_missing_data: Option<String>,
    evaluate_low_sample_count_percentile: Option<String>,
    metrics: Option<Vec<Query>>,
    threshold_metric_id: Option<String>,
    evaluation_criteria: Option<Value>,
    evaluation_interval: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Query {
    id: String,
    metric_stat: Option<Value>,
    expression: Option<String>,
    return_data: Option<bool>,
}

/// Creates or replaces an alarm; a replaced alarm keeps its state.
pub(super) fn put_metric_alarm(world: &mut World, input: Value) -> Result<(), ApiError> {
    let judged: AlarmInput = crate::cbor::input(&input)?;
    judged.check(&input)?;
    let Value::Map(members) = input else { return Ok(()) };
    let tags = |(name, _): &(Value, Value)| name.as_text() != Some("Tags");
    let members = members.into_iter().filter(tags).collect();
    let state = if judged.evaluation_criteria.is_some() { "OK" } else { "INSUFFICIENT_DATA" };
    let before = world.metrics.alarms.get(&judged.alarm_name);
    let created_at = before.map_or(world.now, |before| before.created_at);
    let alarm = Alarm { members, created_at, changed_at: world.now, state };
    world.metrics.alarms.insert(judged.alarm_name, alarm);
    Ok(())
}

impl AlarmInput {
    fn check(&self, input: &Value) -> Result<(), ApiError> {
        let given = |name: &str| has(input, name);
        let forms = [self.metric_name.is_some(), self.metrics.is_some(), self.evaluation_criteria.is_some()];
        match forms.into_iter().filter(|given| *given).count() {
            0 => return Err(missing("MetricName, Metrics or EvaluationCriteria")),
            1 => {}
            _ => return Err(invalid("MetricName, Metrics and EvaluationCriteria are mutually exclusive.")),
        }
        if self.metric_name.is_none()
            && let Some(name) = OF_METRIC.into_iter().find(|name| given(name))
        {
            return Err(invalid(format!("{name} must not be specified without MetricName.")));
        }
        self.check_actions()?;
        if self.evaluation_criteria.is_some() {
            return self.check_promql(input);
        }
        if self.evaluation_interval.is_some() {
            return Err(invalid("EvaluationInterval is for EvaluationCriteria only."));
        }
        match &self.metrics {
            Some(queries) => self.check_queries(queries)?,
            None => self.check_metric()?,
        }
        self.check_condition()
    }

    fn check_actions(&self) -> Result<(), ApiError> {
        let mut actions = self.ok_actions.iter().chain(&self.alarm_actions).chain(&self.insufficient_data_actions);
        match actions.find(|action| !action.starts_with("arn:")) {
            Some(action) => Err(invalid(format!("Invalid arn syntax: {action}"))),
            None => Ok(()),
        }
    }

    fn check_promql(&self, input: &Value) -> Result<(), ApiError> {
        if self.evaluation_interval.is_none() {
            return Err(missing("EvaluationInterval"));
        }
        let excluded =
            ["EvaluationPeriods", "DatapointsToAlarm", "Threshold", "ComparisonOperator", "TreatMissingData"];
        match excluded.into_iter().find(|name| has(input, name)) {
            Some(name) => Err(invalid(format!("{name} must not be specified with EvaluationCriteria."))),
            None => Ok(()),
        }
    }

    fn check_queries(&self, queries: &[Query]) -> Result<(), ApiError> {
        if queries.is_empty() || queries.len() > MAX_QUERIES {
            return Err(invalid(format!("Metrics must have 1 to {MAX_QUERIES} members, not {}.", queries.len())));
        }
        for query in queries {
            if query.metric_stat.is_some() == query.expression.is_some() {
                return Err(invalid(format!("Metric {}: either MetricStat or Expression is needed.", query.id)));
            }
        }
        let returned = queries.iter().filter(|query| query.return_data.unwrap_or(true));
        let most = if self.threshold_metric_id.is_some() { 2 } else { 1 };
        if returned.count() != most {
            return Err(invalid("Exactly one metric of Metrics must have ReturnData true, beside a threshold's."));
        }
        Ok(())
    }

    fn check_metric(&self) -> Result<(), ApiError> {
        if self.namespace.is_none() {
            return Err(missing("Namespace"));
        }
        match (&self.statistic, &self.extended_statistic) {
            (None, None) => return Err(missing("Statistic or ExtendedStatistic")),
            (Some(_), Some(_)) => {
                return Err(invalid("Statistic and ExtendedStatistic are mutually exclusive."));
            }
            (None, Some(name)) if Summary::of([(1.0, 1.0)]).statistic(name).is_none() => {
                return Err(invalid(format!("The value {name} for parameter ExtendedStatistic is not supported.")));
            }
            (_, _) => {}
        }
        let period = self.period.ok_or_else(|| missing("Period"))?;
        if ![10, 20, 30].contains(&period) && period % 60 != 0 {
            return Err(invalid(format!(
                "The value {period} for parameter Period must be 10, 20, 30 or a multiple of 60."
            )));
        }
        let longest = if period >= 3_600 { WEEK } else { DAY };
        if period.saturating_mul(self.evaluation_periods.unwrap_or(1)) > longest {
            return Err(invalid(format!(
                "Metrics cannot be checked across more than {longest} seconds (EvaluationPeriods * Period must be <= {longest})."
            )));
        }
        Ok(())
    }

    fn check_condition(&self) -> Result<(), ApiError> {
        let periods = self.evaluation_periods.ok_or_else(|| missing("EvaluationPeriods"))?;
        if self.datapoints_to_alarm.is_some_and(|datapoints| datapoints > periods) {
            return Err(invalid("DatapointsToAlarm must not exceed EvaluationPeriods."));
        }
        let Some(operator) = self.comparison_operator.as_deref() else { return Err(missing("ComparisonOperator")) };
        if BAND_OPERATORS.contains(&operator) != self.threshold_metric_id.is_some() {
            return Err(invalid(format!("{operator}: operators for a band, and no others, take a ThresholdMetricId.")));
        }
        match (self.threshold, &self.threshold_metric_id) {
            (None, None) => return Err(missing("Threshold")),
            (Some(_), Some(_)) => {
                return Err(invalid("Threshold and ThresholdMetricId are mutually exclusive."));
            }
            (Some(threshold), None) if !threshold.is_finite() => {
                return Err(invalid("The parameter Threshold must be a number."));
            }
            (_, _) => {}
        }
        if let Some(low) = self.evaluate_low_sample_count_percentile.as_deref()
            && (!LOW_SAMPLE_COUNTS.contains(&low) || self.extended_statistic.is_none())
        {
            return Err(invalid(format!(
                "EvaluateLowSampleCountPercentile must be one of {}, of an alarm by percentile, not {low}.",
                LOW_SAMPLE_COUNTS.join(", ")
            )));
        }
        match self.treat_missing_data.as_deref() {
            Some(treat) if !MISSING_DATA.contains(&treat) => Err(invalid(format!(
                "The value {treat} for parameter TreatMissingData must be one of {}.",
                MISSING_DATA.join(", ")
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeInput {
    alarm_names: Option<Vec<String>>,
    alarm_name_prefix: Option<String>,
    alarm_types: Option<Vec<String>>,
    state_value: Option<String>,
    max_records: Option<usize>,
    next_token: Option<String>,
}

/// Describes alarms by name. AWS's other filters (actions, parents, children) are accepted and ignored.
pub(super) fn describe_alarms(world: &World, input: &DescribeInput) -> Result<Value, ApiError> {
    if input.alarm_names.is_some() && input.alarm_name_prefix.is_some() {
        return Err(invalid("AlarmNames and AlarmNamePrefix exclude each other."));
    }
    let after = match &input.next_token {
        None => None,
        Some(token) => {
            let bad = || ApiError::bad("InvalidNextToken", "The NextToken is not valid.");
            Some(PageToken::decode(token).ok_or_else(bad)?.key)
        }
    };
    let metric_alarms = input.alarm_types.as_ref().is_none_or(|types| types.iter().any(|kind| kind == "MetricAlarm"));
    let wanted = |(name, alarm): &(&String, &Alarm)| {
        metric_alarms
            && after.as_ref().is_none_or(|after| *name > after)
            && input.alarm_names.as_ref().is_none_or(|names| names.is_empty() || names.contains(name))
            && input.alarm_name_prefix.as_ref().is_none_or(|prefix| name.starts_with(prefix))
            && input.state_value.as_ref().is_none_or(|state| alarm.state == state)
    };
    let limit = input.max_records.unwrap_or(DEFAULT_PAGE);
    let mut found: Vec<_> = world.metrics.alarms.iter().filter(wanted).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let mut members = vec![
        (text("MetricAlarms"), Value::Array(found.iter().map(|(name, alarm)| alarm.described(name)).collect())),
        (text("CompositeAlarms"), Value::Array(Vec::new())),
    ];
    if let Some((last, _)) = found.last().filter(|_| more) {
        let token = PageToken { page: 2, order: 0, key: (*last).clone() };
        members.push((text("NextToken"), text(&token.encode())));
    }
    Ok(Value::Map(members))
}

impl Alarm {
    fn described(&self, name: &str) -> Value {
        let mut members = self.members.clone();
        for (name, value) in [("ActionsEnabled", Value::Bool(true))] {
            if !members.iter().any(|(given, _)| given.as_text() == Some(name)) {
                members.push((text(name), value));
            }
        }
        members.extend([
            (text("AlarmArn"), text(&arn::alarm(name))),
            (text("StateValue"), text(self.state)),
            (text("StateReason"), text("Unchecked: Initial alarm creation")),
            (text("StateUpdatedTimestamp"), Value::Float(self.created_at.secs_f64())),
            (text("StateTransitionedTimestamp"), Value::Float(self.created_at.secs_f64())),
            (text("AlarmConfigurationUpdatedTimestamp"), Value::Float(self.changed_at.secs_f64())),
        ]);
        Value::Map(members)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteInput {
    alarm_names: Vec<String>,
}

/// Deletes all, or none if one of them does not exist.
pub(super) fn delete_alarms(world: &mut World, input: &DeleteInput) -> Result<(), ApiError> {
    let alarms = &mut world.metrics.alarms;
    if let Some(name) = input.alarm_names.iter().find(|name| !alarms.contains_key(*name)) {
        return Err(ApiError::new(404, "ResourceNotFound", format!("Alarm {name} does not exist")));
    }
    alarms.retain(|name, _| !input.alarm_names.contains(name));
    Ok(())
}

fn has(input: &Value, name: &str) -> bool {
    input.as_map().is_some_and(|members| members.iter().any(|(given, _)| given.as_text() == Some(name)))
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// PutMetricAlarm has a single code for all invalid combinations.
fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::bad("ValidationException", message)
}

fn missing(what: &str) -> ApiError {
    invalid(format!("The parameter {what} is required."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_alarm_is_of_one_kind_and_whole() {
        let metric = || {
            json!({
                "AlarmName": "a", "MetricName": "m", "Namespace": "n", "Statistic": "Maximum", "Period": 60,
                "EvaluationPeriods": 3, "Threshold": 1.0, "ComparisonOperator": "GreaterThanThreshold",
            })
        };
        let queries = |queries: serde_json::Value| {
            json!({
                "AlarmName": "a", "Metrics": queries, "EvaluationPeriods": 1, "Threshold": 1.0,
                "ComparisonOperator": "GreaterThanThreshold",
            })
        };
        let promql = || json!({"AlarmName": "a", "EvaluationCriteria": {"PromQLCriteria": {"Query": "up"}}, "EvaluationInterval": 60});
        let check = |alarm: serde_json::Value, changes: serde_json::Value, expected: Result<(), &str>| {
            let mut alarm = alarm;
            for (name, value) in changes.as_object().unwrap() {
                alarm[name] = value.clone();
            }
            alarm.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            let input = Value::serialized(&alarm).unwrap();
            let judged: AlarmInput = crate::cbor::input(&input).unwrap();
            assert_eq!(judged.check(&input).map_err(|error| error.code), expected, "{alarm}");
        };
        check(metric(), json!({}), Ok(()));
        check(metric(), json!({"MetricName": null}), Err("ValidationException"));
        check(metric(), json!({"Namespace": null}), Err("ValidationException"));
        check(metric(), json!({"Threshold": null}), Err("ValidationException"));
        check(metric(), json!({"EvaluationPeriods": null}), Err("ValidationException"));
        check(metric(), json!({"ExtendedStatistic": "p95"}), Err("ValidationException"));
        check(metric(), json!({"Statistic": null, "ExtendedStatistic": "p95"}), Ok(()));
        check(metric(), json!({"Statistic": null, "ExtendedStatistic": "often"}), Err("ValidationException"));
        check(metric(), json!({"Period": 45}), Err("ValidationException"));
        check(metric(), json!({"Period": 300, "EvaluationPeriods": 288}), Ok(()));
        check(metric(), json!({"Period": 300, "EvaluationPeriods": 289}), Err("ValidationException"));
        check(metric(), json!({"DatapointsToAlarm": 4}), Err("ValidationException"));
        check(metric(), json!({"TreatMissingData": "maybe"}), Err("ValidationException"));
        check(metric(), json!({"EvaluateLowSampleCountPercentile": "evaluate"}), Err("ValidationException"));
        check(metric(), json!({"AlarmActions": ["me"]}), Err("ValidationException"));
        check(metric(), json!({"EvaluationInterval": 60}), Err("ValidationException"));
        check(metric(), json!({"Metrics": []}), Err("ValidationException"));
        check(queries(json!([{"Id": "a", "Expression": "1"}])), json!({}), Ok(()));
        check(queries(json!([{"Id": "a", "Expression": "1"}])), json!({"Period": 60}), Err("ValidationException"));
        check(
            queries(json!([{"Id": "a", "Expression": "1"}, {"Id": "b", "Expression": "2"}])),
            json!({}),
            Err("ValidationException"),
        );
        check(queries(json!([])), json!({}), Err("ValidationException"));
        check(promql(), json!({}), Ok(()));
        check(promql(), json!({"EvaluationInterval": null}), Err("ValidationException"));
        check(promql(), json!({"Threshold": 1.0}), Err("ValidationException"));
    }
}
