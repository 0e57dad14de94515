//! Errors as the API returns them: `{"error": {"code": ..., "message": ...}}`.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    jobs: Vec<Value>,
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

    /// 405: everything here only reads.
    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path answers GET and HEAD only")
    }

    /// 403: asked under a name that is not the service's.
    pub(super) fn forbidden_host(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden_host", message)
    }

    /// 409: several jobs are meant.
    pub(super) fn several(message: impl Into<String>, jobs: Vec<Value>) -> Self {
        Self { jobs, ..Self::new(StatusCode::CONFLICT, "ambiguous", message) }
    }

    /// 414: no path with its parameters needs to be so long.
    pub(super) fn uri_too_long(most: usize) -> Self {
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", format!("path and parameters take more than {most} bytes"))
    }

    /// 413: nothing here takes a body.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "no path here takes a body; send none")
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
        Self { status, code, message: message.into(), jobs: Vec::new() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, code, message, jobs } = self;
        let mut response = (status, Json(ErrorBody { error: ErrorDetail { code, message }, jobs })).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
