//! Exports rules to CloudWatch: alarms in a CloudFormation template over the metrics of the CloudWatch sink, and
//! PromQL alarms over metrics sent by OTLP.
//!
//! A CloudWatch alarm covers all instances of a rule, so it shows that some instance is affected, but not which.
//! `TreatMissingData` has a value for each `no_data`. Limits are those of the CloudWatch User Guide, 2026.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::metrics::catalogue::{Kind, Label, Metric, cloudwatch_dimension, cloudwatch_dimension_value};
use crate::model::format::counted;
use crate::rules::export::prometheus::{Spelling, expression};
use crate::rules::export::{Exported, PLACE, is_placed};
use crate::rules::rule::{Aggregation, Clause, Combine, Condition, Fold, NoData, Rule, Stat};

/// Evaluation period of alarms.
const PERIOD: Duration = Duration::from_secs(60);
/// Maximum lookback of Metrics Insights alarms.
const MAX_LOOKBACK: Duration = Duration::from_secs(3 * 3_600);
/// `EvaluationInterval` of PromQL alarms.
const EVERY: Duration = Duration::from_secs(60);
/// Maximum `PendingPeriod` and `RecoveryPeriod` of PromQL alarms (API reference).
const MAX_PROMQL_PERIOD: Duration = Duration::from_secs(86_400);
/// Maximum characters of a PromQL alarm's query (API reference).
const MAX_PROMQL_QUERY: usize = 10_000;
/// Maximum characters of an `Expression` (API reference of `MetricDataQuery`).
const MAX_EXPRESSION: usize = 2_048;
/// Maximum characters of an `AlarmName` (API reference).
const MAX_NAME: usize = 255;
/// Maximum characters of an `AlarmDescription` (API reference).
const MAX_DESCRIPTION: usize = 1_024;
/// Maximum resources of a CloudFormation template (its quotas).
const MAX_RESOURCES: usize = 500;

/// Returns a CloudFormation template with an alarm per rule, and a composite alarm for several conditions.
/// `namespace` is that of the sink; `is_sent` tells which metrics it sends.
pub fn alarms(rules: &[Rule], namespace: &str, is_sent: impl Fn(&Metric) -> bool) -> Exported {
    let mut resources = serde_json::Map::new();
    let mut names = BTreeSet::new();
    let mut notes = Vec::new();
    for rule in rules {
        let mut caveats = Vec::new();
        match of_rule(rule, namespace, &is_sent, &mut caveats).and_then(|new| unique(new, &resources, &mut names)) {
            Ok(new) => resources.extend(new),
            Err(why) => caveats.push(format!("is left out: {why}")),
        }
        notes.extend(caveats.into_iter().map(|what| format!("{}: {what}", rule.name)));
    }
    let over_all = rules.iter().filter(|rule| looks_over_all_places(rule)).count();
    if over_all > 0 {
        notes.push(format!(
            "{}: alarms aggregate all accounts and regions and do not report which one; for one, use `where` with `account` and `region`",
            counted(over_all as u64, "rule")
        ));
    }
    if resources.len() > MAX_RESOURCES {
        let count = resources.len();
        notes.push(format!(
            "{count} alarms exceed the {MAX_RESOURCES} resources of a CloudFormation template; export rule files one by one"
        ));
    }
    let template = json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Alarms exported from Trainspotter's rules",
        "Parameters": {
            "Topic": { "Type": "String", "Description": "ARN of the SNS topic to notify" },
        },
        "Resources": resources,
    });
    Exported { text: written(&template), notes }
}

/// Whether a rule that keeps accounts and regions apart becomes an alarm that does not.
fn looks_over_all_places(rule: &Rule) -> bool {
    let is_of_one = |clause: &Clause| PLACE.iter().all(|place| clause.filters.iter().any(|(label, _)| label == place));
    is_placed(rule) && !rule.clauses.iter().all(is_of_one)
}

/// Returns the input of `PutMetricAlarm` for each rule, as a JSON list: it is not known whether CloudFormation
/// supports these alarms.
pub fn promql_alarms(rules: &[Rule]) -> Exported {
    let mut alarms = Vec::new();
    let mut notes = Vec::new();
    for rule in rules {
        let mut caveats = Vec::new();
        match expression(rule, Spelling::Otlp, EVERY, &mut caveats)
            .and_then(|query| within_limits(rule, query, &mut caveats))
        {
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
            Err(why) => caveats.push(format!("is left out: {why}")),
        }
        notes.extend(caveats.into_iter().map(|what| format!("{}: {what}", rule.name)));
    }
    Exported { text: written(&Value::from(alarms)), notes }
}

/// Returns the query, unless CloudWatch would reject the alarm.
fn within_limits(rule: &Rule, query: String, caveats: &mut Vec<String>) -> Result<String, String> {
    name_of(&rule.name)?;
    if query.chars().count() > MAX_PROMQL_QUERY {
        return Err(format!("its query is longer than {MAX_PROMQL_QUERY} characters"));
    }
    for (key, period) in [("for", rule.hold), ("keep_firing_for", rule.keep_firing_for)] {
        if period > MAX_PROMQL_PERIOD {
            return Err(format!("`{key}` exceeds the maximum of a PromQL alarm, one day"));
        }
        if period.subsec_nanos() != 0 {
            caveats.push(format!("`{key}` is truncated to whole seconds"));
        }
    }
    Ok(query)
}

type Resources = BTreeMap<String, Value>;

/// Makes logical ids and alarm names unique, so that no rule overwrites another.
fn unique(
    added: Resources,
    others: &serde_json::Map<String, Value>,
    names: &mut BTreeSet<String>,
) -> Result<Resources, String> {
    let name = |resource: &Value| resource["Properties"]["AlarmName"].as_str().unwrap_or_default().to_owned();
    if let Some(id) = added.keys().find(|id| others.contains_key(*id)) {
        return Err(format!("another alarm has the logical id {id}"));
    }
    let new: Vec<String> = added.values().map(name).collect();
    if let Some(taken) = new.iter().find(|name| names.contains(*name)) {
        return Err(format!("another alarm is named `{taken}`"));
    }
    names.extend(new);
    Ok(added)
}

/// A logical id: ASCII letters and digits only. A name with other characters gets a hash of the whole name as a
/// suffix, so that similar names keep distinct ids that are the same in every export.
fn logical_id(name: &str) -> String {
    let mut id: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    if id.len() != name.len() {
        id.push('X');
        id.extend(Sha256::digest(name).iter().take(4).map(|byte| format!("{byte:02x}")));
    }
    id
}

/// The name, if CloudWatch accepts it.
fn name_of(name: &str) -> Result<&str, String> {
    let fits = name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    fits.then_some(name).ok_or_else(|| format!("an alarm's name has at most {MAX_NAME} printable characters"))
}

fn of_rule(
    rule: &Rule,
    namespace: &str,
    is_sent: impl Fn(&Metric) -> bool,
    caveats: &mut Vec<String>,
) -> Result<Resources, String> {
    if !rule.keep_firing_for.is_zero() {
        caveats.push("`keep_firing_for` is left out".to_owned());
    }
    let id = logical_id(&rule.name);
    let mut resources = Resources::new();
    let mut parts = Vec::new();
    for (index, clause) in rule.clauses.iter().enumerate() {
        let mut alarm = alarm(rule, clause, namespace, &is_sent, caveats)?;
        let single = rule.clauses.len() == 1;
        let (id, name) = if single {
            alarm["AlarmActions"] = json!([{ "Ref": "Topic" }]);
            alarm["OKActions"] = json!([{ "Ref": "Topic" }]);
            (id.clone(), rule.name.clone())
        } else {
            let name = format!("{} part {}", rule.name, index + 1);
            (logical_id(&name), name)
        };
        name_of(&name)?;
        alarm["AlarmName"] = json!(name);
        parts.push((id.clone(), name));
        resources.insert(id, json!({ "Type": "AWS::CloudWatch::Alarm", "Properties": alarm }));
    }
    if parts.len() > 1 {
        let join = match rule.combine {
            Combine::All => " AND ",
            Combine::Any => " OR ",
        };
        let whole: Vec<String> =
            parts.iter().map(|(_, name)| format!("ALARM({})", Value::from(name.as_str()))).collect();
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
        caveats.push("its conditions may hold for different labels".to_owned());
    }
    Ok(resources)
}

/// The alarm of one condition.
fn alarm(
    rule: &Rule,
    clause: &Clause,
    namespace: &str,
    is_sent: impl Fn(&Metric) -> bool,
    caveats: &mut Vec<String>,
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
        caveats.push("`recover` is left out: the alarm resolves at its threshold".to_owned());
    }
    let (needed, of) = match rule.datapoints {
        Some(datapoints) => (datapoints.needed, datapoints.of),
        // Eleven consecutive values span ten minutes.
        None => {
            let held = usize::try_from(rule.hold.as_secs().div_ceil(period.as_secs())).unwrap_or(usize::MAX);
            (held.saturating_add(1), held.saturating_add(1))
        }
    };
    let looks_back = period.checked_mul(u32::try_from(of).unwrap_or(u32::MAX));
    if looks_back.is_none_or(|looks_back| looks_back > MAX_LOOKBACK) {
        return Err("it looks back further than the maximum of a Metrics Insights alarm, three hours".to_owned());
    }
    let missing = match rule.no_data {
        NoData::Keep => "ignore",
        NoData::Ok => "notBreaching",
        NoData::Alert => "breaching",
    };
    let places = PLACE.iter().filter(|_| is_placed(rule));
    let labels = clause.metric.labels.iter().chain(places);
    let dimensions = labels.map(|label| format!(", {}", cloudwatch_dimension(label)));
    let dimensions: String = dimensions.collect();
    let name = clause.metric.cloudwatch_name();
    let filters = conditions(&clause.filters)?;
    let query = format!("SELECT {statistic}({name}) FROM SCHEMA(\"{namespace}\"{dimensions}){filters}");
    if query.chars().count() > MAX_EXPRESSION {
        return Err(format!("its query is longer than {MAX_EXPRESSION} characters"));
    }
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
        (Aggregation::Now, _) if clause.fold == Fold::Sum => {
            Err("Metrics Insights would sum values of different times within a period".to_owned())
        }
        (Aggregation::Now, _) => Ok((folded, PERIOD)),
        // Counters are sent as increases.
        (Aggregation::Increase(over), Kind::Counter) if over.as_secs() % 60 != 0 || over.subsec_nanos() != 0 => {
            Err("`increase` must be whole minutes, as an alarm's period is".to_owned())
        }
        // Data points cover one series and one minute; over a window only their sum over all series is known.
        (Aggregation::Increase(_), Kind::Counter) | (Aggregation::Stat(Stat::Count), _) if clause.fold != Fold::Sum => {
            Err("Metrics Insights sums before it compares, so only `fold: sum` is supported".to_owned())
        }
        (Aggregation::Increase(over), Kind::Counter) => Ok(("SUM", over)),
        (Aggregation::Stat(Stat::Count), _) => Ok(("COUNT", hour)),
        (Aggregation::Stat(Stat::Mean), _) => Ok(("AVG", hour)),
        (Aggregation::Stat(Stat::Max), _) => Ok(("MAX", hour)),
        (Aggregation::Stat(Stat::P50 | Stat::P90 | Stat::P95 | Stat::P99), _) => {
            Err("Metrics Insights has no percentiles; alarm on `mean` or `max`, or on one share's metric".to_owned())
        }
        (Aggregation::Increase(_) | Aggregation::Change(_) | Aggregation::FractionAbove(..), _) => {
            Err("an alarm cannot compare with the past".to_owned())
        }
    }
}

fn conditions(filters: &[(Label, String)]) -> Result<String, String> {
    let mut parts = Vec::new();
    for (label, glob) in filters {
        if glob.contains(['*', '?']) {
            return Err(format!("Metrics Insights does not support globs: `{label}: {glob}`"));
        }
        let value = cloudwatch_dimension_value(glob);
        if value.contains(['\'', '\\']) {
            return Err(format!("how Metrics Insights quotes `{label}: {glob}` is not documented"));
        }
        parts.push(format!("{} = '{value}'", cloudwatch_dimension(label)));
    }
    Ok(if parts.is_empty() { String::new() } else { format!(" WHERE {}", parts.join(" AND ")) })
}

/// `AlarmDescription`, which has no templates: the runbook, or the rule's name.
fn description(rule: &Rule) -> String {
    let runbook = rule.templates.sources().find(|(name, _)| name.starts_with("runbook"));
    let text = runbook.map_or_else(|| rule.name.clone(), |(_, runbook)| format!("{}: see {runbook}", rule.name));
    text.chars().take(MAX_DESCRIPTION).collect()
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
    fn a_rule_becomes_an_alarm_or_a_reason_why_not() {
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
            &left_out("Metrics Insights does not support globs: `queue: p*`"),
        );
        check(
            "metric: queue.wait.oldest, above: 1h, for: 4h",
            &left_out("it looks back further than the maximum of a Metrics Insights alarm, three hours"),
        );
    }

    #[test]
    fn every_rule_keeps_an_alarm_of_its_own_whatever_it_is_called() {
        let rule = |name: &str| {
            format!("{{ alert: '{name}', metric: gpu.capacity, above: 1, annotations: {{ summary: x }} }}")
        };
        let several = "{ alert: Both, annotations: { summary: x }, all: [{ metric: gpu.capacity, above: 1 }, \
                       { metric: gpu.idle.ratio, above: 40% }] }";
        let names = ["Long-Wait", "LongWait", "長い待ち", "待ち", "BothPart1", "Both part 3"];
        let rules: Vec<String> = names.map(rule).into_iter().chain([several.to_owned()]).collect();
        let text = format!("rules: [{}]", rules.join(", "));
        let exported = alarms(&parse_rules("rules.yaml", &text).unwrap(), "Spots", |_| true);
        let template: Value = serde_json::from_str(&exported.text).unwrap();
        let resources = template["Resources"].as_object().unwrap();
        assert_eq!(resources.len(), names.len() + 3, "{}", exported.text);
        assert!(resources.keys().all(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric())));
        let taken = format!("rules: [{}, {several}]", rule("Both part 1"));
        let exported = alarms(&parse_rules("rules.yaml", &taken).unwrap(), "Spots", |_| true);
        assert!(
            exported.notes.iter().any(|note| note.starts_with("Both: is left out: another alarm")),
            "{:?}",
            exported.notes
        );
    }

    #[test]
    fn keys_that_an_alarm_does_not_support_are_dropped_with_a_note() {
        let left_out = |why: &str| json!([format!("A: is left out: {why}")]);
        let minutes = left_out("`increase` must be whole minutes, as an alarm's period is");
        check("metric: job.preemptions, increase: 90s, above: 20", &minutes);
        check("metric: job.preemptions, increase: 1m 500ms, above: 20", &minutes);
        check(
            "metric: job.preemptions, increase: 1h, fold: max, above: 20",
            &left_out("Metrics Insights sums before it compares, so only `fold: sum` is supported"),
        );
        check(
            "metric: queue.wait.oldest, where: { share: '' }, above: 30m",
            &json!({ "Metrics": [{ "Id": "value", "Period": 60, "ReturnData": true,
                "Expression": "SELECT MAX(QueueWaitOldest) FROM SCHEMA(\"Spots\", Queue, Share) WHERE Share = '(none)'" }] }),
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
        assert_eq!(exported.notes, ["A: `recover` is left out: the alarm resolves at its threshold"]);
    }

    #[test]
    fn with_several_targets_series_have_two_more_dimensions() {
        let text =
            "rules: [{ alert: A, metric: queue.wait.oldest, by: [queue], above: 30m, annotations: { summary: s } }]";
        let rules = crate::rules::parse_rules("r.yaml", text).unwrap();
        let query = |rules: &[Rule]| {
            let template: Value = serde_json::from_str(&alarms(rules, "Spots", |_| true).text).unwrap();
            template["Resources"]["A"]["Properties"]["Metrics"][0]["Expression"].as_str().unwrap().to_owned()
        };
        assert_eq!(query(&rules), "SELECT MAX(QueueWaitOldest) FROM SCHEMA(\"Spots\", Queue, Share)");
        let placed = "SELECT MAX(QueueWaitOldest) FROM SCHEMA(\"Spots\", Queue, Share, Account, Region)";
        assert_eq!(query(&crate::rules::export::by_place(&rules)), placed);
        let notes = |rules: &[Rule]| alarms(rules, "Spots", |_| true).notes.join("\n");
        let note = "1 rule: alarms aggregate all accounts and regions";
        assert!(!notes(&rules).contains(note) && notes(&crate::rules::export::by_place(&rules)).contains(note));
        let of_one = text.replace("above", "where: { account: '111122223333', region: us-east-1 }, above");
        let of_one = crate::rules::parse_rules("r.yaml", &of_one).unwrap();
        assert!(!notes(&crate::rules::export::by_place(&of_one)).contains(note));
        let text = text.replace("above", "where: { account: '111122223333' }, above");
        let query = query(&crate::rules::parse_rules("r.yaml", &text).unwrap());
        assert_eq!(query, format!("{placed} WHERE Account = '111122223333'"));
    }
}
