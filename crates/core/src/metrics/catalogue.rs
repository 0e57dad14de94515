//! All metrics, each declared once with all its properties: see [`Metric`].
//!
//! Rules, dashboards, sinks and `docs/METRICS.md` read this table, as enforced by tests. Rules use the name given
//! here; each sink converts it to its own convention:
//!
//! | here | OTLP | Prometheus | CloudWatch |
//! |---|---|---|---|
//! | `queue.wait` | `trainspotter.queue.wait` (unit `s`) | `trainspotter_queue_wait_seconds` | `QueueWait` (Seconds) |
//! | `job.preemptions` | `trainspotter.job.preemptions` | `trainspotter_job_preemptions_total` | `JobPreemptions` (Count) |

mod cloudwatch_priority;
mod metric;

use crate::model::Source;
pub use cloudwatch_priority::BY_USE;
pub use metric::{
    ClosedLabel, CloudWatch, Kind, Label, Metric, NO_DIMENSION_VALUE, Range, Stability, Subject, Unit,
    cloudwatch_dimension, cloudwatch_dimension_value,
};

/// Finds a metric by its name in rules.
pub fn find(name: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| metric.name == name)
}

/// Upper bounds of the buckets of all durations, in seconds: 1 s to 7 d, denser in the typical range of training
/// queues.
pub const DURATION_BOUNDS: &[f64] =
    &[1.0, 10.0, 60.0, 300.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0];

/// Index of the bucket for a duration in seconds: the first whose bound is not exceeded, or the last.
pub fn bucket_of(seconds: f64) -> usize {
    DURATION_BOUNDS.partition_point(|bound| *bound < seconds)
}

macro_rules! catalogue {
    ($(
        $constant:ident = $name:literal, $kind:ident, $unit:ident, $range:ident, [$($label:literal $(= $closed:ident)?),*], $stability:ident,
            about $about:ident, from [$($source:ident),*], cloudwatch $cloudwatch:ident $(($why:literal))?,
            $meaning:literal;
    )*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Metric = Metric {
                name: $name,
                unit: Unit::$unit,
                range: Range::$range,
                kind: Kind::$kind,
                labels: &[$($label),*],
                closed_labels: &[$($(($label, ClosedLabel::$closed),)?)*],
                stability: Stability::$stability,
                about: Subject::$about,
                sources: &[$(Source::$source),*],
                cloudwatch: CloudWatch::$cloudwatch $(($why))?,
                meaning: $meaning,
            };
        )*

        /// All metrics, in display order.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

catalogue! {
    // -- Jobs
    QUEUE_JOBS = "queue.jobs", Gauge, Count, NonNegative, ["queue", "share", "state" = JobState], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "Jobs in each state, including zeros.";
    QUEUE_DEMAND = "queue.demand", Gauge, Gpus, NonNegative, ["queue", "share", "instance_type"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "GPUs requested by waiting jobs.";
    QUEUE_DEMAND_LARGEST = "queue.demand.largest", Gauge, Gpus, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "GPUs requested by the largest waiting job whose size is known; absent if jobs wait and no size is known.";

    // -- Waits
    QUEUE_WAIT = "queue.wait", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "First wait of dispatched jobs: from submission to the first SCHEDULED.";
    QUEUE_WAIT_REQUEUE = "queue.wait.requeue", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "Requeue waits: from the return to the queue after a retry, a capacity failure or a preemption until SCHEDULED again.";
    QUEUE_WAIT_UNCERTAIN = "queue.wait.uncertain", Counter, Seconds, NonNegative, ["queue", "share"], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Total uncertainty of the waits in `queue.wait` and `queue.wait.requeue`: for some, only the polls between which they started or ended are known.";
    QUEUE_WAIT_OLDEST = "queue.wait.oldest", Gauge, Seconds, NonNegative, ["queue", "share"], Stable,
        about LongestWait, from [Jobs], cloudwatch Sent,
        "Age of the longest-waiting job that still waits; 0 if no job waits.";
    QUEUE_WAIT_ESTIMATE = "queue.wait.estimate", Gauge, Seconds, NonNegative, ["queue", "share", "percentile" = Percentile], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Kaplan–Meier quantiles (p50, p90, p95, p99) of the first waits of the last day: jobs that still wait, or were cancelled before they started, count as censored; absent without waits.";
    PRIORITY_WAIT = "priority.wait", Distribution, Seconds, NonNegative, ["queue", "share", "band"], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "`queue.wait` by priority band; only with `priority_bands`.";
    PRIORITY_WAIT_REQUEUE = "priority.wait.requeue", Distribution, Seconds, NonNegative, ["queue", "share", "band"], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "`queue.wait.requeue` by priority band; only with `priority_bands`.";
    PRIORITY_WAIT_OLDEST = "priority.wait.oldest", Gauge, Seconds, NonNegative, ["queue", "share", "band"], Experimental,
        about LongestWait, from [Jobs], cloudwatch OnceStable,
        "`queue.wait.oldest` by priority band; only with `priority_bands`.";
    PRIORITY_WAIT_ESTIMATE = "priority.wait.estimate", Gauge, Seconds, NonNegative, ["queue", "share", "band", "percentile" = Percentile], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "`queue.wait.estimate` by priority band; only with `priority_bands`.";
    FORECAST_COVERAGE = "forecast.coverage", Gauge, Ratio, UpToOne, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Fraction of recent start estimates whose P10 to P90 interval contained the actual start; the ideal is 0.8. Absent until ten jobs with an estimate have started.";
    FORECAST_ERROR = "forecast.error", Gauge, Seconds, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Median absolute error of the median (P50) of recent start estimates. Absent until ten jobs with an estimate have started.";
    QUEUE_WAITING = "queue.waiting", Gauge, Count, NonNegative, ["queue", "share", "reason" = WaitReason], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Waiting jobs by reason; each job has exactly one.";
    QUEUE_WAITING_TIME = "queue.waiting.time", Counter, Seconds, NonNegative, ["queue", "share", "reason" = WaitReason], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Job-seconds waited, by reason.";
    QUEUE_WAITING_GPU_TIME = "queue.waiting.gpu_time", Counter, GpuSeconds, NonNegative, ["queue", "share", "reason" = WaitReason], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds requested by waiting jobs, by reason.";
    JOB_STARTUP = "job.startup", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "From SCHEDULED to RUNNING: capacity search, download and container start.";
    JOB_RUN = "job.run", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "From RUNNING to the end of the attempt.";

    // -- Shares
    SHARE_QUOTA = "share.quota", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances of the share's own quota.";
    SHARE_USED = "share.used", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances held by the share's in-flight jobs.";
    SHARE_BORROWED = "share.borrowed", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances used by the share above its quota.";
    SHARE_LENT = "share.lent", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances of the share's quota used by other shares.";
    SHARE_IDLE = "share.idle", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Instances of the share's quota not used by any job.";
    SHARE_MOST = "share.most", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Maximum instances that the share may use, including borrowed ones; absent if unlimited.";
    SHARE_LARGEST_JOB = "share.largest_job", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Instances of the largest job that can ever run in the share.";
    SHARE_STARVED = "share.starved", Gauge, Seconds, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "How long the share has been starved: it is below its quota, or below its entitlement in a fair-share queue, and a job that fits it waits for capacity held by other shares. 0 if not starved.";
    SHARE_UNUSED = "share.unused", Gauge, Seconds, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "How long no job of the share has held an instance, while the service was watching; 0 if one does.";
    SETUP_FINDINGS = "setup.findings", Gauge, Count, NonNegative, ["queue", "problem" = SetupProblem], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Misconfigurations of the queue, by kind; details at `/api/v1/setup`.";
    SHARE_UTILISATION = "share.utilisation", Gauge, Ratio, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "GPUs used divided by GPUs of quota; above 1 when borrowing.";
    SHARE_TARGET = "share.target", Gauge, Gpus, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPUs that a share identifier of a fair-share queue is entitled to, by weight among those that have jobs.";
    SHARE_USED_RECENT = "share.used.recent", Gauge, Gpus, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Recent average of GPUs used by a share identifier of a fair-share queue: an exponentially weighted mean whose half-life is half the decay window.";
    SHARE_DEVIATION = "share.deviation", Gauge, Gpus, Any, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Recent average (`share.used.recent`) minus entitlement (`share.target`); negative if the share used less.";
    SHARE_TIME = "share.time", Counter, GpuSeconds, NonNegative, ["queue", "share", "part" = SharePart], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds of the share's quota, by use: own, lent, idle and idle_while_waiting sum to the quota; borrowed is above it.";
    SHARE_LENDING_TIME = "share.lending.time", Counter, GpuSeconds, NonNegative, ["queue", "lender", "borrower"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds used by one share of another's quota, attributed in proportion to what each lends and borrows.";

    // -- GPUs
    GPU_CAPACITY = "gpu.capacity", Gauge, Gpus, NonNegative, ["queue"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "GPU capacity of the queue's service environment.";
    GPU_PART = "gpu.part", Gauge, Gpus, NonNegative, ["queue", "part" = GpuPart], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Sent,
        "Capacity by state; the parts of a queue sum to its capacity.";
    GPU_UNALLOCATED = "gpu.unallocated", Gauge, Gpus, NonNegative, ["queue", "cause" = UnallocatedCause], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Unallocated GPUs by cause; the causes sum to the part `unallocated`.";
    GPU_UNALLOCATED_TIME = "gpu.unallocated.time", Counter, GpuSeconds, NonNegative, ["queue", "cause" = UnallocatedCause], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds unallocated, by cause.";
    GPU_TIME = "gpu.time", Counter, GpuSeconds, NonNegative, ["queue", "part" = GpuPart], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Never("the average of GpuPart times the period says the same"),
        "GPU-seconds spent in each part.";
    GPU_COST = "gpu.cost", Counter, Dollars, NonNegative, ["queue", "part" = GpuPart], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Cost of each part at the configured prices; absent if a price is missing.";
    GPU_IDLE_RATIO = "gpu.idle.ratio", Gauge, Ratio, UpToOne, ["queue"], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Sent,
        "GPUs that are not busy (unallocated, starting or running idle) divided by capacity, excluding GPUs of unknown use.";
    GPU_UTILISATION = "gpu.utilisation", Gauge, Ratio, UpToOne, ["queue", "share"], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Sent,
        "Mean GPU utilisation of running jobs that report it.";

    GPU_DEAD_HOSTS = "gpu.dead_hosts", Gauge, Count, NonNegative, ["queue", "share"], Experimental,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch OnceStable,
        "Hosts that are idle while at least half of the other hosts of the same job are busy.";

    // -- Reserved capacity
    RESERVED_INSTANCES = "reserved.instances", Gauge, Instances, NonNegative, ["kind" = ReservedKind, "instance_type", "state" = ReservedState], Experimental,
        about Other, from [Reserved], cloudwatch OnceStable,
        "Instances of training plans and warm pools by state: in_use, idle and unavailable sum to the total of a kind. A warm pool in use counts towards its job. Only with `reserved` in a target.";
    RESERVED_TIME = "reserved.gpu_time", Counter, GpuSeconds, NonNegative, ["kind" = ReservedKind, "instance_type", "state" = ReservedState], Experimental,
        about Other, from [Reserved], cloudwatch OnceStable,
        "GPU-seconds of training plans and warm pools in each state.";
    RESERVED_COST = "reserved.cost", Counter, Dollars, NonNegative, ["kind" = ReservedKind, "instance_type", "state" = ReservedState], Experimental,
        about Other, from [Reserved], cloudwatch OnceStable,
        "Cost of each state at the configured prices; absent without a price.";

    // -- The account outside the queues
    ACCOUNT_LIMIT = "account.limit", Gauge, Instances, NonNegative, ["instance_type"], Experimental,
        about Other, from [Account], cloudwatch OnceStable,
        "The account's limit of instances for training jobs. Only with `quotas` in a target.";
    ACCOUNT_OUTSIDE = "account.outside", Gauge, Instances, NonNegative, ["instance_type"], Experimental,
        about Other, from [Account], cloudwatch OnceStable,
        "Instances of training jobs outside of the watched queues, excluding spot instances and training plans, which have separate limits; absent until all are known. Only with `quotas` in a target.";

    // -- Outcomes
    JOB_ENDED = "job.ended", Counter, Count, NonNegative, ["queue", "share", "outcome" = JobOutcome], Stable,
        about EndedJobs, from [Jobs], cloudwatch Sent,
        "Jobs that ended, by outcome.";
    JOB_FAILURES = "job.failures", Counter, Count, NonNegative, ["queue", "share", "category" = FailureCategory], Stable,
        about EndedJobs, from [Jobs], cloudwatch Sent,
        "Jobs that failed, by category.";
    JOB_FAILURE_RATIO = "job.failure_ratio", Gauge, Ratio, UpToOne, ["queue", "share"], Stable,
        about EndedJobs, from [Jobs], cloudwatch Sent,
        "Failed divided by ended jobs of the last hour; absent with fewer than 10 ended jobs.";
    JOB_PREEMPTIONS = "job.preemptions", Counter, Count, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Attempts stopped to free capacity for other jobs.";
    JOB_LOST = "job.lost", Counter, GpuSeconds, NonNegative, ["queue", "share", "cause"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "GPU-seconds of attempts that ended without success, by cause (preempted, failed).";
    JOB_LOST_CHECKPOINTED = "job.lost.checkpointed", Counter, GpuSeconds, NonNegative, ["queue", "share", "checkpoints" = Checkpoints], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds that preemptions would have cost if every job had checkpointed every 10m, 30m or 1h.";

    // -- The service itself
    TARGET_ANSWERING = "target.answering", Gauge, Count, NonNegative, ["target"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 if the target's queues and the jobs of at least one of them could be listed, else 0.";
    SOURCE_AGE = "source.age", Gauge, Seconds, NonNegative, ["source" = Source], Stable,
        about Other, from [], cloudwatch Sent,
        "Age of the oldest data in use, by source. For `descriptions`: how long a changed job has waited to be described, at most.";
    SOURCE_CALLS = "source.calls", Counter, Count, NonNegative, ["service", "operation", "outcome"], Stable,
        about Other, from [], cloudwatch Never("one series per operation and outcome, for debugging; SourceFailures is alarmed on"),
        "AWS API calls; each retry counts.";
    SOURCE_FAILURES = "source.failures", Counter, Count, NonNegative, ["source" = Source], Stable,
        about Other, from [], cloudwatch Sent,
        "Polls of a source that failed completely or partly.";
    SOURCE_UNKNOWN = "source.unknown_values", Counter, Count, NonNegative, ["kind", "value"], Stable,
        about Other, from [], cloudwatch Never("one series per unknown value"),
        "Values from AWS that are unknown to this build.";
    CLOCK_SKEW = "clock.skew", Gauge, Seconds, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Minimum difference between this machine's clock and AWS's, from the dates of AWS's responses; 0 if none is measurable. The service uses AWS's time.";
    POLL_INTERVAL = "poll.interval", Gauge, Seconds, NonNegative, [], Stable,
        about Other, from [], cloudwatch Sent,
        "Time between the last two polls; longer than configured if the service is throttled or the clock runs fast.";
    LEDGER_JOBS = "ledger.jobs", Gauge, Count, NonNegative, [], Stable,
        about Other, from [], cloudwatch Sent,
        "Jobs in memory.";
    LEDGER_CORRECTIONS = "ledger.corrections", Counter, Count, NonNegative, [], Stable,
        about Other, from [], cloudwatch Sent,
        "Jobs whose state was corrected by a full listing.";
    LEDGER_UNVERIFIED = "ledger.unverified", Gauge, Count, NonNegative, ["queue"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Waiting jobs not seen since the last full listing, or since a restart; some may have been cancelled.";
    PUBLISH_SERIES = "publish.series", Gauge, Count, NonNegative, ["sink"], Stable,
        about Other, from [], cloudwatch Sent,
        "Series in the last batch sent to each sink.";
    PUBLISH_FAILURES = "publish.failures", Counter, Count, NonNegative, ["sink"], Stable,
        about Other, from [], cloudwatch Sent,
        "Batches that a sink rejected or did not receive.";
    PUBLISH_REFUSED = "publish.refused", Counter, Count, NonNegative, ["sink"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Data points rejected by a sink; they are not sent again.";
    PUBLISH_LEFT_OUT = "publish.left_out", Gauge, Count, NonNegative, ["sink", "metric"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Series not sent because of `publish.cloudwatch.budget`, by metric.";
    SERVICE_COST = "service.cost", Gauge, Dollars, NonNegative, ["destination"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Cost of the service itself for a month of 730 hours at current usage, in US dollars from the price table: see `trainspotter cost`.";
    ALERTS = "alerts", Gauge, Count, NonNegative, ["state" = AlertState], Stable,
        about Other, from [], cloudwatch Sent,
        "Alert instances by state.";
    ALERTS_ACTIVE = "alerts.active", Gauge, Count, NonNegative, ["alertname", "severity", "state" = AlertState, "queue", "share", "subject"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 for each pending or firing alert; `subject` holds its labels other than queue and share. As of the previous evaluation; at most 500.";
    RULE_FAILURES = "rule.failures", Counter, Count, NonNegative, ["rule"], Stable,
        about Other, from [], cloudwatch Sent,
        "Failed evaluations of a rule, for example a template that does not render.";
    RULES_BROKEN = "rules.broken", Gauge, Count, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 while the rule files are invalid and the previous rules are in effect, else 0.";
    NOTIFY_PENDING = "notify.pending", Gauge, Count, NonNegative, ["receiver"], Stable,
        about Other, from [], cloudwatch Sent,
        "Notifications pending delivery.";
    NOTIFY_OLDEST = "notify.oldest", Gauge, Seconds, NonNegative, ["receiver"], Stable,
        about Other, from [], cloudwatch Sent,
        "Age of the oldest undelivered notification; 0 if there is none.";
    NOTIFY_DELIVERIES = "notify.deliveries", Counter, Count, NonNegative, ["receiver", "outcome"], Stable,
        about Other, from [], cloudwatch Never("one series per receiver and outcome; NotifyOldest is alarmed on"),
        "Delivery attempts, by outcome.";
    API_REFUSED = "api.refused", Counter, Count, NonNegative, ["cause"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "API requests rejected because of their token, by cause: `wrong_token`, or `too_many` if the address sent too many wrong tokens.";
    LIMIT_HITS = "limit.hits", Counter, Count, NonNegative, ["limit"], Stable,
        about Other, from [], cloudwatch Sent,
        "How often a limit left something out, by limit.";
    STORE_TROUBLE = "store.trouble", Gauge, Count, NonNegative, ["kind"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "`unwritable`: 1 while the state file or the log in object storage does not accept the state, else 0. `set_aside`: 1 if the file or rows of it were corrupt and set aside since the service started, else 0.";
    STORE_SIZE = "store.size", Gauge, Bytes, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Size of the state file.";
    ARCHIVE_PENDING = "archive.pending", Gauge, Count, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Rows of jobs and hours in the state file that are not archived yet, including the current day. Only with `archive`.";
    ARCHIVE_OLDEST = "archive.oldest", Gauge, Seconds, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "How long the oldest unarchived day has been overdue; 0 if none is. Only with `archive`.";
    ARCHIVE_FAILURES = "archive.failures", Counter, Count, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Failed attempts to write a day to the archive. Only with `archive`.";
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
    fn what_comes_from_aws_rests_on_a_source_and_what_is_experimental_costs_nothing() {
        for metric in ALL {
            let of_alerts = metric.labels.contains(&"alertname");
            let of_aws = !of_alerts && (metric.labels.contains(&"queue") || metric.labels.contains(&"instance_type"));
            assert_eq!(of_aws, !metric.sources.is_empty(), "{metric}: which sources does it rest on?");
            let is_stable = metric.stability == Stability::Stable;
            assert_eq!(is_stable, metric.cloudwatch != CloudWatch::OnceStable, "{metric}: is it sent to CloudWatch?");
            assert!(metric.range != Range::UpToOne || metric.unit == Unit::Ratio, "{metric}");
        }
        assert!(QUEUE_WAIT_OLDEST.is_in_cloudwatch() && JOB_FAILURES.is_in_cloudwatch(), "people alarm on them");
        assert!(!SOURCE_CALLS.is_in_cloudwatch() && !STORE_SIZE.is_in_cloudwatch(), "they are for debugging");
        let with_closed = ALL.iter().filter(|metric| metric.labels.contains(&"source"));
        assert!(with_closed.clone().count() > 1);
        assert!(with_closed.clone().all(|metric| metric.closed_label("source") == Some(ClosedLabel::Source)));
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
