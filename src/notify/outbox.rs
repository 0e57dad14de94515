//! The outbox: one row per transition and receiver, written in the same transaction as the transition. PURE.
//!
//! Invariants, kept by the store:
//! - A row is settled (delivered or dead) once; until then it is retried under the same id.
//! - Per alert and receiver, rows are attempted in the order in which they were written.
//! - A resolve is only sent to a receiver that was notified of the firing; a firing is not dropped because its
//!   alert was resolved.
//! - When a receiver fails or recovers, the others are notified in the transaction that records it.

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

/// Id of a notification: 64 hex digits, the same over retries, restarts and replicas.
///
/// It is the `webhook-id` header, and the deduplication id of a FIFO topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(String);

impl NotificationId {
    /// Hashes the rule, alert, episode, kind of transition and receiver.
    pub fn of(transition: &Transition, receiver: &str) -> Self {
        Self::hashed(transition, receiver, None)
    }

    /// The id of the reminder with this number, from 1: each reminder is a separate notification.
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

    /// An id from the store.
    pub fn stored(id: String) -> Self {
        Self(id)
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A pseudo-random number in `0..1` that depends only on the id and the attempt: reproducible jitter.
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

/// Whether a notification is about the beginning or the end of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The alert fired.
    Fired,
    /// The alert was resolved, for any reason.
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
    /// Its id.
    pub id: NotificationId,
    /// Name of the receiver.
    pub receiver: String,
    /// The transition.
    pub transition: Transition,
    /// When the row was created; for an escalation, when it is to be sent.
    pub created_at: Timestamp,
    /// Send only while the alert is firing: escalations and reminders are pointless after its end.
    pub while_firing: bool,
    /// Number of attempts.
    pub attempts: u32,
    /// Earliest time of the next attempt.
    pub next_attempt_at: Timestamp,
    /// Error of the last attempt, without secrets.
    pub last_error: Option<String>,
    /// The receiver's id of the firing message, so that the resolve can update it; most receivers have none.
    pub reference: Option<String>,
    /// When it was first attempted, successful or not; `None` before.
    pub begun_at: Option<Timestamp>,
    /// Rows sent in the same message under this row's id, in order. They share its outcome.
    pub together: Vec<OutboxRow>,
    /// Its state.
    pub state: RowState,
}

impl OutboxRow {
    /// The alert.
    pub fn alert(&self) -> &AlertId {
        &self.transition.alert.id
    }

    /// The kind of transition.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.transition)
    }

    /// Beginning of the episode; the same for a firing and its resolve.
    pub fn episode(&self) -> Timestamp {
        episode(&self.transition)
    }
}

/// State of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// Not delivered yet.
    Pending,
    /// Accepted by the receiver.
    Delivered {
        /// When it was accepted.
        at: Timestamp,
    },
    /// Given up; kept for inspection.
    Dead {
        /// When it was given up.
        at: Timestamp,
    },
    /// Never sent: the episode began and ended while muted, or before the row was due.
    Muted {
        /// When this was decided.
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

/// Creates the rows for a tick's transitions, in order.
///
/// A receiver gets the firings that its matchers accept, and later those that another receiver escalates to it. A
/// resolve is created for every receiver, since labels may have changed in between: the store drops it for
/// receivers that did not get the firing.
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

/// Creates the due reminders of firing alerts. Their ids are stable, so the store skips known ones; it also skips a
/// reminder while an earlier notification of the firing is waiting.
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

/// Name of the pseudo-rule for alerts about failing receivers.
pub use trainspotter_core::rules::RECEIVER_IN_TROUBLE;

/// Id of the alert that a receiver is unreachable.
pub fn trouble_id(receiver: &str) -> AlertId {
    AlertId::of(RECEIVER_IN_TROUBLE, &BTreeMap::from([("receiver".to_owned(), receiver.to_owned())]))
}

/// Creates the rows for the other receivers about one that has been failing since `since`, or has recovered.
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

/// A new row without attempts.
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
    // An ended alert keeps its state, so the fallback is only for an inconsistent transition.
    transition.alert.state.fired_at().unwrap_or(transition.at)
}

/// The store interface of a notifier. Every call is durable when it returns.
pub trait Outbox: Clone + Send + Sync + 'static {
    /// Whether this replica may send now, so that no other does.
    fn may_send(&self) -> bool {
        true
    }

    /// The rows to send to a receiver now: at most `limit`, at most one per alert, longest due first.
    fn due(
        &self,
        receiver: &str,
        now: Timestamp,
        limit: usize,
    ) -> impl Future<Output = Result<Due, OutboxError>> + Send;

    /// The rows to send to a grouping receiver now, up to a limit and in order. Rows [bound to the message of
    /// another](Self::begin) come with it; later rows of the same alerts are left out.
    fn due_together(&self, receiver: &str, now: Timestamp) -> impl Future<Output = Result<Due, OutboxError>> + Send;

    /// Records that a row is about to be sent, and binds `others` to it: from then on they share its message in
    /// every attempt, and nothing holds it back.
    fn begin(
        &self,
        first: &NotificationId,
        others: &[NotificationId],
        now: Timestamp,
    ) -> impl Future<Output = Result<(), OutboxError>> + Send;

    /// The firing alerts.
    fn firing(&self) -> impl Future<Output = Result<Vec<Alert>, OutboxError>> + Send;

    /// Unresolved alerts that a receiver was notified of, in their current state, for receivers that expire alerts.
    fn notified(&self, _receiver: &str) -> impl Future<Output = Result<Vec<Alert>, OutboxError>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// Notifies `others` that a receiver is failing or, with `None`, that it has recovered.
    fn note_trouble(
        &self,
        _receiver: &str,
        _error: Option<&str>,
        _now: Timestamp,
        _others: &[String],
    ) -> impl Future<Output = Result<(), OutboxError>> + Send {
        std::future::ready(Ok(()))
    }

    /// Records the result of an attempt, for a row and those bound to it. `others` are the receivers to notify when
    /// this one fails or recovers.
    fn settle(
        &self,
        id: &NotificationId,
        verdict: Verdict,
        others: &[String],
    ) -> impl Future<Output = Result<(), OutboxError>> + Send;
}

/// Due rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// Rows to send now.
    pub rows: Vec<OutboxRow>,
    /// Ids of firings whose alert has been resolved meanwhile.
    pub ended: BTreeSet<NotificationId>,
    /// Active silences.
    pub silences: Vec<Silence>,
    /// When the next row becomes due; `None` if there is none.
    pub next_at: Option<Timestamp>,
}

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted by the receiver.
    Delivered {
        /// When it was accepted.
        at: Timestamp,
        /// The receiver's id of the message, if it has one.
        reference: Option<String>,
    },
    /// To be retried.
    Later {
        /// Time of the attempt.
        at: Timestamp,
        /// Earliest time of the next attempt.
        next_attempt_at: Timestamp,
        /// The error.
        error: String,
        /// Whether the receiver as a whole is failing, so that the others should be notified.
        trouble: bool,
        /// Whether rows that were sent together are now sent separately.
        apart: bool,
    },
    /// Held back without an attempt; to be checked again.
    Held {
        /// Earliest time of the next check.
        next_attempt_at: Timestamp,
        /// What holds it back.
        because: String,
    },
    /// Never to be sent, together with the resolve of the same episode: all of it happened while muted.
    Muted {
        /// When this was decided.
        at: Timestamp,
        /// What muted it.
        because: String,
    },
    /// Given up; for a firing, together with its resolve.
    Dead {
        /// When it was given up.
        at: Timestamp,
        /// The error.
        error: String,
    },
}

/// The store failed; contains the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxError(pub String);

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use the outbox: {}", self.0)
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
