//! One target: its sources, state and notifications, until it is stopped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::aws::{self, Clients, JobEvents, Poller};
use crate::blocking;
use crate::config::{Config, Receiver, Target};
use crate::notify::outbox::{self, OutboxRow};
use crate::notify::{ATTEMPT_TIMEOUT, Integration, Notifier};
use crate::publish::{Publisher, Report};
use crate::replication::Replicas;
use crate::replication::lease::Terms;
use crate::service::duplicate_targets::DuplicateTargets;
use crate::service::event_loop::{EventLoop, MAX_RESOLVED_SHOWN, Memory};
use crate::service::forecasting::Forecasting;
use crate::service::history_queries::History;
use crate::service::inbox::{Inbox, PollerMessage};
use crate::service::operations::OperatorActions;
use crate::service::own_cost::OwnCost;
use crate::service::polling::Polling;
use crate::service::reached_limit_log::LimitLog;
use crate::service::scheduled_reports::Digests;
use crate::service::shared_by_targets::Shared;
use crate::service::source_log::{SourceLog, Started};
use crate::service::state_files::Files;
use crate::service::{
    MAX_HISTORY_QUERIES, Parts, StartError, archive, event_loop, history_queries, polling, replica_view, restore_jobs,
    target_outputs,
};
use crate::store::{PastAlerts, StoreHandle};
use crate::web::Snapshot;
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::metrics::Frame;
use trainspotter_core::model::{Observation, Place, Timestamp};
use trainspotter_core::rules::{Alert, AlertId, Rule, Transition, TransitionKind};

/// Frames queued for the sinks. A slow sink drops frames beyond it, which is counted; it never delays a tick.
const FRAMES: usize = 64;
/// Minimum wall time between two ticks without a poll.
const MIN_TICK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long notifications to a receiver that is not configured here are left to replicas that have it.
const UNKNOWN_RECEIVER_GRACE: Duration = Duration::from_secs(86_400);

/// One target, with a configuration that contains only this target, its file and its log.
#[derive(Clone, Debug)]
pub(super) struct TargetService {
    pub(super) shared: Shared,
    pub(super) target: Target,
    pub(super) config: Config,
    /// Whether its state is beside another target's, so that its alerts need separate ids.
    pub(super) apart: bool,
    /// Whether it is the only target of the service.
    pub(super) is_alone: bool,
    /// Possible locations of its state.
    pub(super) files: Files,
    /// Log span of the target.
    pub(super) span: Span,
    /// Cancelled when the target is removed from the configuration: its alerts end with it.
    pub(super) removed: CancellationToken,
}

/// One leadership term of a replica.
pub(super) struct Term {
    pub(super) replicas: Arc<Replicas>,
    /// Snapshot shown until the first tick: the contents of the log.
    pub(super) shown: Snapshot,
    /// Cancelled when this process stops watching the target; otherwise the replica may lead again.
    pub(super) ends: CancellationToken,
    /// Cancelled before the replica hands over by itself.
    pub(super) hands_over: CancellationToken,
}

impl Term {
    /// Starts what shows the replica's status, and what hands over in the end.
    fn run(self, parts: &mut Parts, shown: watch::Sender<Snapshot>, notifying: TaskTracker, rest: &CancellationToken) {
        parts.spawn("replica_view", replica_view::follow(self.replicas.status.clone(), shown, rest.clone()));
        parts.spawn("hand_over", hand_over(self, notifying, rest.clone()));
    }
}

impl TargetService {
    /// Name and region of the target, without the account.
    pub(super) fn place(&self) -> Place {
        place_of(&self.target)
    }

    /// Runs until `stop`, on a file that is locked against other services.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), StartError> {
        // Opening may wait for another service to release the file.
        let opening = open_store(&self.config, self.shared.since, self.shared.clock);
        let Some(opened) = stop.run_until_cancelled(opening).await else { return Ok(()) };
        self.lead(opened?, None, stop).await
    }

    /// Polls, publishes, notifies and serves until `stop`; then hands over to another replica, if there is one.
    pub(super) async fn lead(
        self,
        opened: Opened,
        term: Option<Term>,
        stop: CancellationToken,
    ) -> Result<(), StartError> {
        let place = self.place();
        let Self { shared, target, config, apart, span, removed, is_alone, files: _ } = self;
        let Shared { clock, since, .. } = shared;
        let rules = shared.rules.borrow().rules.to_vec();
        let Opened { store, saved, watermarks, began, set_aside, unsent } = opened;
        let clients = connect(&target, &config, clock).await?;
        let publisher = target_outputs::publisher(&shared, &target, began).await?.after(saved.ticked_at);

        let duplicates =
            DuplicateTargets::new(&target, shared.targets.subscribe()).with_state_of(&watermarks, term.is_some());
        let (senders, inbox) = Inbox::new();
        let ((past, queries), (frames, frames_inbox)) = (mpsc::channel(MAX_HISTORY_QUERIES), mpsc::channel(FRAMES));
        let (snapshot, latest) = watch::channel(term.as_ref().map(|term| term.shown.clone()).unwrap_or_default());
        let (notifiers, delivering) = target_outputs::notifiers(&shared, &store);

        let acting = OperatorActions::new(&shared, &config, &rules, &store, &notifiers, &latest);
        let started = Started::new(&config, rules.len());
        let (archived, archiving) = archive::begin(&config, &shared.config, &store, &saved.series, clock).await?;
        let limit_log = LimitLog::after(&saved.series);
        let engine = begin(&config, rules, saved, since, set_aside, clock, (place.clone(), apart)).await;
        let engine =
            restore_jobs::jobs(engine, &store).await.map_err(|error| StartError::new("reading the jobs", error))?;
        let (forecasting, task) = Forecasting::new(config.forecast, senders.forecasts, shared.forecasts.clone(), clock);
        let shown = snapshot.clone();
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
            patience: (config.poll.every * 2).max(clock.of_wall(MIN_TICK_TIMEOUT)),
            history: config.history,
            memory: Memory::with(unsent, ended_before(&config).await, limit_log),
            source_log: SourceLog::new(started),
            archive: archived,
            own_cost: OwnCost::new(&config)?,
            calls: shared.calls.clone(),
            removed,
            assignment: shared.assignment.clone(),
            duplicates: duplicates.clone(),
            span: span.clone(),
            place: place.clone(),
            status: term.as_ref().map(|term| term.replicas.status.clone()),
            forecasting,
            limits: shared.kept_job_limits.of(&place.target),
        };
        let history = History::of(&shared, &config, latest.clone(), senders.queries.clone());
        shared.hub.put(acting.watched(place, latest, senders.queries, past));

        let (rest, mut parts) = (CancellationToken::new(), Parts::new(span));
        let events = job_events(&target, clock).await?;
        let poller = Poller::new(clients, target, config.poll, clock);
        poll(&mut parts, (poller, is_alone), events, (senders.observed, senders.poller), &stop);
        parts.spawn("rules", shared.clone().forward_rules(senders.rules, rest.clone()));
        parts.spawn("forecasts", task.run(rest.clone()));
        parts.spawn("event_loop", event_loop.run());
        parts.spawn("publisher", publish(publisher, frames_inbox, senders.reports));
        let notifying = notify(&mut parts, delivering, longest_attempt(&config), &rest);
        if let Some(term) = term {
            term.run(&mut parts, shown, notifying, &rest);
        }
        parts.spawn("archive", archiving.run(rest.clone()));
        parts.spawn("digests", Digests::of(&acting.operations, &shared).run(rest.clone()));
        parts.spawn("operations", acting.operations.run(acting.inbox, rest.clone()));
        parts.spawn("history", history_queries::answer(history, queries, rest.clone()));
        duplicates.or_refused(parts.finish(stop, rest).await)
    }
}

/// Place of a target. With a role the account is known before AWS returns it.
pub(super) fn place_of(target: &Target) -> Place {
    let account = target.role.as_deref().and_then(Place::account_of).map(Into::into);
    Place { account, ..Place::new(&target.name, &target.region) }
}

/// The queue of AWS Batch events, if configured.
async fn job_events(target: &Target, clock: Clock) -> Result<Option<JobEvents>, StartError> {
    JobEvents::connect(target, clock).await.map_err(|error| StartError::new("preparing events", error))
}

/// Starts the poller, and what listens for events of AWS Batch.
fn poll(
    parts: &mut Parts,
    (poller, is_alone): (Poller, bool),
    events: Option<JobEvents>,
    (observed, messages): (mpsc::Sender<Vec<Observation>>, mpsc::Sender<PollerMessage>),
    stop: &CancellationToken,
) {
    let (hint, hinted) = mpsc::channel(1);
    let listening = polling::listen(events, hint, observed.clone(), stop.child_token());
    let polling = Polling::new(poller, is_alone, observed, messages, hinted);
    parts.spawn("poller", polling.run(stop.child_token()));
    parts.spawn("events", listening);
}

/// Starts the notifiers. The returned tracker completes once they have all stopped.
fn notify(
    parts: &mut Parts,
    delivering: Vec<Notifier<StoreHandle, Arc<Integration>>>,
    attempt: Duration,
    rest: &CancellationToken,
) -> TaskTracker {
    let notifying = TaskTracker::new();
    for notifier in delivering.into_iter().map(|notifier| notifier.with_attempt_timeout(attempt)) {
        parts.spawn("notifier", notifying.track_future(notifier.run(rest.clone())));
    }
    notifying
}

/// Timeout of one notification attempt: with replicas, no longer than another replica waits before it leads.
fn longest_attempt(config: &Config) -> Duration {
    let of_lease = config.replication.as_ref().map(|replication| Terms::of(replication.lease).attempt());
    of_lease.map_or(ATTEMPT_TIMEOUT, |attempt| attempt.min(ATTEMPT_TIMEOUT))
}

/// Lets another replica lead once nothing is being sent any more.
async fn hand_over(term: Term, notifying: TaskTracker, rest: CancellationToken) {
    rest.cancelled().await;
    notifying.close();
    notifying.wait().await;
    term.hands_over.cancel();
    term.replicas.hand_over(term.ends.is_cancelled()).await;
}

async fn connect(target: &Target, config: &Config, clock: Clock) -> Result<Clients, StartError> {
    let connected = aws::connect(target, config.poll.calls_per_second, clock).await;
    connected.map_err(|error| StartError::new("connecting to AWS", error))
}

/// Creates the engine from the saved state of an earlier run.
async fn begin(
    config: &Config,
    rules: Vec<Rule>,
    saved: Saved,
    since: Timestamp,
    set_aside: bool,
    clock: Clock,
    (place, apart): (Place, bool),
) -> Engine {
    let apart = apart && !has_plain_ids(&saved.alerts);
    let cadence = cadence(config.poll.reconcile_every, config.poll.every);
    let mut engine = Engine::new(rules, cadence, saved, since)
        .priced(config.prices.clone())
        .showing(config.shares.clone())
        .banded(config.priority_bands.clone())
        .tagged(config.tags.clone());
    engine.service().store_set_aside = set_aside;
    history_queries::replay_history(engine, config.store.clone(), clock.now()).await.of_target(place, apart)
}

/// Whether alerts began while this target had the state of the whole service. They keep their ids until they end.
fn has_plain_ids(alerts: &[Alert]) -> bool {
    alerts.iter().any(|alert| alert.id == AlertId::of(&alert.rule, &alert.by))
}

/// Outbox rows for alerts that are firing, as created when they began to fire.
fn firing(alerts: &[Alert], receivers: &[Receiver]) -> Vec<OutboxRow> {
    let rows = |alert: &Alert| {
        let at = alert.state.fired_at()?;
        let transition = Transition { alert: alert.clone(), kind: TransitionKind::Fired, at };
        Some(outbox::rows(&[transition], receivers, at))
    };
    alerts.iter().filter_map(rows).flatten().collect()
}

/// The opened store and its contents.
pub(super) struct Opened {
    store: StoreHandle,
    saved: Saved,
    /// Watermarks of the last commit.
    watermarks: BTreeMap<String, Timestamp>,
    /// Start of counting.
    began: Timestamp,
    /// Whether the file, or rows of it, were broken and moved aside.
    set_aside: bool,
    /// Outbox rows of firing alerts that may be missing. Ids are stable, so receivers that already have the
    /// notification get nothing new.
    unsent: Vec<OutboxRow>,
}

async fn open_store(config: &Config, since: Timestamp, clock: Clock) -> Result<Opened, StartError> {
    let failed = |error| StartError::new("opening the state file", error);
    let (store, set_aside) = StoreHandle::open(&config.store, clock.now()).await.map_err(failed)?;
    if let Some(set_aside) = &set_aside {
        event_loop::log_set_aside(set_aside);
    }
    state(config, store, set_aside.is_some(), since, clock).await
}

/// Loads the contents of a store. Unreadable rows are moved aside.
pub(super) async fn state(
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
            "moved an unreadable row of the state file to its table `set_aside`; nothing else is affected"
        );
    }
    // Another replica may have a receiver that this one lacks: leave recent rows to it.
    let older_than = if config.replication.is_some() { UNKNOWN_RECEIVER_GRACE } else { Duration::ZERO };
    let given_up = store.call(move |store| store.keep_receivers(&names, older_than, now)).await.map_err(failed)?;
    if given_up > 0 {
        tracing::warn!(given_up, "dropped notifications for receivers that are no longer configured");
    }
    let saved = store.load().await.map_err(failed)?;
    let began = saved.since.map_or(since, |at| at.min(clock.now()));
    let watermarks = saved.watermarks.clone();
    let saved = restore_jobs::without_jobs(saved);
    let is_incomplete = bad.iter().any(|row| row.table == "outbox");
    let unsent = if is_incomplete { firing(&saved.alerts, &config.receivers) } else { Vec::new() };
    Ok(Opened { store, saved, watermarks, began, set_aside: set_aside || !bad.is_empty(), unsent })
}

/// Resolved alerts of an earlier run, latest first.
async fn ended_before(config: &Config) -> Vec<Transition> {
    let store = config.store.clone();
    let reading =
        blocking::run(move || PastAlerts::open(&store)?.ended(u32::try_from(MAX_RESOLVED_SHOWN).unwrap_or(u32::MAX)));
    // Unreadable rows are not shown; the store reports the problem itself.
    reading.await.ok().and_then(Result::ok).unwrap_or_default()
}

async fn publish(mut publisher: Publisher, mut frames: mpsc::Receiver<Arc<Frame>>, reports: mpsc::Sender<Report>) {
    while let Some(frame) = frames.recv().await {
        for report in publisher.publish(frame).await {
            // After the event loop has ended nobody counts reports, but the remaining frames are still published.
            let _ = reports.send(report).await;
        }
    }
}
