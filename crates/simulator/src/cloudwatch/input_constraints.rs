//! Inputs of the supported operations, with the constraints of CloudWatch's model (botocore 1.44.5).

use crate::input_types::Member;
use crate::input_types::Shape;
use crate::input_types::optional;
use crate::input_types::required;
use crate::input_types::text;

/// The input of an operation; `None` if it is not supported.
pub(super) fn of(operation: &str) -> Option<&'static Shape> {
    SERVED.iter().find(|(name, _)| *name == operation).map(|(_, shape)| shape)
}

/// The supported operations.
pub(super) fn served() -> impl Iterator<Item = &'static str> {
    SERVED.iter().map(|(name, _)| *name)
}

const SERVED: [(&str, Shape); 11] = [
    ("DeleteAlarms", Shape::Structure(&[required("AlarmNames", &ALARM_NAMES)])),
    ("DeleteDashboards", Shape::Structure(&[required("DashboardNames", &Shape::List(&ANY, 1, ANY_COUNT))])),
    ("DescribeAlarms", Shape::Structure(&DESCRIBE_ALARMS)),
    ("GetDashboard", Shape::Structure(&[required("DashboardName", &ANY)])),
    ("GetMetricData", Shape::Structure(&GET_METRIC_DATA)),
    ("GetMetricStatistics", Shape::Structure(&GET_METRIC_STATISTICS)),
    ("ListDashboards", Shape::Structure(&[optional("DashboardNamePrefix", &ANY), optional("NextToken", &ANY)])),
    ("ListMetrics", Shape::Structure(&LIST_METRICS)),
    ("PutDashboard", Shape::Structure(&PUT_DASHBOARD)),
    ("PutMetricAlarm", Shape::Structure(&PUT_METRIC_ALARM)),
    ("PutMetricData", Shape::Structure(&PUT_METRIC_DATA)),
];

const ANY_COUNT: usize = usize::MAX;
const ANY: Shape = text(0, usize::MAX);
const NAME: Shape = text(1, 255);
const NAMESPACE: Shape = Shape::Text { min: 1, max: 255, no_colon: true };
const POSITIVE: Shape = Shape::Integer(1, i32::MAX as i64);

/// Units, from the model's enum.
const UNIT: Shape = Shape::Enum(&[
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
]);
const STATISTIC: Shape = Shape::Enum(&["SampleCount", "Average", "Sum", "Minimum", "Maximum"]);

const DIMENSIONS: Shape =
    Shape::List(&Shape::Structure(&[required("Name", &NAME), required("Value", &text(1, 1_024))]), 0, 30);
const METRIC: Shape = Shape::Structure(&[
    optional("Namespace", &NAMESPACE),
    optional("MetricName", &NAME),
    optional("Dimensions", &DIMENSIONS),
]);
const QUERIES: Shape = Shape::List(&Shape::Structure(&QUERY), 0, ANY_COUNT);
const QUERY: [Member; 7] = [
    required("Id", &NAME),
    optional("MetricStat", &Shape::Structure(&METRIC_STAT)),
    optional("Expression", &text(1, 2_048)),
    optional("Label", &ANY),
    optional("ReturnData", &Shape::Boolean),
    optional("Period", &POSITIVE),
    optional("AccountId", &NAME),
];
const METRIC_STAT: [Member; 4] =
    [required("Metric", &METRIC), required("Period", &POSITIVE), required("Stat", &ANY), optional("Unit", &UNIT)];

const GET_METRIC_DATA: [Member; 7] = [
    required("MetricDataQueries", &QUERIES),
    required("StartTime", &Shape::Time),
    required("EndTime", &Shape::Time),
    optional("NextToken", &ANY),
    optional("ScanBy", &Shape::Enum(&["TimestampDescending", "TimestampAscending"])),
    optional("MaxDatapoints", &Shape::Integer(1, 100_800)),
    optional("LabelOptions", &Shape::Structure(&[optional("Timezone", &ANY)])),
];

const GET_METRIC_STATISTICS: [Member; 9] = [
    required("Namespace", &NAMESPACE),
    required("MetricName", &NAME),
    optional("Dimensions", &DIMENSIONS),
    required("StartTime", &Shape::Time),
    required("EndTime", &Shape::Time),
    required("Period", &POSITIVE),
    optional("Statistics", &Shape::List(&STATISTIC, 1, 5)),
    optional("ExtendedStatistics", &Shape::List(&ANY, 1, 10)),
    optional("Unit", &UNIT),
];

const LIST_METRICS: [Member; 7] = [
    optional("Namespace", &NAMESPACE),
    optional("MetricName", &NAME),
    optional("Dimensions", &DIMENSION_FILTERS),
    optional("NextToken", &ANY),
    optional("RecentlyActive", &Shape::Enum(&["PT3H"])),
    optional("IncludeLinkedAccounts", &Shape::Boolean),
    optional("OwningAccount", &NAME),
];
const DIMENSION_FILTERS: Shape =
    Shape::List(&Shape::Structure(&[required("Name", &NAME), optional("Value", &text(1, 1_024))]), 0, 10);

const PUT_METRIC_DATA: [Member; 4] = [
    required("Namespace", &NAMESPACE),
    optional("MetricData", &DATA),
    optional("EntityMetricData", &ENTITY_DATA),
    optional("StrictEntityValidation", &Shape::Boolean),
];
const DATA: Shape = Shape::List(&Shape::Structure(&DATUM), 0, 1_000);
const ENTITY_DATA: Shape = Shape::List(&Shape::Structure(&[optional("MetricData", &DATA)]), 0, 2);
const NUMBERS: Shape = Shape::List(&Shape::Double, 0, ANY_COUNT);
const DATUM: [Member; 9] = [
    required("MetricName", &NAME),
    optional("Dimensions", &DIMENSIONS),
    optional("Timestamp", &Shape::Time),
    optional("Value", &Shape::Double),
    optional("StatisticValues", &Shape::Structure(&STATISTIC_SET)),
    optional("Values", &NUMBERS),
    optional("Counts", &NUMBERS),
    optional("Unit", &UNIT),
    optional("StorageResolution", &POSITIVE),
];
const STATISTIC_SET: [Member; 4] = [
    required("SampleCount", &Shape::Double),
    required("Sum", &Shape::Double),
    required("Minimum", &Shape::Double),
    required("Maximum", &Shape::Double),
];

const TAGS: Shape =
    Shape::List(&Shape::Structure(&[required("Key", &text(1, 128)), required("Value", &text(0, 256))]), 0, 50);
const PUT_DASHBOARD: [Member; 3] =
    [required("DashboardName", &ANY), required("DashboardBody", &ANY), optional("Tags", &TAGS)];

const ALARM_NAMES: Shape = Shape::List(&NAME, 0, 100);
const DESCRIBE_ALARMS: [Member; 9] = [
    optional("AlarmNames", &ALARM_NAMES),
    optional("AlarmNamePrefix", &NAME),
    optional("AlarmTypes", &Shape::List(&Shape::Enum(&["CompositeAlarm", "MetricAlarm", "LogAlarm"]), 0, ANY_COUNT)),
    optional("ChildrenOfAlarmName", &NAME),
    optional("ParentsOfAlarmName", &NAME),
    optional("StateValue", &Shape::Enum(&["OK", "ALARM", "INSUFFICIENT_DATA"])),
    optional("ActionPrefix", &text(1, 1_024)),
    optional("MaxRecords", &Shape::Integer(1, 100)),
    optional("NextToken", &ANY),
];

const ACTIONS: Shape = Shape::List(&text(1, 1_024), 0, 5);
const PUT_METRIC_ALARM: [Member; 27] = [
    required("AlarmName", &NAME),
    optional("AlarmDescription", &text(0, 1_024)),
    optional("ActionsEnabled", &Shape::Boolean),
    optional("OKActions", &ACTIONS),
    optional("AlarmActions", &ACTIONS),
    optional("InsufficientDataActions", &ACTIONS),
    optional("MetricName", &NAME),
    optional("Namespace", &NAMESPACE),
    optional("Statistic", &STATISTIC),
    optional("ExtendedStatistic", &ANY),
    optional("Dimensions", &DIMENSIONS),
    optional("Period", &POSITIVE),
    optional("Unit", &UNIT),
    optional("EvaluationPeriods", &POSITIVE),
    optional("DatapointsToAlarm", &POSITIVE),
    optional("Threshold", &Shape::Double),
    optional("ComparisonOperator", &COMPARISON),
    optional("TreatMissingData", &NAME),
    optional("EvaluateLowSampleCountPercentile", &NAME),
    optional("Metrics", &QUERIES),
    optional("Tags", &TAGS),
    optional("ThresholdMetricId", &NAME),
    optional("EvaluationWindow", &Shape::Structure(&WINDOW)),
    optional("WarmUpConfiguration", &Shape::Structure(&WARM_UP)),
    optional("EvaluationCriteria", &Shape::Structure(&[optional("PromQLCriteria", &Shape::Structure(&PROMQL))])),
    optional("EvaluationInterval", &Shape::Integer(10, 3_600)),
    optional("ActionConfiguration", &Shape::Structure(&[optional("AlarmTagsPropagation", &PROPAGATION)])),
];
const COMPARISON: Shape = Shape::Enum(&[
    "GreaterThanOrEqualToThreshold",
    "GreaterThanThreshold",
    "LessThanThreshold",
    "LessThanOrEqualToThreshold",
    "LessThanLowerOrGreaterThanUpperThreshold",
    "LessThanLowerThreshold",
    "GreaterThanUpperThreshold",
]);
const WINDOW: [Member; 2] = [
    optional("WallClockWindow", &Shape::Structure(&[optional("Timezone", &text(1, 50))])),
    optional("SlidingWindow", &Shape::Structure(&[])),
];
const WARM_UP: [Member; 2] = [
    required("WarmUpPeriodDurationInMinutes", &Shape::Integer(1, 2_880)),
    optional("OnlyStartEvaluatingAfterWarmUpPeriodEnds", &Shape::Boolean),
];
const PROMQL: [Member; 3] = [
    required("Query", &text(1, 10_000)),
    optional("PendingPeriod", &Shape::Integer(0, 86_400)),
    optional("RecoveryPeriod", &Shape::Integer(0, 86_400)),
];
const TAG_KEYS: Shape = Shape::List(&text(1, 128), 1, 50);
const PROPAGATION: Shape = Shape::Structure(&[
    required("Enabled", &Shape::Boolean),
    optional("IncludedTagKeys", &TAG_KEYS),
    optional("ExcludedTagKeys", &TAG_KEYS),
]);
