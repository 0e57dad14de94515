//! Repeats a replay several times: near a limit, a small difference in time decides which job goes first, and
//! everything after it. Each replay but the first varies how long jobs hold their instances. Results are medians, and
//! their spread is the uncertainty.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::model::{Prices, Timestamp};
use crate::what_if::outcome::{self, Outcome, QueueOutcome, ShareOutcome};
use crate::what_if::past::Past;

/// Number of replays.
const REPLAYS: u64 = 5;

/// A longer past is replayed once: replays are slow, and chance matters less in it.
const MAX_REPEATED_JOBS: usize = 20_000;

/// Maximum variation of the time that a job holds its instances, in seconds: as long as AWS may take to find and
/// start them.
const MAX_VARIATION_SECONDS: f64 = 60.0;

/// Maximum variation as a fraction of that time.
const MAX_VARIATION_FRACTION: f64 = 0.1;

/// Factor on the largest observed deviation: a few replays do not show every possible result.
const SPREAD_FACTOR: f64 = 1.5;

/// Results of several replays of one past.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeated {
    /// The medians.
    pub middle: Outcome,
    /// Result of each replay.
    pub all: Vec<Outcome>,
}

/// Replays a past. `progress` receives a fraction from 0 to 1.
pub fn replay(past: &Past, prices: &Prices, mut progress: impl FnMut(f64)) -> Repeated {
    let times = if past.jobs.len() > MAX_REPEATED_JOBS { 1 } else { REPLAYS };
    let one = |number: u64| {
        outcome::replay(&varied(past, number), prices, |part| progress((number as f64 + part) / times as f64))
    };
    let all: Vec<Outcome> = (0..times).map(one).collect();
    Repeated { middle: medians_of(&all), all }
}

/// A note for a past that is replayed once, so that its spread is unknown.
pub fn note(past: &Past) -> Option<String> {
    (past.jobs.len() > MAX_REPEATED_JOBS).then(|| {
        format!(
            "More than {MAX_REPEATED_JOBS} jobs are replayed once instead of {REPLAYS} times: the uncertainty of \
             waits from small variations of run times is unknown."
        )
    })
}

/// The past with the durations of its jobs varied by the number of the replay.
fn varied(past: &Past, number: u64) -> Cow<'_, Past> {
    if number == 0 {
        return Cow::Borrowed(past);
    }
    let mut past = past.clone();
    for (index, job) in past.jobs.iter_mut().enumerate() {
        let mut hasher = DefaultHasher::new();
        (number, index).hash(&mut hasher);
        let part = (hasher.finish() % 2_001) as f64 / 1_000.0 - 1.0;
        job.seconds += part * MAX_VARIATION_SECONDS.min(job.seconds * MAX_VARIATION_FRACTION);
    }
    Cow::Owned(past)
}

impl Repeated {
    /// Uncertainty of a share's wait, in seconds: the largest deviation from the median, times [`SPREAD_FACTOR`].
    pub fn spread(&self, share: &ShareOutcome, wait: impl Fn(&ShareOutcome) -> Option<f64>) -> f64 {
        let find = |outcome: &Outcome| outcome.share(&share.queue, share.share.as_ref()).and_then(&wait);
        let Some(middle) = find(&self.middle) else { return 0.0 };
        self.all.iter().filter_map(find).map(|one| (one - middle).abs()).fold(0.0, f64::max) * SPREAD_FACTOR
    }
}

/// Medians. All replays have the same shares and queues in the same order.
fn medians_of(all: &[Outcome]) -> Outcome {
    let Some(first) = all.first() else {
        let (from, to) = (Timestamp::default(), Timestamp::default());
        return Outcome { from, to, shares: Vec::new(), queues: Vec::new() };
    };
    let shares = first.shares.iter().enumerate().map(|(index, share)| {
        let median = |value: fn(&ShareOutcome) -> Option<f64>| {
            median(all.iter().filter_map(|one| one.shares.get(index).and_then(value)))
        };
        ShareOutcome {
            p50: median(|share| share.p50),
            p90: median(|share| share.p90),
            p95: median(|share| share.p95),
            mean: median(|share| share.mean),
            started: median(|share| Some(share.started as f64)).map_or(share.started, |started| started as usize),
            ..share.clone()
        }
    });
    let queues = first.queues.iter().enumerate().map(|(index, queue)| {
        let median = |value: fn(&QueueOutcome) -> Option<f64>| {
            median(all.iter().filter_map(|one| one.queues.get(index).and_then(value)))
        };
        QueueOutcome {
            utilisation: median(|queue| queue.utilisation),
            preemptions: median(|queue| Some(queue.preemptions as f64)).map_or(0, |count| count as usize),
            lost_instance_hours: median(|queue| Some(queue.lost_instance_hours)).unwrap_or(0.0),
            lost_dollars: median(|queue| queue.lost_dollars),
            ..queue.clone()
        }
    });
    Outcome { shares: shares.collect(), queues: queues.collect(), ..first.clone() }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
