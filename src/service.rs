//! The rim that makes the pure core a service: tasks, channels, signals and logs. It waits, and decides nothing.
//!
//! The service as a whole: opens what it needs, starts a task for each part, and ends them in order.

mod clock_watch;
mod event_loop;
mod history;
mod inbox;
mod job_queries;
mod live_check;
mod logs;
mod operations;
mod own_cost;
mod polling;
mod problems;
mod replicas;
mod restore;
mod rule_reload;
mod senders;
mod signals;
mod source_log;
mod test_notification;

pub use live_check::{Look, look};
pub use logs::start_logs;
pub use rule_reload::{files_of, is_test_file, load_rules, path_problem, read_file};
pub use signals::stop_on_signals;
pub use test_notification::test_receiver;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aws::{self, Clients, JobEvents, Poller};
use crate::config::{Config, Receiver, Target};
use crate::notify::ATTEMPT_TIMEOUT;
use crate::notify::outbox::{self, OutboxRow};
use crate::publish::{Publisher, Report};
use crate::replication::Replicas;
use crate::replication::lease::Terms;
use crate::service::event_loop::{COUNTED_UNTIL, EventLoop, Memory, OPEN_SINCE, RESOLVED_SHOWN};
use crate::service::inbox::Inbox;
use crate::service::operations::Acting;
use crate::service::own_cost::OwnCost;
use crate::service::polling::Polling;
use crate::service::rule_reload::follow;
use crate::service::source_log::{SourceLog, Started};
use crate::store::{PastAlerts, StoreHandle};
use crate::web::{self, Snapshot};
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, Rule, Transition, TransitionKind};

/// Queries about the past that wait for an answer, at most.
const MAX_HISTORY_QUERIES: usize = 256;
/// Frames on their way to the sinks. A slow sink loses frames beyond that, visibly; it never holds up a tick.
const FRAMES: usize = 64;
/// The least wall time between two ticks that no poll asked for.
const MIN_PATIENCE: Duration = Duration::from_secs(5);
/// Parts that have to end before notifications are flushed and the pages go: everything that feeds a tick or a sink.
const FLUSHED_FIRST: [&str; 3] = ["poller", "event_loop", "publisher"];
/// For how long notifications to a receiver that is not configured here are left to replicas that know it.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(86_400);

/// How long a stop may take, in wall time, before what is left is given up.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// A service, ready to run.
#[derive(Debug)]
pub struct Service {
    /// What to watch and whom to tell.
    pub config: Config,
    /// The rules to evaluate.
    pub rules: Vec<Rule>,
    /// The clock that everything runs on.
    pub clock: Clock,
    /// Since when things count, on the first start: now, or when a simulated world began.
    pub since: Timestamp,
    /// Where pages and API are served.
    pub listener: TcpListener,
}

/// Why a service could not be started or ended badly: what was being done, and what went wrong.
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
    /// The same on a clock of its own, which is compared with AWS's: nobody else's is to be corrected.
    fn by_aws_time(self) -> Self {
        Self { clock: self.clock.compared(), ..self }
    }

    /// Runs until `stop`, then ends in order: sources, a last tick, sinks and notifications, pages.
    ///
    /// # Errors
    ///
    /// When something needed cannot be opened, or a part ends by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        let service = self.by_aws_time();
        if let Some(replication) = service.config.replication.clone() {
            return replicas::run(service, &replication, stop).await;
        }
        // It may wait for another service to end.
        let opening = open_store(&service.config, service.since, service.clock);
        let Some(opened) = stop.run_until_cancelled(opening).await else { return Ok(()) };
        service.lead(opened?, None, stop).await
    }

    /// Asks AWS, publishes, notifies and serves, until `stop`; then hands over to another replica, if there are any.
    async fn lead(
        self,
        opened: Opened,
        replicas: Option<Arc<Replicas>>,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        let Self { config, rules, clock, since, listener } = self;
        let target = target_of(&config)?;
        let Opened { store, saved, began, set_aside, unsent } = opened;
        let clients = connect(&target, &config, clock).await?;
        let publisher =
            senders::publisher(&config, clients.calls(), &target, began, clock).await?.after(saved.ticked_at);

        let (senders, inbox) = Inbox::new();
        let (past, past_inbox) = mpsc::channel(MAX_HISTORY_QUERIES);
        let (frames, frames_inbox) = mpsc::channel(FRAMES);
        let (snapshot, latest) = watch::channel(Snapshot::default());
        let (notifiers, delivering) = senders::notifiers(&config, clients.calls(), &store, clock).await?;

        let acting = Acting::new(&config, &rules, &store, &notifiers, &latest, clock);
        let started = Started::new(&config, rules.len());
        let engine = begin(&config, rules, saved, since, set_aside, clock).await;
        let engine = restore::jobs(engine, &store).await.map_err(|error| StartError::new("reading the jobs", error))?;
        let event_loop = EventLoop {
            inbox,
            engine,
            clock,
            store,
            receivers: config.receivers.clone(),
            snapshot,
            frames,
            notifiers,
            rules: acting.rules.clone(),
            access: acting.access.clone(),
            patience: (config.poll.every * 2).max(clock.of_wall(MIN_PATIENCE)),
            history: config.history,
            memory: Memory::with(unsent, ended_before(&config).await),
            source_log: SourceLog::new(started),
            own_cost: OwnCost::new(&config)?,
            standing: replicas.as_ref().map(|replicas| replicas.standing.clone()),
        };
        let pages = acting.pages(latest, senders.queries, past, config.poll.every, clock);

        let events =
            JobEvents::connect(&target, clock).await.map_err(|error| StartError::new("preparing events", error))?;
        let (hint, hinted) = mpsc::channel(1);
        let poller = Poller::new(clients, target, config.poll, clock);
        let listening = polling::listen(events, hint, senders.observed.clone(), stop.child_token());
        let polling = Polling {
            poller,
            every: config.poll.every,
            clock,
            observed: senders.observed,
            messages: senders.poller,
            hinted,
        };
        let rest = CancellationToken::new();
        let mut parts = Parts::default();
        parts.spawn("poller", polling.run(stop.child_token()));
        parts.spawn("events", listening);
        if !config.rules.is_empty() {
            parts.spawn("rules", follow(config.rules.clone(), senders.rules, rest.clone()));
        }
        parts.spawn("event_loop", event_loop.run());
        parts.spawn("publisher", publish(publisher, frames_inbox, senders.reports));
        let (notifying, attempt) = (TaskTracker::new(), longest_attempt(&config));
        for notifier in delivering.into_iter().map(|notifier| notifier.with_attempt_timeout(attempt)) {
            parts.spawn("notifier", notifying.track_future(notifier.run(rest.clone())));
        }
        if let Some(replicas) = replicas {
            parts.spawn("hand_over", hand_over(replicas, notifying, rest.clone()));
        }
        parts.spawn("operations", acting.operations.run(acting.inbox, rest.clone()));
        parts.spawn("history", history::answer(config.store.clone(), past_inbox, rest.clone()));
        parts.spawn("pages", serve(listener, web::router(pages), config.external_url.clone(), rest.clone()));
        parts.finish(stop, rest).await
    }
}

/// The longest that an attempt to notify may take: with replicas, no longer than another one waits before it leads.
fn longest_attempt(config: &Config) -> Duration {
    let of_lease = config.replication.as_ref().map(|replication| Terms::of(replication.lease).attempt());
    of_lease.map_or(ATTEMPT_TIMEOUT, |attempt| attempt.min(ATTEMPT_TIMEOUT))
}

/// Lets another replica lead as soon as nothing is sent any more.
async fn hand_over(replicas: Arc<Replicas>, notifying: TaskTracker, rest: CancellationToken) {
    rest.cancelled().await;
    notifying.close();
    notifying.wait().await;
    replicas.hand_over().await;
}

/// The one target that a configuration has today.
fn target_of(config: &Config) -> Result<Target, StartError> {
    config.targets.first().cloned().ok_or_else(|| StartError::new("reading the config", "no target"))
}

async fn connect(target: &Target, config: &Config, clock: Clock) -> Result<Clients, StartError> {
    let connected = aws::connect(target, config.poll.calls_per_second, clock).await;
    connected.map_err(|error| StartError::new("connecting to AWS", error))
}

/// The engine, as an earlier run has left it.
async fn begin(
    config: &Config,
    rules: Vec<Rule>,
    saved: Saved,
    since: Timestamp,
    set_aside: bool,
    clock: Clock,
) -> Engine {
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let mut engine = Engine::new(rules, cadence, saved, since)
        .priced(config.prices.clone())
        .showing(config.shares.clone())
        .banded(config.priority_bands.clone());
    engine.service().store_set_aside = set_aside;
    history::recall(engine, config.store.clone(), clock.now()).await
}

/// What receivers are sent of alerts that fire, as it was when they began to.
fn firing(alerts: &[Alert], receivers: &[Receiver]) -> Vec<OutboxRow> {
    let rows = |alert: &Alert| {
        let at = alert.state.fired_at()?;
        let transition = Transition { alert: alert.clone(), kind: TransitionKind::Fired, at };
        Some(outbox::rows(&[transition], receivers, at))
    };
    alerts.iter().filter_map(rows).flatten().collect()
}

/// The store as it was found.
struct Opened {
    store: StoreHandle,
    saved: Saved,
    /// Since when counters count.
    began: Timestamp,
    /// Whether the file, or rows of it, were broken and are set aside.
    set_aside: bool,
    /// What may be missing from the outbox of alerts that fire. Whoever has heard of one hears nothing new: it has the same id.
    unsent: Vec<OutboxRow>,
}

async fn open_store(config: &Config, since: Timestamp, clock: Clock) -> Result<Opened, StartError> {
    let failed = |error| StartError::new("opening the state file", error);
    let (store, set_aside) = StoreHandle::open(&config.store, clock.now()).await.map_err(failed)?;
    if let Some(set_aside) = &set_aside {
        event_loop::say_set_aside(set_aside);
    }
    state(config, store, set_aside.is_some(), since, clock).await
}

/// What a store holds. Rows that cannot be read are moved out of the way.
async fn state(
    config: &Config,
    store: StoreHandle,
    set_aside: bool,
    since: Timestamp,
    clock: Clock,
) -> Result<Opened, StartError> {
    let failed = |error| StartError::new("opening the state file", error);
    let names = config.receivers.iter().map(|receiver| receiver.name.clone()).collect();
    let now = clock.now();
    let bad = store.call(move |store| store.set_bad_rows_aside(now)).await.map_err(failed)?;
    for row in &bad {
        tracing::error!(
            path = %config.store.display(),
            row = row.in_words(),
            "a row of the state file cannot be read and is moved to its table set_aside; nothing else is lost"
        );
    }
    // Where there are replicas, another one may know a receiver that this one does not: what is new is left to it.
    let older_than = if config.replication.is_some() { LEFT_TO_OTHERS } else { Duration::ZERO };
    let given_up = store.call(move |store| store.keep_receivers(&names, older_than, now)).await.map_err(failed)?;
    if given_up > 0 {
        tracing::warn!(given_up, "notifications to receivers that are no longer configured are given up");
    }
    let saved = store.load().await.map_err(failed)?;
    let counted_until = saved.watermarks.get(COUNTED_UNTIL).copied();
    let open_since = saved.watermarks.get(OPEN_SINCE).copied();
    let began = saved.since.map_or(since, |at| at.min(clock.now()));
    let saved = Saved {
        alerts: saved.alerts,
        series: saved.series,
        jobs: Vec::new(),
        queues: saved.queues,
        events: saved.events,
        ticked_at: saved.committed_at,
        counted_until,
        open_since,
    };
    let is_incomplete = bad.iter().any(|row| row.table == "outbox");
    let unsent = if is_incomplete { firing(&saved.alerts, &config.receivers) } else { Vec::new() };
    Ok(Opened { store, saved, began, set_aside: set_aside || !bad.is_empty(), unsent })
}

/// The alerts that an earlier run has seen end, the latest first.
async fn ended_before(config: &Config) -> Vec<Transition> {
    let store = config.store.clone();
    let reading = tokio::task::spawn_blocking(move || {
        PastAlerts::open(&store)?.ended(u32::try_from(RESOLVED_SHOWN).unwrap_or(u32::MAX))
    });
    // What cannot be read is not shown; the store itself says what is wrong with the file.
    reading.await.ok().and_then(Result::ok).unwrap_or_default()
}

async fn publish(mut publisher: Publisher, mut frames: mpsc::Receiver<Arc<Frame>>, reports: mpsc::Sender<Report>) {
    while let Some(frame) = frames.recv().await {
        for report in publisher.publish(frame).await {
            // After the event loop has gone nobody counts any more, but what is left is still published.
            let _ = reports.send(report).await;
        }
    }
}

async fn serve(listener: TcpListener, router: axum::Router, external_url: Option<String>, stop: CancellationToken) {
    if let Err(error) = web::serve(listener, router, external_url.as_deref(), stop).await {
        tracing::error!(%error, "the pages cannot be served any more");
    }
}

/// The tasks of a service, by name.
#[derive(Default)]
struct Parts(JoinSet<&'static str>);

impl Parts {
    fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            part.await;
            name
        });
    }

    /// Waits for `stop`, then for everything that feeds a tick or a sink, then stops the `rest`.
    async fn finish(mut self, stop: CancellationToken, rest: CancellationToken) -> Result<(), StartError> {
        // A part that ends because of `stop` is not early, so `stop` is looked at first.
        let early = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = self.0.join_next() => ended,
        };
        stop.cancel();
        if early.is_some() {
            rest.cancel();
        }
        let mut first: Vec<&str> = FLUSHED_FIRST.to_vec();
        let all_ended = async {
            while let Some(ended) = self.0.join_next().await {
                first.retain(|name| ended.as_ref().is_ok_and(|ended| ended != name));
                if first.is_empty() {
                    rest.cancel();
                }
            }
        };
        if tokio::time::timeout(STOP_GRACE, all_ended).await.is_err() {
            tracing::warn!(grace = ?STOP_GRACE, "not everything ended in time; what is left is given up");
        }
        match early {
            None => Ok(()),
            Some(Ok(name)) => Err(StartError::new("running", format!("the {name} ended by itself"))),
            Some(Err(error)) => Err(StartError::new("running", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::OutboundError;

    #[test]
    fn a_start_that_fails_says_what_was_done_and_keeps_the_cause() {
        let error = StartError::new("preparing a receiver: ops", OutboundError::NoHost);
        assert_eq!(error.to_string(), "preparing a receiver: ops: the URL names no host");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<OutboundError>());
        assert_eq!(cause, Some(&OutboundError::NoHost));
    }
}
