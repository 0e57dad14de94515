//! Labels whose values are known before anything is observed: a filter over them that takes none of these selects nothing.

use crate::jobs::FailureCategory;
use crate::metrics::catalogue::{ClosedLabel, Label, Metric};
use crate::metrics::gpu_parts::{Part, UnallocatedCause};
use crate::metrics::lending::{self, CHECKPOINTS};
use crate::metrics::{Reason, misconfiguration};
use crate::model::{JobStatus, ReservedKind, Source, matches_glob};
use crate::yaml::nearest;

/// Labels that always have a value. A share or an owner may have none.
const NEVER_EMPTY: [Label; 7] = ["job", "kind", "limit", "queue", "receiver", "rule", "sink"];

/// Whether a filter can take a value of a label.
///
/// # Errors
///
/// The values that there are.
pub(in crate::rules) fn check(metric: &Metric, label: Label, glob: &str) -> Result<(), String> {
    if glob.is_empty() && NEVER_EMPTY.contains(&label) {
        return Err(format!("`{label}` of `{metric}` is never empty"));
    }
    let known = of(metric, label);
    if known.is_empty() || known.iter().any(|value| matches_glob(glob, value)) {
        return Ok(());
    }
    let hint = nearest(glob, known.iter().map(String::as_str))
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("`{label}` of `{metric}` is never `{glob}`; it is one of {}{hint}", known.join(", ")))
}

/// All values of a label; none where they come from outside.
fn of(metric: &Metric, label: Label) -> Vec<String> {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let Some(closed) = metric.closed_label(label) else { return Vec::new() };
    match closed {
        ClosedLabel::JobState => JobStatus::KNOWN.iter().map(|status| status.as_str().to_ascii_lowercase()).collect(),
        ClosedLabel::AlertState => owned(&["pending", "firing"]),
        ClosedLabel::ReservedState => owned(&["in_use", "idle", "unavailable"]),
        ClosedLabel::ReservedKind => owned(&[ReservedKind::TrainingPlan.as_str(), ReservedKind::WarmPool.as_str()]),
        ClosedLabel::JobOutcome => owned(&["succeeded", "failed", "vanished"]),
        ClosedLabel::FailureCategory => {
            FailureCategory::ALL.iter().map(|category| category.as_str().to_owned()).collect()
        }
        ClosedLabel::WaitReason => Reason::ALL.iter().map(|reason| reason.as_str().to_owned()).collect(),
        ClosedLabel::SetupProblem => {
            misconfiguration::Problem::ALL.iter().map(|problem| problem.as_str().to_owned()).collect()
        }
        ClosedLabel::Percentile => owned(&["p50", "p90", "p95", "p99"]),
        ClosedLabel::Source => Source::ALL.iter().map(|source| source.as_str().to_owned()).collect(),
        ClosedLabel::SharePart => {
            owned(&[lending::OWN, lending::LENT, lending::IDLE, lending::IDLE_WHILE_WAITING, lending::BORROWED])
        }
        ClosedLabel::GpuPart => owned(&Part::ALL.map(Part::as_str)),
        ClosedLabel::UnallocatedCause => owned(&UnallocatedCause::ALL.map(UnallocatedCause::as_str)),
        ClosedLabel::Checkpoints => CHECKPOINTS.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}
