//! One task per receiver: reads due rows from the outbox, sends them, and records the results.
//!
//! Invariants:
//! - Receivers share only the store, so a failing receiver delays no other.
//! - A failing receiver is paused as a whole, with growing backoff. The failed row goes to the end of the queue, so
//!   that a message the receiver cannot process does not block the rest. The other receivers are notified.
//! - A mute window, silence or inhibition holds back firings, never the resolve of a firing that was sent.
//! - A delivery is recorded before anything else is sent, however long the store takes to recover.

mod repost_firing;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::config::Group;
use crate::config::Receiver;
use crate::notify::Deliver;
use crate::notify::Failure;
use crate::notify::Receipt;
use crate::notify::RetryClass;
use crate::notify::alert_traces;
use crate::notify::grouping;
use crate::notify::inhibition;
use crate::notify::message::Message;
use crate::notify::outbox::Due;
use crate::notify::outbox::Kind;
use crate::notify::outbox::NotificationId;
use crate::notify::outbox::Outbox;
use crate::notify::outbox::OutboxError;
use crate::notify::outbox::OutboxRow;
use crate::notify::outbox::Verdict;
use crate::notify::retry;
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;

/// Rows read from the store at once.
const BATCH: usize = 64;

/// Wall time limit for one attempt.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// Pause when the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Interval, in wall time, to check whether this replica may send, while it may not.
const FENCED_RECHECK: Duration = Duration::from_millis(500);

/// Interval to check held notifications again, in clock time: a silence may have been ended.
const HELD_RECHECK: Duration = Duration::from_secs(60);

/// How long a receiver must fail before the others are notified, in clock time. A parked receiver is reported at
/// once.
const TROUBLE_AFTER: Duration = Duration::from_secs(300);

/// Outcome of an attempt, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Accepted by the receiver.
    Delivered,
    /// Will be retried.
    Retried,
    /// Given up: a dead letter.
    Dead,
}

impl Outcome {
    /// The label value used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Dead => "dead",
        }
    }
}

type Counts = Arc<Mutex<BTreeMap<(String, Outcome), u64>>>;

/// Handle to all notifiers: wakes them and reads their counts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifiers {
    commits: watch::Sender<()>,
    counts: Counts,
}

impl Notifiers {
    /// Wakes the notifiers; call it after each commit that wrote to the outbox.
    pub fn committed(&self) {
        self.commits.send_replace(());
    }

    /// Attempts since the last call, by receiver and outcome.
    pub fn take_counts(&self) -> BTreeMap<(String, Outcome), u64> {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The delivery task of one receiver.
#[derive(Debug)]
pub struct Notifier<O, C> {
    receiver: Receiver,
    /// All receivers, which are notified when this one fails.
    all: Arc<[String]>,
    integration: C,
    external_url: Option<String>,
    outbox: O,
    clock: Clock,
    commits: watch::Receiver<()>,
    /// Wakes the other notifiers after this one wrote rows for them.
    bell: watch::Sender<()>,
    counts: Counts,
    attempt_timeout: Duration,
    /// Consecutive failures of the receiver itself.
    failures: u32,
    /// Time of the first of them.
    failing_since: Timestamp,
    /// End of the current pause.
    paused_until: Timestamp,
    /// When firing alerts were last sent again; `None` before the first time.
    repeated_at: Option<Timestamp>,
}

impl Notifiers {
    /// Creates one notifier per receiver. Each is idle until its [`Notifier::run`] is spawned.
    ///
    /// `external_url` is the base URL of the service's pages; messages link to it.
    pub fn new<O: Outbox, C: Deliver>(
        receivers: Vec<(Receiver, C)>,
        external_url: Option<&str>,
        outbox: &O,
        clock: Clock,
    ) -> (Self, Vec<Notifier<O, C>>) {
        let (commits, listen) = watch::channel(());
        let counts = Counts::default();
        let all: Arc<[String]> = receivers.iter().map(|(receiver, _)| receiver.name.clone()).collect();
        let notifier = |(receiver, integration)| Notifier {
            receiver,
            all: Arc::clone(&all),
            integration,
            external_url: external_url.map(str::to_owned),
            outbox: outbox.clone(),
            clock,
            commits: listen.clone(),
            bell: commits.clone(),
            counts: Arc::clone(&counts),
            attempt_timeout: ATTEMPT_TIMEOUT,
            failures: 0,
            failing_since: Timestamp::default(),
            paused_until: Timestamp::default(),
            repeated_at: None,
        };
        let notifiers = receivers.into_iter().map(notifier).collect();
        (Self { commits, counts }, notifiers)
    }
}

/// How to proceed after a message for several alerts.
enum Grouped {
    GoOn,
    /// Nothing is due before this time.
    LookAgain(Timestamp),
    Stopped,
}

impl<O: Outbox, C: Deliver> Notifier<O, C> {
    /// Sets the wall time limit of one attempt; the default is 15 s.
    #[must_use]
    pub fn with_attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self { attempt_timeout, ..self }
    }

    /// The receiver's name.
    pub fn receiver(&self) -> &str {
        &self.receiver.name
    }

    /// Delivers until `stop`. Rows due by then are still sent, up to the first failure; the rest stays in the
    /// outbox.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopping = stop.is_cancelled();
            self.commits.mark_unchanged();
            let look_again_at = self.deliver_due(&stop).await;
            if stopping {
                return;
            }
            let look_again_at = look_again_at.into_iter().chain(self.repeat().await).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Ok(()) = self.commits.changed() => {}
                () = sleep_until(self.clock, look_again_at) => {}
            }
        }
    }

    /// Sends due rows until there are none left or the receiver fails. Returns when to check again; `None` means
    /// after the next commit.
    async fn deliver_due(&mut self, stop: &CancellationToken) -> Option<Timestamp> {
        loop {
            let now = self.clock.now();
            if now < self.paused_until {
                return Some(self.paused_until);
            }
            if !self.outbox.may_send() {
                return Some(now + self.clock.of_wall(FENCED_RECHECK));
            }
            let due = match &self.receiver.group {
                None => self.outbox.due(&self.receiver.name, now, BATCH).await,
                Some(_) => self.outbox.due_together(&self.receiver.name, now).await,
            };
            let due = match due {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(receiver = self.receiver.name, %error, "cannot read the outbox; retrying");
                    return Some(now + STORE_PAUSE);
                }
            };
            if due.rows.is_empty() {
                return due.next_at;
            }
            let Ok(firing) = self.inhibitors().await else { return Some(now + STORE_PAUSE) };
            if let Some(group) = self.receiver.group.clone() {
                match self.deliver_group(&group, &due, &firing, stop).await {
                    Grouped::GoOn => continue,
                    Grouped::LookAgain(at) => return Some(due.next_at.map_or(at, |next| next.min(at))),
                    Grouped::Stopped => return None,
                }
            }
            for row in &due.rows {
                let goes_on = match self.held(row, &due, &firing) {
                    Some(verdict) => self.record(row, verdict, stop).await,
                    None => self.attempt(row, stop).await,
                };
                if goes_on {
                    continue;
                }
                if stop.is_cancelled() {
                    return None;
                }
                break;
            }
        }
    }

    /// Sends one message with the alerts that are due together.
    async fn deliver_group(&mut self, group: &Group, due: &Due, firing: &[Alert], stop: &CancellationToken) -> Grouped {
        let mut free = Vec::new();
        let mut waiting = BTreeSet::new();
        for row in due.rows.iter() {
            if waiting.contains(row.alert()) {
                continue;
            }
            match self.held(row, due, firing) {
                None => free.push(row),
                Some(verdict) => {
                    // Later rows of the same alert wait behind it.
                    waiting.insert(row.alert());
                    if !self.record(row, verdict, stop).await {
                        return Grouped::Stopped;
                    }
                }
            }
        }
        let (ready, at) = grouping::grouped(group, self.integration.max_alerts_per_message(), &free, self.clock.now());
        let Some((first, others)) = ready.split_first() else {
            // Held rows are no longer due, so the next read may return more.
            return at.filter(|_| waiting.is_empty()).map_or(Grouped::GoOn, Grouped::LookAgain);
        };
        let mut row = (*first).clone();
        // A row that was attempted before keeps its message: `others` is empty then.
        row.together.extend(others.iter().map(|row| (*row).clone()));
        if !self.attempt(&row, stop).await && stop.is_cancelled() {
            return Grouped::Stopped;
        }
        Grouped::GoOn
    }

    /// Firing alerts that may inhibit others; empty if nothing is inhibited.
    async fn inhibitors(&self) -> Result<Vec<Alert>, OutboxError> {
        if self.receiver.inhibit.is_empty() {
            return Ok(Vec::new());
        }
        let firing = self.outbox.firing().await;
        firing.inspect_err(|error| {
            tracing::warn!(
                receiver = self.receiver.name,
                %error,
                "cannot read the firing alerts from the state file; retrying"
            )
        })
    }

    /// The verdict for a firing that must not be sent now.
    fn held(&self, row: &OutboxRow, due: &Due, firing: &[Alert]) -> Option<Verdict> {
        // A firing that was attempted may have arrived, so its resolve must follow.
        if row.kind() == Kind::Resolved || row.begun_at.is_some() {
            return None;
        }
        let now = self.clock.now();
        let (alert, ended) = (&row.transition.alert, due.ended.contains(&row.id));
        if row.while_firing && ended {
            return Some(Verdict::Muted { at: now, because: "resolved before it was due".to_owned() });
        }
        let silence = due.silences.iter().find(|silence| silence.matches(&alert.labels));
        let silence = silence.map(|silence| (silence.ends_at, format!("silence {} of {}", silence.id, silence.author)));
        let muted = || Some((now + HELD_RECHECK, inhibition::muted_by(&self.receiver.mute, now)?));
        let inhibited = || {
            let by = inhibition::inhibited_by(&self.receiver.inhibit, alert, firing)?;
            Some((now + HELD_RECHECK, format!("the alert {} {}", by.rule, by.id)))
        };
        let (until, because) = silence.or_else(muted).or_else(inhibited)?;
        Some(if ended {
            Verdict::Muted { at: now, because: format!("fired and resolved during {because}") }
        } else {
            Verdict::Held { next_attempt_at: until.min(now + HELD_RECHECK), because: format!("held back by {because}") }
        })
    }

    /// Sends one row and records the result. Returns whether to continue with this receiver.
    async fn attempt(&mut self, row: &OutboxRow, stop: &CancellationToken) -> bool {
        if row.begun_at.is_none() && !self.begin(row).await {
            return false;
        }
        let by = self.receiver.group.as_ref().map(|group| &group.by[..]);
        let message = Message::of_group(row, self.external_url.as_deref(), by);
        // The last check before the request.
        if !self.outbox.may_send() {
            self.paused_until = self.clock.now() + self.clock.of_wall(FENCED_RECHECK);
            return false;
        }
        let result = tokio::select! {
            biased;
            result = self.integration.deliver(&message, &self.clock).instrument(alert_traces::of_delivery(row)) => result,
            () = self.clock.sleep(self.clock.of_wall(self.attempt_timeout)) => {
                // Exact formatting: tests have timeouts below one second.
                let wait = humantime::format_duration(self.attempt_timeout);
                Err(Failure::retry(format!("no response within {wait}"), None))
            }
        };
        let was_failing = self.failures > 0;
        let (outcome, verdict) = self.judge(row, result);
        self.count(outcome);
        let tells_others = match &verdict {
            Verdict::Delivered { .. } => was_failing,
            Verdict::Later { trouble, .. } => *trouble,
            Verdict::Held { .. } | Verdict::Muted { .. } | Verdict::Dead { .. } => false,
        };
        let recorded = self.record(row, verdict, stop).await;
        if tells_others {
            self.bell.send_replace(());
        }
        recorded && self.clock.now() >= self.paused_until
    }

    /// Records durably that a row is about to be sent: from then on its id stands for this content only.
    async fn begin(&mut self, row: &OutboxRow) -> bool {
        let others: Vec<NotificationId> = row.together.iter().map(|other| other.id.clone()).collect();
        let now = self.clock.now();
        let begun = self.outbox.begin(&row.id, &others, now).await;
        if let Err(error) = &begun {
            tracing::warn!(receiver = self.receiver.name, %error, "cannot write to the outbox; retrying");
            self.paused_until = now + STORE_PAUSE;
        }
        begun.is_ok()
    }

    fn judge(&mut self, row: &OutboxRow, result: Result<Receipt, Failure>) -> (Outcome, Verdict) {
        let now = self.clock.now();
        let Failure { reason: error, remedy } = match result {
            Ok(Receipt { reference, .. }) => {
                self.failures = 0;
                tracing::debug!(receiver = self.receiver.name, id = %row.id, "notification delivered");
                return (Outcome::Delivered, Verdict::Delivered { at: now, reference });
            }
            Err(failure) => failure,
        };
        let attempts = row.attempts.saturating_add(1);
        let fraction = row.id.fraction(attempts);
        let wait = match remedy {
            RetryClass::SetAside => retry::PARKED,
            RetryClass::Park => {
                self.failed(now);
                self.paused_until = now + retry::PARKED;
                retry::PARKED
            }
            RetryClass::Retry { after } => {
                self.failed(now);
                let at_least = after.unwrap_or_default();
                self.paused_until = now + retry::backoff(self.failures, fraction).max(at_least);
                retry::backoff(attempts, fraction).max(at_least)
            }
        };
        // The rows of a failing receiver take turns, so its failures count for each of them.
        if retry::should_give_up(self.tried_for(row, now), attempts.max(self.failures), self.receiver.give_up_after) {
            tracing::error!(
                receiver = self.receiver.name,
                id = %row.id,
                error,
                "notification not delivered: the retries are exhausted; to retry it, run `trainspotter outbox retry`"
            );
            return (Outcome::Dead, Verdict::Dead { at: now, error });
        }
        tracing::warn!(
            receiver = self.receiver.name,
            id = %row.id,
            attempts,
            error,
            ?wait,
            "cannot deliver a notification; retrying"
        );
        let trouble = match remedy {
            RetryClass::Park => true,
            RetryClass::Retry { .. } => now.since(self.failing_since) >= TROUBLE_AFTER,
            RetryClass::SetAside => false,
        };
        // One bad message must not block those grouped with it.
        let apart = remedy == RetryClass::SetAside && !row.together.is_empty();
        let next_attempt_at = if apart { now } else { now + wait };
        (Outcome::Retried, Verdict::Later { at: now, next_attempt_at, error, trouble, apart })
    }

    /// How long delivery of a row has been tried: since its first attempt or, when rows take turns, since the
    /// receiver began to fail. Time spent waiting for other rows or for the end of a silence does not count.
    fn tried_for(&self, row: &OutboxRow, now: Timestamp) -> Duration {
        let own = now.since(row.begun_at.unwrap_or(now));
        let receivers = if self.failures > 0 { now.since(self.failing_since) } else { Duration::ZERO };
        own.max(receivers.min(now.since(row.created_at)))
    }

    fn failed(&mut self, now: Timestamp) {
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures = self.failures.saturating_add(1);
    }

    fn count(&self, outcome: Outcome) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((self.receiver.name.clone(), outcome)).or_default() += 1;
    }

    /// Records a verdict, with retries until the store accepts it: sending the row again would be worse. Returns
    /// whether it was recorded.
    async fn record(&self, row: &OutboxRow, verdict: Verdict, stop: &CancellationToken) -> bool {
        loop {
            match self.outbox.settle(&row.id, verdict.clone(), &self.all).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(
                        receiver = self.receiver.name,
                        id = %row.id,
                        %error,
                        "cannot record the result of a delivery; retrying"
                    );
                }
            }
            if stop.is_cancelled() {
                return false;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.clock.sleep(STORE_PAUSE) => {}
            }
        }
    }
}

async fn sleep_until(clock: Clock, at: Option<Timestamp>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}
