//! Job queues of training jobs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::Describe;
use crate::batch::EXISTS;
use crate::batch::MAX_RESOURCES;
use crate::batch::control_plane_state::Tags;
use crate::batch::control_plane_state::Work;
use crate::batch::enabled;
use crate::batch::environments;
use crate::batch::names;
use crate::batch::page;
use crate::batch::policies;
use crate::batch::queue;
use crate::batch::refused;
use crate::batch::state;
use trainspotter_core::model::Policy;
use trainspotter_core::model::QueueName;
use trainspotter_core::scheduler::Blocked;
use trainspotter_core::scheduler::QueueSetup;
use trainspotter_core::scheduler::TimeLimit;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    job_queue_name: String,
    state: Option<String>,
    scheduling_policy_arn: Option<String>,
    priority: i32,
    #[serde(default)]
    compute_environment_order: Vec<Value>,
    #[serde(default)]
    service_environment_order: Vec<EnvironmentOrder>,
    job_queue_type: Option<String>,
    #[serde(default)]
    job_state_time_limit_actions: Vec<TimeLimitAction>,
    tags: Option<Tags>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvironmentOrder {
    service_environment: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TimeLimitAction {
    reason: String,
    max_time_seconds: u64,
    action: String,
}

pub(super) fn create(world: &mut World, input: Create) -> Result<Value, ApiError> {
    let name = QueueName::from(input.job_queue_name);
    if world.scheduler.queue(&name).is_some() {
        return Err(refused(EXISTS));
    }
    if world.scheduler.queues().count() >= MAX_RESOURCES {
        return Err(refused(format!("An account has at most {MAX_RESOURCES} job queues.")));
    }
    if input.job_queue_type.as_deref() != Some("SAGEMAKER_TRAINING") || !input.compute_environment_order.is_empty() {
        return Err(refused("Only job queues of type SAGEMAKER_TRAINING without compute environments are simulated."));
    }
    let [order] = input.service_environment_order.as_slice() else {
        return Err(refused("A job queue of type SAGEMAKER_TRAINING has exactly one service environment."));
    };
    let environment = environments::find(world, &order.service_environment)?.name.clone();
    // The environment may still be CREATING: AWS's own samples do not wait for it.
    world.resources.must_stay(&arn::environment(&environment))?;
    let policy_arn = input.scheduling_policy_arn.filter(|arn| !arn.is_empty());
    let policy = match &policy_arn {
        None => Policy::Fifo,
        Some(arn) => policies::find(world, arn)?.clone(),
    };
    let alone = |policy: &Policy| matches!(policy, Policy::QuotaShares(_));
    let others = world.scheduler.queues().filter(|queue| queue.environment == environment);
    if let Some(other) = others.into_iter().find(|other| alone(&other.policy) || alone(&policy)) {
        return Err(refused(format!(
            "Service environment {environment} is used by job queue {}: quota management needs one of its own.",
            other.name
        )));
    }
    environments::units_must_fit(&policy, environments::find(world, &environment)?)?;
    let arn = arn::queue(&name);
    let setup = QueueSetup {
        enabled: enabled(input.state.as_deref(), true),
        priority: input.priority,
        time_limits: time_limits(&input.job_state_time_limit_actions)?,
        ..QueueSetup::new(name.clone(), environment, policy)
    };
    world.scheduler.put_queue(setup).map_err(|refusal| refused(refusal.to_string()))?;
    if let Some(policy) = policy_arn {
        world.resources.use_policy(&name, &policy);
    }
    world.resources.begin(&arn, Work::Creating, world.now);
    *world.resources.tags_mut(&arn) = input.tags.unwrap_or_default();
    Ok(json!({"jobQueueName": name, "jobQueueArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    job_queue: String,
    state: Option<String>,
    scheduling_policy_arn: Option<String>,
    priority: Option<i32>,
    service_environment_order: Option<Vec<EnvironmentOrder>>,
    job_state_time_limit_actions: Option<Vec<TimeLimitAction>>,
}

pub(super) fn update(world: &mut World, input: Update) -> Result<Value, ApiError> {
    let mut setup = queue(world, &input.job_queue)?.clone();
    let arn = arn::queue(&setup.name);
    world.resources.must_be_settled(&arn, "update")?;
    if let Some(order) = input.service_environment_order.as_deref() {
        let [order] = order else {
            return Err(refused("A job queue of type SAGEMAKER_TRAINING has exactly one service environment."));
        };
        let environment = environments::find(world, &order.service_environment)?;
        environments::units_must_fit(&setup.policy, environment)?;
        setup.environment.clone_from(&environment.name);
    }
    if let Some(policy) = &input.scheduling_policy_arn {
        let wanted = policies::find(world, policy)?.clone();
        if wanted.as_str() != setup.policy.as_str() {
            return Err(refused("A job queue keeps the type of its scheduling policy."));
        }
        setup.policy = wanted;
    }
    if let Some(actions) = &input.job_state_time_limit_actions {
        setup.time_limits = time_limits(actions)?;
    }
    setup.enabled = enabled(input.state.as_deref(), setup.enabled);
    setup.priority = input.priority.unwrap_or(setup.priority);
    let name = setup.name.clone();
    world.scheduler.put_queue(setup).map_err(|refusal| refused(refusal.to_string()))?;
    if let Some(policy) = input.scheduling_policy_arn {
        world.resources.use_policy(&name, &policy);
    }
    world.resources.begin(&arn, Work::Updating, world.now);
    Ok(json!({"jobQueueName": name, "jobQueueArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delete {
    job_queue: String,
}

pub(super) fn delete(world: &mut World, input: &Delete) -> Result<Value, ApiError> {
    let queue = queue(world, &input.job_queue)?;
    let arn = arn::queue(&queue.name);
    if queue.enabled {
        return Err(refused(format!("Cannot delete {arn}: its state must be DISABLED.")));
    }
    world.resources.must_be_settled(&arn, "delete")?;
    world.resources.begin(&arn, Work::Deleting, world.now);
    Ok(json!({}))
}

pub(super) fn describe(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let wanted = names("job-queue", &input.job_queues);
    let queues = world
        .scheduler
        .queues()
        .filter(|queue| wanted.is_empty() || wanted.contains(&queue.name.as_str()))
        .map(|queue| (queue.name.as_str().to_owned(), shown(world, queue)))
        .collect();
    let (queues, next_token) = page("queues", queues, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"jobQueues": queues, "nextToken": next_token}))
}

fn shown(world: &World, queue: &QueueSetup) -> Value {
    let arn = arn::queue(&queue.name);
    let limits: Vec<_> = queue
        .time_limits
        .iter()
        .map(|limit| {
            json!({
                "reason": limit.blocked.code(),
                "state": "RUNNABLE",
                "maxTimeSeconds": limit.after.as_secs(),
                "action": "TERMINATE",
            })
        })
        .collect();
    json!({
        "jobQueueName": queue.name,
        "jobQueueArn": arn,
        "state": state(queue.enabled),
        "schedulingPolicyArn": world.resources.policy_of(&queue.name),
        "status": world.resources.status(&arn),
        "statusReason": "JobQueue Healthy",
        "priority": queue.priority,
        "computeEnvironmentOrder": [],
        "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": arn::environment(&queue.environment)}],
        "jobQueueType": "SAGEMAKER_TRAINING",
        "jobStateTimeLimitActions": limits,
        "tags": world.resources.tags(&arn),
    })
}

fn time_limits(actions: &[TimeLimitAction]) -> Result<Vec<TimeLimit>, ApiError> {
    let read = |action: &TimeLimitAction| {
        let blocked = Blocked::parse(&action.reason)
            .ok_or_else(|| refused(format!("{} is no reason of jobStateTimeLimitActions.", action.reason)))?;
        if action.action != "TERMINATE" {
            return Err(refused("The action of a service job queue's time limit must be TERMINATE."));
        }
        Ok(TimeLimit { blocked, after: Duration::from_secs(action.max_time_seconds) })
    };
    actions.iter().map(read).collect()
}
