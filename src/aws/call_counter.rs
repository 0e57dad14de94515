//! Counts API calls: every attempt of every client of a target, by service, operation and outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{FinalizerInterceptorContextRef, InterceptorContext};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryReason};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::retry::ErrorKind;

use crate::aws::Budget;
use trainspotter_core::model::CallOutcome;
use trainspotter_core::model::Calls;

/// Every operation this program calls; any other is counted as [`OTHER`].
const OPERATIONS: [&str; 15] = [
    "DescribeJobQueues",
    "DescribeSchedulingPolicies",
    "DescribeServiceEnvironments",
    "DescribeServiceJob",
    "DescribeTrainingJob",
    "GetCallerIdentity",
    "GetJobQueueSnapshot",
    "GetMetricData",
    "GetServiceQuota",
    "ListQuotaShares",
    "ListServiceJobs",
    "ListTrainingJobs",
    "ListTrainingPlans",
    "Publish",
    "PutMetricData",
];
const OTHER: &str = "other";

/// Attempts per operation and outcome. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct CallCounter(Arc<Mutex<Counts>>);

type Counts = BTreeMap<(&'static str, &'static str, CallOutcome), u64>;

impl CallCounter {
    /// Returns and resets the counts, ordered by service, operation and outcome.
    pub fn drain(&self) -> Vec<Calls> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        counts
            .into_iter()
            .map(|((service, operation, outcome), count)| Calls { service, operation, outcome, count })
            .collect()
    }

    fn count(&self, service: &'static str, operation: &str, outcome: CallOutcome) {
        let operation = OPERATIONS.into_iter().find(|known| *known == operation).unwrap_or(OTHER);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((service, operation, outcome)).or_default() += 1;
    }
}

/// SDK interceptor for one service's client: counts attempts and reports their outcomes to the budget.
#[derive(Debug)]
pub(crate) struct Watch {
    /// `batch`, `sagemaker`, `cloudwatch` or `sns`.
    pub(crate) service: &'static str,
    pub(crate) counter: CallCounter,
    /// `None` for clients outside the polling budget.
    pub(crate) budget: Option<Budget>,
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let outcome = outcome(context.inner(), components);
        let operation = cfg.load::<Metadata>().map_or(OTHER, Metadata::name);
        self.counter.count(self.service, operation, outcome);
        match (&self.budget, outcome) {
            (Some(budget), CallOutcome::Ok) => budget.answered(),
            (Some(budget), CallOutcome::Throttled) => budget.throttled(),
            (Some(_), CallOutcome::Error) | (None, _) => {}
        }
        Ok(())
    }
}

/// Uses the SDK's retry classifiers to detect throttling: they know the error codes of every service.
fn outcome(context: &InterceptorContext, components: &RuntimeComponents) -> CallOutcome {
    if matches!(context.output_or_error(), Some(Ok(_))) {
        CallOutcome::Ok
    } else if components.retry_classifiers().any(|classifier| is_throttle(&classifier.classify_retry(context))) {
        CallOutcome::Throttled
    } else {
        CallOutcome::Error
    }
}

fn is_throttle(action: &RetryAction) -> bool {
    matches!(action, RetryAction::RetryIndicated(RetryReason::RetryableError { kind: ErrorKind::ThrottlingError, .. }))
}

/// Classifies HTTP status 429 as throttling. The SDK's own classifiers go by error codes and would not retry a bare
/// 429, as sent by a gateway.
#[derive(Debug)]
pub(crate) struct TooManyRequests;

impl ClassifyRetry for TooManyRequests {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response().map(|response| response.status().as_u16()) {
            Some(429) => RetryAction::throttling_error(),
            Some(_) | None => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "TooManyRequests"
    }
}
