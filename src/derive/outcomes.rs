//! Which share of the jobs that ended lately failed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{QueueName, ShareName, Timestamp};

/// How far back the failure ratio looks.
pub const WINDOW: Duration = Duration::from_secs(3600);

/// Below this many ended jobs in the window there is no ratio: one failure of two says nothing.
pub const FEWEST: usize = 10;

/// Outcomes remembered per share at most: the oldest go first.
const KEPT: usize = 10_000;

/// Recent outcomes of every share.
#[derive(Debug, Default)]
pub struct Outcomes {
    by_share: BTreeMap<(QueueName, ShareName), VecDeque<(Timestamp, bool)>>,
}

impl Outcomes {
    /// A job of a share ended.
    pub fn record(&mut self, queue: &QueueName, share: &ShareName, at: Timestamp, failed: bool) {
        let recent = self.by_share.entry((queue.clone(), share.clone())).or_default();
        recent.push_back((at, failed));
        if recent.len() > KEPT {
            recent.pop_front();
        }
    }

    /// Failed over ended, for shares with at least [`FEWEST`] ended jobs in the window.
    pub fn failure_ratios(&mut self, now: Timestamp) -> Vec<(&QueueName, &ShareName, f64)> {
        for recent in self.by_share.values_mut() {
            recent.retain(|(at, _)| now.since(*at) <= WINDOW);
        }
        self.by_share
            .iter()
            .filter(|(_, recent)| recent.len() >= FEWEST)
            .map(|((queue, share), recent)| {
                let failed = recent.iter().filter(|(_, failed)| *failed).count();
                (queue, share, failed as f64 / recent.len() as f64)
            })
            .collect()
    }
}
