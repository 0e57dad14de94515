//! A seeded synthetic workload: what the demo shows when nobody brings a trace.
//!
//! Two queues: `research`, whose four quota shares lend, borrow or keep to themselves, and `nightly`, first in, first
//! out. Each stream of jobs arrives by chance around a rhythm of its own, so that the shares press at different times:
//! waits build up to an hour or two and drain again, shares borrow while others are quiet and are preempted when
//! those come back. All of it repeats about every five hours and is never quite the same; or it follows the hours of the
//! day and the days of the week, as [`Synthetic`] has it.

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

/// The longest time that is generated, so that a slip of the pen does not fill the memory.
const MAX_LOOKBACK: Duration = Duration::from_secs(60 * 24 * 3600);
/// The usual length, part of jobs that fail, part that leaves its GPUs idle, and part of calls that bring a sweep.
const LENGTH: Duration = Duration::from_secs(14 * 24 * 3600);
const FAILING: f64 = 0.06;
const IDLING: f64 = 0.08;
const SWEEPING: f64 = 0.2;
/// How often Batch lets a job try.
const ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=10;
/// No load beyond this: queues that never drain fill the memory.
const MAX_LOAD: f64 = 10.0;

/// Queues and the jobs that will be submitted to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The queues.
    pub setup: Setup,
    /// The jobs, in the order of submission.
    pub submissions: Vec<Submission>,
}

/// What people submit, as a scenario file has it. What is not said is as in the demo.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// How much work is made in advance, 60 days at most; 14 if it is not given.
    pub length: Option<HumanDuration>,
    /// The mean load, as a multiple of the usual: 0.35 to 0.85 of each quota.
    pub load: f64,
    /// When people submit.
    pub rhythm: Rhythm,
    /// The part of jobs that fail, 0 to 1.
    pub failures: f64,
    /// How often a job may try, 1 to 10. Of the jobs that fail at first, half would then succeed.
    pub attempts: u32,
    /// The part of jobs that leave their GPUs idle, 0 to 1.
    pub idle: f64,
    /// The part of submissions that are sweeps: three to seven jobs that differ in one number.
    pub sweeps: f64,
    /// The part of jobs that are gangs: they need all of their share's quota at once.
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
    /// The work from `start` on; the same for equal seeds.
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

    /// What is wrong with it: the member, and what to do.
    pub(super) fn findings(&self) -> Vec<(String, String)> {
        let parts = [("failures", self.failures), ("idle", self.idle), ("sweeps", self.sweeps), ("gangs", self.gangs)];
        let wrong = parts.into_iter().filter(|(_, part)| !(0.0..=1.0).contains(part));
        let mut findings: Vec<_> =
            wrong.map(|(member, _)| (member.to_owned(), "a part lies between 0 and 1".to_owned())).collect();
        if !ATTEMPTS.contains(&self.attempts) {
            findings.push(("attempts".to_owned(), "a job may try 1 to 10 times".to_owned()));
        }
        if !(self.load > 0.0 && self.load <= MAX_LOAD) {
            findings.push(("load".to_owned(), format!("must be more than 0 and at most {MAX_LOAD}")));
        }
        findings
    }
}

/// `length` of the demo's work from `start` on, 60 days at most; the same for equal seeds.
pub fn synthetic(seed: u64, start: Timestamp, length: Duration) -> Workload {
    Synthetic { length: Some(HumanDuration(length)), ..Synthetic::default() }.workload(seed, start)
}
