//! Conditional requests: every API response has an ETag, and a client that already has the response gets `304`
//! without a body.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::web::error::ApiError;

/// Prefix of the paths with ETags.
const BELOW: &str = "/api/";

/// Hex digits of an ETag; enough to tell the responses of a path apart.
const DIGITS: usize = 10;

/// Handles a request, and replaces the response by `304` if the client has it already.
pub(super) async fn conditional(request: Request, next: Next) -> Response {
    let known = request.headers().get_all(IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let is_asked = request.method() == Method::GET && request.uri().path().starts_with(BELOW);
    let response = next.run(request).await;
    if !is_asked || response.status() != StatusCode::OK || !is_json(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // The body is complete already: no route under `/api` streams.
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return ApiError::unavailable("no_answer", "the response was incomplete; try again").into_response();
    };
    let hash: String = Sha256::digest(&body).iter().take(DIGITS).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("W/\"{hash}\"");
    let has_it = known.iter().any(|known| names(known, &tag));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        parts.headers.insert(ETAG, tag);
    }
    if has_it {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"application/json"))
}

/// Whether a list of ETags contains `tag` or is `*`.
fn names(known: &HeaderValue, tag: &str) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    known.to_str().is_ok_and(|known| known.trim() == "*" || known.split(',').any(|known| strong(known) == strong(tag)))
}
