//! Up to when what is known of a queue is complete, and which jobs a full listing has missed.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::job::Job;
use crate::model::{JobId, Timestamp};

/// Up to when a queue's lists are known to be complete.
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
}

impl Coverage {
    /// Whether a job was missing in a full listing of where it was last seen.
    fn has_missed(&self, job: &Job) -> bool {
        let missed_by = |listed: Option<Timestamp>| listed.is_some_and(|since| job.seen_at < since);
        (job.status().is_in_flight() && missed_by(self.in_flight_since))
            || (job.status().is_waiting() && missed_by(self.waiting_since))
    }

    /// Takes in where a job was seen.
    pub(super) fn judge(&mut self, job: &Job) {
        if self.has_missed(job) {
            self.left.insert(job.latest.id.clone());
        } else if !self.left.is_empty() {
            self.left.remove(&job.latest.id);
        }
    }

    /// Forgets a job that is not kept in full any more.
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

/// The minute in which a job was created.
pub(super) fn minute(at: Timestamp) -> i64 {
    at.millis().div_euclid(60_000)
}
