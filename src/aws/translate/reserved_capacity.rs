//! Converts training plans and warm pools.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sagemaker::operation::describe_training_job::DescribeTrainingJobOutput;
use aws_sdk_sagemaker::types::{TrainingJobSummary, TrainingPlanSummary};

use crate::aws::translate::training_job::instances;
use crate::aws::translate::{Unknowns, date_time, present};
use trainspotter_core::model::{Capacity, InstanceType, Reserved, ReservedKind, accelerators_of};

/// Target resource that makes a plan usable for training jobs; plans for HyperPod only are skipped.
const FOR_TRAINING_JOBS: &str = "training-job";

/// Capacity of warm pools by the training job that left them. It never changes.
pub(crate) type Pools = BTreeMap<String, Vec<Capacity>>;

/// Converts an active training plan for training jobs. A plan without a target resource may be for training jobs
/// and is kept. A missing count is unknown.
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

/// Name of a training job whose warm pool is available.
pub(crate) fn waiting_pool(job: &TrainingJobSummary) -> Option<&str> {
    let waits = job.warm_pool_status()?.status().is_some_and(|status| status.as_str() == "Available");
    present(job.training_job_name()).filter(|_| waits)
}

/// Capacity of a training job's warm pool.
pub(crate) fn pool(answer: &DescribeTrainingJobOutput, unknowns: &mut Unknowns) -> Vec<Capacity> {
    answer.resource_config().map(|config| instances(config, unknowns)).unwrap_or_default()
}

/// The instances of a warm pool, all idle, one entry per type.
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
