//! For how long jobs hold their instances: learnt from attempts that ended, from jobs most like a job to all jobs.
//!
//! An attempt that was stopped to make room has lasted at least so long (right-censored), as has one that still runs; the curves
//! are Kaplan–Meier estimates. Each level counts as much as it has attempts that lasted longer than the job has so far, against
//! [`SHRINKAGE`] of the next level: few attempts of one name shrink towards their owner's, those towards their share's, and so on.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::metrics::kaplan_meier;
use crate::model::{QueueName, ShareName};

/// So many attempts of a level count as much as all that the next, more general level knows.
const SHRINKAGE: f64 = 8.0;

/// Attempts that are remembered of each level: the latest.
const MAX_ATTEMPTS: usize = 200;

/// Levels that are remembered: beyond so many no further names and owners. There are few sizes, shares and queues, and they always count.
const MAX_LEVELS: usize = 20_000;

/// How many levels, of names and of owners, go before the more general ones.
const PARTICULAR: usize = 2;

/// From the most like a job to the most general.
const LEVELS: usize = 6;

/// Of which kind a job is, at each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobKind([u64; LEVELS]);

impl JobKind {
    /// Of a job by its name, owner, instances, share and queue.
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

/// What names of jobs of one kind have in common: the name without numbers, dates and hashes.
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

/// What is known of how long jobs hold their instances.
#[derive(Debug, Default)]
pub struct Runtimes {
    levels: HashMap<u64, Level>,
    /// Attempts that ended by themselves, ever.
    ended: u64,
}

#[derive(Debug, Default)]
struct Level {
    attempts: VecDeque<(f64, bool)>,
    /// Of these attempts; `None` if some came since it was made.
    curve: Option<Arc<Curve>>,
}

impl Runtimes {
    /// Takes in an attempt that held its instances for so long, to its end or until it was stopped.
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

    /// How many attempts have ended by themselves.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// What is known of jobs like this one.
    pub fn of(&mut self, kind: JobKind) -> Profile {
        let levels = kind.0.iter().filter_map(|level| {
            let Level { attempts, curve } = self.levels.get_mut(level)?;
            Some(Arc::clone(curve.get_or_insert_with(|| Arc::new(Curve::of(attempts)))))
        });
        Profile { levels: levels.collect(), certain: None }
    }
}

/// The survival function of attempts of one level.
#[derive(Debug)]
struct Curve {
    /// Times at which attempts ended, and the part that lasted longer.
    steps: Vec<(f64, f64)>,
    /// How long each attempt lasted, in order.
    lasted: Vec<f64>,
}

impl Curve {
    fn of(attempts: &VecDeque<(f64, bool)>) -> Self {
        let mut lasted: Vec<f64> = attempts.iter().map(|(seconds, _)| *seconds).collect();
        lasted.sort_by(f64::total_cmp);
        Self { steps: kaplan_meier::exact(attempts.iter().copied().collect()), lasted }
    }

    /// How many attempts lasted longer.
    fn at_risk(&self, age: f64) -> usize {
        self.lasted.len() - self.lasted.partition_point(|seconds| *seconds <= age)
    }

    /// The part that lasted longer than `age`.
    fn survival(&self, age: f64) -> f64 {
        let passed = self.steps.partition_point(|(seconds, _)| *seconds <= age);
        passed.checked_sub(1).and_then(|last| self.steps.get(last)).map_or(1.0, |(_, surviving)| *surviving)
    }

    /// How long an attempt lasts in all that has lasted for `age`, at the quantile `u`. Beyond the last end that was seen, half of those
    /// that are left last twice as long.
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

/// The least part of a tail that is distinguished: no attempt is taken to last a hundred times as long as any before.
const MIN_TAIL: f64 = 0.01;

/// How long jobs of one kind hold their instances: what is known of each level, from the most like it to the most general.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    levels: Vec<Arc<Curve>>,
    certain: Option<f64>,
}

impl Profile {
    /// Of a job that is known to hold them for so many seconds.
    pub fn certain(seconds: f64) -> Self {
        Self { levels: Vec::new(), certain: Some(seconds) }
    }

    /// How long a job holds its instances in all that has held them for `age` seconds, at the quantile `u` from 0 to 1.
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
        // No job has lasted so long. With nothing else to go by, it is taken to be anywhere in its life.
        let age = age.max(60.0);
        age / (1.0 - u).max(MIN_TAIL)
    }

    /// How long they usually hold them; `None` if no such job has ended.
    pub fn usual(&self) -> Option<f64> {
        if self.levels.iter().all(|curve| curve.steps.is_empty()) {
            return self.certain;
        }
        // The levels one after the other at one quantile are no mixture: take the middle of draws.
        let mut draws: Vec<f64> = (0..USUAL_DRAWS).map(|draw| self.quantile(0.0, middle(draw))).collect();
        draws.sort_by(f64::total_cmp);
        draws.get(USUAL_DRAWS / 2).copied()
    }
}

const USUAL_DRAWS: usize = 31;

/// Numbers from 0 to 1, evenly apart.
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
}
