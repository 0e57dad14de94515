//! Account limits on concurrent training instances per type, from Service Quotas, if configured.

use std::time::Duration;

use crate::aws::Poller;
use crate::aws::failure::Failure;
use crate::aws::poller::{ObservationSender, is_due, send};
use trainspotter_core::model::{Capacity, Observation, Source};

/// Limits change on request only, which takes hours at least. After a failure they are retried at the interval of
/// utilisation.
const ASK_EVERY: Duration = Duration::from_secs(3_600);
/// Service code for Service Quotas.
const SAGEMAKER: &str = "sagemaker";
const OPERATION: &str = "GetServiceQuota";

impl Poller {
    /// Reads the limits of the configured instance types and the running training jobs, if due. Partial results are
    /// reported even if the rest fails: a role may lack some permissions.
    pub(crate) async fn poll_account(&mut self, out: &ObservationSender) {
        let (at, source) = (self.clock.now(), Source::Account);
        if self.target.quotas.is_empty() || !is_due(at, self.account_due, self.poll.utilisation_every) {
            return;
        }
        self.account_due = at + self.poll.utilisation_every;
        let limits = self.poll_limits(out).await;
        let listed = self.list_training_jobs(at, out).await;
        let outcome = match limits.and(listed) {
            Ok(()) => Observation::Answered { source, queue: None, at },
            Err(failure) => Observation::Failed { source, queue: None, at, error: failure.to_string() },
        };
        send(out, vec![outcome]).await;
    }

    async fn poll_limits(&mut self, out: &ObservationSender) -> Result<(), Failure> {
        let now = self.clock.now();
        if !is_due(now, self.limits_due, ASK_EVERY) {
            return Ok(());
        }
        let (mut limits, mut failed) = (Vec::new(), None);
        for (instance_type, code) in &self.target.quotas {
            match self.quota(code).await {
                Ok(limit) => limits.push(Capacity::new(instance_type.as_str(), limit)),
                Err(failure) => failed = failed.or(Some(failure.about(instance_type))),
            }
        }
        send(out, vec![Observation::AccountLimits(limits)]).await;
        match failed {
            Some(failure) => Err(failure),
            None => {
                self.limits_due = now + ASK_EVERY;
                Ok(())
            }
        }
    }

    async fn quota(&self, code: &str) -> Result<f64, Failure> {
        let request = self.clients.quotas.get_service_quota().service_code(SAGEMAKER).quota_code(code);
        let answer = request.send().await.map_err(|error| Failure::new(OPERATION, &error))?;
        let value = answer.quota.and_then(|quota| quota.value);
        let value = value.filter(|value| value.is_finite() && *value >= 0.0);
        value.ok_or_else(|| Failure::of_answer(OPERATION, format_args!("the response has no value for {code}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::scripted_endpoint;

    #[tokio::test]
    async fn limits_are_asked_for_once_an_hour_and_a_refusal_costs_only_itself() {
        let (endpoint, log) =
            scripted_endpoint::serve(|operation, body| match (operation, body["QuotaCode"].as_str()) {
                ("ListTrainingJobs", _) => (200, json!({"TrainingJobSummaries": []})),
                (_, Some("L-0000000A")) => (200, json!({"Quota": {"QuotaCode": "L-0000000A", "Value": 10.0}})),
                _ => scripted_endpoint::error(400, "AccessDeniedException", "not you"),
            })
            .await;
        let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
        let (out, mut from) = scripted_endpoint::channel();
        poller.poll_account(&out).await;
        assert!(log.lock().unwrap().is_empty(), "nothing is asked that is not switched on");
        let quotas = [("ml.p5.48xlarge", "L-0000000A"), ("ml.p4d.24xlarge", "L-0000000B")];
        poller.target.quotas = quotas.map(|(name, code)| (name.to_owned(), code.to_owned())).into();
        poller.poll_account(&out).await;
        poller.poll_account(&out).await;
        let asked = |operation: &str| log.lock().unwrap().iter().filter(|(asked, _)| asked == operation).count();
        assert_eq!((asked(OPERATION), asked("ListTrainingJobs")), (2, 1), "not due again");
        let observations = scripted_endpoint::received(&mut from);
        let [
            Observation::AccountLimits(limits),
            Observation::TrainingJobsListed { .. },
            Observation::Failed { source: Source::Account, error, .. },
        ] = observations.as_slice()
        else {
            panic!("{observations:?}")
        };
        assert_eq!(*limits, [Capacity::new("ml.p5.48xlarge", 10.0)]);
        assert!(error.contains("allow servicequotas:GetServiceQuota") && error.contains("ml.p4d.24xlarge"), "{error}");

        poller.target.quotas.remove("ml.p4d.24xlarge");
        for _ in 0..2 {
            poller.account_due = poller.clock.now();
            poller.poll_account(&out).await;
        }
        assert_eq!((asked(OPERATION), asked("ListTrainingJobs")), (3, 3), "what could be read holds for an hour");
        let outcomes = scripted_endpoint::received(&mut from);
        let answered = |one: &&Observation| matches!(one, Observation::Answered { source: Source::Account, .. });
        assert_eq!(outcomes.iter().filter(answered).count(), 2, "{outcomes:?}");
    }
}
