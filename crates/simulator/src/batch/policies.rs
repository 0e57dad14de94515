//! Scheduling policies: fair share or quota shares. The kind of a policy is fixed.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::Describe;
use crate::batch::EXISTS;
use crate::batch::control_plane_state::Tags;
use crate::batch::page;
use crate::batch::refused;
use trainspotter_core::model::Policy;
use trainspotter_core::model::WeightedShare;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    name: String,
    #[serde(flatten)]
    kind: Kind,
    tags: Option<Tags>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    quota_share_policy: Option<Value>,
    fairshare_policy: Option<FairShare>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FairShare {
    share_decay_seconds: Option<u64>,
    compute_reservation: Option<u8>,
    #[serde(default)]
    share_distribution: Vec<Weight>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Weight {
    share_identifier: String,
    weight_factor: Option<f64>,
}

impl Kind {
    fn policy(self) -> Result<Policy, ApiError> {
        match (self.quota_share_policy, self.fairshare_policy) {
            (Some(_), None) => Ok(Policy::QuotaShares(Vec::new())),
            (None, Some(fair)) => fair.policy(),
            (Some(_), Some(_)) | (None, None) => {
                Err(refused("Exactly one of quotaSharePolicy and fairsharePolicy must be specified."))
            }
        }
    }
}

impl FairShare {
    fn policy(self) -> Result<Policy, ApiError> {
        let mut shares: Vec<WeightedShare> = Vec::new();
        for weight in self.share_distribution {
            let name = weight.share_identifier;
            let stem = name.strip_suffix('*').unwrap_or(&name);
            if stem.is_empty() || !stem.chars().all(|c| c.is_ascii_alphanumeric()) {
                return Err(refused(format!(
                    "shareIdentifier {name} must be alphanumeric, perhaps with a * at its end."
                )));
            }
            if let Some(other) = shares.iter().find(|other| overlap(other.share.as_str(), &name)) {
                return Err(refused(format!("The share identifiers {} and {name} overlap.", other.share)));
            }
            shares.push(WeightedShare { share: name.into(), weight: weight.weight_factor.unwrap_or(1.0) });
        }
        Ok(Policy::FairShare {
            shares,
            decay: Duration::from_secs(self.share_decay_seconds.unwrap_or(0)),
            reservation: self.compute_reservation.unwrap_or(0),
        })
    }
}

/// Whether a share identifier can match both.
fn overlap(one: &str, other: &str) -> bool {
    match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
        (Some(prefix), None) => other.starts_with(prefix),
        (None, Some(prefix)) => one.starts_with(prefix),
        (None, None) => one == other,
    }
}

pub(super) fn create(world: &mut World, input: Create) -> Result<Value, ApiError> {
    let arn = arn::policy(&input.name);
    if world.resources.policy(&arn).is_some() {
        return Err(refused(EXISTS));
    }
    let policy = input.kind.policy()?;
    world.resources.put_policy(&arn, policy);
    *world.resources.tags_mut(&arn) = input.tags.unwrap_or_default();
    Ok(json!({"name": input.name, "arn": arn}))
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    arn: String,
    #[serde(flatten)]
    kind: Kind,
}

pub(super) fn update(world: &mut World, input: Update) -> Result<Value, ApiError> {
    let before = find(world, &input.arn)?;
    let policy = input.kind.policy()?;
    if before.as_str() != policy.as_str() {
        return Err(refused("The type of a scheduling policy cannot be changed."));
    }
    for queue in world.resources.put_policy(&input.arn, policy.clone()) {
        world.scheduler.put_policy(&queue, policy.clone()).map_err(|refusal| refused(refusal.to_string()))?;
    }
    Ok(json!({}))
}

#[derive(Debug, Deserialize)]
pub(super) struct Delete {
    arn: String,
}

pub(super) fn delete(world: &mut World, input: &Delete) -> Result<Value, ApiError> {
    find(world, &input.arn)?;
    if let Some(queue) = world.resources.users(&input.arn).first() {
        return Err(refused(format!("Cannot delete {}: job queue {queue} uses it.", input.arn)));
    }
    world.resources.remove_policy(&input.arn);
    Ok(json!({}))
}

#[derive(Debug, Deserialize)]
pub(super) struct Arns {
    arns: Vec<String>,
}

pub(super) fn describe(world: &World, input: &Arns) -> Value {
    let policies = world.resources.policies().filter(|(arn, _)| input.arns.contains(arn));
    json!({"schedulingPolicies": policies.map(|(arn, policy)| shown(world, arn, policy)).collect::<Vec<_>>()})
}

fn shown(world: &World, arn: &str, policy: &Policy) -> Value {
    let (quota_share, fair_share) = match policy {
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
        "name": arn::name_of("scheduling-policy", arn),
        "arn": arn,
        "quotaSharePolicy": quota_share,
        "fairsharePolicy": fair_share,
        "tags": world.resources.tags(arn),
    })
}

pub(super) fn list(world: &World, input: &Describe) -> Result<Value, ApiError> {
    let policies = world.resources.policies().map(|(arn, _)| (arn.clone(), json!({"arn": arn}))).collect();
    let (policies, next_token) = page("policies", policies, input.max_results, input.next_token.as_deref())?;
    Ok(json!({"schedulingPolicies": policies, "nextToken": next_token}))
}

/// Finds a policy by ARN.
pub(super) fn find<'a>(world: &'a World, arn: &str) -> Result<&'a Policy, ApiError> {
    world.resources.policy(arn).ok_or_else(|| refused(format!("Scheduling policy {arn} does not exist.")))
}
