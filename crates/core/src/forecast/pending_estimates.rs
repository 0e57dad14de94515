//! Pending estimates: those whose job still waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::calibration::{Interval, Late, Truth};
use crate::forecast::saved_rows::Rows;
use crate::model::{JobId, QueueName, SavedForecast, ShareName, Timestamp};

/// Maximum jobs with pending estimates.
pub const MAX_JOBS: usize = 20_000;

/// Maximum pending estimates of one job.
const MAX_OF_JOB: usize = 8;

/// Minimum interval between two pending estimates of a job; also, its wait must have doubled.
const MIN_APART: Duration = Duration::from_secs(300);

const ROWS: &str = "kept";

/// Pending estimates by job.
#[derive(Debug, Default)]
pub struct PendingEstimates {
    jobs: BTreeMap<JobId, OfJob>,
    /// Jobs whose rows have changed. The text of a row takes more than its estimates, so it is written when it is saved.
    unsaved: BTreeSet<JobId>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfJob {
    queue: QueueName,
    share: Option<ShareName>,
    since: Timestamp,
    estimates: Vec<PendingEstimate>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PendingEstimate {
    made_at: Timestamp,
    raw: Interval,
    shown: Option<Interval>,
    /// Time of the forecast before the miss of the high end was counted; `None` if not counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late_after: Option<Timestamp>,
}

impl OfJob {
    /// Its row. One that cannot be serialized does not survive a restart; nothing else depends on it.
    fn row(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

fn name_of(id: &JobId) -> String {
    format!("{ROWS}/{id}")
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// The job was dispatched.
    Dispatched,
    /// The job was cancelled, or vanished.
    Cancelled,
}

impl PendingEstimates {
    /// Takes over the pending estimates of an earlier run from its rows. Those that cannot be read are deleted.
    pub fn restore(rows: &mut Rows) -> Self {
        let mut restored = Self::default();
        for (name, body) in rows.take(ROWS) {
            let Some(id) = name.strip_prefix(ROWS).and_then(|name| name.strip_prefix('/')).map(JobId::new) else {
                continue;
            };
            match serde_json::from_str(&body) {
                Ok(of_job) => _ = restored.jobs.insert(id, of_job),
                Err(_) => _ = restored.unsaved.insert(id),
            }
        }
        restored
    }

    /// Adds the rows that changed since the last call, or all of them if the saved state must be complete.
    pub fn take_unsaved(&mut self, saved: &mut SavedForecast) {
        let unsaved = std::mem::take(&mut self.unsaved);
        if saved.is_complete {
            return saved.changes.extend(self.rows().map(|(name, body)| (name, Some(body))));
        }
        saved.changes.extend(unsaved.into_iter().map(|id| {
            let body = self.jobs.get(&id).and_then(OfJob::row);
            (name_of(&id), body)
        }));
    }

    /// All rows, as they are stored.
    pub fn rows(&self) -> impl Iterator<Item = (String, String)> {
        self.jobs.iter().filter_map(|(id, of_job)| Some((name_of(id), of_job.row()?)))
    }

    /// Adds an estimate if it is due. Returns false if the maximum number of jobs is reached.
    pub fn keep(
        &mut self,
        id: &JobId,
        queue: &QueueName,
        share: Option<&ShareName>,
        now: Timestamp,
        raw: Interval,
        shown: Option<Interval>,
    ) -> bool {
        if self.jobs.len() >= MAX_JOBS && !self.jobs.contains_key(id) {
            return false;
        }
        let of_job = self.jobs.entry(id.clone()).or_insert_with(|| OfJob {
            queue: queue.clone(),
            share: share.cloned(),
            since: now,
            // Most jobs start before a second one is due.
            estimates: Vec::with_capacity(1),
        });
        let is_due = of_job
            .estimates
            .last()
            .is_none_or(|last| now.since(last.made_at) >= MIN_APART.max(last.made_at.since(of_job.since)));
        if is_due && of_job.estimates.len() < MAX_OF_JOB {
            of_job.estimates.push(PendingEstimate { made_at: now, raw, shown, late_after: None });
            self.unsaved.insert(id.clone());
        }
        true
    }

    /// Resolves the estimates of a job whose wait ended. A cancelled job would have started later, which resolves
    /// only those estimates whose interval was already over.
    pub fn resolve(&mut self, id: &JobId, at: Timestamp, end: WaitEnd, after: Timestamp) -> Vec<Truth> {
        let Some(OfJob { queue, share, estimates, .. }) = self.jobs.remove(id) else { return Vec::new() };
        self.unsaved.insert(id.clone());
        let truth = |estimate: PendingEstimate| {
            let actual = at.seconds_since(estimate.made_at);
            let says_something = match end {
                WaitEnd::Dispatched => at > estimate.made_at,
                WaitEnd::Cancelled => actual > estimate.shown.unwrap_or(estimate.raw).high,
            };
            let PendingEstimate { raw, shown, late_after, .. } = estimate;
            let (queue, share) = (queue.clone(), share.clone());
            says_something.then_some(Truth { at, queue, share, raw, shown, actual, after, late_after })
        };
        estimates.into_iter().filter_map(truth).collect()
    }

    /// Marks and returns estimates whose job waits beyond the high end: they have missed, although the job has not
    /// started. `after` is the time of the previous forecast.
    pub fn take_late(&mut self, now: Timestamp, after: Timestamp) -> Vec<Late> {
        let mut late = Vec::new();
        for (id, of_job) in &mut self.jobs {
            let before = late.len();
            for estimate in of_job.estimates.iter_mut().filter(|estimate| estimate.late_after.is_none()) {
                if estimate.shown.is_some_and(|shown| now.seconds_since(estimate.made_at) > shown.high) {
                    estimate.late_after = Some(after);
                    late.push(Late { queue: of_job.queue.clone(), share: of_job.share.clone(), after });
                }
            }
            if late.len() > before {
                self.unsaved.insert(id.clone());
            }
        }
        late
    }

    /// Number of jobs with pending estimates.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether a job has pending estimates.
    pub fn contains(&self, id: &JobId) -> bool {
        self.jobs.contains_key(id)
    }

    /// Estimates marked as late.
    pub fn late(&self) -> Vec<Late> {
        let of_job = |of_job: &OfJob| {
            let late = of_job.estimates.iter().filter_map(|estimate| estimate.late_after);
            late.map(|after| Late { queue: of_job.queue.clone(), share: of_job.share.clone(), after })
                .collect::<Vec<_>>()
        };
        self.jobs.values().flat_map(of_job).collect()
    }

    /// Jobs with pending estimates.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.jobs.keys()
    }
}
