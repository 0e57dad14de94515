//! Rules as other systems would have them: a pure translation, which says what it cannot carry over.

mod cloudwatch;
mod prometheus;

pub use cloudwatch::{alarms, promql_alarms};
pub use prometheus::prometheus;

/// A translated rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub text: String,
    /// What is different there, one line each, rules by name.
    pub notes: Vec<String>,
}
