//! Rules over the figures of each tick, and the life of the alerts they raise. PURE.
//!
//! # Invariants
//!
//! * Evaluation looks at one tick at a time and never back: what is not in the frame is not there.
//! * Three kinds of absence never mix: what an alert was about is gone (it ends), its source failed (nothing changes), there
//!   is no data (the rule's `no_data` decides).
//! * A fired alert is resolved before it can fire again; time in which nobody evaluated is not pending time.

mod active_alerts;
mod advice;
mod alert;
mod alert_lifecycle;
mod check;
mod context;
pub mod export;
mod file;
mod history;
mod index;
mod likely_reasons;
mod lint;
mod objective;
mod past_values;
mod rule;
pub mod rule_tests;
mod single_jobs;
mod template_limits;
#[cfg(test)]
mod tests;
mod threshold;
mod verdict;
mod wait_objective;
mod wording;

pub use crate::metrics::catalogue::Unit;
pub use active_alerts::ActiveAlerts;
pub use alert::{Alert, AlertId, AlertState, KEEP_ENDED, ResolveReason, Transition, TransitionKind};
pub use check::{RECEIVER_IN_TROUBLE, REPORT};
pub use lint::lint;
pub use past_values::PastValues;
pub use rule::{Condition, Datapoints, Fold, NoData, Rule, Stat};
pub use wait_objective::Objective;
pub use wording::of_value as in_words;

use crate::yaml::{self, Problems};

/// The labels that can distinguish alerts: those of all metrics.
pub fn usual_labels() -> std::collections::BTreeSet<&'static str> {
    let metrics = crate::metrics::catalogue::ALL.iter().copied().chain(crate::metrics::single_jobs::ALL);
    metrics.flat_map(|metric| metric.labels.iter().copied()).collect()
}

/// Keys of Prometheus' rule files, and what is said to somebody who writes them.
const FOREIGN: [(&str, &str); 3] = [
    (
        "groups",
        "`groups` begins a rule file of Prometheus, which is another format: here a file is a list `rules:`, and a rule names a \
         `metric` and its threshold (`metric: queue.wait.oldest`, `above: 30m`) instead of `expr`; docs/RULES.md",
    ),
    (
        "expr",
        "there are no expressions, as in Prometheus: write a `metric` and its threshold, such as `metric: queue.wait.oldest` and \
         `above: 30m`; docs/RULES.md",
    ),
    (
        "record",
        "there are no recording rules, as in Prometheus: a rule has `alert`, `metric` and a threshold; docs/RULES.md",
    ),
];

/// Reads and checks a rule file. `file` is the name that problems show.
///
/// # Errors
///
/// Every mistake in the text.
pub fn parse_rules(file: &str, text: &str) -> Result<Vec<Rule>, Problems> {
    check::check(&yaml::read_hinting(file, text, &FOREIGN)?)
}

/// The JSON Schema of a rule file, for editors.
pub fn rules_schema() -> serde_json::Value {
    schemars::schema_for!(file::RuleFile).to_value()
}
