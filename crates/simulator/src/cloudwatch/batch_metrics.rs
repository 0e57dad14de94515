//! Metrics published by AWS Batch itself, namespace `AWS/Batch`, by job queue: counts and durations of transitions as
//! they happen. Waiting jobs have no metrics, and without transitions there are no data points.

use std::time::Duration;

use crate::World;
use crate::cloudwatch::Dimension;
use crate::cloudwatch::Metric;
use crate::cloudwatch::metric_store::Metrics;
use crate::cloudwatch::period_statistics::Summary;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Phase;
use trainspotter_core::scheduler::Transition;
use trainspotter_core::scheduler::TransitionKind;

const NAMESPACE: &str = "AWS/Batch";
const DIMENSION: &str = "JobQueueName";
/// Retention of all metrics.
const KEPT: Duration = Duration::from_hours(24);

/// Start of the retained transitions at `now`.
pub(crate) fn kept_from(now: Timestamp) -> Timestamp {
    now - KEPT
}

/// Publishes the transitions since the last call.
pub(crate) fn publish(world: &mut World) {
    for transition in world.scheduler.take_transitions() {
        let Some(job) = world.scheduler.job_number(transition.job) else { continue };
        let put = |metrics: &mut Metrics, name: &str, unit: &str, value: f64| {
            let summary = Summary::of([(value, 1.0)]);
            metrics.put_own(metric(&job.queue, name), unit, transition.at, summary);
        };
        if let Some(name) = counts(&transition.kind) {
            put(&mut world.metrics, name, "Count", 1.0);
        }
        for (name, since) in durations(job, &transition).into_iter().flatten() {
            put(&mut world.metrics, name, "Milliseconds", transition.at.seconds_since(since) * 1_000.0);
        }
    }
}

fn metric(queue: &QueueName, name: &str) -> Metric {
    let dimension = Dimension { name: DIMENSION.to_owned(), value: queue.as_str().to_owned() };
    Metric { namespace: NAMESPACE.to_owned(), metric_name: name.to_owned(), dimensions: vec![dimension] }
}

fn counts(kind: &TransitionKind) -> Option<&'static str> {
    Some(match kind {
        TransitionKind::Submitted => "JobsSubmitted",
        TransitionKind::Retried => "JobsRetried",
        TransitionKind::Preempted => "JobsPreempted",
        TransitionKind::Terminated => "JobsTerminated",
        TransitionKind::Moved { to, .. } => match to {
            JobStatus::Pending => "JobsMovedToPending",
            JobStatus::Runnable => "JobsMovedToRunnable",
            JobStatus::Scheduled => "JobsMovedToScheduled",
            JobStatus::Starting => "JobsMovedToStarting",
            JobStatus::Running => "JobsMovedToRunning",
            JobStatus::Succeeded => "JobsMovedToSucceeded",
            JobStatus::Failed => "JobsMovedToFailed",
            JobStatus::Submitted | JobStatus::Unknown(_) => return None,
        },
    })
}

/// Durations that end with a transition, with their start times.
fn durations(job: &Job, transition: &Transition) -> [Option<(&'static str, Timestamp)>; 2] {
    let TransitionKind::Moved { from, since, to } = &transition.kind else { return [None, None] };
    match (from, to) {
        (JobStatus::Submitted, JobStatus::Runnable) => [Some(("JobSubmittedToRunnableDuration", *since)), None],
        (_, JobStatus::Scheduled) => {
            let is_first = job.first_scheduled_at == Some(transition.at);
            let first = is_first.then_some(("JobSubmittedToFirstScheduledDuration", job.created_at));
            [Some(("JobAttemptRunnableToScheduledDuration", *since)), first]
        }
        (_, JobStatus::Starting) => [Some(("JobAttemptScheduledToStartingDuration", *since)), None],
        (_, JobStatus::Running) => [Some(("JobAttemptStartingToRunningDuration", *since)), None],
        (JobStatus::Scheduled | JobStatus::Starting | JobStatus::Running, _) => {
            let ran = (*from == JobStatus::Running).then_some(("JobAttemptExecutionDuration", *since));
            let began = attempt_began(job, transition.at);
            [ran, began.map(|began| ("JobAttemptDuration", began))]
        }
        _ => [None, None],
    }
}

/// Dispatch time of the attempt that ended then.
fn attempt_began(job: &Job, ended_at: Timestamp) -> Option<Timestamp> {
    let held = || job.spans.iter().filter(|span| span.phase != Phase::Waiting);
    let attempt = held().rfind(|span| span.to == Some(ended_at))?.attempt;
    held().find(|span| span.attempt == attempt).map(|span| span.from)
}
