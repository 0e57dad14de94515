//! Where a job is while a description of it is awaited: lists show only where it is not, or that it has ended.

use crate::model::JobStatus;

/// Where a job is, beside what its latest answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ListedState {
    /// Where that answer has it.
    #[default]
    Unchanged,
    /// Complete lists no longer show it there, and only a description says where it is.
    Missing,
    /// A list shows that it has succeeded, and a description is awaited.
    Succeeded,
    /// A list shows that it has failed, likewise.
    Failed,
}

impl ListedState {
    /// Those of a job that a list shows to have ended.
    pub(super) fn ended(status: &JobStatus) -> Self {
        if *status == JobStatus::Succeeded { Self::Succeeded } else { Self::Failed }
    }

    pub(super) fn has_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}
