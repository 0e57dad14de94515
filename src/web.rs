//! What people and programs see of the service: a JSON API, probes, `/metrics`, and pages that draw what it says.
//!
//! Readers get an immutable [`Snapshot`] after each tick, over a watch channel: no request ever holds up the engine, and
//! a slow reader holds up nobody. Only questions about single jobs go to the ledger's owner, as a [`JobQuery`] with a
//! place for the answer.
//!
//! What changes something is a POST with a token that may operate, and goes to the owner of silences and outbox as an [`Operation`].
//!
//! Invariants: nothing here knows a secret, since no configuration comes in, and of tokens only hashes; every answer
//! under `/api` is JSON, errors too; every answer carries the headers of `guard`; each request and each connection has
//! an end. Without tokens whoever reaches the port may read, which is why it is on loopback by default.

mod access;
mod alert_detail;
mod alerts;
mod conditional;
mod cursor;
mod error;
mod figures;
mod history;
mod host_names;
mod job_context;
mod jobs;
mod listen;
mod merged_jobs;
mod openapi;
mod operations;
mod operations_of_targets;
mod outbox;
mod page;
mod past;
mod probes;
mod query;
mod replica_headers;
mod report;
mod request_limits;
mod runbooks;
mod service_figures;
mod share_jobs;
mod silences;
mod start;
mod targets;
mod test_notifications;
#[cfg(test)]
mod tests;
mod what_if;
mod when;
mod why;

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
pub use job_context::JobAround;
pub use jobs::{Demand, JobPage, JobQuery, JobView, MAX_MEANT, Meant, Span};
pub use operations::{Change, Operation, Outcome, Refusal, Reply};
pub use outbox::{NotificationPage, NotificationRow, OutboxFilter};
pub use past::{InvalidReport, PastQuery, ReadFrames};
pub use silences::SilenceRow;
pub use start::StartView;
pub use targets::{Targets, WatchedTarget};
pub use test_notifications::{TestRequest, TestResult};
pub(crate) use what_if::KeptPasts;
pub use why::{EvidenceView, WhyView};

/// How long open requests may take to finish once the server was asked to stop, in wall time.
pub const GRACE: Duration = Duration::from_secs(5);

/// The state of the service after one tick. Cheap to clone: readers share it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Which target it is of.
    pub place: Place,
    /// The figures.
    pub frame: Arc<Frame>,
    /// All pending and firing alerts.
    pub alerts: Arc<[Alert]>,
    /// What was resolved lately, newest first, as far back as the engine's owner cares to show. Other kinds of
    /// transition are not shown.
    pub resolved: Arc<[Transition]>,
    /// Whether a first complete poll has been made: figures before it are not the whole truth.
    pub ready: bool,
    /// Why not, if it is not and the engine has ticked.
    pub not_ready: Option<String>,
    /// When the engine last ticked; `None` before the first tick.
    pub ticked_at: Option<Timestamp>,
    /// Why the state is kept in memory only; `None` if all is well.
    pub store_error: Option<String>,
    /// What else is wrong beside the sources, each in a line: with rule files, limits of the account, and sinks.
    pub problems: Arc<[String]>,
    /// Which of several replicas this is; `None` where there is one service.
    pub replica: Option<ReplicaView>,
}

/// How this replica stands among several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ReplicaView {
    /// Whether it leads: it asks AWS, publishes and notifies. The others show what its log says.
    pub leads: bool,
    /// Which one it is, another with each start.
    pub replica: String,
    /// Which one leads; null if none does.
    pub leader: Option<String>,
    /// The last record of the log that it has.
    pub record: u64,
    /// When that was written, by the clock of whoever wrote it; null before the first.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub written_at: Option<Timestamp>,
    /// Whether the leader's configuration says the same as this one's.
    pub same_config: bool,
    /// Why the log cannot be read or written; null if all is well.
    pub trouble: Option<String>,
    /// Whether changes are kept by this replica only, until the log takes them.
    pub is_ahead: bool,
}

/// Everything the routes draw on.
#[derive(Clone, Debug)]
pub struct Pages {
    /// What is watched, and who answers for it.
    pub targets: Targets,
    /// Who may read and who may act.
    pub access: Access,
    /// The service's clock.
    pub clock: Clock,
    /// When the service started.
    pub started_at: Timestamp,
    /// How often the engine is meant to tick, in clock time: what "has not ticked for long" is measured by.
    pub tick_every: Duration,
    /// Writes the frames of all targets in Prometheus' text format (`publish::prometheus_text`).
    pub metrics: fn(&[Arc<Frame>]) -> String,
    /// Whether the figures of all targets were complete once: one that comes later is not waited for.
    pub was_ready: Arc<AtomicBool>,
    /// Why the configuration that stands there now is not in effect, if it is not.
    pub configuration: watch::Receiver<Option<Arc<str>>>,
    /// The pasts that were asked about lately.
    pub(crate) pasts: KeptPasts,
}

/// All routes, with their limits and headers.
pub fn router(pages: Pages) -> Router {
    let (api, _) = openapi::routes().split_for_parts();
    let access = pages.access.clone();
    let replica = from_fn_with_state(pages.clone(), replica_headers::add);
    request_limits::guarded(api.merge(page::routes()).with_state(pages).layer(replica), access)
}

/// The OpenAPI document of the API, as `GET /api/v1/openapi.json` serves it.
pub fn openapi_document() -> &'static str {
    openapi::document()
}

/// Serves until `stop`, then lets open requests finish for at most [`GRACE`]. `external_url` is where the page can be reached from
/// outside: under its host and its path, too, requests are answered.
///
/// # Errors
///
/// The listener does not know its own address.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    external_url: Option<&str>,
    stop: CancellationToken,
) -> io::Result<()> {
    let hosts = host_names::Hosts::new(listener.local_addr()?, external_url);
    listen::serve(listener, router, hosts, stop).await;
    Ok(())
}
