//! The topology: configured queues, environments, policies and shares.
//!
//! Invariant: a failure affects only what depends on it. A queue, environment, policy or share that was read before
//! keeps its last value, and the queues that use it are reported as failing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_batch::types::{JobQueueDetail, SchedulingPolicyDetail};

use crate::aws::Clients;
use crate::aws::endless_listing::Listing;
use crate::aws::failure::Failure;
use crate::aws::rewrite_body::AnswerBody;
use crate::aws::translate;
use crate::aws::translate::Unknowns;
use crate::aws::unreadable_entries::{EntryFilter, Unreadable};
use trainspotter_core::model::Policy;
use trainspotter_core::model::Queue;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ServiceEnvironment;

/// Maximum ARNs per `DescribeSchedulingPolicies` call.
const POLICIES_PER_CALL: usize = 100;
/// Maximum pages of queues, environments or shares. AWS allows fifty queues and environments per Region, and twenty
/// shares per queue.
const MAX_PAGES: usize = 1_000;
/// Maximum watched queues of a target: ten times as many as AWS allows per Region. Further ones, by name, are left out.
pub(super) const MAX_QUEUES: usize = 500;
/// Name of the limit above in `limit.hits`.
const QUEUES: &str = "queues";

/// The result of a topology poll.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    /// The watched queues, by name.
    pub(crate) queues: Vec<Queue>,
    /// Names of all other training queues.
    pub(crate) others: BTreeSet<String>,
    /// Failures by queue. The queue may not be watched yet.
    pub(crate) failures: Vec<(QueueName, Failure)>,
    /// How many queues match that are not watched: see [`MAX_QUEUES`].
    pub(crate) left_out: usize,
}

/// Reads the queues that match any of `globs`, with their environments, policies and shares. `known` is the
/// previous result.
pub(crate) async fn fetch(
    clients: &Clients,
    globs: &[String],
    known: &[Queue],
    unknowns: &mut Unknowns,
) -> Result<Topology, Failure> {
    let mut topology = Topology::default();
    let mut reading = Reading { clients, known, unknowns, invalid_shares: Vec::new() };
    let details = reading.watched_queues(globs, &mut topology).await?;
    if details.is_empty() {
        return Ok(topology);
    }
    let environments = reading.environments().await;
    let policies = reading.policies(&details).await;
    for detail in &details {
        let queue = reading.queue(detail, &environments, &policies, &mut topology.failures).await;
        topology.queues.push(queue);
    }
    topology.queues.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topology)
}

/// Entries by name, with failures.
#[derive(Debug)]
struct Found<T> {
    entries: BTreeMap<String, T>,
    /// Failures of single entries.
    unreadable: BTreeMap<String, Failure>,
    /// Descriptions of entries with status INVALID.
    invalid: BTreeMap<String, Vec<String>>,
    /// Why the list is missing or incomplete.
    error: Option<Failure>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), unreadable: BTreeMap::new(), invalid: BTreeMap::new(), error: None }
    }
}

impl<T> Found<T> {
    /// Records the unreadable entries of a page.
    fn leave_out(&mut self, operation: &'static str, readable: &EntryFilter) {
        for entry in readable.take_removed() {
            let Unreadable { name, problem } = entry;
            self.unreadable.insert(name.clone(), Failure::Entry { operation, name, problem });
        }
    }

    /// Why an entry is missing; `None` if it was found, or does not exist.
    fn problem(&self, name: &str) -> Option<Failure> {
        let unreadable = || self.unreadable.get(name).or(self.error.as_ref()).cloned();
        if self.entries.contains_key(name) { None } else { unreadable() }
    }

    /// Whether the list is complete and does not contain the entry.
    fn lacks(&self, name: &str) -> bool {
        !self.entries.contains_key(name) && self.problem(name).is_none()
    }
}

/// A topology poll in progress.
struct Reading<'a> {
    clients: &'a Clients,
    known: &'a [Queue],
    unknowns: &'a mut Unknowns,
    /// Descriptions of INVALID shares of the current queue.
    invalid_shares: Vec<String>,
}

impl Reading<'_> {
    fn listing(&self, operation: &'static str) -> Listing {
        Listing::new(operation, MAX_PAGES, self.clients.limits())
    }

    fn known(&self, name: &str) -> Option<&Queue> {
        self.known.iter().find(|queue| queue.name.as_str() == name)
    }

    /// The queues to watch, without duplicates. An incomplete list is an error: it cannot show which queues are
    /// gone.
    async fn watched_queues(
        &mut self,
        globs: &[String],
        topology: &mut Topology,
    ) -> Result<Vec<JobQueueDetail>, Failure> {
        const OPERATION: &str = "DescribeJobQueues";
        let mut found = BTreeMap::new();
        let mut unreadable = Found::<()>::default();
        let (mut listing, mut token) = (self.listing(OPERATION), None);
        let readable = EntryFilter::new("jobQueues", "jobQueueName");
        loop {
            let request = self.clients.batch.describe_job_queues().set_next_token(token);
            let page = request.customize().interceptor(AnswerBody(readable.clone())).send().await;
            let mut page = page.map_err(|error| Failure::new(OPERATION, &error))?;
            let next = page.next_token.take();
            unreadable.leave_out(OPERATION, &readable);
            let names = page.job_queues().iter().filter_map(|queue| queue.job_queue_name());
            token = listing.next(next, names)?;
            for queue in page.job_queues.unwrap_or_default() {
                let name = queue.job_queue_name().unwrap_or_default().to_owned();
                if translate::is_watched(&queue, globs) {
                    found.entry(name).or_insert(queue);
                } else if translate::is_of_training_jobs(&queue) {
                    topology.others.insert(name);
                }
            }
            if token.is_none() {
                break;
            }
        }
        for (name, problem) in unreadable.unreadable {
            // It may be readable on another page.
            if translate::is_covered(&name, globs) && !found.contains_key(&name) {
                topology.queues.extend(self.known(&name).cloned());
                topology.failures.push((name.as_str().into(), problem));
            }
        }
        let room = MAX_QUEUES.saturating_sub(topology.queues.len());
        topology.left_out = found.len().saturating_sub(room);
        if topology.left_out > 0 {
            self.clients.limits().hit(QUEUES);
        }
        Ok(found.into_values().take(room).collect())
    }

    async fn environments(&mut self) -> Found<ServiceEnvironment> {
        const OPERATION: &str = "DescribeServiceEnvironments";
        let mut found = Found::default();
        let (mut listing, mut token) = (self.listing(OPERATION), None);
        let readable = EntryFilter::new("serviceEnvironments", "serviceEnvironmentName");
        loop {
            let request = self.clients.batch.describe_service_environments().set_next_token(token);
            let page = match request.customize().interceptor(AnswerBody(readable.clone())).send().await {
                Ok(page) => page,
                Err(error) => {
                    found.error = Some(Failure::new(OPERATION, &error));
                    return found;
                }
            };
            found.leave_out(OPERATION, &readable);
            for environment in page.service_environments() {
                let (name, status) = (environment.service_environment_name(), environment.status());
                let invalid = translate::invalid("Environment", name, status.map(|status| status.as_str()), None);
                found.invalid.insert(name.unwrap_or_default().to_owned(), invalid);
                let environment = translate::environment(environment, self.unknowns);
                found.entries.entry(environment.name.clone()).or_insert(environment);
            }
            let names = page.service_environments().iter().filter_map(|one| one.service_environment_name());
            match listing.next(page.next_token().map(str::to_owned), names) {
                Ok(Some(next)) => token = Some(next),
                Ok(None) => return found,
                Err(endless) => {
                    found.error = Some(endless.into());
                    return found;
                }
            }
        }
    }

    /// The scheduling policies of the queues, by ARN.
    async fn policies(&self, queues: &[JobQueueDetail]) -> Found<SchedulingPolicyDetail> {
        const OPERATION: &str = "DescribeSchedulingPolicies";
        let arns: BTreeSet<&str> = queues.iter().filter_map(translate::scheduling_policy).collect();
        let arns: Vec<String> = arns.into_iter().map(str::to_owned).collect();
        let mut found = Found::default();
        let readable = EntryFilter::new("schedulingPolicies", "arn");
        for chunk in arns.chunks(POLICIES_PER_CALL) {
            let request = self.clients.batch.describe_scheduling_policies().set_arns(Some(chunk.to_vec()));
            match request.customize().interceptor(AnswerBody(readable.clone())).send().await {
                Ok(answer) => {
                    found.leave_out(OPERATION, &readable);
                    for policy in answer.scheduling_policies.unwrap_or_default() {
                        found.entries.entry(policy.arn().unwrap_or_default().to_owned()).or_insert(policy);
                    }
                }
                Err(error) => found.error = Some(Failure::new(OPERATION, &error)),
            }
        }
        found
    }

    /// A queue with its dependencies, as read now or else as known before.
    async fn queue(
        &mut self,
        detail: &JobQueueDetail,
        environments: &Found<ServiceEnvironment>,
        policies: &Found<SchedulingPolicyDetail>,
        failures: &mut Vec<(QueueName, Failure)>,
    ) -> Queue {
        let name = detail.job_queue_name().unwrap_or_default().to_owned();
        let mut failed = |problem| failures.push((name.as_str().into(), problem));
        let policy = match translate::scheduling_policy(detail) {
            None => Policy::Fifo,
            Some(arn) => {
                if let Some(problem) = policies.problem(arn) {
                    failed(problem);
                }
                self.policy(&name, arn, policies, &mut failed).await
            }
        };
        let environment = translate::environment_name(detail).and_then(|environment| {
            let Some(problem) = environments.problem(environment) else {
                return environments.entries.get(environment).cloned();
            };
            failed(problem);
            let known = self.known(&name)?.environment.clone();
            known.filter(|known| known.name == environment)
        });
        let mut queue = translate::queue(detail, policy, environment);
        let of_environment = translate::environment_name(detail).and_then(|name| environments.invalid.get(name));
        queue.invalid.extend(of_environment.into_iter().flatten().cloned());
        queue.invalid.append(&mut self.invalid_shares);
        if let Some(missing) = translate::environment_name(detail).filter(|name| environments.lacks(name)) {
            queue.invalid.push(format!("Environment {missing} does not exist: no job of this queue can start."));
        }
        queue
    }

    /// The policy of a queue. If AWS does not describe it, the known policy is used, or else a fair-share policy
    /// without weights, and the failure is recorded. Jobs then still count by the share they name.
    async fn policy(
        &mut self,
        queue: &str,
        arn: &str,
        policies: &Found<SchedulingPolicyDetail>,
        failed: &mut impl FnMut(Failure),
    ) -> Policy {
        match policies.entries.get(arn) {
            Some(policy) if translate::is_quota_policy(policy) => {
                Policy::QuotaShares(self.quota_shares(queue, failed).await)
            }
            Some(policy) => translate::fair_share(policy, self.unknowns),
            None if policies.problem(arn).is_some() && self.known(queue).is_some() => {
                self.known(queue).map_or(Policy::Fifo, |known| known.policy.clone())
            }
            None => {
                self.unknowns.note("scheduling_policy", arn);
                Policy::FairShare { shares: Vec::new(), decay: Duration::ZERO, reservation: 0 }
            }
        }
    }

    /// The shares of a queue, without duplicates. Unreadable shares keep their last value.
    async fn quota_shares(&mut self, queue: &str, failed: &mut impl FnMut(Failure)) -> Vec<QuotaShare> {
        const OPERATION: &str = "ListQuotaShares";
        let mut found = Found::default();
        let (mut listing, mut token) = (self.listing(OPERATION), None);
        let readable = EntryFilter::new("quotaShares", "quotaShareName");
        loop {
            let request = self.clients.batch.list_quota_shares().job_queue(queue).set_next_token(token);
            let page = match request.customize().interceptor(AnswerBody(readable.clone())).send().await {
                Ok(page) => page,
                Err(error) => {
                    found.error = Some(Failure::new(OPERATION, &error));
                    break;
                }
            };
            found.leave_out(OPERATION, &readable);
            for share in page.quota_shares() {
                let status = share.status().map(|status| status.as_str());
                self.invalid_shares.extend(translate::invalid("Quota share", share.quota_share_name(), status, None));
                if let Some(share) = translate::quota_share(share, self.unknowns) {
                    found.entries.entry(share.name.to_string()).or_insert(share);
                }
            }
            let names = page.quota_shares().iter().filter_map(|share| share.quota_share_name());
            match listing.next(page.next_token().map(str::to_owned), names) {
                Ok(Some(next)) => token = Some(next),
                Ok(None) => break,
                Err(endless) => {
                    found.error = Some(endless.into());
                    break;
                }
            }
        }
        let known = self.known(queue).map_or(&[][..], |known| match &known.policy {
            Policy::QuotaShares(shares) => shares,
            Policy::Fifo | Policy::FairShare { .. } => &[],
        });
        let as_known: Vec<_> = known.iter().filter(|share| found.problem(share.name.as_str()).is_some()).collect();
        found.entries.extend(as_known.into_iter().map(|share| (share.name.to_string(), share.clone())));
        found.unreadable.into_values().chain(found.error).for_each(failed);
        found.entries.into_values().collect()
    }
}
