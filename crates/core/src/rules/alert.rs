//! An alert instance and what happens to it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::metrics::catalogue::Unit;
use crate::model::Timestamp;

/// How long it is kept that an alert fired and ended: for so long a link to it leads somewhere.
pub const KEEP_ENDED: Duration = Duration::from_secs(30 * 86_400);

/// Identity of an alert instance: a hash of its rule's name and its label values, in hex. A measured value never
/// enters it, so it is the same over ticks, restarts and replicas.
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

    /// The same for alerts of a target whose state is apart from that of others.
    pub fn within(target: Option<&str>, rule: &str, by: &BTreeMap<String, String>) -> Self {
        match target {
            None => Self::of(rule, by),
            // No rule has a name with this character.
            Some(target) => Self::of(&format!("{rule}\u{2}{target}"), by),
        }
    }

    /// Sixteen hex digits, as Alertmanager's fingerprint.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One instance of a rule: pending, firing, or just resolved. What is inactive does not exist.
///
/// Stored whole, so that a restart continues where it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Identity.
    pub id: AlertId,
    /// The rule's name (`alert:` in the rule file).
    pub rule: String,
    /// The values of the rule's `by` labels: what the alert is about.
    pub by: BTreeMap<String, String>,
    /// All labels: `alertname`, the `by` labels and the rule's own.
    pub labels: BTreeMap<String, String>,
    /// The rule's annotations, rendered with the latest values.
    pub annotations: BTreeMap<String, String>,
    /// Where it stands.
    pub state: AlertState,
    /// Whether the condition held in each of the last evaluations, newest last; empty unless the rule has `datapoints`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<bool>,
    /// The latest value, in the metric's unit; `None` when there was no data.
    pub value: Option<f64>,
    /// The value when it fired.
    pub value_at_fire: Option<f64>,
    /// The unit of the values and of the threshold.
    #[serde(default)]
    pub unit: Unit,
    /// What the value is compared with; `None` before the condition held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Which of the rule's conditions the values, the unit and the threshold are of: its index.
    #[serde(default)]
    pub condition: usize,
    /// The ARN of the queue that the alert is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_arn: Option<String>,
    /// When it was last evaluated: time without evaluation does not count as pending time.
    pub evaluated_at: Timestamp,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum AlertState {
    /// The condition holds, but not yet for as long as the rule asks.
    Pending {
        /// Since when it has held.
        active_at: Timestamp,
    },
    /// The alert is out.
    Firing {
        /// Since when the condition has held.
        active_at: Timestamp,
        /// When it fired.
        fired_at: Timestamp,
        /// When the condition was first seen to be over, while `keep_firing_for` runs.
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

    /// When the alert fired, if it did.
    pub fn fired_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending { .. } => None,
            Self::Firing { fired_at, .. } => Some(fired_at),
        }
    }
}

/// Something people are notified of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The alert after it.
    pub alert: Alert,
    /// What happened.
    pub kind: TransitionKind,
    /// When.
    pub at: Timestamp,
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// It began to fire.
    Fired,
    /// It ended.
    Resolved(ResolveReason),
}

/// Why an alert ended. Failed polls are not here: they end nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolveReason {
    /// The condition no longer holds.
    Recovered,
    /// What the alert was about is no longer there.
    Gone,
    /// There is no data, and the rule says that this is fine.
    NoData,
    /// The rule was removed or changed into another.
    RuleRemoved,
    /// The account and region are not watched any more.
    TargetRemoved,
}
