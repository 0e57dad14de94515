//! `GetJobQueueSnapshot`: the front of a queue and its usage, in the units that AWS's examples show per policy.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::batch::queue;
use trainspotter_core::model::InstanceType;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::Policy;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::QueueSetup;

/// Maximum jobs at the front.
const MAX_FRONT: usize = 100;
/// Maximum shares by usage.
const MAX_SHARES: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Snapshot {
    job_queue: String,
}

type Used = BTreeMap<InstanceType, f64>;

pub(super) fn get_job_queue_snapshot(world: &mut World, input: &Snapshot) -> Result<Value, ApiError> {
    let queue = queue(world, &input.job_queue)?;
    if let Some((at, shown)) = world.snapshots.get(&queue.name)
        && world.now.since(*at) < world.quirks.snapshot_age
    {
        return Ok(shown.clone());
    }
    let (name, shown) = (queue.name.clone(), snapshot(world, queue));
    world.snapshots.insert(name, (world.now, shown.clone()));
    Ok(shown)
}

fn snapshot(world: &World, queue: &QueueSetup) -> Value {
    let updated_at = world.now.millis();
    let front = world.scheduler.front(&queue.name, MAX_FRONT);
    let by_type = !matches!(queue.policy, Policy::FairShare { .. });
    let (total, by_share) = used(world, &queue.name, by_type);
    let active = by_share.len();
    let top = |name: &str| {
        let mut shares: Vec<_> = by_share.iter().collect();
        shares.sort_by(|a, b| b.1.values().sum::<f64>().total_cmp(&a.1.values().sum()));
        let entry = |(share, used): (&ShareName, &Used)| json!({name: share, "capacityUsage": usage(used)});
        shares.into_iter().take(MAX_SHARES).map(entry).collect::<Vec<_>>()
    };
    let (fair_share, quota_share, fronts) = match &queue.policy {
        Policy::Fifo => (None, None, None),
        Policy::FairShare { .. } => {
            (Some(json!({"activeShareCount": active, "topCapacityUtilization": top("shareIdentifier")})), None, None)
        }
        Policy::QuotaShares(shares) => {
            let everyone = world.scheduler.front(&queue.name, usize::MAX);
            let first = |share: &ShareName| everyone.iter().find(|job| job.share.as_ref() == Some(share));
            let fronts: BTreeMap<_, Vec<_>> = shares
                .iter()
                .map(|share| (share.name.as_str(), first(&share.name).map(|job| position(job)).into_iter().collect()))
                .collect();
            (
                None,
                Some(json!({"topCapacityUtilization": top("quotaShareName")})),
                Some(json!({"quotaShares": fronts, "lastUpdatedAt": updated_at})),
            )
        }
    };
    json!({
        "frontOfQueue": {"jobs": front.into_iter().map(position).collect::<Vec<_>>(), "lastUpdatedAt": updated_at},
        "frontOfQuotaShares": fronts,
        "queueUtilization": {
            "totalCapacityUsage": usage(&total),
            "fairshareUtilization": fair_share,
            "quotaShareUtilization": quota_share,
            "lastUpdatedAt": updated_at,
        },
    })
}

/// Capacity held by the dispatched jobs of a queue, in total and by share. Jobs in flight never exceed the capacity.
fn used(world: &World, queue: &QueueName, by_type: bool) -> (Used, BTreeMap<ShareName, Used>) {
    let (mut total, mut by_share) = (Used::new(), BTreeMap::<_, Used>::new());
    for status in [JobStatus::Scheduled, JobStatus::Starting, JobStatus::Running] {
        for job in world.scheduler.jobs_in(queue, &status) {
            for demand in job.demand.iter() {
                let unit = if by_type { demand.unit.clone() } else { InstanceType::ANY.into() };
                *total.entry(unit.clone()).or_default() += demand.quantity;
                if let Some(share) = &job.share {
                    *by_share.entry(share.clone()).or_default().entry(unit).or_default() += demand.quantity;
                }
            }
        }
    }
    (total, by_share)
}

fn usage(used: &Used) -> Vec<Value> {
    used.iter().map(|(unit, quantity)| json!({"capacityUnit": unit, "quantity": quantity})).collect()
}

/// The scheduler does not record when a job moved up, so this is when it began to wait.
fn position(job: &Job) -> Value {
    let since = job.spans.last().map_or(job.created_at, |span| span.from);
    json!({"jobArn": arn::job(&job.id), "earliestTimeAtPosition": since.millis()})
}
