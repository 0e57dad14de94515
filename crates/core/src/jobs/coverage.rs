//! Time up to which the lists of a queue are complete, and the jobs that were missing in them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::jobs::Job;
use crate::model::{JobId, Timestamp};

/// Completeness of the knowledge of a queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    pub(super) newest_created_at: Option<Timestamp>,
    pub(super) in_flight_since: Option<Timestamp>,
    pub(super) waiting_since: Option<Timestamp>,
    /// Waiting jobs at the last full listing, an estimate of the cost of the next one.
    pub(super) waiting_then: usize,
    /// Jobs that were missing in a full listing of their last known status.
    pub(super) left: BTreeSet<JobId>,
    /// Those of them that were not described or seen before all lists of a poll were complete, and when that poll began.
    pub(super) missing: BTreeMap<JobId, Timestamp>,
    /// Jobs kept in full, by the minute in which they were created.
    pub(super) created: BTreeMap<i64, usize>,
    /// The newest job at the last poll with complete lists: every job created before it has been listed.
    pub(super) arrivals_until: Option<Timestamp>,
    /// Ended jobs created before this may be missing in `created`.
    pub(super) counted_from: Option<Timestamp>,
    /// Waiting jobs seen by an earlier run but not by this one.
    pub(super) unverified: usize,
}

/// The part saved across restarts.
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
    /// Resumes from saved state. Jobs created since then must be listed.
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

    /// The state to save, if jobs created from `owed_from` on must be listed again; `None` before the first complete
    /// poll.
    pub(super) fn saved(&self, owed_from: Option<Timestamp>) -> Option<SavedCoverage> {
        let until = self.arrivals_until?;
        Some(SavedCoverage {
            arrivals_until: owed_from.map_or(until, |from| from.min(until)),
            in_flight_since: self.in_flight_since,
            waiting_since: self.waiting_since,
            waiting_then: self.waiting_then,
        })
    }

    /// Creation time from which on jobs may not have been listed; `None` before the first complete list.
    pub(super) fn arrivals_from(&self) -> Option<Timestamp> {
        // A single known job may be newer than others that were not listed yet.
        self.arrivals_until.or(self.newest_created_at.max(self.waiting_since))
    }

    /// All lists of a poll are complete.
    pub(super) fn polled(&mut self) {
        self.arrivals_until = self.newest_created_at.or(self.waiting_since);
    }

    /// Corrects times saved with a clock ahead of `now`.
    pub(super) fn correct_future(&mut self, now: Timestamp) {
        for at in [&mut self.in_flight_since, &mut self.waiting_since, &mut self.arrivals_until] {
            *at = at.map(|at| at.min(now));
        }
    }

    /// Lower bound of when a job outside [`left`](Self::left) was last seen: the last full listing of its status.
    pub(super) fn seen_at_least(&self, job: &Job) -> Option<Timestamp> {
        let status = job.status();
        if status.is_in_flight() { self.in_flight_since } else { self.waiting_since.filter(|_| status.is_waiting()) }
    }

    /// Whether a job was missing in a full listing of its last known status.
    fn has_missed(&self, job: &Job) -> bool {
        self.seen_at_least(job).is_some_and(|since| job.seen_at < since)
    }

    /// Updates whether a job is missing in complete lists. Returns whether that changed.
    pub(super) fn judge(&mut self, job: &Job) -> bool {
        if self.has_missed(job) { self.left.insert(job.latest.id.clone()) } else { self.found(&job.latest.id) }
    }

    /// A job is where it was, or has ended. Says whether it was missing in a list.
    pub(super) fn found(&mut self, id: &JobId) -> bool {
        self.missing.remove(id);
        !self.left.is_empty() && self.left.remove(id)
    }

    /// Adds jobs missing in a list. Returns those that were not missing before.
    pub(super) fn miss(&mut self, missed: Vec<JobId>) -> Vec<JobId> {
        missed.into_iter().filter(|id| self.left.insert(id.clone())).collect()
    }

    /// A job was seen, or is known to be gone. Returns whether only an earlier run had seen it.
    pub(super) fn verified(&mut self, job: &mut Job) -> bool {
        let was_unverified = std::mem::take(&mut job.is_unverified);
        if was_unverified && job.status().is_waiting() && !self.left.contains(&job.latest.id) {
            self.unverified = self.unverified.saturating_sub(1);
        }
        was_unverified
    }

    /// Counts a job that is kept in full.
    pub(super) fn count(&mut self, job: &Job) {
        *self.created.entry(minute(job.latest.created_at)).or_default() += 1;
    }

    /// Removes a job that is no longer kept in full.
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
