//! Training jobs created through SageMaker's own API: they belong to no Batch queue, but count against the account's
//! limits.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{REPEATED, SWITCHES, output};
use crate::World;
use crate::api_error::{ApiError, integer};
use crate::arn;
use crate::batch::payload::{self, DEFAULT_MAX_RUNTIME_SECONDS, MAX_RUNTIME_EXCEEDED};
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::{Plan, PlannedOutcome};

/// Such a training job. It runs from its creation on.
#[derive(Clone, Debug)]
pub(crate) struct DirectJob {
    request: Value,
    pub(super) created_at: Timestamp,
    ends_at: Timestamp,
    /// `TrainingJobStatus` and `SecondaryStatus` after its end.
    end: (&'static str, &'static str),
}

/// All of them, by name.
pub(crate) type DirectJobs = BTreeMap<String, DirectJob>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    training_job_name: String,
}

impl DirectJob {
    /// A job of a scenario, with only its instances and run time.
    pub(crate) fn of_scenario(instance_type: &str, instances: u32, from: Timestamp, to: Option<Timestamp>) -> Self {
        let request = json!({
            "ResourceConfig": {"InstanceType": instance_type, "InstanceCount": instances, "VolumeSizeInGB": 30},
        });
        let longest = from + Duration::from_secs(28 * u64::from(DEFAULT_MAX_RUNTIME_SECONDS));
        Self { request, created_at: from, ends_at: to.unwrap_or(longest), end: ("Completed", "Completed") }
    }

    pub(super) fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.ends_at).filter(|ends_at| *ends_at <= now)
    }

    /// `TrainingJobStatus` and `SecondaryStatus`.
    pub(super) fn statuses(&self, now: Timestamp) -> (&'static str, &'static str) {
        if self.ended_at(now).is_some() { self.end } else { ("InProgress", "Training") }
    }

    pub(super) fn last_modified(&self, now: Timestamp) -> Timestamp {
        self.ended_at(now).unwrap_or(self.created_at)
    }

    pub(super) fn tags(&self) -> Value {
        self.request.get("Tags").cloned().unwrap_or_else(|| json!([]))
    }
}

/// Creates a job. Its run time is determined as for the payload of a service job.
pub(super) fn create(world: &mut World, request: &Value) -> Result<Value, ApiError> {
    let Named { training_job_name: name } = super::input(request)?;
    if world.direct_jobs.contains_key(&name) || crate::batch_training_jobs::find(world, &name).is_some() {
        return Err(ApiError::bad("ResourceInUse", format!("Training job names must be unique: {name}")));
    }
    let algorithm = &request["AlgorithmSpecification"];
    if algorithm.is_object() && algorithm["TrainingImage"].is_null() == algorithm["AlgorithmName"].is_null() {
        let why = "AlgorithmSpecification: exactly one of TrainingImage and AlgorithmName is required";
        return Err(ApiError::bad("ValidationException", why));
    }
    let (duration, end) = match payload::read(&request.to_string(), None).plan {
        Plan::Runs { duration, outcome: PlannedOutcome::Succeeds } => (duration, ("Completed", "Completed")),
        Plan::Runs { duration, outcome: PlannedOutcome::Fails(reason) } if reason == MAX_RUNTIME_EXCEEDED => {
            (duration, ("Stopped", "MaxRuntimeExceeded"))
        }
        Plan::Runs { duration, .. } => (duration, ("Failed", "Failed")),
        Plan::Refused(reason) => {
            let why = reason.rsplit("ValidationException: ").next().unwrap_or(&reason);
            return Err(ApiError::bad("ValidationException", why));
        }
        Plan::Attempts(_) | Plan::Recorded { .. } => {
            return Err(ApiError::bad("ValidationException", "such a job cannot be created"));
        }
    };
    let job = DirectJob { request: request.clone(), created_at: world.now, ends_at: world.now + duration, end };
    world.direct_jobs.insert(name.clone(), job);
    Ok(json!({"TrainingJobArn": arn::training_job(&name)}))
}

/// Stops a job. Jobs of a queue are stopped through Batch's API.
pub(super) fn stop(world: &mut World, input: &Named) -> Result<Value, ApiError> {
    let now = world.now;
    match world.direct_jobs.get_mut(&input.training_job_name) {
        Some(job) if job.ended_at(now).is_none() => {
            (job.ends_at, job.end) = (now, ("Stopped", "Stopped"));
            Ok(json!({}))
        }
        Some(_) => {
            Err(ApiError::bad("ValidationException", "The request was rejected because the training job has ended."))
        }
        None => Err(ApiError::bad("ResourceNotFound", "Requested resource not found.")),
    }
}

/// A job as returned by `DescribeTrainingJob`.
pub(super) fn describe(job: &DirectJob, name: &str, now: Timestamp) -> Value {
    let (status, secondary) = job.statuses(now);
    let ended_at = job.ended_at(now);
    let seconds = ended_at.map(|to| integer(to.seconds_since(job.created_at)).max(1));
    let given = |name: &str, otherwise: Value| job.request.get(name).cloned().unwrap_or(otherwise);
    let mut shown = json!({
        "TrainingJobName": name,
        "TrainingJobArn": arn::training_job(name),
        "ModelArtifacts": {"S3ModelArtifacts": format!("s3://simulated/{name}/output/model.tar.gz")},
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        "AlgorithmSpecification": given("AlgorithmSpecification", json!({"TrainingInputMode": "File"})),
        "OutputDataConfig": output(job.request.get("OutputDataConfig")),
        "ResourceConfig": given("ResourceConfig", Value::Null),
        "StoppingCondition": given("StoppingCondition", json!({"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS})),
        "CreationTime": job.created_at.secs_f64(),
        "TrainingStartTime": job.created_at.secs_f64(),
        "TrainingEndTime": ended_at.map(Timestamp::secs_f64),
        "LastModifiedTime": job.last_modified(now).secs_f64(),
        "SecondaryStatusTransitions": [{
            "Status": "Training",
            "StartTime": job.created_at.secs_f64(),
            "EndTime": ended_at.map(Timestamp::secs_f64),
            "StatusMessage": "Training the training job",
        }],
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
    });
    for name in REPEATED {
        shown[name] = given(name, Value::Null);
    }
    for name in SWITCHES {
        shown[name] = given(name, json!(false));
    }
    shown
}
