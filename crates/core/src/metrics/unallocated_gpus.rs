//! Causes of unallocated GPUs: divides the unallocated part of the waterfall by the demand that could not use it.

use std::collections::BTreeMap;

use crate::metrics::gpu_part_names::UnallocatedCause;
use crate::metrics::reasons::{Diagnosis, Reason};
use crate::model::Queue;

/// Divides the unallocated GPUs of a queue's environment by what the waiting jobs of all its queues wait for; the
/// parts sum to them.
pub(super) fn by_cause(
    mut unallocated: f64,
    queue: &Queue,
    queues: &[Queue],
    diagnosis: &[Diagnosis<'_>],
) -> BTreeMap<UnallocatedCause, f64> {
    let environment = |queue: &Queue| queue.environment.as_ref().map(|environment| environment.name.clone());
    let beside: Vec<_> = queues
        .iter()
        .filter(|other| other.name == queue.name || environment(other) == environment(queue))
        .map(|queue| &queue.name)
        .collect();
    let mut wanted: BTreeMap<UnallocatedCause, f64> = BTreeMap::new();
    for one in diagnosis.iter().filter(|one| beside.contains(&one.job.queue())) {
        *wanted.entry(cause(one.reason)).or_default() += one.gpus();
    }
    let part = |cause| {
        let wanted = wanted.get(&cause).copied().unwrap_or(0.0);
        let part = if cause == UnallocatedCause::NoDemand { unallocated } else { wanted.min(unallocated) };
        unallocated -= part;
        (cause, part)
    };
    UnallocatedCause::ALL.into_iter().map(part).collect()
}

fn cause(reason: Reason) -> UnallocatedCause {
    match reason {
        Reason::NoCapacity => UnallocatedCause::ProviderHasNone,
        Reason::Misconfigured
        | Reason::Disabled
        | Reason::ExceedsShare
        | Reason::ShareAtLimit
        | Reason::BorrowLimit
        | Reason::Reserved => UnallocatedCause::QuotaBound,
        Reason::Reclaiming | Reason::CapacityInUse | Reason::Behind => UnallocatedCause::ShapeDoesNotFit,
        Reason::Evaluating => UnallocatedCause::BeingPlaced,
    }
}
