//! Amazon resource names of the one account and Region that the simulator is.

use std::fmt::Display;

use trainspotter_core::model::QueueName;

pub(super) const REGION: &str = "us-east-1";
/// The account of AWS's own examples.
pub(super) const ACCOUNT: &str = "123456789012";

/// `arn:aws:batch:<region>:<account>:<kind>/<name>`.
pub(super) fn batch(kind: &str, name: impl Display) -> String {
    format!("arn:aws:batch:{REGION}:{ACCOUNT}:{kind}/{name}")
}

/// Of a job queue.
pub(super) fn queue(name: &QueueName) -> String {
    batch("job-queue", name)
}

/// Of a service environment.
pub(super) fn environment(name: &str) -> String {
    batch("service-environment", name)
}

/// Of a scheduling policy.
pub(super) fn policy(name: impl Display) -> String {
    batch("scheduling-policy", name)
}

/// Of a service job.
pub(super) fn job(id: impl Display) -> String {
    batch("service-job", id)
}

/// Of a quota share, which lives inside its queue.
pub(super) fn quota_share(queue: &QueueName, share: impl Display) -> String {
    batch("job-queue", format_args!("{queue}/quota-share/{share}"))
}

/// Of a training job.
pub(super) fn training_job(name: impl Display) -> String {
    format!("arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}")
}

/// Of a training plan.
pub(super) fn training_plan(name: &str) -> String {
    format!("arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-plan/{name}")
}

/// Of the capacity under a training plan.
pub(super) fn reserved_capacity(name: &str) -> String {
    format!("arn:aws:sagemaker:{REGION}:{ACCOUNT}:reserved-capacity/{name}")
}

/// Of an alarm.
pub(super) fn alarm(name: &str) -> String {
    format!("arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}")
}

/// Of a dashboard, which belongs to no Region.
pub(super) fn dashboard(name: &str) -> String {
    format!("arn:aws:cloudwatch::{ACCOUNT}:dashboard/{name}")
}

/// Of a topic.
pub(super) fn topic(name: &str) -> String {
    format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}")
}

/// What an ARN names, or the name itself where a name was given: APIs accept either.
pub(super) fn name_in(name_or_arn: &str) -> &str {
    if name_or_arn.starts_with("arn:") {
        name_or_arn.split_once('/').map_or(name_or_arn, |(_, name)| name)
    } else {
        name_or_arn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_arn_mean_the_same() {
        assert_eq!(name_in("prod"), "prod");
        assert_eq!(name_in(&queue(&"prod".into())), "prod");
        assert_eq!(name_in(&quota_share(&"prod".into(), "vision")), "prod/quota-share/vision");
    }
}
