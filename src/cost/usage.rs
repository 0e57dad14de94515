//! How much of what has a price is used in a month.

use std::time::Duration;

use crate::config::Config;
use trainspotter_core::metrics::catalogue::{self, Metric};
use trainspotter_core::metrics::{Frame, Value};

/// 730 hours, as AWS counts months.
pub const SECONDS_A_MONTH: f64 = 730.0 * 3_600.0;

/// Replicas look for new records of the log so often.
const LOG_READ_EVERY: Duration = Duration::from_millis(700);
/// A leader writes a record of its own at least so often within a lease.
const RECORDS_PER_LEASE: f64 = 3.0;
/// Records beyond those of ticks and leases, such as what is delivered: measured on a demo.
const FURTHER_RECORDS: f64 = 1.15;
/// Replicas that share targets announce themselves so often within a lease, with a PUT and a LIST each.
const ANNOUNCEMENTS_PER_LEASE: u32 = 6;
/// ... and at least so often.
const MAX_ANNOUNCEMENT_PAUSE: Duration = Duration::from_secs(10);
/// Objects that a target's archive gets a day: jobs and hours, each of which is looked for before.
const ARCHIVED_A_DAY: f64 = 2.0;
/// What a target's archive has after a year of ten thousand jobs a day, in gigabytes: 26 bytes a job (docs/ARCHIVE.md), and hours.
const ARCHIVE_GIGABYTES: f64 = 0.2;
/// What the log keeps: snapshots and the records since, in gigabytes.
const LOG_GIGABYTES: f64 = 0.5;
/// vCPUs and gigabytes of a task, as in `deploy/cloudformation.yaml`.
const TASK: (f64, f64) = (0.25, 0.5);

/// Quantities of a month.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Custom metrics of CloudWatch.
    pub classic: Option<ClassicUse>,
    /// Receivers of OTLP.
    pub otlp: Vec<OtlpUse>,
    /// Metrics that are requested by `GetMetricData`.
    pub metrics_requested: f64,
    /// Standard alarms, if the rules are exported to CloudWatch.
    pub alarms: u64,
    /// Composite alarms, likewise.
    pub composite_alarms: u64,
    /// Dashboards in CloudWatch.
    pub dashboards: u64,
    /// Writes and reads of the log, and the gigabytes it keeps; none where there is no log, or one in a folder.
    pub log: Option<(f64, f64, f64)>,
    /// The same of the archive.
    pub archive: Option<(f64, f64, f64)>,
    /// Tasks of Fargate.
    pub tasks: u64,
    /// Hours of vCPUs.
    pub vcpu_hours: f64,
    /// Hours of gigabytes of memory.
    pub gigabyte_hours: f64,
}

/// What is sent by `PutMetricData`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassicUse {
    /// Series that are sent.
    pub series: u64,
    /// Series that a budget leaves out.
    pub left_out: u64,
    /// Requests.
    pub requests: f64,
}

/// What is sent by OTLP to one receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OtlpUse {
    /// The sink.
    pub sink: String,
    /// Whether it is CloudWatch, which has a price.
    pub is_cloudwatch: bool,
    /// Series.
    pub series: u64,
    /// Points of a month.
    pub points: f64,
    /// Bytes of a month, as they are charged for.
    pub bytes: f64,
}

impl ClassicUse {
    /// Both together: two targets have series of their own.
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
    /// Both together, of one sink.
    #[must_use]
    pub fn plus(self, other: &Self) -> Self {
        Self {
            series: self.series + other.series,
            points: self.points + other.points,
            bytes: self.bytes + other.bytes,
            ..self
        }
    }

    /// Bytes of a point, on average.
    pub fn bytes_per_point(&self) -> Option<f64> {
        (self.points > 0.0).then(|| self.bytes / self.points)
    }
}

impl Usage {
    /// What follows from the configuration, and from how many instances run on average. Figures that are published are added by the caller.
    pub fn of(config: &Config, hosts: f64, tasks: u64) -> Self {
        let every = |period: Duration| SECONDS_A_MONTH / period.as_secs_f64().max(1.0);
        let targets = config.targets.len().max(1) as f64;
        let log = config.replication.as_ref().filter(|replication| replication.is_in_a_bucket()).map(|replication| {
            let leases = RECORDS_PER_LEASE * every(replication.lease);
            let records = every(config.poll.every).max(leases) * FURTHER_RECORDS;
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

/// Instances in use in the frames of all targets; `None` if they say nothing of any.
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
