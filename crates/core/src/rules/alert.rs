//! An alert instance and its transitions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::metrics::catalogue::Unit;
use crate::model::Timestamp;

/// Retention of ended alerts: links to an alert work for this long.
pub const KEEP_ENDED: Duration = Duration::from_secs(30 * 86_400);

/// Identity of an alert instance: a hash of its rule's name and label values, in hex. Measured values are not part of
/// it, so it is stable over ticks, restarts and replicas.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AlertId(String);

impl AlertId {
    /// Hashes a rule's name and an instance's `by` labels.
    pub fn of(rule: &str, by: &BTreeMap<String, String>) -> Self {
        let mut hash = Sha256::new();
        hash.update(rule);
        for (label, value) in by {
            hash.update([0]);
            hash.update(label);
            hash.update([1]);
            hash.update(value);
        }
        Self(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// As [`AlertId::of`], for a target that keeps its state apart from other targets.
    pub fn within(target: Option<&str>, rule: &str, by: &BTreeMap<String, String>) -> Self {
        match target {
            None => Self::of(rule, by),
            // No rule name contains this character.
            Some(target) => Self::of(&format!("{rule}\u{2}{target}"), by),
        }
    }

    /// Sixteen hex digits, like Alertmanager's fingerprint.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One instance of a rule: pending or firing, or just resolved in a transition. Inactive instances have no `Alert`.
///
/// Stored as a whole, so that evaluation continues after a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Identity.
    pub id: AlertId,
    /// The rule's name (`alert:` in the rule file).
    pub rule: String,
    /// Values of the rule's `by` labels: the subject of the alert.
    pub by: BTreeMap<String, String>,
    /// All labels: `alertname`, the `by` labels and the rule's own.
    pub labels: BTreeMap<String, String>,
    /// The rule's annotations, rendered with the latest values.
    pub annotations: BTreeMap<String, String>,
    /// State.
    pub state: AlertState,
    /// Whether the condition held in each of the latest evaluations, newest last; empty unless the rule has
    /// `datapoints`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<bool>,
    /// Latest value, in the metric's unit; `None` without data.
    pub value: Option<f64>,
    /// Value when it fired.
    pub value_at_fire: Option<f64>,
    /// Unit of the values and of the threshold.
    #[serde(default)]
    pub unit: Unit,
    /// Threshold that the value is compared with; `None` before the condition held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Index of the rule's condition to which the values, the unit and the threshold belong.
    #[serde(default)]
    pub condition: usize,
    /// ARN of the queue that the alert is about, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_arn: Option<String>,
    /// Last evaluation. Time without evaluation does not count as pending time.
    pub evaluated_at: Timestamp,
}

/// State of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AlertState {
    /// The condition holds, but not yet for the required time.
    Pending {
        /// When the condition began to hold.
        active_at: Timestamp,
    },
    /// The alert fires.
    Firing {
        /// When the condition began to hold.
        active_at: Timestamp,
        /// When it fired.
        fired_at: Timestamp,
        /// When the condition first stopped holding, while `keep_firing_for` runs.
        keep_since: Option<Timestamp>,
    },
}

impl AlertState {
    /// `pending` or `firing`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
        }
    }

    /// When the alert fired; `None` while pending.
    pub fn fired_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending { .. } => None,
            Self::Firing { fired_at, .. } => Some(fired_at),
        }
    }
}

/// A change of an alert that is notified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The alert after the change.
    pub alert: Alert,
    /// Kind of change.
    pub kind: TransitionKind,
    /// Time of the change.
    pub at: Timestamp,
}

/// Kind of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// The alert started to fire.
    Fired,
    /// The alert ended.
    Resolved(ResolveReason),
}

/// Why an alert ended. Failed polls are not listed: they end no alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolveReason {
    /// The condition no longer holds.
    Recovered,
    /// The subject of the alert no longer exists.
    Gone,
    /// There is no data, and the rule treats that as ok.
    NoData,
    /// The rule was removed or changed.
    RuleRemoved,
    /// The account and region are no longer watched.
    TargetRemoved,
}
