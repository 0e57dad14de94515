//! A seeded synthetic workload, used by the demo unless a trace is given.
//!
//! It has two queues: `research`, with four quota shares that lend, borrow or reserve, and `nightly`, a FIFO queue.
//! Each stream of jobs arrives randomly around its own rhythm, so that the shares are busy at different times: waits
//! build up to an hour or two and drain again, and shares borrow while others are quiet and are preempted when those
//! return. The pattern repeats about every five hours with random variation, or follows the hours of the day and the
//! days of the week: see [`Synthetic`].

mod rhythm;
mod streams;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Deserialize;

use trainspotter_core::model::Timestamp;
use trainspotter_core::scheduler::{Setup, Submission};
use trainspotter_core::yaml::HumanDuration;

pub use rhythm::Rhythm;

/// Maximum generated time, so that a typo does not exhaust memory.
const MAX_LOOKBACK: Duration = Duration::from_secs(60 * 24 * 3600);
/// Defaults: length, fraction of failing jobs, fraction of jobs with idle GPUs, and fraction of calls that submit a
/// sweep.
const LENGTH: Duration = Duration::from_secs(14 * 24 * 3600);
const FAILING: f64 = 0.06;
const IDLING: f64 = 0.08;
const SWEEPING: f64 = 0.2;
/// Allowed attempts per job, as in Batch.
const ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=10;
/// Maximum load: queues that never drain exhaust memory.
const MAX_LOAD: f64 = 10.0;

/// Queues and their future jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The queues.
    pub setup: Setup,
    /// The jobs, in submission order.
    pub submissions: Vec<Submission>,
}

/// A generated workload, in a scenario file. Absent members default to the demo's values.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// Generated time, 60 days at most; 14 by default.
    pub length: Option<HumanDuration>,
    /// Mean load, as a multiple of the default: 0.35 to 0.85 of each quota.
    pub load: f64,
    /// Rhythm of submissions.
    pub rhythm: Rhythm,
    /// Fraction of jobs that fail, 0 to 1.
    pub failures: f64,
    /// Maximum attempts, 1 to 10. Half of the jobs that fail at first would succeed on a retry.
    pub attempts: u32,
    /// Fraction of jobs that leave their GPUs idle, 0 to 1.
    pub idle: f64,
    /// Fraction of submissions that are sweeps: three to seven jobs that differ in one parameter.
    pub sweeps: f64,
    /// Fraction of jobs that are gangs: they need all of their share's quota at once.
    pub gangs: f64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            length: None,
            load: 1.0,
            rhythm: Rhythm::Quick,
            failures: FAILING,
            attempts: 1,
            idle: IDLING,
            sweeps: SWEEPING,
            gangs: 0.0,
        }
    }
}

impl Synthetic {
    /// Generates the workload from `start` on; equal seeds give equal workloads.
    pub fn workload(&self, seed: u64, start: Timestamp) -> Workload {
        let length = self.length.map_or(LENGTH, |length| length.0).min(MAX_LOOKBACK);
        let mut submissions = Vec::new();
        for (place, stream) in (0..).zip(&streams::STREAMS) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(place);
            submissions.extend(stream.submissions(self, &mut random, start, length));
        }
        submissions.sort_by_key(|submission| submission.at);
        Workload { setup: streams::setup(), submissions }
    }

    /// Semantic errors: the member's path, and the message.
    pub(super) fn findings(&self) -> Vec<(String, String)> {
        let parts = [("failures", self.failures), ("idle", self.idle), ("sweeps", self.sweeps), ("gangs", self.gangs)];
        let wrong = parts.into_iter().filter(|(_, part)| !(0.0..=1.0).contains(part));
        let mut findings: Vec<_> =
            wrong.map(|(member, _)| (member.to_owned(), "must be a fraction from 0 to 1".to_owned())).collect();
        if !ATTEMPTS.contains(&self.attempts) {
            findings.push(("attempts".to_owned(), "a job may try 1 to 10 times".to_owned()));
        }
        if !(self.load > 0.0 && self.load <= MAX_LOAD) {
            findings.push(("load".to_owned(), format!("must be more than 0 and at most {MAX_LOAD}")));
        }
        findings
    }
}

/// Generates `length` of the demo's workload from `start` on, 60 days at most; equal seeds give equal workloads.
pub fn synthetic(seed: u64, start: Timestamp, length: Duration) -> Workload {
    Synthetic { length: Some(HumanDuration(length)), ..Synthetic::default() }.workload(seed, start)
}
