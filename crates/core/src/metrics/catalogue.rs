//! Every metric there is, once: name, unit, kind, labels, stability, meaning.
//!
//! Rules, dashboards, sinks and `docs/METRICS.md` all read this table, and tests hold them to it. The name here is the
//! one that rules use; each sink spells it in its own custom:
//!
//! | here | OTLP | Prometheus | CloudWatch |
//! |---|---|---|---|
//! | `queue.wait` | `trainspotter.queue.wait` (unit `s`) | `trainspotter_queue_wait_seconds` | `QueueWait` (Seconds) |
//! | `job.preemptions` | `trainspotter.job.preemptions` | `trainspotter_job_preemptions_total` | `JobPreemptions` (Count) |

use serde::{Deserialize, Serialize};

use std::fmt;

use Kind::{Counter, Distribution, Gauge};
use Stability::{Experimental, Stable};
use Unit::{Bytes, Count, Dollars, GpuSeconds, Gpus, Instances, Ratio, Seconds};

/// One metric of the catalogue. Compared by name, which is unique.
#[derive(Debug)]
pub struct Metric {
    /// Dotted, lower case, without unit: `queue.wait`.
    pub name: &'static str,
    /// What its numbers count.
    pub unit: Unit,
    /// How its numbers behave over time.
    pub kind: Kind,
    /// The labels each of its series has, all of them, in this order.
    pub labels: &'static [Label],
    /// Whether it may change without notice.
    pub stability: Stability,
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

impl Metric {
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
        let total = if self.kind == Counter { "_total" } else { "" };
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

/// Finds a metric by the name that rules use.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| metric.name == name)
}

/// Upper bounds, in seconds, of the buckets of every duration: 1 s to 7 d, dense where training queues live.
pub const DURATION_BOUNDS: &[f64] =
    &[1.0, 10.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0];

/// The bucket of a duration in seconds: the first whose bound it does not exceed, or the last.
pub fn bucket_of(seconds: f64) -> usize {
    DURATION_BOUNDS.partition_point(|bound| *bound < seconds)
}

macro_rules! catalogue {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $kind:expr, $unit:expr, [$($label:literal),*], $stability:expr, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Metric = Metric {
                name: $name, unit: $unit, kind: $kind, labels: &[$($label),*], stability: $stability, meaning: $meaning,
            };
        )*

        /// The catalogue, in the order in which people read it.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

catalogue! {
    // -- Jobs
    QUEUE_JOBS = "queue.jobs", Gauge, Count, ["queue", "share", "state"], Stable,
        "Jobs in each state now, zeros included.";
    QUEUE_DEMAND = "queue.demand", Gauge, Gpus, ["queue", "share", "instance_type"], Stable,
        "GPUs that waiting jobs ask for.";
    QUEUE_DEMAND_LARGEST = "queue.demand.largest", Gauge, Gpus, ["queue", "share"], Stable,
        "GPUs that the largest waiting job asks for.";

    // -- Waits
    QUEUE_WAIT = "queue.wait", Distribution, Seconds, ["queue", "share"], Stable,
        "First wait of jobs that were dispatched: submitted to first SCHEDULED.";
    QUEUE_WAIT_REQUEUE = "queue.wait.requeue", Distribution, Seconds, ["queue", "share"], Stable,
        "Later waits: back in the queue after a retry, a capacity failure or a preemption, until SCHEDULED again.";
    QUEUE_WAIT_UNCERTAIN = "queue.wait.uncertain", Counter, Seconds, ["queue", "share"], Experimental,
        "Seconds by which the waits in `queue.wait` and `queue.wait.requeue` may be wrong, summed: of some it is only known between which polls they began or ended.";
    QUEUE_WAIT_OLDEST = "queue.wait.oldest", Gauge, Seconds, ["queue", "share"], Stable,
        "Age of the job that has waited longest and still waits; 0 when none waits.";
    QUEUE_WAIT_ESTIMATE = "queue.wait.estimate", Gauge, Seconds, ["queue", "share", "percentile"], Experimental,
        "First waits of the last day by Kaplan and Meier (p50, p90, p95, p99): jobs that still wait, or were cancelled before they started, count as waits of at least so long; absent where there was none.";
    PRIORITY_WAIT = "priority.wait", Distribution, Seconds, ["queue", "share", "band"], Experimental,
        "`queue.wait` by priority band; only with `priority_bands`.";
    PRIORITY_WAIT_REQUEUE = "priority.wait.requeue", Distribution, Seconds, ["queue", "share", "band"], Experimental,
        "`queue.wait.requeue` by priority band; only with `priority_bands`.";
    PRIORITY_WAIT_OLDEST = "priority.wait.oldest", Gauge, Seconds, ["queue", "share", "band"], Experimental,
        "`queue.wait.oldest` by priority band; only with `priority_bands`.";
    PRIORITY_WAIT_ESTIMATE = "priority.wait.estimate", Gauge, Seconds, ["queue", "share", "band", "percentile"], Experimental,
        "`queue.wait.estimate` by priority band; only with `priority_bands`.";
    QUEUE_WAITING = "queue.waiting", Gauge, Count, ["queue", "share", "reason"], Experimental,
        "Jobs that wait, by reason, one each.";
    QUEUE_WAITING_TIME = "queue.waiting.time", Counter, Seconds, ["queue", "share", "reason"], Experimental,
        "Job-seconds of waiting, by reason.";
    QUEUE_WAITING_GPU_TIME = "queue.waiting.gpu_time", Counter, GpuSeconds, ["queue", "share", "reason"], Experimental,
        "GPU-seconds that waiting jobs asked for in vain, by reason.";
    JOB_STARTUP = "job.startup", Distribution, Seconds, ["queue", "share"], Stable,
        "From SCHEDULED to RUNNING: capacity search, download and container start.";
    JOB_RUN = "job.run", Distribution, Seconds, ["queue", "share"], Stable,
        "From RUNNING to the end of the attempt.";

    // -- Shares
    SHARE_QUOTA = "share.quota", Gauge, Instances, ["queue", "share", "instance_type"], Stable,
        "Instances that are the share's own.";
    SHARE_USED = "share.used", Gauge, Instances, ["queue", "share", "instance_type"], Stable,
        "Instances that the share's in-flight jobs hold.";
    SHARE_BORROWED = "share.borrowed", Gauge, Instances, ["queue", "share", "instance_type"], Stable,
        "Instances that the share uses beyond its quota.";
    SHARE_LENT = "share.lent", Gauge, Instances, ["queue", "share", "instance_type"], Stable,
        "Instances of the share's quota that other shares use.";
    SHARE_IDLE = "share.idle", Gauge, Instances, ["queue", "share", "instance_type"], Experimental,
        "Instances of the share's quota that no job uses.";
    SHARE_MOST = "share.most", Gauge, Instances, ["queue", "share", "instance_type"], Experimental,
        "The most instances that the share may use, borrowed ones included; absent where nothing limits it.";
    SHARE_LARGEST_JOB = "share.largest_job", Gauge, Instances, ["queue", "share", "instance_type"], Experimental,
        "Instances of the largest job that can ever run in the share.";
    SHARE_STARVED = "share.starved", Gauge, Seconds, ["queue", "share"], Experimental,
        "For how long the share has been below its quota, or below what it is due in a fair-share queue, while a job of its own that fits in that waits for capacity that others hold; 0 when it is not.";
    SHARE_UNUSED = "share.unused", Gauge, Seconds, ["queue", "share"], Experimental,
        "For how long no job of the share has held an instance, as far as it was watched; 0 while one does.";
    SETUP_FINDINGS = "setup.findings", Gauge, Count, ["queue", "problem"], Experimental,
        "Misconfigurations of the queue, by kind: see `/api/v1/setup`.";
    SHARE_UTILISATION = "share.utilisation", Gauge, Ratio, ["queue", "share"], Stable,
        "GPUs used over GPUs of quota; above 1 when borrowing.";
    SHARE_TARGET = "share.target", Gauge, Gpus, ["queue", "share"], Experimental,
        "GPUs that a share identifier of a fair-share queue is due, by the weights of those that have jobs now.";
    SHARE_USED_RECENT = "share.used.recent", Gauge, Gpus, ["queue", "share"], Experimental,
        "GPUs that a share identifier of a fair-share queue has used recently: an exponentially weighted mean of GPUs in use; its half-life is half the decay window.";
    SHARE_DEVIATION = "share.deviation", Gauge, Gpus, ["queue", "share"], Experimental,
        "Recent mean of GPUs in use (`share.used.recent`) less what the share is due by weight; negative when it used less.";
    SHARE_TIME = "share.time", Counter, GpuSeconds, ["queue", "share", "part"], Experimental,
        "GPU-seconds of the share's quota: own, lent, idle and idle_while_waiting sum to it; and borrowed ones beyond it.";
    SHARE_LENDING_TIME = "share.lending.time", Counter, GpuSeconds, ["queue", "lender", "borrower"], Experimental,
        "GPU-seconds that one share worked on another's quota, in proportion to what each lends and borrows.";

    // -- GPUs
    GPU_CAPACITY = "gpu.capacity", Gauge, Gpus, ["queue"], Stable,
        "GPUs that the queue's service environment allows.";
    GPU_PART = "gpu.part", Gauge, Gpus, ["queue", "part"], Stable,
        "Where the capacity is now; the parts of a queue sum to its capacity.";
    GPU_UNALLOCATED = "gpu.unallocated", Gauge, Gpus, ["queue", "cause"], Experimental,
        "Unallocated GPUs, by the reason why no job has them; the causes sum to the part `unallocated`.";
    GPU_UNALLOCATED_TIME = "gpu.unallocated.time", Counter, GpuSeconds, ["queue", "cause"], Experimental,
        "GPU-seconds unallocated, by cause.";
    GPU_TIME = "gpu.time", Counter, GpuSeconds, ["queue", "part"], Stable,
        "GPU-seconds spent in each part.";
    GPU_COST = "gpu.cost", Counter, Dollars, ["queue", "part"], Experimental,
        "Dollars spent in each part, by the configured prices; absent where one is missing.";
    GPU_IDLE_RATIO = "gpu.idle.ratio", Gauge, Ratio, ["queue"], Stable,
        "GPUs that are not busy (unallocated, starting or running idle) over capacity, unknown ones left out.";
    GPU_UTILISATION = "gpu.utilisation", Gauge, Ratio, ["queue", "share"], Stable,
        "Mean utilisation of the GPUs of running jobs that report any.";

    GPU_DEAD_HOSTS = "gpu.dead_hosts", Gauge, Count, ["queue", "share"], Experimental,
        "Hosts that are idle while at least half of the other hosts of the same job are busy.";

    // -- Capacity that is paid for whether jobs use it or not
    RESERVED_INSTANCES = "reserved.instances", Gauge, Instances, ["kind", "instance_type", "state"], Experimental,
        "Instances of training plans and warm pools: in_use, idle and unavailable sum to all of a kind. A warm pool that a job has taken is that job's. Only with `reserved` in a target.";
    RESERVED_TIME = "reserved.gpu_time", Counter, GpuSeconds, ["kind", "instance_type", "state"], Experimental,
        "GPU-seconds of training plans and warm pools in each state.";
    RESERVED_COST = "reserved.cost", Counter, Dollars, ["kind", "instance_type", "state"], Experimental,
        "Dollars spent in each state, by the configured prices; absent where there is none.";

    // -- Outcomes
    JOB_ENDED = "job.ended", Counter, Count, ["queue", "share", "outcome"], Stable,
        "Jobs that ended, by outcome.";
    JOB_FAILURES = "job.failures", Counter, Count, ["queue", "share", "category"], Stable,
        "Jobs that failed, by category.";
    JOB_FAILURE_RATIO = "job.failure_ratio", Gauge, Ratio, ["queue", "share"], Stable,
        "Failed over ended jobs of the last hour; absent below 10 ended jobs.";
    JOB_PREEMPTIONS = "job.preemptions", Counter, Count, ["queue", "share"], Stable,
        "Attempts that were stopped to give their capacity to other jobs.";
    JOB_LOST = "job.lost", Counter, GpuSeconds, ["queue", "share", "cause"], Stable,
        "GPU-seconds of attempts that ended without success, by cause (preempted, failed).";
    JOB_LOST_CHECKPOINTED = "job.lost.checkpointed", Counter, GpuSeconds, ["queue", "share", "checkpoints"], Experimental,
        "GPU-seconds that preemption would have cost had every job made a checkpoint every 10m, 30m or 1h.";

    // -- The service itself
    SOURCE_AGE = "source.age", Gauge, Seconds, ["source"], Stable,
        "Age of the oldest data that figures rest on, by source.";
    SOURCE_CALLS = "source.calls", Counter, Count, ["service", "operation", "outcome"], Stable,
        "AWS API calls, retries counted one by one.";
    SOURCE_FAILURES = "source.failures", Counter, Count, ["source"], Stable,
        "Polls of a source that failed, wholly or in part.";
    SOURCE_UNKNOWN = "source.unknown_values", Counter, Count, ["kind", "value"], Stable,
        "Values from AWS that this build does not know.";
    CLOCK_SKEW = "clock.skew", Gauge, Seconds, [], Experimental,
        "By how much at least this machine's clock is ahead of AWS's or behind it, by the dates of AWS's answers; 0 while no difference can be measured. The service uses AWS's time.";
    POLL_INTERVAL = "poll.interval", Gauge, Seconds, [], Stable,
        "Time between the last two polls: longer than configured when the service is throttled or the clock runs fast.";
    LEDGER_JOBS = "ledger.jobs", Gauge, Count, [], Stable,
        "Jobs the service keeps in memory.";
    LEDGER_CORRECTIONS = "ledger.corrections", Counter, Count, [], Stable,
        "Jobs whose recorded state a full sweep found wrong.";
    LEDGER_UNVERIFIED = "ledger.unverified", Gauge, Count, ["queue"], Experimental,
        "Waiting jobs not seen since the last full sweep: some may have been cancelled.";
    PUBLISH_SERIES = "publish.series", Gauge, Count, ["sink"], Stable,
        "Series in the last batch sent to each sink.";
    PUBLISH_FAILURES = "publish.failures", Counter, Count, ["sink"], Stable,
        "Batches that a sink rejected or did not receive.";
    ALERTS = "alerts", Gauge, Count, ["state"], Stable,
        "Alert instances by state.";
    RULE_FAILURES = "rule.failures", Counter, Count, ["rule"], Stable,
        "Evaluations of a rule that failed, such as a template that does not render.";
    RULES_BROKEN = "rules.broken", Gauge, Count, [], Experimental,
        "1 while the rule files have mistakes and the rules from before them are evaluated, else 0.";
    NOTIFY_PENDING = "notify.pending", Gauge, Count, ["receiver"], Stable,
        "Notifications that wait for delivery.";
    NOTIFY_OLDEST = "notify.oldest", Gauge, Seconds, ["receiver"], Stable,
        "Age of the oldest undelivered notification; 0 when there is none.";
    NOTIFY_DELIVERIES = "notify.deliveries", Counter, Count, ["receiver", "outcome"], Stable,
        "Delivery attempts, by outcome.";
    LIMIT_HITS = "limit.hits", Counter, Count, ["limit"], Stable,
        "Times a built-in limit left something out.";
    STORE_TROUBLE = "store.trouble", Gauge, Count, ["kind"], Experimental,
        "1 while the state file cannot be used and the state is in memory only (`unwritable`), or if it, or rows of it, were broken and set aside since the service started (`set_aside`), else 0.";
    STORE_SIZE = "store.size", Gauge, Bytes, [], Experimental,
        "Size of the state file.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_in_every_sinks_spelling() {
        for spell in [Metric::otlp_name, Metric::prometheus_name, Metric::cloudwatch_name] {
            let names: BTreeSet<_> = ALL.iter().map(|metric| spell(metric)).collect();
            assert_eq!(names.len(), ALL.len());
        }
    }

    #[test]
    fn each_sink_gets_the_name_its_users_expect() {
        assert_eq!(QUEUE_WAIT.otlp_name(), "trainspotter.queue.wait");
        assert_eq!(QUEUE_WAIT.prometheus_name(), "trainspotter_queue_wait_seconds");
        assert_eq!(QUEUE_WAIT.cloudwatch_name(), "QueueWait");
        assert_eq!(JOB_PREEMPTIONS.prometheus_name(), "trainspotter_job_preemptions_total");
        assert_eq!(GPU_IDLE_RATIO.prometheus_name(), "trainspotter_gpu_idle_ratio");
        assert_eq!(JOB_FAILURE_RATIO.cloudwatch_name(), "JobFailureRatio");
        assert_eq!(cloudwatch_dimension("instance_type"), "InstanceType");
    }
}
