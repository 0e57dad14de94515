//! How many instances of a type the account may run for training jobs at a time, as Service Quotas says, where that is asked for.

use std::time::Duration;

use crate::aws::Poller;
use crate::aws::failure::describe;
use crate::aws::poller::{Out, send};
use trainspotter_core::model::{Capacity, Observation};

/// Limits change by a request to AWS, which takes hours at least.
const ASK_EVERY: Duration = Duration::from_secs(3_600);
/// The service whose quotas are asked for.
const SAGEMAKER: &str = "sagemaker";
const OPERATION: &str = "GetServiceQuota";

impl Poller {
    /// The limits of the instance types that the target names, if they are due. What cannot be read is left out and logged: a role need
    /// not be allowed to ask.
    pub(crate) async fn poll_quotas(&mut self, out: &Out) {
        let now = self.clock.now();
        if self.target.quotas.is_empty() || now < self.quotas_due {
            return;
        }
        self.quotas_due = now + ASK_EVERY;
        let mut limits = Vec::new();
        let mut error = None;
        for (instance_type, code) in &self.target.quotas {
            match self.quota(code).await {
                Ok(limit) => limits.push(Capacity::new(instance_type.as_str(), limit)),
                Err(failed) => error = error.or(Some(format!("{failed}, about {instance_type}"))),
            }
        }
        send(out, vec![Observation::AccountLimits { limits, error }]).await;
    }

    async fn quota(&self, code: &str) -> Result<f64, String> {
        let request = self.clients.quotas.get_service_quota().service_code(SAGEMAKER).quota_code(code);
        let answer = request.send().await.map_err(|error| describe(OPERATION, &error))?;
        let value = answer.quota.and_then(|quota| quota.value);
        let value = value.filter(|value| value.is_finite() && *value >= 0.0);
        value.ok_or_else(|| format!("{OPERATION}: the answer has no value of {code}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::fake;

    #[tokio::test]
    async fn limits_are_asked_for_once_an_hour_and_a_refusal_costs_only_itself() {
        let (endpoint, log) = fake::serve(|_, body| match body["QuotaCode"].as_str() {
            Some("L-0000000A") => (200, json!({"Quota": {"QuotaCode": "L-0000000A", "Value": 10.0}})),
            _ => fake::error(400, "AccessDeniedException", "not you"),
        })
        .await;
        let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;
        let (out, mut from) = fake::channel();
        poller.poll_quotas(&out).await;
        assert!(log.lock().unwrap().is_empty(), "nothing is asked that is not switched on");
        let quotas = [("ml.p5.48xlarge", "L-0000000A"), ("ml.p4d.24xlarge", "L-0000000B")];
        poller.target.quotas = quotas.map(|(name, code)| (name.to_owned(), code.to_owned())).into();
        poller.poll_quotas(&out).await;
        poller.poll_quotas(&out).await;
        assert_eq!(log.lock().unwrap().len(), 2);
        let observations = fake::received(&mut from);
        let [Observation::AccountLimits { limits, error: Some(error) }] = observations.as_slice() else {
            panic!("{observations:?}")
        };
        assert_eq!(*limits, [Capacity::new("ml.p5.48xlarge", 10.0)]);
        assert!(error.contains("allow servicequotas:GetServiceQuota") && error.contains("ml.p4d.24xlarge"), "{error}");
    }
}
