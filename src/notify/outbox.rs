//! The outbox: one row per transition and receiver, written in the transaction of the transition itself. PURE.
//!
//! Invariants, kept by whatever stores the rows:
//! - A row is settled (delivered or dead) once, and until then it is tried again and again under one id.
//! - Per alert and receiver, rows are tried in the order in which they were written.
//! - A resolve is only sent to a receiver that was notified of the firing; a firing is not dropped because it resolved.
//! - When a receiver is in trouble the others are notified, in the transaction that records the trouble; and of its end, too.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::config::Receiver;
use crate::notify::routing;
use crate::notify::silence::Silence;
use crate::runbooks;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, AlertId, AlertState, ResolveReason, Transition, TransitionKind};

/// Identity of a notification: 64 hex digits, the same over retries, restarts and replicas.
///
/// It is the `webhook-id` header and the deduplication id of a FIFO topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(String);

impl NotificationId {
    /// Hashes the rule, the alert, the episode, what happened and who is notified.
    pub fn of(transition: &Transition, receiver: &str) -> Self {
        Self::hashed(transition, receiver, None)
    }

    /// The id of the reminder with this number, from 1: each is a notification of its own.
    fn of_reminder(transition: &Transition, receiver: &str, number: u32) -> Self {
        Self::hashed(transition, receiver, Some(number))
    }

    fn hashed(transition: &Transition, receiver: &str, reminder: Option<u32>) -> Self {
        let mut hash = Sha256::new();
        let episode = episode(transition).millis().to_string();
        let alert = &transition.alert;
        for part in [&alert.rule, alert.id.as_str(), &episode, Kind::of(transition).as_str(), receiver] {
            hash.update(part);
            hash.update([0]);
        }
        if let Some(number) = reminder {
            hash.update(number.to_le_bytes());
        }
        Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// An id as it was stored.
    pub fn stored(id: String) -> Self {
        Self(id)
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A number in `0..1` that looks random but is the same for the same id and attempt: jitter that a test can repeat.
    pub(crate) fn fraction(&self, attempt: u32) -> f64 {
        let mut hash = Sha256::new();
        hash.update(&self.0);
        hash.update(attempt.to_le_bytes());
        let number = hash.finalize().iter().take(4).fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        f64::from(number) / (f64::from(u32::MAX) + 1.0)
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which end of an episode a notification is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The alert fired.
    Fired,
    /// It ended, for whatever reason.
    Resolved,
}

impl Kind {
    /// The kind of a transition.
    pub fn of(transition: &Transition) -> Self {
        match transition.kind {
            TransitionKind::Fired => Self::Fired,
            TransitionKind::Resolved(_) => Self::Resolved,
        }
    }

    /// `fired` or `resolved`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Resolved => "resolved",
        }
    }
}

/// One notification to one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    /// Identity.
    pub id: NotificationId,
    /// The receiver's name.
    pub receiver: String,
    /// What happened.
    pub transition: Transition,
    /// When the row was made; of an escalation, when it is to be sent.
    pub created_at: Timestamp,
    /// Only to be sent while the alert fires: an escalation or a reminder, which after the end would say nothing new.
    pub while_firing: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// Not to be tried before this.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt failed, without secrets.
    pub last_error: Option<String>,
    /// What the receiver calls its message of the firing, so that the resolve can change that one; most have no such name.
    pub reference: Option<String>,
    /// When it was first sent, whether or not it arrived; `None` before that.
    pub begun_at: Option<Timestamp>,
    /// Others that are sent in the same message, under this one's id, in order: what becomes of this one becomes of them.
    pub together: Vec<OutboxRow>,
    /// Where it stands.
    pub state: RowState,
}

impl OutboxRow {
    /// The alert it is about.
    pub fn alert(&self) -> &AlertId {
        &self.transition.alert.id
    }

    /// Which end of the episode it is about.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.transition)
    }

    /// When the episode began: what a firing and its resolve have in common.
    pub fn episode(&self) -> Timestamp {
        episode(&self.transition)
    }
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// To be delivered.
    Pending,
    /// The receiver took it.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// Given up; kept for people to look at.
    Dead {
        /// When.
        at: Timestamp,
    },
    /// Never sent: its episode began and ended while the receiver was muted, or before it was to be sent.
    Muted {
        /// When.
        at: Timestamp,
    },
}

impl RowState {
    /// `pending`, `delivered`, `dead` or `muted`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered { .. } => "delivered",
            Self::Dead { .. } => "dead",
            Self::Muted { .. } => "muted",
        }
    }
}

/// The rows of a tick's transitions, in their order.
///
/// A receiver is notified of the firings that its matchers take, and later of those that another escalates to it. A resolve goes
/// to every receiver: whoever keeps the rows drops it where the firing was not sent, for labels may have changed in between.
pub fn rows(transitions: &[Transition], receivers: &[Receiver], now: Timestamp) -> Vec<OutboxRow> {
    let notified_after = |transition: &Transition, receiver: &Receiver| match Kind::of(transition) {
        Kind::Fired => routing::notified_after(receiver, receivers, &transition.alert.labels),
        Kind::Resolved => Some(Duration::ZERO),
    };
    let mut rows = Vec::new();
    for transition in transitions {
        for receiver in receivers {
            if let Some(after) = notified_after(transition, receiver) {
                let row = row(transition, &receiver.name, now + after);
                rows.push(OutboxRow { while_firing: !after.is_zero(), ..row });
            }
        }
    }
    rows
}

/// The reminders that are due of alerts that fire. Those that were written before have the same ids, and whoever keeps the
/// rows leaves out a reminder while an earlier notification of the firing waits.
pub fn reminders(alerts: &[Alert], receivers: &[Receiver], now: Timestamp) -> Vec<OutboxRow> {
    let mut rows = Vec::new();
    for alert in alerts {
        for receiver in receivers {
            if let Some((number, at)) = routing::reminder(receiver, alert, now) {
                let transition = Transition { alert: alert.clone(), kind: TransitionKind::Fired, at };
                let id = NotificationId::of_reminder(&transition, &receiver.name, number);
                rows.push(OutboxRow { id, while_firing: true, ..row(&transition, &receiver.name, now) });
            }
        }
    }
    rows
}

/// The rule that alerts of a receiver in trouble are said to be of.
pub use trainspotter_core::rules::RECEIVER_IN_TROUBLE;

/// The alert that says that a receiver cannot be reached.
pub fn trouble_id(receiver: &str) -> AlertId {
    AlertId::of(RECEIVER_IN_TROUBLE, &BTreeMap::from([("receiver".to_owned(), receiver.to_owned())]))
}

/// What the other receivers are sent about one that is in trouble since `since`, or was.
pub fn trouble(
    receiver: &str,
    kind: Kind,
    since: Timestamp,
    now: Timestamp,
    error: &str,
    others: &[String],
) -> Vec<OutboxRow> {
    let by = BTreeMap::from([("receiver".to_owned(), receiver.to_owned())]);
    let mut labels = by.clone();
    labels.insert("alertname".to_owned(), RECEIVER_IN_TROUBLE.to_owned());
    labels.insert("severity".to_owned(), "page".to_owned());
    let description = "Its notifications are kept and tried again; `trainspotter outbox list` shows them, and \
                       `trainspotter notify test` tries the receiver. Other receivers are not affected.";
    let annotations = BTreeMap::from([
        ("summary".to_owned(), format!("Notifications do not reach the receiver {receiver}: {error}")),
        ("description".to_owned(), description.to_owned()),
        ("runbook".to_owned(), format!("{}/NotificationsStuck", runbooks::PATH)),
    ]);
    let alert = Alert {
        id: trouble_id(receiver),
        rule: RECEIVER_IN_TROUBLE.to_owned(),
        by,
        labels,
        annotations,
        state: AlertState::Firing { active_at: since, fired_at: since, keep_since: None },
        recent: Vec::new(),
        value: None,
        value_at_fire: None,
        unit: trainspotter_core::rules::Unit::Count,
        threshold: None,
        condition: 0,
        queue_arn: None,
        evaluated_at: now,
    };
    let kind = match kind {
        Kind::Fired => TransitionKind::Fired,
        Kind::Resolved => TransitionKind::Resolved(ResolveReason::Recovered),
    };
    let transition = Transition { alert, kind, at: now };
    others.iter().filter(|other| *other != receiver).map(|other| row(&transition, other, now)).collect()
}

/// A row that was never tried.
pub(crate) fn row(transition: &Transition, receiver: &str, now: Timestamp) -> OutboxRow {
    OutboxRow {
        id: NotificationId::of(transition, receiver),
        receiver: receiver.to_owned(),
        transition: transition.clone(),
        created_at: now,
        while_firing: false,
        attempts: 0,
        next_attempt_at: now,
        last_error: None,
        reference: None,
        begun_at: None,
        together: Vec::new(),
        state: RowState::Pending,
    }
}

fn episode(transition: &Transition) -> Timestamp {
    // An alert that ends keeps its state, so this falls back only for a transition that contradicts itself.
    transition.alert.state.fired_at().unwrap_or(transition.at)
}

/// What a notifier needs of the store. Every call is durable when it returns.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Whether an attempt may begin now, which no other replica makes.
    fn may_send(&self) -> bool {
        true
    }

    /// The rows that may be sent to a receiver now: at most `limit`, at most one per alert, longest due first.
    fn due(
        &self,
        receiver: &str,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Due, OutboxError>> + Send;

    /// The rows that may be sent to a receiver now, one message for several: all of them up to a limit, in their order. A row that
    /// [goes with others](Self::begin) comes with them; what came later of the same alerts is left out.
    fn due_together(&self, receiver: &str, now: Timestamp) -> impl Future<Output = Result<Due, OutboxError>> + Send;

    /// Notes that a row is about to be sent, and binds the others to it: from now on they are sent in its message, however often that
    /// is tried, and nothing holds it back.
    fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), OutboxError>> + Send;

    /// The alerts that fire.
    fn firing(&self) -> impl Future<Output = Result<Vec<Alert>, OutboxError>> + Send;

    /// The alerts that a receiver was notified of and that have not ended, as they are now: what has to be repeated to receivers that forget.
    fn notified(&self, _receiver: &str) -> impl Future<Output = Result<Vec<Alert>, OutboxError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Notifies `others` that a receiver is in trouble, or with `None` that it no longer is.
    fn note_trouble(
        &self,
        _receiver: &str,
        _error: Option<&str>,
        _now: Timestamp,
        _others: &[String],
    ) -> impl Future<Output = Result<(), OutboxError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Records how an attempt ended, of a row and of those that go with it. `others` are the receivers that are notified of this one's trouble and of its end.
    fn settle(
        &self,
        id: &NotificationId,
        verdict: Verdict,
        others: &[String],
    ) -> impl Future<Output = Result<(), OutboxError>> + Send;
}

/// What is due.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// To be sent now.
    pub rows: Vec<OutboxRow>,
    /// Of the firings among them those whose alert has ended meanwhile.
    pub ended: BTreeSet<NotificationId>,
    /// Silences that are in force.
    pub silences: Vec<Silence>,
    /// When the next row becomes due that is not yet; `None` when there is none.
    pub next_at: Option<Timestamp>,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver took it.
    Delivered {
        /// When.
        at: Timestamp,
        /// What the receiver calls the message, if it said.
        reference: Option<String>,
    },
    /// To be tried again.
    Later {
        /// When it was tried.
        at: Timestamp,
        /// Not before this.
        next_attempt_at: Timestamp,
        /// Why.
        error: String,
        /// Whether the receiver as a whole is in trouble, so that the others should be notified.
        trouble: bool,
        /// Whether rows that went together go on their own from now on.
        apart: bool,
    },
    /// Not tried, for the receiver is muted: to be looked at again.
    Held {
        /// Not before this.
        next_attempt_at: Timestamp,
        /// By what.
        because: String,
    },
    /// Never to be sent, together with the resolve of the same episode: all of it happened while the receiver was muted.
    Muted {
        /// When.
        at: Timestamp,
        /// By what.
        because: String,
    },
    /// Given up, together with the resolve of the same episode if this is a firing.
    Dead {
        /// When.
        at: Timestamp,
        /// Why.
        error: String,
    },
}

/// The store did not answer. Says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxError(pub String);

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the outbox cannot be used: {}", self.0)
    }
}

impl std::error::Error for OutboxError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Channel;

    fn transition(fired_at: i64, kind: TransitionKind) -> Transition {
        let fired_at = Timestamp::from_millis(fired_at);
        let by = BTreeMap::from([("queue".to_owned(), "prod".to_owned())]);
        let alert = Alert {
            id: AlertId::of("Waits", &by),
            rule: "Waits".to_owned(),
            labels: by.clone(),
            by,
            annotations: BTreeMap::new(),
            state: AlertState::Firing { active_at: fired_at, fired_at, keep_since: None },
            recent: Vec::new(),
            value: Some(1.0),
            value_at_fire: Some(1.0),
            unit: trainspotter_core::rules::Unit::Count,
            threshold: None,
            condition: 0,
            queue_arn: None,
            evaluated_at: fired_at,
        };
        Transition { alert, kind, at: fired_at + std::time::Duration::from_secs(5) }
    }

    fn receiver(name: &str) -> Receiver {
        Receiver::new(name, Channel::sns(String::new()))
    }

    #[test]
    fn every_receiver_gets_every_transition_in_order() {
        let transitions =
            [transition(1, TransitionKind::Fired), transition(1, TransitionKind::Resolved(ResolveReason::Gone))];
        let rows = rows(&transitions, &[receiver("a"), receiver("b")], Timestamp::from_millis(9));
        let notified: Vec<_> = rows.iter().map(|row| (row.receiver.as_str(), row.kind().as_str())).collect();
        assert_eq!(notified, [("a", "fired"), ("b", "fired"), ("a", "resolved"), ("b", "resolved")]);
    }

    #[test]
    fn an_id_depends_on_the_episode_its_end_and_the_receiver_and_on_nothing_else() {
        let of = |fired_at, kind, receiver| NotificationId::of(&transition(fired_at, kind), receiver);
        let ids = BTreeSet::from([
            of(1, TransitionKind::Fired, "a"),
            of(2, TransitionKind::Fired, "a"),
            of(1, TransitionKind::Resolved(ResolveReason::Gone), "a"),
            of(1, TransitionKind::Fired, "b"),
        ]);
        assert_eq!(ids.len(), 4);
        let mut later = transition(1, TransitionKind::Fired);
        later.alert.value = Some(99.0);
        later.alert.annotations.insert("summary".to_owned(), "worse".to_owned());
        later.at = Timestamp::from_millis(77);
        assert_eq!(NotificationId::of(&later, "a"), of(1, TransitionKind::Fired, "a"));
        assert_eq!(
            of(1, TransitionKind::Resolved(ResolveReason::Gone), "a"),
            of(1, TransitionKind::Resolved(ResolveReason::Recovered), "a")
        );
        assert_eq!(of(1, TransitionKind::Fired, "a").as_str().len(), 64);
    }

    #[test]
    fn fractions_are_spread_over_the_unit_interval() {
        let id = NotificationId::of(&transition(1, TransitionKind::Fired), "a");
        let fractions: Vec<f64> = (0..1_000).map(|attempt| id.fraction(attempt)).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        let mean = fractions.iter().sum::<f64>() / 1_000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }
}
