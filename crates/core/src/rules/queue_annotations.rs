//! Annotations about the queue of an alert: which queue it is, and why its jobs wait.

use std::collections::BTreeMap;

use crate::metrics::{Frame, Reason};
use crate::model::ShareName;

/// Annotation with the reason why jobs wait.
pub(super) const LIKELY_REASON: &str = "likely_reason";
/// Annotation with the recommended action.
pub(super) const NEXT_STEP: &str = "next_step";

/// Queues of one frame, by name.
pub(super) type QueueWaits = BTreeMap<String, QueueWait>;

/// A queue that an alert may be about.
#[derive(Debug, Default)]
pub(super) struct QueueWait {
    /// Its ARN; empty if unknown.
    pub(super) arn: String,
    /// Waiting jobs by share and reason.
    waiting: Vec<(ShareName, Reason, u64)>,
}

/// The queues of a frame.
pub(super) fn of(frame: &Frame) -> QueueWaits {
    let queue_wait = |arn: &String| QueueWait { arn: arn.clone(), waiting: Vec::new() };
    let mut queues: QueueWaits = frame.queues.iter().map(|row| (row.queue.to_string(), queue_wait(&row.arn))).collect();
    for row in &frame.reasons {
        if let Some(queue) = queues.get_mut(row.queue.as_str()) {
            queue.waiting.push((row.share.clone(), row.reason, row.jobs));
        }
    }
    queues
}

impl QueueWait {
    /// Annotations for the wanted reason that most jobs of the queue, or of one of its shares, wait for: the reason
    /// and the recommended action.
    pub(super) fn likely(&self, share: Option<&String>, wanted: impl Fn(Reason) -> bool) -> BTreeMap<String, String> {
        let mut jobs: BTreeMap<Reason, u64> = BTreeMap::new();
        for (_, reason, count) in
            self.waiting.iter().filter(|(name, ..)| share.is_none_or(|share| name.as_str() == share))
        {
            *jobs.entry(*reason).or_default() += count;
        }
        let all: u64 = jobs.values().sum();
        jobs.retain(|reason, jobs| wanted(*reason) && *jobs > 0);
        let Some((reason, most)) = jobs.into_iter().max_by_key(|(_, jobs)| *jobs) else { return BTreeMap::new() };
        let reported = match (most, all) {
            (1, 1) => format!("the only waiting job waits {}", reason.words()),
            (1, all) => format!("1 of {all} waiting jobs waits {}", reason.words()),
            (most, all) => format!("{most} of {all} waiting jobs wait {}", reason.words()),
        };
        BTreeMap::from([
            (LIKELY_REASON.to_owned(), reported),
            (NEXT_STEP.to_owned(), reason.next_step().trim_end_matches('.').to_owned()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{QueueFigures, ReasonFigures};

    #[test]
    fn most_jobs_give_the_reason_of_the_queue_or_of_the_share() {
        let row = |share: &str, reason, jobs| ReasonFigures {
            queue: "prod".into(),
            share: share.into(),
            reason,
            jobs,
            gpus: 0.0,
        };
        let queue = QueueFigures {
            queue: "prod".into(),
            arn: String::new(),
            policy: "QUOTA_SHARE".into(),
            jobs: BTreeMap::new(),
            oldest_wait_seconds: None,
        };
        let reasons = vec![
            row("a", Reason::ShareAtLimit, 8),
            row("a", Reason::Behind, 2),
            row("b", Reason::Behind, 7),
            row("elsewhere", Reason::Disabled, 0),
        ];
        let around = of(&Frame { queues: vec![queue], reasons, ..Frame::default() });
        let likely = |share: Option<&str>| around["prod"].likely(share.map(str::to_owned).as_ref(), |_| true);
        assert_eq!(likely(None)["likely_reason"], "9 of 17 waiting jobs wait behind other jobs");
        assert_eq!(likely(Some("a"))["likely_reason"], "8 of 10 waiting jobs wait with the share at its limit");
        assert_eq!(likely(Some("a"))["next_step"], "wait for the share's own jobs to end, or raise its quota");
        assert!(likely(Some("c")).is_empty(), "nobody waits there");
        let of_reason = around["prod"].likely(None, |reason| reason == Reason::ShareAtLimit);
        assert_eq!(of_reason["likely_reason"], "8 of 17 waiting jobs wait with the share at its limit");
    }
}
