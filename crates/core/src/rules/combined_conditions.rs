//! Combines the findings of a rule's conditions in three-valued logic: an unknown finding leaves the result unknown,
//! unless the others decide it.

use crate::rules::evaluation_context::Finding;
use crate::rules::rule::{Combine, NoData, Rule};

/// Result of a rule for an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The rule holds; messages show the value of this condition.
    Holds {
        /// Index of the condition.
        shown: usize,
    },
    /// The rule does not hold; messages show the value of this condition.
    DoesNotHold {
        /// Index of the condition.
        shown: usize,
    },
    /// The subject no longer exists.
    Gone,
    /// Not enough is known to decide.
    Unknown,
}

/// Combines each condition's finding for an instance; `firing` is whether its alert fires already.
pub(super) fn verdict(rule: &Rule, findings: &[Finding], firing: bool) -> Verdict {
    if findings.iter().all(|finding| *finding == Finding::Gone) {
        return Verdict::Gone;
    }
    let holds = |(finding, index): (&Finding, usize)| match finding {
        Finding::Value(value) => rule.clauses.get(index).map(|clause| clause.condition.holds(*value, firing)),
        // Another condition knows the instance, so this one merely has no data.
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
            (Some(shown), _) => Verdict::DoesNotHold { shown },
            (None, Some(_)) => Verdict::Unknown,
            (None, None) => Verdict::Holds { shown: 0 },
        },
        Combine::Any => match (first(Some(true)), first(None)) {
            (Some(shown), _) => Verdict::Holds { shown },
            (None, Some(_)) => Verdict::Unknown,
            (None, None) => Verdict::DoesNotHold { shown: 0 },
        },
    }
}

/// Value of the condition shown in messages; `None` without data.
pub(super) fn value_of(findings: &[Finding], index: usize) -> Option<f64> {
    match findings.get(index)? {
        Finding::Value(value) => Some(*value),
        Finding::NoData | Finding::Gone | Finding::Unknown => None,
    }
}
