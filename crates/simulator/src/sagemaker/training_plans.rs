//! Training plans: capacity reserved in advance. An account whose queues use instances for which plans exist has one
//! plan, of thirty days, which no job uses.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;

const NAME: &str = "reserved-p5";
const INSTANCE: &str = "ml.p5.48xlarge";
const INSTANCES: u32 = 4;
const HOURS: u32 = 30 * 24;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    training_plan_name: String,
}

pub(super) fn describe(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let wanted = &input.training_plan_name;
    let plan = plan(world).filter(|_| wanted == NAME || *wanted == arn::training_plan(NAME));
    plan.ok_or_else(|| ApiError::bad("ResourceNotFound", format!("Training plan {wanted} does not exist")))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct List {
    start_time_after: Option<f64>,
    start_time_before: Option<f64>,
    filters: Vec<Filter>,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    value: String,
}

pub(super) fn list(world: &World, input: &List) -> Result<Value, ApiError> {
    only_page(input.next_token.as_deref())?;
    let admits = |plan: &Value| {
        let start = plan["StartTime"].as_f64().unwrap_or(0.0);
        input.start_time_after.is_none_or(|after| start > after)
            && input.start_time_before.is_none_or(|before| start < before)
            && input.filters.iter().all(|filter| plan["Status"] == filter.value)
    };
    Ok(json!({"TrainingPlanSummaries": plan(world).into_iter().filter(admits).collect::<Vec<_>>()}))
}

fn plan(world: &World) -> Option<Value> {
    let mut limits = world.scheduler.environments().flat_map(|environment| &environment.limits);
    limits.find(|limit| limit.unit.as_str() == INSTANCE)?;
    let since = world.over_time.began();
    let times = json!({
        "Status": "Active",
        "DurationHours": HOURS,
        "DurationMinutes": 0,
        "StartTime": since.secs_f64(),
        "EndTime": since.secs_f64() + f64::from(HOURS) * 3_600.0,
    });
    let mut reserved = json!({
        "ReservedCapacityArn": arn::reserved_capacity(NAME),
        "InstanceType": INSTANCE,
        "TotalInstanceCount": INSTANCES,
        "AvailabilityZone": format!("{}a", arn::region()),
    });
    let mut plan = json!({
        "TrainingPlanArn": arn::training_plan(NAME),
        "TrainingPlanName": NAME,
        "TotalInstanceCount": INSTANCES,
        "AvailableInstanceCount": INSTANCES,
        "InUseInstanceCount": 0,
        "TargetResources": ["training-job"],
    });
    for shown in [&mut reserved, &mut plan] {
        if let (Value::Object(shown), Value::Object(times)) = (shown, times.clone()) {
            shown.extend(times);
        }
    }
    plan["ReservedCapacitySummaries"] = json!([reserved]);
    Some(plan)
}

/// Rejects every token: these lists have one page.
pub(super) fn only_page(next_token: Option<&str>) -> Result<(), ApiError> {
    match next_token {
        Some(_) => Err(ApiError::bad("ValidationException", "Invalid NextToken")),
        None => Ok(()),
    }
}
