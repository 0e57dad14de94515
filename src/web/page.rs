//! The pages: one HTML document in which a script renders each page; all styles and scripts are embedded in the
//! binary. Runbooks are static text.
//!
//! All links are relative, so that a proxy may serve the pages below any path.

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::web::Pages;
use crate::web::runbooks;

/// The document template, with placeholders.
const DOCUMENT: &str = include_str!("assets/page.html");

/// A static file, served without caching: after an update, pages and API must match.
macro_rules! file {
    ($name:literal, $content_type:literal) => {
        (
            concat!("/assets/", $name),
            get(async || {
                ([(CONTENT_TYPE, $content_type), (CACHE_CONTROL, "no-cache")], include_str!(concat!("assets/", $name)))
            }),
        )
    };
    (script $name:literal) => {
        file!($name, "text/javascript; charset=utf-8")
    };
    (style $name:literal) => {
        file!($name, "text/css; charset=utf-8")
    };
}

/// Pages rendered by a script: path, script and title.
pub(super) const SCRIPTED_PAGES: [(&str, &str, &str); 9] = [
    ("/", "overview", "Overview"),
    ("/alerts", "alerts", "Alerts"),
    ("/alerts/{id}", "alert", "Alert"),
    ("/jobs", "jobs", "Jobs"),
    ("/jobs/{id}", "job", "Job"),
    ("/queues/{queue}", "queue", "Queue"),
    ("/queues/{queue}/shares/{share}", "queue", "Share"),
    ("/what-if", "what_if", "What if"),
    ("/health", "health", "Health"),
];

/// The pages and their files.
pub(super) fn routes() -> Router<Pages> {
    let files = [
        file!(style "page.css"),
        file!(style "parts.css"),
        file!(script "alert.js"),
        file!(script "alertlist.js"),
        file!(script "alerts.js"),
        file!(script "api.js"),
        file!(script "chart.js"),
        file!(script "format.js"),
        file!(script "live.js"),
        file!(script "gpus.js"),
        file!(script "health.js"),
        file!(script "job.js"),
        file!(script "jobs.js"),
        file!(script "jobtable.js"),
        file!(script "overtime.js"),
        file!(script "overview.js"),
        file!(script "queue.js"),
        file!(script "range.js"),
        file!(script "runbook.js"),
        file!(script "sharetable.js"),
        file!(script "sign_in.js"),
        file!(script "silence.js"),
        file!(script "tables.js"),
        file!(script "timeline.js"),
        file!(script "token.js"),
        file!(script "jobwaits.js"),
        file!(script "what_if.js"),
        file!(script "labels.js"),
        file!(script "vendor/uPlot.iife.min.js"),
        file!(style "vendor/uPlot.min.css"),
        file!("vendor/LICENSE", "text/plain; charset=utf-8"),
    ];
    let drawn = SCRIPTED_PAGES.into_iter().fold(Router::new(), |routes, (path, script, title)| {
        routes.route(path, get(async move |request: Request| page(request.uri().path(), script, title)))
    });
    files
        .into_iter()
        .fold(drawn, |routes, (path, file)| routes.route(path, file))
        .route("/runbooks", get(runbooks::list))
        .route("/runbooks/{name}", get(runbooks::runbook))
        .route(
            "/favicon.svg",
            get(async || {
                ([(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "no-cache")], include_str!("assets/favicon.svg"))
            }),
        )
}

/// A page rendered by a script.
fn page(path: &str, script: &str, title: &str) -> Response {
    let script = format!("<script type=\"module\" src=\"{{root}}assets/{script}.js\"></script>");
    document(
        &root(path),
        title,
        &script,
        "",
        "<noscript><p class=\"banner\">This page needs JavaScript. The same figures are at <a href=\"{root}api/v1/queues\">/api/v1</a>.</p></noscript>",
    )
}

/// Fills in the document template. `root` is the relative path to the service's root, and replaces `{root}` in all
/// parts.
pub(super) fn document(root: &str, title: &str, script: &str, class: &str, main: &str) -> Response {
    let html = DOCUMENT
        .replace("{script}", script)
        .replace("{title}", title)
        .replace("{class}", class)
        .replace("{main}", main)
        .replace("{root}", root);
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-cache")], html).into_response()
}

/// The relative path from a page to the root: one step up per folder.
fn root(path: &str) -> String {
    match path.matches('/').count() {
        0 | 1 => "./".to_owned(),
        folders => "../".repeat(folders - 1),
    }
}
