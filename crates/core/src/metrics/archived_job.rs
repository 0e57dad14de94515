//! An ended job as a row of the archive: everything known of it, as plain values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::jobs::{Event, EventKind, Job, Outcome, Phase, Span};
use crate::metrics::Inputs;
use crate::model::{Prices, QueueName, Timestamp};

/// Maximum characters of an archived status reason.
const MAX_STATUS_REASON: usize = 500;

/// An ended job. Unknown values are `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedJob {
    /// `jobId`.
    pub id: String,
    /// `jobName`; not unique.
    pub name: Option<String>,
    /// Account of its queue.
    pub account: Option<String>,
    /// Region of its queue.
    pub region: Option<String>,
    /// Its queue.
    pub queue: String,
    /// Its share; `None` without one.
    pub share: Option<String>,
    /// Owner, from its tag.
    pub owner: Option<String>,
    /// Its other archived tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// `schedulingPriority`.
    pub priority: Option<i32>,
    /// Instances by type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<String, f64>,
    /// Total GPUs.
    pub gpus: Option<f64>,
    /// `succeeded`, `failed` or `vanished`.
    pub outcome: String,
    /// Who can fix the failure; for failed jobs.
    pub failure_category: Option<String>,
    /// Status reason of the final state as given by AWS, at most 500 characters.
    pub status_reason: Option<String>,
    /// When it was submitted.
    pub submitted_at: Option<Timestamp>,
    /// When it was first dispatched to SageMaker.
    pub scheduled_at: Option<Timestamp>,
    /// When its first attempt started to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Total time of all waits; unknown if earlier attempts may not have been seen.
    pub wait_seconds: Option<f64>,
    /// The first wait: until it was dispatched to SageMaker, or ended; unknown likewise.
    pub first_wait_seconds: Option<f64>,
    /// Wait by reason, as far as observed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub waited: BTreeMap<String, f64>,
    /// Number of attempts, including preempted ones; 0 if it was never dispatched to SageMaker; unknown likewise.
    pub attempts: Option<u32>,
    /// Number of preempted attempts.
    pub preemptions: Option<u32>,
    /// Total running time of all attempts, in seconds.
    pub run_seconds: Option<f64>,
    /// GPU-seconds held, from dispatch to the end of each attempt.
    pub gpu_seconds: Option<f64>,
    /// GPU-seconds of running time.
    pub run_gpu_seconds: Option<f64>,
    /// GPU-seconds of attempts that ran and did not succeed.
    pub lost_gpu_seconds: Option<f64>,
    /// Cost of what it held, at the configured prices.
    pub dollars: Option<f64>,
}

impl EndedJob {
    /// The row of a job whose end was counted. If the ledger has dropped the job, the row has only what the event
    /// contains.
    pub(super) fn of(event: &Event, inputs: &Inputs<'_>) -> Option<Self> {
        let EventKind::Ended { outcome, gpu_seconds } = event.what else { return None };
        let id = event.job.as_ref()?;
        let (account, region) = place_of(&event.queue, inputs);
        let row = Self {
            id: id.to_string(),
            account,
            region,
            queue: event.queue.to_string(),
            share: event.share.as_ref().map(ToString::to_string),
            owner: event.owner.as_deref().map(str::to_owned),
            priority: event.priority,
            outcome: outcome.as_str().to_owned(),
            failure_category: match outcome {
                Outcome::Failed(category) => Some(category.as_str().to_owned()),
                Outcome::Succeeded | Outcome::Vanished => None,
            },
            ended_at: event.at,
            lost_gpu_seconds: gpu_seconds.filter(|_| outcome != Outcome::Succeeded),
            ..Self::default()
        };
        Some(match inputs.ledger.job(id) {
            Some(job) => row.completed(job, outcome, inputs.prices),
            None => row,
        })
    }

    fn completed(self, job: &Job, outcome: Outcome, prices: &Prices) -> Self {
        let latest = &job.latest;
        let spans = job.timeline.spans();
        let of = |phases: &[Phase]| -> f64 {
            let spans = spans.iter().filter(|span| phases.contains(&span.phase));
            spans.filter_map(Span::seconds).sum()
        };
        let began = |phase| spans.iter().find(|span| span.phase == phase).map(|span| span.from.latest);
        let waited = of(&[Phase::Waiting]);
        let last = spans.last().filter(|span| span.phase == Phase::Running).and_then(Span::seconds);
        // A job that succeeded has run: if that was not seen, its time is unknown, not 0.
        let is_known = outcome != Outcome::Succeeded || last.is_some();
        let ran = is_known.then(|| of(&[Phase::Running]));
        let held = is_known.then(|| of(&[Phase::Scheduled, Phase::Starting, Phase::Running]));
        // Only the last attempt of a job that succeeded was of use.
        let useful = last.filter(|_| outcome == Outcome::Succeeded).unwrap_or(0.0);
        let gpus = job.gpus();
        let details = job.details.as_deref();
        let mut instances = BTreeMap::new();
        for capacity in latest.demand.iter().filter(|capacity| !capacity.unit.is_any()) {
            *instances.entry(capacity.unit.to_string()).or_default() += capacity.quantity;
        }
        let attempts = spans.iter().filter(|span| span.phase == Phase::Scheduled).count();
        let per_hour: Option<f64> =
            latest.demand.iter().map(|some| Some(some.quantity * prices.get(&some.unit)?)).sum();
        Self {
            name: Some(latest.name.to_string()),
            owner: job.owner().map(str::to_owned).or(self.owner),
            tags: details.map(|details| details.tags.clone()).unwrap_or_default(),
            priority: job.priority().or(self.priority),
            instances,
            gpus,
            status_reason: latest.status_reason.as_ref().map(|text| text.chars().take(MAX_STATUS_REASON).collect()),
            submitted_at: Some(latest.created_at),
            scheduled_at: began(Phase::Scheduled),
            started_at: began(Phase::Running),
            wait_seconds: job.attempts().map(|_| waited),
            first_wait_seconds: job.first_wait().as_ref().and_then(Span::seconds),
            waited: job.waited.as_ref().map(|waited| waited.0.clone()).unwrap_or_default(),
            attempts: job.attempts().and(u32::try_from(attempts).ok()),
            preemptions: details.map(|details| details.preemptions),
            run_seconds: ran,
            gpu_seconds: gpus.zip(held).map(|(gpus, held)| held * gpus),
            run_gpu_seconds: gpus.zip(ran).map(|(gpus, ran)| ran * gpus),
            lost_gpu_seconds: gpus.zip(ran).map(|(gpus, ran)| (ran - useful).max(0.0) * gpus),
            dollars: per_hour
                .filter(|_| !latest.demand.is_empty())
                .zip(held)
                .map(|(dollars, held)| dollars * held / 3_600.0),
            ..self
        }
    }
}

/// Account and region of a queue, from its ARN.
fn place_of(queue: &QueueName, inputs: &Inputs<'_>) -> (Option<String>, Option<String>) {
    let found = inputs.queues.iter().find(|other| other.name == *queue);
    found.map_or((None, None), |queue| account_and_region(&queue.arn))
}

/// Account and region in an ARN.
pub fn account_and_region(arn: &str) -> (Option<String>, Option<String>) {
    let part = |index| arn.split(':').nth(index).filter(|part| !part.is_empty()).map(str::to_owned);
    (part(4), part(3))
}

#[cfg(test)]
mod tests;
