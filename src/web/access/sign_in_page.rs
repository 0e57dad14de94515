//! Sign-in page, shown in a browser instead of a page that requires a token: it asks for a token, keeps it for the
//! tab, and loads the page with it.

use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::web::error::challenge;

const PAGE: &str = include_str!("../assets/sign_in.html");

/// Whether the request is a page load in a browser.
pub(super) fn is_wanted(request: &Request) -> bool {
    let path = request.uri().path();
    let accepts = |value: &axum::http::HeaderValue| value.to_str().is_ok_and(|value| value.contains("text/html"));
    request.method() == Method::GET
        && !path.starts_with("/api/")
        && path != "/metrics"
        && request.headers().get_all(ACCEPT).iter().any(accepts)
}

/// The sign-in page, at the requested address.
pub(super) fn page(path: &str, status: StatusCode) -> Response {
    let root = "../".repeat(path.matches('/').count().saturating_sub(1));
    let html = PAGE.replace("{root}", &root);
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    challenge((status, headers, html).into_response(), None)
}
