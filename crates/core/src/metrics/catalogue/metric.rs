//! What is said of one metric, and how each sink spells its name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Source;

/// One metric of the catalogue. Compared by name, which is unique.
#[derive(Debug)]
pub struct Metric {
    /// Dotted, lower case, without unit: `queue.wait`.
    pub name: &'static str,
    /// What its numbers count.
    pub unit: Unit,
    /// Which numbers there can be.
    pub range: Range,
    /// How its numbers behave over time.
    pub kind: Kind,
    /// The labels each of its series has, all of them, in this order.
    pub labels: &'static [Label],
    /// Those of its labels whose values are known before anything is observed.
    pub closed_labels: &'static [(Label, ClosedLabel)],
    /// Whether it may change without notice.
    pub stability: Stability,
    /// Whom or what an alert on it is about.
    pub about: Subject,
    /// The sources that it rests on: without one of them it says nothing of now. None for what the service knows of itself.
    pub sources: &'static [Source],
    /// Whether it is sent to CloudWatch as a custom metric.
    pub cloudwatch: CloudWatch,
    /// One sentence for the operator.
    pub meaning: &'static str,
}

/// A label (Prometheus), attribute (OTLP) or dimension (CloudWatch).
pub type Label = &'static str;

/// What a number counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things: jobs, calls, alerts. No suffix.
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
    /// A share of one, 0 to 1.
    Ratio,
    /// Bytes.
    Bytes,
    /// US dollars.
    Dollars,
}

impl Unit {
    /// The unit in UCUM, as OpenTelemetry wants it.
    pub fn ucum(self) -> &'static str {
        match self {
            // With "1" a translation to Prometheus would call a count a ratio.
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

    /// What Prometheus wants at the end of a name, before `_total`; empty if nothing.
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

/// How a metric's numbers behave over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value now.
    Gauge,
    /// A sum that only grows, over restarts too. CloudWatch gets its increase.
    Counter,
    /// Values one by one: buckets in Prometheus and OTLP, `Values`/`Counts` in CloudWatch.
    Distribution,
}

/// Whether a metric may change without notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// Changed only with a CHANGELOG entry.
    Stable,
    /// May change or go.
    Experimental,
}

/// Which numbers a metric can have.
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
    /// The least and the most.
    pub fn bounds(self) -> (f64, f64) {
        match self {
            Self::UpToOne => (0.0, 1.0),
            Self::NonNegative => (0.0, f64::INFINITY),
            Self::Any => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }
}

/// Whom or what an alert on a metric is about: it decides which jobs and which advice the alert names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Jobs that wait.
    WaitingJobs,
    /// The job that has waited longest.
    LongestWait,
    /// Jobs that ended.
    EndedJobs,
    /// Running jobs whose GPUs do little.
    IdleGpus,
    /// Anything else: capacity, the set-up, the service itself.
    Other,
}

impl Subject {
    /// Whether it is about jobs that wait.
    pub fn is_waiting(self) -> bool {
        match self {
            Self::WaitingJobs | Self::LongestWait => true,
            Self::EndedJobs | Self::IdleGpus | Self::Other => false,
        }
    }
}

/// Whether a metric is sent to CloudWatch as a custom metric, each series of which costs money every month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudWatch {
    /// It is.
    Sent,
    /// Not before it is stable: what may change is not worth a bill.
    OnceStable,
    /// It is not, and why.
    Never(&'static str),
}

/// What the values of a closed label are: all are known before anything is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedLabel {
    /// States of jobs.
    JobState,
    /// States of alerts.
    AlertState,
    /// States of reserved instances.
    ReservedState,
    /// Kinds of reserved capacity.
    ReservedKind,
    /// How jobs end.
    JobOutcome,
    /// Why jobs fail.
    FailureCategory,
    /// Why jobs wait.
    WaitReason,
    /// Kinds of misconfiguration.
    SetupProblem,
    /// Percentiles of estimates.
    Percentile,
    /// Sources of data.
    Source,
    /// Parts of a share's time.
    SharePart,
    /// Parts of a queue's GPUs.
    GpuPart,
    /// Why GPUs are unallocated.
    UnallocatedCause,
    /// Assumed intervals of checkpoints.
    Checkpoints,
}

impl Metric {
    /// What the values of a label are, if they are known before anything is observed.
    pub fn closed_label(&self, label: &str) -> Option<ClosedLabel> {
        self.closed_labels.iter().find(|(name, _)| *name == label).map(|(_, values)| *values)
    }

    /// Whether CloudWatch gets it as a custom metric.
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
        // `gpu.capacity` in GPUs is `gpu_capacity_gpus`; a name that ends in its unit does not say it twice.
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

/// CloudWatch's `Dimension` takes at most so many ASCII characters, not all of them blank (API reference).
const MAX_DIMENSION_VALUE: usize = 1_024;

/// The dimension value of an empty label, which CloudWatch does not allow: a job without a share. No share can have
/// this name.
pub const NO_DIMENSION_VALUE: &str = "(none)";

/// The value of a CloudWatch dimension for that of a label, whoever writes or queries it: printable ASCII, not blank.
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
