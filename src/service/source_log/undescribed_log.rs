//! Logs jobs and training jobs that AWS does not describe: one line when it refuses one, one when it refuses it for another
//! reason, one when it describes it after all.

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::model::{JobId, JobSeen, Timestamp, TrainingJobName, Undescribed, format};

/// Maximum items logged at a time. The page *Health* names others.
const MAX_LOGGED: usize = 100;

/// Refused items are requested again every hour; one that was not refused for so long is not requested any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(2 * 3_600);

/// Refused items whose refusal was logged.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    logged: BTreeMap<Undescribed, Logged>,
    /// Whether it was logged that there are more.
    has_more: bool,
}

#[derive(Debug)]
struct Logged {
    since: Timestamp,
    /// Time of the last refusal.
    at: Timestamp,
    /// Without parts that differ from call to call.
    reason: String,
}

impl RefusalLog {
    /// AWS refused to describe an item. `reason` is the error without parts that differ from call to call.
    pub(super) fn refused(&mut self, item: &Undescribed, at: Timestamp, reason: &str, error: &str) {
        if let Some(logged) = self.logged.get_mut(item) {
            logged.at = at;
            if logged.reason == reason {
                return;
            }
            reason.clone_into(&mut logged.reason);
        } else {
            if self.logged.len() >= MAX_LOGGED {
                self.logged.retain(|_, logged| at.since(logged.at) <= FORGOTTEN_AFTER);
                self.has_more &= self.logged.len() >= MAX_LOGGED;
            }
            if self.logged.len() >= MAX_LOGGED {
                if !std::mem::replace(&mut self.has_more, true) {
                    tracing::warn!(
                        "AWS does not describe more than {MAX_LOGGED} jobs; further ones are not logged: see the page Health"
                    );
                }
                return;
            }
            self.logged.insert(item.clone(), Logged { since: at, at, reason: reason.to_owned() });
        }
        tracing::warn!(
            id = item.as_str(),
            error,
            "AWS does not describe a job; it is requested again, ever less often"
        );
    }

    /// A job was listed or described. An ended job is not described again.
    pub(super) fn seen(&mut self, seen: &JobSeen, at: Timestamp) {
        if self.logged.is_empty() {
            return;
        }
        let job = Undescribed::Job(seen.id.clone());
        if seen.details.is_some() {
            self.described(&job, at);
        } else if seen.status.is_ended() {
            let training_job = seen.training_job.clone().map(Undescribed::TrainingJob);
            [Some(job), training_job].into_iter().flatten().for_each(|item| drop(self.forget(&item)));
        }
    }

    /// A job no longer exists.
    pub(super) fn gone(&mut self, id: &JobId) {
        if !self.logged.is_empty() {
            self.forget(&Undescribed::Job(id.clone()));
        }
    }

    /// A training job was described, or no longer exists.
    pub(super) fn training_job_seen(&mut self, name: &TrainingJobName, exists: bool, at: Timestamp) {
        if self.logged.is_empty() {
            return;
        }
        let item = Undescribed::TrainingJob(name.clone());
        if exists {
            self.described(&item, at);
        } else {
            self.forget(&item);
        }
    }

    fn described(&mut self, item: &Undescribed, at: Timestamp) {
        if let Some(logged) = self.forget(item) {
            let after = format::duration(at.seconds_since(logged.since));
            tracing::info!(id = item.as_str(), after = %after, "AWS describes a job again");
        }
    }

    fn forget(&mut self, item: &Undescribed) -> Option<Logged> {
        let forgotten = self.logged.remove(item);
        self.has_more &= self.logged.len() >= MAX_LOGGED;
        forgotten
    }
}
