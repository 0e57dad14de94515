//! Control plane state of environments, queues, policies and shares that the scheduler does not have: unused
//! policies, tags, and operations in progress.
//!
//! A change reaches the scheduler at once, and the resource becomes VALID again after [`SETTLES`]; a deletion reaches
//! it when it completes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::refused;
use trainspotter_core::model::Policy;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::QueueSetup;

/// Time that a resource is CREATING, UPDATING or DELETING.
const SETTLES: Duration = Duration::from_secs(5);

/// Tags by key.
pub(super) type Tags = BTreeMap<String, String>;

/// Control plane state, by ARN.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    policies: BTreeMap<String, Policy>,
    policy_of: BTreeMap<QueueName, String>,
    tags: BTreeMap<String, Tags>,
    under_way: BTreeMap<String, (Work, Timestamp)>,
}

/// Operation in progress on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Creating,
    Updating,
    Deleting,
}

impl Resources {
    /// The resources of initial queues: each has a policy named after it.
    pub fn of<'a>(queues: impl Iterator<Item = &'a QueueSetup>) -> Self {
        let mut resources = Self::default();
        for queue in queues.filter(|queue| queue.policy != Policy::Fifo) {
            let arn = arn::policy(format_args!("{}-policy", queue.name));
            resources.policies.insert(arn.clone(), kind_of(&queue.policy));
            resources.policy_of.insert(queue.name.clone(), arn);
        }
        resources
    }

    /// A policy by ARN.
    pub fn policy(&self, arn: &str) -> Option<&Policy> {
        self.policies.get(arn)
    }

    /// All policies by ARN.
    pub fn policies(&self) -> impl Iterator<Item = (&String, &Policy)> {
        self.policies.iter()
    }

    /// Creates or updates a policy, and returns the queues that use it.
    pub fn put_policy(&mut self, arn: &str, policy: Policy) -> Vec<QueueName> {
        self.policies.insert(arn.to_owned(), policy);
        self.users(arn)
    }

    /// Removes a policy.
    pub fn remove_policy(&mut self, arn: &str) {
        self.policies.remove(arn);
        self.tags.remove(arn);
    }

    /// The queues that use a policy.
    pub fn users(&self, arn: &str) -> Vec<QueueName> {
        self.policy_of.iter().filter(|(_, used)| *used == arn).map(|(queue, _)| queue.clone()).collect()
    }

    /// Assigns a policy to a queue.
    pub fn use_policy(&mut self, queue: &QueueName, arn: &str) {
        self.policy_of.insert(queue.clone(), arn.to_owned());
    }

    /// The ARN of a queue's policy; `None` for FIFO.
    pub fn policy_of(&self, queue: &QueueName) -> Option<&String> {
        self.policy_of.get(queue)
    }

    /// Starts a creation, update or deletion.
    pub(super) fn begin(&mut self, arn: &str, work: Work, now: Timestamp) {
        self.under_way.insert(arn.to_owned(), (work, now + SETTLES));
    }

    /// VALID, or the operation in progress.
    pub fn status(&self, arn: &str) -> &'static str {
        match self.under_way.get(arn).map(|(work, _)| *work) {
            None => "VALID",
            Some(Work::Creating) => "CREATING",
            Some(Work::Updating) => "UPDATING",
            Some(Work::Deleting) => "DELETING",
        }
    }

    /// Rejects changes of a resource with an operation in progress.
    pub fn must_be_settled(&self, arn: &str, verb: &str) -> Result<(), ApiError> {
        match self.status(arn) {
            "VALID" => Ok(()),
            status => Err(refused(format!(
                "Cannot {verb}, resource is being modified. {arn} is {status}: wait until it is VALID."
            ))),
        }
    }

    /// As above, for deletions that are allowed during an update, such as of a service environment.
    pub fn must_be_deletable(&self, arn: &str) -> Result<(), ApiError> {
        if self.status(arn) == "UPDATING" { Ok(()) } else { self.must_be_settled(arn, "delete") }
    }

    /// Rejects a resource that is being deleted. One that is being created can be referred to.
    pub fn must_stay(&self, arn: &str) -> Result<(), ApiError> {
        if self.status(arn) == "DELETING" { Err(refused(format!("{arn} is DELETING."))) } else { Ok(()) }
    }

    /// Rejects jobs for a resource that is being created or deleted.
    pub fn must_take_jobs(&self, arn: &str) -> Result<(), ApiError> {
        match self.status(arn) {
            "VALID" | "UPDATING" => Ok(()),
            status => Err(refused(format!("{arn} does not accept service job submissions: it is {status}."))),
        }
    }

    /// Tags of a resource.
    pub(super) fn tags(&self, arn: &str) -> Option<&Tags> {
        self.tags.get(arn).filter(|tags| !tags.is_empty())
    }

    /// Tags of a resource, mutable.
    pub(super) fn tags_mut(&mut self, arn: &str) -> &mut Tags {
        self.tags.entry(arn.to_owned()).or_default()
    }
}

/// Completes operations that have taken long enough; deletions reach the scheduler here.
pub(super) fn settle(world: &mut World) {
    let now = world.now;
    let due = |(_, (_, at)): &(&String, &(Work, Timestamp))| *at <= now;
    let done: Vec<(String, Work)> =
        world.resources.under_way.iter().filter(due).map(|(arn, (work, _))| (arn.clone(), *work)).collect();
    for (arn, work) in done {
        world.resources.under_way.remove(&arn);
        if work == Work::Deleting {
            world.resources.tags.remove(&arn);
            delete(world, &arn);
        }
    }
}

fn delete(world: &mut World, arn: &str) {
    if let Some(name) = arn.strip_prefix(&arn::environment("")) {
        world.scheduler.remove_environment(name);
    } else if let Some((queue, share)) = arn::queue_and_share(arn) {
        world.scheduler.remove_share(&QueueName::from(queue), &ShareName::from(share), "Quota share deleted");
    } else {
        let queue = QueueName::from(arn::name_of("job-queue", arn));
        world.scheduler.remove_queue(&queue, "Job queue deleted");
        world.resources.policy_of.remove(&queue);
    }
}

/// A policy without the quota shares of its queue.
pub(super) fn kind_of(policy: &Policy) -> Policy {
    match policy {
        Policy::QuotaShares(_) => Policy::QuotaShares(Vec::new()),
        Policy::Fifo | Policy::FairShare { .. } => policy.clone(),
    }
}
