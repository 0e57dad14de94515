//! A seeded synthetic workload: what the demo shows when nobody brings a trace.
//!
//! Two queues: `research`, whose four quota shares lend, borrow or keep to themselves, and `nightly`, first in, first
//! out. Each stream of jobs arrives by chance around a rhythm of its own, so that the shares press at different times:
//! waits build up to an hour or two and drain again, shares borrow while others are quiet and are preempted when
//! those come back. All of it repeats about every five hours and is never quite the same.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal};

use crate::model::{
    Capacity, InstanceType, Policy, QueueName, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp,
};
use crate::scheduler::{Delays, Plan, PlannedOutcome, QueueSetup, Quirks, Setup, Submission};

const RESEARCH: &str = "research";
const NIGHTLY: &str = "nightly";
const BIG: &str = "ml.p5.48xlarge";
const SMALL: &str = "ml.g5.12xlarge";

/// The longest time that is generated, so that a slip of the pen does not fill the memory.
const LONGEST: Duration = Duration::from_secs(60 * 24 * 3600);
/// From one crest of a stream's rhythm to the next, in seconds.
const RHYTHM: f64 = 5.0 * 3600.0;
/// No job runs longer.
const LONGEST_JOB: f64 = 8.0 * 3600.0;
/// The share of jobs that fail.
const FAILING: f64 = 0.06;
/// The share of jobs that leave their GPUs idle.
const IDLING: f64 = 0.08;

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
        load: 1.05,
        crest: 0.25,
        sizes: &[1, 1, 2, 2, 4],
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
        load: 0.95,
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
        load: 0.7,
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
        load: 0.4,
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
        load: 0.85,
        crest: 0.4,
        sizes: &[1, 1, 2],
        median: 1500.0,
        names: &["refresh-embeddings", "retrain-ranker", "score-catalogue"],
        owners: &["ines", "jonas"],
    },
];

/// `length` of work from `start` on, 60 days at most; the same for equal seeds.
pub fn synthetic(seed: u64, start: Timestamp, length: Duration) -> Workload {
    let mut submissions = Vec::new();
    for (place, stream) in (0..).zip(&STREAMS) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(place);
        submissions.extend(stream.submissions(&mut random, start, length.min(LONGEST)));
    }
    submissions.sort_by_key(|submission| submission.at);
    Workload { setup: setup(), submissions }
}

fn setup() -> Setup {
    let shares: Vec<QuotaShare> = STREAMS.iter().filter_map(Stream::quota_share).collect();
    let total = shares.iter().flat_map(|share| &share.limits).map(|limit| limit.quantity).sum();
    let fifo = STREAMS.iter().filter(|stream| stream.share.is_none()).map(|stream| stream.quota).sum();
    let queue = |name: &str, policy: Policy, unit: &str, total: f64| QueueSetup {
        name: QueueName::from(name),
        priority: 1,
        policy,
        environment: ServiceEnvironment {
            name: format!("{name}-environment"),
            enabled: true,
            limits: vec![Capacity::new(unit, total)],
        },
    };
    let queues = vec![
        queue(RESEARCH, Policy::QuotaShares(shares), BIG, total),
        queue(NIGHTLY, Policy::Fifo, InstanceType::ANY, fifo),
    ];
    Setup { queues, delays: Delays::TYPICAL, quirks: Quirks::default() }
}

impl Stream {
    fn quota_share(&self) -> Option<QuotaShare> {
        Some(QuotaShare {
            name: ShareName::from(self.share?),
            enabled: true,
            limits: vec![Capacity::new(self.unit, self.quota)],
            sharing: self.sharing,
        })
    }

    /// Arrivals at the rate of the crest, of which the rhythm lets some through (thinning); one in five brings a burst.
    fn submissions(&self, random: &mut ChaCha8Rng, start: Timestamp, length: Duration) -> Vec<Submission> {
        let mut submissions = Vec::new();
        let (end, mut second) = (length.as_secs_f64(), 0.0);
        let between = 1.0 / (2.0 * self.mean_rate());
        loop {
            let gap: f64 = Exp1.sample(random);
            second += gap * between;
            if second >= end {
                return submissions;
            }
            if random.random::<f64>() < self.swell(second) {
                let burst = if random.random::<f64>() < 0.2 { random.random_range(3..=7) } else { 1 };
                let at = start + Duration::from_secs_f64(second);
                submissions.extend((0..burst).map(|_| self.submission(random, at)));
            }
        }
    }

    /// Calls per second that give the mean load, if each brings 1.8 jobs as above and none fails.
    fn mean_rate(&self) -> f64 {
        let size = f64::from(self.sizes.iter().sum::<u32>()) / self.sizes.len() as f64;
        let held = self.median * (SPREAD * SPREAD / 2.0).exp() + Delays::TYPICAL.mean_before_running().as_secs_f64();
        self.load * self.quota / (size * held * 1.8)
    }

    /// From 0 at the trough to 1 at the crest; 0.5 on average.
    fn swell(&self, second: f64) -> f64 {
        0.5 + 0.5 * (TAU * (second / RHYTHM - self.crest)).cos()
    }

    fn submission(&self, random: &mut ChaCha8Rng, at: Timestamp) -> Submission {
        let pick = |random: &mut ChaCha8Rng, from: &[&'static str]| from[random.random_range(0..from.len())];
        let name = format!("{}-{:04x}", pick(random, self.names), random.random::<u16>());
        let count = self.sizes[random.random_range(0..self.sizes.len())];
        let fails = random.random::<f64>() < FAILING;
        let whole = lasts(random, self.median);
        // Most failures come early.
        let seconds = if fails { whole * random.random::<f64>().powi(2) } else { whole };
        let outcome =
            if fails { PlannedOutcome::Fails(pick(random, &FAILURES).to_owned()) } else { PlannedOutcome::Succeeds };
        let idles = random.random::<f64>() < IDLING;
        let utilisation = if idles { random.random_range(0.0..0.04) } else { random.random_range(0.55..0.97) };
        Submission {
            at,
            name,
            queue: QueueName::from(self.queue),
            share: self.share.map(ShareName::from),
            priority: [0, 0, 0, 1, 5][random.random_range(0..5)],
            demand: vec![Capacity::new(self.unit, f64::from(count))],
            tags: BTreeMap::from([("owner".to_owned(), pick(random, self.owners).to_owned())]),
            plan: Plan::Runs { duration: Duration::from_secs_f64(seconds.max(20.0).round()), outcome },
            utilisation,
        }
    }
}

/// The spread of the durations' logarithm: the longest 2 % run for eight times the median.
const SPREAD: f64 = 1.0;

fn lasts(random: &mut ChaCha8Rng, median: f64) -> f64 {
    // The parameters are constants that the constructor accepts; the median would be the fallback.
    LogNormal::new(median.ln(), SPREAD).map_or(median, |law| law.sample(random)).min(LONGEST_JOB)
}
