//! Failure ratio: fraction of recently ended jobs that failed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{QueueName, ShareName, Timestamp};

/// Window of the failure ratio.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// Minimum ended jobs in the window: one failure of two means nothing.
pub const FEWEST: usize = 10;

/// Maximum outcomes remembered per share: the oldest are dropped first.
const KEPT: usize = 10_000;

/// Recent outcomes of every share.
#[derive(Debug, Default)]
pub struct Outcomes {
    by_share: BTreeMap<(QueueName, ShareName), Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// End time of each job and whether it failed, ordered by time.
    ended: VecDeque<(Timestamp, bool)>,
    failed: usize,
}

impl Outcomes {
    /// Records the end of a share's job.
    pub fn record(&mut self, queue: &QueueName, share: &ShareName, at: Timestamp, failed: bool) {
        let recent = self.by_share.entry((queue.clone(), share.clone())).or_default();
        // Almost always at the end.
        let place = recent.ended.partition_point(|(other, _)| *other <= at);
        recent.ended.insert(place, (at, failed));
        recent.failed += usize::from(failed);
        if recent.ended.len() > KEPT {
            recent.drop_oldest();
        }
    }

    /// Keeps the outcomes of the queues for which `is_watched` holds.
    pub fn watch(&mut self, is_watched: impl Fn(&str) -> bool) {
        self.by_share.retain(|(queue, _), _| is_watched(queue.as_str()));
    }

    /// Forgets the outcomes of a share.
    pub fn forget_share(&mut self, queue: &QueueName, share: &ShareName) {
        self.by_share.remove(&(queue.clone(), share.clone()));
    }

    /// Failed jobs divided by ended jobs, for shares with at least [`FEWEST`] ended jobs in the window.
    pub fn failure_ratios(&mut self, now: Timestamp) -> Vec<(&QueueName, &ShareName, f64)> {
        for recent in self.by_share.values_mut() {
            while recent.ended.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
                recent.drop_oldest();
            }
        }
        self.by_share
            .iter()
            .filter(|(_, recent)| recent.ended.len() >= FEWEST)
            .map(|((queue, share), recent)| (queue, share, recent.failed as f64 / recent.ended.len() as f64))
            .collect()
    }
}

impl Recent {
    fn drop_oldest(&mut self) {
        if let Some((_, failed)) = self.ended.pop_front() {
            self.failed -= usize::from(failed);
        }
    }
}
