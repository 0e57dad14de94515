//! Evaluates alert rules on the figures of each tick, and tracks the lifecycle of their alerts. PURE.
//!
//! # Invariants
//!
//! * Evaluation sees one frame at a time and never looks back: a series that is not in the frame does not exist.
//! * Three kinds of absence are kept apart: the subject of an alert is gone (the alert ends), its source failed
//!   (nothing changes), there is no data (the rule's `no_data` decides).
//! * A fired alert is resolved before it can fire again. Time without evaluation does not count as pending time.

mod active_alerts;
mod alert;
mod alert_lifecycle;
mod alert_value_replay;
mod annotations;
mod burn_rate;
mod check;
mod combined_conditions;
mod evaluation_context;
pub mod export;
mod file;
mod job_annotations;
mod lint;
mod objective;
mod parse_threshold;
mod queue_annotations;
mod rule;
pub mod rule_tests;
mod selected_series;
mod template_limits;
#[cfg(test)]
mod tests;
mod wanted_jobs;
mod window_history;

pub use crate::metrics::catalogue::Unit;
pub use active_alerts::ActiveAlerts;
pub use alert::{Alert, AlertId, AlertState, KEEP_ENDED, ResolveReason, Transition, TransitionKind};
pub use alert_value_replay::PastValues;
pub use annotations::of_value as in_words;
pub use check::{RECEIVER_IN_TROUBLE, REPORT};
pub use lint::lint;
pub use objective::Objective;
pub use rule::{Condition, Datapoints, Fold, NoData, Rule, Stat};

use crate::yaml::{self, Problems};

/// Labels that can distinguish alerts: the labels of all metrics.
pub fn usual_labels() -> std::collections::BTreeSet<&'static str> {
    let metrics = crate::metrics::catalogue::ALL.iter().copied().chain(crate::metrics::single_jobs::ALL);
    metrics.flat_map(|metric| metric.labels.iter().copied()).collect()
}

/// Keys of Prometheus rule files, and the hint given for each.
const FOREIGN: [(&str, &str); 3] = [
    (
        "groups",
        "`groups` is the format of Prometheus rule files, which is not supported: a rule file has a list `rules:`, and a rule has a \
         `metric` and its threshold (`metric: queue.wait.oldest`, `above: 30m`) instead of `expr`; docs/RULES.md",
    ),
    (
        "expr",
        "Prometheus expressions are not supported: use a `metric` and its threshold, such as `metric: queue.wait.oldest` and \
         `above: 30m`; docs/RULES.md",
    ),
    (
        "record",
        "Prometheus recording rules are not supported: a rule has `alert`, `metric` and a threshold; docs/RULES.md",
    ),
];

/// Parses and checks a rule file. `file` is the name shown in errors.
///
/// # Errors
///
/// Every error in the text.
pub fn parse_rules(file: &str, text: &str) -> Result<Vec<Rule>, Problems> {
    check::check(&yaml::read_hinting(file, text, &FOREIGN)?)
}

/// The JSON Schema of a rule file, for editors.
pub fn rules_schema() -> serde_json::Value {
    schemars::schema_for!(file::RuleFile).to_value()
}
