//! Why a job waits, as the API shows it.

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
    /// Whether the job cannot start until somebody changes it or the set-up.
    pub permanent: bool,
    /// Place among the waiting jobs of its share, from 1; null in lists, and beyond the first 10,000 jobs.
    pub position_in_share: Option<usize>,
    /// The first place in its share that it may have: the place itself where it is known. Null in lists.
    pub position_in_share_at_least: Option<usize>,
    /// Place in the whole queue, from 1, as AWS reports it; null beyond the first jobs, which are all it reports.
    pub position_in_queue: Option<usize>,
    /// The first place in the whole queue that it may have: the place itself where it is known. Null in lists.
    pub position_in_queue_at_least: Option<usize>,
    /// The last place in the whole queue that it may have; null in lists.
    pub position_in_queue_at_most: Option<usize>,
    /// GPUs that the jobs before it in its share ask for; null in lists, and beyond the first 10,000 jobs.
    pub gpus_ahead: Option<f64>,
    /// The numbers behind the reason.
    pub evidence: EvidenceView,
    /// Seconds waited by reason, as far as this wait was watched.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub waited_seconds: BTreeMap<&'static str, f64>,
    /// All of it as a short story, a sentence or two a line; the last line says what to do.
    pub story: Vec<String>,
}

/// The numbers behind a reason, in instances of `unit`; null where something does not apply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct EvidenceView {
    /// What is counted.
    #[schema(value_type = Option<String>)]
    pub unit: Option<InstanceType>,
    /// What the job asks for; null if that is not known.
    pub needs: Option<f64>,
    /// What the service environment allows in all.
    pub capacity: Option<f64>,
    /// What of that no job holds.
    pub free: Option<f64>,
    /// What the share's jobs hold.
    pub share_uses: Option<f64>,
    /// What the policy's compute reservation keeps for share identifiers without jobs; null where it has none.
    pub reserved: Option<f64>,
    /// The share's own quota.
    pub share_quota: Option<f64>,
    /// The most the share may use, borrowed instances included; null where nothing limits it.
    pub share_most: Option<f64>,
    /// What the lending shares together leave unused.
    pub lendable: Option<f64>,
}

impl From<Why> for WhyView {
    fn from(why: Why) -> Self {
        let evidence = why.evidence.clone();
        Self {
            reason: why.reason.as_str(),
            permanent: why.reason.is_permanent(),
            position_in_share: why.standing.and_then(|at| at.in_share),
            position_in_share_at_least: why.standing.map(|at| at.in_share_at_least),
            position_in_queue: why.standing.and_then(|at| at.in_queue),
            position_in_queue_at_least: why.standing.map(|at| at.queue_bounds.0),
            position_in_queue_at_most: why.standing.map(|at| at.queue_bounds.1),
            gpus_ahead: why.standing.and_then(|at| at.gpus_ahead),
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
