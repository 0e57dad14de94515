//! How each service words its refusals of a caller.

use crate::arn;
use crate::faults::Refusals;
use crate::http::{Call, EXPIRED, Service};
use crate::reply::ApiError;

impl Call {
    /// How the service refuses calls.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals { throttled: self.throttled(), expired: self.expired(), denied: self.denied() }
    }

    /// How the service says that a caller goes too fast.
    fn throttled(&self) -> ApiError {
        let (status, code) = match self.service {
            Service::Batch => (429, "TooManyRequestsException"),
            Service::SageMaker | Service::Quotas | Service::CloudWatch => (400, "ThrottlingException"),
            Service::Sns => (429, "Throttled"),
            Service::Sts => (400, "Throttling"),
        };
        ApiError::new(status, code, "Rate exceeded")
    }

    /// How the service says that a caller's temporary credentials are too old.
    pub(super) fn expired(&self) -> ApiError {
        let (status, code) = match self.service {
            Service::Batch | Service::CloudWatch => (403, "ExpiredTokenException"),
            Service::SageMaker | Service::Quotas => (400, "ExpiredTokenException"),
            Service::Sns | Service::Sts => (403, "ExpiredToken"),
        };
        ApiError::new(status, code, EXPIRED)
    }

    /// A refusal of the caller as the service spells it.
    pub(super) fn in_its_words(&self, error: ApiError) -> ApiError {
        match (error.code, self.service) {
            ("ExpiredToken", _) => self.expired(),
            ("InvalidSignatureException", Service::Sns | Service::Sts) => {
                ApiError { code: "SignatureDoesNotMatch", ..error }
            }
            _ => error,
        }
    }

    /// How the service says that a caller is not allowed to make this call.
    fn denied(&self) -> ApiError {
        let (status, code, prefix) = match self.service {
            Service::Batch => (403, "AccessDeniedException", "batch"),
            Service::SageMaker => (400, "AccessDeniedException", "sagemaker"),
            Service::Quotas => (400, "AccessDeniedException", "servicequotas"),
            Service::CloudWatch => (403, "AccessDenied", "cloudwatch"),
            Service::Sns => (403, "AuthorizationError", "SNS"),
            Service::Sts => (403, "AccessDenied", "sts"),
        };
        let operation = &self.operation;
        let who = format!("arn:aws:iam::{}:user/simulated", arn::account());
        let message = format!("User: {who} is not authorized to perform: {prefix}:{operation} on resource: *");
        ApiError::new(status, code, message)
    }
}
