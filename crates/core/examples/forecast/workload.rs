//! Workloads of the evaluation: traces, where there are any, and seeded synthetic ones.

use std::path::Path;
use std::time::Duration;

use trainspotter_core::model::{
    Capacity, Policy, QuotaShare, ServiceEnvironment, ShareName, Sharing, Timestamp, WeightedShare,
};
use trainspotter_core::scheduler::{Delays, QueueSetup, Setup};

pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub const TYPE: &str = "ml.p5.4xlarge";

/// A job of a workload.
#[derive(Clone, Debug)]
pub struct WorkloadJob {
    pub at: Timestamp,
    pub name: String,
    pub owner: String,
    pub share: ShareName,
    pub instances: f64,
    pub seconds: f64,
}

/// Jobs, in the order of their submission, with the capacity that they are run on.
#[derive(Clone, Debug)]
pub struct Workload {
    pub name: String,
    pub jobs: Vec<WorkloadJob>,
    pub capacity: f64,
}

impl Workload {
    fn of(name: &str, mut jobs: Vec<WorkloadJob>, tightness: f64) -> Option<Self> {
        jobs.sort_by_key(|job| job.at);
        let span = jobs.last()?.at.seconds_since(jobs.first()?.at);
        let work: f64 = jobs.iter().map(|job| job.instances * job.seconds.min(span)).sum();
        let largest = jobs.iter().map(|job| job.instances).fold(0.0, f64::max);
        Some(Self { name: name.to_owned(), capacity: (work / span / tightness).ceil().max(largest), jobs })
    }

    pub fn span(&self) -> Duration {
        match (self.jobs.first(), self.jobs.last()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Duration::ZERO,
        }
    }

    /// The queue that the jobs are submitted to, by the name of a policy.
    pub fn setup(&self, policy: &str) -> Setup {
        let mut shares: Vec<(ShareName, f64, f64)> = Vec::new();
        for job in &self.jobs {
            let work = job.instances * job.seconds;
            match shares.iter_mut().find(|(share, ..)| *share == job.share) {
                Some((_, all, largest)) => (*all, *largest) = (*all + work, largest.max(job.instances)),
                None => shares.push((job.share.clone(), work, job.instances)),
            }
        }
        let whole: f64 = shares.iter().map(|(_, work, _)| work).sum();
        let quota = |(name, work, largest): &(ShareName, f64, f64)| QuotaShare {
            name: name.clone(),
            enabled: true,
            limits: vec![Capacity::new(TYPE, (self.capacity * work / whole).ceil().max(*largest))],
            sharing: Sharing::LendAndBorrow { borrow_limit: None },
            in_share_preemption: false,
        };
        let quotas: Vec<QuotaShare> = shares.iter().map(quota).collect();
        let limit: f64 = quotas.iter().filter_map(|quota| quota.limit(&TYPE.into())).sum();
        let (policy, capacity) = match policy {
            "FIFO" => (Policy::Fifo, self.capacity),
            "fair share" => {
                let weight = |(share, ..): &(ShareName, f64, f64)| WeightedShare { share: share.clone(), weight: 1.0 };
                let shares = shares.iter().map(weight).collect();
                (Policy::FairShare { shares, decay: Duration::from_secs(3600), reservation: 0 }, self.capacity)
            }
            _ => (Policy::QuotaShares(quotas), limit),
        };
        let limits = vec![Capacity::new(TYPE, capacity)];
        Setup {
            environments: vec![ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }],
            queues: vec![QueueSetup::new("q", "gpus", policy)],
            delays: Delays::TYPICAL,
            ..Setup::default()
        }
    }
}

/// A trace with a header and `job_id, share, num_gpu, submit_s` and either `duration_s` or `start_s, end_s`.
pub fn trace(path: &Path, tightness: f64) -> Option<Workload> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next()?.split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name);
    let (share, gpus, at) = (column("share")?, column("num_gpu")?, column("submit_s")?);
    let (duration, start, end) = (column("duration_s"), column("start_s"), column("end_s"));
    let job = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
        let seconds = match duration {
            Some(duration) => number(duration)?,
            None => number(end?)? - number(start?)?,
        };
        Some(WorkloadJob {
            at: START + Duration::try_from_secs_f64(number(at)?).ok()?,
            name: String::new(),
            owner: String::new(),
            share: ShareName::new(*fields.get(share)?),
            instances: number(gpus)?.max(1.0),
            seconds: seconds.max(1.0),
        })
    };
    let jobs: Vec<WorkloadJob> = lines.filter_map(job).collect();
    Workload::of(path.file_stem()?.to_str()?, jobs, tightness)
}

/// Names, owners and shares with runtimes of their own, by the hours of the day.
pub fn synthetic(seed: u64, days: u64) -> Option<Workload> {
    let mut random = Random(seed);
    let shares = ["research", "speech", "vision", "ranking"];
    let mut jobs = Vec::new();
    let mut at = 0.0;
    while at < days as f64 * 86_400.0 {
        let hour = (at / 3600.0) % 24.0;
        let rate = if (8.0..20.0).contains(&hour) { 40.0 } else { 12.0 };
        at += -random.unit().ln() * 3600.0 / rate;
        let share = random.below(shares.len());
        let owner = random.below(4);
        let name = random.below(3);
        let usual = [900.0, 3600.0, 10_800.0][name] * [1.0, 1.6, 0.6, 1.2][owner] * [1.0, 0.7, 1.5, 1.0][share];
        let spread = (random.normal() * 0.5).exp();
        jobs.push(WorkloadJob {
            at: START + Duration::from_secs_f64(at),
            name: format!("{}-{:04}", ["eval", "tune", "train"][name], jobs.len()),
            owner: format!("{}-{owner}", shares[share]),
            share: ShareName::new(shares[share]),
            instances: [1.0, 1.0, 2.0, 4.0][random.below(4)] * if name == 2 { 2.0 } else { 1.0 },
            seconds: usual * spread,
        });
    }
    Workload::of(&format!("synthetic, seed {seed}"), jobs, 0.92)
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
