//! Service environments.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::api_error::integer;
use crate::arn;
use crate::batch::Describe;
use crate::batch::EXISTS;
use crate::batch::MAX_RESOURCES;
use crate::batch::control_plane_state::Tags;
use crate::batch::control_plane_state::Work;
use crate::batch::enabled;
use crate::batch::names;
use crate::batch::page;
use crate::batch::refused;
use crate::batch::state;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::Policy;
use trainspotter_core::model::ServiceEnvironment;

/// One entry of `capacityLimits`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Limit {
    max_capacity: u32,
    capacity_unit: String,
}

/// Parses limits.
///
/// # Errors
/// A unit occurs twice.
pub(super) fn capacities(limits: &[Limit]) -> Result<Vec<Capacity>, ApiError> {
    let mut read: Vec<Capacity> = Vec::new();
    for limit in limits {
        let capacity = Capacity::new(limit.capacity_unit.as_str(), f64::from(limit.max_capacity));
        if read.iter().any(|other| other.unit == capacity.unit) {
            return Err(refused(format!("The capacity unit {} is there twice.", limit.capacity_unit)));
        }
        read.push(capacity);
    }
    Ok(read)
}

/// Formats limits. `maxCapacity` is an integer in these responses, unlike usage.
pub(super) fn shown(limits: &[Capacity]) -> Vec<Value> {
    let limit = |limit: &Capacity| json!({"maxCapacity": integer(limit.quantity), "capacityUnit": limit.unit});
    limits.iter().map(limit).collect()
}

/// "In a quota management enabled service environment, specify the instance type. Otherwise, use NUM_INSTANCES."
///
/// # Errors
/// The limits of the environment count in another unit than queues of this policy do.
pub(super) fn units_must_fit(policy: &Policy, environment: &ServiceEnvironment) -> Result<(), ApiError> {
    let by_type = matches!(policy, Policy::QuotaShares(_));
    let fits = |limit: &Capacity| limit.unit.is_any() != by_type;
    if environment.limits.iter().all(fits) {
        return Ok(());
    }
    let unit = if by_type { "an instance type" } else { InstanceType::ANY };
    Err(refused(format!(
        "The capacityUnit of service environment {} must be {unit} for a job queue of this scheduling policy.",
        environment.name
    )))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    service_environment_name: String,
    state: Option<String>,
    capacity_limits: Vec<Limit>,
    tags: Option<Tags>,
}

pub(super) fn create(world: &mut World, input: Create) -> Result<Value, ApiError> {
    let name = input.service_environment_name;
    if world.scheduler.environment(&name).is_some() {
        return Err(refused(EXISTS));
    }
    if world.scheduler.environments().count() >= MAX_RESOURCES {
        return Err(refused(format!("An account has at most {MAX_RESOURCES} service environments.")));
    }
    let limits = capacities(&input.capacity_limits)?;
    let arn = arn::environment(&name);
    let environment = ServiceEnvironment { name: name.clone(), enabled: enabled(input.state.as_deref(), true), limits };
    world.scheduler.put_environment(environment);
    world.resources.begin(&arn, Work::Creating, world.now);
    *world.resources.tags_mut(&arn) = input.tags.unwrap_or_default();
    Ok(json!({"serviceEnvironmentName": name, "serviceEnvironmentArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    service_environment: String,
    state: Option<String>,
    capacity_limits: Option<Vec<Limit>>,
}

pub(super) fn update(world: &mut World, input: &Update) -> Result<Value, ApiError> {
    let mut environment = find(world, &input.service_environment)?.clone();
    let arn = arn::environment(&environment.name);
    world.resources.must_be_settled(&arn, "update")?;
    if let Some(limits) = &input.capacity_limits {
        environment.limits = capacities(limits)?;
        for queue in world.scheduler.queues().filter(|queue| queue.environment == environment.name) {
            units_must_fit(&queue.policy, &environment)?;
        }
    }
    environment.enabled = enabled(input.state.as_deref(), environment.enabled);
    let name = environment.name.clone();
    world.scheduler.put_environment(environment);
    world.resources.begin(&arn, Work::Updating, world.now);
    Ok(json!({"serviceEnvironmentName": name, "serviceEnvironmentArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delete {
    service_environment: String,
}

pub(super) fn delete(world: &mut World, input: &Delete) -> Result<Value, ApiError> {
    let environment = find(world, &input.service_environment)?;
    let arn = arn::environment(&environment.name);
    if environment.enabled {
        return Err(refused(format!("Cannot delete {arn}: its state must be DISABLED.")));
    }
    if let Some(queue) = world.scheduler.queues().find(|queue| queue.environment == environment.name) {
        return Err(refused(format!("Cannot delete {arn}: found existing JobQueue relationship with {}.", queue.name)));
    }
    world.resources.must_be_deletable(&arn)?;
    world.resources.begin(&arn, Work::Deleting, world.now);
    Ok(json!({}))
}

pub(super) fn describe(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let wanted = names("service-environment", &input.service_environments);
    let environments = world
        .scheduler
        .environments()
        .filter(|environment| wanted.is_empty() || wanted.contains(&environment.name.as_str()))
        .map(|environment| {
            let arn = arn::environment(&environment.name);
            let detail = json!({
                "serviceEnvironmentName": environment.name,
                "serviceEnvironmentArn": arn,
                "serviceEnvironmentType": "SAGEMAKER_TRAINING",
                "state": state(environment.enabled),
                "status": world.resources.status(&arn),
                "capacityLimits": shown(&environment.limits),
                "tags": world.resources.tags(&arn),
            });
            (environment.name.clone(), detail)
        })
        .collect();
    let (environments, next_token) =
        page("environments", environments, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"serviceEnvironments": environments, "nextToken": next_token}))
}

/// Finds an environment by name or ARN.
pub(super) fn find<'a>(world: &'a World, name_or_arn: &str) -> Result<&'a ServiceEnvironment, ApiError> {
    world
        .scheduler
        .environment(arn::name_of("service-environment", name_or_arn))
        .ok_or_else(|| refused(format!("Service environment {name_or_arn} does not exist.")))
}
