//! SageMaker, awsJson1_1: training jobs, created by Batch or directly, and training plans.

pub(crate) mod direct_training_jobs;
mod input_constraints;
mod list_training_jobs;
mod training_plans;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::api_error::integer;
use crate::api_error::without_nulls;
use crate::arn;
use crate::batch::payload::{DEFAULT_MAX_RUNTIME_SECONDS, MAX_RUNTIME_EXCEEDED, resource_config};
use crate::batch_training_jobs;
use crate::batch_training_jobs::Run;
use crate::cbor;
use trainspotter_core::model::JobId;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::ATTEMPT_TIMED_OUT;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Phase;

/// The prefix of `X-Amz-Target`.
pub(super) const TARGET: &str = "SageMaker";

/// Members of `CreateTrainingJob` that descriptions repeat unchanged, if present.
const REPEATED: [&str; 14] = [
    "HyperParameters",
    "InputDataConfig",
    "RoleArn",
    "VpcConfig",
    "Environment",
    "CheckpointConfig",
    "RetryStrategy",
    "ExperimentConfig",
    "DebugHookConfig",
    "DebugRuleConfigurations",
    "TensorBoardOutputConfig",
    "ProfilerConfig",
    "ProfilerRuleConfigurations",
    "RemoteDebugConfig",
];
/// Members that default to false.
const SWITCHES: [&str; 3] =
    ["EnableNetworkIsolation", "EnableInterContainerTrafficEncryption", "EnableManagedSpotTraining"];

/// Performs an operation.
pub(super) fn answer(world: &mut World, operation: &str, body: &Value) -> Result<Value, ApiError> {
    let Some((_, shape)) = input_constraints::SERVED.iter().find(|(name, _)| *name == operation) else {
        return Err(not_served(operation));
    };
    shape.check(cbor::output(body)?).map_err(|error| ApiError::bad("ValidationException", error.message))?;
    let answer = match operation {
        "CreateTrainingJob" => direct_training_jobs::create(world, body)?,
        "DescribeTrainingJob" => describe_training_job(world, &input(body)?)?,
        "DescribeTrainingPlan" => training_plans::describe(world, &input(body)?)?,
        "ListTrainingJobs" => list_training_jobs::list(world, &input(body)?)?,
        "ListTags" => list_tags(world, &input(body)?)?,
        "ListTrainingPlans" => training_plans::list(world, &input(body)?)?,
        "StopTrainingJob" => direct_training_jobs::stop(world, &input(body)?)?,
        _ => return Err(not_served(operation)),
    };
    Ok(without_nulls(answer))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tagged {
    resource_arn: String,
    next_token: Option<String>,
}

/// Tags of a training job, from its `CreateTrainingJob` request.
fn list_tags(world: &mut World, input: &Tagged) -> Result<Value, ApiError> {
    let missing = || ApiError::bad("ValidationException", "Requested resource not found.");
    training_plans::only_page(input.next_token.as_deref())?;
    let name = input.resource_arn.strip_prefix(&arn::training_job("")).ok_or_else(missing)?;
    if let Some(job) = world.direct_jobs.get(name) {
        return Ok(json!({"Tags": job.tags()}));
    }
    let id = batch_training_jobs::find(world, name).ok_or_else(missing)?.job.id.clone();
    let tags = asked_for(world, &id).get("Tags").cloned();
    Ok(json!({"Tags": tags.unwrap_or_else(|| json!([]))}))
}

fn not_served(operation: &str) -> ApiError {
    let served: Vec<&str> = input_constraints::SERVED.iter().map(|(name, _)| *name).collect();
    let message = format!("the simulator does not serve SageMaker {operation}; it serves {}", served.join(", "));
    ApiError::bad("UnknownOperationException", message)
}

fn input<T: DeserializeOwned>(body: &Value) -> Result<T, ApiError> {
    T::deserialize(body).map_err(|error| ApiError::bad("ValidationException", error.to_string()))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Describe {
    training_job_name: String,
}

fn describe_training_job(world: &mut World, input: &Describe) -> Result<Value, ApiError> {
    // SageMaker returns this rather than the modelled `ResourceNotFound`.
    let missing = || ApiError::bad("ValidationException", "Requested resource not found.");
    if let Some(job) = world.direct_jobs.get(&input.training_job_name).filter(|job| job.created_at <= world.now) {
        return Ok(direct_training_jobs::describe(job, &input.training_job_name, world.now));
    }
    let id = batch_training_jobs::find(world, &input.training_job_name).ok_or_else(missing)?.job.id.clone();
    let unknown_type = world.faults.unknown_instance_type_of(&id);
    let asked = asked_for(world, &id);
    let run = batch_training_jobs::find(world, &input.training_job_name).ok_or_else(missing)?;
    let (status, secondary) = statuses(run);
    let span_of = |phase| run.spans().find(move |span| span.phase == phase);
    let training_started = span_of(Phase::Starting).map(|span| span.from);
    let training_ended = run.ended_at().filter(|_| training_started.is_some());
    let given = |name: &str, otherwise: Value| asked.get(name).cloned().unwrap_or(otherwise);
    let seconds = training_started.zip(training_ended).map(|(from, to)| integer(to.seconds_since(from)).max(1));
    let mut shown = json!({
        "TrainingJobName": run.name,
        "TrainingJobArn": arn::training_job(run.name),
        "ModelArtifacts": {"S3ModelArtifacts": format!("s3://simulated/{}/output/model.tar.gz", run.name)},
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        "FailureReason": failure_reason(run, status),
        "AlgorithmSpecification": given("AlgorithmSpecification", json!({"TrainingInputMode": "File"})),
        "OutputDataConfig": output(asked.get("OutputDataConfig")),
        "ResourceConfig": match (unknown_type, asked.get("ResourceConfig")) {
            (None, Some(config)) => selected(config.clone(), run.job, training_started.is_some()),
            (unknown_type, _) => resource_config(run.job, unknown_type.as_deref()),
        },
        "StoppingCondition": given("StoppingCondition", json!({"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS})),
        "CreationTime": run.created_at().secs_f64(),
        "TrainingStartTime": training_started.map(Timestamp::secs_f64),
        "TrainingEndTime": training_ended.map(Timestamp::secs_f64),
        "LastModifiedTime": last_modified(run).secs_f64(),
        "SecondaryStatusTransitions": transitions(run, secondary),
        "TrainingTimeInSeconds": seconds,
        "BillableTimeInSeconds": seconds,
    });
    for name in REPEATED {
        shown[name] = given(name, Value::Null);
    }
    for name in SWITCHES {
        shown[name] = given(name, json!(false));
    }
    Ok(shown)
}

/// Output location. `KmsKeyId` is always present, empty by default: SDKs read it.
fn output(asked: Option<&Value>) -> Value {
    let mut shown = asked.cloned().unwrap_or_else(|| json!({"S3OutputPath": "s3://simulated/output"}));
    if let Value::Object(members) = &mut shown {
        members.entry("KmsKeyId").or_insert_with(|| json!(""));
    }
    shown
}

/// The requested `ResourceConfig`, reduced to the selected one of several instance preferences.
fn selected(mut config: Value, job: &Job, started: bool) -> Value {
    if let (Some(one), Value::Object(members)) = (job.demand.first(), &mut config)
        && started
        && members.contains_key("InstancePreferences")
    {
        members.insert("SelectedInstanceType".to_owned(), json!(one.unit));
        members.insert("SelectedInstanceCount".to_owned(), json!(integer(one.quantity.ceil())));
    }
    config
}

/// The `CreateTrainingJob` request of a job submitted over the API; empty for jobs of the workload.
fn asked_for(world: &World, id: &JobId) -> Value {
    let payload = world.submitted.get(id).map(|submitted| submitted.payload.as_str());
    payload.and_then(|payload| serde_json::from_str(payload).ok()).unwrap_or_else(|| json!({}))
}

/// `TrainingJobStatus` and `SecondaryStatus`, from AWS's table of Batch states.
fn statuses(run: Run<'_>) -> (&'static str, &'static str) {
    let Some(last) = run.spans().next_back() else { return ("InProgress", "Starting") };
    if last.to.is_none() {
        return ("InProgress", secondary_of(last.phase));
    }
    let is_last = run.attempt == run.job.attempt();
    if run.preempted || (run.job.terminated && is_last) || run.reason == Some(ATTEMPT_TIMED_OUT) {
        ("Stopped", "Stopped")
    } else if run.reason == Some(MAX_RUNTIME_EXCEEDED) {
        ("Stopped", "MaxRuntimeExceeded")
    } else if run.job.status == JobStatus::Succeeded && is_last {
        ("Completed", "Completed")
    } else {
        ("Failed", "Failed")
    }
}

fn secondary_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting | Phase::Scheduled => "Pending",
        Phase::Starting => "Downloading",
        Phase::Running => "Training",
    }
}

/// Each phase with its times, then the final status, which has only a start time.
fn transitions(run: Run<'_>, secondary: &str) -> Vec<Value> {
    let mut transitions: Vec<Value> = run
        .spans()
        .map(|span| {
            let status = secondary_of(span.phase);
            json!({
                "Status": status,
                "StartTime": span.from.secs_f64(),
                "EndTime": span.to.map(Timestamp::secs_f64),
                "StatusMessage": format!("{status} the training job"),
            })
        })
        .collect();
    if let Some(ended_at) = run.ended_at() {
        transitions.push(json!({
            "Status": secondary,
            "StartTime": ended_at.secs_f64(),
            "EndTime": ended_at.secs_f64(),
            "StatusMessage": format!("Training job {}", secondary.to_lowercase()),
        }));
    }
    transitions
}

/// SageMaker's text: Batch's without the prefix for its origin.
fn failure_reason<'a>(run: Run<'a>, status: &str) -> Option<&'a str> {
    let reason = run.reason.filter(|_| status == "Failed")?;
    Some(reason.strip_prefix("Received status from SageMaker:").unwrap_or(reason).trim_start())
}

fn last_modified(run: Run<'_>) -> Timestamp {
    run.spans().next_back().map_or(run.created_at(), |span| span.to.unwrap_or(span.from))
}
