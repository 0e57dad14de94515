//! Live updates of pages: a page asks for the time of the latest figures every few seconds, and reloads its data when it has changed.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::status_and_problems::{self, Status};
use trainspotter_core::model::Timestamp;

/// A summary small enough to be polled every few seconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TickBody {
    status: Status,
    /// Why the first poll is not complete; null if it is.
    not_ready: Option<String>,
    /// The service's clock, which may run faster than real time.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// Speed of the service's clock relative to real time.
    clock_speed: f64,
    /// When the service started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// The time of the latest figures; null before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    ticked_at: Option<Timestamp>,
    /// Interval between figures, in clock time.
    tick_every_seconds: f64,
    /// Firing alerts by severity; those without one have an empty key.
    firing: BTreeMap<String, u64>,
    /// Problems with sources and the state file, one line each.
    problems: Vec<String>,
    /// Why the state file, or the log in object storage, does not accept the state; null if it does.
    store_error: Option<String>,
    /// Number of watched accounts and regions.
    targets: usize,
    /// The service's version.
    #[schema(value_type = String)]
    version: &'static str,
}

/// Whether there are new figures, and which severities fire.
#[utoipa::path(get, path = "/api/v1/tick", tag = "service", responses((status = 200, body = TickBody)))]
pub(super) async fn tick(State(pages): State<Pages>) -> Json<TickBody> {
    let latest = pages.latest();
    let mut firing = BTreeMap::new();
    let alerts = latest.iter().flat_map(|snapshot| snapshot.alerts.iter());
    for alert in alerts.filter(|alert| alert.state.fired_at().is_some()) {
        *firing.entry(alert.labels.get("severity").cloned().unwrap_or_default()).or_default() += 1;
    }
    Json(TickBody {
        status: status_and_problems::status_of_all(&pages, &latest),
        not_ready: status_and_problems::all_not_ready(&pages, &latest),
        now: pages.clock.now(),
        clock_speed: pages.clock.speed(),
        started_at: pages.started_at,
        ticked_at: latest.iter().filter_map(|snapshot| snapshot.ticked_at).max(),
        tick_every_seconds: pages.tick_every.as_secs_f64(),
        firing,
        problems: status_and_problems::all_problems(&pages, &latest),
        store_error: latest.iter().find_map(|snapshot| snapshot.store_error.clone()),
        targets: latest.len(),
        version: env!("CARGO_PKG_VERSION"),
    })
}
