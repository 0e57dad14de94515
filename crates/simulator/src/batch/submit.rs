//! `SubmitServiceJob`, and operations on submitted jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::describe_jobs;
use crate::batch::payload;
use crate::batch::queue;
use crate::batch::refused;
use trainspotter_core::model::JobId;
use trainspotter_core::model::Policy;
use trainspotter_core::model::ShareName;
use trainspotter_core::scheduler::ExitAction;
use trainspotter_core::scheduler::ExitRule;
use trainspotter_core::scheduler::RetryStrategy;
use trainspotter_core::scheduler::Submission;
use trainspotter_core::scheduler::Terms;

const MAX_PAYLOAD_BYTES: usize = 10 * 1_024;
/// Maximum size of the whole request; the body is about as long.
const MAX_REQUEST_BYTES: usize = 30 * 1_024;
const MAX_TAGS: usize = 50;
const UTILISATION: f64 = 0.8;
/// Maximum remembered client tokens; then all are dropped, as AWS drops each after a while.
const MAX_TOKENS: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Submit {
    job_name: String,
    job_queue: String,
    service_request_payload: String,
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retry {
    attempts: u32,
    #[serde(default)]
    evaluate_on_exit: Vec<OnExit>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OnExit {
    action: Option<String>,
    on_status_reason: Option<String>,
}

/// Fields submitted over the API that are only returned in descriptions.
#[derive(Clone, Debug)]
pub(crate) struct Submitted {
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
    world.resources.must_take_jobs(&arn::queue(&queue.name))?;
    world.resources.must_take_jobs(&arn::environment(&queue.environment))?;
    if input.service_request_payload.len() > MAX_PAYLOAD_BYTES {
        return Err(refused(format!("serviceRequestPayload is larger than {MAX_PAYLOAD_BYTES} bytes.")));
    }
    let tags_length: usize = input.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if input.service_request_payload.len() + tags_length > MAX_REQUEST_BYTES {
        return Err(refused(format!("The request is larger than {MAX_REQUEST_BYTES} bytes.")));
    }
    let share = match (&queue.policy, &input.share_identifier, &input.quota_share_name) {
        (_, Some(_), Some(_)) => Err("shareIdentifier and quotaShareName exclude each other."),
        (Policy::QuotaShares(_), Some(_), None) => Err("this queue has quota shares: use quotaShareName."),
        (Policy::FairShare { .. }, None, Some(_)) => Err("this queue has a fair-share policy: use shareIdentifier."),
        (_, share, None) | (_, None, share) => Ok(share.as_deref().map(ShareName::from)),
    };
    let share = share.map_err(refused)?;
    let payload = payload::read(&input.service_request_payload, world.scheduler.environment(&queue.environment));
    // Batch's own tags take precedence.
    let mut tags = payload.tags;
    tags.extend(input.tags.clone());
    if tags.len() > MAX_TAGS {
        return Err(refused(format!("A job has at most {MAX_TAGS} tags.")));
    }
    Ok(Submission {
        at: world.now,
        name: input.job_name.clone(),
        queue: queue.name.clone(),
        share,
        priority: input.scheduling_priority.unwrap_or(0),
        demand: payload.demand,
        tags,
        plan: payload.plan,
        terms: terms(input)?,
        utilisation: UTILISATION,
    })
}

/// Retries and timeouts of a job.
fn terms(input: &Submit) -> Result<Terms, ApiError> {
    let mut terms = Terms::default();
    if let Some(retry) = &input.retry_strategy {
        let retry = Retry::deserialize(retry).map_err(|error| refused(format!("retryStrategy: {error}")))?;
        let rules = retry.evaluate_on_exit.into_iter().map(OnExit::rule).collect::<Result<_, _>>()?;
        terms.retry = RetryStrategy { attempts: retry.attempts, rules };
    }
    let number = |config: &Option<Value>, name: &str| config.as_ref().and_then(|config| config[name].as_u64());
    terms.attempt_timeout = number(&input.timeout_config, "attemptDurationSeconds").map(Duration::from_secs);
    let retries = number(&input.preemption_configuration, "preemptionRetriesBeforeTermination");
    terms.preemption_retries = retries.and_then(|retries| u32::try_from(retries).ok());
    Ok(terms)
}

impl OnExit {
    fn rule(self) -> Result<ExitRule, ApiError> {
        let pattern = self.on_status_reason.unwrap_or_else(|| "*".to_owned());
        if pattern.strip_suffix('*').unwrap_or(&pattern).contains('*') {
            return Err(refused(format!("onStatusReason {pattern}: a * can only be at the end.")));
        }
        let exits = self.action.is_some_and(|action| action.eq_ignore_ascii_case("EXIT"));
        let action = if exits { ExitAction::Exit } else { ExitAction::Retry };
        Ok(ExitRule { on_status_reason: pattern, action })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Terminate {
    job_id: String,
    reason: String,
}

/// Succeeds for ended jobs too, like Batch.
pub(super) fn terminate_service_job(world: &mut World, input: &Terminate) -> Result<Value, ApiError> {
    let id = describe_jobs::find(world, &input.job_id)?.id.clone();
    world.scheduler.terminate(&id, &input.reason);
    Ok(json!({}))
}

#[derive(Debug, Deserialize)]
pub(super) struct TerminateMany {
    jobs: Vec<String>,
    reason: String,
}

/// "Service jobs that can't be found are treated as successfully processed."
pub(super) fn terminate_service_jobs(world: &mut World, input: &TerminateMany) -> Value {
    for job in &input.jobs {
        world.scheduler.terminate(&arn::job_id(job), &input.reason);
    }
    json!({"successful": input.jobs, "errors": []})
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    job_id: String,
    scheduling_priority: i32,
}

pub(super) fn update_service_job(world: &mut World, input: &Update) -> Result<Value, ApiError> {
    let job = describe_jobs::find(world, &input.job_id)?;
    let (id, name) = (job.id.clone(), job.name.clone());
    if !world.scheduler.set_priority(&id, input.scheduling_priority) {
        return Err(refused(format!("Service job {id} has ended: its priority cannot be changed.")));
    }
    Ok(submitted(&name, &id))
}
