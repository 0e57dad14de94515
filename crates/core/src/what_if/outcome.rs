//! Results of a past: waits by share, capacity usage, preemptions and their cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Capacity, InstanceType, JobStatus, Policy, Prices, QueueName, ShareKey, ShareName, Timestamp};
use crate::scheduler::{Scheduler, Setup, TransitionKind};
use crate::what_if::past::{Past, submission};

/// Waits of one share.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareOutcome {
    /// Queue.
    pub queue: QueueName,
    /// Share.
    pub share: Option<ShareName>,
    /// Submitted jobs.
    pub jobs: usize,
    /// Number of them that started.
    pub started: usize,
    /// Median of their first waits, in seconds; `None` if none started.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// Mean.
    pub mean: Option<f64>,
}

/// Capacity usage of one queue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueOutcome {
    /// Queue.
    pub queue: QueueName,
    /// Fraction of its environment's capacity that its jobs held, over the time of submissions; `None` without
    /// capacity.
    pub utilisation: Option<f64>,
    /// Number of preemptions.
    pub preemptions: usize,
    /// Instance-hours of preempted attempts.
    pub lost_instance_hours: f64,
    /// Their cost in dollars; `None` if a price is unknown.
    pub lost_dollars: Option<f64>,
    /// Cost of the whole capacity over that time, in dollars; likewise.
    pub capacity_dollars: Option<f64>,
}

/// Results of a past.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The first submission.
    pub from: Timestamp,
    /// End of the period over which usage is counted.
    pub to: Timestamp,
    /// By queue and share.
    pub shares: Vec<ShareOutcome>,
    /// By queue.
    pub queues: Vec<QueueOutcome>,
}

impl Outcome {
    /// The waits of a share.
    pub fn share(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<&ShareOutcome> {
        self.shares.iter().find(|one| one.queue == *queue && one.share.as_ref() == share)
    }

    /// The capacity usage of a queue.
    pub fn queue(&self, queue: &QueueName) -> Option<&QueueOutcome> {
        self.queues.iter().find(|one| one.queue == *queue)
    }
}

/// Collects the results of jobs.
struct Collector<'a> {
    past: &'a Past,
    waits: BTreeMap<ShareKey, (usize, Vec<f64>)>,
    queues: BTreeMap<QueueName, Use>,
}

#[derive(Default)]
struct Use {
    held_seconds: f64,
    preemptions: usize,
    lost: BTreeMap<InstanceType, f64>,
}

impl<'a> Collector<'a> {
    fn of(past: &'a Past) -> Self {
        let mut waits: BTreeMap<_, (usize, Vec<f64>)> = BTreeMap::new();
        for job in &past.jobs {
            waits.entry((job.queue.clone(), job.share.clone())).or_default().0 += 1;
        }
        Self { past, waits, queues: BTreeMap::new() }
    }

    fn started(&mut self, job: usize, at: Timestamp) {
        let Some(job) = self.past.jobs.get(job) else { return };
        if let Some((_, waits)) = self.waits.get_mut(&(job.queue.clone(), job.share.clone())) {
            waits.push(at.seconds_since(job.at));
        }
    }

    /// Records that a job held its instances for a period.
    fn held(&mut self, job: usize, from: Timestamp, to: Timestamp, preempted: bool) {
        let Some(job) = self.past.jobs.get(job) else { return };
        let of_queue = self.queues.entry(job.queue.clone()).or_default();
        let within = to.min(self.past.until).seconds_since(from.max(self.past.from()));
        let seconds = to.seconds_since(from);
        of_queue.preemptions += usize::from(preempted);
        for Capacity { unit, quantity } in &job.demand {
            of_queue.held_seconds += quantity * within;
            if preempted {
                *of_queue.lost.entry(unit.clone()).or_default() += quantity * seconds / 3_600.0;
            }
        }
    }

    fn outcome(self, prices: &Prices) -> Outcome {
        let (from, to) = (self.past.from(), self.past.until);
        let shares = self.waits.into_iter().map(|((queue, share), (jobs, mut waits))| {
            waits.sort_by(f64::total_cmp);
            let quantile = |part: f64| waits.get((part * waits.len() as f64) as usize).or(waits.last()).copied();
            let mean = (!waits.is_empty()).then(|| waits.iter().sum::<f64>() / waits.len() as f64);
            let started = waits.len();
            ShareOutcome {
                queue,
                share,
                jobs,
                started,
                p50: quantile(0.5),
                p90: quantile(0.9),
                p95: quantile(0.95),
                mean,
            }
        });
        let names: BTreeSet<&QueueName> = self.past.setup.queues.iter().map(|queue| &queue.name).collect();
        let hours = to.seconds_since(from) / 3_600.0;
        let queues = names.into_iter().map(|name| {
            let of_queue = self.queues.get(name);
            let limits = limits(&self.past.setup, name);
            let capacity: f64 = limits.iter().map(|limit| limit.quantity).sum();
            let dollars = |amounts: &mut dyn Iterator<Item = (&InstanceType, f64)>| {
                let sum: Option<f64> = amounts.map(|(unit, hours)| Some(prices.get(unit)? * hours)).sum();
                // An empty sum is -0.0, and would be displayed like that.
                sum.map(|dollars| dollars + 0.0)
            };
            let lost = of_queue.map(|of_queue| &of_queue.lost);
            QueueOutcome {
                queue: name.clone(),
                utilisation: (capacity > 0.0 && hours > 0.0)
                    .then(|| of_queue.map_or(0.0, |one| one.held_seconds) / 3_600.0 / (capacity * hours)),
                preemptions: of_queue.map_or(0, |one| one.preemptions),
                lost_instance_hours: lost
                    .into_iter()
                    .flatten()
                    .map(|(_, hours)| hours)
                    .fold(0.0, |sum, hours| sum + hours),
                lost_dollars: dollars(&mut lost.into_iter().flatten().map(|(unit, hours)| (unit, *hours))),
                capacity_dollars: dollars(&mut limits.iter().map(|limit| (&limit.unit, limit.quantity * hours))),
            }
        });
        Outcome { from, to, shares: shares.collect(), queues: queues.collect() }
    }
}

fn limits<'a>(setup: &'a Setup, queue: &QueueName) -> &'a [Capacity] {
    let environment = setup.queues.iter().find(|one| one.name == *queue).map(|one| &one.environment);
    let found = setup.environments.iter().find(|one| Some(&one.name) == environment);
    found.map_or(&[], |environment| &environment.limits)
}

/// What happened, as far as it was recorded.
pub(super) fn happened(past: &Past) -> Option<Outcome> {
    if past.jobs.iter().all(|job| job.seen.is_none()) {
        return None;
    }
    let mut collector = Collector::of(past);
    for (index, job) in past.jobs.iter().enumerate() {
        let held = job.seen.as_ref().map_or(&[][..], |seen| &seen.held);
        if let Some((first, ..)) = held.first() {
            collector.started(index, *first);
        }
        for (from, to, preempted) in held {
            collector.held(index, *from, to.unwrap_or(past.until), *preempted);
        }
    }
    Some(collector.outcome(&Prices::new()))
}

/// Simulates the jobs on the given setup. `progress` receives a fraction from 0 to 1.
pub(super) fn replay(past: &Past, prices: &Prices, mut progress: impl FnMut(f64)) -> Outcome {
    let (from, span) = (past.from(), past.until.seconds_since(past.from()).max(1.0));
    let begin = from - Duration::from_secs(1);
    let mut scheduler = Scheduler::new(past.setup.clone(), 0, begin);
    let fifo: BTreeSet<&QueueName> =
        past.setup.queues.iter().filter(|queue| queue.policy == Policy::Fifo).map(|queue| &queue.name).collect();
    let mut by_arrival: Vec<usize> = Vec::new();
    for (index, job) in past.jobs.iter().enumerate() {
        if scheduler.submit(submission(job, fifo.contains(&job.queue))).is_ok() {
            by_arrival.push(index);
        }
    }
    scheduler.keep_transitions(begin);
    let mut collector = Collector::of(past);
    let mut dispatched: BTreeMap<usize, Timestamp> = BTreeMap::new();
    let mut started: BTreeSet<usize> = BTreeSet::new();
    // After the last submission the remaining jobs need time to start one after the other.
    let end = past.until + Duration::from_secs_f64(span * 9.0);
    while let Some(next) = scheduler.next_event().filter(|next| *next <= end) {
        scheduler.advance(next);
        for transition in scheduler.take_transitions() {
            let Some(job) = by_arrival.get(transition.job).copied() else { continue };
            match transition.kind {
                TransitionKind::Moved { to: JobStatus::Scheduled, .. } => {
                    dispatched.insert(job, transition.at);
                    if started.insert(job) {
                        collector.started(job, transition.at);
                    }
                }
                TransitionKind::Preempted => {
                    if let Some(since) = dispatched.remove(&job) {
                        collector.held(job, since, transition.at, true);
                    }
                }
                TransitionKind::Moved { to: JobStatus::Succeeded | JobStatus::Failed, .. } => {
                    if let Some(since) = dispatched.remove(&job) {
                        collector.held(job, since, transition.at, false);
                    }
                }
                TransitionKind::Submitted
                | TransitionKind::Moved { .. }
                | TransitionKind::Retried
                | TransitionKind::Terminated => {}
            }
        }
        progress((next.seconds_since(from) / span).min(1.0));
        if next > past.until && started.len() >= by_arrival.len() {
            break;
        }
    }
    for (job, since) in dispatched {
        collector.held(job, since, past.until.max(since), false);
    }
    collector.outcome(prices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ServiceEnvironment;
    use crate::scheduler::QueueSetup;
    use crate::what_if::past::{PastJob, Seen};

    const TYPE: &str = "ml.p5.48xlarge";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    /// Begin and end in seconds, and whether it was preempted.
    type Period = (i64, Option<i64>, bool);

    /// Two hours of a queue with four instances and of one without an environment. Each job has a submission, its
    /// instances, and the periods in which it held them.
    fn past(jobs: &[(i64, f64, &[Period])]) -> Past {
        let limits = vec![Capacity::new(TYPE, 4.0)];
        let setup = Setup {
            environments: vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }],
            queues: vec![QueueSetup::new("prod", "gpus", Policy::Fifo), QueueSetup::new("other", "none", Policy::Fifo)],
            ..Setup::default()
        };
        let job = |(submitted, quantity, held): &(i64, f64, &[Period])| PastJob {
            at: at(*submitted),
            queue: "prod".into(),
            share: None,
            priority: 0,
            demand: vec![Capacity::new(TYPE, *quantity)],
            seconds: 600.0,
            seen: Some(Seen { held: held.iter().map(|(from, to, lost)| (at(*from), to.map(at), *lost)).collect() }),
        };
        Past::new(setup, jobs.iter().map(job).collect(), Some(at(7_200)))
    }

    #[test]
    fn waits_use_and_losses_are_what_was_recorded() {
        let past = past(&[
            (0, 2.0, &[(600, Some(4_200), false)]),
            // Preempted after half an hour; its second attempt was still running in the end.
            (1_000, 1.0, &[(4_200, Some(6_000), true), (7_000, None, false)]),
            // It never started, and one ended after the period.
            (2_000, 3.0, &[]),
            (5_000, 1.0, &[(6_200, Some(9_000), false)]),
        ]);
        let outcome = happened(&past).unwrap();
        let [share] = outcome.shares.as_slice() else { panic!("{outcome:?}") };
        // Waits of 600, 1,200 and 3,200 seconds.
        assert_eq!((share.jobs, share.started), (4, 3));
        assert_eq!((share.p50, share.p90, share.p95), (Some(1_200.0), Some(3_200.0), Some(3_200.0)));
        assert!((share.mean.unwrap() - 5_000.0 / 3.0).abs() < 1e-9);
        let queue = outcome.queue(&"prod".into()).unwrap();
        // 2 * 3,600 + 1,800 + 200 + 1,000 instance-seconds of four instances over two hours.
        assert!((queue.utilisation.unwrap() - 10_200.0 / (4.0 * 7_200.0)).abs() < 1e-9);
        assert_eq!((queue.preemptions, queue.lost_instance_hours), (1, 0.5));
        assert_eq!((queue.lost_dollars, queue.capacity_dollars), (None, None), "no prices");
        let without = outcome.queue(&"other".into()).unwrap();
        assert_eq!((without.utilisation, without.preemptions), (None, 0));
    }

    #[test]
    fn losses_and_capacity_have_their_price() {
        let past = past(&[(0, 2.0, &[])]);
        let mut collector = Collector::of(&past);
        collector.held(0, at(3_600), at(7_200), true);
        // What is lost counts in full, also beyond the period.
        collector.held(0, at(5_400), at(9_000), true);
        let outcome = collector.outcome(&Prices::from([(TYPE.into(), 10.0)]));
        let queue = outcome.queue(&"prod".into()).unwrap();
        assert_eq!((queue.lost_instance_hours, queue.lost_dollars), (4.0, Some(40.0)));
        assert_eq!(queue.capacity_dollars, Some(4.0 * 2.0 * 10.0));
        assert!((queue.utilisation.unwrap() - (7_200.0 + 3_600.0) / (4.0 * 7_200.0)).abs() < 1e-9);
        assert_eq!(outcome.queue(&"other".into()).unwrap().lost_dollars.map(f64::to_bits), Some(0.0_f64.to_bits()));
    }

    #[test]
    fn a_replay_reports_its_progress_and_ends_with_its_last_start() {
        let mut past = past(&[(0, 4.0, &[]), (0, 4.0, &[]), (3_600, 4.0, &[])]);
        past.jobs.iter_mut().for_each(|job| job.seconds = 3_000.0);
        let mut parts = Vec::new();
        let outcome = replay(&past, &Prices::new(), |part| parts.push(part));
        assert!(parts.is_sorted() && parts.iter().all(|part| (0.0..=1.0).contains(part)), "{parts:?}");
        let [share] = outcome.shares.as_slice() else { panic!("{outcome:?}") };
        // The second waits for the first, the third for the second: 3,000 and 2,400 seconds, and some to examine them.
        assert_eq!((share.jobs, share.started), (3, 3));
        assert!((3_000.0..3_040.0).contains(&share.p95.unwrap()), "{share:?}");
        assert!((2_400.0..2_460.0).contains(&share.p50.unwrap()), "{share:?}");
        let used = outcome.queue(&"prod".into()).unwrap().utilisation.unwrap();
        // All instances from the first start to the end of the period, in which the third job still runs.
        assert!((0.98..=1.0).contains(&used), "{used}");
    }
}
