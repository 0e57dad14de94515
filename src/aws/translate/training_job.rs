//! Converts training jobs, and the capacity that they use.

use aws_sdk_sagemaker::operation::describe_training_job::DescribeTrainingJobOutput;
use aws_sdk_sagemaker::types::{ResourceConfig, TrainingJobStatus};

use crate::aws::translate::Unknowns;
use crate::aws::translate::date_time;
use crate::aws::translate::instances_of_job;
use crate::aws::translate::present;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::JobId;
use trainspotter_core::model::TrainingJobName;
use trainspotter_core::model::TrainingJobSeen;

/// Final secondary statuses.
const ENDS: [&str; 5] = ["Completed", "Failed", "Stopped", "MaxRuntimeExceeded", "MaxWaitTimeExceeded"];

/// Converts the `DescribeTrainingJob` response for training job `name` of service job `job`.
pub(crate) fn training_job(
    answer: &DescribeTrainingJobOutput,
    job: &JobId,
    name: &TrainingJobName,
    unknowns: &mut Unknowns,
) -> TrainingJobSeen {
    let began = |status: &str| {
        let transitions = answer.secondary_status_transitions().iter();
        let matching = transitions.filter(|step| step.status().is_some_and(|is| is.as_str() == status));
        matching.filter_map(|step| date_time(step.start_time())).min()
    };
    TrainingJobSeen {
        job: job.clone(),
        name: name.clone(),
        starting_at: began("Downloading"),
        training_at: began("Training"),
        ended_at: date_time(answer.training_end_time()).or_else(|| ENDS.into_iter().filter_map(began).min()),
        instances: answer.resource_config().map(|config| instances(config, unknowns)).unwrap_or_default(),
        failure_reason: present(answer.failure_reason()).map(str::to_owned),
    }
}

/// Capacity that a training job uses of the account's training limit: none unless in progress, and none on spot
/// instances or a training plan, which have separate limits.
pub(crate) fn outside_use(answer: &DescribeTrainingJobOutput, unknowns: &mut Unknowns) -> Vec<Capacity> {
    let is_over = answer.training_job_status().is_some_and(|status| *status != TrainingJobStatus::InProgress);
    let is_spot = answer.enable_managed_spot_training() == Some(true);
    match answer.resource_config() {
        Some(config) if !is_over && !is_spot && present(config.training_plan_arn()).is_none() => {
            instances(config, unknowns)
        }
        _ => Vec::new(),
    }
}

/// Instances of the job, as chosen by SageMaker or as requested; empty while SageMaker has not chosen yet.
pub(super) fn instances(config: &ResourceConfig, unknowns: &mut Unknowns) -> Vec<Capacity> {
    let selected = (config.selected_instance_type(), config.selected_instance_count());
    let shown = (config.instance_type(), config.instance_count());
    let groups = config.instance_groups().iter().map(|group| (group.instance_type(), group.instance_count()));
    let single = [selected, shown].into_iter().find(|(name, _)| name.is_some());
    let all: Vec<_> = match single {
        Some(single) => vec![single],
        None => groups.collect(),
    };
    let all = all.into_iter().map(|(name, count)| (name.map(|name| name.as_str()), count.map(f64::from)));
    instances_of_job(all, unknowns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sagemaker::types::{InstanceGroup, SecondaryStatus, SecondaryStatusTransition, TrainingInstanceType};
    use aws_smithy_types::DateTime;
    use trainspotter_core::model::Timestamp;

    fn step(status: &str, start: i64) -> SecondaryStatusTransition {
        SecondaryStatusTransition::builder()
            .status(SecondaryStatus::from(status))
            .start_time(DateTime::from_secs(start))
            .build()
    }

    fn seen(answer: &DescribeTrainingJobOutput) -> TrainingJobSeen {
        training_job(answer, &"job".into(), &"training".into(), &mut Unknowns::default())
    }

    #[test]
    fn the_timeline_gives_the_moments() {
        let answer = DescribeTrainingJobOutput::builder()
            .secondary_status_transitions(step("Starting", 100))
            .secondary_status_transitions(step("Pending", 110))
            .secondary_status_transitions(step("Downloading", 200))
            .secondary_status_transitions(step("Training", 300))
            .secondary_status_transitions(step("Restarting", 400))
            .secondary_status_transitions(step("Training", 500))
            .secondary_status_transitions(step("Failed", 600))
            .failure_reason("CapacityError: no")
            .build();
        let seen = seen(&answer);
        assert_eq!(seen.starting_at, Some(Timestamp::from_millis(200_000)));
        assert_eq!(seen.training_at, Some(Timestamp::from_millis(300_000)));
        assert_eq!(seen.ended_at, Some(Timestamp::from_millis(600_000)));
        assert_eq!(seen.failure_reason.as_deref(), Some("CapacityError: no"));
    }

    #[test]
    fn the_end_of_billing_wins_and_an_unknown_status_changes_nothing() {
        let answer = DescribeTrainingJobOutput::builder()
            .secondary_status_transitions(step("Levitating", 100))
            .secondary_status_transitions(step("Training", 0))
            .secondary_status_transitions(SecondaryStatusTransition::builder().build())
            .secondary_status_transitions(step("Completed", 600))
            .training_end_time(DateTime::from_secs(590))
            .creation_time(DateTime::from_secs(0))
            .build();
        let seen = seen(&answer);
        assert_eq!((seen.starting_at, seen.training_at), (None, None));
        assert_eq!(seen.ended_at, Some(Timestamp::from_millis(590_000)));
    }

    #[test]
    fn instances_are_what_sagemaker_chose_or_was_asked_for() {
        let shown =
            || ResourceConfig::builder().instance_type(TrainingInstanceType::from("ml.p5.48xlarge")).instance_count(2);
        let group = |name: &str, count| {
            InstanceGroup::builder().instance_type(TrainingInstanceType::from(name)).instance_count(count).build()
        };
        let grouped = ResourceConfig::builder()
            .instance_groups(group("ml.p4d.24xlarge", 2))
            .instance_groups(group("ml.m5.large", 1))
            .build();
        let selected = ResourceConfig::builder()
            .selected_instance_type(TrainingInstanceType::from("ml.p4d.24xlarge"))
            .selected_instance_count(3)
            .build();
        for (config, expected) in [
            (shown().build(), vec![Capacity::new("ml.p5.48xlarge", 2.0)]),
            (grouped, vec![Capacity::new("ml.p4d.24xlarge", 2.0), Capacity::new("ml.m5.large", 1.0)]),
            (selected, vec![Capacity::new("ml.p4d.24xlarge", 3.0)]),
            (ResourceConfig::builder().build(), vec![]),
        ] {
            let answer = DescribeTrainingJobOutput::builder().resource_config(config).build();
            assert_eq!(seen(&answer).instances, expected);
        }
    }
}
