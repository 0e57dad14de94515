//! Reports as notifications: one per period and receiver, with an id that is the same however often it is built.

use std::collections::BTreeMap;

use crate::notify::outbox::{OutboxRow, row};
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, AlertId, AlertState, REPORT, Transition, TransitionKind, Unit};

/// A report to send.
#[derive(Clone, Debug)]
pub struct Digest {
    /// Its name, as in `weekly by share`.
    pub name: String,
    /// Beginning of its period; part of its identity.
    pub from: Timestamp,
    /// Summary of a sentence or two.
    pub summary: String,
    /// The full text.
    pub text: String,
}

/// Creates the notification of a report for a receiver.
pub fn notification(digest: &Digest, receiver: &str, now: Timestamp) -> OutboxRow {
    let by = BTreeMap::from([("report".to_owned(), digest.name.clone())]);
    let mut labels = by.clone();
    labels.insert("alertname".to_owned(), REPORT.to_owned());
    labels.insert("severity".to_owned(), "info".to_owned());
    let annotations = BTreeMap::from([
        ("summary".to_owned(), digest.summary.clone()),
        ("description".to_owned(), digest.text.clone()),
    ]);
    let alert = Alert {
        id: AlertId::of(REPORT, &by),
        rule: REPORT.to_owned(),
        by,
        labels,
        annotations,
        // Each period is a separate episode.
        state: AlertState::Firing { active_at: digest.from, fired_at: digest.from, keep_since: None },
        recent: Vec::new(),
        value: None,
        value_at_fire: None,
        unit: Unit::Count,
        threshold: None,
        condition: 0,
        queue_arn: None,
        evaluated_at: now,
    };
    let at = digest.from;
    OutboxRow {
        created_at: now,
        next_attempt_at: now,
        ..row(&Transition { alert, kind: TransitionKind::Fired, at }, receiver, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::message::Message;

    #[test]
    fn a_report_is_one_notification_per_period_and_receiver_and_not_an_alert() {
        let digest = |from| Digest {
            name: "weekly by share".to_owned(),
            from: Timestamp::from_millis(from),
            summary: "12 jobs ended.".to_owned(),
            text: "Largest wastes\n  none".to_owned(),
        };
        let at = |now| Timestamp::from_millis(now);
        let first = notification(&digest(0), "ops", at(1_000));
        assert_eq!(first.id, notification(&digest(0), "ops", at(9_000)).id, "whenever it is made");
        assert_ne!(first.id, notification(&digest(604_800_000), "ops", at(1_000)).id);
        assert_ne!(first.id, notification(&digest(0), "others", at(1_000)).id);
        let message = Message::of(&first, None);
        assert_eq!(message.subject, "[REPORT] UsageReport: report weekly by share");
        assert!(
            message.text.contains("12 jobs ended.") && message.text.contains("Largest wastes\n  none"),
            "{}",
            message.text
        );
        assert!(!message.text.contains("firing"), "{}", message.text);
    }
}
