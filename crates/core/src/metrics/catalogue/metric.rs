//! Properties of a metric, and its name in each sink.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Source;

/// A metric of the catalogue. Compared by name, which is unique.
#[derive(Debug)]
pub struct Metric {
    /// Dotted, lower case, without unit: `queue.wait`.
    pub name: &'static str,
    /// Unit.
    pub unit: Unit,
    /// Range of values.
    pub range: Range,
    /// Gauge, counter or distribution.
    pub kind: Kind,
    /// The labels of each of its series, complete and in this order.
    pub labels: &'static [Label],
    /// Labels with a fixed set of values.
    pub closed_labels: &'static [(Label, ClosedLabel)],
    /// Whether it may change without notice.
    pub stability: Stability,
    /// Subject of alerts on the metric.
    pub about: Subject,
    /// The sources it depends on: without any of them its value is outdated. Empty for the service's own figures.
    pub sources: &'static [Source],
    /// Whether it is sent to CloudWatch as a custom metric.
    pub cloudwatch: CloudWatch,
    /// One sentence for operators.
    pub meaning: &'static str,
}

/// A label (Prometheus), attribute (OTLP) or dimension (CloudWatch).
pub type Label = &'static str;

/// Unit of a metric.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A count of jobs, calls, alerts and so on. No suffix.
    #[default]
    Count,
    /// Seconds.
    Seconds,
    /// GPUs.
    Gpus,
    /// GPUs times seconds.
    GpuSeconds,
    /// Instances.
    Instances,
    /// A fraction, 0 to 1.
    Ratio,
    /// Bytes.
    Bytes,
    /// US dollars.
    Dollars,
}

impl Unit {
    /// The unit in UCUM, as OpenTelemetry requires.
    pub fn ucum(self) -> &'static str {
        match self {
            // With "1" the translation to Prometheus would treat a count as a ratio.
            Self::Count => "{count}",
            Self::Ratio => "1",
            Self::Seconds => "s",
            Self::Gpus => "{gpu}",
            Self::GpuSeconds => "{gpu}.s",
            Self::Instances => "{instance}",
            Self::Bytes => "By",
            Self::Dollars => "{USD}",
        }
    }

    /// Unit suffix of the name in Prometheus, before `_total`; may be empty.
    pub fn prometheus_suffix(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Seconds => "_seconds",
            Self::Gpus => "_gpus",
            Self::GpuSeconds => "_gpu_seconds",
            Self::Instances => "_instances",
            Self::Ratio => "_ratio",
            Self::Bytes => "_bytes",
            Self::Dollars => "_dollars",
        }
    }

    /// CloudWatch's `StandardUnit`.
    pub fn cloudwatch(self) -> &'static str {
        match self {
            Self::Count | Self::Gpus | Self::Instances => "Count",
            Self::Seconds => "Seconds",
            Self::GpuSeconds | Self::Ratio | Self::Dollars => "None",
            Self::Bytes => "Bytes",
        }
    }
}

/// Behaviour of a metric's values over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value now.
    Gauge,
    /// A monotonic sum, also across restarts. CloudWatch gets its increase.
    Counter,
    /// Single values: buckets in Prometheus and OTLP, `Values`/`Counts` in CloudWatch.
    Distribution,
}

/// Whether a metric may change without notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Changed only with a CHANGELOG entry.
    Stable,
    /// May be changed or removed.
    Experimental,
}

/// Range of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// 0 to 1.
    UpToOne,
    /// 0 and more.
    NonNegative,
    /// Any.
    Any,
}

impl Range {
    /// Minimum and maximum.
    pub fn bounds(self) -> (f64, f64) {
        match self {
            Self::UpToOne => (0.0, 1.0),
            Self::NonNegative => (0.0, f64::INFINITY),
            Self::Any => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }
}

/// Subject of alerts on a metric: determines which jobs and advice the alert contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Waiting jobs.
    WaitingJobs,
    /// The longest-waiting job.
    LongestWait,
    /// Ended jobs.
    EndedJobs,
    /// Running jobs with low GPU utilisation.
    IdleGpus,
    /// Anything else: capacity, the set-up, the service itself.
    Other,
}

impl Subject {
    /// Whether the subject is waiting jobs.
    pub fn is_waiting(self) -> bool {
        match self {
            Self::WaitingJobs | Self::LongestWait => true,
            Self::EndedJobs | Self::IdleGpus | Self::Other => false,
        }
    }
}

/// Whether a metric is sent to CloudWatch as a custom metric; each series costs money every month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudWatch {
    /// Sent.
    Sent,
    /// Sent once it is stable: experimental metrics are not worth the cost.
    OnceStable,
    /// Never sent, with the reason.
    Never(&'static str),
}

/// Set of values of a closed label, known before anything is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedLabel {
    /// Job states.
    JobState,
    /// Alert states.
    AlertState,
    /// States of reserved instances.
    ReservedState,
    /// Kinds of reserved capacity.
    ReservedKind,
    /// Outcomes of jobs.
    JobOutcome,
    /// Failure categories.
    FailureCategory,
    /// Wait reasons.
    WaitReason,
    /// Kinds of misconfiguration.
    SetupProblem,
    /// Percentiles of estimates.
    Percentile,
    /// Data sources.
    Source,
    /// Parts of a share's time.
    SharePart,
    /// Parts of a queue's GPUs.
    GpuPart,
    /// Causes of unallocated GPUs.
    UnallocatedCause,
    /// Assumed checkpoint intervals.
    Checkpoints,
}

impl Metric {
    /// The set of values of a label, if it is closed.
    pub fn closed_label(&self, label: &str) -> Option<ClosedLabel> {
        self.closed_labels.iter().find(|(name, _)| *name == label).map(|(_, values)| *values)
    }

    /// Whether it is sent to CloudWatch as a custom metric.
    pub fn is_in_cloudwatch(&self) -> bool {
        self.cloudwatch == CloudWatch::Sent
    }

    /// The name in OTLP.
    pub fn otlp_name(&self) -> String {
        format!("trainspotter.{}", self.name)
    }

    /// The family name in Prometheus, with unit and, for counters, `_total`.
    pub fn prometheus_name(&self) -> String {
        let suffix = self.unit.prometheus_suffix();
        let stem = self.name.replace('.', "_");
        // `gpu.capacity` in GPUs is `gpu_capacity_gpus`; a name that already ends in its unit gets no suffix.
        let stem = stem.strip_suffix(suffix).unwrap_or(&stem);
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("trainspotter_{stem}{suffix}{total}")
    }

    /// The metric name in CloudWatch.
    pub fn cloudwatch_name(&self) -> String {
        pascal_case(self.name)
    }
}

/// The CloudWatch dimension of a label: `instance_type` becomes `InstanceType`.
pub fn cloudwatch_dimension(label: &str) -> String {
    pascal_case(label)
}

/// CloudWatch's limit on a dimension value, in ASCII characters, not all of them blank (API reference).
const MAX_DIMENSION_VALUE: usize = 1_024;

/// Dimension value for an empty label (a job without a share), which CloudWatch does not allow. No share can have
/// this name.
pub const NO_DIMENSION_VALUE: &str = "(none)";

/// Converts a label value to a CloudWatch dimension value, for publishing and queries: printable ASCII, not blank.
pub fn cloudwatch_dimension_value(value: &str) -> String {
    let mut text = String::new();
    for character in value.chars() {
        if character.is_ascii_graphic() || character == ' ' {
            text.push(character);
        } else {
            text.extend(character.escape_unicode());
        }
    }
    text.truncate(MAX_DIMENSION_VALUE);
    if text.trim().is_empty() { NO_DIMENSION_VALUE.to_owned() } else { text }
}

fn pascal_case(text: &str) -> String {
    text.split(['.', '_'])
        .flat_map(|word| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<Vec<_>>()
        })
        .collect()
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Metric {}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
