//! Client errors in each service's format.

use crate::api_error::ApiError;
use crate::arn;
use crate::faults::Refusals;
use crate::http::{Call, EXPIRED, Service};

impl Call {
    /// The service's errors for faults.
    pub(super) fn refusals(&self) -> Refusals {
        Refusals { throttled: self.throttled(), expired: self.expired(), denied: self.denied() }
    }

    /// The service's throttling error.
    fn throttled(&self) -> ApiError {
        let (status, code) = match self.service {
            Service::Batch => (429, "TooManyRequestsException"),
            Service::SageMaker | Service::Quotas | Service::CloudWatch => (400, "ThrottlingException"),
            Service::Sns => (429, "Throttled"),
            Service::Sts => (400, "Throttling"),
        };
        ApiError::new(status, code, "Rate exceeded")
    }

    /// The service's error for expired temporary credentials.
    pub(super) fn expired(&self) -> ApiError {
        let (status, code) = match self.service {
            Service::Batch | Service::CloudWatch => (403, "ExpiredTokenException"),
            Service::SageMaker | Service::Quotas => (400, "ExpiredTokenException"),
            Service::Sns | Service::Sts => (403, "ExpiredToken"),
        };
        ApiError::new(status, code, EXPIRED)
    }

    /// Converts a client error to the service's code.
    pub(super) fn in_service_format(&self, error: ApiError) -> ApiError {
        match (error.code, self.service) {
            ("ExpiredToken", _) => self.expired(),
            ("InvalidSignatureException", Service::Sns | Service::Sts) => {
                ApiError { code: "SignatureDoesNotMatch", ..error }
            }
            _ => error,
        }
    }

    /// The service's error for denied access.
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
