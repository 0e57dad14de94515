//! Tags of any resource with an ARN.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::control_plane_state::Tags;
use crate::batch::environments;
use crate::batch::policies;
use crate::batch::queue;
use crate::batch::quota_shares;
use crate::batch::refused;

/// Maximum tags per resource.
const MAX_TAGS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tag {
    resource_arn: String,
    tags: Tags,
}

pub(super) fn tag(world: &mut World, input: Tag) -> Result<Value, ApiError> {
    change(world, &input.resource_arn, |tags| tags.extend(input.tags))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Untag {
    resource_arn: String,
    tag_keys: Vec<String>,
}

pub(super) fn untag(world: &mut World, input: &Untag) -> Result<Value, ApiError> {
    change(world, &input.resource_arn, |tags| tags.retain(|key, _| !input.tag_keys.contains(key)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    resource_arn: String,
}

pub(super) fn list(world: &World, input: &List) -> Result<Value, ApiError> {
    Ok(json!({"tags": of(world, &input.resource_arn)?}))
}

fn change(world: &mut World, arn: &str, change: impl FnOnce(&mut Tags)) -> Result<Value, ApiError> {
    let mut tags = of(world, arn)?;
    change(&mut tags);
    if tags.len() > MAX_TAGS {
        return Err(refused(format!("A resource has at most {MAX_TAGS} tags.")));
    }
    if is_job(arn) {
        world.scheduler.set_tags(&arn::job_id(arn), tags);
    } else {
        *world.resources.tags_mut(arn) = tags;
    }
    Ok(json!({}))
}

fn of(world: &World, arn: &str) -> Result<Tags, ApiError> {
    if is_job(arn) {
        let job = world.scheduler.job(&arn::job_id(arn));
        return job.map(|job| (*job.tags).clone()).ok_or_else(|| refused(format!("{arn} does not exist.")));
    }
    let is_of = |kind: &str| arn.starts_with(&arn::batch(kind, ""));
    if is_of("service-environment") {
        environments::find(world, arn)?;
    } else if is_of("scheduling-policy") {
        policies::find(world, arn)?;
    } else if arn::queue_and_share(arn).is_some() {
        quota_shares::find(world, arn)?;
    } else if is_of("job-queue") {
        queue(world, arn)?;
    } else {
        return Err(refused(format!("{arn} is not the ARN of a resource.")));
    }
    Ok(world.resources.tags(arn).cloned().unwrap_or_default())
}

fn is_job(arn: &str) -> bool {
    arn.starts_with(&arn::batch("service-job", ""))
}
