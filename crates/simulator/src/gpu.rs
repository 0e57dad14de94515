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
use trainspotter_core::model::Capacity;
use trainspotter_core::model::JobId;
use trainspotter_core::model::accelerators_of;
use trainspotter_core::scheduler::Job;

/// The hyperparameter that names a shape.
const HYPERPARAMETER: &str = "simulated_gpu_shape";
/// How late a datapoint can be read after the end of its minute, by default. AWS gives no figure.
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

/// What host `number` (from 1) uses in a minute since the epoch.
pub(super) fn use_of(job: &Job, shape: Shape, number: u32, minute: i64) -> Use {
    let idle = Use { compute: IDLE, memory: MEMORY_EMPTY };
    let busy = Use { compute: job.utilisation, memory: MEMORY_USED };
    let steady = match shape {
        Shape::Busy => busy,
        Shape::Idle => idle,
        Shape::DeadHost if Some(number) == last_with_gpus(&job.demand).map(|(last, _)| last) => idle,
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
    match shape {
        Shape::Busy => job.utilisation,
        Shape::Idle | Shape::MemoryLoaded => IDLE,
        Shape::DeadHost => {
            let gpus = |capacity: &Capacity| capacity.quantity.ceil() * f64::from(gpus_of(capacity).unwrap_or(0));
            let all: f64 = job.demand.iter().map(gpus).sum();
            let dead = last_with_gpus(&job.demand).map_or(0.0, |(_, gpus)| f64::from(gpus));
            if all > 0.0 { (job.utilisation * (all - dead) + IDLE * dead) / all } else { job.utilisation }
        }
        Shape::Bursty => {
            let on = BURST_MINUTES as f64 / PERIOD_MINUTES as f64;
            on * BURST + (1.0 - on) * IDLE
        }
    }
}

/// Hosts of a job: its instances, whatever their type.
pub(super) fn hosts(job: &Job) -> u32 {
    job.demand.iter().map(count).fold(0, u32::saturating_add)
}

/// GPUs of a host by its number, from 1: hosts are numbered over the instance groups in their order. `None` where the host has no GPU,
/// or its type is unknown: no such metrics then.
pub(super) fn gpus_of_host(demand: &[Capacity], number: u32) -> Option<u32> {
    let mut last = 0.0;
    let of_host = |capacity: &&Capacity| {
        last += capacity.quantity.ceil();
        f64::from(number) <= last
    };
    demand.iter().find(of_host).filter(|_| number > 0).and_then(gpus_of)
}

/// The last host that has GPUs, and how many.
fn last_with_gpus(demand: &[Capacity]) -> Option<(u32, u32)> {
    let mut last = 0_u32;
    let last_of = |capacity: &Capacity| {
        last = last.saturating_add(count(capacity));
        Some((last, gpus_of(capacity)?))
    };
    demand.iter().map(last_of).fold(None, |found, next| next.or(found))
}

fn gpus_of(capacity: &Capacity) -> Option<u32> {
    accelerators_of(&capacity.unit).map(Accelerators::gpus).filter(|gpus| *gpus > 0)
}

fn count(capacity: &Capacity) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates; counts are small")]
    let count = capacity.quantity.ceil() as u32;
    count
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_numbered_over_the_groups_and_have_the_gpus_of_their_own_type() {
        let of = |demand: &[(&str, f64)]| -> Vec<Capacity> {
            demand.iter().map(|(unit, count)| Capacity::new(*unit, *count)).collect()
        };
        let mixed = of(&[("ml.p5.48xlarge", 1.0), ("ml.m5.large", 2.0), ("ml.g5.xlarge", 1.0), ("ml.m5.large", 1.0)]);
        let hosts: Vec<_> = (0..=6).map(|number| gpus_of_host(&mixed, number)).collect();
        assert_eq!(hosts, [None, Some(8), None, None, Some(1), None, None]);
        assert_eq!(last_with_gpus(&mixed), Some((4, 1)), "the one that is dead in a job with a dead host");
        assert_eq!(last_with_gpus(&of(&[("ml.m5.large", 2.0)])), None);
        assert_eq!(last_with_gpus(&of(&[("ml.p5.48xlarge", 16.0)])), Some((16, 8)));
    }
}
