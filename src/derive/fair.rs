//! What fair shares are due: the capacity by the weights of the shares that have jobs now.

use crate::derive::Inputs;
use crate::ledger::Lane;
use crate::model::{Policy, Queue, ShareName, WeightedShare};

/// What one share identifier is due, and what it holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Due {
    pub(super) share: ShareName,
    /// GPUs it is due.
    pub(super) target: f64,
    /// GPUs its jobs hold.
    pub(super) used: f64,
}

/// The shares of a queue with fair shares that have jobs which have not ended; none for other queues.
///
/// A share with a quarter of the weight is due four times as much. What the policy's compute reservation keeps for shares without jobs,
/// that part of the capacity to the power of the number of those with jobs, is due to nobody. Batch works towards this over the decay
/// window of the policy, so that a deviation that comes and goes is none.
pub(super) fn due(queue: &Queue, capacity_gpus: Option<f64>, inputs: &Inputs<'_>) -> Vec<Due> {
    let (Policy::FairShare { shares, reservation, .. }, Some(capacity)) = (&queue.policy, capacity_gpus) else {
        return Vec::new();
    };
    let gpus = |lane: &Lane| -> f64 { lane.in_flight().filter_map(|id| inputs.ledger.job(id)?.gpus()).sum() };
    let with_jobs = inputs.ledger.lanes_of(&queue.name).filter_map(|(share, lane)| Some((share?.clone(), gpus(lane))));
    let with_jobs: Vec<(ShareName, f64)> = with_jobs.collect();
    let parts = |share: &ShareName| {
        let weight = WeightedShare::weight_of(share.as_str(), shares);
        if weight > 0.0 { 1.0 / weight } else { 0.0 }
    };
    let all: f64 = with_jobs.iter().map(|(share, _)| parts(share)).sum();
    let count = i32::try_from(with_jobs.len()).unwrap_or(i32::MAX);
    let kept = (f64::from((*reservation).min(99)) / 100.0).powi(count);
    let target = |share: &ShareName| if all > 0.0 { capacity * (1.0 - kept) * parts(share) / all } else { 0.0 };
    with_jobs.into_iter().map(|(share, used)| Due { target: target(&share), share, used }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::ledger::Ledger;
    use crate::model::{Capacity, JobSeen, JobStatus, Prices, Timestamp};

    fn job(id: &str, share: &str, status: JobStatus, instances: f64) -> JobSeen {
        JobSeen {
            id: id.into(),
            name: id.to_owned(),
            queue: "prod".into(),
            share: Some(share.into()),
            status,
            status_reason: None,
            created_at: Timestamp::default(),
            scheduled_at: None,
            started_at: None,
            stopped_at: None,
            demand: vec![Capacity::new("ml.p5.48xlarge", instances)].into(),
            training_job: None,
            odd_arn: None,
            terminated: false,
            details: None,
        }
    }

    #[test]
    fn shares_with_jobs_are_due_the_capacity_by_their_weights_and_a_reservation_is_kept() {
        let mut ledger = Ledger::default();
        for (id, share, status, instances) in [
            ("1", "team-a", JobStatus::Running, 3.0),
            ("2", "team-a", JobStatus::Runnable, 8.0),
            ("3", "solo", JobStatus::Runnable, 1.0),
            ("4", "gone", JobStatus::Succeeded, 1.0),
        ] {
            ledger.observe(job(id, share, status, instances), Timestamp::from_millis(1));
        }
        let of = |policy: Policy, capacity: Option<f64>| {
            let queue = Queue {
                name: "prod".into(),
                arn: String::new(),
                enabled: true,
                status_reason: None,
                has_time_limit: true,
                policy,
                environment: None,
            };
            let inputs = Inputs {
                now: Timestamp::from_millis(2),
                queues: std::slice::from_ref(&queue),
                ledger: &ledger,
                utilisation: &BTreeMap::new(),
                fronts: &BTreeMap::new(),
                prices: &Prices::default(),
                sources: &[],
            };
            let due = due(&queue, capacity, &inputs);
            due.into_iter().map(|due| (due.share.to_string(), due.target, due.used)).collect::<Vec<_>>()
        };
        let fair = |reservation| {
            let shares = vec![WeightedShare { share: "team-*".into(), weight: 0.25 }];
            Policy::FairShare { shares, decay: Duration::ZERO, reservation }
        };
        let rows = |solo: f64, team: f64| vec![("solo".to_owned(), solo, 0.0), ("team-a".to_owned(), team, 24.0)];
        assert_eq!(of(fair(0), Some(40.0)), rows(8.0, 32.0));
        assert_eq!(of(fair(50), Some(40.0)), rows(6.0, 24.0), "a quarter is kept while two are active");
        assert_eq!(of(fair(0), None), []);
        assert_eq!(of(Policy::Fifo, Some(40.0)), []);
    }
}
