//! Identity of a notification, the same over retries, restarts and replicas.

use std::fmt;

use sha2::{Digest, Sha256};

use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Transition, TransitionKind};

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
    pub(super) fn of_reminder(transition: &Transition, receiver: &str, number: u32) -> Self {
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

/// Beginning of the episode of a transition.
pub(super) fn episode(transition: &Transition) -> Timestamp {
    // An ended alert keeps its state, so the fallback is only for an inconsistent transition.
    transition.alert.state.fired_at().unwrap_or(transition.at)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use trainspotter_core::rules::{Alert, AlertId, AlertState, ResolveReason};

    pub(in crate::notify::outbox) fn transition(fired_at: i64, kind: TransitionKind) -> Transition {
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
