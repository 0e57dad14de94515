//! An answer as it is shown: before and after, share by share and queue by queue.

use serde::Serialize;

use crate::model::{QueueName, ShareName, Timestamp};
use crate::whatif::Answer;
use crate::whatif::change::Change;
use crate::whatif::outcome::{Outcome, QueueOutcome, ShareOutcome};
use crate::whatif::past::Past;
use crate::whatif::repeated;

/// What a change would have done.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The first submission that is replayed.
    pub from: Timestamp,
    /// Until when it is replayed.
    pub to: Timestamp,
    /// Jobs that are replayed.
    pub jobs: usize,
    /// The changes, as they were written.
    pub changes: Vec<String>,
    /// What is to be known of the past, a sentence each.
    pub notes: Vec<String>,
    /// By queue and share.
    pub shares: Vec<ShareReport>,
    /// By queue.
    pub queues: Vec<QueueReport>,
}

/// Waits of one share, in seconds; `null` where none started.
#[derive(Clone, Debug, Serialize)]
pub struct ShareReport {
    /// Of which queue.
    pub queue: QueueName,
    /// Of which share.
    pub share: Option<ShareName>,
    /// Jobs that were submitted.
    pub jobs: usize,
    /// As they were recorded.
    pub happened: Option<Waits>,
    /// In the replay of what was.
    pub before: Waits,
    /// In the replay with the changes.
    pub after: Waits,
    /// By how much the p95 after may be off: as the replay of what was misses the recorded one, or as replays of the change differ, whichever is more.
    pub p95_error_seconds: Option<f64>,
}

/// Waits of a share in one replay.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Waits {
    /// Jobs that started.
    pub started: usize,
    /// Half of them waited no longer.
    pub p50_seconds: Option<f64>,
    /// Nine in ten.
    pub p90_seconds: Option<f64>,
    /// Nineteen in twenty.
    pub p95_seconds: Option<f64>,
    /// The mean.
    pub mean_seconds: Option<f64>,
}

/// What a queue does with its capacity.
#[derive(Clone, Debug, Serialize)]
pub struct QueueReport {
    /// Which queue.
    pub queue: QueueName,
    /// As it was recorded.
    pub happened: Option<UseReport>,
    /// In the replay of what was.
    pub before: UseReport,
    /// In the replay with the changes.
    pub after: UseReport,
}

/// Use of a queue's capacity in one replay; dollars are `null` where a price is not known.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UseReport {
    /// From 0 to 1.
    pub utilisation: Option<f64>,
    /// How often jobs were preempted.
    pub preemptions: usize,
    /// What that lost.
    pub lost_instance_hours: f64,
    /// In dollars.
    pub lost_dollars: Option<f64>,
    /// What the capacity costs over the time.
    pub capacity_dollars: Option<f64>,
}

impl Report {
    /// Of an answer about a past.
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
            notes.push(
                "The past says how long jobs take and not when they started: how far the replay is off is not known."
                    .to_owned(),
            );
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
