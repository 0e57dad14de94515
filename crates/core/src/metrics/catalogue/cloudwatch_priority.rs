//! The metrics sent to CloudWatch as custom metrics, most useful first; a budget keeps the first ones.
//!
//! First those that people are paged for and that show the service's own health, then the use of GPUs, then the
//! rest by information per series. Metrics with a series per share and state come last, since they cost most.

use crate::metrics::catalogue::{
    ALERTS, GPU_CAPACITY, GPU_IDLE_RATIO, GPU_PART, GPU_UNALLOCATED, GPU_UTILISATION, JOB_ENDED, JOB_FAILURE_RATIO,
    JOB_FAILURES, JOB_LOST, JOB_PREEMPTIONS, JOB_RUN, JOB_STARTUP, LEDGER_CORRECTIONS, LEDGER_JOBS, LIMIT_HITS, Metric,
    NOTIFY_OLDEST, NOTIFY_PENDING, POLL_INTERVAL, PUBLISH_FAILURES, PUBLISH_SERIES, QUEUE_DEMAND, QUEUE_DEMAND_LARGEST,
    QUEUE_JOBS, QUEUE_WAIT, QUEUE_WAIT_OLDEST, QUEUE_WAIT_REQUEUE, RULE_FAILURES, SHARE_BORROWED, SHARE_LENT,
    SHARE_QUOTA, SHARE_STARVED, SHARE_USED, SHARE_UTILISATION, SOURCE_AGE, SOURCE_FAILURES,
};

/// All metrics sent to CloudWatch as custom metrics, most useful first.
pub static BY_USE: &[&Metric] = &[
    &QUEUE_WAIT_OLDEST,
    &SOURCE_AGE,
    &ALERTS,
    &NOTIFY_OLDEST,
    &GPU_IDLE_RATIO,
    &JOB_FAILURES,
    &QUEUE_WAIT,
    &GPU_PART,
    &GPU_CAPACITY,
    &QUEUE_DEMAND,
    &SHARE_UTILISATION,
    &SOURCE_FAILURES,
    &JOB_PREEMPTIONS,
    &JOB_FAILURE_RATIO,
    &GPU_UTILISATION,
    &GPU_UNALLOCATED,
    &SHARE_STARVED,
    &JOB_LOST,
    &SHARE_BORROWED,
    &SHARE_LENT,
    &SHARE_USED,
    &SHARE_QUOTA,
    &JOB_STARTUP,
    &JOB_RUN,
    &QUEUE_WAIT_REQUEUE,
    &QUEUE_DEMAND_LARGEST,
    &JOB_ENDED,
    &PUBLISH_FAILURES,
    &RULE_FAILURES,
    &LIMIT_HITS,
    &NOTIFY_PENDING,
    &POLL_INTERVAL,
    &LEDGER_JOBS,
    &LEDGER_CORRECTIONS,
    &PUBLISH_SERIES,
    &QUEUE_JOBS,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metrics::catalogue::ALL;

    #[test]
    fn what_is_sent_has_its_place_once() {
        let sent: BTreeSet<&str> =
            ALL.iter().filter(|metric| metric.is_in_cloudwatch()).map(|metric| metric.name).collect();
        let ranked: BTreeSet<&str> = BY_USE.iter().map(|metric| metric.name).collect();
        assert_eq!(ranked, sent);
        assert_eq!(BY_USE.len(), sent.len());
    }
}
