//! Service jobs as returned by `ListServiceJobs` and `DescribeServiceJob`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::payload::resource_config;
use crate::batch::refused;
use crate::quirks::StartedAt;
use trainspotter_core::model::Policy;
use trainspotter_core::model::Timestamp;
use trainspotter_core::model::TrainingJobName;
use trainspotter_core::scheduler::Attempt;
use trainspotter_core::scheduler::Job;

/// Maximum preempted attempts in a description: AWS says "a sliding window" without its size.
const RECENT_PREEMPTIONS: usize = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Describe {
    job_id: String,
}

/// Finds a job by id or ARN.
pub(super) fn find<'a>(world: &'a World, id_or_arn: &str) -> Result<&'a Job, ApiError> {
    world
        .scheduler
        .job(&arn::job_id(id_or_arn))
        .ok_or_else(|| refused(format!("Service job {id_or_arn} does not exist.")))
}

pub(super) fn describe_service_job(world: &mut World, input: &Describe) -> Result<Value, ApiError> {
    let job = find(world, &input.job_id)?;
    let submitted = world.submitted.get(&job.id);
    let mut shown = summary(world, job);
    let more = json!({
        "jobQueue": arn::queue(&job.queue),
        "attempts": job.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "schedulingPriority": job.priority,
        "serviceRequestPayload": submitted.map_or_else(|| payload(job), |submitted| submitted.payload.clone()),
        "retryStrategy": submitted.and_then(|s| s.retry_strategy.clone()).unwrap_or_else(|| json!({"attempts": 1})),
        "timeoutConfig": submitted.and_then(|submitted| submitted.timeout_config.clone()),
        "preemptionConfiguration": submitted.and_then(|submitted| submitted.preemption_configuration.clone()),
        "preemptionSummary": preemptions(job),
        "tags": &*job.tags,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown["isTerminated"] = json!(job.terminated);
    let id = job.id.clone();
    world.faults.disguise(&id, &mut shown);
    Ok(shown)
}

/// A job's list entry. Absent members are null here.
pub(super) fn summary(world: &World, job: &Job) -> Value {
    // A job outlives its queue; then the kind of its share is unknown.
    let (share_identifier, quota_share) = match world.scheduler.queue(&job.queue).map(|queue| &queue.policy) {
        Some(Policy::Fifo) => (None, None),
        Some(Policy::FairShare { .. }) => (job.share.as_ref(), None),
        Some(Policy::QuotaShares(_)) | None => (None, job.share.as_ref()),
    };
    let before_start = match world.quirks.started_at {
        StartedAt::Absent => None,
        StartedAt::Zero => Some(0),
    };
    let usage: Vec<_> =
        job.demand.iter().map(|demand| json!({"capacityUnit": demand.unit, "quantity": demand.quantity})).collect();
    json!({
        "jobId": job.id,
        "jobName": job.name,
        "jobArn": arn::job(&job.id),
        "serviceJobType": "SAGEMAKER_TRAINING",
        "status": job.status.as_str(),
        "statusReason": job.status_reason,
        "createdAt": job.created_at.millis(),
        "scheduledAt": job.scheduled_at.map(Timestamp::millis),
        "startedAt": job.started_at.map(Timestamp::millis).or(before_start),
        "stoppedAt": job.stopped_at.map(Timestamp::millis),
        "shareIdentifier": share_identifier,
        "quotaShareName": quota_share,
        "capacityUsage": usage,
        "latestAttempt": job.training_job.as_ref().map(|name| json!({"serviceResourceId": resource(name)})),
        "isTerminated": job.terminated.then_some(true),
    })
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "serviceResourceId": attempt.training_job.as_ref().map(resource),
        "startedAt": attempt.started_at.map(Timestamp::millis),
        "stoppedAt": attempt.stopped_at.map(Timestamp::millis),
        "statusReason": attempt.status_reason,
    })
}

fn preemptions(job: &Job) -> Option<Value> {
    // Newest first.
    let recent = job.preempted.iter().rev().take(RECENT_PREEMPTIONS);
    (job.preemptions > 0).then(|| {
        json!({
            "preemptedAttemptCount": job.preemptions,
            "recentPreemptedAttempts": recent.map(attempt).collect::<Vec<_>>(),
        })
    })
}

fn resource(name: &TrainingJobName) -> Value {
    json!({"name": "TrainingJobArn", "value": arn::training_job(name)})
}

/// The `CreateTrainingJob` request with which a job of the workload would have been submitted.
fn payload(job: &Job) -> String {
    json!({"TrainingJobName": job.name, "ResourceConfig": resource_config(job, None)}).to_string()
}
