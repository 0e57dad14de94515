//! Generates the trace of a busy cluster from a seed: most jobs start at once, a few wait for hours, some never start.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Number of jobs.
pub const JOBS: usize = 2_000;
/// The shares, with their percentages of jobs.
const SHARES: [(&str, u32); 4] = [("batch", 55), ("serving", 40), ("burst", 4), ("guaranteed", 1)];
/// One in so many of the other jobs never starts.
const NEVER: u32 = 12;

/// A recorded job, in seconds from the start of the trace.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Unique name.
    pub name: String,
    /// Its share.
    pub share: &'static str,
    /// Time of submission.
    pub submitted: u64,
    /// Wait; `None` if it never started.
    pub wait: Option<u64>,
    /// Run time, or the time until a waiting job was cancelled.
    pub rest: u64,
}

/// The jobs of a seed, by time of submission.
pub fn jobs(seed: u64) -> Vec<Recorded> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut submitted = 0;
    let job = |number: usize| {
        submitted += dice.random_range(0..600);
        let mut of = dice.random_range(0..100);
        let share = SHARES.iter().find(|(_, part)| {
            let is_this = of < *part;
            of = of.saturating_sub(*part);
            is_this
        });
        let wait = match dice.random_range(0..100) {
            0..60 => dice.random_range(0..3),
            60..97 => dice.random_range(3..400),
            _ => dice.random_range(400..15_000),
        };
        let starts = dice.random_range(0..NEVER) > 0;
        let rest = dice.random_range(1..40_000);
        Recorded {
            name: format!("job-{number}"),
            share: share.map_or(SHARES[0].0, |(name, _)| *name),
            submitted,
            wait: starts.then_some(wait),
            rest,
        }
    };
    (0..JOBS).map(job).collect()
}

/// The trace in the format of `--trace`.
pub fn csv(jobs: &[Recorded]) -> String {
    let mut text = "job_id,share,num_gpu,submit_s,start_s,end_s\n".to_owned();
    for Recorded { name, share, submitted, wait, rest } in jobs {
        let start = wait.map(|wait| (submitted + wait).to_string()).unwrap_or_default();
        let end = submitted + wait.unwrap_or_default() + rest;
        text += &format!("{name},{share},1,{submitted},{start},{end}\n");
    }
    text
}

/// Sorted waits of the started jobs of a share, or of all shares.
pub fn waits(jobs: &[Recorded], share: Option<&str>) -> Vec<u64> {
    let of_share = jobs.iter().filter(|job| share.is_none_or(|share| job.share == share));
    let mut waits: Vec<u64> = of_share.filter_map(|job| job.wait).collect();
    waits.sort_unstable();
    waits
}

/// The shares of the trace.
pub fn shares() -> impl Iterator<Item = &'static str> {
    SHARES.iter().map(|(name, _)| *name)
}
