//! The page at `/`: one document, its style and its scripts, all in the binary. And the runbooks.

use axum::Router;
use axum::http::header::CACHE_CONTROL;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

use crate::web::Pages;
use crate::web::runbooks;

/// A file of the page, always asked for anew: after an update, page and API must fit each other.
macro_rules! file {
    ($name:literal, $content_type:literal) => {
        get(async || {
            ([(CONTENT_TYPE, $content_type), (CACHE_CONTROL, "no-cache")], include_str!(concat!("assets/", $name)))
        })
    };
}

/// The page's files.
pub(super) fn routes() -> Router<Pages> {
    Router::new()
        .route("/", file!("index.html", "text/html; charset=utf-8"))
        .route("/alerts", file!("index.html", "text/html; charset=utf-8"))
        .route("/runbooks", get(runbooks::list))
        .route("/runbooks/{name}", get(runbooks::runbook))
        .route("/assets/page.css", file!("page.css", "text/css; charset=utf-8"))
        .route("/assets/page.js", file!("page.js", "text/javascript; charset=utf-8"))
        .route("/assets/sections.js", file!("sections.js", "text/javascript; charset=utf-8"))
        .route("/assets/gpus.js", file!("gpus.js", "text/javascript; charset=utf-8"))
        .route("/assets/token.js", file!("token.js", "text/javascript; charset=utf-8"))
        .route("/assets/sign_in.js", file!("sign_in.js", "text/javascript; charset=utf-8"))
        .route("/assets/format.js", file!("format.js", "text/javascript; charset=utf-8"))
        .route("/favicon.svg", file!("favicon.svg", "image/svg+xml"))
}
