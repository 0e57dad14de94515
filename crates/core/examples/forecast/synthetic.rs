//! Synthetic workloads. The seed determines the number of shares, the run times and their spread, bursts, the daily
//! rhythm and the load.

use std::time::Duration;

use trainspotter_core::model::ShareName;

use crate::workload::{START, Workload, WorkloadJob};

const JOBS: usize = 12_000;

/// Job names by kind of work.
const NAMES: [&str; 8] = ["eval", "tune", "train", "sweep", "etl", "embed", "distil", "rank"];

/// Instances of one job.
const SIZES: [f64; 5] = [1.0, 1.0, 2.0, 4.0, 8.0];

/// Submissions an hour, by day.
const RATE: f64 = 20.0;

/// Parameters of a workload.
struct Kind {
    /// Load of each share.
    shares: Vec<f64>,
    owners: usize,
    /// Typical run time and size of the jobs of each name.
    names: Vec<(f64, f64)>,
    /// Run time factor of each owner of each share.
    of_owners: Vec<f64>,
    /// The standard deviation of the logarithm of runtimes.
    spread: f64,
    /// Mean size of a burst.
    burst: usize,
    /// Submissions at night and at weekends, as a fraction of those by day.
    nights: f64,
    weekends: f64,
    /// Load as a fraction of the capacity.
    load: f64,
}

impl Kind {
    fn of(random: &mut Random) -> Self {
        let (shares, spread, burst) = (2 + random.below(7), 0.3 + 1.2 * random.unit(), [1, 4, 16][random.below(3)]);
        let (nights, weekends, load) =
            (0.2 + 0.8 * random.unit(), 0.3 + 0.7 * random.unit(), 0.82 + 0.16 * random.unit());
        let (names, owners) = (2 + random.below(6), 2 + random.below(5));
        let mut usual = |_| (300.0 * (random.unit() * 4.5).exp(), SIZES[random.below(SIZES.len())]);
        let names = (0..names).map(&mut usual).collect();
        let of_owners = (0..owners * shares).map(|_| (random.normal() * 0.4).exp()).collect();
        let shares = (0..shares).map(|_| 0.3 + random.unit()).collect();
        Self { shares, owners, names, of_owners, spread, burst, nights, weekends, load }
    }

    fn rate(&self, at: f64) -> f64 {
        let (hour, day) = ((at / 3_600.0) % 24.0, (at / 86_400.0) as u64 % 7);
        let of_hour = if (8.0..20.0).contains(&hour) { 1.0 } else { self.nights };
        let of_day = if day >= 5 { self.weekends } else { 1.0 };
        RATE * of_hour * of_day / self.burst as f64
    }

    fn share(&self, random: &mut Random) -> usize {
        let mut left = random.unit() * self.shares.iter().sum::<f64>();
        let passes = |part: &f64| {
            left -= part;
            left <= 0.0
        };
        self.shares.iter().position(passes).unwrap_or(0)
    }
}

/// The workload of a seed.
pub fn workload(seed: u64) -> Option<Workload> {
    let mut random = Random(seed.wrapping_mul(7_919));
    let kind = Kind::of(&mut random);
    let mut jobs = Vec::new();
    let mut at = 0.0;
    while jobs.len() < JOBS {
        at += -random.unit().ln() * 3_600.0 / kind.rate(at);
        let (share, owner, name) = (kind.share(&mut random), random.below(kind.owners), random.below(kind.names.len()));
        let (usual, instances) = kind.names[name];
        let count = if kind.burst == 1 { 1 } else { 1 + random.below(2 * kind.burst - 1) };
        for _ in 0..count {
            let seconds = usual * kind.of_owners[share * kind.owners + owner] * (random.normal() * kind.spread).exp();
            jobs.push(WorkloadJob {
                at: START + Duration::from_secs_f64(at),
                name: format!("{}-{:04}", NAMES[name], jobs.len()),
                owner: format!("{share}-{owner}"),
                share: ShareName::new(format!("share-{share}")),
                instances,
                seconds: seconds.clamp(10.0, 5.0 * 86_400.0),
            });
        }
    }
    let name = format!(
        "seed {seed}: {} shares, {}, spread {:.1}",
        kind.shares.len(),
        if kind.burst == 1 { "one by one".to_owned() } else { format!("bursts of {}", kind.burst) },
        kind.spread
    );
    Workload::of(&name, jobs, kind.load)
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
