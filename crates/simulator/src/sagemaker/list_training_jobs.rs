//! Training jobs in `ListTrainingJobs`, whether created by Batch or directly.

use super::direct_training_jobs::DirectJob;
use super::{last_modified, statuses};
use crate::World;
use crate::batch_training_jobs::{self, Run};
use trainspotter_core::model::Timestamp;

/// An entry of the list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listed<'a> {
    /// Created by Batch.
    OfBatch(Run<'a>),
    /// Created through SageMaker's API.
    Direct(&'a str, &'a DirectJob, Timestamp),
}

/// All current training jobs.
pub(super) fn all(world: &World) -> Vec<Listed<'_>> {
    let of_batch = world.scheduler.jobs().flat_map(batch_training_jobs::runs).map(Listed::OfBatch);
    let direct = world.direct_jobs.iter().filter(|(_, job)| job.created_at <= world.now);
    of_batch.chain(direct.map(|(name, job)| Listed::Direct(name, job, world.now))).collect()
}

impl<'a> Listed<'a> {
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::OfBatch(run) => run.name.as_str(),
            Self::Direct(name, ..) => name,
        }
    }

    pub(super) fn created_at(self) -> Timestamp {
        match self {
            Self::OfBatch(run) => run.created_at(),
            Self::Direct(_, job, _) => job.created_at,
        }
    }

    pub(super) fn last_modified(self) -> Timestamp {
        match self {
            Self::OfBatch(run) => last_modified(run),
            Self::Direct(_, job, now) => job.last_modified(now),
        }
    }

    pub(super) fn ended_at(self) -> Option<Timestamp> {
        match self {
            Self::OfBatch(run) => run.ended_at(),
            Self::Direct(_, job, now) => job.ended_at(now),
        }
    }

    pub(super) fn statuses(self) -> (&'static str, &'static str) {
        match self {
            Self::OfBatch(run) => statuses(run),
            Self::Direct(_, job, now) => job.statuses(now),
        }
    }
}
