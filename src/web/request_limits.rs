//! Limits on size and time of every request, and the layers that every route has.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header;
use axum::middleware::Next;
use axum::middleware::from_fn;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::response::Response;
use tower_http::compression::CompressionLayer;

use crate::web::access;
use crate::web::access::Access;
use crate::web::conditional::conditional;
use crate::web::error::ApiError;
use crate::web::security_headers::with_headers;

/// Time limit of a response, in wall time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of a response that waits for receivers of test notifications.
const TIMEOUT_OF_TESTS: Duration = Duration::from_secs(50);

/// Path that waits for receivers.
const TESTS: &str = "/api/v1/notifications/test";

/// Maximum body size, in bytes.
pub(super) const MAX_BODY: u64 = 16 * 1024;

/// Maximum length of path and query, in bytes.
const MAX_URI: usize = 8 * 1024;

/// Applies limits and headers to all routes of `router` and its fallback.
pub(super) fn guarded(router: Router, access: Access) -> Router {
    router
        .fallback(async || ApiError::not_found("unknown path; see /api/v1/openapi.json"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn(conditional))
        .layer(DefaultBodyLimit::max(usize::try_from(MAX_BODY).unwrap_or(usize::MAX)))
        .layer(from_fn_with_state(access, access::readers_only))
        .layer(CompressionLayer::new())
        .layer(from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let response = if announced_length(request.headers()) > MAX_BODY {
        ApiError::too_large(MAX_BODY).into_response()
    } else if request.uri().path_and_query().is_some_and(|asked| asked.as_str().len() > MAX_URI) {
        ApiError::uri_too_long(MAX_URI).into_response()
    } else {
        let path = request.uri().path().to_owned();
        let timeout = if path == TESTS { TIMEOUT_OF_TESTS } else { TIMEOUT };
        tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
            tracing::warn!(path, ?timeout, "a request timed out");
            ApiError::timed_out().into_response()
        })
    };
    with_headers(response)
}

/// The `Content-Length` of a request; 0 without one: a chunked body is read up to the same limit.
fn announced_length(headers: &HeaderMap) -> u64 {
    headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0)
}
