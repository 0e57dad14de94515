//! Labels whose values are known in advance: a filter that matches none of them selects nothing.

use crate::metrics::catalogue::{ClosedLabel, Label, Metric};
use crate::metrics::closed_values;
use crate::model::matches_glob;
use crate::yaml::nearest;

/// Labels that always have a value. Shares and owners may be empty.
const NEVER_EMPTY: [Label; 9] = ["account", "job", "kind", "limit", "queue", "receiver", "region", "rule", "sink"];

/// States of ended jobs, which no metric of current jobs has.
const ENDS: [&str; 2] = ["succeeded", "failed"];

/// Checks that a filter can match a value of a label.
///
/// # Errors
///
/// The possible values.
pub(in crate::rules) fn check(metric: &Metric, label: Label, glob: &str) -> Result<(), String> {
    if glob.is_empty() && NEVER_EMPTY.contains(&label) {
        return Err(format!("`{label}` of `{metric}` is never empty"));
    }
    let known = closed_values(metric, label);
    if known.is_empty() || known.iter().any(|value| matches_glob(glob, value)) {
        return Ok(());
    }
    let is_end = |end: &&str| glob.eq_ignore_ascii_case(end);
    let hint = if metric.closed_label(label) == Some(ClosedLabel::JobState) && ENDS.iter().any(is_end) {
        "; jobs that have ended are counted by `job.ended`, with the label `outcome`".to_owned()
    } else {
        nearest(glob, known.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
    };
    Err(format!("`{label}` of `{metric}` is never `{glob}`; it is one of {}{hint}", known.join(", ")))
}
