//! Rules as other systems would have them: a pure translation, which says what it cannot carry over.

mod cloudwatch;
mod prometheus;

pub use cloudwatch::{alarms, promql_alarms};
pub use prometheus::prometheus;

use crate::rules::rule::Rule;

/// What says where a figure is from, beside a metric's own labels.
const PLACE: [&str; 2] = ["account", "region"];

/// Rules that keep accounts and regions apart in another system, as the service does by itself.
pub fn by_place(rules: &[Rule]) -> Vec<Rule> {
    let placed = |rule: &Rule| {
        let mut rule = rule.clone();
        rule.by.extend(PLACE.into_iter().filter(|label| !rule.by.contains(label)).collect::<Vec<_>>());
        rule
    };
    rules.iter().map(placed).collect()
}

/// Whether a rule tells accounts or regions apart.
fn is_placed(rule: &Rule) -> bool {
    let of_clauses = rule.clauses.iter().flat_map(|clause| clause.filters.iter().map(|(label, _)| *label));
    rule.by.iter().copied().chain(of_clauses).any(|label| PLACE.contains(&label))
}

/// A translated rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub text: String,
    /// What is different there, one line each, rules by name.
    pub notes: Vec<String>,
}
