//! Errors as the API returns them: `{"error": {"code": ..., "message": ...}}`.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Error code of an unknown token.
const WRONG_TOKEN: &str = "wrong_token";

/// An error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    jobs: Vec<Value>,
    /// Seconds after which the request may be retried.
    retry_after: Option<u64>,
}

/// Body of every error response.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
    /// The candidates, if the text matches several jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    jobs: Vec<Value>,
}

/// The error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// Stable, machine-readable code.
    #[schema(value_type = String)]
    code: &'static str,
    /// Message for people; may change.
    message: String,
}

impl ApiError {
    /// 400: invalid request; the message says what is valid.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 404: not found.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405: method not supported.
    pub(super) fn method_not_allowed() -> Self {
        let message = "this path does not support this method; see /api/v1/openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 403: requested under a host name that is not the service's.
    pub(super) fn forbidden_host(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden_host", message)
    }

    /// 403: sent by a page of another site.
    pub(super) fn forbidden_origin(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden_origin", message)
    }

    /// 401: no token.
    pub(super) fn token_needed() -> Self {
        let message = "a token of `api.tokens` is required: send it as `Authorization: Bearer TOKEN`";
        Self::new(StatusCode::UNAUTHORIZED, "token_needed", message)
    }

    /// 401: unknown token.
    pub(super) fn wrong_token() -> Self {
        let message = "the token is not in `api.tokens`; it may have been replaced";
        Self::new(StatusCode::UNAUTHORIZED, WRONG_TOKEN, message)
    }

    /// 429: too many wrong tokens from the address; its tokens are ignored for now.
    pub(super) fn too_many_attempts(seconds: u64) -> Self {
        let message = format!("too many wrong tokens came from this address; try again in {seconds} s");
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message) }
    }

    /// 403: the caller may not act.
    pub(super) fn may_not_act(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "may_not_act", message)
    }

    /// 409: not possible in the current state.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 409: done in some of the targets only; the message says which.
    pub(super) fn not_everywhere(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "not_everywhere", message)
    }

    /// 415: the body is not JSON.
    pub(super) fn not_json() -> Self {
        let message = "send JSON, with `Content-Type: application/json`; use `{}` for an empty body";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message)
    }

    /// 422: the body is JSON of the wrong form.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// 409: several jobs match.
    pub(super) fn several(message: impl Into<String>, jobs: Vec<Value>) -> Self {
        Self { jobs, ..Self::new(StatusCode::CONFLICT, "ambiguous", message) }
    }

    /// 414: the URI is too long.
    pub(super) fn uri_too_long(most: usize) -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", format!("path and parameters exceed {most} bytes"))
    }

    /// 413: the body is too large.
    pub(super) fn too_large(most: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("the body exceeds {most} bytes"))
    }

    /// 503: temporarily unavailable; `code` says why.
    pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 504: the response took too long.
    pub(super) fn timed_out() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", "the service is overloaded; try again")
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2);
        Self { status, code, message: message.into(), jobs: Vec::new(), retry_after }
    }

    /// HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message, jobs, retry_after } = self;
        let mut response = (status, Json(ErrorBody { error: ErrorDetail { code, message }, jobs })).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        challenge(response, Some(code))
    }
}

/// Adds the `WWW-Authenticate` header to a response that asks for a token.
pub(super) fn challenge(mut response: Response, code: Option<&str>) -> Response {
    let challenge = match (response.status(), code) {
        (StatusCode::UNAUTHORIZED, Some(WRONG_TOKEN)) => "Bearer realm=\"trainspotter\", error=\"invalid_token\"",
        (StatusCode::UNAUTHORIZED, _) => "Bearer realm=\"trainspotter\"",
        (StatusCode::FORBIDDEN, Some("may_not_act")) => "Bearer realm=\"trainspotter\", error=\"insufficient_scope\"",
        _ => return response,
    };
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}
