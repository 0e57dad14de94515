//! Estimates whose truth is not known yet.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::calibration::{Interval, Late, Truth};
use crate::forecast::rows::Rows;
use crate::model::{JobId, QueueName, ShareName, Timestamp};

/// Jobs of which estimates are kept, at most.
pub const MAX_JOBS: usize = 20_000;

/// Estimates of one job that are kept, at most.
const MAX_OF_JOB: usize = 8;

/// A job's next estimate is kept no sooner than this after the one before, and not before it has waited twice as long.
const MIN_APART: Duration = Duration::from_secs(300);

const ROWS: &str = "kept";

/// Estimates of jobs that wait.
#[derive(Debug, Default)]
pub struct Kept(BTreeMap<JobId, OfJob>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfJob {
    queue: QueueName,
    share: Option<ShareName>,
    since: Timestamp,
    estimates: Vec<KeptEstimate>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptEstimate {
    made_at: Timestamp,
    raw: Interval,
    shown: Option<Interval>,
    /// Time of the forecast before the miss of the high end was counted; `None` if it was not counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late_after: Option<Timestamp>,
}

/// How the wait of a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// It was dispatched.
    Dispatched,
    /// It was cancelled, or is not known any more.
    Cancelled,
}

impl Kept {
    /// Those of an earlier run.
    pub fn restore(rows: &Rows) -> Self {
        let of_job = |(id, body): (&str, &String)| Some((JobId::new(id), serde_json::from_str(body).ok()?));
        Self(rows.named(ROWS).filter_map(of_job).collect())
    }

    /// Keeps an estimate if it is time to. False if there is no room for another job.
    #[expect(clippy::too_many_arguments, reason = "an estimate with what it is about")]
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
            of_job.estimates.push(KeptEstimate { made_at: now, raw, shown, late_after: None });
            rows.put(format!("{ROWS}/{id}"), of_job);
        }
        true
    }

    /// What came true of the estimates of a job whose wait has ended. A job that was cancelled would have started later: that says
    /// something of estimates that had expected it to start before.
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
        let truth = |estimate: KeptEstimate| {
            let actual = at.seconds_since(estimate.made_at);
            let says_something = match end {
                WaitEnd::Dispatched => at > estimate.made_at,
                WaitEnd::Cancelled => actual > estimate.shown.unwrap_or(estimate.raw).high,
            };
            let KeptEstimate { raw, shown, late_after, .. } = estimate;
            let (queue, share) = (queue.clone(), share.clone());
            says_something.then_some(Truth { at, queue, share, raw, shown, actual, after, late_after })
        };
        estimates.into_iter().filter_map(truth).collect()
    }

    /// Marks and returns estimates whose job now waits beyond the high end: they are wrong, although the job has not started. `after` is the time of
    /// the previous forecast.
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

    /// How many jobs there are of which estimates are kept.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether an estimate of a job is kept.
    pub fn contains(&self, id: &JobId) -> bool {
        self.0.contains_key(id)
    }

    /// Estimates that were marked as late.
    pub fn late(&self) -> Vec<Late> {
        let of_job = |of_job: &OfJob| {
            let late = of_job.estimates.iter().filter_map(|estimate| estimate.late_after);
            late.map(|after| Late { queue: of_job.queue.clone(), share: of_job.share.clone(), after })
                .collect::<Vec<_>>()
        };
        self.0.values().flat_map(of_job).collect()
    }

    /// The jobs of which estimates are kept.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.0.keys()
    }
}
