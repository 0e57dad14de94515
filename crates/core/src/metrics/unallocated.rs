//! Why GPUs are unallocated: the part of the waterfall that no job holds, divided by the demand that could not take it.

use std::collections::BTreeMap;

use crate::metrics::frame::Waterfall;
use crate::metrics::reasons::{Diagnosis, Reason};
use crate::metrics::waterfall;
use crate::model::Queue;

/// Jobs want them, but AWS has no instances to give.
pub const PROVIDER_HAS_NONE: &str = "provider_has_none";
/// Jobs want them, but quotas, borrow limits, a compute reservation or the set-up forbid it.
pub const QUOTA_BOUND: &str = "quota_bound";
/// Jobs want them, but larger ones than fit stand first, or what is free has another shape.
pub const SHAPE_DOES_NOT_FIT: &str = "shape_does_not_fit";
/// Jobs want them and are about to get them.
pub const BEING_PLACED: &str = "being_placed";
/// Nobody wants them.
pub const NO_DEMAND: &str = "no_demand";

/// All causes, in the order in which demand is matched with what is free.
pub const CAUSES: [&str; 5] = [PROVIDER_HAS_NONE, QUOTA_BOUND, SHAPE_DOES_NOT_FIT, BEING_PLACED, NO_DEMAND];

/// Divides the unallocated GPUs of a queue's environment by what its waiting jobs (of all queues of that environment) wait
/// for; the parts sum to the unallocated GPUs. Empty where the capacity is not known in GPUs.
pub(super) fn of_queue(
    queue: &Queue,
    queues: &[Queue],
    row: &Waterfall,
    diagnosis: &[Diagnosis<'_>],
) -> BTreeMap<&'static str, f64> {
    let Some(mut left) = row.capacity_gpus.and(row.parts.get(waterfall::UNALLOCATED).copied()) else {
        return BTreeMap::new();
    };
    let environment = |queue: &Queue| queue.environment.as_ref().map(|environment| environment.name.clone());
    let beside: Vec<_> = queues
        .iter()
        .filter(|other| other.name == queue.name || environment(other) == environment(queue))
        .map(|queue| &queue.name)
        .collect();
    let mut wanted: BTreeMap<&'static str, f64> = BTreeMap::new();
    for one in diagnosis.iter().filter(|one| beside.contains(&one.job.queue())) {
        *wanted.entry(cause(one.reason)).or_default() += one.gpus();
    }
    CAUSES
        .into_iter()
        .map(|cause| {
            let wanted = wanted.get(cause).copied().unwrap_or(0.0);
            let part = if cause == NO_DEMAND { left } else { wanted.min(left) };
            left -= part;
            (cause, part)
        })
        .collect()
}

fn cause(reason: Reason) -> &'static str {
    match reason {
        Reason::NoCapacity => PROVIDER_HAS_NONE,
        Reason::Misconfigured
        | Reason::Disabled
        | Reason::ExceedsShare
        | Reason::ShareAtLimit
        | Reason::BorrowLimit
        | Reason::Reserved => QUOTA_BOUND,
        Reason::Reclaiming | Reason::CapacityInUse | Reason::Behind => SHAPE_DOES_NOT_FIT,
        Reason::Evaluating => BEING_PLACED,
    }
}
