//! Monte Carlo simulation: runs the scheduler model forward from the current state, many times.
//!
//! Each run draws a duration for each job, given how long it has held its instances, and replays different past days
//! as arrivals. The draws depend only on the job and the run, so the same state gives the same result, and two
//! results differ only by the differences of their states.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::forecast::arrivals::Arrival;
use crate::forecast::initial_state::{InitialState, OpenJob};
use crate::model::{
    Capacity, InstanceType, JobId, JobStatus, MAX_INSTANCES, Policy, QueueName, ShareKey, ShareName, Timestamp,
};
use crate::scheduler::{Plan, PlannedOutcome, QueueSetup, Scheduler, Submission, Terms, TransitionKind, WaitReason};

/// Number of runs of a forecast.
pub const RUNS: usize = 100;

/// A prime above [`RUNS`]: number of strata for the draws of a job over the runs.
const STRATA: u64 = 101;

/// Maximum waiting jobs that are simulated (the front), over all shares; later ones are extrapolated.
pub const MAX_FRONT: usize = 1_000;

/// Horizon of a forecast.
pub const HORIZON: Duration = Duration::from_secs(30 * 86_400);

/// Maximum events of one run.
const MAX_EVENTS: usize = 60_000;

/// Simulated starts of the waiting jobs.
#[derive(Clone, Debug, Default)]
pub struct Starts {
    /// In the order of [`InitialState::waiting`].
    pub by_job: Vec<JobStarts>,
}

/// Simulated starts of one job.
#[derive(Clone, Debug)]
pub enum JobStarts {
    /// Seconds from now in each run, sorted; infinite beyond the horizon.
    Runs {
        /// The seconds.
        seconds: Vec<f64>,
        /// Whether it is behind the front, so that its start is extrapolated.
        beyond_front: bool,
        /// Why it waits now.
        reason: Option<WaitReason>,
    },
    /// It can never start with the current setup.
    Never(NeverBecause),
}

/// Why a job can never start with the current setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverBecause {
    /// Its queue's environment is disabled.
    Disabled,
    /// It requests more than the maximum. Has this maximum if the job requests a single type.
    TooLarge(Option<u64>),
    /// A job ahead of it in its share can never start.
    Behind,
    /// Its queue or share no longer exists.
    NoPlace,
    /// Its request is unknown.
    UnknownSize,
    /// AWS has no instances, for an unknown time.
    NoInstances,
}

/// Simulates from an initial state, for its last waiting job only. If that job can never start, there is no simulation.
pub fn run_for_last(initial: &InitialState, runs: usize) -> Starts {
    let never = initial.waiting.len().checked_sub(1).and_then(|last| {
        let scheduler = Scheduler::new(initial.setup.clone(), 0, initial.now);
        let because = initial.waiting.get(last).and_then(|job| why_never(job, initial));
        because.or_else(|| WaitingByShare::of(initial).stuck(initial, &scheduler).get(&last).copied())
    });
    match never {
        Some(because) => Starts { by_job: initial.waiting.iter().map(|_| JobStarts::Never(because)).collect() },
        None => run(initial, runs),
    }
}

/// Runs an initial state forward.
pub fn run(initial: &InitialState, runs: usize) -> Starts {
    let shares = WaitingByShare::of(initial);
    let mut starts: Vec<JobStarts> = initial.waiting.iter().map(|_| JobStarts::Never(NeverBecause::NoPlace)).collect();
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); initial.waiting.len()];
    let mut reasons: BTreeMap<usize, Option<WaitReason>> = BTreeMap::new();
    let mut stuck: BTreeMap<usize, NeverBecause> = BTreeMap::new();
    for index in 0..runs.max(1) {
        let mut run = Run::begin(initial, &shares, index as u64);
        if index == 0 {
            (reasons, stuck) = (run.reasons(), shares.stuck(initial, &run.scheduler));
        }
        run.go();
        for (job, at) in run.first_starts() {
            if let Some(of_job) = seconds.get_mut(job) {
                of_job.push(at);
            }
        }
        shares.extrapolate(initial, &mut seconds, index + 1);
    }
    let front: BTreeSet<usize> = shares.front().collect();
    for (job, of_job) in seconds.into_iter().enumerate() {
        let Some(open) = initial.waiting.get(job) else { continue };
        let reason = reasons.get(&job).copied().flatten();
        let never = why_never(open, initial).or(stuck.get(&job).copied());
        let Some(slot) = starts.get_mut(job) else { continue };
        *slot = match never {
            Some(because) => JobStarts::Never(because),
            None if of_job.is_empty() => JobStarts::Never(NeverBecause::NoPlace),
            None => {
                let mut seconds = of_job;
                seconds.sort_by(f64::total_cmp);
                JobStarts::Runs { seconds, beyond_front: !front.contains(&job), reason }
            }
        };
    }
    Starts { by_job: starts }
}

fn why_never(job: &OpenJob, initial: &InitialState) -> Option<NeverBecause> {
    if initial.disabled.contains(&job.queue) {
        Some(NeverBecause::Disabled)
    } else if job.lacks_instances {
        Some(NeverBecause::NoInstances)
    } else if job.demand.is_empty() {
        Some(NeverBecause::UnknownSize)
    } else if !initial.setup.queues.iter().any(|queue| queue.name == job.queue) {
        Some(NeverBecause::NoPlace)
    } else {
        None
    }
}

/// Waiting jobs by share, in dispatch order.
struct WaitingByShare {
    jobs: BTreeMap<ShareKey, Vec<usize>>,
    /// Number of simulated jobs of each share.
    exact: BTreeMap<ShareKey, usize>,
}

impl WaitingByShare {
    fn of(initial: &InitialState) -> Self {
        let mut jobs: BTreeMap<ShareKey, Vec<usize>> = BTreeMap::new();
        for (index, job) in initial.waiting.iter().enumerate() {
            if why_never(job, initial).is_none() {
                jobs.entry((job.queue.clone(), share_of(&job.queue, job.share.as_ref(), initial)))
                    .or_default()
                    .push(index);
            }
        }
        let priority = |index: &usize| initial.waiting.get(*index).map_or(0, |job| job.priority);
        jobs.values_mut().for_each(|share| share.sort_by_key(|index| (std::cmp::Reverse(priority(index)), *index)));
        // Unused places of short shares go to longer ones.
        let mut by_length: Vec<(usize, &ShareKey)> = jobs.iter().map(|(share, jobs)| (jobs.len(), share)).collect();
        by_length.sort_unstable();
        let (mut room, mut shares) = (MAX_FRONT, by_length.len());
        let mut exact = BTreeMap::new();
        for (length, share) in by_length {
            let part = length.min(room / shares.max(1));
            exact.insert(share.clone(), part);
            (room, shares) = (room - part, shares - 1);
        }
        Self { jobs, exact }
    }

    fn front(&self) -> impl Iterator<Item = usize> {
        self.jobs
            .iter()
            .flat_map(|(share, jobs)| jobs.iter().take(self.exact.get(share).copied().unwrap_or(0)).copied())
    }

    /// Jobs that can never start with the current setup, and those behind them.
    fn stuck(&self, initial: &InitialState, scheduler: &Scheduler) -> BTreeMap<usize, NeverBecause> {
        let mut stuck = BTreeMap::new();
        for ((queue, share), jobs) in &self.jobs {
            let mut is_blocked = false;
            let never_fits = |demand: &[Capacity]| scheduler.never_fits(queue, share.as_ref(), demand);
            let mut largest: BTreeMap<InstanceType, u64> = BTreeMap::new();
            for index in jobs {
                let Some(job) = initial.waiting.get(*index) else { continue };
                if never_fits(&job.demand) {
                    is_blocked = true;
                    let most = match &job.demand[..] {
                        [Capacity { unit, .. }] => Some(*largest.entry(unit.clone()).or_insert_with(|| {
                            largest_that(|count| !never_fits(&[Capacity::new(unit.clone(), count as f64)]))
                        })),
                        _ => None,
                    };
                    stuck.insert(*index, NeverBecause::TooLarge(most));
                } else if is_blocked {
                    stuck.insert(*index, NeverBecause::Behind);
                }
            }
        }
        stuck
    }

    /// Extrapolates starts in the latest run (number `runs`) for jobs behind the front, at the rate of the later half
    /// of their share's front.
    fn extrapolate(&self, initial: &InitialState, seconds: &mut [Vec<f64>], runs: usize) {
        for (share, jobs) in &self.jobs {
            let exact = self.exact.get(share).copied().unwrap_or(0);
            let (front, rest) = jobs.split_at(exact.min(jobs.len()));
            if rest.is_empty() {
                continue;
            }
            let start = |index: Option<&usize>| index.and_then(|index| seconds.get(*index)?.get(runs - 1)).copied();
            let size =
                |index: &usize| initial.waiting.get(*index).map_or(0.0, |job| InitialState::instances(&job.demand));
            let (middle, last) = (start(front.get(front.len() / 2)), start(front.last()));
            let between: f64 = front.iter().skip(front.len() / 2 + 1).map(size).sum();
            let pace = match (middle, last) {
                (Some(middle), Some(last)) if between > 0.0 && last.is_finite() => (last - middle).max(0.0) / between,
                _ => f64::INFINITY,
            };
            let mut at = last.unwrap_or(f64::INFINITY);
            for index in rest {
                at += pace * size(index);
                let beyond = if at.is_finite() && at <= HORIZON.as_secs_f64() { at } else { f64::INFINITY };
                if let Some(of_job) = seconds.get_mut(*index) {
                    of_job.push(beyond);
                }
            }
        }
    }
}

/// The largest possible number, if all smaller ones are possible too; 0 if none is.
fn largest_that(is_possible: impl Fn(u64) -> bool) -> u64 {
    let (mut possible, mut impossible) = (0, MAX_INSTANCES as u64 + 1);
    while impossible - possible > 1 {
        let middle = possible.midpoint(impossible);
        if is_possible(middle) {
            possible = middle;
        } else {
            impossible = middle;
        }
    }
    possible
}

/// Share of a job in the simulation: none in FIFO queues, and always one in others.
fn share_of(queue: &QueueName, share: Option<&ShareName>, initial: &InitialState) -> Option<ShareName> {
    let setup: Option<&QueueSetup> = initial.setup.queues.iter().find(|one| one.name == *queue);
    match setup.map(|setup| &setup.policy) {
        Some(Policy::Fifo) => None,
        _ => Some(share.cloned().unwrap_or_else(|| ShareName::new(""))),
    }
}

/// One run.
struct Run<'a> {
    initial: &'a InitialState,
    scheduler: Scheduler,
    /// Index of the waiting job, by the scheduler's job number.
    tracked: BTreeMap<usize, usize>,
    ids: BTreeMap<usize, JobId>,
    starts: BTreeMap<usize, f64>,
    /// Index of the run.
    number: u64,
    /// Arrivals, and the number already submitted.
    coming: Vec<(Timestamp, &'a Arrival)>,
    came: usize,
}

impl<'a> Run<'a> {
    fn begin(initial: &'a InitialState, shares: &WaitingByShare, run: u64) -> Self {
        let now = initial.now;
        let mut scheduler = Scheduler::new(initial.setup.clone(), 0, now);
        let mut in_flight: Vec<(Timestamp, &OpenJob)> =
            initial.in_flight.iter().filter_map(|job| Some((job.dispatched_at?, job))).collect();
        in_flight.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.id.cmp(&b.1.id)));
        for (dispatched_at, job) in in_flight {
            let age = now.seconds_since(dispatched_at);
            // A queue that no longer exists has no effect on the others.
            let _ = scheduler.resume(submission(job, initial, age, run), dispatched_at);
        }
        let mut front: Vec<usize> = shares.front().collect();
        front.sort_unstable();
        let (mut tracked, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for index in front {
            let Some(job) = initial.waiting.get(index) else { continue };
            if let Ok(id) = scheduler.submit(submission(job, initial, 0.0, run)) {
                tracked.extend(scheduler.job(&id).map(|job| (job.number, index)));
                ids.insert(index, id);
            }
        }
        scheduler.keep_transitions(now);
        scheduler.advance(now);
        let coming = initial.arrivals.of_run(uniform("days", run), HORIZON);
        Self { initial, scheduler, tracked, ids, starts: BTreeMap::new(), number: run, coming, came: 0 }
    }

    /// Time of the next event. Submits the arrivals up to then; later ones cost nothing if the run ends before.
    fn next_event(&mut self) -> Option<Timestamp> {
        while let Some((at, arrival)) = self.coming.get(self.came)
            && self.scheduler.next_event().is_none_or(|next| *at <= next)
        {
            let _ = self.scheduler.submit(coming(arrival, *at, self.initial, self.came, self.number));
            self.came += 1;
        }
        self.scheduler.next_event()
    }

    /// Why each job waits now.
    fn reasons(&self) -> BTreeMap<usize, Option<WaitReason>> {
        self.ids.iter().map(|(index, id)| (*index, self.scheduler.wait_reason(id))).collect()
    }

    /// Runs until every job of the front has started, or the horizon is reached.
    fn go(&mut self) {
        let until = self.initial.now + HORIZON;
        self.note();
        for _ in 0..MAX_EVENTS {
            if self.starts.len() >= self.tracked.len() {
                return;
            }
            let Some(next) = self.next_event().filter(|next| *next <= until) else { return };
            self.scheduler.advance(next);
            self.note();
        }
    }

    fn note(&mut self) {
        for transition in self.scheduler.take_transitions() {
            let TransitionKind::Moved { to: JobStatus::Scheduled, .. } = transition.kind else { continue };
            if let Some(index) = self.tracked.get(&transition.job) {
                self.starts.entry(*index).or_insert(transition.at.seconds_since(self.initial.now));
            }
        }
    }

    fn first_starts(&self) -> impl Iterator<Item = (usize, f64)> {
        self.tracked.values().map(|index| (*index, self.starts.get(index).copied().unwrap_or(f64::INFINITY)))
    }
}

fn submission(job: &OpenJob, initial: &InitialState, age: f64, run: u64) -> Submission {
    let held = job.profile.quantile(age, uniform(&job.id, run));
    let held = job.holds_at_most.map_or(held, |most| held.min(most.as_secs_f64().max(age)));
    Submission {
        at: initial.now,
        name: String::new(),
        queue: job.queue.clone(),
        share: share_of(&job.queue, job.share.as_ref(), initial),
        priority: job.priority,
        demand: job.demand.to_vec(),
        tags: BTreeMap::new(),
        plan: holds(held),
        terms: Terms { preemption_retries: job.preemption_retries, ..Terms::default() },
        utilisation: 0.0,
    }
}

fn coming(arrival: &Arrival, at: Timestamp, initial: &InitialState, number: usize, run: u64) -> Submission {
    Submission {
        at,
        name: String::new(),
        queue: arrival.queue.clone(),
        share: share_of(&arrival.queue, arrival.share.as_ref(), initial),
        priority: arrival.priority,
        demand: arrival.demand.to_vec(),
        tags: BTreeMap::new(),
        plan: holds(arrival.profile.quantile(0.0, uniform(("coming", number), run))),
        terms: Terms::default(),
        utilisation: 0.0,
    }
}

fn holds(seconds: f64) -> Plan {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or(HORIZON).min(HORIZON * 12);
    Plan::Runs { duration, outcome: PlannedOutcome::Succeeds }
}

/// A pseudo-random number in 0..1. Over the runs of a forecast, the numbers of one key are stratified; those of
/// different keys are independent.
fn uniform(thing: impl Hash, run: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    let hash = hasher.finish();
    let (step, first, within) = (1 + (hash & 0xffff) % (STRATA - 1), (hash >> 16) % STRATA, hash >> 32);
    let stratum = (first + step * (run % STRATA)) % STRATA;
    let jitter = ((within.wrapping_mul(2_654_435_761).wrapping_add(run.wrapping_mul(40_503))) % 1_000) as f64;
    (stratum as f64 + (jitter + 0.5) / 1_000.0) / STRATA as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Over the runs of a forecast, each key has one number in each stratum; the strata of two keys come in different orders.
    #[test]
    fn numbers_are_stratified_over_the_runs_and_independent_between_keys() {
        let strata = STRATA as f64;
        let mut orders = BTreeSet::new();
        for key in 0..200_u64 {
            let numbers: Vec<f64> = (0..STRATA).map(|run| uniform(key, run)).collect();
            assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)), "{key}");
            let order: Vec<u64> = numbers.iter().map(|number| (number * strata).floor() as u64).collect();
            let all: BTreeSet<u64> = order.iter().copied().collect();
            assert_eq!(all.len() as u64, STRATA, "{key} misses a stratum");
            let within: f64 = numbers.iter().map(|number| (number * strata).fract()).sum::<f64>() / strata;
            assert!((0.2..0.8).contains(&within), "{key}: {within} is the mean place within a stratum");
            orders.insert(order);
        }
        assert!(orders.len() > 190, "only {} of 200 keys have an order of their own", orders.len());
        // The first and the second number of a key are independent: each pair of halves has about a quarter of the keys.
        let mut pairs = [0_u32; 4];
        for key in 0..1_000_u64 {
            pairs[usize::from(uniform(key, 0) < 0.5) * 2 + usize::from(uniform(key, 1) < 0.5)] += 1;
        }
        assert!(pairs.iter().all(|count| (180..320).contains(count)), "{pairs:?}");
    }
}
