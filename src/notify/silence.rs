//! Silences: suppress notifications of matching alerts for a set time. PURE.
//!
//! A silence holds back firings. Resolves of firings sent before it began are still sent. A firing that outlasts
//! the silence is sent when the silence ends; one that is resolved before is never sent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use trainspotter_core::model::Matchers;
use trainspotter_core::model::Timestamp;

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Assigned by the store, from 1.
    pub id: i64,
    /// Matching alerts. Never empty.
    pub matchers: Matchers,
    /// Begin.
    pub starts_at: Timestamp,
    /// End.
    pub ends_at: Timestamp,
    /// Who added it.
    pub author: String,
    /// The reason.
    pub comment: String,
}

impl Silence {
    /// Whether it is active at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether it matches these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matchers.matches(labels)
    }
}
