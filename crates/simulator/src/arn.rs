//! Amazon resource names in the current account and Region.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use trainspotter_core::model::{JobId, QueueName};

/// Default Region.
pub(super) const USUAL_REGION: &str = "us-east-1";
/// Default account: that of AWS's examples.
pub(super) const USUAL_ACCOUNT: &str = "123456789012";

thread_local! {
    /// Account and Region that this thread has entered. Responses are computed without awaiting, so a thread is in
    /// one at a time.
    static HERE: RefCell<(Rc<str>, Rc<str>)> = RefCell::new((USUAL_ACCOUNT.into(), USUAL_REGION.into()));
}

/// Guard: while it exists, names belong to its account and Region.
#[derive(Debug)]
pub(super) struct Entered {
    before: (Rc<str>, Rc<str>),
}

/// Enters an account and Region on this thread.
pub(super) fn enter(account: &str, region: &str) -> Entered {
    let here = (account.into(), region.into());
    Entered { before: HERE.with(|place| place.replace(here)) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.with(|place| std::mem::swap(&mut *place.borrow_mut(), &mut self.before));
    }
}

/// The current account.
pub(super) fn account() -> Rc<str> {
    HERE.with(|place| Rc::clone(&place.borrow().0))
}

/// The current Region.
pub(super) fn region() -> Rc<str> {
    HERE.with(|place| Rc::clone(&place.borrow().1))
}

/// `arn:aws:batch:<region>:<account>:<kind>/<name>`.
pub(super) fn batch(kind: &str, name: impl Display) -> String {
    format!("arn:aws:batch:{}:{}:{kind}/{name}", region(), account())
}

/// ARN of a job queue.
pub(super) fn queue(name: &QueueName) -> String {
    batch("job-queue", name)
}

/// ARN of a service environment.
pub(super) fn environment(name: &str) -> String {
    batch("service-environment", name)
}

/// ARN of a scheduling policy.
pub(super) fn policy(name: impl Display) -> String {
    batch("scheduling-policy", name)
}

/// ARN of a service job.
pub(super) fn job(id: impl Display) -> String {
    batch("service-job", id)
}

/// ARN of a quota share, which is nested in its queue.
pub(super) fn quota_share(queue: &QueueName, share: impl Display) -> String {
    batch("job-queue", format_args!("{queue}/quota-share/{share}"))
}

/// ARN of a training job.
pub(super) fn training_job(name: impl Display) -> String {
    format!("arn:aws:sagemaker:{}:{}:training-job/{name}", region(), account())
}

/// ARN of a training plan.
pub(super) fn training_plan(name: &str) -> String {
    format!("arn:aws:sagemaker:{}:{}:training-plan/{name}", region(), account())
}

/// ARN of the reserved capacity of a training plan.
pub(super) fn reserved_capacity(name: &str) -> String {
    format!("arn:aws:sagemaker:{}:{}:reserved-capacity/{name}", region(), account())
}

/// ARN of an alarm.
pub(super) fn alarm(name: &str) -> String {
    format!("arn:aws:cloudwatch:{}:{}:alarm:{name}", region(), account())
}

/// ARN of a dashboard, which has no Region.
pub(super) fn dashboard(name: &str) -> String {
    format!("arn:aws:cloudwatch::{}:dashboard/{name}", account())
}

/// ARN of a topic.
pub(super) fn topic(name: &str) -> String {
    format!("arn:aws:sns:{}:{}:{name}", region(), account())
}

/// The name in a Batch ARN of this kind, or the text itself if it is a name: APIs accept either. An ARN of another
/// account, Region or kind is returned unchanged, and no resource has such a name.
pub(super) fn name_of<'a>(kind: &str, name_or_arn: &'a str) -> &'a str {
    name_or_arn.strip_prefix(&batch(kind, "")).unwrap_or(name_or_arn)
}

/// The id of a service job, from its id or ARN.
pub(super) fn job_id(id_or_arn: &str) -> JobId {
    JobId::from(name_of("service-job", id_or_arn))
}

/// Queue and name of a quota share, from its ARN.
pub(super) fn queue_and_share(arn: &str) -> Option<(&str, &str)> {
    arn.strip_prefix(&batch("job-queue", ""))?.split_once("/quota-share/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_arn_mean_the_same() {
        assert_eq!(name_of("job-queue", "prod"), "prod");
        assert_eq!(name_of("job-queue", &queue(&"prod".into())), "prod");
        assert_eq!(job_id(&job("one")), JobId::from("one"));
        assert_eq!(queue_and_share(&quota_share(&"prod".into(), "vision")), Some(("prod", "vision")));
        assert_eq!(queue_and_share("prod/quota-share/vision"), None);
    }

    #[test]
    fn an_arn_of_another_account_region_or_kind_names_nothing_here() {
        let arn = queue(&"prod".into());
        for other in [
            arn.replace(USUAL_ACCOUNT, "999999999999"),
            arn.replace(USUAL_REGION, "eu-west-1"),
            arn.replace("job-queue", "service-environment"),
            arn.replace(":batch:", ":sagemaker:"),
        ] {
            assert_eq!(name_of("job-queue", &other), other);
        }
    }
}
