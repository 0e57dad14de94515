//! Translates rules for other systems, and notes what cannot be carried over.

mod cloudwatch;
mod prometheus;

pub use cloudwatch::{alarms, promql_alarms};
pub use prometheus::prometheus;

use crate::rules::rule::Rule;

/// Labels of a figure's origin, beside a metric's own labels.
const PLACE: [&str; 2] = ["account", "region"];

/// Rules that keep accounts and regions apart in the other system; the service itself does this automatically.
pub fn by_place(rules: &[Rule]) -> Vec<Rule> {
    let placed = |rule: &Rule| {
        let mut rule = rule.clone();
        rule.by.extend(PLACE.into_iter().filter(|label| !rule.by.contains(label)).collect::<Vec<_>>());
        rule
    };
    rules.iter().map(placed).collect()
}

/// Whether a rule distinguishes accounts or regions.
fn is_placed(rule: &Rule) -> bool {
    let of_clauses = rule.clauses.iter().flat_map(|clause| clause.filters.iter().map(|(label, _)| *label));
    rule.by.iter().copied().chain(of_clauses).any(|label| PLACE.contains(&label))
}

/// A translated rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Text of the file.
    pub text: String,
    /// Differences from the original, one line each, starting with the rule's name.
    pub notes: Vec<String>,
}
