//! Routes of the API with their documentation, registered together so that they cannot diverge.

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::web::Pages;
use crate::web::access;
use crate::web::alert_detail;
use crate::web::alerts;
use crate::web::frame_tables;
use crate::web::health;
use crate::web::history;
use crate::web::job_context;
use crate::web::jobs;
use crate::web::live_updates;
use crate::web::outbox;
use crate::web::probes;
use crate::web::report;
use crate::web::service_figures;
use crate::web::silences;
use crate::web::test_notifications;
use crate::web::unsubmitted_jobs;
use crate::web::what_if;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Trainspotter",
        description = "State of the watched job queues. Times are RFC 3339, durations are in seconds, `null` means \
         unknown. Errors have the form `{error: {code, message}}`. Changes are POST requests with a \
         JSON body and `Authorization: Bearer TOKEN`, of a token with `may: operate`. Once a token \
         with `may: read` is configured, reading requires a token too."
    ),
    tags(
        (name = "figures", description = "Metrics of the latest tick, as tables"),
        (name = "alerts", description = "Alerts of the rules"),
        (name = "jobs", description = "Single jobs"),
        (name = "operation", description = "Silences, undelivered notifications and test notifications"),
        (name = "service", description = "The service itself"),
    )
)]
struct About;

/// Every route except the static files.
pub(super) fn routes() -> OpenApiRouter<Pages> {
    OpenApiRouter::with_openapi(About::openapi())
        .routes(routes!(frame_tables::queues))
        .routes(routes!(frame_tables::shares))
        .routes(routes!(frame_tables::loans))
        .routes(routes!(frame_tables::fair_shares))
        .routes(routes!(frame_tables::reserved))
        .routes(routes!(frame_tables::waits))
        .routes(routes!(frame_tables::estimates))
        .routes(routes!(frame_tables::reasons))
        .routes(routes!(frame_tables::waterfall))
        .routes(routes!(frame_tables::failures))
        .routes(routes!(frame_tables::setup))
        .routes(routes!(history::history))
        .routes(routes!(history::histories))
        .routes(routes!(report::report))
        .routes(routes!(alerts::alerts))
        .routes(routes!(alert_detail::past))
        .routes(routes!(alert_detail::alert))
        .routes(routes!(alert_detail::figure))
        .routes(routes!(jobs::jobs))
        .routes(routes!(jobs::job))
        .routes(routes!(job_context::context))
        .routes(routes!(unsubmitted_jobs::when))
        .routes(routes!(what_if::what_if))
        .routes(routes!(what_if::candidates))
        .routes(routes!(live_updates::tick))
        .routes(routes!(health::health))
        .routes(routes!(service_figures::service))
        .routes(routes!(openapi))
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(silences::silences))
        .routes(routes!(outbox::outbox))
        .merge(acts())
}

/// Routes that change something.
fn acts() -> OpenApiRouter<Pages> {
    OpenApiRouter::new()
        .routes(routes!(silences::add_silence))
        .routes(routes!(silences::end_silence))
        .routes(routes!(outbox::retry))
        .routes(routes!(outbox::drop_notifications))
        .routes(routes!(test_notifications::test))
        .route_layer(from_fn(access::operators_only))
}

/// The document as JSON. Constant for a build.
pub(super) fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| routes().into_openapi().to_pretty_json().unwrap_or_default());
    &DOCUMENT
}

/// This document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "service",
    responses((status = 200, content_type = "application/json", body = Object))
)]
async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document())
}
