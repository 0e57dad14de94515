//! Test notifications over the API.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::access::Caller;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::json_body::Body;
use crate::web::operation_messages::author;

/// A request for test notifications: samples to a receiver, or a sample of a rule's alert to all its receivers.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// Name of the receiver, instead of `rule`.
    pub receiver: Option<String>,
    /// With `receiver`: `firing`, `resolved`, `job`, `group` or `digest`; by default a firing alert and its
    /// resolve.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Name of the rule, instead of `receiver`.
    pub rule: Option<String>,
    /// With `rule`: labels of the alert, such as its queue. By default those of an existing alert, or of the
    /// sample.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Result of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TestResult {
    /// The receiver.
    pub receiver: String,
    /// What was sent: a kind of sample, or `firing` and `resolved` for a rule.
    pub sample: String,
    /// Whether the receiver accepted it.
    pub delivered: bool,
    /// The receiver's response, or why it could not be reached.
    pub answer: String,
    /// Delay after the firing before the receiver would be notified: above 0 if another one escalates to it.
    pub after_seconds: f64,
}

/// Sends test notifications now, without the outbox, and returns the result of each. Each says that it is a test.
#[utoipa::path(
    post, path = "/api/v1/notifications/test", tag = "operation", request_body = TestRequest,
    responses(
        (status = 200, body = Vec<TestResult>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)
    )
)]
pub(super) async fn test(
    State(pages): State<Pages>,
    caller: Extension<Caller>,
    Body(test): Body<TestRequest>,
) -> Result<Json<Vec<TestResult>>, ApiError> {
    match (&test.receiver, &test.rule) {
        (Some(_), Some(_)) | (None, None) => {
            return Err(ApiError::invalid("either receiver or rule is required"));
        }
        (Some(_), None) if !test.labels.is_empty() => return Err(ApiError::invalid("labels: they go with rule")),
        (None, Some(_)) if !test.kinds.is_empty() => return Err(ApiError::invalid("kinds: they go with receiver")),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let author = author(&caller)?;
    pages.send_tests(&test, &author).await.map(Json)
}
