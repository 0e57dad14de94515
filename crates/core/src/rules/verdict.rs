//! What the findings of a rule's conditions mean together. Three-valued: what is not known decides nothing, unless the rest decides
//! whatever it may be.

use crate::rules::context::Finding;
use crate::rules::rule::{Combine, NoData, Rule};

/// What a rule finds of an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The rule holds; messages have the value of this condition.
    Holds {
        /// Its index.
        shown: usize,
    },
    /// The rule does not hold; this condition shows it.
    Rests {
        /// Its index.
        shown: usize,
    },
    /// What the instance is about is not there any more.
    Gone,
    /// It may hold or not.
    Unknown,
}

/// Judges an instance by what each condition finds, given whether its alert fires already.
pub(super) fn verdict(rule: &Rule, findings: &[Finding], firing: bool) -> Verdict {
    if findings.iter().all(|finding| *finding == Finding::Gone) {
        return Verdict::Gone;
    }
    let holds = |(finding, index): (&Finding, usize)| match finding {
        Finding::Value(value) => rule.clauses.get(index).map(|clause| clause.condition.holds(*value, firing)),
        // Another condition knows the instance: what this one is about has no data.
        Finding::NoData | Finding::Gone => match rule.no_data {
            NoData::Keep => None,
            NoData::Ok => Some(false),
            NoData::Alert => Some(true),
        },
        Finding::Unknown => None,
    };
    let holds: Vec<Option<bool>> = findings.iter().zip(0..).map(holds).collect();
    let first = |wanted| holds.iter().position(|holds| *holds == wanted);
    match rule.combine {
        Combine::All => match (first(Some(false)), first(None)) {
            (Some(shown), _) => Verdict::Rests { shown },
            (None, Some(_)) => Verdict::Unknown,
            (None, None) => Verdict::Holds { shown: 0 },
        },
        Combine::Any => match (first(Some(true)), first(None)) {
            (Some(shown), _) => Verdict::Holds { shown },
            (None, Some(_)) => Verdict::Unknown,
            (None, None) => Verdict::Rests { shown: 0 },
        },
    }
}

/// The value of the condition that messages have; `None` if it has no data.
pub(super) fn value_of(findings: &[Finding], index: usize) -> Option<f64> {
    match findings.get(index)? {
        Finding::Value(value) => Some(*value),
        Finding::NoData | Finding::Gone | Finding::Unknown => None,
    }
}
