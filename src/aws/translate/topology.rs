//! Converts queues, environments, policies and shares.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_batch::types::{
    JobQueueDetail, JobStateTimeLimitAction, QuotaShareDetail, SchedulingPolicyDetail, ServiceEnvironmentDetail,
};

use crate::aws::translate::Unknowns;
use crate::aws::translate::capacities;
use crate::aws::translate::name_of;
use crate::aws::translate::present;
use trainspotter_core::model::Capacity;
use trainspotter_core::model::Policy;
use trainspotter_core::model::Queue;
use trainspotter_core::model::QuotaShare;
use trainspotter_core::model::ServiceEnvironment;
use trainspotter_core::model::Sharing;
use trainspotter_core::model::TimeLimit;
use trainspotter_core::model::WeightedShare;
use trainspotter_core::model::matches_glob;

/// Whether the queue is for training jobs, not deleted, and matches a glob.
pub(crate) fn is_watched(queue: &JobQueueDetail, globs: &[String]) -> bool {
    is_of_training_jobs(queue) && is_covered(queue.job_queue_name().unwrap_or_default(), globs)
}

/// Whether the queue is for training jobs and not deleted.
pub(crate) fn is_of_training_jobs(queue: &JobQueueDetail) -> bool {
    let deleted = queue.status().is_some_and(|status| status.as_str() == "DELETED");
    let of_training_jobs = queue.job_queue_type().is_some_and(|kind| kind.as_str() == "SAGEMAKER_TRAINING");
    of_training_jobs && !deleted && present(queue.job_queue_name()).is_some()
}

/// Whether a queue name matches any of the globs.
pub(crate) fn is_covered(name: &str, globs: &[String]) -> bool {
    !name.is_empty() && globs.iter().any(|glob| matches_glob(glob, name))
}

/// Converts a watched queue with its policy and environment.
pub(crate) fn queue(queue: &JobQueueDetail, policy: Policy, environment: Option<ServiceEnvironment>) -> Queue {
    Queue {
        name: queue.job_queue_name().unwrap_or_default().into(),
        arn: queue.job_queue_arn().unwrap_or_default().to_owned(),
        enabled: queue.state().is_some_and(|state| state.as_str() == "ENABLED"),
        status_reason: present(queue.status_reason()).map(str::to_owned),
        has_time_limit: !queue.job_state_time_limit_actions().is_empty(),
        time_limits: queue.job_state_time_limit_actions().iter().filter_map(time_limit).collect(),
        invalid: invalid(
            "Queue",
            queue.job_queue_name(),
            queue.status().map(|status| status.as_str()),
            queue.status_reason(),
        ),
        policy,
        environment,
    }
}

fn time_limit(action: &JobStateTimeLimitAction) -> Option<TimeLimit> {
    let seconds = u64::try_from(action.max_time_seconds()?).ok()?;
    Some(TimeLimit { reason: present(action.reason())?.to_owned(), after: Duration::from_secs(seconds) })
}

/// Description of an entry with status INVALID; empty for any other status.
pub(crate) fn invalid(kind: &str, name: Option<&str>, status: Option<&str>, reason: Option<&str>) -> Vec<String> {
    if status != Some("INVALID") {
        return Vec::new();
    }
    let reason =
        present(reason).map_or_else(|| "AWS gives no reason".to_owned(), |reason| format!("AWS reports: {reason}"));
    vec![format!("{kind} {} is INVALID; {reason}.", name.unwrap_or_default())]
}

/// Name of the queue's environment: AWS allows one.
pub(crate) fn environment_name(queue: &JobQueueDetail) -> Option<&str> {
    let first = queue.service_environment_order().iter().min_by_key(|entry| entry.order().unwrap_or(i32::MAX));
    present(first.and_then(|entry| entry.service_environment())).map(name_of)
}

/// ARN of the queue's scheduling policy; `None` means FIFO.
pub(crate) fn scheduling_policy(queue: &JobQueueDetail) -> Option<&str> {
    present(queue.scheduling_policy_arn())
}

/// Converts a service environment.
pub(crate) fn environment(environment: &ServiceEnvironmentDetail, unknowns: &mut Unknowns) -> ServiceEnvironment {
    let limits = environment.capacity_limits().iter();
    let limits = limits.map(|limit| (limit.capacity_unit(), limit.max_capacity().map(f64::from)));
    ServiceEnvironment {
        name: environment.service_environment_name().unwrap_or_default().to_owned(),
        enabled: environment.state().is_some_and(|state| state.as_str() == "ENABLED"),
        limits: limits_by_unit(limits, unknowns),
    }
}

/// Limits, one per unit: duplicates are ignored.
fn limits_by_unit<'a>(
    entries: impl Iterator<Item = (Option<&'a str>, Option<f64>)>,
    unknowns: &mut Unknowns,
) -> Vec<Capacity> {
    let mut limits = capacities(entries, unknowns);
    let mut units = BTreeSet::new();
    limits.retain(|limit| units.insert(limit.unit.clone()));
    limits
}

/// Whether the policy gives its queues quota shares.
pub(crate) fn is_quota_policy(policy: &SchedulingPolicyDetail) -> bool {
    policy.quota_share_policy().is_some()
}

/// Converts a fair-share policy. Without weights all shares are equal.
pub(crate) fn fair_share(policy: &SchedulingPolicyDetail, unknowns: &mut Unknowns) -> Policy {
    let fair = policy.fairshare_policy();
    let seconds = fair.and_then(|fair| fair.share_decay_seconds()).and_then(|seconds| u64::try_from(seconds).ok());
    let reservation = fair.and_then(|fair| fair.compute_reservation()).and_then(|percent| u8::try_from(percent).ok());
    Policy::FairShare {
        shares: weights(policy, unknowns),
        decay: Duration::from_secs(seconds.unwrap_or(0)),
        reservation: reservation.unwrap_or(0),
    }
}

fn weights(policy: &SchedulingPolicyDetail, unknowns: &mut Unknowns) -> Vec<WeightedShare> {
    let shares = policy.fairshare_policy().map(|policy| policy.share_distribution()).unwrap_or_default();
    let mut names = BTreeSet::new();
    shares
        .iter()
        .filter(|share| names.insert(share.share_identifier()))
        .filter_map(|share| {
            let name = present(share.share_identifier())?;
            // Convert through text, so that single-precision 0.1 becomes double-precision 0.1.
            let weight = share.weight_factor().map_or(Some(1.0), |weight| weight.to_string().parse().ok());
            let weight = weight.filter(|weight| WeightedShare::is_weight(*weight));
            if weight.is_none() {
                unknowns.note("weight_factor", &format!("{:?}", share.weight_factor().unwrap_or_default()));
            }
            Some(WeightedShare { share: name.into(), weight: weight.unwrap_or(WeightedShare::UNKNOWN) })
        })
        .collect()
}

/// Converts a quota share; `None` without a name.
pub(crate) fn quota_share(share: &QuotaShareDetail, unknowns: &mut Unknowns) -> Option<QuotaShare> {
    let limits = share.capacity_limits().iter();
    let limits = limits.map(|limit| (limit.capacity_unit(), limit.max_capacity().map(f64::from)));
    let config = share.resource_sharing_configuration();
    let strategy = config.and_then(|config| config.strategy()).map(|strategy| strategy.as_str());
    let sharing = match strategy {
        Some("RESERVE") => Sharing::Reserve,
        Some("LEND") => Sharing::Lend,
        Some("LEND_AND_BORROW") => {
            // -1, the default, means unlimited.
            let limit = config.and_then(|config| config.borrow_limit());
            Sharing::LendAndBorrow { borrow_limit: limit.and_then(|percent| u32::try_from(percent).ok()) }
        }
        other => {
            unknowns.note("sharing_strategy", other.unwrap_or("no value was set"));
            Sharing::Unknown
        }
    };
    Some(QuotaShare {
        name: present(share.quota_share_name())?.into(),
        enabled: share.state().is_some_and(|state| state.as_str() == "ENABLED"),
        limits: limits_by_unit(limits, unknowns),
        sharing,
        in_share_preemption: share
            .preemption_configuration()
            .and_then(|config| config.in_share_preemption())
            .is_some_and(|state| state.as_str() == "ENABLED"),
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_batch::types::{
        CapacityLimit, FairsharePolicy, JobQueueType, JqState, JqStatus, QuotaShareCapacityLimit, QuotaSharePolicy,
        QuotaShareResourceSharingConfiguration, QuotaShareResourceSharingStrategy, QuotaShareState,
        ServiceEnvironmentOrder, ServiceEnvironmentState, ShareAttributes,
    };

    use super::*;
    use trainspotter_core::model::Observation;

    fn sharing_of(strategy: Option<&str>, borrow_limit: Option<i32>) -> (Sharing, Vec<Observation>) {
        let config = QuotaShareResourceSharingConfiguration::builder()
            .set_strategy(strategy.map(QuotaShareResourceSharingStrategy::from))
            .set_borrow_limit(borrow_limit)
            .build();
        let detail = QuotaShareDetail::builder().quota_share_name("s").resource_sharing_configuration(config).build();
        let mut unknowns = Unknowns::default();
        let share = quota_share(&detail, &mut unknowns).unwrap();
        (share.sharing, unknowns.into_observations().collect())
    }

    #[test]
    fn strategies_and_borrow_limits() {
        for (strategy, borrow_limit, expected) in [
            ("RESERVE", None, Sharing::Reserve),
            ("RESERVE", Some(50), Sharing::Reserve),
            ("LEND", None, Sharing::Lend),
            ("LEND_AND_BORROW", None, Sharing::LendAndBorrow { borrow_limit: None }),
            ("LEND_AND_BORROW", Some(-1), Sharing::LendAndBorrow { borrow_limit: None }),
            ("LEND_AND_BORROW", Some(0), Sharing::LendAndBorrow { borrow_limit: Some(0) }),
            ("LEND_AND_BORROW", Some(200), Sharing::LendAndBorrow { borrow_limit: Some(200) }),
        ] {
            assert_eq!(sharing_of(Some(strategy), borrow_limit), (expected, vec![]), "{strategy} {borrow_limit:?}");
        }
        for (strategy, value) in [(Some("BARTER"), "BARTER"), (None, "no value was set")] {
            let noted = Observation::UnknownValue { kind: "sharing_strategy", value: value.to_owned() };
            assert_eq!(sharing_of(strategy, None), (Sharing::Unknown, vec![noted]));
        }
    }

    #[test]
    fn a_quota_share_has_limits_per_instance_type() {
        let limit = QuotaShareCapacityLimit::builder().capacity_unit("ml.p5.48xlarge").max_capacity(4).build();
        let detail = QuotaShareDetail::builder()
            .quota_share_name("research")
            .capacity_limits(limit)
            .state(QuotaShareState::Disabled)
            .build();
        let share = quota_share(&detail, &mut Unknowns::default()).unwrap();
        assert_eq!(share.limits, vec![Capacity::new("ml.p5.48xlarge", 4.0)]);
        assert!(!share.enabled);
        assert_eq!(quota_share(&QuotaShareDetail::builder().build(), &mut Unknowns::default()), None);
    }

    #[test]
    fn only_training_queues_that_a_glob_covers_are_watched() {
        let detail = |name: &str, kind: JobQueueType, status: JqStatus| {
            JobQueueDetail::builder().job_queue_name(name).job_queue_type(kind).status(status).build()
        };
        let globs = ["ml-*".to_owned(), "exact".to_owned()];
        for (queue, expected) in [
            (detail("ml-prod", JobQueueType::SagemakerTraining, JqStatus::Valid), true),
            (detail("exact", JobQueueType::SagemakerTraining, JqStatus::Invalid), true),
            (detail("other", JobQueueType::SagemakerTraining, JqStatus::Valid), false),
            (detail("ml-prod", JobQueueType::SagemakerTraining, JqStatus::Deleted), false),
            (detail("ml-eks", JobQueueType::from("EKS"), JqStatus::Valid), false),
            (JobQueueDetail::builder().job_queue_name("ml-prod").build(), false),
        ] {
            assert_eq!(is_watched(&queue, &globs), expected, "{queue:?}");
        }
    }

    #[test]
    fn a_queue_names_its_environment_and_policy() {
        let arn = "arn:aws:batch:us-east-1:123456789012:service-environment/gpus";
        let order = ServiceEnvironmentOrder::builder().order(1).service_environment(arn).build();
        let detail = JobQueueDetail::builder()
            .job_queue_name("q")
            .state(JqState::Enabled)
            .status_reason("JobQueue Healthy")
            .service_environment_order(order)
            .scheduling_policy_arn("")
            .build();
        assert_eq!(environment_name(&detail), Some("gpus"));
        assert_eq!(scheduling_policy(&detail), None);
        let queue = queue(&detail, Policy::Fifo, None);
        assert!(queue.enabled);
        assert_eq!(queue.status_reason.as_deref(), Some("JobQueue Healthy"));
        assert_eq!(environment_name(&JobQueueDetail::builder().build()), None);
    }

    #[test]
    fn an_environment_has_limits() {
        let limit = CapacityLimit::builder().capacity_unit("NUM_INSTANCES").max_capacity(12).build();
        let detail = ServiceEnvironmentDetail::builder()
            .service_environment_name("gpus")
            .state(ServiceEnvironmentState::Enabled)
            .capacity_limits(limit)
            .build();
        let environment = environment(&detail, &mut Unknowns::default());
        assert_eq!(environment.limits, vec![Capacity::new("NUM_INSTANCES", 12.0)]);
        assert!(environment.enabled);
    }

    #[test]
    fn weights_default_to_one_and_keep_their_decimals() {
        let share =
            |name: &str, weight| ShareAttributes::builder().share_identifier(name).set_weight_factor(weight).build();
        let policy = FairsharePolicy::builder()
            .share_distribution(share("high*", Some(0.1)))
            .share_distribution(share("low", None))
            .share_distribution(ShareAttributes::builder().weight_factor(3.0).build())
            .share_decay_seconds(3600)
            .compute_reservation(25)
            .build();
        let detail = SchedulingPolicyDetail::builder().fairshare_policy(policy).build();
        assert!(!is_quota_policy(&detail));
        let shares = vec![
            WeightedShare { share: "high*".into(), weight: 0.1 },
            WeightedShare { share: "low".into(), weight: 1.0 },
        ];
        let decay = Duration::from_secs(3600);
        let mut unknowns = Unknowns::default();
        assert_eq!(fair_share(&detail, &mut unknowns), Policy::FairShare { shares, decay, reservation: 25 });
        let quotas = SchedulingPolicyDetail::builder().quota_share_policy(QuotaSharePolicy::builder().build()).build();
        assert!(is_quota_policy(&quotas));
        let bare = Policy::FairShare { shares: Vec::new(), decay: Duration::ZERO, reservation: 0 };
        assert_eq!(fair_share(&quotas, &mut unknowns), bare);
        assert_eq!(unknowns, Unknowns::default());

        let odd = [("a", f32::NAN), ("b", f32::INFINITY), ("c", -1.0), ("d", 0.0)];
        let odd = odd.into_iter().map(|(name, weight)| share(name, Some(weight)));
        let policy = FairsharePolicy::builder().set_share_distribution(Some(odd.collect())).build();
        let detail = SchedulingPolicyDetail::builder().fairshare_policy(policy).build();
        let Policy::FairShare { shares, .. } = fair_share(&detail, &mut unknowns) else { panic!("not a fair share") };
        assert!(shares.iter().all(|share| share.weight == WeightedShare::UNKNOWN), "{shares:?}");
        assert_eq!(unknowns.into_observations().count(), 4);
    }

    #[test]
    fn what_is_invalid_and_how_long_a_job_may_wait_is_read() {
        let limit =
            |reason: &str, seconds| JobStateTimeLimitAction::builder().reason(reason).max_time_seconds(seconds).build();
        let detail = JobQueueDetail::builder()
            .job_queue_name("q")
            .status(JqStatus::Invalid)
            .status_reason("the role is gone")
            .job_state_time_limit_actions(limit("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", 600))
            .job_state_time_limit_actions(limit("", 600))
            .build();
        let queue = queue(&detail, Policy::Fifo, None);
        assert_eq!(queue.invalid, ["Queue q is INVALID; AWS reports: the role is gone."]);
        let after = Duration::from_secs(600);
        let reason = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY".to_owned();
        assert_eq!(queue.time_limits, [TimeLimit { reason, after }]);
        assert!(invalid("Queue", Some("q"), Some("VALID"), Some("JobQueue Healthy")).is_empty());
    }
}
