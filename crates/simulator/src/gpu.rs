//! GPU usage of jobs by minute and host: the patterns that a service must distinguish.
//!
//! A job's shape is set by `/_sim/control`, else by its payload's hyperparameter `simulated_gpu_shape`, else drawn
//! from the configured fractions, else `busy`.

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

/// Hyperparameter with the shape's name.
const HYPERPARAMETER: &str = "simulated_gpu_shape";
/// Default delay until a minute's data point can be read. AWS documents no figure.
pub(super) const DELAY: Duration = Duration::from_secs(60);
/// Noise as a fraction of the mean.
const NOISE: f64 = 0.05;
/// Utilisation of an idle GPU.
const IDLE: f64 = 0.005;
/// GPU memory in use by a job that computes, by one with a loaded model, and by an idle one.
const MEMORY_USED: f64 = 0.7;
const MEMORY_LOADED: f64 = 0.9;
const MEMORY_EMPTY: f64 = 0.01;
/// Period of bursty jobs, which compute for its first minutes.
const PERIOD_MINUTES: i64 = 10;
const BURST_MINUTES: i64 = 4;
const BURST: f64 = 0.95;

/// How a job uses its GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// All hosts compute at the job's own utilisation.
    #[default]
    Busy,
    /// No host computes, and no GPU memory is used.
    Idle,
    /// One host is idle, all others compute. A single host is the idle one.
    DeadHost,
    /// No host computes, but GPU memory is full: a model is loaded and unused.
    MemoryLoaded,
    /// Four minutes of computing, then six idle minutes.
    Bursty,
}

/// Assigns shapes to jobs, and delays their metrics.
#[derive(Clone, Debug)]
pub struct Gpus {
    /// Delay until a minute can be read after its end.
    pub delay: Duration,
    /// Fraction of jobs with each shape, 0 to 1; the rest is busy.
    pub parts: BTreeMap<Shape, f64>,
    chosen: BTreeMap<JobId, Shape>,
}

impl Default for Gpus {
    fn default() -> Self {
        Self { delay: DELAY, parts: BTreeMap::new(), chosen: BTreeMap::new() }
    }
}

impl Gpus {
    /// Creates it from the delay and the fractions.
    pub fn new(delay: Duration, parts: BTreeMap<Shape, f64>) -> Self {
        Self { delay, parts, chosen: BTreeMap::new() }
    }

    /// Sets a job's shape permanently.
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

/// Fractions of GPU time and GPU memory that a host uses in a minute, 0 to 1 each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Use {
    pub compute: f64,
    pub memory: f64,
}

/// Shape of a job.
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

/// Usage of host `number` (from 1) in a minute since the epoch.
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

/// Mean fraction of GPU time that a job with this shape uses while it runs.
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

/// Number of hosts of a job: its instances of any type.
pub(super) fn hosts(job: &Job) -> u32 {
    job.demand.iter().map(count).fold(0, u32::saturating_add)
}

/// GPUs of a host by number, from 1: hosts are numbered in the order of the instance groups. `None` if the host has
/// no GPUs, or its type is unknown: then it has no such metrics.
pub(super) fn gpus_of_host(demand: &[Capacity], number: u32) -> Option<u32> {
    let mut last = 0.0;
    let of_host = |capacity: &&Capacity| {
        last += capacity.quantity.ceil();
        f64::from(number) <= last
    };
    demand.iter().find(of_host).filter(|_| number > 0).and_then(gpus_of)
}

/// The last host with GPUs, and its number of GPUs.
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

/// A value between -1 and 1, derived from text and number (FNV-1a, then its high bits).
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
