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

/// The code of an answer to a token that is not known.
const WRONG_TOKEN: &str = "wrong_token";

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    jobs: Vec<Value>,
    /// In how many seconds it may be tried again.
    retry_after: Option<u64>,
}

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody {
    error: ErrorDetail,
    /// The jobs that are meant, when a text means several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    jobs: Vec<Value>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// A word for programs; stable.
    #[schema(value_type = String)]
    code: &'static str,
    /// A sentence for people; not stable.
    message: String,
}

impl ApiError {
    /// 400: the request makes no sense; the message says what would.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 404: there is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405: this is not done here.
    pub(super) fn method_not_allowed() -> Self {
        let message = "this path does not take this method; see /api/v1/openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// 403: asked under a name that is not the service's.
    pub(super) fn forbidden_host(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden_host", message)
    }

    /// 403: sent by a page that is not the service's.
    pub(super) fn forbidden_origin(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden_origin", message)
    }

    /// 401: nobody knows who asks.
    pub(super) fn token_needed() -> Self {
        let message = "this needs a token of `api.tokens`: send it as `Authorization: Bearer TOKEN`";
        Self::new(StatusCode::UNAUTHORIZED, "token_needed", message)
    }

    /// 401: the token is not known.
    pub(super) fn wrong_token() -> Self {
        let message = "the token is none of `api.tokens`; it may have been replaced";
        Self::new(StatusCode::UNAUTHORIZED, WRONG_TOKEN, message)
    }

    /// 429: an address sent so many wrong tokens that its tokens are not looked at for now.
    pub(super) fn too_many_attempts(seconds: u64) -> Self {
        let message = format!("too many wrong tokens came from this address; try again in {seconds} s");
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message) }
    }

    /// 403: whoever asks may not act.
    pub(super) fn may_not_act(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "may_not_act", message)
    }

    /// 409: it cannot be done to what is there.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 409: it was done in a part of the targets; the message says in which.
    pub(super) fn not_everywhere(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "not_everywhere", message)
    }

    /// 415: the body is something else.
    pub(super) fn not_json() -> Self {
        let message = "send JSON, with `Content-Type: application/json`; `{}` where there is nothing to say";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message)
    }

    /// 422: the body is JSON and yet not what is needed.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    /// 409: several jobs are meant.
    pub(super) fn several(message: impl Into<String>, jobs: Vec<Value>) -> Self {
        Self { jobs, ..Self::new(StatusCode::CONFLICT, "ambiguous", message) }
    }

    /// 414: no path with its parameters needs to be so long.
    pub(super) fn uri_too_long(most: usize) -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", format!("path and parameters take more than {most} bytes"))
    }

    /// 413: no body needs to be so large.
    pub(super) fn too_large(most: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body takes {most} bytes at most"))
    }

    /// 503: not now; `code` says why.
    pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// 504: the answer took too long.
    pub(super) fn timed_out() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", "the service is too busy to answer; try again")
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(2);
        Self { status, code, message: message.into(), jobs: Vec::new(), retry_after }
    }

    /// The status of the answer.
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

/// Says with an answer that needs a token how one is sent.
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
