//! The alert about a receiver that fails, for all other receivers.

use std::collections::BTreeMap;

use crate::notify::outbox::{Kind, OutboxRow, row};
use crate::runbooks;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, AlertId, AlertState, ResolveReason, Transition, TransitionKind};

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
