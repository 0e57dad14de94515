//! Queues and what hangs on them: environments, policies, quota shares.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::model::Capacity;
use crate::model::Policy;
use crate::model::QuotaShare;
use crate::model::Sharing;
use crate::scheduler::QueueSetup;
use crate::simulate::World;
use crate::simulate::arn;
use crate::simulate::batch::page;
use crate::simulate::batch::queue;
use crate::simulate::batch::refused;
use crate::simulate::reply::ApiError;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Describe {
    job_queues: Vec<String>,
    service_environments: Vec<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn describe_job_queues(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let wanted = names(&input.job_queues);
    let queues = world
        .scheduler
        .queues()
        .filter(|queue| wanted.is_empty() || wanted.contains(&queue.name.as_str()))
        .map(|queue| (queue.name.as_str().to_owned(), job_queue(queue)))
        .collect();
    let (queues, next_token) = page(queues, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"jobQueues": queues, "nextToken": next_token}))
}

fn job_queue(queue: &QueueSetup) -> Value {
    json!({
        "jobQueueName": queue.name,
        "jobQueueArn": arn::queue(&queue.name),
        "state": "ENABLED",
        "schedulingPolicyArn": policy_arn(queue),
        "status": "VALID",
        "statusReason": "JobQueue Healthy",
        "priority": queue.priority,
        "computeEnvironmentOrder": [],
        "serviceEnvironmentOrder": [{
            "order": 1,
            "serviceEnvironment": environment_arn(&queue.environment),
        }],
        "jobQueueType": "SAGEMAKER_TRAINING",
    })
}

pub(super) fn describe_service_environments(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let wanted = names(&input.service_environments);
    let environments: BTreeMap<_, _> = world
        .scheduler
        .environments()
        .filter(|environment| wanted.is_empty() || wanted.contains(&environment.name.as_str()))
        .map(|environment| {
            let detail = json!({
                "serviceEnvironmentName": environment.name,
                "serviceEnvironmentArn": environment_arn(&environment.name),
                "serviceEnvironmentType": "SAGEMAKER_TRAINING",
                "state": state(environment.enabled),
                "status": "VALID",
                "capacityLimits": limits(&environment.limits),
            });
            (environment.name.clone(), detail)
        })
        .collect();
    let environments = environments.into_iter().collect();
    let (environments, next_token) = page(environments, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"serviceEnvironments": environments, "nextToken": next_token}))
}

#[derive(Debug, Deserialize)]
pub(super) struct Arns {
    arns: Vec<String>,
}

pub(super) fn describe_scheduling_policies(world: &World, input: &Arns) -> Value {
    let policies: Vec<_> = world
        .scheduler
        .queues()
        .filter_map(|queue| Some((policy_arn(queue)?, queue)))
        .filter(|(arn, _)| input.arns.contains(arn))
        .map(|(arn, queue)| scheduling_policy(&arn, queue))
        .collect();
    json!({"schedulingPolicies": policies})
}

fn scheduling_policy(arn: &str, queue: &QueueSetup) -> Value {
    let (quota_share, fair_share) = match &queue.policy {
        Policy::Fifo => (None, None),
        Policy::QuotaShares(_) => (Some(json!({"idleResourceAssignmentStrategy": "FIFO"})), None),
        Policy::FairShare { shares, decay, reservation } => {
            let distribution: Vec<_> = shares
                .iter()
                .map(|entry| json!({"shareIdentifier": entry.share, "weightFactor": entry.weight}))
                .collect();
            let policy = json!({
                "shareDecaySeconds": decay.as_secs(),
                "computeReservation": reservation,
                "shareDistribution": distribution,
            });
            (None, Some(policy))
        }
    };
    json!({
        "name": arn::name_in(arn),
        "arn": arn,
        "quotaSharePolicy": quota_share,
        "fairsharePolicy": fair_share,
    })
}

pub(super) fn list_scheduling_policies(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let policies =
        world.scheduler.queues().filter_map(policy_arn).map(|arn| (arn.clone(), json!({"arn": arn}))).collect();
    let (policies, next_token) = page(policies, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"schedulingPolicies": policies, "nextToken": next_token}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListShares {
    job_queue: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

pub(super) fn list_quota_shares(world: &World, input: &ListShares) -> Result<Value, ApiError> {
    let queue = queue(world, &input.job_queue)?;
    let shares =
        shares_of(queue).iter().map(|share| (share.name.as_str().to_owned(), quota_share(queue, share))).collect();
    let (shares, next_token) = page(shares, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"quotaShares": shares, "nextToken": next_token}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DescribeShare {
    quota_share_arn: String,
}

pub(super) fn describe_quota_share(world: &World, input: &DescribeShare) -> Result<Value, ApiError> {
    let missing = || refused(format!("Quota share {} does not exist.", input.quota_share_arn));
    let (queue_name, name) = arn::name_in(&input.quota_share_arn).split_once("/quota-share/").ok_or_else(missing)?;
    let queue = queue(world, queue_name).map_err(|_| missing())?;
    let share = shares_of(queue).iter().find(|share| share.name.as_str() == name).ok_or_else(missing)?;
    Ok(quota_share(queue, share))
}

fn quota_share(queue: &QueueSetup, share: &QuotaShare) -> Value {
    let sharing = match share.sharing {
        Sharing::Lend => json!({"strategy": "LEND"}),
        Sharing::LendAndBorrow { borrow_limit } => json!({
            "strategy": "LEND_AND_BORROW",
            "borrowLimit": borrow_limit.map_or(-1, i64::from),
        }),
        // A scheduler has no strategy it does not know; RESERVE is how it treats one.
        Sharing::Reserve | Sharing::Unknown => json!({"strategy": "RESERVE"}),
    };
    json!({
        "quotaShareName": share.name,
        "quotaShareArn": arn::quota_share(&queue.name, &share.name),
        "jobQueueArn": arn::queue(&queue.name),
        "capacityLimits": limits(&share.limits),
        "resourceSharingConfiguration": sharing,
        "preemptionConfiguration": {"inSharePreemption": state(share.in_share_preemption)},
        "state": state(share.enabled),
        "status": "VALID",
    })
}

fn shares_of(queue: &QueueSetup) -> &[QuotaShare] {
    match &queue.policy {
        Policy::QuotaShares(shares) => shares,
        Policy::Fifo | Policy::FairShare { .. } => &[],
    }
}

fn policy_arn(queue: &QueueSetup) -> Option<String> {
    match queue.policy {
        Policy::Fifo => None,
        Policy::FairShare { .. } | Policy::QuotaShares(_) => {
            Some(arn::batch("scheduling-policy", format_args!("{}-policy", queue.name)))
        }
    }
}

fn environment_arn(name: &str) -> String {
    arn::batch("service-environment", name)
}

fn state(enabled: bool) -> &'static str {
    if enabled { "ENABLED" } else { "DISABLED" }
}

/// `maxCapacity` is an integer in these answers, unlike usage.
fn limits(limits: &[Capacity]) -> Vec<Value> {
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates; limits are small whole numbers")]
    limits.iter().map(|limit| json!({"maxCapacity": limit.quantity as i64, "capacityUnit": limit.unit})).collect()
}

/// Names of what was asked for by name or ARN.
fn names(asked: &[String]) -> Vec<&str> {
    asked.iter().map(|name| arn::name_in(name)).collect()
}
