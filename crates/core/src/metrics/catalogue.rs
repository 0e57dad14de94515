//! All metrics, each declared once with all its properties: see [`Metric`].
//!
//! Rules, dashboards, sinks and `docs/METRICS.md` read this table, as enforced by tests. Rules use the name given
//! here; each sink converts it to its own convention:
//!
//! | here | OTLP | Prometheus | CloudWatch |
//! |---|---|---|---|
//! | `queue.wait` | `trainspotter.queue.wait` (unit `s`) | `trainspotter_queue_wait_seconds` | `QueueWait` (Seconds) |
//! | `job.preemptions` | `trainspotter.job.preemptions` | `trainspotter_job_preemptions_total` | `JobPreemptions` (Count) |

mod classic;
mod metric;

use crate::model::Source;
pub use classic::BY_USE;
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
        "Jobs in each state now, zeros included.";
    QUEUE_DEMAND = "queue.demand", Gauge, Gpus, NonNegative, ["queue", "share", "instance_type"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "GPUs that waiting jobs ask for.";
    QUEUE_DEMAND_LARGEST = "queue.demand.largest", Gauge, Gpus, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "GPUs that the largest waiting job asks for.";

    // -- Waits
    QUEUE_WAIT = "queue.wait", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "First wait of jobs that were dispatched: submitted to first SCHEDULED.";
    QUEUE_WAIT_REQUEUE = "queue.wait.requeue", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "Later waits: back in the queue after a retry, a capacity failure or a preemption, until SCHEDULED again.";
    QUEUE_WAIT_UNCERTAIN = "queue.wait.uncertain", Counter, Seconds, NonNegative, ["queue", "share"], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Seconds by which the waits in `queue.wait` and `queue.wait.requeue` may be wrong, summed: of some it is only known between which polls they began or ended.";
    QUEUE_WAIT_OLDEST = "queue.wait.oldest", Gauge, Seconds, NonNegative, ["queue", "share"], Stable,
        about LongestWait, from [Jobs], cloudwatch Sent,
        "Age of the job that has waited longest and still waits; 0 when none waits.";
    QUEUE_WAIT_ESTIMATE = "queue.wait.estimate", Gauge, Seconds, NonNegative, ["queue", "share", "percentile" = Percentile], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "First waits of the last day by Kaplan and Meier (p50, p90, p95, p99): jobs that still wait, or were cancelled before they started, count as waits of at least so long; absent where there was none.";
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
        "The part of recent estimates of when jobs start whose interval from P10 to P90 held the truth, from 0 to 1: 0.8 is right; absent before ten have come true.";
    FORECAST_ERROR = "forecast.error", Gauge, Seconds, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "The median of how far the middle (P50) of recent estimates of when jobs start was off; absent before ten have come true.";
    QUEUE_WAITING = "queue.waiting", Gauge, Count, NonNegative, ["queue", "share", "reason" = WaitReason], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Jobs that wait, by reason, one each.";
    QUEUE_WAITING_TIME = "queue.waiting.time", Counter, Seconds, NonNegative, ["queue", "share", "reason" = WaitReason], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "Job-seconds of waiting, by reason.";
    QUEUE_WAITING_GPU_TIME = "queue.waiting.gpu_time", Counter, GpuSeconds, NonNegative, ["queue", "share", "reason" = WaitReason], Experimental,
        about WaitingJobs, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds that waiting jobs asked for in vain, by reason.";
    JOB_STARTUP = "job.startup", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "From SCHEDULED to RUNNING: capacity search, download and container start.";
    JOB_RUN = "job.run", Distribution, Seconds, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "From RUNNING to the end of the attempt.";

    // -- Shares
    SHARE_QUOTA = "share.quota", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances that are the share's own.";
    SHARE_USED = "share.used", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances that the share's in-flight jobs hold.";
    SHARE_BORROWED = "share.borrowed", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances that the share uses beyond its quota.";
    SHARE_LENT = "share.lent", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Instances of the share's quota that other shares use.";
    SHARE_IDLE = "share.idle", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Instances of the share's quota that no job uses.";
    SHARE_MOST = "share.most", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "The most instances that the share may use, borrowed ones included; absent where nothing limits it.";
    SHARE_LARGEST_JOB = "share.largest_job", Gauge, Instances, NonNegative, ["queue", "share", "instance_type"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Instances of the largest job that can ever run in the share.";
    SHARE_STARVED = "share.starved", Gauge, Seconds, NonNegative, ["queue", "share"], Stable,
        about WaitingJobs, from [Jobs], cloudwatch Sent,
        "For how long the share has been below its quota, or below what it is due in a fair-share queue, while a job of its own that fits in that waits for capacity that others hold; 0 when it is not.";
    SHARE_UNUSED = "share.unused", Gauge, Seconds, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "For how long no job of the share has held an instance, as far as it was watched; 0 while one does.";
    SETUP_FINDINGS = "setup.findings", Gauge, Count, NonNegative, ["queue", "problem" = SetupProblem], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Misconfigurations of the queue, by kind: see `/api/v1/setup`.";
    SHARE_UTILISATION = "share.utilisation", Gauge, Ratio, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "GPUs used over GPUs of quota; above 1 when borrowing.";
    SHARE_TARGET = "share.target", Gauge, Gpus, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPUs that a share identifier of a fair-share queue is due, by the weights of those that have jobs now.";
    SHARE_USED_RECENT = "share.used.recent", Gauge, Gpus, NonNegative, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPUs that a share identifier of a fair-share queue has used recently: an exponentially weighted mean of GPUs in use; its half-life is half the decay window.";
    SHARE_DEVIATION = "share.deviation", Gauge, Gpus, Any, ["queue", "share"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Recent mean of GPUs in use (`share.used.recent`) less what the share is due by weight; negative when it used less.";
    SHARE_TIME = "share.time", Counter, GpuSeconds, NonNegative, ["queue", "share", "part" = SharePart], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds of the share's quota: own, lent, idle and idle_while_waiting sum to it; and borrowed ones beyond it.";
    SHARE_LENDING_TIME = "share.lending.time", Counter, GpuSeconds, NonNegative, ["queue", "lender", "borrower"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds that one share worked on another's quota, in proportion to what each lends and borrows.";

    // -- GPUs
    GPU_CAPACITY = "gpu.capacity", Gauge, Gpus, NonNegative, ["queue"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "GPUs that the queue's service environment allows.";
    GPU_PART = "gpu.part", Gauge, Gpus, NonNegative, ["queue", "part" = GpuPart], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Sent,
        "Where the capacity is now; the parts of a queue sum to its capacity.";
    GPU_UNALLOCATED = "gpu.unallocated", Gauge, Gpus, NonNegative, ["queue", "cause" = UnallocatedCause], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Unallocated GPUs, by the reason why no job has them; the causes sum to the part `unallocated`.";
    GPU_UNALLOCATED_TIME = "gpu.unallocated.time", Counter, GpuSeconds, NonNegative, ["queue", "cause" = UnallocatedCause], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds unallocated, by cause.";
    GPU_TIME = "gpu.time", Counter, GpuSeconds, NonNegative, ["queue", "part" = GpuPart], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Never("the average of GpuPart times the period says the same"),
        "GPU-seconds spent in each part.";
    GPU_COST = "gpu.cost", Counter, Dollars, NonNegative, ["queue", "part" = GpuPart], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Dollars spent in each part, by the configured prices; absent where one is missing.";
    GPU_IDLE_RATIO = "gpu.idle.ratio", Gauge, Ratio, UpToOne, ["queue"], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Sent,
        "GPUs that are not busy (unallocated, starting or running idle) over capacity, unknown ones left out.";
    GPU_UTILISATION = "gpu.utilisation", Gauge, Ratio, UpToOne, ["queue", "share"], Stable,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch Sent,
        "Mean utilisation of the GPUs of running jobs that report any.";

    GPU_DEAD_HOSTS = "gpu.dead_hosts", Gauge, Count, NonNegative, ["queue", "share"], Experimental,
        about IdleGpus, from [Jobs, Utilisation], cloudwatch OnceStable,
        "Hosts that are idle while at least half of the other hosts of the same job are busy.";

    // -- Reserved capacity
    RESERVED_INSTANCES = "reserved.instances", Gauge, Instances, NonNegative, ["kind" = ReservedKind, "instance_type", "state" = ReservedState], Experimental,
        about Other, from [Reserved], cloudwatch OnceStable,
        "Instances of training plans and warm pools: in_use, idle and unavailable sum to all of a kind. A warm pool that a job has taken is that job's. Only with `reserved` in a target.";
    RESERVED_TIME = "reserved.gpu_time", Counter, GpuSeconds, NonNegative, ["kind" = ReservedKind, "instance_type", "state" = ReservedState], Experimental,
        about Other, from [Reserved], cloudwatch OnceStable,
        "GPU-seconds of training plans and warm pools in each state.";
    RESERVED_COST = "reserved.cost", Counter, Dollars, NonNegative, ["kind" = ReservedKind, "instance_type", "state" = ReservedState], Experimental,
        about Other, from [Reserved], cloudwatch OnceStable,
        "Dollars spent in each state, by the configured prices; absent where there is none.";

    // -- The account outside the queues
    ACCOUNT_LIMIT = "account.limit", Gauge, Instances, NonNegative, ["instance_type"], Experimental,
        about Other, from [Account], cloudwatch OnceStable,
        "Instances that the account may run for training jobs at a time. Only with `quotas` in a target.";
    ACCOUNT_OUTSIDE = "account.outside", Gauge, Instances, NonNegative, ["instance_type"], Experimental,
        about Other, from [Account], cloudwatch OnceStable,
        "Instances of training jobs that belong to none of the watched queues, without spot instances and training plans, which have limits of their own; absent while it is not known of all. Only with `quotas` in a target.";

    // -- Outcomes
    JOB_ENDED = "job.ended", Counter, Count, NonNegative, ["queue", "share", "outcome" = JobOutcome], Stable,
        about EndedJobs, from [Jobs], cloudwatch Sent,
        "Jobs that ended, by outcome.";
    JOB_FAILURES = "job.failures", Counter, Count, NonNegative, ["queue", "share", "category" = FailureCategory], Stable,
        about EndedJobs, from [Jobs], cloudwatch Sent,
        "Jobs that failed, by category.";
    JOB_FAILURE_RATIO = "job.failure_ratio", Gauge, Ratio, UpToOne, ["queue", "share"], Stable,
        about EndedJobs, from [Jobs], cloudwatch Sent,
        "Failed over ended jobs of the last hour; absent below 10 ended jobs.";
    JOB_PREEMPTIONS = "job.preemptions", Counter, Count, NonNegative, ["queue", "share"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "Attempts that were stopped to give their capacity to other jobs.";
    JOB_LOST = "job.lost", Counter, GpuSeconds, NonNegative, ["queue", "share", "cause"], Stable,
        about Other, from [Jobs], cloudwatch Sent,
        "GPU-seconds of attempts that ended without success, by cause (preempted, failed).";
    JOB_LOST_CHECKPOINTED = "job.lost.checkpointed", Counter, GpuSeconds, NonNegative, ["queue", "share", "checkpoints" = Checkpoints], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "GPU-seconds that preemption would have cost had every job made a checkpoint every 10m, 30m or 1h.";

    // -- The service itself
    TARGET_ANSWERING = "target.answering", Gauge, Count, NonNegative, ["target"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 if the target's queues and the jobs of at least one of them could be listed, else 0.";
    SOURCE_AGE = "source.age", Gauge, Seconds, NonNegative, ["source" = Source], Stable,
        about Other, from [], cloudwatch Sent,
        "Age of the oldest data that figures rest on, by source.";
    SOURCE_CALLS = "source.calls", Counter, Count, NonNegative, ["service", "operation", "outcome"], Stable,
        about Other, from [], cloudwatch Never("one series per operation and outcome, for debugging; SourceFailures is alarmed on"),
        "AWS API calls, retries counted one by one.";
    SOURCE_FAILURES = "source.failures", Counter, Count, NonNegative, ["source" = Source], Stable,
        about Other, from [], cloudwatch Sent,
        "Polls of a source that failed, wholly or in part.";
    SOURCE_UNKNOWN = "source.unknown_values", Counter, Count, NonNegative, ["kind", "value"], Stable,
        about Other, from [], cloudwatch Never("one series per unknown value; the log names them too"),
        "Values from AWS that this build does not know.";
    CLOCK_SKEW = "clock.skew", Gauge, Seconds, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "By how much at least this machine's clock is ahead of AWS's or behind it, by the dates of AWS's answers; 0 while no difference can be measured. The service uses AWS's time.";
    POLL_INTERVAL = "poll.interval", Gauge, Seconds, NonNegative, [], Stable,
        about Other, from [], cloudwatch Sent,
        "Time between the last two polls: longer than configured when the service is throttled or the clock runs fast.";
    LEDGER_JOBS = "ledger.jobs", Gauge, Count, NonNegative, [], Stable,
        about Other, from [], cloudwatch Sent,
        "Jobs the service keeps in memory.";
    LEDGER_CORRECTIONS = "ledger.corrections", Counter, Count, NonNegative, [], Stable,
        about Other, from [], cloudwatch Sent,
        "Jobs whose recorded state a full sweep found wrong.";
    LEDGER_UNVERIFIED = "ledger.unverified", Gauge, Count, NonNegative, ["queue"], Experimental,
        about Other, from [Jobs], cloudwatch OnceStable,
        "Waiting jobs not seen since the last full sweep, or not since a restart: some may have been cancelled.";
    PUBLISH_SERIES = "publish.series", Gauge, Count, NonNegative, ["sink"], Stable,
        about Other, from [], cloudwatch Sent,
        "Series in the last batch sent to each sink.";
    PUBLISH_FAILURES = "publish.failures", Counter, Count, NonNegative, ["sink"], Stable,
        about Other, from [], cloudwatch Sent,
        "Batches that a sink rejected or did not receive.";
    PUBLISH_REFUSED = "publish.refused", Counter, Count, NonNegative, ["sink"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Data points that a sink refused, wholly or in part of a batch, and that are not sent again.";
    PUBLISH_LEFT_OUT = "publish.left_out", Gauge, Count, NonNegative, ["sink", "metric"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Series that are not sent because of `publish.cloudwatch.budget`, by metric.";
    SERVICE_COST = "service.cost", Gauge, Dollars, NonNegative, ["destination"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "What the service itself costs in a month of 730 hours at its present usage, in US dollars of the price table: see `trainspotter cost`.";
    ALERTS = "alerts", Gauge, Count, NonNegative, ["state" = AlertState], Stable,
        about Other, from [], cloudwatch Sent,
        "Alert instances by state.";
    ALERTS_ACTIVE = "alerts.active", Gauge, Count, NonNegative, ["alertname", "severity", "state" = AlertState, "queue", "share", "subject"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 for each alert that is pending or firing, by what it is about; `subject` holds the labels beyond queue and share. As of the evaluation before; 500 at most.";
    RULE_FAILURES = "rule.failures", Counter, Count, NonNegative, ["rule"], Stable,
        about Other, from [], cloudwatch Sent,
        "Evaluations of a rule that failed, such as a template that does not render.";
    RULES_BROKEN = "rules.broken", Gauge, Count, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 while the rule files have mistakes and the rules from before them are evaluated, else 0.";
    NOTIFY_PENDING = "notify.pending", Gauge, Count, NonNegative, ["receiver"], Stable,
        about Other, from [], cloudwatch Sent,
        "Notifications that wait for delivery.";
    NOTIFY_OLDEST = "notify.oldest", Gauge, Seconds, NonNegative, ["receiver"], Stable,
        about Other, from [], cloudwatch Sent,
        "Age of the oldest undelivered notification; 0 when there is none.";
    NOTIFY_DELIVERIES = "notify.deliveries", Counter, Count, NonNegative, ["receiver", "outcome"], Stable,
        about Other, from [], cloudwatch Never("one series per receiver and outcome; NotifyOldest is alarmed on"),
        "Delivery attempts, by outcome.";
    API_REFUSED = "api.refused", Counter, Count, NonNegative, ["cause"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Requests to the API that were refused for their token, by cause: `wrong_token`, or `too_many` where their address had sent too many wrong ones.";
    LIMIT_HITS = "limit.hits", Counter, Count, NonNegative, ["limit"], Stable,
        about Other, from [], cloudwatch Sent,
        "Times a built-in limit left something out.";
    STORE_TROUBLE = "store.trouble", Gauge, Count, NonNegative, ["kind"], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "1 while the state file cannot be used and the state is in memory only (`unwritable`), or if it, or rows of it, were broken and set aside since the service started (`set_aside`), else 0.";
    STORE_SIZE = "store.size", Gauge, Bytes, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Size of the state file.";
    ARCHIVE_PENDING = "archive.pending", Gauge, Count, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Rows of jobs and hours that wait in the state file to be archived, those of the current day included. Only with `archive`.";
    ARCHIVE_OLDEST = "archive.oldest", Gauge, Seconds, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "For how long the oldest day that is over has been due to be archived; 0 when none is. Only with `archive`.";
    ARCHIVE_FAILURES = "archive.failures", Counter, Count, NonNegative, [], Experimental,
        about Other, from [], cloudwatch OnceStable,
        "Attempts to write a day to the archive that failed. Only with `archive`.";
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
