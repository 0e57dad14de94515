//! Monthly quantities of priced items.

use std::time::Duration;

use crate::config::Config;
use trainspotter_core::metrics::catalogue::{self, Metric};
use trainspotter_core::metrics::{Frame, Value};

/// 730 hours, AWS's month.
pub const SECONDS_A_MONTH: f64 = 730.0 * 3_600.0;

/// Interval at which replicas read new records of the log.
const LOG_READ_EVERY: Duration = Duration::from_millis(700);
/// Minimum number of records that a leader writes per lease.
const RECORDS_PER_LEASE: f64 = 3.0;
/// Factor for records beyond those of ticks and leases, such as deliveries: measured on a demo.
const RECORD_OVERHEAD: f64 = 1.15;
/// Number of announcements per lease by replicas that share targets, with a PUT and a LIST each.
const ANNOUNCEMENTS_PER_LEASE: u32 = 6;
/// Maximum pause between announcements.
const MAX_ANNOUNCEMENT_PAUSE: Duration = Duration::from_secs(10);
/// Objects per target and day in the archive: jobs and hours, each with a read before.
const ARCHIVED_A_DAY: f64 = 2.0;
/// Archive size of a target after a year with ten thousand jobs a day, in gigabytes: 26 bytes per job
/// (docs/ARCHIVE.md), plus hours.
const ARCHIVE_GIGABYTES: f64 = 0.2;
/// Size of the log in gigabytes: snapshots and the records since.
const LOG_GIGABYTES: f64 = 0.5;
/// vCPUs and gigabytes of memory per task, as in `deploy/cloudformation.yaml`.
const TASK: (f64, f64) = (0.25, 0.5);

/// Quantities per month.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// CloudWatch custom metrics.
    pub classic: Option<ClassicUse>,
    /// OTLP receivers.
    pub otlp: Vec<OtlpUse>,
    /// Metrics requested by `GetMetricData`.
    pub metrics_requested: f64,
    /// Standard alarms, if the rules are exported to CloudWatch.
    pub alarms: u64,
    /// Composite alarms, likewise.
    pub composite_alarms: u64,
    /// CloudWatch dashboards.
    pub dashboards: u64,
    /// Writes, reads and gigabytes of the log; `None` without a log in a bucket.
    pub log: Option<(f64, f64, f64)>,
    /// The same for the archive.
    pub archive: Option<(f64, f64, f64)>,
    /// Fargate tasks.
    pub tasks: u64,
    /// vCPU hours.
    pub vcpu_hours: f64,
    /// Gigabyte hours of memory.
    pub gigabyte_hours: f64,
}

/// Use of `PutMetricData`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassicUse {
    /// Published series.
    pub series: u64,
    /// Series omitted by a budget.
    pub left_out: u64,
    /// Requests.
    pub requests: f64,
}

/// Use of OTLP to one receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpUse {
    /// The sink.
    pub sink: String,
    /// Whether it is CloudWatch, which has a price.
    pub is_cloudwatch: bool,
    /// Series.
    pub series: u64,
    /// Points per month.
    pub points: f64,
    /// Bytes per month, as billed.
    pub bytes: f64,
}

impl ClassicUse {
    /// Sum over two targets, whose series are distinct.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            series: self.series + other.series,
            left_out: self.left_out + other.left_out,
            requests: self.requests + other.requests,
        }
    }
}

impl OtlpUse {
    /// Sum for one sink.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            series: self.series + other.series,
            points: self.points + other.points,
            bytes: self.bytes + other.bytes,
            ..self
        }
    }

    /// Mean bytes per point.
    pub fn bytes_per_point(&self) -> Option<f64> {
        (self.points > 0.0).then(|| self.bytes / self.points)
    }
}

impl Usage {
    /// Quantities that follow from the configuration and the mean number of hosts. The caller adds published
    /// metrics.
    pub fn of(config: &Config, hosts: f64, tasks: u64) -> Self {
        let every = |period: Duration| SECONDS_A_MONTH / period.as_secs_f64().max(1.0);
        let targets = config.targets.len().max(1) as f64;
        let log = config.replication.as_ref().filter(|replication| replication.is_in_a_bucket()).map(|replication| {
            let leases = RECORDS_PER_LEASE * every(replication.lease);
            let records = every(config.poll.every).max(leases) * RECORD_OVERHEAD;
            let pause = (replication.lease / ANNOUNCEMENTS_PER_LEASE).min(MAX_ANNOUNCEMENT_PAUSE);
            // A LIST costs as much as a PUT.
            let announcements = if targets > 1.0 { 2.0 * tasks as f64 * every(pause) } else { 0.0 };
            let gets = tasks.saturating_sub(1) as f64 * SECONDS_A_MONTH / LOG_READ_EVERY.as_secs_f64();
            (records * targets + announcements, gets * targets, LOG_GIGABYTES * targets)
        });
        let archive = config.archive.as_ref().filter(|archive| archive.is_in_a_bucket()).map(|_| {
            let objects = ARCHIVED_A_DAY * targets * SECONDS_A_MONTH / 86_400.0;
            (objects, objects, ARCHIVE_GIGABYTES * targets)
        });
        let hours = tasks as f64 * SECONDS_A_MONTH / 3_600.0;
        Self {
            metrics_requested: hosts * every(config.poll.utilisation_every),
            dashboards: u64::from(config.publish.cloudwatch.as_ref().is_some_and(|sink| sink.metrics.are_classic())),
            log,
            archive,
            tasks,
            vcpu_hours: hours * TASK.0,
            gigabyte_hours: hours * TASK.1,
            ..Self::default()
        }
    }
}

/// Number of instances in use, from the frames of all targets; `None` if unknown.
pub fn hosts_in_use(frames: &[Frame]) -> Option<f64> {
    let used: &Metric = &catalogue::SHARE_USED;
    let values: Vec<f64> = frames
        .iter()
        .flat_map(|frame| &frame.samples)
        .filter(|sample| sample.metric == used)
        .filter_map(|sample| match sample.value {
            Value::Gauge(value) => Some(value),
            Value::Counter(_) | Value::Distribution(_) => None,
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
