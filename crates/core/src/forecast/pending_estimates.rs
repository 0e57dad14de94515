//! Pending estimates: those whose job still waits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::calibration::{Interval, Late, Truth};
use crate::forecast::saved_rows::Rows;
use crate::model::{JobId, QueueName, ShareName, Timestamp};

/// Maximum jobs with pending estimates.
pub const MAX_JOBS: usize = 20_000;

/// Maximum pending estimates of one job.
const MAX_OF_JOB: usize = 8;

/// Minimum interval between two pending estimates of a job; also, its wait must have doubled.
const MIN_APART: Duration = Duration::from_secs(300);

const ROWS: &str = "kept";

/// Pending estimates by job.
#[derive(Debug, Default)]
pub struct PendingEstimates(BTreeMap<JobId, OfJob>);

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

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// The job was dispatched.
    Dispatched,
    /// The job was cancelled, or vanished.
    Cancelled,
}

impl PendingEstimates {
    /// Restores the pending estimates of an earlier run.
    pub fn restore(rows: &Rows) -> Self {
        let of_job = |(id, body): (&str, &String)| Some((JobId::new(id), serde_json::from_str(body).ok()?));
        Self(rows.named(ROWS).filter_map(of_job).collect())
    }

    /// Adds an estimate if it is due. Returns false if the maximum number of jobs is reached.
    #[expect(clippy::too_many_arguments, reason = "an estimate and its subject")]
    pub fn keep(
        &mut self,
        id: &JobId,
        queue: &QueueName,
        share: Option<&ShareName>,
        now: Timestamp,
        raw: Interval,
        shown: Option<Interval>,
        rows: &mut Rows,
    ) -> bool {
        if self.0.len() >= MAX_JOBS && !self.0.contains_key(id) {
            return false;
        }
        let of_job = self.0.entry(id.clone()).or_insert_with(|| OfJob {
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
            rows.put(format!("{ROWS}/{id}"), of_job);
        }
        true
    }

    /// Resolves the estimates of a job whose wait ended. A cancelled job would have started later, which resolves
    /// only those estimates whose interval was already over.
    pub fn resolve(
        &mut self,
        id: &JobId,
        at: Timestamp,
        end: WaitEnd,
        after: Timestamp,
        rows: &mut Rows,
    ) -> Vec<Truth> {
        let Some(OfJob { queue, share, estimates, .. }) = self.0.remove(id) else { return Vec::new() };
        rows.remove(&format!("{ROWS}/{id}"));
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
    pub fn take_late(&mut self, now: Timestamp, after: Timestamp, rows: &mut Rows) -> Vec<Late> {
        let mut late = Vec::new();
        for (id, of_job) in &mut self.0 {
            let before = late.len();
            for estimate in of_job.estimates.iter_mut().filter(|estimate| estimate.late_after.is_none()) {
                if estimate.shown.is_some_and(|shown| now.seconds_since(estimate.made_at) > shown.high) {
                    estimate.late_after = Some(after);
                    late.push(Late { queue: of_job.queue.clone(), share: of_job.share.clone(), after });
                }
            }
            if late.len() > before {
                rows.put(format!("{ROWS}/{id}"), of_job);
            }
        }
        late
    }

    /// Number of jobs with pending estimates.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a job has pending estimates.
    pub fn contains(&self, id: &JobId) -> bool {
        self.0.contains_key(id)
    }

    /// Estimates marked as late.
    pub fn late(&self) -> Vec<Late> {
        let of_job = |of_job: &OfJob| {
            let late = of_job.estimates.iter().filter_map(|estimate| estimate.late_after);
            late.map(|after| Late { queue: of_job.queue.clone(), share: of_job.share.clone(), after })
                .collect::<Vec<_>>()
        };
        self.0.values().flat_map(of_job).collect()
    }

    /// Jobs with pending estimates.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.0.keys()
    }
}
