//! Training plans and warm pools.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sagemaker::operation::describe_training_job::DescribeTrainingJobOutput;
use aws_sdk_sagemaker::types::{TrainingJobSummary, TrainingPlanSummary};

use crate::aws::translate::training::instances;
use crate::aws::translate::{Unknowns, date_time, present};
use trainspotter_core::model::{Capacity, InstanceType, Reserved, ReservedKind, accelerators_of};

/// What a plan must be for to be capacity of training jobs; one for HyperPod alone is none.
const FOR_TRAINING_JOBS: &str = "training-job";

/// What a warm pool consists of, by the training job that left it: that never changes.
pub(crate) type Pools = BTreeMap<String, Vec<Capacity>>;

/// A training plan, if it is active and training jobs may use it: one that does not say for what it is may be for them. A count that is missing is not
/// known.
pub(crate) fn training_plan(plan: &TrainingPlanSummary, unknowns: &mut Unknowns) -> Option<Reserved> {
    let name = present(plan.training_plan_name())?;
    if plan.status().is_none_or(|status| status.as_str() != "Active") {
        return None;
    }
    let mut targets = plan.target_resources().iter().map(|target| target.as_str()).peekable();
    if targets.peek().is_some() && targets.all(|target| target != FOR_TRAINING_JOBS) {
        return None;
    }
    let units =
        plan.reserved_capacity_summaries().iter().filter_map(|part| present(Some(part.instance_type()?.as_str())));
    let units: BTreeSet<&str> = units.collect();
    let unknown = units.iter().filter(|unit| accelerators_of(&InstanceType::from(**unit)).is_none());
    unknown.for_each(|unit| unknowns.note("instance_type", unit));
    let count = |count: Option<i32>| count.filter(|count| *count >= 0).map(f64::from);
    Some(Reserved {
        kind: ReservedKind::TrainingPlan,
        name: name.to_owned(),
        unit: units.into_iter().collect::<Vec<_>>().join("+").as_str().into(),
        total: count(plan.total_instance_count()),
        in_use: count(plan.in_use_instance_count()),
        idle: count(plan.available_instance_count()),
        ends_at: date_time(plan.end_time()),
    })
}

/// The name of a training job whose warm pool waits for another one.
pub(crate) fn waiting_pool(job: &TrainingJobSummary) -> Option<&str> {
    let waits = job.warm_pool_status()?.status().is_some_and(|status| status.as_str() == "Available");
    present(job.training_job_name()).filter(|_| waits)
}

/// What the warm pool of a training job consists of.
pub(crate) fn pool(answer: &DescribeTrainingJobOutput, unknowns: &mut Unknowns) -> Vec<Capacity> {
    answer.resource_config().map(|config| instances(config, unknowns)).unwrap_or_default()
}

/// The instances of a warm pool, all idle, one entry for each type.
pub(crate) fn warm_pool(name: &str, instances: &[Capacity]) -> impl Iterator<Item = Reserved> {
    instances.iter().map(move |Capacity { unit, quantity }| Reserved {
        kind: ReservedKind::WarmPool,
        name: name.to_owned(),
        unit: unit.clone(),
        total: Some(*quantity),
        in_use: Some(0.0),
        idle: Some(*quantity),
        ends_at: None,
    })
}
