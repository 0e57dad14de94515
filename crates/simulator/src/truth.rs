//! Ground truth for comparison with what a service derived: `/_sim/truth`.
//!
//! snake_case, times in RFC 3339, durations in seconds. Terms and formulas are those of the service's API: the share
//! is empty for queues without shares, and a quantile `p` is `sorted[floor(p * n)]`.

mod over_time;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::World;
use crate::gpu;
use trainspotter_core::model::Accelerators;
use trainspotter_core::model::JobStatus;
use trainspotter_core::model::QueueName;
use trainspotter_core::model::ShareName;
use trainspotter_core::model::accelerators_of;
use trainspotter_core::scheduler::Job;
use trainspotter_core::scheduler::Phase;
use trainspotter_core::scheduler::QueueSetup;
use trainspotter_core::scheduler::Scheduler;
use trainspotter_core::scheduler::WaitReason;

pub(crate) use over_time::OverTime;

/// Jobs per page.
const MAX_JOBS: usize = 10_000;
const DEFAULT_JOBS: usize = 1_000;

/// The current figures.
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
        "gpu_seconds": scheduler.queues().map(|queue| gpu_seconds(world, queue)).collect::<Vec<_>>(),
        "exact_to_seconds": world.over_time.exact_to_seconds(),
        "unallocated": world.over_time.unallocated(),
        "lending": world.over_time.lending(),
        "preemptions": preemptions,
        "preempted": preempted(world),
        "failures": failures,
        "published": {
            "cloudwatch_data": world.metrics.data_accepted(),
            "sns_messages": world.topics.published(),
        },
    })
}

/// Number of a queue's jobs by status, including zeros.
pub(super) fn jobs_by_state(world: &World, queue: &QueueName) -> BTreeMap<String, usize> {
    let count = |status: &JobStatus| world.scheduler.count(queue, status);
    JobStatus::KNOWN.iter().map(|status| (status.as_str().to_lowercase(), count(status))).collect()
}

fn of_queue(world: &World, queue: &QueueSetup) -> Value {
    json!({"queue": queue.name, "policy": queue.policy.as_str(), "jobs": jobs_by_state(world, &queue.name)})
}

fn shares(world: &World, queue: &QueueSetup) -> Vec<Value> {
    let row = |usage: trainspotter_core::scheduler::Usage| {
        json!({
            "queue": queue.name,
            "share": usage.share.as_ref().map_or("", ShareName::as_str),
            "unit": usage.unit,
            "quota": usage.quota,
            "used": usage.used,
            "borrowed": usage.borrowed,
            "lent": usage.lent,
            "excess": usage.excess,
        })
    };
    world.scheduler.usage(&queue.name).into_iter().map(row).collect()
}

/// First waits, from creation to first dispatch, of all dispatched jobs.
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

/// Parts of a waterfall, which sum to the capacity; capacity outside all spans of jobs is unallocated.
const PARTS: [&str; 6] = ["unallocated", "scheduled", "starting", "running_busy", "running_idle", "running_unknown"];

/// Current use of a queue's GPUs: of a running job's GPUs, the mean fraction of its shape is busy. The capacity is
/// null if limits count instances of any type.
fn waterfall(world: &World, queue: &QueueSetup) -> Value {
    let in_flight = [JobStatus::Scheduled, JobStatus::Starting, JobStatus::Running];
    let jobs = in_flight.iter().flat_map(|status| world.scheduler.jobs_in(&queue.name, status));
    let mut parts = Parts::default();
    for job in jobs {
        if let Some(span) = job.spans.last() {
            parts.add(world, job, span.phase, 1.0);
        }
    }
    let capacity = capacity_gpus(&world.scheduler, queue);
    json!({"queue": queue.name, "capacity_gpus": capacity, "parts": parts.out_of(capacity)})
}

/// As [`waterfall`], in GPU-seconds since the beginning.
fn gpu_seconds(world: &World, queue: &QueueSetup) -> Value {
    let mut parts = Parts::default();
    for job in world.scheduler.jobs_of(&queue.name, ..) {
        for span in &job.spans {
            let seconds = span.to.unwrap_or(world.now).seconds_since(span.from);
            parts.add(world, job, span.phase, seconds);
        }
    }
    let capacity = world.over_time.capacity(&queue.name);
    json!({
        "queue": queue.name,
        "since": world.over_time.began(),
        "capacity": capacity,
        "parts": parts.out_of(capacity),
    })
}

/// Amounts by part of the waterfall, without unallocated capacity.
#[derive(Default)]
struct Parts(BTreeMap<&'static str, f64>);

impl Parts {
    /// Adds a job's capacity in a phase, times a weight.
    fn add(&mut self, world: &World, job: &Job, phase: Phase, weight: f64) {
        let held = gpus(job) * weight;
        let mut add = |part, amount: f64| *self.0.entry(part).or_default() += amount;
        match phase {
            Phase::Waiting => {}
            Phase::Scheduled => add("scheduled", held),
            Phase::Starting => add("starting", held),
            Phase::Running if held > 0.0 => {
                let busy = gpu::mean_use(job, gpu::shape_of(world, job));
                add("running_busy", held * busy);
                add("running_idle", held * (1.0 - busy));
            }
            Phase::Running => {}
        }
    }

    /// All parts, including zeros. Without a capacity, unallocated is unknown.
    fn out_of(&self, capacity: Option<f64>) -> BTreeMap<&'static str, f64> {
        let held: f64 = self.0.values().sum();
        let mut parts: BTreeMap<_, _> = PARTS.map(|part| (part, self.0.get(part).copied().unwrap_or(0.0))).into();
        parts.insert("unallocated", capacity.map_or(0.0, |capacity| (capacity - held).max(0.0)));
        parts
    }
}

/// Work lost to preemption by queue and share: run time of the preempted attempts times their instances and GPUs.
fn preempted(world: &World) -> Vec<Value> {
    let mut lost: BTreeMap<(&str, &str), (u64, f64, f64)> = BTreeMap::new();
    for job in world.scheduler.jobs() {
        for attempt in &job.preempted {
            let share = job.share.as_ref().map_or("", ShareName::as_str);
            let ran = attempt.started_at.zip(attempt.stopped_at).map_or(0.0, |(from, to)| to.seconds_since(from));
            let (count, instance_seconds, gpu_seconds) = lost.entry((job.queue.as_str(), share)).or_default();
            *count += 1;
            *instance_seconds += ran * f64::from(gpu::hosts(job));
            *gpu_seconds += ran * gpus(job);
        }
    }
    let row = |((queue, share), (count, instance_seconds, gpu_seconds))| {
        json!({
            "queue": queue,
            "share": share,
            "count": count,
            "lost_instance_seconds": instance_seconds,
            "lost_gpu_seconds": gpu_seconds,
        })
    };
    lost.into_iter().map(row).collect()
}

/// GPUs of a queue's environment; `None` if limits count instances of any type.
fn capacity_gpus(scheduler: &Scheduler, queue: &QueueSetup) -> Option<f64> {
    let limits = scheduler.environment(&queue.environment).map_or([].as_slice(), |found| found.limits.as_slice());
    (!limits.iter().any(|limit| limit.unit.is_any()))
        .then(|| limits.iter().map(|limit| limit.quantity * gpus_of(&limit.unit)).sum())
}

fn gpus(job: &Job) -> f64 {
    job.demand.iter().map(|demand| demand.quantity * gpus_of(&demand.unit)).sum()
}

fn gpus_of(unit: &trainspotter_core::model::InstanceType) -> f64 {
    accelerators_of(unit).map_or(0.0, |accelerators| f64::from(Accelerators::gpus(accelerators)))
}

/// Page of jobs.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    /// Number of the last job of the previous page.
    after: Option<usize>,
    limit: Option<usize>,
}

/// A page of jobs with their full history, oldest first; `next` is the `after` of the next page.
pub(super) fn jobs(world: &World, page: &Page) -> Value {
    let limit = page.limit.unwrap_or(DEFAULT_JOBS).clamp(1, MAX_JOBS);
    let first = page.after.map_or(0, |after| after.saturating_add(1));
    let jobs: Vec<_> = world.scheduler.jobs().skip(first).take(limit).collect();
    let next = jobs.last().map(|job| job.number).filter(|_| jobs.len() == limit);
    json!({"now": world.now, "jobs": jobs.into_iter().map(|job| history(world, job)).collect::<Vec<_>>(), "next": next})
}

fn history(world: &World, job: &Job) -> Value {
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
        "obstacle": world.scheduler.wait_reason(&job.id).map(WaitReason::as_str),
        "demand": &*job.demand,
        "gpus": gpus(job),
        "gpu_shape": gpu::shape_of(world, job),
        "utilisation": gpu::mean_use(job, gpu::shape_of(world, job)),
        "created_at": job.created_at,
        "first_scheduled_at": job.first_scheduled_at,
        "first_wait_seconds": job.first_wait().map(|wait| wait.as_secs_f64()),
        "stopped_at": job.stopped_at,
        "preemptions": job.preemptions,
        "capacity_failures": job.capacity_failures,
        "terminated": job.terminated,
        "training_job": job.training_job,
        "tags": &*job.tags,
        "spans": spans,
    })
}
