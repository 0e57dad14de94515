//! `ListTrainingJobs`: training jobs, whether created by Batch or directly, with filters, order and pages.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::direct_training_jobs::DirectJob;
use super::{asked_for, last_modified, statuses};
use crate::World;
use crate::api_error::{ApiError, integer};
use crate::arn;
use crate::batch_training_jobs::{self, Run};
use crate::page_token::PageToken;
use trainspotter_core::model::Timestamp;

/// Default entries per page.
const DEFAULT_RESULTS: usize = 10;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct List {
    max_results: Option<i64>,
    next_token: Option<String>,
    status_equals: Option<String>,
    name_contains: Option<String>,
    creation_time_after: Option<f64>,
    creation_time_before: Option<f64>,
    last_modified_time_after: Option<f64>,
    last_modified_time_before: Option<f64>,
    sort_by: Option<String>,
    sort_order: Option<String>,
    warm_pool_status_equals: Option<String>,
    training_plan_arn_equals: Option<String>,
}

/// Newest first by default. Filters by status apply after pagination, as the API reference says of `StatusEquals`: short
/// and empty pages are normal. Filters by name and time apply before it.
pub(super) fn list(world: &World, input: &List) -> Result<Value, ApiError> {
    let size = input.max_results.and_then(|size| usize::try_from(size).ok()).unwrap_or(DEFAULT_RESULTS);
    let token = input
        .next_token
        .as_deref()
        .map(|text| PageToken::decode(text).ok_or_else(|| ApiError::bad("ValidationException", "Invalid NextToken")))
        .transpose()?;
    let ascending = input.sort_order.as_deref() == Some("Ascending");
    let mut jobs = all(world);
    jobs.retain(|job| input.is_about(*job));
    let key = |job: &Listed<'_>| match input.sort_by.as_deref() {
        Some("Name") => (0, job.name().to_owned()),
        Some("Status") => (0, format!("{} {}", job.statuses().0, job.name())),
        _ => (job.created_at().millis(), job.name().to_owned()),
    };
    if let Some(token) = &token {
        let last = (token.order, token.key.clone());
        jobs.retain(|job| if ascending { key(job) > last } else { key(job) < last });
    }
    jobs.sort_by_cached_key(key);
    if !ascending {
        jobs.reverse();
    }
    let more = jobs.len() > size;
    jobs.truncate(size);
    let page = token.map_or(1, |token| token.page);
    let next_token = jobs.last().filter(|_| more).map(|last| {
        let (order, key) = key(last);
        PageToken { page: page.saturating_add(1), order, key }.encode()
    });
    let summaries: Vec<_> =
        jobs.into_iter().filter(|job| input.shows(world, *job)).map(|job| summary(world, job)).collect();
    Ok(json!({"TrainingJobSummaries": summaries, "NextToken": next_token}))
}

impl List {
    fn is_about(&self, job: Listed<'_>) -> bool {
        let (created, modified) = (job.created_at().secs_f64(), job.last_modified().secs_f64());
        self.name_contains.as_deref().is_none_or(|part| job.name().contains(part))
            && self.creation_time_after.is_none_or(|after| created > after)
            && self.creation_time_before.is_none_or(|before| created < before)
            && self.last_modified_time_after.is_none_or(|after| modified > after)
            && self.last_modified_time_before.is_none_or(|before| modified < before)
    }

    fn shows(&self, world: &World, job: Listed<'_>) -> bool {
        self.status_equals.as_deref().is_none_or(|status| status == job.statuses().0)
            && self.warm_pool_status_equals.as_deref().is_none_or(|status| warm_pool(world, job).is_some_and(|pool| pool["Status"] == status))
            // No simulated job runs on a training plan.
            && self.training_plan_arn_equals.is_none()
    }
}

fn summary(world: &World, job: Listed<'_>) -> Value {
    let (status, secondary) = job.statuses();
    json!({
        "TrainingJobName": job.name(),
        "TrainingJobArn": arn::training_job(job.name()),
        "CreationTime": job.created_at().secs_f64(),
        "TrainingEndTime": job.ended_at().map(Timestamp::secs_f64),
        "LastModifiedTime": job.last_modified().secs_f64(),
        "TrainingJobStatus": status,
        "SecondaryStatus": secondary,
        "WarmPoolStatus": warm_pool(world, job),
    })
}

/// Warm pool of a run that requested one: after completion its instances are kept for the keep-alive period. No job
/// reuses them.
fn warm_pool(world: &World, job: Listed<'_>) -> Option<Value> {
    let Listed::OfBatch(run) = job else { return None };
    let kept = asked_for(world, &run.job.id)["ResourceConfig"]["KeepAlivePeriodInSeconds"]
        .as_u64()
        .filter(|kept| *kept > 0)?;
    let (status, _) = statuses(run);
    let kept_for = Duration::from_secs(kept);
    Some(match run.ended_at() {
        None => json!({"Status": "InUse"}),
        Some(ended_at) if status == "Completed" => {
            let (waits, waited) = (world.now < ended_at + kept_for, world.now.since(ended_at).min(kept_for));
            let status = if waits { "Available" } else { "Terminated" };
            json!({"Status": status, "ResourceRetainedBillableTimeInSeconds": integer(waited.as_secs_f64())})
        }
        Some(_) => json!({"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 0}),
    })
}

/// An entry of the list.
#[derive(Clone, Copy, Debug)]
enum Listed<'a> {
    /// Created by Batch.
    OfBatch(Run<'a>),
    /// Created through SageMaker's API.
    Direct(&'a str, &'a DirectJob, Timestamp),
}

/// All current training jobs.
fn all(world: &World) -> Vec<Listed<'_>> {
    let of_batch = world.scheduler.jobs().flat_map(batch_training_jobs::runs).map(Listed::OfBatch);
    let direct = world.direct_jobs.iter().filter(|(_, job)| job.created_at <= world.now);
    of_batch.chain(direct.map(|(name, job)| Listed::Direct(name, job, world.now))).collect()
}

impl<'a> Listed<'a> {
    fn name(self) -> &'a str {
        match self {
            Self::OfBatch(run) => run.name.as_str(),
            Self::Direct(name, ..) => name,
        }
    }

    fn created_at(self) -> Timestamp {
        match self {
            Self::OfBatch(run) => run.created_at(),
            Self::Direct(_, job, _) => job.created_at,
        }
    }

    fn last_modified(self) -> Timestamp {
        match self {
            Self::OfBatch(run) => last_modified(run),
            Self::Direct(_, job, now) => job.last_modified(now),
        }
    }

    fn ended_at(self) -> Option<Timestamp> {
        match self {
            Self::OfBatch(run) => run.ended_at(),
            Self::Direct(_, job, now) => job.ended_at(now),
        }
    }

    fn statuses(self) -> (&'static str, &'static str) {
        match self {
            Self::OfBatch(run) => statuses(run),
            Self::Direct(_, job, now) => job.statuses(now),
        }
    }
}
