//! The event loop: the only task that owns the engine. All input arrives as an [`InternalEvent`]; output always
//! follows the same order: tick, commit, then publish and notify.

mod commit;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::aws::CallCounter;
use crate::config::{History, Receiver};
use crate::notify::Notifiers;
use crate::notify::OutboxRow;
use crate::notify::alert_traces;
use crate::publish::{Report, SinkError};
use crate::replication::ReplicaStatus;
use crate::replication::target_assignment::TargetAssignment;
use crate::service::archive::ArchiveRows;
use crate::service::clock_watch::ClockWatch;
use crate::service::duplicate_targets::DuplicateTargets;
use crate::service::forecasting::Forecasting;
use crate::service::inbox::{Inbox, InternalEvent};
use crate::service::job_queries;
use crate::service::kept_job_limits::TargetLimits;
use crate::service::own_cost::OwnCost;
use crate::service::problems::Problems;
use crate::service::reached_limit_log::LimitLog;
use crate::service::replica_view;
use crate::service::rule_reload::RulesUpdate;
use crate::service::source_log::SourceLog;
use crate::service::state_trouble::StateTrouble;
use crate::store::{Condition, SetAside, StoreError, StoreHandle};
use crate::web::{Access, Snapshot};
use trainspotter_clock::Clock;
use trainspotter_core::engine::{Engine, Output};
use trainspotter_core::metrics::{Frame, Pending, catalogue};
use trainspotter_core::model::{Observation, Place, Questions, Timestamp};
use trainspotter_core::rules::{Alert, ResolveReason, Rule, Transition, TransitionKind};

use commit::Uncommitted;

/// Maximum resolved alerts on the page.
pub(super) const MAX_RESOLVED_SHOWN: usize = 50;

/// Approximate maximum of notifications held while commits fail. At the limit ticks pause until a commit succeeds,
/// so that no state is lost; the page shows the time of the last tick.
const MAX_UNCOMMITTED_NOTIFICATIONS: usize = 10_000;

/// Owner of the engine and of everything that follows a tick.
#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) inbox: Inbox,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) store: StoreHandle,
    pub(super) receivers: Vec<Receiver>,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) frames: mpsc::Sender<Arc<Frame>>,
    pub(super) notifiers: Notifiers,
    /// Rules in effect, for queries.
    pub(super) rules: watch::Sender<Arc<[Rule]>>,
    /// API access, with counts of refused requests.
    pub(super) access: Access,
    /// Maximum time between polls; after it [`InternalEvent::PollOverdue`] fires.
    pub(super) patience: Duration,
    pub(super) history: History,
    pub(super) memory: Memory,
    pub(super) source_log: SourceLog,
    pub(super) archive: ArchiveRows,
    pub(super) own_cost: OwnCost,
    /// AWS calls of receivers and sinks, counted by the next target that ticks.
    pub(super) calls: CallCounter,
    /// Cancelled when the target is removed from the configuration.
    pub(super) removed: CancellationToken,
    /// How targets are shared among replicas, if there are several.
    pub(super) assignment: TargetAssignment,
    /// Detects that another target has the same account and region.
    pub(super) duplicates: DuplicateTargets,
    /// Log span of the target.
    pub(super) span: Span,
    /// Name, region and account of the target.
    pub(super) place: Place,
    /// Replication status, if there are replicas.
    pub(super) status: Option<watch::Receiver<ReplicaStatus>>,
    /// Where the current state is offered for forecasting.
    pub(super) forecasting: Forecasting,
    pub(super) limits: TargetLimits,
}

/// Logs where a broken file was moved.
pub(super) fn log_set_aside(aside: &SetAside) {
    tracing::error!(
        to = %aside.to.display(),
        because = %aside.because,
        "the state file was corrupt and was moved aside; a new file holds what was in memory, the rest is lost"
    );
}

/// Kind of a handled event, as far as the timer for the next poll depends on it.
#[derive(Debug, PartialEq)]
enum Handled {
    /// A poll ended or was overdue: the timer restarts.
    Poll,
    /// Anything else.
    Other,
}

/// State kept between ticks, beside the engine.
#[derive(Debug, Default)]
pub(super) struct Memory {
    uncommitted: Uncommitted,
    resolved: VecDeque<Transition>,
    polled_at: Option<Timestamp>,
    /// Another replica leads now: this one sends nothing more.
    is_replaced: bool,
    clock: ClockWatch,
    limit_log: LimitLog,
    problems: Problems,
    /// What does not accept the state.
    state_trouble: Option<StateTrouble>,
}

impl Memory {
    /// Starts with rows for the first commit, and with the resolved alerts, latest first, and the counts of limits of
    /// an earlier run.
    pub(super) fn with(rows: Vec<OutboxRow>, resolved: Vec<Transition>, limit_log: LimitLog) -> Self {
        let uncommitted = Uncommitted::with(rows);
        let resolved = resolved.into_iter().take(MAX_RESOLVED_SHOWN).collect();
        Self { uncommitted, resolved, limit_log, ..Self::default() }
    }
}

impl EventLoop {
    /// Runs until the poller is gone, then ticks and commits once more.
    pub(super) async fn run(mut self) {
        let mut waits_since = self.clock.mark();
        // If the target is refused, the loop ends before anything is published.
        while let Some(event) = self.inbox.next(self.clock.sleep_from(waits_since, self.patience)).await {
            if self.handle_event(event).await == Handled::Poll {
                waits_since = self.clock.mark();
            }
            if self.duplicates.is_refused(self.place.account.as_deref()) {
                return;
            }
        }
        if self.removed.is_cancelled() {
            // Removing all rules resolves all alerts, so that receivers are notified of the end.
            self.engine.set_rules(Vec::new());
        }
        self.tick().await;
    }

    async fn handle_event(&mut self, event: InternalEvent) -> Handled {
        match event {
            InternalEvent::Observed(observations) => self.observe(observations),
            InternalEvent::QuestionsAsked(reply) => self.answer_poller(reply).await,
            InternalEvent::PollEnded { began_at } => {
                self.end_poll(began_at).await;
                return Handled::Poll;
            }
            InternalEvent::JobsDescribed => self.tick().await,
            // Tick anyway: stale data must be able to raise an alert.
            InternalEvent::PollOverdue => {
                self.tick().await;
                return Handled::Poll;
            }
            InternalEvent::Published(report) => self.count_published(&report),
            InternalEvent::RulesChanged(news) => self.change_rules(news),
            InternalEvent::JobsQueried(query) => job_queries::answer(&mut self.engine, query, self.clock.now()),
            InternalEvent::Forecast(forecast) => self.engine.take_forecast(&forecast.initial, &forecast.starts),
        }
        Handled::Other
    }

    fn observe(&mut self, observations: Vec<Observation>) {
        let ledger = self.engine.ledger();
        self.source_log.observe(&observations, self.clock.now(), |id| ledger.is_ended(id));
        self.memory.problems.set_queues(self.source_log.queues_problem());
        self.engine.observe(observations);
        let account = self.engine.service().place.account.clone();
        if account != self.place.account {
            self.place.account.clone_from(&account);
            self.span.record("account", account.as_deref());
        }
    }

    async fn answer_poller(&mut self, reply: oneshot::Sender<Questions>) {
        self.compare_clock().await;
        let _ = reply.send(self.engine.questions(self.clock.now()));
    }

    async fn end_poll(&mut self, began_at: Timestamp) {
        let before = self.memory.polled_at.replace(began_at);
        self.engine.service().poll_interval = before.map(|before| began_at.since(before));
        self.tick().await;
    }

    #[tracing::instrument(level = "debug", skip_all)]
    async fn tick(&mut self) {
        let now = self.clock.now();
        self.check_store(now).await;
        if self.memory.uncommitted.rows.len() >= MAX_UNCOMMITTED_NOTIFICATIONS && !self.retry_commit().await {
            self.limit_hit("uncommitted_notifications", 1);
            return;
        }
        self.engine.set_limits(self.limits.allowance(self.engine.kept()));
        let mut output = self.engine.tick(now);
        if self.removed.is_cancelled() {
            output.transitions = output.transitions.into_iter().map(as_target_removed).collect();
        }
        let frame = Arc::new(std::mem::take(&mut output.frame));
        self.memory.limit_log.observe(&frame.samples, now);
        self.log_transitions(&output);
        self.commit(now, &frame, &mut output).await;
        // Check the store first, so that the published snapshot includes the result of this commit.
        self.report_store_trouble().await;
        self.publish(now, frame, output.alerts);
        self.forecasting.offer(&mut self.engine, now);
    }

    /// Compares the local clock with AWS's. After a correction it ticks at once, so that the figures carry the
    /// correct time.
    async fn compare_clock(&mut self) {
        let Some(comparison) = self.clock.comparison() else { return };
        let corrected = self.memory.clock.report_changes(comparison);
        self.memory.problems.set_clock(self.memory.clock.problem());
        self.show_problems();
        if let Some(seconds) = corrected {
            self.engine.clock_corrected(seconds);
        }
        if let Some(wrong) = self.engine.correct_future(self.clock.now()) {
            tracing::warn!(
                counted_until = %wrong,
                "the stored start of counting is in the future, so a clock was wrong; counting from now on instead"
            );
        }
        self.engine.service().clock_skew_seconds = Some(comparison.skew_seconds);
        if corrected.is_some() {
            self.tick().await;
        }
    }

    fn change_rules(&mut self, news: RulesUpdate) {
        self.engine.service().rules_broken = news.is_err();
        self.memory.problems.set_rules(news.as_ref().err().map(ToString::to_string).as_deref());
        match news {
            Ok(rules) => {
                tracing::info!(rules = rules.len(), "the rule files changed; the new rules are in effect");
                self.rules.send_replace(rules.clone().into());
                self.engine.set_rules(rules);
            }
            Err(mistakes) => {
                tracing::error!("the rule files have errors; the previous rules stay in effect\n{mistakes}")
            }
        }
    }

    async fn check_store(&mut self, now: Timestamp) {
        match self.store.backlog().await {
            Ok(backlog) => {
                let pending = |receiver: &Receiver| {
                    let backlog = backlog.get(&receiver.name).copied().unwrap_or_default();
                    let oldest_age = backlog.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
                    (receiver.name.clone(), Pending { count: backlog.pending.into(), oldest_age })
                };
                let pending = self.receivers.iter().map(pending).collect();
                self.engine.set_pending(pending);
            }
            Err(error) => tracing::error!(
                %error,
                "cannot read the outbox; the metrics of pending notifications are not updated"
            ),
        }
        self.engine.counting().count_calls(&self.calls.drain());
        self.limit_hit("replicas", self.assignment.take_left_out());
        self.engine.service().store_bytes = self.store.size_bytes().await.ok();
        self.archive.show(now, &mut self.engine, &mut self.memory.problems);
        self.report_store_trouble().await;
        for ((receiver, outcome), count) in self.notifiers.take_counts() {
            let pairs = [("receiver", receiver.into()), ("outcome", outcome.as_str().into())];
            self.engine.counting().add(&catalogue::NOTIFY_DELIVERIES, pairs, count);
        }
        for (cause, count) in self.access.take_refused().into_iter().filter(|(_, count)| *count > 0) {
            self.engine.counting().add(&catalogue::API_REFUSED, [("cause", cause.into())], count);
        }
    }

    /// Checks whether the store works, and logs changes.
    async fn report_store_trouble(&mut self) {
        let closed = |error: StoreError| Condition { trouble: Some(error.to_string()), ..Condition::default() };
        let Condition { trouble, set_aside } = self.store.condition().await.unwrap_or_else(closed);
        for aside in set_aside {
            log_set_aside(&aside);
            self.engine.service().store_set_aside = true;
        }
        let of_log = self.status.as_ref().and_then(|status| status.borrow().trouble.clone());
        let of_commit = self.memory.uncommitted.failure.clone().filter(|_| !self.memory.is_replaced);
        let trouble = StateTrouble::of(trouble, of_log, of_commit, self.status.is_some());
        self.engine.service().store_error = trouble.as_ref().map(ToString::to_string);
        StateTrouble::log_change(self.memory.state_trouble.as_ref(), trouble.as_ref());
        self.memory.state_trouble = trouble;
    }

    /// Logs alert transitions, and keeps resolved alerts for the page.
    fn log_transitions(&mut self, output: &Output) {
        for transition in &output.transitions {
            let alert = &transition.alert;
            let _way = alert_traces::of_transition(transition).entered();
            match transition.kind {
                TransitionKind::Fired => {
                    tracing::warn!(alert = %alert.rule, id = %alert.id, by = %by(alert), "alert fired")
                }
                TransitionKind::Resolved(ending) => {
                    tracing::info!(alert = %alert.rule, id = %alert.id, by = %by(alert), ?ending, "alert resolved");
                    self.memory.resolved.push_front(transition.clone());
                    self.memory.resolved.truncate(MAX_RESOLVED_SHOWN);
                }
            }
        }
    }

    fn publish(&mut self, now: Timestamp, frame: Arc<Frame>, alerts: Vec<Alert>) {
        if self.memory.is_replaced {
            return;
        }
        self.snapshot.send_replace(Snapshot {
            place: self.place.clone(),
            frame: Arc::clone(&frame),
            alerts: alerts.into(),
            resolved: self.memory.resolved.iter().cloned().collect(),
            ready: self.engine.is_ready(),
            not_ready: self.engine.not_ready(),
            ticked_at: Some(now),
            store_error: self.engine.service().store_error.clone(),
            problems: self.memory.problems.all().into(),
            replica: self.status.as_ref().map(|status| replica_view::of(&status.borrow())),
        });
        self.own_cost.ticked(&frame, self.engine.service());
        if self.frames.try_send(frame).is_err() {
            self.limit_hit("frames_waiting_for_sinks", 1);
        }
    }

    /// Publishes problems that changed since the last tick without waiting for the next one.
    fn show_problems(&self) {
        if self.memory.is_replaced {
            return;
        }
        let problems = self.memory.problems.all();
        self.snapshot.send_if_modified(|shown| {
            let is_new = *shown.problems != *problems;
            if is_new {
                shown.problems = problems.into();
            }
            is_new
        });
    }

    fn count_published(&mut self, report: &Report) {
        let sink = || ("sink", Arc::clone(&report.sink));
        self.memory.problems.published(report);
        self.own_cost.published(report, self.engine.service());
        self.limit_hit("cloudwatch_budget", report.newly_left_out);
        self.limit_hit("own_telemetry", crate::service::watched_exporter::take_lost());
        self.limit_hit("exponential_histograms", report.histogram_values_left_out);
        let refused = report.error.as_ref().map_or(0, SinkError::refused_points);
        self.engine.counting().add(&catalogue::PUBLISH_REFUSED, [sink()], refused);
        self.engine.service().published_series.insert(report.sink.to_string(), report.series);
        self.engine.counting().add(&catalogue::PUBLISH_FAILURES, [sink()], u64::from(report.error.is_some()));
        self.limit_hit("values_waiting_for_cloudwatch", report.dropped);
    }

    fn limit_hit(&mut self, limit: &'static str, times: u64) {
        if times > 0 {
            self.engine.counting().add(&catalogue::LIMIT_HITS, [("limit", limit.into())], times);
        }
    }
}

/// Marks a transition as resolved because the target was removed.
pub(super) fn as_target_removed(transition: Transition) -> Transition {
    match transition.kind {
        TransitionKind::Resolved(_) => {
            Transition { kind: TransitionKind::Resolved(ResolveReason::TargetRemoved), ..transition }
        }
        TransitionKind::Fired => transition,
    }
}

/// Formats an alert's labels as text: a map would become JSON nested in the JSON log line.
fn by(alert: &Alert) -> String {
    alert.by.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}
