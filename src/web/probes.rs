//! What monitoring reads: `/healthz` for liveness, `/readyz` for readiness, and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::error::ApiError;
use crate::web::error::ErrorBody;
use crate::web::status_and_problems::{all_not_ready, all_problems, allowed_silence, silent_for};

/// Content type of the Prometheus text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Successful response of a probe.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProbeBody {
    /// `ok` or `ready`.
    #[schema(value_type = String)]
    status: &'static str,
    /// Problems that are no reason to restart the service; omitted without any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

/// Liveness: 503 if no engine has ticked for long.
#[utoipa::path(
    get, path = "/healthz", tag = "service",
    responses((status = 200, body = ProbeBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn healthz(State(pages): State<Pages>) -> Result<Json<ProbeBody>, ApiError> {
    let latest = pages.latest();
    let silent = latest.iter().map(|snapshot| silent_for(&pages, snapshot)).min().unwrap_or_default();
    let problems = all_problems(&pages, &latest);
    if silent > allowed_silence(&pages) {
        let message = format!("the engine has not ticked for {} s of its clock", silent.as_secs());
        let message = [message].into_iter().chain(problems).collect::<Vec<_>>().join("; ");
        return Err(ApiError::unavailable("stale", message));
    }
    Ok(Json(ProbeBody { status: "ok", problems }))
}

/// Readiness: 503 until the first complete poll. A failing target is listed, and delays readiness only if no other
/// target is ready.
#[utoipa::path(
    get, path = "/readyz", tag = "service",
    responses((status = 200, body = ProbeBody), (status = 503, body = ErrorBody))
)]
pub(super) async fn readyz(State(pages): State<Pages>) -> Result<Json<ProbeBody>, ApiError> {
    let latest = pages.latest();
    if let Some(why) = all_not_ready(&pages, &latest) {
        return Err(ApiError::unavailable("starting", why));
    }
    Ok(Json(ProbeBody { status: "ready", problems: all_problems(&pages, &latest) }))
}

/// The latest figures in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "service",
    responses((status = 200, content_type = "text/plain", body = String))
)]
pub(super) async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let frames: Vec<_> = pages.latest().into_iter().map(|snapshot| snapshot.frame).collect();
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], (pages.metrics)(&frames))
}
