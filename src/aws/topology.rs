//! The configured side of the queues: which there are, what they may use, how they divide it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_batch::Client;
use aws_sdk_batch::types::{JobQueueDetail, SchedulingPolicyDetail};

use crate::aws::failure::describe;
use crate::aws::translate;
use crate::aws::translate::Unknowns;
use trainspotter_core::model::Policy;
use trainspotter_core::model::Queue;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ServiceEnvironment;

/// `DescribeSchedulingPolicies` takes this many ARNs a call.
const POLICIES_PER_CALL: usize = 100;

/// All queues that any of `globs` covers, by name. Fails as a whole: a topology with holes would look like a change.
pub(crate) async fn fetch(batch: &Client, globs: &[String], unknowns: &mut Unknowns) -> Result<Vec<Queue>, String> {
    let details = watched_queues(batch, globs).await?;
    let environments = match details.is_empty() {
        true => BTreeMap::new(),
        false => environments(batch, unknowns).await?,
    };
    let policies = policies(batch, &details).await?;
    let mut queues = Vec::with_capacity(details.len());
    for detail in &details {
        let policy = match translate::scheduling_policy(detail) {
            None => Policy::Fifo,
            Some(arn) => policy(batch, detail, arn, policies.get(arn), unknowns).await?,
        };
        let environment = translate::environment_name(detail).and_then(|name| environments.get(name).cloned());
        queues.push(translate::queue(detail, policy, environment));
    }
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(queues)
}

async fn watched_queues(batch: &Client, globs: &[String]) -> Result<Vec<JobQueueDetail>, String> {
    let mut found = Vec::new();
    let mut pages = batch.describe_job_queues().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| describe("DescribeJobQueues", &error))?;
        found.extend(page.job_queues().iter().filter(|queue| translate::is_watched(queue, globs)).cloned());
    }
    Ok(found)
}

async fn environments(batch: &Client, unknowns: &mut Unknowns) -> Result<BTreeMap<String, ServiceEnvironment>, String> {
    let mut found = BTreeMap::new();
    let mut pages = batch.describe_service_environments().into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| describe("DescribeServiceEnvironments", &error))?;
        for environment in page.service_environments() {
            let environment = translate::environment(environment, unknowns);
            found.insert(environment.name.clone(), environment);
        }
    }
    Ok(found)
}

/// The policies of the queues, by ARN.
async fn policies(
    batch: &Client,
    queues: &[JobQueueDetail],
) -> Result<BTreeMap<String, SchedulingPolicyDetail>, String> {
    let arns: BTreeSet<&str> = queues.iter().filter_map(translate::scheduling_policy).collect();
    let arns: Vec<String> = arns.into_iter().map(str::to_owned).collect();
    let mut found = BTreeMap::new();
    for chunk in arns.chunks(POLICIES_PER_CALL) {
        let answer = batch.describe_scheduling_policies().set_arns(Some(chunk.to_vec())).send().await;
        let answer = answer.map_err(|error| describe("DescribeSchedulingPolicies", &error))?;
        let policies = answer.scheduling_policies.unwrap_or_default().into_iter();
        found.extend(policies.map(|policy| (policy.arn().unwrap_or_default().to_owned(), policy)));
    }
    Ok(found)
}

/// A policy that AWS names but does not describe is taken for a fair share without weights, and noted: jobs then still
/// count by the share they name.
async fn policy(
    batch: &Client,
    queue: &JobQueueDetail,
    arn: &str,
    policy: Option<&SchedulingPolicyDetail>,
    unknowns: &mut Unknowns,
) -> Result<Policy, String> {
    match policy {
        Some(policy) if translate::is_quota_policy(policy) => {
            Ok(Policy::QuotaShares(quota_shares(batch, queue.job_queue_name().unwrap_or_default(), unknowns).await?))
        }
        Some(policy) => Ok(translate::fair_share(policy)),
        None => {
            unknowns.note("scheduling_policy", arn);
            Ok(Policy::FairShare { shares: Vec::new(), decay: Duration::ZERO, reservation: 0 })
        }
    }
}

async fn quota_shares(batch: &Client, queue: &str, unknowns: &mut Unknowns) -> Result<Vec<QuotaShare>, String> {
    let mut found = Vec::new();
    let mut pages = batch.list_quota_shares().job_queue(queue).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| describe("ListQuotaShares", &error))?;
        found.extend(page.quota_shares().iter().filter_map(|share| translate::quota_share(share, unknowns)));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
