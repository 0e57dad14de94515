//! Amazon resource names, of the account and Region whose world is at hand.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use trainspotter_core::model::{JobId, QueueName};

/// The Region of a simulation that is given none.
pub(super) const USUAL_REGION: &str = "us-east-1";
/// The account of AWS's own examples, which a simulation is that is given none.
pub(super) const USUAL_ACCOUNT: &str = "123456789012";

thread_local! {
    /// Whose world this thread has entered. Answers are made without a pause, so that a thread is in one at a time.
    static HERE: RefCell<(Rc<str>, Rc<str>)> = RefCell::new((USUAL_ACCOUNT.into(), USUAL_REGION.into()));
}

/// While this lives, names are of an account and Region.
#[derive(Debug)]
pub(super) struct Entered {
    before: (Rc<str>, Rc<str>),
}

/// Enters an account and Region.
pub(super) fn enter(account: &str, region: &str) -> Entered {
    let here = (account.into(), region.into());
    Entered { before: HERE.with(|place| place.replace(here)) }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.with(|place| std::mem::swap(&mut *place.borrow_mut(), &mut self.before));
    }
}

/// The account whose world is at hand.
pub(super) fn account() -> Rc<str> {
    HERE.with(|place| Rc::clone(&place.borrow().0))
}

/// Its Region.
pub(super) fn region() -> Rc<str> {
    HERE.with(|place| Rc::clone(&place.borrow().1))
}

/// `arn:aws:batch:<region>:<account>:<kind>/<name>`.
pub(super) fn batch(kind: &str, name: impl Display) -> String {
    format!("arn:aws:batch:{}:{}:{kind}/{name}", region(), account())
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
    format!("arn:aws:sagemaker:{}:{}:training-job/{name}", region(), account())
}

/// Of a training plan.
pub(super) fn training_plan(name: &str) -> String {
    format!("arn:aws:sagemaker:{}:{}:training-plan/{name}", region(), account())
}

/// Of the capacity under a training plan.
pub(super) fn reserved_capacity(name: &str) -> String {
    format!("arn:aws:sagemaker:{}:{}:reserved-capacity/{name}", region(), account())
}

/// Of an alarm.
pub(super) fn alarm(name: &str) -> String {
    format!("arn:aws:cloudwatch:{}:{}:alarm:{name}", region(), account())
}

/// Of a dashboard, which belongs to no Region.
pub(super) fn dashboard(name: &str) -> String {
    format!("arn:aws:cloudwatch::{}:dashboard/{name}", account())
}

/// Of a topic.
pub(super) fn topic(name: &str) -> String {
    format!("arn:aws:sns:{}:{}:{name}", region(), account())
}

/// What an ARN of this kind of Batch's resources names, or the text itself where a name was given: APIs accept either. An ARN of
/// another account, Region or kind stays what it is, and nothing has such a name.
pub(super) fn name_of<'a>(kind: &str, name_or_arn: &'a str) -> &'a str {
    name_or_arn.strip_prefix(&batch(kind, "")).unwrap_or(name_or_arn)
}

/// The id of a service job, of it or of its ARN.
pub(super) fn job_id(id_or_arn: &str) -> JobId {
    JobId::from(name_of("service-job", id_or_arn))
}

/// The queue and the name of a quota share, by its ARN.
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
