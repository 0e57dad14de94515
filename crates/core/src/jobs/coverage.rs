//! Up to when the lists of a queue are known to be complete, and which jobs were missing in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::jobs::Job;
use crate::model::{JobId, Timestamp};

/// What is known of the completeness of what is known of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    pub(super) newest_created_at: Option<Timestamp>,
    pub(super) in_flight_since: Option<Timestamp>,
    pub(super) waiting_since: Option<Timestamp>,
    /// Waiting jobs at the last full listing: what the next one will cost.
    pub(super) waiting_then: usize,
    /// Jobs that were missing in a full listing of where they were last seen.
    pub(super) left: BTreeSet<JobId>,
    /// Jobs kept in full, by the minute in which they were created.
    pub(super) created: BTreeMap<i64, usize>,
    /// The newest job when all lists of a poll were complete last: what was created before it was listed, whatever became of it.
    pub(super) arrivals_until: Option<Timestamp>,
    /// Of what was created before, ended jobs may be missing in `created`.
    pub(super) counted_from: Option<Timestamp>,
    /// Waiting jobs that an earlier run has seen and this one has not.
    pub(super) unverified: usize,
}

/// What is kept of it over a restart.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedCoverage {
    pub(super) arrivals_until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) in_flight_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) waiting_since: Option<Timestamp>,
    #[serde(default)]
    pub(super) waiting_then: usize,
}

impl Coverage {
    /// Goes on from what was saved. What was created since then has to be listed.
    pub(super) fn restored(saved: &SavedCoverage) -> Self {
        Self {
            newest_created_at: Some(saved.arrivals_until),
            in_flight_since: saved.in_flight_since,
            waiting_since: saved.waiting_since,
            waiting_then: saved.waiting_then,
            arrivals_until: Some(saved.arrivals_until),
            counted_from: Some(saved.arrivals_until),
            ..Self::default()
        }
    }

    /// What is to be kept over a restart, if jobs created from `owed_from` on have to be listed again; `None` before the first complete poll.
    pub(super) fn saved(&self, owed_from: Option<Timestamp>) -> Option<SavedCoverage> {
        let until = self.arrivals_until?;
        Some(SavedCoverage {
            arrivals_until: owed_from.map_or(until, |from| from.min(until)),
            in_flight_since: self.in_flight_since,
            waiting_since: self.waiting_since,
            waiting_then: self.waiting_then,
        })
    }

    /// From which moment on jobs were created that may not have been listed; `None` if no list was complete yet.
    pub(super) fn arrivals_from(&self) -> Option<Timestamp> {
        // A single job may be known of that is newer than others which were not listed yet.
        self.arrivals_until.or(self.newest_created_at.max(self.waiting_since))
    }

    /// All lists of a poll are complete.
    pub(super) fn polled(&mut self) {
        self.arrivals_until = self.newest_created_at.or(self.waiting_since);
    }

    /// What was saved by a clock that was ahead of `now`.
    pub(super) fn correct_future(&mut self, now: Timestamp) {
        for at in [&mut self.in_flight_since, &mut self.waiting_since, &mut self.arrivals_until] {
            *at = at.map(|at| at.min(now));
        }
    }

    /// When a job that is not among those that [left](Self::left) was seen at least: where it was then all were listed.
    pub(super) fn seen_at_least(&self, job: &Job) -> Option<Timestamp> {
        let status = job.status();
        if status.is_in_flight() { self.in_flight_since } else { self.waiting_since.filter(|_| status.is_waiting()) }
    }

    /// Whether a job was missing in a full listing of where it was last seen.
    fn has_missed(&self, job: &Job) -> bool {
        self.seen_at_least(job).is_some_and(|since| job.seen_at < since)
    }

    /// Takes in whether a job is where the lists are complete. Says whether that is new.
    pub(super) fn judge(&mut self, job: &Job) -> bool {
        if self.has_missed(job) {
            self.left.insert(job.latest.id.clone())
        } else {
            !self.left.is_empty() && self.left.remove(&job.latest.id)
        }
    }

    /// Takes in jobs that are missing in a list. Says which of them were not missing before.
    pub(super) fn miss(&mut self, missed: Vec<JobId>) -> Vec<JobId> {
        missed.into_iter().filter(|id| self.left.insert(id.clone())).collect()
    }

    /// A job is seen, or known to be gone. Says whether only an earlier run had seen it.
    pub(super) fn verified(&mut self, job: &mut Job) -> bool {
        let was_unverified = std::mem::take(&mut job.is_unverified);
        if was_unverified && job.status().is_waiting() && !self.left.contains(&job.latest.id) {
            self.unverified = self.unverified.saturating_sub(1);
        }
        was_unverified
    }

    /// A job is kept in full.
    pub(super) fn count(&mut self, job: &Job) {
        *self.created.entry(minute(job.latest.created_at)).or_default() += 1;
    }

    /// A job is no longer kept in full.
    pub(super) fn forget(&mut self, created_at: Timestamp) {
        let minute = minute(created_at);
        if let Some(count) = self.created.get_mut(&minute) {
            *count -= 1;
            if *count == 0 {
                self.created.remove(&minute);
            }
        }
    }
}

pub(super) fn minute(at: Timestamp) -> i64 {
    at.millis().div_euclid(60_000)
}
