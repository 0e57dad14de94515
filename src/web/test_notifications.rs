//! Test notifications over the API.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::access::Caller;
use crate::web::error::{ApiError, ErrorBody};
use crate::web::operations::{Body, author};

/// What is sent to whom: samples to a receiver, or a sample of a rule's alert to whoever would get it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The receiver's name; or give `rule`.
    pub receiver: Option<String>,
    /// With `receiver`: `firing`, `resolved`, `job`, `group` or `digest`; an alert that fires, and its end, by default.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// The rule's name; or give `receiver`.
    pub rule: Option<String>,
    /// With `rule`: labels of the alert, such as its queue. By default those of an alert that is there, or of the test.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What became of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TestResult {
    /// Who was to get it.
    pub receiver: String,
    /// What was sent: a kind of sample, or `firing` and `resolved` of a rule.
    pub sample: String,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// What the receiver answered, or why it could not be reached.
    pub answer: String,
    /// How long after the firing the receiver would hear of it: above 0 where another one escalates to it.
    pub after_seconds: f64,
}

/// Sends test notifications now, past the outbox, and says what became of each. Each says that it is a test.
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
            return Err(ApiError::invalid("say what to test: either receiver or rule"));
        }
        (Some(_), None) if !test.labels.is_empty() => return Err(ApiError::invalid("labels: they go with rule")),
        (None, Some(_)) if !test.kinds.is_empty() => return Err(ApiError::invalid("kinds: they go with receiver")),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let author = author(&caller)?;
    pages.send_tests(&test, &author).await.map(Json)
}
