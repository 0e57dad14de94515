//! An alert that nobody had: to try receivers with, and for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::notify::outbox::NotificationId;
use crate::notify::outbox::OutboxRow;
use crate::notify::outbox::RowState;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::AlertId;
use trainspotter_core::rules::AlertState;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

/// What `trainspotter notify test` sends to a receiver: a firing that says that it is a test.
pub fn test(receiver: &str, now: Timestamp) -> OutboxRow {
    let mut transition = transition(TransitionKind::Fired);
    transition.at = now;
    let alert = &mut transition.alert;
    alert.rule = "TestNotification".to_owned();
    alert.id = AlertId::of(&alert.rule, &alert.by);
    alert.labels.insert("alertname".to_owned(), alert.rule.clone());
    alert.labels.insert("severity".to_owned(), "info".to_owned());
    alert.annotations = BTreeMap::from([
        ("summary".to_owned(), "This is a test of the receiver. Nothing is wrong.".to_owned()),
        ("threshold".to_owned(), "30m".to_owned()),
    ]);
    alert.state = AlertState::Firing { active_at: now, fired_at: now, keep_since: None };
    alert.evaluated_at = now;
    of(transition, receiver)
}

/// A long wait of the share `research`, for the receiver `oncall`.
#[cfg(test)]
pub(crate) fn row(kind: TransitionKind) -> OutboxRow {
    of(transition(kind), "oncall")
}

/// The row that tells a receiver of a transition.
fn of(transition: Transition, receiver: &str) -> OutboxRow {
    let at = transition.at;
    OutboxRow {
        id: NotificationId::of(&transition, receiver),
        receiver: receiver.to_owned(),
        transition,
        created_at: at,
        while_firing: false,
        attempts: 0,
        next_attempt_at: at,
        last_error: None,
        reference: None,
        begun_at: None,
        together: Vec::new(),
        state: RowState::Pending,
    }
}

fn transition(kind: TransitionKind) -> Transition {
    let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let by = text(&[("queue", "prod-a"), ("share", "research")]);
    let fired_at = Timestamp::from_millis(1_700_000_000_000);
    let (value, at) = match kind {
        TransitionKind::Fired => (2_520.0, fired_at),
        TransitionKind::Resolved(_) => (61.25, fired_at + Duration::from_secs(3_780)),
    };
    let mut labels = by.clone();
    labels.extend(text(&[("alertname", "ShareWaitsTooLong"), ("severity", "page")]));
    let alert = Alert {
        id: AlertId::of("ShareWaitsTooLong", &by),
        rule: "ShareWaitsTooLong".to_owned(),
        by,
        labels,
        annotations: text(&[
            ("summary", "research on prod-a waits 42m (p95)"),
            ("description", "Jobs of this share wait longer than agreed."),
            ("threshold", "30m"),
            ("runbook_url", "https://runbooks.example/waits"),
        ]),
        state: AlertState::Firing { active_at: fired_at - Duration::from_secs(600), fired_at, keep_since: None },
        recent: Vec::new(),
        value: Some(value),
        value_at_fire: Some(2_520.0),
        unit: trainspotter_core::rules::Unit::Seconds,
        threshold: Some(1_800.0),
        condition: 0,
        queue_arn: Some("arn:aws:batch:eu-west-1:123456789012:job-queue/prod-a".to_owned()),
        evaluated_at: at,
    };
    Transition { alert, kind, at }
}
