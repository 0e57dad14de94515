//! How the GPUs of jobs are used, minute by minute and host by host: the shapes that a service must tell apart.
//!
//! A job's shape is what `/_sim/control` gave it; else what its payload's hyperparameter `simulated_gpu_shape` says; else
//! drawn by the shapes' parts; else `busy`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::World;
use trainspotter_core::model::Accelerators;
use trainspotter_core::model::JobId;
use trainspotter_core::model::accelerators_of;
use trainspotter_core::scheduler::Job;

/// The hyperparameter that names a shape.
const HYPERPARAMETER: &str = "simulated_gpu_shape";
/// How late a datapoint can be read after the end of its minute, unless told otherwise. AWS gives no figure.
pub(super) const DELAY: Duration = Duration::from_secs(60);
/// Noise around a mean, as a fraction of it.
const NOISE: f64 = 0.05;
/// What an idle GPU still shows.
const IDLE: f64 = 0.005;
/// GPU memory in use by a job that computes, by one that has loaded its model, and by one that has nothing.
const MEMORY_USED: f64 = 0.7;
const MEMORY_LOADED: f64 = 0.9;
const MEMORY_EMPTY: f64 = 0.01;
/// A bursty job computes for the first minutes of each period.
const PERIOD_MINUTES: i64 = 10;
const BURST_MINUTES: i64 = 4;
const BURST: f64 = 0.95;

/// How a job uses its GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// All hosts compute, at the job's own utilisation.
    #[default]
    Busy,
    /// No host computes, and no GPU memory is used.
    Idle,
    /// One host computes nothing, all others do. The only host of a small job is that one.
    DeadHost,
    /// No host computes, but GPU memory is full: a model is loaded and nobody uses it.
    MemoryLoaded,
    /// Four minutes of computing, then six of nothing.
    Bursty,
}

/// What decides the shapes of jobs and when their metrics can be read.
#[derive(Clone, Debug)]
pub struct Gpus {
    /// How late a minute can be read after its end.
    pub delay: Duration,
    /// The part of the jobs that has each shape, 0 to 1; what is left is busy.
    pub parts: BTreeMap<Shape, f64>,
    chosen: BTreeMap<JobId, Shape>,
}

impl Default for Gpus {
    fn default() -> Self {
        Self { delay: DELAY, parts: BTreeMap::new(), chosen: BTreeMap::new() }
    }
}

impl Gpus {
    /// Of jobs that have such shapes in such parts, read with such a delay.
    pub fn new(delay: Duration, parts: BTreeMap<Shape, f64>) -> Self {
        Self { delay, parts, chosen: BTreeMap::new() }
    }

    /// Gives a job a shape for good.
    pub(super) fn reshape(&mut self, job: JobId, shape: Shape) {
        self.chosen.insert(job, shape);
    }

    fn drawn(&self, job: &Job) -> Shape {
        let mut left = (hash(job.id.as_str(), 0) + 1.0) / 2.0;
        for (shape, part) in &self.parts {
            left -= part;
            if left < 0.0 {
                return *shape;
            }
        }
        Shape::Busy
    }
}

impl Shape {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(text.trim_matches('"').to_owned())).ok()
    }
}

/// The fractions of its GPUs' time and memory that a host uses in a minute, 0 to 1 each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Use {
    pub compute: f64,
    pub memory: f64,
}

/// A job's shape.
pub(super) fn shape_of(world: &World, job: &Job) -> Shape {
    if let Some(shape) = world.gpus.chosen.get(&job.id) {
        return *shape;
    }
    let named = world.submitted.get(&job.id).and_then(|submitted| {
        let payload: serde_json::Value = serde_json::from_str(&submitted.payload).ok()?;
        Shape::parse(payload.get("HyperParameters")?.get(HYPERPARAMETER)?.as_str()?)
    });
    named.unwrap_or_else(|| world.gpus.drawn(job))
}

/// What host `number` (from 1) of `hosts` uses in a minute since the epoch.
pub(super) fn use_of(job: &Job, shape: Shape, number: u32, hosts: u32, minute: i64) -> Use {
    let idle = Use { compute: IDLE, memory: MEMORY_EMPTY };
    let busy = Use { compute: job.utilisation, memory: MEMORY_USED };
    let steady = match shape {
        Shape::Busy => busy,
        Shape::Idle => idle,
        Shape::DeadHost if number == hosts => idle,
        Shape::DeadHost => busy,
        Shape::MemoryLoaded => Use { compute: IDLE, memory: MEMORY_LOADED },
        Shape::Bursty if minute.rem_euclid(PERIOD_MINUTES) < BURST_MINUTES => Use { compute: BURST, ..busy },
        Shape::Bursty => Use { compute: IDLE, ..busy },
    };
    let noise = 1.0 + NOISE * hash(&format!("{}/{number}", job.id), minute);
    Use { compute: (steady.compute * noise).clamp(0.0, 1.0), memory: (steady.memory * noise).clamp(0.0, 1.0) }
}

/// The mean fraction of its GPUs' time that a job of a shape uses while it runs.
#[expect(clippy::cast_precision_loss, reason = "minutes are few")]
pub(super) fn mean_use(job: &Job, shape: Shape) -> f64 {
    let hosts = f64::from(hosts(job).max(1));
    match shape {
        Shape::Busy => job.utilisation,
        Shape::Idle | Shape::MemoryLoaded => IDLE,
        Shape::DeadHost => (job.utilisation * (hosts - 1.0) + IDLE) / hosts,
        Shape::Bursty => {
            let on = BURST_MINUTES as f64 / PERIOD_MINUTES as f64;
            on * BURST + (1.0 - on) * IDLE
        }
    }
}

/// Hosts of a job: its instances, whatever their type.
pub(super) fn hosts(job: &Job) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; counts are small")]
    let count = job.demand.iter().map(|capacity| capacity.quantity.ceil()).sum::<f64>() as u32;
    count
}

/// `None` where hosts have no GPU or their type is unknown: no such metrics then.
pub(super) fn gpus_per_host(job: &Job) -> Option<u32> {
    let first = job.demand.first()?;
    accelerators_of(&first.unit).map(Accelerators::gpus).filter(|gpus| *gpus > 0)
}

/// Between -1 and 1, the same for the same text and number (FNV-1a, then its high bits).
fn hash(text: &str, number: i64) -> f64 {
    let hash = text
        .bytes()
        .chain(number.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let unit = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    2.0 * unit - 1.0
}
