//! The async shell around the pure core: tasks, channels, signals and logs. It does I/O and makes no decisions.
//!
//! [`Service::run`] opens all resources, starts a task per part, and stops them in order.

mod archive;
mod clock_watch;
mod duplicate_targets;
mod event_loop;
mod follower_view;
mod forecasting;
mod history_queries;
mod inbox;
mod job_queries;
mod kept_job_limits;
mod logs;
mod operations;
mod own_cost;
mod polling;
mod problems;
mod reached_limit_log;
mod receiver_clients;
mod removed_targets;
mod replica_view;
pub mod report_rows;
mod restore_jobs;
mod rule_files;
mod rule_reload;
mod scheduled_reports;
mod send_samples;
mod shared_by_targets;
mod signals;
mod single_poll;
mod source_log;
mod state_files;
mod state_trouble;
mod target_outputs;
mod target_replica;
mod target_service;
mod targets;
mod watched_exporter;

pub use logs::{ExportError, Logs, LogsError, SentLogs, start_logs};
pub use problems::summary_line;
pub use rule_files::{RuleSources, RulesError, files_of, is_test_file, load_rules, read_file};
pub use send_samples::{Undelivered, test_receiver};
pub use signals::stop_on_signals;
pub use single_poll::{LiveCheck, LiveCheckError, look};
pub use state_files::state_files_beside;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::config::{Config, Target};
use crate::web;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Rule;

/// Watermark: events up to this time are included in the saved counters.
const COUNTED_UNTIL: &str = "counted_until";

/// Watermark: creation time of the oldest job that has not ended.
const OPEN_SINCE: &str = "open_since";

/// Maximum number of queued history queries.
const MAX_HISTORY_QUERIES: usize = 256;
/// Tasks that must end before notifications are flushed and the rest stops: those that feed a tick or a sink.
const STOPPED_FIRST: [&str; 3] = ["poller", "event_loop", "publisher"];

/// Wall time allowed for a graceful shutdown; tasks still running after it are abandoned.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A service, ready to run.
#[derive(Debug)]
pub struct Service {
    /// Targets, receivers and all other settings.
    pub config: Config,
    /// Alert rules to evaluate.
    pub rules: Vec<Rule>,
    /// Clock for all tasks.
    pub clock: Clock,
    /// Start of counting on the first start: now, or the beginning of a simulated world.
    pub since: Timestamp,
    /// Listener for the pages and the API.
    pub listener: TcpListener,
}

/// The configuration has no target, and the operation needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has no target")]
pub struct NoTarget;

/// Configuration updates while the service runs.
#[derive(Debug)]
pub struct ConfigUpdates {
    /// The new list of targets after each change.
    pub targets: mpsc::Receiver<Vec<Target>>,
    /// Why the current configuration file is not in effect, if it is invalid.
    pub problem: watch::Receiver<Option<Arc<str>>>,
}

/// Why the service failed to start or to shut down: the step and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {cause}")]
pub struct StartError {
    doing: String,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
}

impl StartError {
    fn new(doing: impl Into<String>, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing: doing.into(), cause: cause.into() }
    }
}

impl Service {
    /// Switches to a clock of its own that is corrected by AWS's time. Other users of the original clock are not
    /// affected.
    fn with_aws_time(self) -> Self {
        Self { clock: self.clock.compared(), ..self }
    }

    /// Runs until `stop`, then shuts down in order: sources, a last tick, sinks and notifications, pages.
    ///
    /// # Errors
    ///
    /// A required resource cannot be opened, or a task ends unexpectedly.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        // With the sender dropped, the targets never change.
        let (_, no_changes) = mpsc::channel(1);
        self.run_with_target_updates(no_changes, stop).await
    }

    /// As [`Service::run`], and applies new target lists: removed targets end together with their alerts, new ones
    /// start.
    ///
    /// # Errors
    ///
    /// As [`Service::run`].
    pub async fn run_with_target_updates(
        self,
        changes: mpsc::Receiver<Vec<Target>>,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        let (_, no_problem) = watch::channel(None);
        self.run_with_config_updates(ConfigUpdates { targets: changes, problem: no_problem }, stop).await
    }

    /// As [`Service::run_with_target_updates`], and shows on the pages why a changed configuration is not in effect.
    ///
    /// # Errors
    ///
    /// As [`Service::run`].
    pub async fn run_with_config_updates(
        self,
        following: ConfigUpdates,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        targets::run(self.with_aws_time(), following, stop).await
    }
}

async fn serve(listener: TcpListener, router: axum::Router, external_url: Option<String>, stop: CancellationToken) {
    #[cfg(test)]
    let Some(router) = crate::simulation::show(&listener, router) else { return stop.cancelled().await };
    if let Err(error) = web::serve(listener, router, external_url.as_deref(), stop).await {
        tracing::error!(%error, "the web server stopped: pages and API are unavailable until a restart");
    }
}

/// The tasks of one target, by name. Their log lines carry the target's span.
struct Parts {
    tasks: JoinSet<&'static str>,
    span: Span,
}

impl Parts {
    fn new(span: Span) -> Self {
        Self { tasks: JoinSet::new(), span }
    }

    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let named = async move {
            part.await;
            name
        };
        self.tasks.spawn(named.instrument(self.span.clone()));
    }

    /// Waits for `stop`, then for every task that feeds a tick or a sink, then cancels `rest`.
    async fn finish(mut self, stop: CancellationToken, rest: CancellationToken) -> Result<(), StartError> {
        // Check `stop` first: a task that ends because of `stop` has not ended early.
        let early = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = self.tasks.join_next() => ended,
        };
        stop.cancel();
        if early.is_some() {
            rest.cancel();
        }
        let mut first: Vec<&str> = STOPPED_FIRST.to_vec();
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                first.retain(|name| ended.as_ref().is_ok_and(|ended| ended != name));
                if first.is_empty() {
                    rest.cancel();
                }
            }
        };
        if tokio::time::timeout(STOP_GRACE, all_ended).await.is_err() {
            tracing::warn!(grace = ?STOP_GRACE, "graceful shutdown timed out; aborting the remaining tasks");
        }
        match early {
            None => Ok(()),
            Some(Ok(name)) => Err(StartError::new("running", format!("the task `{name}` ended unexpectedly"))),
            Some(Err(error)) => Err(StartError::new("running", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::OutboundError;

    #[test]
    fn a_failed_start_names_the_step_and_keeps_the_cause() {
        let error = StartError::new("preparing a receiver: ops", OutboundError::NoHost);
        assert_eq!(error.to_string(), "preparing a receiver: ops: the URL has no host");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<OutboundError>());
        assert_eq!(cause, Some(&OutboundError::NoHost));
    }
}
