//! Rules for CloudWatch: alarms in a CloudFormation template over the metrics that the CloudWatch sink sends, and PromQL
//! alarms over what was sent by OTLP.
//!
//! A CloudWatch alarm is one for all that a rule's `by` tells apart, so it says that somebody waits and not who.
//! `TreatMissingData` has a word for each `no_data`. Limits are those of the CloudWatch User Guide, 2026.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::metrics::catalogue::{Kind, Label, Metric, cloudwatch_dimension};
use crate::rules::export::Exported;
use crate::rules::export::prometheus::{Spelling, expression};
use crate::rules::rule::{Clause, Combine, Condition, Fold, NoData, Rule, Stat, Take};

/// Alarms are evaluated each minute.
const PERIOD: Duration = Duration::from_secs(60);
/// Metrics Insights alarms look back so far at most.
const LONGEST: Duration = Duration::from_secs(3 * 3_600);
/// `EvaluationInterval` of PromQL alarms.
const EVERY: Duration = Duration::from_secs(60);

/// A CloudFormation template with an alarm for each rule, and a composite one for several conditions. `namespace` is that of
/// the sink; `is_sent` tells which metrics it sends.
pub fn alarms(rules: &[Rule], namespace: &str, is_sent: impl Fn(&Metric) -> bool) -> Exported {
    let mut resources = serde_json::Map::new();
    let mut notes = Vec::new();
    for rule in rules {
        let mut told = Vec::new();
        match of_rule(rule, namespace, &is_sent, &mut told) {
            Ok(made) => resources.extend(made),
            Err(why) => told.push(format!("is left out: {why}")),
        }
        notes.extend(told.into_iter().map(|what| format!("{}: {what}", rule.name)));
    }
    let template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Alarms exported from Trainspotter's rules",
        "Parameters": {
            "Topic": { "Type": "String", "Description": "ARN of the SNS topic that is told" },
        },
        "Resources": resources,
    });
    Exported { text: written(&template), notes }
}

/// The input of `PutMetricAlarm` for each rule, as a JSON list: CloudFormation is not known to take these alarms.
pub fn promql_alarms(rules: &[Rule]) -> Exported {
    let mut alarms = Vec::new();
    let mut notes = Vec::new();
    for rule in rules {
        let mut told = Vec::new();
        match expression(rule, Spelling::Otlp, EVERY, &mut told) {
            Ok(query) => alarms.push(json!({
                "AlarmName": rule.name,
                "AlarmDescription": description(rule),
                "EvaluationInterval": EVERY.as_secs(),
                "EvaluationCriteria": { "PromQLCriteria": {
                    "Query": query,
                    "PendingPeriod": rule.hold.as_secs(),
                    "RecoveryPeriod": rule.keep_firing_for.as_secs(),
                } },
            })),
            Err(why) => told.push(format!("is left out: {why}")),
        }
        notes.extend(told.into_iter().map(|what| format!("{}: {what}", rule.name)));
    }
    Exported { text: written(&Value::from(alarms)), notes }
}

type Resources = BTreeMap<String, Value>;

fn of_rule(
    rule: &Rule,
    namespace: &str,
    is_sent: impl Fn(&Metric) -> bool,
    told: &mut Vec<String>,
) -> Result<Resources, String> {
    if !rule.keep_firing_for.is_zero() {
        told.push("`keep_firing_for` is left out".to_owned());
    }
    let id: String = rule.name.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut resources = Resources::new();
    let mut parts = Vec::new();
    for (index, clause) in rule.clauses.iter().enumerate() {
        let mut alarm = alarm(rule, clause, namespace, &is_sent, told)?;
        let single = rule.clauses.len() == 1;
        let (id, name) = if single {
            alarm["AlarmActions"] = json!([{ "Ref": "Topic" }]);
            alarm["OKActions"] = json!([{ "Ref": "Topic" }]);
            (id.clone(), rule.name.clone())
        } else {
            (format!("{id}Part{}", index + 1), format!("{} part {}", rule.name, index + 1))
        };
        alarm["AlarmName"] = json!(name);
        parts.push((id.clone(), name));
        resources.insert(id, json!({ "Type": "AWS::CloudWatch::Alarm", "Properties": alarm }));
    }
    if parts.len() > 1 {
        let join = match rule.combine {
            Combine::All => " AND ",
            Combine::Any => " OR ",
        };
        let whole: Vec<String> = parts.iter().map(|(_, name)| format!("ALARM(\"{name}\")")).collect();
        let properties = json!({
            "AlarmName": rule.name,
            "AlarmDescription": description(rule),
            "AlarmRule": whole.join(join),
            "AlarmActions": [{ "Ref": "Topic" }],
            "OKActions": [{ "Ref": "Topic" }],
        });
        let depends: Vec<&String> = parts.iter().map(|(id, _)| id).collect();
        let composite =
            json!({ "Type": "AWS::CloudWatch::CompositeAlarm", "DependsOn": depends, "Properties": properties });
        resources.insert(id, composite);
        told.push("its conditions need not hold for the same labels".to_owned());
    }
    Ok(resources)
}

/// An alarm for one condition.
fn alarm(
    rule: &Rule,
    clause: &Clause,
    namespace: &str,
    is_sent: impl Fn(&Metric) -> bool,
    told: &mut Vec<String>,
) -> Result<Value, String> {
    if !is_sent(clause.metric) {
        return Err(format!("`{}` is not sent to CloudWatch", clause.metric.name));
    }
    let (statistic, period) = statistic(clause)?;
    let (operator, threshold, recover) = match clause.condition {
        Condition::Above { threshold, recover } => ("GreaterThanThreshold", threshold, recover),
        Condition::Below { threshold, recover } => ("LessThanThreshold", threshold, recover),
    };
    if threshold.to_bits() != recover.to_bits() {
        told.push("`recover` is left out: the alarm ends where it begins".to_owned());
    }
    let (needed, of) = match rule.datapoints {
        Some(datapoints) => (datapoints.needed, datapoints.of),
        // A condition has held for ten minutes once eleven values in a row say so.
        None => {
            let held = usize::try_from(rule.hold.as_secs().div_ceil(period.as_secs())).unwrap_or(usize::MAX);
            (held.saturating_add(1), held.saturating_add(1))
        }
    };
    if period * u32::try_from(of).unwrap_or(u32::MAX) > LONGEST {
        return Err("it looks back further than the three hours of a Metrics Insights alarm".to_owned());
    }
    let missing = match rule.no_data {
        NoData::Keep => "ignore",
        NoData::Ok => "notBreaching",
        NoData::Alert => "breaching",
    };
    let dimensions = clause.metric.labels.iter().map(|label| format!(", {}", cloudwatch_dimension(label)));
    let dimensions: String = dimensions.collect();
    let name = clause.metric.cloudwatch_name();
    let filters = conditions(&clause.filters)?;
    let query = format!("SELECT {statistic}({name}) FROM SCHEMA(\"{namespace}\"{dimensions}){filters}");
    Ok(json!({
        "AlarmDescription": description(rule),
        "Metrics": [{ "Id": "value", "Expression": query, "Period": period.as_secs(), "ReturnData": true }],
        "ComparisonOperator": operator,
        "Threshold": threshold,
        "EvaluationPeriods": of,
        "DatapointsToAlarm": needed,
        "TreatMissingData": missing,
    }))
}

/// The statistic over all series and values of a period, and the period.
fn statistic(clause: &Clause) -> Result<(&'static str, Duration), String> {
    let folded = match clause.fold {
        Fold::Max => "MAX",
        Fold::Min => "MIN",
        Fold::Sum => "SUM",
        Fold::Mean => "AVG",
    };
    let hour = Duration::from_secs(3_600);
    match (clause.take, clause.metric.kind) {
        (Take::Now, _) if clause.fold == Fold::Sum => {
            Err("Metrics Insights would add up values of different moments of a period".to_owned())
        }
        (Take::Now, _) => Ok((folded, PERIOD)),
        // Counters are sent as their increases.
        (Take::Increase(over), Kind::Counter) => Ok(("SUM", over)),
        (Take::Stat(Stat::Count), _) => Ok(("COUNT", hour)),
        (Take::Stat(Stat::Mean), _) => Ok(("AVG", hour)),
        (Take::Stat(Stat::Max), _) => Ok(("MAX", hour)),
        (Take::Stat(Stat::P50 | Stat::P90 | Stat::P95 | Stat::P99), _) => {
            Err("Metrics Insights has no percentiles; alarm on `mean` or `max`, or on one share's metric".to_owned())
        }
        (Take::Increase(_) | Take::Change(_) | Take::Beyond(..), _) => {
            Err("an alarm cannot compare with what was".to_owned())
        }
    }
}

fn conditions(filters: &[(Label, String)]) -> Result<String, String> {
    let mut parts = Vec::new();
    for (label, glob) in filters {
        if glob.contains(['*', '?', '\'']) {
            return Err(format!("Metrics Insights has no patterns, so not `{label}: {glob}`"));
        }
        parts.push(format!("{} = '{glob}'", cloudwatch_dimension(label)));
    }
    Ok(if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) })
}

/// `AlarmDescription`, which templates cannot fill: the runbook, or what the rule is called.
fn description(rule: &Rule) -> String {
    let runbook = rule.templates.sources().find(|(name, _)| name.starts_with("runbook"));
    runbook.map_or_else(|| rule.name.clone(), |(_, runbook)| format!("{}: see {runbook}", rule.name))
}

fn written(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::parse_rules;

    fn check(rule: &str, expected: &Value) {
        let text = format!("rules: [{{ alert: A, annotations: {{ summary: x }}, {rule} }}]");
        let exported = alarms(&parse_rules("rules.yaml", &text).unwrap(), "Spots", |_| true);
        let template: Value = serde_json::from_str(&exported.text).unwrap();
        let mut found = template["Resources"]["A"]["Properties"].clone();
        if let Some(found) = found.as_object_mut() {
            found.retain(|key, _| expected.get(key).is_some());
        } else {
            found = json!(exported.notes);
        }
        assert_eq!(&found, expected, "{rule}");
    }

    #[test]
    fn a_rule_becomes_an_alarm_or_says_why_not() {
        let query = |query: &str, period: u64| json!([{ "Id": "value", "Expression": query, "Period": period, "ReturnData": true }]);
        check(
            "metric: queue.wait.oldest, by: [queue, share], where: { queue: prod }, above: 30m, for: 10m",
            &json!({
                "Metrics": query("SELECT MAX(QueueWaitOldest) FROM SCHEMA(\"Spots\", Queue, Share) WHERE Queue = 'prod'", 60),
                "Threshold": 1800.0, "EvaluationPeriods": 11, "DatapointsToAlarm": 11, "TreatMissingData": "ignore",
                "ComparisonOperator": "GreaterThanThreshold",
            }),
        );
        check(
            "metric: job.preemptions, increase: 1h, above: 20, no_data: ok",
            &json!({ "Metrics": query("SELECT SUM(JobPreemptions) FROM SCHEMA(\"Spots\", Queue, Share)", 3_600), "TreatMissingData": "notBreaching" }),
        );
        check(
            "metric: gpu.idle.ratio, below: 10%, datapoints: 3 of 5, no_data: alert",
            &json!({ "EvaluationPeriods": 5, "DatapointsToAlarm": 3, "TreatMissingData": "breaching", "ComparisonOperator": "LessThanThreshold" }),
        );
        check(
            "all: [{ metric: gpu.capacity, above: 1 }, { metric: gpu.idle.ratio, above: 40% }]",
            &json!({ "AlarmRule": "ALARM(\"A part 1\") AND ALARM(\"A part 2\")" }),
        );
        let left_out = |why: &str| json!([format!("A: is left out: {why}")]);
        check(
            "metric: gpu.capacity, where: { queue: 'p*' }, above: 1",
            &left_out("Metrics Insights has no patterns, so not `queue: p*`"),
        );
        check(
            "metric: queue.wait.oldest, above: 1h, for: 4h",
            &left_out("it looks back further than the three hours of a Metrics Insights alarm"),
        );
    }

    #[test]
    fn promql_alarms_name_metrics_as_otlp_does() {
        let text = "rules: [{ alert: A, metric: gpu.idle.ratio, by: [queue], above: 50%, recover: 40%, for: 10m, annotations: { summary: x } }]";
        let exported = promql_alarms(&parse_rules("rules.yaml", text).unwrap());
        let alarms: Value = serde_json::from_str(&exported.text).unwrap();
        let criteria = json!({
            "Query": "max by (queue) ({\"trainspotter.gpu.idle.ratio\"}) > 0.5", "PendingPeriod": 600, "RecoveryPeriod": 0,
        });
        assert_eq!(alarms[0]["EvaluationCriteria"]["PromQLCriteria"], criteria);
        assert_eq!(exported.notes, ["A: `recover` is left out: the alarm ends where it begins"]);
    }
}
