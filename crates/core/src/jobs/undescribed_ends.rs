//! Ends that a list reported while nobody knows what came before them: an attempt may have been preempted meanwhile, or have failed.
//!
//! Such an end is taken in with its description, which lists the attempts; or as the list shows it, where none comes. So is what a list
//! that is behind an earlier run tells of a job: the description says where the job is.

use std::collections::BTreeMap;

use crate::jobs::Moment;
use crate::jobs::job::DESCRIPTION_AWAITED;
use crate::model::{JobId, JobSeen, QueueName, Timestamp};

/// Invariant: none of these ends is known to the rest of the ledger.
#[derive(Debug, Default)]
pub(super) struct UndescribedEnds(BTreeMap<JobId, (Moment, JobSeen)>);

impl UndescribedEnds {
    /// Keeps an answer asked for at that moment, unless there is one.
    pub(super) fn keep(&mut self, seen: JobSeen, at: Moment) {
        self.0.entry(seen.id.clone()).or_insert((at, seen));
    }

    /// Gives up an answer, because there is a better one.
    pub(super) fn take(&mut self, id: &JobId) -> Option<(Moment, JobSeen)> {
        if self.0.is_empty() { None } else { self.0.remove(id) }
    }

    /// Gives up the answers for which no description came in time, and when they were asked for.
    pub(super) fn take_late(&mut self, now: Timestamp) -> Vec<(Moment, JobSeen)> {
        let is_late = |_: &JobId, (at, _): &mut (Moment, JobSeen)| now.since(at.earliest) > DESCRIPTION_AWAITED;
        self.0.extract_if(.., is_late).map(|(_, late)| late).collect()
    }

    pub(super) fn contains(&self, id: &JobId) -> bool {
        self.0.contains_key(id)
    }

    /// The jobs, to be described.
    pub(super) fn ids(&self) -> impl Iterator<Item = &JobId> {
        self.0.keys()
    }

    /// When the oldest of the jobs was created: all that happened to it may have happened since.
    pub(super) fn created_since(&self) -> Option<Timestamp> {
        self.0.values().map(|(_, seen)| seen.created_at).min()
    }

    /// The same of one queue.
    pub(super) fn created_since_in(&self, queue: &QueueName) -> Option<Timestamp> {
        self.0.values().filter(|(_, seen)| seen.queue == *queue).map(|(_, seen)| seen.created_at).min()
    }
}
