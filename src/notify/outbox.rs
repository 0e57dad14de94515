//! The outbox: one row per transition and receiver, written in the same transaction as the transition. PURE.
//!
//! Invariants, kept by the store:
//! - A row is settled (delivered or dead) once; until then it is retried under the same id.
//! - Per alert and receiver, rows are attempted in the order in which they were written.
//! - A resolve is only sent to a receiver that was notified of the firing; a firing is not dropped because its
//!   alert was resolved.
//! - When a receiver fails or recovers, the others are notified in the transaction that records it.

mod notification_id;
mod receiver_trouble_alert;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::config::Receiver;
use crate::notify::routing;
use crate::notify::silence::Silence;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, AlertId, Transition, TransitionKind};

use notification_id::episode;
pub use notification_id::{Kind, NotificationId};
pub use receiver_trouble_alert::{RECEIVER_IN_TROUBLE, trouble, trouble_id};

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
    use super::notification_id::tests::transition;
    use super::*;
    use crate::config::Channel;
    use trainspotter_core::rules::ResolveReason;

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
}
