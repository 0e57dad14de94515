//! `/api/v1/health`: overall status, and the age of each source and target.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::ReplicaView;
use crate::web::Snapshot;
use crate::web::status_and_problems::{Status, all_not_ready, problems, stalled, status, status_of_all};
use trainspotter_clock::Comparison;
use trainspotter_core::metrics::SourceHealth;
use trainspotter_core::model::{Place, Timestamp};

/// Health of the service and its dependencies.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthBody {
    status: Status,
    /// Whether a first complete poll has finished.
    ready: bool,
    /// Why it is not ready; null if it is.
    not_ready: Option<String>,
    /// The service's clock, which may run faster than real time.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// Speed of the service's clock relative to real time.
    clock_speed: f64,
    /// Minimum number of seconds by which the machine's clock is ahead of AWS's; negative if behind, null if
    /// unknown. The service uses AWS's time.
    clock_skew_seconds: Option<f64>,
    /// Maximum error of that number in seconds; null if unknown, and while the two clocks run at different speeds.
    clock_skew_uncertain_seconds: Option<f64>,
    /// When the service started.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Time of the latest figures; null before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    ticked_at: Option<Timestamp>,
    /// Their age on the service's clock; null before the first.
    tick_age_seconds: Option<f64>,
    /// The service's version.
    #[schema(value_type = String)]
    version: &'static str,
    /// Why the state file, or the log in object storage, does not accept the state; null if it does.
    store_error: Option<String>,
    /// Status of the replica that answers; null for a single service.
    replica: Option<ReplicaView>,
    sources: Vec<SourceRow>,
    /// Each watched account and region.
    targets: Vec<TargetHealth>,
}

/// Health of a target.
#[derive(Debug, Serialize, ToSchema)]
struct TargetHealth {
    /// Its name.
    target: String,
    /// Null while unknown.
    account: Option<String>,
    region: Option<String>,
    status: Status,
    /// Time of its latest figures; null before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    ticked_at: Option<Timestamp>,
    /// Number of watched queues.
    queues: usize,
    /// Its problems, one line each.
    problems: Vec<String>,
    /// Status of the replica for this target; null for a single service.
    replica: Option<ReplicaView>,
}

/// A source of data.
#[derive(Debug, Serialize, ToSchema)]
struct SourceRow {
    /// The target's name.
    target: String,
    /// `topology`, `jobs`, `snapshot`, `descriptions`, `training_jobs`, `utilisation`, and if enabled `reserved`,
    /// `account` and `events`.
    #[schema(value_type = String)]
    source: &'static str,
    /// Age of its last complete response, as of the latest tick; null before the first.
    age_seconds: Option<f64>,
    /// Error of its last poll, if it failed.
    error: Option<String>,
    /// Single items that it does not return while it returns others; omitted without any. No problem of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Overall status, and the age of each source.
#[utoipa::path(get, path = "/api/v1/health", tag = "service", responses((status = 200, body = HealthBody)))]
pub(super) async fn health(State(pages): State<Pages>) -> Json<HealthBody> {
    let latest = pages.latest();
    let now = pages.clock.now();
    let ticked_at = latest.iter().filter_map(|snapshot| snapshot.ticked_at).max();
    let sources = latest
        .iter()
        .flat_map(|snapshot| snapshot.frame.sources.iter().map(|source| SourceRow::of(&snapshot.place, source)));
    Json(HealthBody {
        status: status_of_all(&pages, &latest),
        ready: all_not_ready(&pages, &latest).is_none(),
        not_ready: all_not_ready(&pages, &latest),
        now,
        clock_speed: pages.clock.speed(),
        clock_skew_seconds: pages.clock.comparison().map(|comparison| comparison.skew_seconds),
        clock_skew_uncertain_seconds: uncertain_seconds(pages.clock.comparison()),
        started_at: pages.started_at,
        ticked_at,
        tick_age_seconds: ticked_at.map(|at| now.seconds_since(at)),
        version: env!("CARGO_PKG_VERSION"),
        store_error: latest.iter().find_map(|snapshot| snapshot.store_error.clone()),
        replica: latest.iter().find_map(|snapshot| snapshot.replica.clone()),
        sources: sources.collect(),
        targets: latest.iter().map(|snapshot| TargetHealth::of(&pages, snapshot)).collect(),
    })
}

/// Maximum error of the skew. Between clocks of different speeds there is no bound.
fn uncertain_seconds(comparison: Option<Comparison>) -> Option<f64> {
    comparison.filter(|comparison| comparison.speed.is_none()).map(|comparison| comparison.uncertain_seconds)
}

impl TargetHealth {
    fn of(pages: &Pages, snapshot: &Snapshot) -> Self {
        let Place { target, account, region } = &snapshot.place;
        let mut problems = problems(snapshot);
        problems.extend(stalled(pages, snapshot));
        Self {
            target: target.to_string(),
            account: account.as_deref().map(str::to_owned),
            region: region.as_deref().map(str::to_owned),
            status: status(pages, snapshot),
            ticked_at: snapshot.ticked_at,
            queues: snapshot.frame.queues.len(),
            problems,
            replica: snapshot.replica.clone(),
        }
    }
}

impl SourceRow {
    fn of(place: &Place, health: &SourceHealth) -> Self {
        Self {
            target: place.target.to_string(),
            source: health.source.as_str(),
            age_seconds: health.age_seconds,
            error: health.error.clone(),
            note: health.note.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bound_is_given_while_clocks_run_at_different_speeds() {
        let of = |speed| {
            let comparison = Comparison { skew_seconds: 0.0, uncertain_seconds: 0.5, correction_seconds: 0.0, speed };
            uncertain_seconds(Some(comparison))
        };
        assert_eq!([of(None), of(Some(60.0)), uncertain_seconds(None)], [Some(0.5), None, None]);
    }
}
