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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::what_if::past::PastJob;

    fn outcome(p95: f64, preemptions: usize) -> Outcome {
        let share = ShareOutcome {
            queue: "prod".into(),
            share: None,
            jobs: 9,
            started: preemptions + 5,
            p50: Some(p95 / 4.0),
            p90: Some(p95 / 2.0),
            p95: Some(p95),
            mean: Some(p95 / 3.0),
        };
        let queue = QueueOutcome {
            queue: "prod".into(),
            utilisation: Some(p95 / 1_000.0),
            preemptions,
            lost_instance_hours: p95 / 10.0,
            lost_dollars: Some(p95 * 2.0),
            capacity_dollars: Some(80.0),
        };
        let (from, to) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        Outcome { from, to, shares: vec![share], queues: vec![queue] }
    }

    #[test]
    fn each_figure_is_the_median_of_the_replays_and_the_spread_is_beyond_the_largest_deviation() {
        let all = vec![outcome(120.0, 3), outcome(90.0, 1), outcome(240.0, 2)];
        let middle = medians_of(&all);
        // Preemptions and starts have other medians than waits.
        let expected = outcome(120.0, 2);
        assert_eq!(middle, expected);
        let repeated = Repeated { middle, all };
        let spread = repeated.spread(&expected.shares[0], |share| share.p95);
        assert!((spread - 120.0 * 1.5).abs() < 1e-9, "{spread}");
        let unknown = ShareOutcome { share: Some("x".into()), ..expected.shares[0].clone() };
        assert!(repeated.spread(&unknown, |share| share.p95).abs() < 1e-9);
    }

    fn past(seconds: &[f64]) -> Past {
        let job = |seconds: &f64| PastJob {
            at: Timestamp::default(),
            queue: "prod".into(),
            share: None,
            priority: 0,
            demand: Vec::new(),
            seconds: *seconds,
            seen: None,
        };
        Past::new(crate::scheduler::Setup::default(), seconds.iter().map(job).collect(), None)
    }

    #[test]
    fn the_first_replay_is_of_the_past_itself_and_the_others_vary_it_within_bounds() {
        let times: Vec<f64> = (0..400).map(|n| if n % 2 == 0 { 100.0 } else { 3_600.0 }).collect();
        let past = past(&times);
        assert_eq!(*varied(&past, 0), past);
        for number in 1..REPLAYS {
            let varied = varied(&past, number);
            // A tenth of 100 s, and a minute of an hour.
            let parts: Vec<f64> = varied
                .jobs
                .iter()
                .zip(&times)
                .map(|(job, before)| (job.seconds - before) / (before * 0.1).min(60.0))
                .collect();
            assert!(parts.iter().all(|part| part.abs() <= 1.0 + 1e-9), "{number}");
            assert!(parts.iter().any(|part| *part > 0.9) && parts.iter().any(|part| *part < -0.9), "{number}");
            assert!((parts.iter().sum::<f64>() / 400.0).abs() < 0.15, "{number}: longer and shorter alike");
        }
        assert_ne!(*varied(&past, 1), *varied(&past, 2));
    }

    #[test]
    fn a_short_past_is_replayed_five_times_with_a_progress_over_all() {
        let mut parts = Vec::new();
        let repeated = replay(&past(&[100.0]), &Prices::new(), |part| parts.push(part));
        assert_eq!(repeated.all.len(), 5);
        assert!(parts.is_sorted() && parts.iter().all(|part| (0.0..=1.0).contains(part)), "{parts:?}");
        let long = past(&vec![1.0; MAX_REPEATED_JOBS]);
        assert_eq!(note(&long), None, "one more is replayed once");
    }
}
