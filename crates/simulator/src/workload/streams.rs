//! Streams of the synthetic workload: what each team submits, and the queues.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal};

use crate::workload::{SWEEPING, Synthetic};
use trainspotter_core::model::{
    Capacity, InstanceType, Policy, QueueName, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp,
};
use trainspotter_core::scheduler::{
    Delays, Plan, PlannedAttempt, PlannedOutcome, QueueSetup, RetryStrategy, Setup, Submission, Terms,
};

pub(super) const RESEARCH: &str = "research";
pub(super) const NIGHTLY: &str = "nightly";
const BIG: &str = "ml.p5.48xlarge";
const SMALL: &str = "ml.g5.12xlarge";

/// Maximum run time.
const MAX_JOB_SPAN: f64 = 8.0 * 3600.0;
/// Number of jobs in a sweep.
const SWEEP: std::ops::RangeInclusive<u32> = 3..=7;
/// Mean jobs per call, which submits a single job or a sweep, at the default fraction of sweeps.
const USUAL_JOBS_PER_CALL: f64 = 1.0 + SWEEPING * 4.0;
/// Fraction of failures that do not recur.
const PASSING: f64 = 0.5;
const FAILURES: [&str; 4] = [
    "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 1 ErrorMessage \
     \"torch.OutOfMemoryError: CUDA out of memory\"",
    "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 1 ErrorMessage \
     \"FileNotFoundError: train.parquet\"",
    "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 134 ErrorMessage \
     \"NCCL watchdog: collective operation timed out\"",
    "Received status from SageMaker: InternalServerError: We encountered an internal error. Please try again.",
];

/// Submission habits of one team.
pub(super) struct Stream {
    queue: &'static str,
    share: Option<&'static str>,
    /// Quota in instances; for FIFO that of the whole environment.
    quota: f64,
    sharing: Sharing,
    unit: &'static str,
    /// Mean load relative to the quota, averaged over the rhythm.
    load: f64,
    /// Phase of its peak in the rhythm, 0 to 1.
    crest: f64,
    /// Instances per job, with equal probability.
    sizes: &'static [u32],
    /// Median duration, in seconds.
    median: f64,
    names: &'static [&'static str],
    owners: &'static [&'static str],
}

pub(super) const STREAMS: [Stream; 5] = [
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

/// Queues of all streams.
pub(super) fn setup() -> Setup {
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

    /// Generates arrivals at the peak rate, and thins them by the rhythm.
    pub(super) fn submissions(
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

    /// Calls per second that give the mean load if no job fails.
    fn mean_rate(&self) -> f64 {
        let size = f64::from(self.sizes.iter().sum::<u32>()) / self.sizes.len() as f64;
        let held = self.median * (SPREAD * SPREAD / 2.0).exp() + Delays::TYPICAL.mean_before_running().as_secs_f64();
        self.load * self.quota / (size * held * USUAL_JOBS_PER_CALL)
    }

    /// Generates a single job or a sweep.
    fn call(&self, habits: &Synthetic, random: &mut ChaCha8Rng, at: Timestamp) -> Vec<Submission> {
        if random.random::<f64>() >= habits.sweeps {
            return vec![self.submission(habits, random, at)];
        }
        let jobs = random.random_range(SWEEP);
        let mut sweep: Vec<_> = (0..jobs).map(|_| self.submission(habits, random, at)).collect();
        // All jobs of a sweep have the same owner and program.
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
        // Most failures occur early.
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

/// Spread of the logarithm of durations: the longest 2 % run for eight times the median.
const SPREAD: f64 = 0.9;

fn lasts(random: &mut ChaCha8Rng, median: f64) -> f64 {
    // The parameters are constants that the constructor accepts; the median is a fallback.
    LogNormal::new(median.ln(), SPREAD).map_or(median, |law| law.sample(random)).min(MAX_JOB_SPAN)
}
