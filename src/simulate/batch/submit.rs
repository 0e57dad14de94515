//! `SubmitServiceJob` and `TerminateServiceJob`.
//!
//! A real job's run time lies in its container; here it is the hyperparameter `simulated_seconds` of the payload, ten
//! minutes if absent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::model::Capacity;
use crate::model::JobId;
use crate::model::Policy;
use crate::model::ShareName;
use crate::scheduler::Plan;
use crate::scheduler::PlannedOutcome;
use crate::scheduler::Submission;
use crate::scheduler::Terms;
use crate::simulate::World;
use crate::simulate::arn;
use crate::simulate::batch::jobs;
use crate::simulate::batch::queue;
use crate::simulate::batch::refused;
use crate::simulate::reply::ApiError;

const MAX_PAYLOAD_BYTES: usize = 10 * 1_024;
const MAX_NAME: usize = 128;
const MAX_PRIORITY: i32 = 9_999;
const DEFAULT_RUN: Duration = Duration::from_mins(10);
const UTILISATION: f64 = 0.8;
/// Client tokens remembered; then all are forgotten, as AWS forgets each after a while.
const MAX_TOKENS: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Submit {
    job_name: String,
    job_queue: String,
    service_request_payload: String,
    service_job_type: String,
    scheduling_priority: Option<i32>,
    share_identifier: Option<String>,
    quota_share_name: Option<String>,
    client_token: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    retry_strategy: Option<Value>,
    timeout_config: Option<Value>,
    preemption_configuration: Option<Value>,
}

/// What was submitted over the API and is only described back.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct Submitted {
    pub payload: String,
    pub retry_strategy: Option<Value>,
    pub timeout_config: Option<Value>,
    pub preemption_configuration: Option<Value>,
}

pub(super) fn submit_service_job(world: &mut World, input: Submit) -> Result<Value, ApiError> {
    let token = input.client_token.clone();
    if let Some(id) = token.as_ref().and_then(|token| world.client_tokens.get(token)) {
        return Ok(submitted(&input.job_name, id));
    }
    let submission = check(world, &input)?;
    let id = world.scheduler.submit(submission).map_err(|refusal| refused(refusal.to_string()))?;
    world.scheduler.advance(world.now);
    let kept = Submitted {
        payload: input.service_request_payload,
        retry_strategy: input.retry_strategy,
        timeout_config: input.timeout_config,
        preemption_configuration: input.preemption_configuration,
    };
    world.submitted.insert(id.clone(), kept);
    if let Some(token) = token {
        if world.client_tokens.len() >= MAX_TOKENS {
            world.client_tokens.clear();
        }
        world.client_tokens.insert(token, id.clone());
    }
    Ok(submitted(&input.job_name, &id))
}

fn submitted(name: &str, id: &JobId) -> Value {
    json!({"jobArn": arn::job(id), "jobName": name, "jobId": id})
}

fn check(world: &World, input: &Submit) -> Result<Submission, ApiError> {
    let queue = queue(world, &input.job_queue)?;
    let name = &input.job_name;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(legal) {
        return Err(refused(format!(
            "jobName {name} must have 1 to {MAX_NAME} letters, numbers, hyphens and underscores."
        )));
    }
    if input.service_job_type != "SAGEMAKER_TRAINING" {
        return Err(refused(format!("serviceJobType {} is not supported.", input.service_job_type)));
    }
    if input.service_request_payload.len() > MAX_PAYLOAD_BYTES {
        return Err(refused(format!("serviceRequestPayload is larger than {MAX_PAYLOAD_BYTES} bytes.")));
    }
    let priority = input.scheduling_priority.unwrap_or(0);
    if !(0..=MAX_PRIORITY).contains(&priority) {
        return Err(refused(format!("schedulingPriority must be between 0 and {MAX_PRIORITY}.")));
    }
    let share = match (&queue.policy, &input.share_identifier, &input.quota_share_name) {
        (_, Some(_), Some(_)) => Err("shareIdentifier and quotaShareName exclude each other."),
        (Policy::QuotaShares(_), Some(_), None) => Err("this queue has quota shares: use quotaShareName."),
        (Policy::FairShare { .. }, None, Some(_)) => Err("this queue has a fair-share policy: use shareIdentifier."),
        (_, share, None) | (_, None, share) => Ok(share.as_deref().map(ShareName::from)),
    };
    let payload: Payload = serde_json::from_str(&input.service_request_payload)
        .map_err(|error| refused(format!("serviceRequestPayload is not a CreateTrainingJob request: {error}")))?;
    Ok(Submission {
        at: world.now,
        name: name.clone(),
        queue: queue.name.clone(),
        share: share.map_err(refused)?,
        priority,
        demand: payload.demand()?,
        tags: input.tags.clone(),
        plan: Plan::Runs { duration: payload.run(), outcome: PlannedOutcome::Succeeds },
        terms: Terms::default(),
        utilisation: UTILISATION,
    })
}

/// What matters of a `CreateTrainingJob` request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Payload {
    resource_config: ResourceConfig,
    #[serde(default)]
    hyper_parameters: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceConfig {
    instance_type: Option<String>,
    instance_count: Option<u32>,
    #[serde(default)]
    instance_groups: Vec<InstanceGroup>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceGroup {
    instance_type: String,
    instance_count: u32,
}

impl Payload {
    fn demand(&self) -> Result<Vec<Capacity>, ApiError> {
        let resources = &self.resource_config;
        if let (Some(instance_type), Some(count)) = (&resources.instance_type, resources.instance_count) {
            return Ok(vec![Capacity::new(instance_type.as_str(), f64::from(count))]);
        }
        if resources.instance_groups.is_empty() {
            return Err(refused("serviceRequestPayload needs ResourceConfig.InstanceType and InstanceCount."));
        }
        let capacity =
            |group: &InstanceGroup| Capacity::new(group.instance_type.as_str(), f64::from(group.instance_count));
        Ok(resources.instance_groups.iter().map(capacity).collect())
    }

    fn run(&self) -> Duration {
        let seconds =
            self.hyper_parameters.get("simulated_seconds").and_then(|text| text.trim_matches('"').parse().ok());
        seconds.map_or(DEFAULT_RUN, Duration::from_secs)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terminate {
    job_id: String,
    reason: String,
}

/// Succeeds for ended jobs too, as Batch does.
pub(super) fn terminate_service_job(world: &mut World, input: &Terminate) -> Result<Value, ApiError> {
    let id = jobs::find(world, &input.job_id)?.id.clone();
    world.scheduler.terminate(&id, &input.reason);
    Ok(json!({}))
}
