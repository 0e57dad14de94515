//! Listed ends that unknown attempts may have preceded: an attempt may have been preempted or have failed since.
//!
//! Such an end is applied with its description, which lists the attempts; or as listed, if no description arrives.
//! The same applies to a list that is older than an earlier run's knowledge: the description shows the current
//! status.

use std::collections::BTreeMap;

use crate::jobs::Moment;
use crate::jobs::job::DESCRIPTION_AWAITED;
use crate::model::{JobId, JobSeen, QueueName, Timestamp};

/// Invariant: of these ends the rest of the ledger knows nothing but that a job it knows has [left](crate::jobs::Job::has_left).
#[derive(Debug, Default)]
pub(super) struct UndescribedEnds(BTreeMap<JobId, (Moment, JobSeen)>);

impl UndescribedEnds {
    /// Stores a response requested at that time, unless there is one already.
    pub(super) fn keep(&mut self, seen: JobSeen, at: Moment) {
        self.0.entry(seen.id.clone()).or_insert((at, seen));
    }

    /// Removes a response that is superseded.
    pub(super) fn take(&mut self, id: &JobId) -> Option<(Moment, JobSeen)> {
        if self.0.is_empty() { None } else { self.0.remove(id) }
    }

    /// Removes the responses whose descriptions did not arrive in time, with their request times.
    pub(super) fn take_late(&mut self, now: Timestamp) -> Vec<(Moment, JobSeen)> {
        let is_late = |_: &JobId, (at, _): &mut (Moment, JobSeen)| now.since(at.earliest) > DESCRIPTION_AWAITED;
        self.0.extract_if(.., is_late).map(|(_, late)| late).collect()
    }

    pub(super) fn contains(&self, id: &JobId) -> bool {
        self.0.contains_key(id)
    }

    /// The end of a job that is kept, and when it was asked for.
    pub(super) fn end_of(&self, id: &JobId) -> Option<(Timestamp, &JobSeen)> {
        self.0.get(id).filter(|(_, seen)| seen.status.is_ended()).map(|(at, seen)| (at.earliest, seen))
    }

    /// The ends of the jobs of a queue.
    pub(super) fn of_queue(&self, queue: QueueName) -> impl Iterator<Item = &JobSeen> {
        let all = self.0.values().map(|(_, seen)| seen);
        all.filter(move |seen| seen.status.is_ended() && seen.queue == queue)
    }

    /// All jobs that have ended.
    pub(super) fn ended(&self) -> impl Iterator<Item = &JobSeen> {
        self.0.values().map(|(_, seen)| seen).filter(|seen| seen.status.is_ended())
    }

    /// When each answer was asked for.
    pub(super) fn kept_since(&self) -> impl Iterator<Item = Timestamp> {
        self.0.values().map(|(at, _)| at.earliest)
    }

    /// The jobs, to be described.
    pub(super) fn ids(&self) -> impl Iterator<Item = &JobId> {
        self.0.keys()
    }

    /// Creation time of the oldest of the jobs: anything that happened to it may have happened since then.
    pub(super) fn created_since(&self) -> Option<Timestamp> {
        self.0.values().map(|(_, seen)| seen.created_at).min()
    }

    /// As above, for one queue.
    pub(super) fn created_since_in(&self, queue: &QueueName) -> Option<Timestamp> {
        self.0.values().filter(|(_, seen)| seen.queue == *queue).map(|(_, seen)| seen.created_at).min()
    }
}
