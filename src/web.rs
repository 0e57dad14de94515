//! The HTTP interface: a JSON API, probes, `/metrics`, and pages that render the API's data.
//!
//! Handlers read an immutable [`Snapshot`] of the last tick from a watch channel, so no request blocks the engine
//! and a slow client blocks nobody. What a snapshot does not have, such as jobs and start estimates, is queried from the
//! owner of the ledger by a [`JobQuery`] with a reply channel.
//!
//! Requests that change something are POSTs with an operator token. They go to the owner of silences and outbox as
//! an [`Operation`].
//!
//! Invariants: no secret is known here, since no configuration comes in and tokens are hashed; every response under
//! `/api` is JSON, including errors; every response has the headers of `guard`; every request and connection has a
//! time limit. Without tokens everybody who reaches the port may read, so the default address is loopback.

mod access;
mod alert_detail;
mod alerts;
mod conditional;
mod cursor;
mod error;
mod frame_tables;
mod health;
mod history;
mod host_and_origin;
mod job_context;
mod jobs;
mod json_body;
mod listen;
mod live_updates;
mod merged_jobs;
mod operation_messages;
mod operations_on_all_targets;
mod outbox;
mod page;
mod place_filter;
mod probes;
mod query;
mod replica_headers;
mod report;
mod request_limits;
mod routes_and_openapi;
mod runbooks;
mod security_headers;
mod service_figures;
mod share_job_counts;
mod silences;
mod start_estimate;
mod status_and_problems;
mod store_queries;
mod test_notifications;
#[cfg(test)]
mod tests;
mod unsubmitted_jobs;
mod wait_reason;
mod watched_targets;
mod what_if;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use trainspotter_clock::Clock;
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Place;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::Transition;

pub use access::{Access, Token};
pub use cursor::Cursor;
pub use job_context::JobWithContext;
pub use jobs::{Demand, JobMatches, JobPage, JobQuery, JobView, MAX_JOB_MATCHES, Span};
pub use operation_messages::{Change, Operation, Outcome, Refusal, Reply};
pub use outbox::{NotificationPage, NotificationRow, OutboxFilter};
pub use silences::SilenceRow;
pub use start_estimate::StartView;
pub use store_queries::{InvalidReport, PastQuery, ReadFrames};
pub use test_notifications::{TestRequest, TestResult};
pub use wait_reason::{EvidenceView, WhyView};
pub use watched_targets::{Targets, WatchedTarget};
pub(crate) use what_if::CachedRecordings;

/// Grace period for open requests after the server was asked to stop, in wall time.
pub const GRACE: Duration = Duration::from_secs(5);

/// The state of the service after a tick. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The target.
    pub place: Place,
    /// The figures.
    pub frame: Arc<Frame>,
    /// Pending and firing alerts.
    pub alerts: Arc<[Alert]>,
    /// Recently resolved alerts, newest first, as many as the engine's owner provides. Other transitions are not
    /// included.
    pub resolved: Arc<[Transition]>,
    /// Whether a first complete poll has finished: figures before it are incomplete.
    pub ready: bool,
    /// Why it is not ready, once the engine has ticked.
    pub not_ready: Option<String>,
    /// Time of the last tick; `None` before the first.
    pub ticked_at: Option<Timestamp>,
    /// Why the state file, or the log in object storage, does not accept the state; `None` if it does.
    pub store_error: Option<String>,
    /// Other problems, one line each: with rule files, account limits, and sinks.
    pub problems: Arc<[String]>,
    /// Status of this replica; `None` for a single service.
    pub replica: Option<ReplicaView>,
}

/// Status of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplicaView {
    /// Whether it is the leader, which polls AWS, publishes and notifies. Followers show the contents of the
    /// leader's log.
    pub leads: bool,
    /// Id of this replica; new with each start.
    pub replica: String,
    /// Id of the leader; null if there is none.
    pub leader: Option<String>,
    /// The last log record applied.
    pub record: u64,
    /// When that record was written, by the clock of its writer; null before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub written_at: Option<Timestamp>,
    /// Whether the leader has the same configuration.
    pub same_config: bool,
    /// Why the log cannot be read or written; null if all is well.
    pub trouble: Option<String>,
    /// Whether this replica has changes that the log does not have yet.
    pub is_ahead: bool,
    /// Copies of the state in the log that are damaged, and what was used instead; null without any.
    pub damaged_copy: Option<String>,
}

/// State of all routes.
#[derive(Clone, Debug)]
pub struct Pages {
    /// The targets, with their query channels.
    pub targets: Targets,
    /// Access control.
    pub access: Access,
    /// The service's clock.
    pub clock: Clock,
    /// When the service started.
    pub started_at: Timestamp,
    /// Intended interval between ticks, in clock time; used to detect a stalled engine.
    pub tick_every: Duration,
    /// Formats the frames of all targets in Prometheus' text format (`publish::prometheus_text`).
    pub metrics: fn(&[Arc<Frame>]) -> String,
    /// Whether all targets have been ready once: targets added later do not affect readiness.
    pub was_ready: Arc<AtomicBool>,
    /// Why the current configuration file is not in effect, if it is invalid.
    pub configuration: watch::Receiver<Option<Arc<str>>>,
    /// Recently queried recordings, for what-if replays.
    pub(crate) recordings: CachedRecordings,
}

/// All routes, with limits and headers.
pub fn router(pages: Pages) -> Router {
    let (api, _) = routes_and_openapi::routes().split_for_parts();
    let access = pages.access.clone();
    let replica = from_fn_with_state(pages.clone(), replica_headers::add);
    request_limits::guarded(api.merge(page::routes()).with_state(pages).layer(replica), access)
}

/// The OpenAPI document of the API, as `GET /api/v1/openapi.json` serves it.
pub fn openapi_document() -> &'static str {
    routes_and_openapi::document()
}

/// Serves until `stop`, then lets open requests finish for at most [`GRACE`]. `external_url` is the URL from
/// outside; its host and path are accepted too.
///
/// # Errors
///
/// The listener's local address is unavailable.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    external_url: Option<&str>,
    stop: CancellationToken,
) -> io::Result<()> {
    let hosts = host_and_origin::Hosts::new(listener.local_addr()?, external_url);
    listen::serve(listener, router, hosts, stop).await;
    Ok(())
}
