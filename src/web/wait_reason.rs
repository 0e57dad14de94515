//! Response body: why a job waits, with the evidence.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use trainspotter_core::metrics::Why;
use trainspotter_core::model::InstanceType;

/// Why a job waits, with the numbers that prove it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WhyView {
    /// One of `misconfigured`, `disabled`, `exceeds_share`, `share_at_limit`, `borrow_limit`, `reclaiming`,
    /// `no_capacity`, `capacity_in_use`, `reserved`, `behind` and `evaluating`: the first that holds, in this order.
    #[schema(value_type = String)]
    pub reason: &'static str,
    /// Whether the job cannot start until it or the set-up is changed.
    pub permanent: bool,
    /// Position among the waiting jobs of its share, from 1; null in lists, and beyond the first 10,000 jobs.
    pub position_in_share: Option<usize>,
    /// Lower bound of its position in its share: the position itself if known. Null in lists.
    pub position_in_share_at_least: Option<usize>,
    /// Position in the whole queue, from 1, as reported by AWS; null beyond the first jobs, which are all it
    /// reports.
    pub position_in_queue: Option<usize>,
    /// Lower bound of its position in the whole queue: the position itself if known. Null in lists.
    pub position_in_queue_at_least: Option<usize>,
    /// Upper bound of its position in the whole queue; null in lists.
    pub position_in_queue_at_most: Option<usize>,
    /// GPUs requested by the jobs ahead of it in its share; null in lists, and beyond the first 10,000 jobs.
    pub gpus_ahead: Option<f64>,
    /// The numbers behind the reason.
    pub evidence: EvidenceView,
    /// Seconds waited by reason, as far as observed.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub waited_seconds: BTreeMap<&'static str, f64>,
    /// Explanation in lines of one or two sentences; the last line says what to do.
    pub story: Vec<String>,
}

/// The numbers behind a reason, in instances of `unit`; null if not applicable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct EvidenceView {
    /// The unit of the numbers.
    #[schema(value_type = Option<String>)]
    pub unit: Option<InstanceType>,
    /// Demand of the job; null if unknown.
    pub needs: Option<f64>,
    /// Total capacity of the service environment.
    pub capacity: Option<f64>,
    /// Capacity not held by any job.
    pub free: Option<f64>,
    /// Held by the share's jobs.
    pub share_uses: Option<f64>,
    /// Kept for share identifiers without jobs by the policy's compute reservation; null without one.
    pub reserved: Option<f64>,
    /// Quota of the share.
    pub share_quota: Option<f64>,
    /// Maximum usage of the share, including borrowed instances; null if unlimited.
    pub share_most: Option<f64>,
    /// Total unused by the lending shares.
    pub lendable: Option<f64>,
}

impl From<Why> for WhyView {
    fn from(why: Why) -> Self {
        let evidence = why.evidence.clone();
        Self {
            reason: why.reason.as_str(),
            permanent: why.reason.is_permanent(),
            position_in_share: why.position.and_then(|at| at.in_share),
            position_in_share_at_least: why.position.map(|at| at.in_share_at_least),
            position_in_queue: why.position.and_then(|at| at.in_queue),
            position_in_queue_at_least: why.position.map(|at| at.queue_bounds.0),
            position_in_queue_at_most: why.position.map(|at| at.queue_bounds.1),
            gpus_ahead: why.position.and_then(|at| at.gpus_ahead),
            evidence: EvidenceView {
                unit: evidence.unit,
                needs: evidence.needs,
                capacity: evidence.capacity,
                free: evidence.free,
                reserved: evidence.reserved,
                share_uses: evidence.share_uses,
                share_quota: evidence.share_quota,
                share_most: evidence.share_most,
                lendable: evidence.lendable,
            },
            waited_seconds: why.waited.iter().map(|(reason, seconds)| (reason.as_str(), *seconds)).collect(),
            story: why.story(),
        }
    }
}
