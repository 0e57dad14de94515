//! Labels with a fixed set of values.

use crate::jobs::FailureCategory;
use crate::metrics::catalogue::{ClosedLabel, Label, Metric};
use crate::metrics::gpu_part_names::{Part, UnallocatedCause};
use crate::metrics::lost_work::CHECKPOINTS;
use crate::metrics::quota_share_use;
use crate::metrics::{Reason, misconfiguration};
use crate::model::{JobStatus, ReservedKind, Source};

/// All values of a closed label; empty for others.
pub fn closed_values(metric: &Metric, label: Label) -> Vec<String> {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let Some(closed) = metric.closed_label(label) else { return Vec::new() };
    match closed {
        ClosedLabel::JobState => {
            let open = JobStatus::KNOWN.iter().filter(|status| !status.is_ended());
            open.map(|status| status.as_str().to_ascii_lowercase()).collect()
        }
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
        ClosedLabel::SharePart => owned(&[
            quota_share_use::OWN,
            quota_share_use::LENT,
            quota_share_use::IDLE,
            quota_share_use::IDLE_WHILE_WAITING,
            quota_share_use::BORROWED,
        ]),
        ClosedLabel::GpuPart => owned(&Part::ALL.map(Part::as_str)),
        ClosedLabel::UnallocatedCause => owned(&UnallocatedCause::ALL.map(UnallocatedCause::as_str)),
        ClosedLabel::Checkpoints => CHECKPOINTS.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}
