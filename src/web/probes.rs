//! Liveness, readiness and dependencies: probes, `/metrics`, and the health of the sources.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::web::Pages;
use crate::web::ReplicaView;
use crate::web::Snapshot;
use crate::web::error::ApiError;
use crate::web::error::ErrorBody;
use trainspotter_clock::Comparison;
use trainspotter_core::metrics::SourceHealth;
use trainspotter_core::model::{Place, Timestamp};

/// The engine counts as stalled after missing this many ticks.
const MISSED_TICKS: u32 = 3;

/// Lower bound in wall time before the engine counts as stalled: with a fast clock, ticks are shorter than the
/// pauses of a busy machine.
const MIN_ALLOWED_SILENCE: Duration = Duration::from_secs(30);

/// Wall time between checks whether the service is ready.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum targets listed when none is ready.
const MAX_NAMED: usize = 5;

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

/// Overall status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// The engine is stalled: all figures are outdated.
    Stale,
    /// The first poll is not complete: figures are incomplete.
    Starting,
    /// A source fails, so that some figures are outdated; or there is another problem with the state file, rule
    /// files or a sink.
    Degraded,
    /// No problems.
    Ok,
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

/// Overall status: that of the worst target, without those that have not started yet beside others.
pub(super) fn status_of_all(pages: &Pages, latest: &[Snapshot]) -> Status {
    // The previous configuration stays in effect, but it is not the requested one.
    let of_configuration = pages.configuration.borrow().as_ref().map_or(Status::Ok, |_| Status::Degraded);
    status_of_targets(pages, latest).min(of_configuration)
}

fn status_of_targets(pages: &Pages, latest: &[Snapshot]) -> Status {
    let all = latest.iter().map(|snapshot| status(pages, snapshot));
    if latest.len() < 2 {
        return all.min().unwrap_or(Status::Starting);
    }
    let statuses: Vec<Status> = all.collect();
    if statuses.iter().all(|status| *status == Status::Stale) {
        Status::Stale
    } else if all_not_ready(pages, latest).is_some() {
        Status::Starting
    } else if statuses.iter().all(|status| *status == Status::Ok) {
        Status::Ok
    } else {
        Status::Degraded
    }
}

fn status(pages: &Pages, snapshot: &Snapshot) -> Status {
    if silent_for(pages, snapshot) > allowed_silence(pages) {
        Status::Stale
    } else if !snapshot.ready {
        Status::Starting
    } else if snapshot.store_error.is_some()
        || !snapshot.problems.is_empty()
        || snapshot.frame.sources.iter().any(|source| source.error.is_some())
        || snapshot.replica.as_ref().is_some_and(|replica| replica.damaged_copy.is_some())
    {
        Status::Degraded
    } else {
        Status::Ok
    }
}

/// Why the figures are incomplete: no target has had a complete poll; or, if they were never complete before, one
/// has started, has not failed and is not complete yet.
pub(super) fn all_not_ready(pages: &Pages, latest: &[Snapshot]) -> Option<String> {
    let is_named = latest.len() > 1;
    let why = |snapshot: &Snapshot| {
        let why = not_ready(snapshot);
        if is_named { format!("{}: {why}", snapshot.place.target) } else { why }
    };
    let waiting: Vec<&Snapshot> = latest.iter().filter(|snapshot| !snapshot.ready).collect();
    if waiting.len() == latest.len() {
        let whys: Vec<String> = waiting.iter().take(MAX_NAMED).map(|snapshot| why(snapshot)).collect();
        return Some(if whys.is_empty() {
            "the service is still starting: see the log".to_owned()
        } else {
            whys.join("; ")
        });
    }
    if pages.was_ready.load(Ordering::Relaxed) {
        return None;
    }
    waiting.into_iter().find(|snapshot| !has_failed(snapshot)).map(why)
}

impl Pages {
    /// Waits until the figures of all targets are complete. Targets added afterwards are not waited for.
    pub async fn until_ready(self) {
        while all_not_ready(&self, &self.latest()).is_some() {
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        self.was_ready.store(true, Ordering::Relaxed);
    }
}

/// Whether a target is known to fail.
fn has_failed(snapshot: &Snapshot) -> bool {
    snapshot.store_error.is_some()
        || !snapshot.problems.is_empty()
        || snapshot.frame.sources.iter().any(|source| source.error.is_some())
}

/// Why the figures of a target are incomplete.
fn not_ready(snapshot: &Snapshot) -> String {
    snapshot.not_ready.clone().unwrap_or_else(|| "the first poll is not complete yet".to_owned())
}

/// All problems, one line each.
pub(super) fn all_problems(pages: &Pages, latest: &[Snapshot]) -> Vec<String> {
    let configuration = pages.configuration.borrow();
    let mut all: Vec<String> = configuration.iter().map(|why| format!("configuration: {why}")).collect();
    all.extend(of_targets(pages, latest));
    all
}

/// Problems of the targets, one line each; prefixed with the target's name if there are several.
fn of_targets(pages: &Pages, latest: &[Snapshot]) -> Vec<String> {
    let [_, _, ..] = latest else { return latest.iter().flat_map(problems).collect() };
    let named = |snapshot: &Snapshot| {
        let target = Arc::clone(&snapshot.place.target);
        let mut all = problems(snapshot);
        if !snapshot.ready && snapshot.not_ready.is_none() {
            all.push(not_ready(snapshot));
        }
        all.extend(stalled(pages, snapshot));
        all.into_iter().map(move |problem| format!("{target}: {problem}")).collect::<Vec<_>>()
    };
    latest.iter().flat_map(named).collect()
}

/// Problems of a target's sources, state file and other parts, one line each.
fn problems(snapshot: &Snapshot) -> Vec<String> {
    let of_source = |health: &SourceHealth| Some(format!("{}: {}", health.source.as_str(), health.error.as_ref()?));
    let sources = snapshot.frame.sources.iter().filter_map(of_source);
    let state = snapshot.store_error.iter().map(|error| format!("state file: {error}"));
    let other = snapshot.replica.as_ref().filter(|replica| !replica.leads && !replica.same_config);
    let replicas = other.map(|_| {
        "replicas: the leader has a different configuration; after a takeover this replica would use its own".to_owned()
    });
    let damaged = snapshot.replica.iter().filter_map(|replica| replica.damaged_copy.as_ref());
    let damaged = damaged.map(|damaged| format!("the replication log: {damaged}"));
    let mut problems: Vec<String> =
        sources.chain(state).chain(snapshot.problems.iter().cloned()).chain(replicas).chain(damaged).collect();
    // Do not repeat a source's error that is also the reason for not being ready.
    let waiting = snapshot.not_ready.clone().filter(|_| !snapshot.ready);
    let failures: Vec<&String> = snapshot.frame.sources.iter().filter_map(|health| health.error.as_ref()).collect();
    problems.extend(waiting.filter(|why| !failures.iter().any(|failure| why.ends_with(*failure))));
    problems
}

/// The problem that a target has not ticked for long, if so.
fn stalled(pages: &Pages, snapshot: &Snapshot) -> Option<String> {
    let silent = silent_for(pages, snapshot);
    let is_long = silent > allowed_silence(pages);
    is_long.then(|| format!("no tick for {} s of the service's clock", silent.as_secs()))
}

/// Time since the last tick, or since the start of the service, in clock time.
fn silent_for(pages: &Pages, snapshot: &Snapshot) -> Duration {
    pages.clock.now().since(snapshot.ticked_at.unwrap_or(pages.started_at))
}

fn allowed_silence(pages: &Pages) -> Duration {
    pages.tick_every.saturating_mul(MISSED_TICKS).max(pages.clock.of_wall(MIN_ALLOWED_SILENCE))
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
