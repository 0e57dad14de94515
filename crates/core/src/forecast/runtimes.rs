//! Run times: how long jobs hold their instances, learned from ended attempts at several levels, from the most
//! similar jobs to all jobs.
//!
//! Preempted and running attempts are right-censored; the curves are Kaplan–Meier estimates. The weight of a level is
//! the number of its attempts that lasted longer than the job has so far, against [`SHRINKAGE`] for the next level: a
//! few attempts of one name shrink towards those of the owner, these towards those of the share, and so on.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::metrics::kaplan_meier;
use crate::model::{QueueName, ShareName};

/// Number of attempts at which a level has half the weight, against the next, more general level.
const SHRINKAGE: f64 = 8.0;

/// Maximum attempts per level: the latest.
const MAX_ATTEMPTS: usize = 200;

/// Maximum levels: beyond it no further names and owners are added. Sizes, shares and queues are few and always added.
const MAX_LEVELS: usize = 20_000;

/// Number of specific levels (name and owner) before the general ones.
const PARTICULAR: usize = 2;

/// Number of levels, from the most specific to the most general.
const LEVELS: usize = 6;

/// Kind of a job: a hash per level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobKind([u64; LEVELS]);

impl JobKind {
    /// The kind of a job with these traits.
    pub fn new(name: &str, owner: Option<&str>, instances: f64, share: Option<&ShareName>, queue: &QueueName) -> Self {
        let share = share.map_or("", ShareName::as_str);
        let (queue, stem) = (queue.as_str(), name_stem(name));
        let owner = owner.unwrap_or_default();
        Self([
            hash(("name", queue, stem.as_str(), instances.to_bits())),
            hash(("owner", queue, share, owner)),
            hash(("size", queue, share, instances.to_bits())),
            hash(("share", queue, share)),
            hash(("queue", queue)),
            hash("all"),
        ])
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Stem of a job name: without numbers, dates and hashes.
pub fn name_stem(name: &str) -> String {
    let is_particular = |word: &&str| {
        let digits = word.chars().filter(char::is_ascii_digit).count();
        let is_hash = word.len() >= 6 && digits > 0 && word.chars().all(|c| c.is_ascii_hexdigit());
        is_hash || (digits > 0 && digits * 2 >= word.len() && digits > 1) || (word.len() == digits)
    };
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let kept: Vec<String> = words.filter(|word| !is_particular(word)).map(str::to_lowercase).collect();
    kept.join("-")
}

/// Learned run times.
#[derive(Debug, Default)]
pub struct Runtimes {
    levels: HashMap<u64, Level>,
    /// Attempts ever recorded that ended without preemption.
    ended: u64,
}

#[derive(Debug, Default)]
struct Level {
    attempts: VecDeque<(f64, bool)>,
    /// Curve of these attempts; `None` if some were added since it was computed.
    curve: Option<Arc<Curve>>,
}

impl Runtimes {
    /// Adds an attempt that held its instances for `seconds`, until it `ended` or was preempted.
    pub fn record(&mut self, kind: JobKind, seconds: f64, ended: bool) {
        if !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        self.ended += u64::from(ended);
        for (index, level) in kind.0.into_iter().enumerate() {
            if index < PARTICULAR && self.levels.len() >= MAX_LEVELS && !self.levels.contains_key(&level) {
                continue;
            }
            let level = self.levels.entry(level).or_default();
            level.curve = None;
            level.attempts.push_back((seconds, ended));
            if level.attempts.len() > MAX_ATTEMPTS {
                level.attempts.pop_front();
            }
        }
    }

    /// Number of attempts that ended without preemption.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// Run times of a kind.
    pub fn of(&mut self, kind: JobKind) -> Profile {
        let levels = kind.0.iter().filter_map(|level| {
            let Level { attempts, curve } = self.levels.get_mut(level)?;
            Some(Arc::clone(curve.get_or_insert_with(|| Arc::new(Curve::of(attempts)))))
        });
        Profile { levels: levels.collect(), certain: None }
    }
}

/// Survival function of the attempts of one level.
#[derive(Debug)]
struct Curve {
    /// Times at which attempts ended, and the surviving fraction.
    steps: Vec<(f64, f64)>,
    /// Durations of the attempts, sorted.
    lasted: Vec<f64>,
}

impl Curve {
    fn of(attempts: &VecDeque<(f64, bool)>) -> Self {
        let mut lasted: Vec<f64> = attempts.iter().map(|(seconds, _)| *seconds).collect();
        lasted.sort_by(f64::total_cmp);
        Self { steps: kaplan_meier::exact(attempts.iter().copied().collect()), lasted }
    }

    /// Number of attempts longer than `age`.
    fn at_risk(&self, age: f64) -> usize {
        self.lasted.len() - self.lasted.partition_point(|seconds| *seconds <= age)
    }

    /// Fraction that lasted longer than `age`.
    fn survival(&self, age: f64) -> f64 {
        let passed = self.steps.partition_point(|(seconds, _)| *seconds <= age);
        passed.checked_sub(1).and_then(|last| self.steps.get(last)).map_or(1.0, |(_, surviving)| *surviving)
    }

    /// Total duration, at the quantile `u`, of an attempt that has lasted for `age`. Beyond the last observed end,
    /// half of the remaining attempts last twice as long.
    fn quantile(&self, age: f64, u: f64) -> f64 {
        let target = self.survival(age) * (1.0 - u);
        let index = self.steps.partition_point(|(_, surviving)| *surviving >= target);
        match self.steps.get(index) {
            Some((seconds, _)) => seconds.max(age),
            None => {
                let (longest, surviving) = self.steps.last().copied().unwrap_or((0.0, 1.0));
                let from = longest.max(age).max(self.lasted.last().copied().unwrap_or(0.0)).max(1.0);
                from * (surviving / target.max(surviving * MIN_TAIL)).max(1.0)
            }
        }
    }
}

/// Minimum fraction of the tail: limits extrapolation to a hundred times the longest known duration.
const MIN_TAIL: f64 = 0.01;

/// Run times of one kind: the curves of its levels, from the most specific to the most general.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    levels: Vec<Arc<Curve>>,
    certain: Option<f64>,
}

impl Profile {
    /// The profile of a job with a known duration.
    pub fn certain(seconds: f64) -> Self {
        Self { levels: Vec::new(), certain: Some(seconds) }
    }

    /// Total time, at the quantile `u` in 0..1, for which a job holds its instances that has held them for `age`
    /// seconds.
    pub fn quantile(&self, age: f64, mut u: f64) -> f64 {
        if let Some(certain) = self.certain {
            return certain.max(age);
        }
        for curve in &self.levels {
            let known = curve.at_risk(age) as f64;
            let weight = known / (known + SHRINKAGE);
            if u < weight {
                return curve.quantile(age, u / weight);
            }
            u = (u - weight) / (1.0 - weight);
        }
        // No known job lasted this long: assume that its age is a uniformly random fraction of its duration.
        let age = age.max(60.0);
        age / (1.0 - u).max(MIN_TAIL)
    }

    /// Typical duration; `None` if no such job has ended.
    pub fn usual(&self) -> Option<f64> {
        if self.levels.iter().all(|curve| curve.steps.is_empty()) {
            return self.certain;
        }
        // The quantile of one draw is not the quantile of the mixture of levels: use the median of several draws.
        let mut draws: Vec<f64> = (0..USUAL_DRAWS).map(|draw| self.quantile(0.0, middle(draw))).collect();
        draws.sort_by(f64::total_cmp);
        draws.get(USUAL_DRAWS / 2).copied()
    }
}

const USUAL_DRAWS: usize = 31;

/// Evenly spaced numbers in 0..1.
fn middle(draw: usize) -> f64 {
    (draw as f64 + 0.5) / USUAL_DRAWS as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_keep_no_share_or_queue_from_being_known() {
        let mut runtimes = Runtimes::default();
        let of = |name: &str, queue: &str| JobKind::new(name, None, 1.0, None, &queue.into());
        let letters = |n: usize| -> String {
            (0..4).map(|place| char::from(b'a' + u8::try_from(n / 20_usize.pow(place) % 20).unwrap())).collect()
        };
        (0..MAX_LEVELS).for_each(|n| runtimes.record(of(&letters(n), "busy"), 60.0, true));
        assert_eq!(runtimes.levels.len(), MAX_LEVELS);
        runtimes.record(of("train", "new"), 7_200.0, true);
        let names = runtimes.levels.keys().filter(|level| of("train", "new").0[..PARTICULAR].contains(level)).count();
        assert_eq!((names, runtimes.levels.len()), (0, MAX_LEVELS + 3), "its size, share and queue");
    }

    fn kind() -> JobKind {
        JobKind::new("train", Some("ann"), 2.0, None, &"prod".into())
    }

    fn of(attempts: &[(f64, bool)]) -> Profile {
        let mut runtimes = Runtimes::default();
        attempts.iter().for_each(|(seconds, ended)| runtimes.record(kind(), *seconds, *ended));
        runtimes.of(kind())
    }

    fn is_about(value: f64, expected: f64) -> bool {
        (value - expected).abs() < 1e-6 * expected
    }

    #[test]
    fn a_curve_has_the_quantiles_of_the_attempts_that_lasted_as_long() {
        let curve = |attempts: &[(f64, bool)]| Curve::of(&attempts.iter().copied().collect());
        let tens: Vec<(f64, bool)> = (1..=10).map(|n| (f64::from(n) * 10.0, true)).collect();
        let ten = curve(&tens);
        assert_eq!((ten.at_risk(35.0), ten.at_risk(30.0), ten.at_risk(100.0)), (7, 7, 0));
        assert!(
            is_about(ten.survival(35.0), 0.7) && is_about(ten.survival(9.0), 1.0) && is_about(ten.survival(30.0), 0.7)
        );
        // The first time by which fewer than 55 % go on; of those that lasted 35 s, fewer than 55 % of 70 %.
        assert!(is_about(ten.quantile(0.0, 0.45), 50.0) && is_about(ten.quantile(35.0, 0.45), 70.0));
        // One ended after 10 s, one was preempted after 20 s: beyond that, each halving doubles the time.
        let tail = curve(&[(10.0, true), (20.0, false)]);
        assert!(is_about(tail.quantile(0.0, 0.45), 10.0));
        assert!(is_about(tail.quantile(0.0, 0.75), 40.0) && is_about(tail.quantile(0.0, 0.9), 100.0));
        assert!(is_about(tail.quantile(0.0, 1.0), 2_000.0), "a hundred times the longest at most");
        assert!(is_about(tail.quantile(50.0, 0.5), 100.0), "its own age counts as the longest");
    }

    #[test]
    fn a_level_weighs_as_many_attempts_as_it_has_against_eight() {
        // Eight attempts have half of the weight at each of six levels, and the rest is unknown.
        let eight = of(&[(100.0, true); 8]);
        for (u, expected) in [(0.0, 100.0), (0.4, 100.0), (0.95, 100.0)] {
            assert!(is_about(eight.quantile(0.0, u), expected), "{u}");
        }
        // After six levels 0.999 is 1 - 0.001 * 64 of the unknown: an age of at least a minute, divided by the rest.
        assert!(is_about(eight.quantile(0.0, 0.999), 60.0 / 0.064));
        assert!(is_about(eight.quantile(120.0, 0.5), 240.0), "no attempt lasted this long");
        assert!(is_about(of(&[]).quantile(600.0, 0.75), 2_400.0));
        assert!(is_about(of(&[]).quantile(600.0, 1.0), 60_000.0), "a hundred times at most");
        // 24 attempts have three quarters of the weight: 0.6 is the quantile 0.8 of the first level.
        let spread: Vec<(f64, bool)> = (1..=24).map(|n| (f64::from(n), true)).collect();
        assert!(is_about(of(&spread).quantile(0.0, 0.6), 20.0));
        // 0.8 is 0.2 beyond the first level, and so 0.2 / 0.75 of the second one.
        assert!(is_about(of(&spread).quantile(0.0, 0.8), 7.0));
        assert_eq!((eight.usual(), of(&[]).usual()), (Some(100.0), None));
        assert_eq!(of(&[(50.0, false)]).usual(), None, "none has ended");
        let certain = Profile::certain(30.0);
        assert_eq!(
            (certain.quantile(0.0, 0.9), certain.quantile(40.0, 0.1), certain.usual()),
            (30.0, 40.0, Some(30.0))
        );
    }

    #[test]
    fn draws_are_the_middles_of_equal_parts() {
        assert!(is_about(middle(0), 0.5 / 31.0) && is_about(middle(15), 0.5) && is_about(middle(30), 30.5 / 31.0));
    }

    #[test]
    fn only_possible_durations_of_the_latest_attempts_are_kept() {
        let mut runtimes = Runtimes::default();
        for (seconds, ended) in [(-1.0, true), (f64::NAN, true), (f64::INFINITY, true), (0.0, true), (5.0, false)] {
            runtimes.record(kind(), seconds, ended);
        }
        assert_eq!(runtimes.ended(), 1);
        let kept = |runtimes: &Runtimes| runtimes.levels.get(&kind().0[0]).map(|level| level.attempts.len());
        assert_eq!(kept(&runtimes), Some(2));
        (0..MAX_ATTEMPTS).for_each(|_| runtimes.record(kind(), 7.0, true));
        assert_eq!(kept(&runtimes), Some(MAX_ATTEMPTS));
        assert!(runtimes.levels.values().all(|level| level.attempts.iter().all(|(seconds, _)| *seconds == 7.0)));
    }

    #[test]
    fn a_stem_has_no_numbers_dates_and_hashes() {
        for (name, stem) in [
            ("Train-Llama_7b", "train-llama-7b"),
            ("train-2026-12-01", "train"),
            ("train-3", "train"),
            ("train-v12", "train"),
            ("train-v1x", "train-v1x"),
            ("train-abcde1", "train"),
            ("train-a1b2c", "train-a1b2c"),
            ("train-deadbeef", "train-deadbeef"),
            ("train-abc12z9", "train-abc12z9"),
            ("train-20261201t", "train"),
            ("42", ""),
        ] {
            assert_eq!(name_stem(name), stem, "{name}");
        }
    }
}
