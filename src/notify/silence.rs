//! Silences: for a set time, alerts with certain labels notify nobody. Pure.
//!
//! A silence holds firings back. Of what was sent before it began, the resolve passes. A firing that lasts longer than the
//! silence is sent when it ends; one that does not is never sent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::Serialize;

use trainspotter_core::model::Matchers;
use trainspotter_core::model::Timestamp;

/// Alerts that nobody is notified of for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Given by the store, counting from 1.
    pub id: i64,
    /// Which alerts are meant. Never empty.
    pub matchers: Matchers,
    /// From when.
    pub starts_at: Timestamp,
    /// Until when.
    pub ends_at: Timestamp,
    /// Who wants it.
    pub author: String,
    /// Why.
    pub comment: String,
}

impl Silence {
    /// Whether it is in force at a moment.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether it is about an alert with these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matchers.matches(labels)
    }
}
