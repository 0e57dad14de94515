//! Report of an answer: before and after, by share and by queue.

use serde::Serialize;

use crate::model::{QueueName, ShareName, Timestamp};
use crate::what_if::Answer;
use crate::what_if::change::Change;
use crate::what_if::outcome::{Outcome, QueueOutcome, ShareOutcome};
use crate::what_if::past::Past;
use crate::what_if::repeated;

/// Effect of a change.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// First replayed submission.
    pub from: Timestamp,
    /// End of the replayed period.
    pub to: Timestamp,
    /// Replayed jobs.
    pub jobs: usize,
    /// The changes as written.
    pub changes: Vec<String>,
    /// Notes about the past, one sentence each.
    pub notes: Vec<String>,
    /// By queue and share.
    pub shares: Vec<ShareReport>,
    /// By queue.
    pub queues: Vec<QueueReport>,
}

/// Waits of one share, in seconds; `null` where none started.
#[derive(Clone, Debug, Serialize)]
pub struct ShareReport {
    /// Queue.
    pub queue: QueueName,
    /// Share.
    pub share: Option<ShareName>,
    /// Submitted jobs.
    pub jobs: usize,
    /// As recorded.
    pub happened: Option<Waits>,
    /// In the replay without changes.
    pub before: Waits,
    /// In the replay with the changes.
    pub after: Waits,
    /// Uncertainty of the p95 after the change: the error of the replay without changes against the record, or the
    /// spread of replays with the change, whichever is larger.
    pub p95_error_seconds: Option<f64>,
}

/// Waits of a share in one replay.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Waits {
    /// Jobs that started.
    pub started: usize,
    /// Median.
    pub p50_seconds: Option<f64>,
    /// 90th percentile.
    pub p90_seconds: Option<f64>,
    /// 95th percentile.
    pub p95_seconds: Option<f64>,
    /// Mean.
    pub mean_seconds: Option<f64>,
}

/// Capacity usage of a queue.
#[derive(Clone, Debug, Serialize)]
pub struct QueueReport {
    /// Queue.
    pub queue: QueueName,
    /// As recorded.
    pub happened: Option<UseReport>,
    /// In the replay without changes.
    pub before: UseReport,
    /// In the replay with the changes.
    pub after: UseReport,
}

/// Capacity usage of a queue in one replay; dollars are `null` if a price is unknown.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UseReport {
    /// From 0 to 1.
    pub utilisation: Option<f64>,
    /// Number of preemptions.
    pub preemptions: usize,
    /// Instance-hours of preempted attempts.
    pub lost_instance_hours: f64,
    /// Their cost.
    pub lost_dollars: Option<f64>,
    /// Cost of the capacity over the period.
    pub capacity_dollars: Option<f64>,
}

impl Report {
    /// Builds the report of an answer.
    pub fn of(past: &Past, changes: &[Change], answer: &Answer) -> Self {
        let (from, to) = answer.span();
        let happened = |find: &dyn Fn(&Outcome) -> Option<Waits>| answer.happened.as_ref().and_then(find);
        let share_report = |before: &ShareOutcome| {
            let find = |outcome: &Outcome| outcome.share(&before.queue, before.share.as_ref()).map(Waits::of);
            ShareReport {
                queue: before.queue.clone(),
                share: before.share.clone(),
                jobs: before.jobs,
                happened: happened(&find),
                before: Waits::of(before),
                after: find(&answer.after).unwrap_or_else(|| Waits::of(before)),
                p95_error_seconds: answer.p95_error(before),
            }
        };
        let queue_report = |before: &QueueOutcome| {
            let find = |outcome: &Outcome| outcome.queue(&before.queue).map(UseReport::of);
            QueueReport {
                queue: before.queue.clone(),
                happened: answer.happened.as_ref().and_then(find),
                before: UseReport::of(before),
                after: find(&answer.after).unwrap_or_else(|| UseReport::of(before)),
            }
        };
        let mut notes = past.notes.clone();
        notes.extend(repeated::note(past));
        if answer.happened.is_none() {
            notes.push("The data contain run times but no start times: the error of the replay is unknown.".to_owned());
        }
        Self {
            from,
            to,
            jobs: past.jobs.len(),
            changes: changes.iter().map(|change| change.text.clone()).collect(),
            notes,
            shares: answer.before.shares.iter().map(share_report).collect(),
            queues: answer.before.queues.iter().map(queue_report).collect(),
        }
    }
}

impl Waits {
    fn of(outcome: &ShareOutcome) -> Self {
        let ShareOutcome { started, p50, p90, p95, mean, .. } = outcome;
        Self { started: *started, p50_seconds: *p50, p90_seconds: *p90, p95_seconds: *p95, mean_seconds: *mean }
    }
}

impl UseReport {
    fn of(outcome: &QueueOutcome) -> Self {
        Self {
            utilisation: outcome.utilisation,
            preemptions: outcome.preemptions,
            lost_instance_hours: outcome.lost_instance_hours,
            lost_dollars: outcome.lost_dollars,
            capacity_dollars: outcome.capacity_dollars,
        }
    }
}
