//! Alerts as created by rules.

use std::collections::BTreeMap;

use trainspotter_core::metrics::catalogue::Unit;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::{Alert, AlertId, AlertState};

/// An alert of a rule that has fired since `fired_at`. It has only the identifying labels, and no annotations.
pub fn firing(rule: &str, by: BTreeMap<String, String>, fired_at: Timestamp) -> Alert {
    Alert {
        id: AlertId::of(rule, &by),
        rule: rule.to_owned(),
        labels: by.clone(),
        by,
        annotations: BTreeMap::new(),
        state: AlertState::Firing { active_at: fired_at, fired_at, keep_since: None },
        recent: Vec::new(),
        value: Some(3.0),
        value_at_fire: Some(3.0),
        unit: Unit::Count,
        threshold: None,
        condition: 0,
        queue_arn: None,
        evaluated_at: fired_at,
    }
}
