//! A seeded synthetic workload: what the demo shows when nobody brings a trace.
//!
//! Two queues: `research`, whose four quota shares lend, borrow or keep to themselves, and `nightly`, first in, first
//! out. Each stream of jobs arrives by chance around a rhythm of its own, so that the shares press at different times:
//! waits build up to an hour or two and drain again, shares borrow while others are quiet and are preempted when
//! those come back. All of it repeats about every five hours and is never quite the same; or it follows the hours of the
//! day and the days of the week, as [`Synthetic`] has it.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{
    Capacity, InstanceType, Policy, QueueName, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp,
};
use crate::scheduler::{
    Delays, Plan, PlannedAttempt, PlannedOutcome, QueueSetup, RetryStrategy, Setup, Submission, Terms,
};
use crate::yaml::HumanDuration;

const RESEARCH: &str = "research";
const NIGHTLY: &str = "nightly";
const BIG: &str = "ml.p5.48xlarge";
const SMALL: &str = "ml.g5.12xlarge";

/// The longest time that is generated, so that a slip of the pen does not fill the memory.
const LONGEST: Duration = Duration::from_secs(60 * 24 * 3600);
/// From one crest of a stream's rhythm to the next, in seconds.
const RHYTHM: f64 = 5.0 * 3600.0;
/// The mean of (1 + cos x)² / 4.
const MEAN_SWELL: f64 = 0.375;
/// No job runs longer.
const LONGEST_JOB: f64 = 8.0 * 3600.0;
/// The usual length, part of jobs that fail, part that leaves its GPUs idle, and part of calls that bring a sweep.
const LENGTH: Duration = Duration::from_secs(14 * 24 * 3600);
const FAILING: f64 = 0.06;
const IDLING: f64 = 0.08;
const SWEEPING: f64 = 0.2;
/// Jobs of a sweep, least and most.
const SWEEP: std::ops::RangeInclusive<u32> = 3..=7;
/// Jobs of a call that brings a single job or a sweep, at the usual part of sweeps.
const USUAL_JOBS_PER_CALL: f64 = 1.0 + SWEEPING * 4.0;
/// How often Batch lets a job try.
const ATTEMPTS: std::ops::RangeInclusive<u32> = 1..=10;
/// The part of failures that do not come again.
const PASSING: f64 = 0.5;
/// No load beyond this: queues that never drain fill the memory.
const MOST_LOAD: f64 = 10.0;

const FAILURES: [&str; 4] = [
    "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 1 ErrorMessage \
     \"torch.OutOfMemoryError: CUDA out of memory\"",
    "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 1 ErrorMessage \
     \"FileNotFoundError: train.parquet\"",
    "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 134 ErrorMessage \
     \"NCCL watchdog: collective operation timed out\"",
    "Received status from SageMaker: InternalServerError: We encountered an internal error. Please try again.",
];

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

/// When people submit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rhythm {
    /// A crest about every five hours, at another time for each team: something to see in a demo of minutes.
    #[default]
    Quick,
    /// By the hour of the day and the day of the week, UTC: most in the early afternoon, little at night and at weekends.
    Calendar,
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
        let length = self.length.map_or(LENGTH, |length| length.0).min(LONGEST);
        let mut submissions = Vec::new();
        for (place, stream) in (0..).zip(&STREAMS) {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(place);
            submissions.extend(stream.submissions(self, &mut random, start, length));
        }
        submissions.sort_by_key(|submission| submission.at);
        Workload { setup: setup(), submissions }
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
        if !(self.load > 0.0 && self.load <= MOST_LOAD) {
            findings.push(("load".to_owned(), format!("must be more than 0 and at most {MOST_LOAD}")));
        }
        findings
    }
}

/// One team's habit of submitting.
struct Stream {
    queue: &'static str,
    share: Option<&'static str>,
    /// Quota in instances; for FIFO the whole environment.
    quota: f64,
    sharing: Sharing,
    unit: &'static str,
    /// Mean load over quota, averaged over the rhythm.
    load: f64,
    /// Where in the rhythm its crest is, 0 to 1.
    crest: f64,
    /// Instances per job, each as likely as the others.
    sizes: &'static [u32],
    /// The median of the durations, in seconds.
    median: f64,
    names: &'static [&'static str],
    owners: &'static [&'static str],
}

const STREAMS: [Stream; 5] = [
    Stream {
        queue: RESEARCH,
        share: Some("language"),
        quota: 12.0,
        sharing: Sharing::LendAndBorrow { borrow_limit: Some(100) },
        unit: BIG,
        load: 0.85,
        crest: 0.25,
        sizes: &[1, 1, 1, 2, 2, 4],
        median: 1800.0,
        names: &["pretrain-7b", "sft-chat", "dpo-sweep", "eval-suite"],
        owners: &["amara", "bela", "chidi"],
    },
    Stream {
        queue: RESEARCH,
        share: Some("vision"),
        quota: 10.0,
        sharing: Sharing::LendAndBorrow { borrow_limit: None },
        unit: BIG,
        load: 0.75,
        crest: 0.6,
        sizes: &[1, 1, 1, 2],
        median: 1500.0,
        names: &["detector", "segment-anything", "augment-sweep"],
        owners: &["dunja", "emeka"],
    },
    Stream {
        queue: RESEARCH,
        share: Some("speech"),
        quota: 6.0,
        sharing: Sharing::Lend,
        unit: BIG,
        load: 0.5,
        crest: 0.9,
        sizes: &[1, 1, 2],
        median: 1200.0,
        names: &["asr-conformer", "tts-finetune"],
        owners: &["farid", "grete"],
    },
    Stream {
        queue: RESEARCH,
        share: Some("platform"),
        quota: 4.0,
        sharing: Sharing::Reserve,
        unit: BIG,
        load: 0.35,
        crest: 0.1,
        sizes: &[1],
        median: 600.0,
        names: &["canary", "regression"],
        owners: &["hana"],
    },
    Stream {
        queue: NIGHTLY,
        share: None,
        quota: 8.0,
        sharing: Sharing::Reserve,
        unit: SMALL,
        load: 0.6,
        crest: 0.4,
        sizes: &[1, 1, 2],
        median: 1500.0,
        names: &["refresh-embeddings", "retrain-ranker", "score-catalogue"],
        owners: &["ines", "jonas"],
    },
];

/// `length` of the demo's work from `start` on, 60 days at most; the same for equal seeds.
pub fn synthetic(seed: u64, start: Timestamp, length: Duration) -> Workload {
    Synthetic { length: Some(HumanDuration(length)), ..Synthetic::default() }.workload(seed, start)
}

fn setup() -> Setup {
    let shares: Vec<QuotaShare> = STREAMS.iter().filter_map(Stream::quota_share).collect();
    let total = shares.iter().flat_map(|share| &share.limits).map(|limit| limit.quantity).sum();
    let fifo = STREAMS.iter().filter(|stream| stream.share.is_none()).map(|stream| stream.quota).sum();
    let name = |queue: &str| format!("{queue}-environment");
    let environment = |queue: &str, unit: &str, total: f64| ServiceEnvironment {
        name: name(queue),
        enabled: true,
        limits: vec![Capacity::new(unit, total)],
    };
    Setup {
        environments: vec![environment(RESEARCH, BIG, total), environment(NIGHTLY, InstanceType::ANY, fifo)],
        queues: vec![
            QueueSetup::new(RESEARCH, name(RESEARCH), Policy::QuotaShares(shares)),
            QueueSetup::new(NIGHTLY, name(NIGHTLY), Policy::Fifo),
        ],
        ..Setup::default()
    }
}

impl Stream {
    fn quota_share(&self) -> Option<QuotaShare> {
        Some(QuotaShare {
            name: ShareName::from(self.share?),
            enabled: true,
            limits: vec![Capacity::new(self.unit, self.quota)],
            sharing: self.sharing,
            in_share_preemption: false,
        })
    }

    /// Arrivals at the rate of the crest, of which the rhythm lets some through (thinning).
    fn submissions(
        &self,
        habits: &Synthetic,
        random: &mut ChaCha8Rng,
        start: Timestamp,
        length: Duration,
    ) -> Vec<Submission> {
        let mut submissions = Vec::new();
        let (end, mut second) = (length.as_secs_f64(), 0.0);
        let between = habits.rhythm.mean_swell() / (self.mean_rate() * habits.load);
        loop {
            let gap: f64 = Exp1.sample(random);
            second += gap * between;
            if second >= end {
                return submissions;
            }
            let at = start + Duration::from_secs_f64(second);
            if random.random::<f64>() < habits.rhythm.swell(second, at, self.crest) {
                submissions.extend(self.call(habits, random, at));
            }
        }
    }

    /// Calls per second that give the mean load, if none fails.
    fn mean_rate(&self) -> f64 {
        let size = f64::from(self.sizes.iter().sum::<u32>()) / self.sizes.len() as f64;
        let held = self.median * (SPREAD * SPREAD / 2.0).exp() + Delays::TYPICAL.mean_before_running().as_secs_f64();
        self.load * self.quota / (size * held * USUAL_JOBS_PER_CALL)
    }

    /// A single job or a sweep.
    fn call(&self, habits: &Synthetic, random: &mut ChaCha8Rng, at: Timestamp) -> Vec<Submission> {
        if random.random::<f64>() >= habits.sweeps {
            return vec![self.submission(habits, random, at)];
        }
        let jobs = random.random_range(SWEEP);
        let mut sweep: Vec<_> = (0..jobs).map(|_| self.submission(habits, random, at)).collect();
        // A sweep is one person's, over one program.
        let (name, tags) = sweep.first().map(|job| (job.name.clone(), job.tags.clone())).unwrap_or_default();
        for (job, number) in sweep.iter_mut().zip(0..) {
            job.name = format!("{name}-{number:02}");
            job.tags.clone_from(&tags);
        }
        sweep
    }

    fn submission(&self, habits: &Synthetic, random: &mut ChaCha8Rng, at: Timestamp) -> Submission {
        let pick = |random: &mut ChaCha8Rng, from: &[&'static str]| from[random.random_range(0..from.len())];
        let name = format!("{}-{:04x}", pick(random, self.names), random.random::<u16>());
        let gang = habits.gangs > 0.0 && random.random::<f64>() < habits.gangs;
        let count = f64::from(self.sizes[random.random_range(0..self.sizes.len())]);
        let count = if gang { self.quota } else { count };
        let fails = random.random::<f64>() < habits.failures;
        let whole = lasts(random, self.median);
        // Most failures come early.
        let seconds = if fails { whole * random.random::<f64>().powi(2) } else { whole };
        let duration = Duration::from_secs_f64(seconds.max(20.0).round());
        let plan = if fails {
            let reason = pick(random, &FAILURES).to_owned();
            let failed = PlannedAttempt { duration, outcome: PlannedOutcome::Fails(reason) };
            let passes = habits.attempts > 1 && random.random::<f64>() < PASSING;
            let whole = Duration::from_secs_f64(whole.max(20.0).round());
            let passed = PlannedAttempt { duration: whole, outcome: PlannedOutcome::Succeeds };
            Plan::Attempts(if passes { vec![failed, passed] } else { vec![failed] })
        } else {
            Plan::Runs { duration, outcome: PlannedOutcome::Succeeds }
        };
        let idles = random.random::<f64>() < habits.idle;
        let utilisation = if idles { random.random_range(0.0..0.04) } else { random.random_range(0.55..0.97) };
        Submission {
            at,
            name,
            queue: QueueName::from(self.queue),
            share: self.share.map(ShareName::from),
            priority: [0, 0, 0, 1, 5][random.random_range(0..5)],
            demand: vec![Capacity::new(self.unit, count)],
            tags: BTreeMap::from([("owner".to_owned(), pick(random, self.owners).to_owned())]),
            plan,
            terms: Terms {
                retry: RetryStrategy { attempts: habits.attempts, ..RetryStrategy::default() },
                ..Terms::default()
            },
            utilisation,
        }
    }
}

impl Rhythm {
    /// From 0 at the trough to 1 at the crest, `second` after the start and at that moment of the calendar. `crest` is
    /// where in the quick rhythm it is, 0 to 1. Squared, so that quiet times last.
    fn swell(self, second: f64, at: Timestamp, crest: f64) -> f64 {
        match self {
            Self::Quick => (0.5 + 0.5 * (TAU * (second / RHYTHM - crest)).cos()).powi(2),
            Self::Calendar => of_calendar(at),
        }
    }

    /// The mean of [`Rhythm::swell`].
    fn mean_swell(self) -> f64 {
        match self {
            Self::Quick => MEAN_SWELL,
            Self::Calendar => {
                let hours = (0..7 * 24).map(|hour| of_calendar(Timestamp::from_millis(hour * HOUR_MILLIS)));
                hours.sum::<f64>() / (7.0 * 24.0)
            }
        }
    }
}

const HOUR_MILLIS: i64 = 3_600_000;

/// A bell around 14 o'clock on a floor for what starts by itself; a third of it at weekends.
fn of_calendar(at: Timestamp) -> f64 {
    const FLOOR: f64 = 0.15;
    const PEAK: f64 = 14.0;
    const WIDTH: f64 = 4.5;
    let hours = at.seconds_since(Timestamp::from_millis(0)) / 3_600.0;
    let from_peak = (hours.rem_euclid(24.0) - PEAK + 12.0).rem_euclid(24.0) - 12.0;
    let by_hour = FLOOR + (1.0 - FLOOR) * (-(from_peak / WIDTH).powi(2)).exp();
    // 1 January 1970 was a Thursday: days 2 and 3 of each week from then are a weekend.
    let weekend = (2.0..4.0).contains(&(hours / 24.0).rem_euclid(7.0));
    if weekend { by_hour / 3.0 } else { by_hour }
}

/// The spread of the durations' logarithm: the longest 2 % run for eight times the median.
const SPREAD: f64 = 0.9;

fn lasts(random: &mut ChaCha8Rng, median: f64) -> f64 {
    // The parameters are constants that the constructor accepts; the median would be the fallback.
    LogNormal::new(median.ln(), SPREAD).map_or(median, |law| law.sample(random)).min(LONGEST_JOB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::JobStatus;
    use crate::scheduler::Scheduler;

    const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    #[test]
    fn equal_seeds_give_equal_work_and_a_longer_time_only_adds_to_it() {
        let week = synthetic(7, START, WEEK);
        assert_eq!(week, synthetic(7, START, WEEK));
        assert_ne!(week, synthetic(8, START, WEEK));
        let day = synthetic(7, START, WEEK / 7);
        assert_eq!(day.submissions, week.submissions[..day.submissions.len()]);
        assert!(week.submissions.is_sorted_by_key(|submission| submission.at));
        assert!(week.submissions.iter().all(|submission| submission.at >= START && submission.at < START + WEEK));
    }

    #[test]
    fn a_share_of_the_work_fails_and_a_share_idles_and_all_of_it_has_owners() {
        let jobs = synthetic(7, START, WEEK).submissions;
        let part =
            |holds: fn(&Submission) -> bool| jobs.iter().filter(|job| holds(job)).count() as f64 / jobs.len() as f64;
        let fails = |job: &Submission| matches!(job.plan.outcome(0), PlannedOutcome::Fails(_));
        assert!((0.04..0.08).contains(&part(fails)), "{}", part(fails));
        let idles = |job: &Submission| job.utilisation < 0.05;
        assert!((0.06..0.10).contains(&part(idles)), "{}", part(idles));
        assert!(jobs.iter().all(|job| job.tags.contains_key("owner")));
    }

    #[test]
    fn a_calendar_is_quiet_at_night_and_at_weekends_and_the_load_stays() {
        let calendar =
            Synthetic { rhythm: Rhythm::Calendar, length: Some(HumanDuration(WEEK * 4)), ..Synthetic::default() };
        let jobs = calendar.workload(7, START).submissions;
        let part = |holds: fn(i64, i64) -> bool| {
            let of = |job: &&Submission| {
                let hour = job.at.millis() / HOUR_MILLIS;
                holds((hour / 24 + 3) % 7, hour % 24)
            };
            jobs.iter().filter(of).count() as f64 / jobs.len() as f64
        };
        assert!(part(|weekday, _| weekday >= 5) < 0.18, "{}", part(|weekday, _| weekday >= 5));
        let (day, night) = (part(|_, hour| (10..18).contains(&hour)), part(|_, hour| hour < 6));
        assert!(day > 0.5 && night < 0.2, "{day} {night}");
        let quick = synthetic(7, START, WEEK * 4).submissions.len() as f64;
        assert!((0.85..1.15).contains(&(jobs.len() as f64 / quick)), "{} against {quick}", jobs.len());
    }

    #[test]
    fn some_failures_pass_when_a_job_may_try_again() {
        let ended = |attempts: u32| {
            let habits = Synthetic { attempts, length: Some(HumanDuration(WEEK)), ..Synthetic::default() };
            let workload = habits.workload(7, START);
            let mut scheduler = Scheduler::new(workload.setup, 7, START);
            for submission in workload.submissions {
                scheduler.submit(submission).unwrap();
            }
            scheduler.advance(START + WEEK * 2);
            let failed = scheduler.jobs().filter(|job| job.status == JobStatus::Failed).count();
            let most = scheduler.jobs().map(|job| job.attempts.len()).max().unwrap();
            (failed, most)
        };
        let ((once, one), (thrice, three)) = (ended(1), ended(3));
        assert_eq!((one, three), (1, 3));
        assert!((once / 3..once * 2 / 3).contains(&thrice), "{once} {thrice}");
    }

    #[test]
    fn gangs_need_the_whole_quota_and_sweeps_share_a_name() {
        let habits = Synthetic { gangs: 0.1, length: Some(HumanDuration(WEEK)), ..Synthetic::default() };
        let jobs = habits.workload(7, START).submissions;
        let vision = jobs.iter().filter(|job| job.share == Some(ShareName::from("vision")));
        assert!(vision.clone().any(|job| job.demand[0].quantity == 10.0));
        assert!(vision.clone().any(|job| job.demand[0].quantity < 3.0));
        let sweep: Vec<_> = jobs.iter().filter(|job| job.name.ends_with("-00")).collect();
        assert!(!sweep.is_empty());
        let stem = sweep[0].name.trim_end_matches("00");
        let (members, owners): (Vec<_>, std::collections::BTreeSet<_>) =
            jobs.iter().filter(|job| job.name.starts_with(stem)).map(|job| (&job.name, &job.tags["owner"])).unzip();
        assert!((3..=7).contains(&members.len()) && owners.len() == 1, "{members:?} {owners:?}");
    }

    /// What a demo must show for its alerts to fire and to resolve.
    #[test]
    fn waits_build_up_and_drain_and_capacity_is_lent_and_taken_back() {
        for seed in [1, 7] {
            let workload = synthetic(seed, START, WEEK);
            let mut scheduler = Scheduler::new(workload.setup, seed, START);
            for submission in workload.submissions {
                assert_eq!(scheduler.submit(submission).err(), None);
            }
            let (mut first_long, mut long, mut clear, mut borrowing) = (None, 0, 0, 0);
            for quarter in 0..7 * 24 * 4 {
                let now = START + Duration::from_secs(900 * quarter);
                scheduler.advance(now);
                let waiting = |queue: &str| scheduler.jobs_in(&queue.into(), &JobStatus::Runnable).next();
                let oldest = [RESEARCH, NIGHTLY].into_iter().filter_map(waiting).map(|job| now.since(job.created_at));
                let oldest = oldest.max().unwrap_or_default();
                if oldest > Duration::from_secs(1800) {
                    long += 1;
                    first_long.get_or_insert(quarter / 4);
                }
                clear += u32::from(oldest < Duration::from_secs(600));
                borrowing += u32::from(scheduler.usage(&RESEARCH.into()).iter().any(|row| row.borrowed > 0));
            }
            let quarters = 7 * 24 * 4;
            assert!(
                first_long.is_some_and(|hour| hour < 6),
                "seed {seed}: nothing to alert on for {first_long:?} hours"
            );
            assert!((quarters / 5..quarters * 4 / 5).contains(&long), "seed {seed}: long waits {long} times");
            assert!(clear > quarters / 10, "seed {seed}: drained only {clear} times");
            assert!(borrowing > quarters / 4, "seed {seed}: borrowed only {borrowing} times");
            let preemptions: u32 = scheduler.jobs().map(|job| job.preemptions).sum();
            assert!((7 * 5..7 * 100).contains(&preemptions), "seed {seed}: {preemptions} preemptions");
            let misfit = scheduler
                .jobs()
                .find(|job| job.status_reason.as_ref().is_some_and(|reason| reason.starts_with("MISCONFIGURATION")));
            assert_eq!(misfit, None);
        }
    }
}
