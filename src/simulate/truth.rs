//! What really happened, for comparison with what a service derived: `/_sim/truth`.
//!
//! snake_case, times in RFC 3339, durations in seconds. Words and formulas are those of the service's own API: a share
//! is empty where a queue has none, a quantile `p` is `sorted[floor(p * n)]`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::model::Accelerators;
use crate::model::JobStatus;
use crate::model::QueueName;
use crate::model::ShareName;
use crate::model::accelerators_of;
use crate::scheduler::Job;
use crate::scheduler::Phase;
use crate::scheduler::QueueSetup;
use crate::simulate::World;

/// Jobs per page.
const MAX_JOBS: usize = 10_000;
const DEFAULT_JOBS: usize = 1_000;

/// The figures of now.
pub(super) fn figures(world: &World, speed: f64) -> Value {
    let scheduler = &world.scheduler;
    let preemptions: u32 = scheduler.jobs().map(|job| job.preemptions).sum();
    let failures = scheduler.jobs().filter(|job| job.status == JobStatus::Failed).count();
    json!({
        "now": world.now,
        "speed": speed,
        "seed": world.seed,
        "queues": scheduler.queues().map(|queue| of_queue(world, queue)).collect::<Vec<_>>(),
        "shares": scheduler.queues().flat_map(|queue| shares(world, queue)).collect::<Vec<_>>(),
        "waits": waits(world),
        "waterfall": scheduler.queues().map(|queue| waterfall(world, queue)).collect::<Vec<_>>(),
        "preemptions": preemptions,
        "failures": failures,
        "published": {
            "cloudwatch_data": world.metrics.data_accepted(),
            "sns_messages": world.topics.published(),
        },
    })
}

/// How many jobs of a queue are in each state, zeros included.
pub(super) fn jobs_by_state(world: &World, queue: &QueueName) -> BTreeMap<String, usize> {
    let count = |status: &JobStatus| world.scheduler.count(queue, status);
    JobStatus::KNOWN.iter().map(|status| (status.as_str().to_lowercase(), count(status))).collect()
}

fn of_queue(world: &World, queue: &QueueSetup) -> Value {
    json!({"queue": queue.name, "policy": queue.policy.as_str(), "jobs": jobs_by_state(world, &queue.name)})
}

fn shares(world: &World, queue: &QueueSetup) -> Vec<Value> {
    let row = |usage: crate::scheduler::Usage| {
        json!({
            "queue": queue.name,
            "share": usage.share.as_ref().map_or("", ShareName::as_str),
            "unit": usage.unit,
            "quota": usage.quota,
            "used": usage.used,
            "borrowed": usage.borrowed,
            "lent": usage.lent,
        })
    };
    world.scheduler.usage(&queue.name).into_iter().map(row).collect()
}

/// First waits, created to first dispatched, of all jobs that were dispatched.
fn waits(world: &World) -> Vec<Value> {
    let mut waits: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for job in world.scheduler.jobs() {
        if let Some(wait) = job.first_wait() {
            let share = job.share.as_ref().map_or("", ShareName::as_str);
            waits.entry((job.queue.as_str(), share)).or_default().push(wait.as_secs_f64());
        }
    }
    let row = |((queue, share), mut seconds): ((&str, &str), Vec<f64>)| {
        seconds.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^53 jobs")]
        let count = seconds.len() as f64;
        let quantile = |p: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= p < 1")]
            let place = (p * count).floor() as usize;
            seconds.get(place)
        };
        json!({
            "queue": queue,
            "share": share,
            "count": seconds.len(),
            "mean_seconds": seconds.iter().sum::<f64>() / count,
            "p50_seconds": quantile(0.5),
            "p90_seconds": quantile(0.9),
            "p95_seconds": quantile(0.95),
            "p99_seconds": quantile(0.99),
            "max_seconds": seconds.last(),
        })
    };
    waits.into_iter().map(row).collect()
}

/// Where a queue's GPUs are: a running job keeps its utilisation's part of them busy. Parts sum to the capacity, which
/// is null where limits count instances of any type.
fn waterfall(world: &World, queue: &QueueSetup) -> Value {
    let mut parts = BTreeMap::from(
        ["unallocated", "scheduled", "starting", "running_busy", "running_idle", "running_unknown"]
            .map(|part| (part, 0.0)),
    );
    let mut add = |part, gpus: f64| *parts.entry(part).or_default() += gpus;
    let mut held = 0.0;
    for status in [JobStatus::Scheduled, JobStatus::Starting, JobStatus::Running] {
        for job in world.scheduler.jobs_in(&queue.name, &status) {
            let gpus = gpus(job);
            held += gpus;
            match job.spans.last().map(|span| span.phase) {
                Some(Phase::Scheduled) => add("scheduled", gpus),
                Some(Phase::Starting) => add("starting", gpus),
                Some(Phase::Running) => {
                    add("running_busy", gpus * job.utilisation);
                    add("running_idle", gpus * (1.0 - job.utilisation));
                }
                Some(Phase::Waiting) | None => {}
            }
        }
    }
    let limits = world
        .scheduler
        .environment(&queue.environment)
        .map(|environment| environment.limits.as_slice())
        .unwrap_or_default();
    let capacity = (!limits.iter().any(|limit| limit.unit.is_any()))
        .then(|| limits.iter().map(|limit| limit.quantity * gpus_of(&limit.unit)).sum::<f64>());
    add("unallocated", capacity.map_or(0.0, |capacity| (capacity - held).max(0.0)));
    json!({"queue": queue.name, "capacity_gpus": capacity, "parts": parts})
}

fn gpus(job: &Job) -> f64 {
    job.demand.iter().map(|demand| demand.quantity * gpus_of(&demand.unit)).sum()
}

fn gpus_of(unit: &crate::model::InstanceType) -> f64 {
    accelerators_of(unit).map_or(0.0, |accelerators| f64::from(Accelerators::gpus(accelerators)))
}

/// Which page of jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    /// The number of the last job already seen.
    after: Option<usize>,
    limit: Option<usize>,
}

/// A page of jobs with all that happened to them, oldest first; `next` is the `after` of the next page.
pub(super) fn jobs(world: &World, page: &Page) -> Value {
    let limit = page.limit.unwrap_or(DEFAULT_JOBS).clamp(1, MAX_JOBS);
    let first = page.after.map_or(0, |after| after.saturating_add(1));
    let jobs: Vec<_> = world.scheduler.jobs().skip(first).take(limit).collect();
    let next = jobs.last().map(|job| job.number).filter(|_| jobs.len() == limit);
    json!({"now": world.now, "jobs": jobs.into_iter().map(history).collect::<Vec<_>>(), "next": next})
}

fn history(job: &Job) -> Value {
    let spans: Vec<_> = job
        .spans
        .iter()
        .map(|span| {
            let phase = match span.phase {
                Phase::Waiting => "waiting",
                Phase::Scheduled => "scheduled",
                Phase::Starting => "starting",
                Phase::Running => "running",
            };
            json!({"phase": phase, "attempt": span.attempt, "from": span.from, "to": span.to})
        })
        .collect();
    json!({
        "number": job.number,
        "id": job.id,
        "name": job.name,
        "queue": job.queue,
        "share": job.share,
        "priority": job.priority,
        "status": job.status.as_str().to_lowercase(),
        "status_reason": job.status_reason,
        "demand": &*job.demand,
        "gpus": gpus(job),
        "utilisation": job.utilisation,
        "created_at": job.created_at,
        "first_scheduled_at": job.first_scheduled_at,
        "first_wait_seconds": job.first_wait().map(|wait| wait.as_secs_f64()),
        "stopped_at": job.stopped_at,
        "preemptions": job.preemptions,
        "terminated": job.terminated,
        "training_job": job.training_job,
        "tags": &*job.tags,
        "spans": spans,
    })
}
