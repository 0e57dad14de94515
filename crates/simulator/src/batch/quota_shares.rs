//! Quota shares of a queue.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::control_plane_state::Tags;
use crate::batch::control_plane_state::Work;
use crate::batch::enabled;
use crate::batch::environments::Limit;
use crate::batch::environments::capacities;
use crate::batch::environments::shown as limits_shown;
use crate::batch::page;
use crate::batch::queue;
use crate::batch::refused;
use crate::batch::state;
use trainspotter_core::model::Policy;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Sharing;
use trainspotter_core::scheduler::QueueSetup;

/// Maximum quota shares per queue.
const MAX_SHARES: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    quota_share_name: String,
    job_queue: String,
    capacity_limits: Vec<Limit>,
    resource_sharing_configuration: SharingConfiguration,
    preemption_configuration: PreemptionConfiguration,
    state: Option<String>,
    tags: Option<Tags>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SharingConfiguration {
    strategy: String,
    borrow_limit: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PreemptionConfiguration {
    in_share_preemption: String,
}

impl SharingConfiguration {
    fn sharing(&self) -> Result<Sharing, ApiError> {
        match (self.strategy.as_str(), self.borrow_limit) {
            ("RESERVE", None) => Ok(Sharing::Reserve),
            ("LEND", None) => Ok(Sharing::Lend),
            // -1, the default, means no limit.
            ("LEND_AND_BORROW", limit) => {
                Ok(Sharing::LendAndBorrow { borrow_limit: limit.and_then(|percent| u32::try_from(percent).ok()) })
            }
            _ => Err(refused("borrowLimit can only be specified with the strategy LEND_AND_BORROW.")),
        }
    }
}

pub(super) fn create(world: &mut World, input: Create) -> Result<Value, ApiError> {
    let queue = queue(world, &input.job_queue)?;
    let (queue_name, name) = (queue.name.clone(), ShareName::from(input.quota_share_name));
    let Policy::QuotaShares(shares) = &queue.policy else {
        return Err(refused(format!("Job queue {queue_name} has no quota-share scheduling policy.")));
    };
    if shares.iter().any(|share| share.name == name) {
        return Err(refused(format!("Quota share {name} already exists.")));
    }
    if shares.len() >= MAX_SHARES {
        return Err(refused(format!("A job queue has at most {MAX_SHARES} quota shares.")));
    }
    world.resources.must_stay(&arn::queue(&queue_name))?;
    let share = QuotaShare {
        name: name.clone(),
        enabled: enabled(input.state.as_deref(), true),
        limits: capacities(&input.capacity_limits)?,
        sharing: input.resource_sharing_configuration.sharing()?,
        in_share_preemption: input.preemption_configuration.in_share_preemption == "ENABLED",
    };
    let arn = arn::quota_share(&queue_name, &name);
    world.scheduler.put_share(&queue_name, share).map_err(|refusal| refused(refusal.to_string()))?;
    world.resources.begin(&arn, Work::Creating, world.now);
    *world.resources.tags_mut(&arn) = input.tags.unwrap_or_default();
    Ok(json!({"quotaShareName": name, "quotaShareArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    quota_share_arn: String,
    capacity_limits: Option<Vec<Limit>>,
    resource_sharing_configuration: Option<SharingConfiguration>,
    preemption_configuration: Option<PreemptionConfiguration>,
    state: Option<String>,
}

pub(super) fn update(world: &mut World, input: &Update) -> Result<Value, ApiError> {
    let (queue, share) = find(world, &input.quota_share_arn)?;
    let (queue, mut share) = (queue.name.clone(), share.clone());
    let arn = arn::quota_share(&queue, &share.name);
    world.resources.must_be_settled(&arn, "update")?;
    if let Some(limits) = &input.capacity_limits {
        share.limits = capacities(limits)?;
    }
    if let Some(sharing) = &input.resource_sharing_configuration {
        share.sharing = sharing.sharing()?;
    }
    if let Some(preemption) = &input.preemption_configuration {
        share.in_share_preemption = preemption.in_share_preemption == "ENABLED";
    }
    share.enabled = enabled(input.state.as_deref(), share.enabled);
    let name = share.name.clone();
    world.scheduler.put_share(&queue, share).map_err(|refusal| refused(refusal.to_string()))?;
    world.resources.begin(&arn, Work::Updating, world.now);
    Ok(json!({"quotaShareName": name, "quotaShareArn": arn}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    quota_share_arn: String,
}

pub(super) fn delete(world: &mut World, input: &Named) -> Result<Value, ApiError> {
    let (queue, share) = find(world, &input.quota_share_arn)?;
    let arn = arn::quota_share(&queue.name, &share.name);
    if share.enabled {
        return Err(refused(format!("Cannot delete {arn}: its state must be DISABLED.")));
    }
    world.resources.must_be_settled(&arn, "delete")?;
    world.resources.begin(&arn, Work::Deleting, world.now);
    Ok(json!({}))
}

pub(super) fn describe(world: &World, input: &Named) -> Result<Value, ApiError> {
    let (queue, share) = find(world, &input.quota_share_arn)?;
    Ok(shown(world, queue, share))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    job_queue: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn list(world: &World, input: &List) -> Result<Value, ApiError> {
    let queue = queue(world, &input.job_queue)?;
    let summary = |share: &QuotaShare| {
        let mut summary = shown(world, queue, share);
        if let Value::Object(members) = &mut summary {
            members.shift_remove("tags");
        }
        (share.name.as_str().to_owned(), summary)
    };
    let shares = of(queue).iter().map(summary).collect();
    let (shares, next_token) =
        page(&format!("shares of {}", queue.name), shares, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"quotaShares": shares, "nextToken": next_token}))
}

fn shown(world: &World, queue: &QueueSetup, share: &QuotaShare) -> Value {
    let sharing = match share.sharing {
        Sharing::Lend => json!({"strategy": "LEND"}),
        Sharing::LendAndBorrow { borrow_limit } => json!({
            "strategy": "LEND_AND_BORROW",
            "borrowLimit": borrow_limit.map_or(-1, i64::from),
        }),
        // The scheduler has no unknown strategies; it treats them as RESERVE.
        Sharing::Reserve | Sharing::Unknown => json!({"strategy": "RESERVE"}),
    };
    let arn = arn::quota_share(&queue.name, &share.name);
    json!({
        "quotaShareName": share.name,
        "quotaShareArn": arn,
        "jobQueueArn": arn::queue(&queue.name),
        "capacityLimits": limits_shown(&share.limits),
        "resourceSharingConfiguration": sharing,
        "preemptionConfiguration": {"inSharePreemption": state(share.in_share_preemption)},
        "state": state(share.enabled),
        "status": world.resources.status(&arn),
        "tags": world.resources.tags(&arn),
    })
}

/// Finds a share and its queue by ARN.
pub(super) fn find<'a>(world: &'a World, arn: &str) -> Result<(&'a QueueSetup, &'a QuotaShare), ApiError> {
    let missing = || refused(format!("Quota share {arn} does not exist."));
    let (queue_name, name) = arn::queue_and_share(arn).ok_or_else(missing)?;
    let queue = world.scheduler.queue(&QueueName::from(queue_name)).ok_or_else(missing)?;
    let share = of(queue).iter().find(|share| share.name.as_str() == name).ok_or_else(missing)?;
    Ok((queue, share))
}

fn of(queue: &QueueSetup) -> &[QuotaShare] {
    match &queue.policy {
        Policy::QuotaShares(shares) => shares,
        Policy::Fifo | Policy::FairShare { .. } => &[],
    }
}
