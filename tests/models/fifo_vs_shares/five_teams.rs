//! Five teams that are busy at different times of the day, and two divisions of a hundred instances among them.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use trainspotter_core::model::{Capacity, Policy, QuotaShare, ServiceEnvironment, Sharing, Timestamp};
use trainspotter_core::scheduler::{Plan, PlannedOutcome, QueueSetup, Setup, Submission, Terms};

/// An instance with eight GPUs.
pub const INSTANCE: &str = "ml.p4d.24xlarge";
pub const INSTANCES: u32 = 100;
/// Simulated days.
pub const DAYS: i64 = 3;

const TEAMS: [&str; 5] = ["ads", "ranking", "speech", "translation", "vision"];
const SEED: u64 = 40;
const HOUR: i64 = 3_600_000;
/// Jobs of a team's daily sweep, one or two instances each.
const SWEEP: i64 = 90;

/// How the hundred instances are divided.
#[derive(Clone, Copy, Debug)]
pub enum Division {
    /// One FIFO queue per team, with its own environment of a fifth of the instances.
    FixedParts,
    /// One queue with a quota share per team; idle capacity is lent and borrowed.
    LendingShares,
}

impl Division {
    fn queue(self, team: &str) -> String {
        match self {
            Self::FixedParts => team.to_owned(),
            Self::LendingShares => "training".to_owned(),
        }
    }
}

pub fn setup(division: Division) -> Setup {
    let fifth = f64::from(INSTANCES) / TEAMS.len() as f64;
    let (environments, queues) = match division {
        Division::FixedParts => {
            (TEAMS.map(|team| environment(team, fifth)).into(), TEAMS.map(|team| queue(team, Policy::Fifo)).into())
        }
        Division::LendingShares => {
            let share = |team: &str| QuotaShare {
                name: team.into(),
                enabled: true,
                limits: vec![Capacity::new(INSTANCE, fifth)],
                sharing: Sharing::LendAndBorrow { borrow_limit: None },
                in_share_preemption: false,
            };
            let policy = Policy::QuotaShares(TEAMS.map(share).into());
            (vec![environment("training", f64::from(INSTANCES))], vec![queue("training", policy)])
        }
    };
    Setup { environments, queues, ..Setup::default() }
}

fn environment(name: &str, instances: f64) -> ServiceEnvironment {
    ServiceEnvironment { name: name.to_owned(), enabled: true, limits: vec![Capacity::new(INSTANCE, instances)] }
}

/// A queue over the environment of the same name.
fn queue(name: &str, policy: Policy) -> QueueSetup {
    QueueSetup::new(name, name, policy)
}

/// The same jobs for both divisions: each team has a steady trickle all day and a sweep at its own hour.
pub fn submissions(division: Division) -> Vec<Submission> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut submissions = Vec::new();
    for day in 0..DAYS {
        for (number, team) in (0..).zip(TEAMS) {
            let midnight = day * 24 * HOUR;
            let sweep = midnight + number * 24 * HOUR / 5;
            for _ in 0..SWEEP {
                let at = sweep + random.random_range(0..HOUR / 4);
                submissions.push(submission(division, team, "sweep", at, &mut random));
            }
            for _ in 0..24 {
                let at = midnight + random.random_range(0..24 * HOUR);
                submissions.push(submission(division, team, "daily", at, &mut random));
            }
        }
    }
    submissions.sort_by_key(|submission| submission.at);
    submissions
}

fn submission(division: Division, team: &str, name: &str, at: i64, random: &mut ChaCha8Rng) -> Submission {
    let minutes = random.random_range(30..90);
    let instances = f64::from(random.random_range(1..3_u8));
    Submission {
        at: Timestamp::from_millis(at),
        name: format!("{team}-{name}"),
        queue: division.queue(team).as_str().into(),
        share: match division {
            Division::FixedParts => None,
            Division::LendingShares => Some(team.into()),
        },
        priority: 0,
        demand: vec![Capacity::new(INSTANCE, instances)],
        tags: BTreeMap::new(),
        terms: Terms::default(),
        plan: Plan::Runs { duration: Duration::from_mins(minutes), outcome: PlannedOutcome::Succeeds },
        utilisation: 0.9,
    }
}
