//! A scenario: the jobs and faults of a run, as data and as text. A seed generates one, shrinking shortens it, and its text can be kept
//! as a test.

use std::fmt;
use std::str::FromStr;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// Everything that happens in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// Seed of everything else that is random: delays, and which call fails.
    pub(super) seed: u64,
    /// Seconds after which nothing new begins.
    pub(super) lasts: u64,
    /// 1: one service with a file; more: replicas with a log.
    pub(super) replicas: usize,
    pub(super) policy: Sharing,
    /// Instances of the environment.
    pub(super) instances: u32,
    pub(super) jobs: Vec<Job>,
    pub(super) faults: Vec<Fault>,
}

/// How the queue divides its capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    Fifo,
    Fair,
    Quota,
}

/// A submitted job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) at: u64,
    pub(super) share: String,
    pub(super) instances: u32,
    /// Duration of each attempt.
    pub(super) lasts: u64,
    /// Number of attempts that fail, from the first on.
    pub(super) failing: u32,
    pub(super) attempts: u32,
}

/// A fault, or an operator's action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    pub(super) at: u64,
    pub(super) lasts: u64,
    /// The affected replica, if it is one.
    pub(super) replica: usize,
    /// The failing AWS operation; `*` for all.
    pub(super) on: String,
    /// Its size, in seconds.
    pub(super) by: i64,
}

macro_rules! fault_kinds {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// Kinds of faults and actions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum FaultKind { $($name),* }

        impl FaultKind {
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];

            pub(super) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

fault_kinds! {
    Throttle = "throttle",
    ServerError = "server_error",
    ExpiredCredentials = "expired_credentials",
    AccessDenied = "access_denied",
    Slow = "slow",
    Cut = "cut",
    Truncated = "truncated",
    Malformed = "malformed",
    FailPage = "fail_page",
    StaleSnapshot = "stale_snapshot",
    ClockSkew = "clock_skew",
    ListLag = "list_lag",
    Topic = "topic",
    UnknownInstanceType = "unknown_instance_type",
    NoInstances = "no_instances",
    Partition = "partition",
    LostAnswers = "lost_answers",
    SlowDisk = "slow_disk",
    FailingDisk = "failing_disk",
    SlowBucket = "slow_bucket",
    BucketOutage = "bucket_outage",
    SilentBucket = "silent_bucket",
    ClockStep = "clock_step",
    Death = "death",
    DeathWithDisk = "death_with_disk",
    Deployment = "deployment",
    RulesChanged = "rules_changed",
    RulesBroken = "rules_broken",
    ConfigChanged = "config_changed",
    Silence = "silence",
}

impl FaultKind {
    /// Whether the AWS simulator implements it.
    pub(super) fn is_of_aws(self) -> bool {
        self <= Self::Topic || self == Self::UnknownInstanceType
    }

    /// Whether it is an intended action, after which figures are as exact as before.
    pub(super) fn is_harmless(self) -> bool {
        matches!(self, Self::RulesBroken | Self::Silence | Self::NoInstances | Self::SlowDisk | Self::Topic)
    }
}

const OPERATIONS: [&str; 7] = [
    "*",
    "ListServiceJobs",
    "DescribeServiceJob",
    "DescribeJobQueues",
    "ListQuotaShares",
    "DescribeTrainingJob",
    "Publish",
];

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let policy = [Sharing::Fifo, Sharing::Fair, Sharing::Quota, Sharing::Quota][rng.random_range(0..4)];
        let replicas = [1, 1, 1, 2, 3][rng.random_range(0..5)];
        let lasts = 60 * rng.random_range(6..16_u64);
        let mut jobs: Vec<Job> = (0..rng.random_range(4..10)).map(|_| job(&mut rng, policy, lasts)).collect();
        // Each run has only some kinds of faults.
        let kinds: Vec<FaultKind> = FaultKind::ALL.iter().copied().filter(|_| rng.random_bool(0.12)).collect();
        let mut faults = Vec::new();
        for kind in kinds {
            for _ in 0..rng.random_range(1..3) {
                faults.push(fault(&mut rng, kind, replicas, lasts));
            }
        }
        faults.sort_by_key(|fault| fault.at);
        let instances = rng.random_range(2..5);
        if rng.random_bool(0.4) {
            // Several jobs at once: the same poll sees them, on more than one page.
            for index in 1..jobs.len() {
                if rng.random_bool(0.6) {
                    jobs[index].at = jobs[index - 1].at;
                }
            }
        }
        Self { seed, lasts, replicas, policy, instances, jobs, faults }
    }
}

fn job(rng: &mut ChaCha8Rng, policy: Sharing, lasts: u64) -> Job {
    let share = match policy {
        Sharing::Fifo => "",
        Sharing::Fair | Sharing::Quota => ["a", "b"][rng.random_range(0..2)],
    };
    let attempts = rng.random_range(1..4);
    Job {
        at: rng.random_range(0..lasts * 3 / 4),
        share: share.to_owned(),
        instances: rng.random_range(1..3),
        lasts: rng.random_range(20..300),
        failing: if rng.random_bool(0.4) { rng.random_range(1..3) } else { 0 },
        attempts,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "most faults have no amount")]
fn fault(rng: &mut ChaCha8Rng, kind: FaultKind, replicas: usize, lasts: u64) -> Fault {
    let on =
        if kind == FaultKind::FailPage { "ListServiceJobs" } else { OPERATIONS[rng.random_range(0..OPERATIONS.len())] };
    let by = match kind {
        FaultKind::Slow => rng.random_range(1..30),
        FaultKind::ListLag => rng.random_range(2..40),
        FaultKind::ClockSkew => [-90, -20, 20, 90][rng.random_range(0..4)],
        FaultKind::ClockStep => [-3_600, -60, 60, 3_600][rng.random_range(0..4)],
        _ => 0,
    };
    Fault {
        kind,
        at: rng.random_range(0..lasts),
        lasts: rng.random_range(5..200),
        replica: rng.random_range(0..replicas),
        on: on.to_owned(),
        by,
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fifo => "fifo",
            Self::Fair => "fair",
            Self::Quota => "quota",
        })
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, lasts, replicas, policy, instances, jobs, faults } = self;
        writeln!(f, "world: seed {seed} lasts {lasts} replicas {replicas} policy {policy} instances {instances}")?;
        for Job { at, share, instances, lasts, failing, attempts } in jobs {
            let share = if share.is_empty() { "-" } else { share };
            writeln!(
                f,
                "job: at {at} share {share} instances {instances} lasts {lasts} failing {failing} attempts {attempts}"
            )?;
        }
        for Fault { kind, at, lasts, replica, on, by } in faults {
            writeln!(f, "{}: at {at} lasts {lasts} replica {replica} on {on} by {by}", kind.as_str())?;
        }
        Ok(())
    }
}

/// One line of a scenario: its first word, and the values by key.
struct Line<'a> {
    head: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Line<'a> {
    fn of(text: &'a str) -> Result<Self, String> {
        let (head, rest) = text.split_once(':').ok_or_else(|| format!("no colon in {text:?}"))?;
        let (head, words) = (head.trim(), rest.split_whitespace().collect::<Vec<&str>>());
        let known: &[&str] = match head {
            "world" => &["seed", "lasts", "replicas", "policy", "instances"],
            "job" => &["at", "share", "instances", "lasts", "failing", "attempts"],
            _ => &["at", "lasts", "replica", "on", "by"],
        };
        let names: Vec<&str> = words.iter().copied().step_by(2).collect();
        if names != known || words.len() != 2 * known.len() {
            return Err(format!("{head} has {}, in this order, each with a value", known.join(", ")));
        }
        Ok(Self { head, words })
    }

    fn get<T: FromStr>(&self, name: &str) -> Result<T, String> {
        let mut pairs = self.words.chunks(2);
        let found = pairs.find_map(|pair| (pair.first() == Some(&name)).then(|| pair.get(1)).flatten());
        found.and_then(|value| value.parse().ok()).ok_or_else(|| format!("{}: no {name}", self.head))
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(Line::of);
        let world = lines.next().ok_or("an empty scenario")??;
        let policy = match world.get::<String>("policy")?.as_str() {
            "fifo" => Sharing::Fifo,
            "fair" => Sharing::Fair,
            "quota" => Sharing::Quota,
            other => return Err(format!("no policy is called {other:?}")),
        };
        let mut scenario = Self {
            seed: world.get("seed")?,
            lasts: world.get("lasts")?,
            replicas: world.get("replicas")?,
            policy,
            instances: world.get("instances")?,
            jobs: Vec::new(),
            faults: Vec::new(),
        };
        for line in lines {
            let line = line?;
            let (at, lasts) = (line.get("at")?, line.get("lasts")?);
            if line.head == "job" {
                let share: String = line.get("share")?;
                scenario.jobs.push(Job {
                    at,
                    share: if share == "-" { String::new() } else { share },
                    instances: line.get("instances")?,
                    lasts,
                    failing: line.get("failing")?,
                    attempts: line.get("attempts")?,
                });
                continue;
            }
            let kind = FaultKind::ALL.iter().copied().find(|kind| kind.as_str() == line.head);
            let kind = kind.ok_or_else(|| format!("no fault is called {:?}", line.head))?;
            let (replica, on, by) = (line.get("replica")?, line.get("on")?, line.get("by")?);
            scenario.faults.push(Fault { kind, at, lasts, replica, on, by });
        }
        Ok(scenario)
    }
}

#[test]
fn a_scenario_with_a_slip_is_refused() {
    let text = Scenario::of(1).to_string();
    for (from, to) in
        [("policy ", "policy un"), (" lasts ", " last "), ("instances ", "instances "), ("world: ", "world ")]
    {
        let slip = if from == to { text.replacen(" replicas", "", 1) } else { text.replacen(from, to, 1) };
        assert!(slip.parse::<Scenario>().is_err(), "{slip}");
    }
}

#[test]
fn a_scenario_is_read_as_it_is_written() {
    for seed in 0..200 {
        let scenario = Scenario::of(seed);
        assert_eq!(scenario.to_string().parse(), Ok(scenario));
    }
}
