//! Intervals that are as wide as they have to be: split conformal prediction with forgetting.
//!
//! Each estimate whose truth is known says by what factor the truth missed its low end, its middle and its high end. The quantiles of
//! these factors, recent ones and those of the same share where there are enough of them, correct the next estimate.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{QueueName, ShareName, Timestamp};

/// Truths of a share, or of all, from which corrections are made: the latest.
const MAX_TRUTHS: usize = 3_000;

/// Groups of truths that are remembered.
const MAX_GROUPS: usize = 2_000;

/// A truth counts half as much as one that came so much later. Truths of one hour are much alike, so that few hours say little.
const HALF_LIFE: Duration = Duration::from_secs(36 * 3_600);

/// Fewer truths say nothing of a tenth.
pub const MIN_TRUTHS: usize = 10;

/// So many truths of a share correct it by themselves.
const ENOUGH: usize = 30;

/// Fewer truths of a share, or truths of a shorter time, make an interval that is only rough: those of one backlog are off together.
const SETTLED: usize = 100;

/// See [`SETTLED`].
const SETTLED_AFTER: Duration = Duration::from_secs(6 * 3_600);

/// Where less than this part of intervals held the truth, others will not either.
const FEW_HELD: f64 = 0.7;

/// The part of truths that may miss at each end.
const MISSES: f64 = 0.1;

/// How fast levels follow misses.
const ADAPTATION: f64 = 0.002;

/// The most that a level moves.
const MAX_ADAPTED: f64 = 0.3;

/// Quantiles further out are not read off truths.
const EXTREME: f64 = 0.005;

/// Beyond them an interval grows by this power for each whole level: by half for a twentieth.
const BEYOND: f64 = 8.0;

/// Differences of less than this do not matter, in seconds.
const GRAIN: f64 = 60.0;

/// The levels at which the truths are read off that correct an interval: a little outside those of its ends, as what comes next differs from what was.
const READ_AT: [f64; 3] = [0.08, 0.5, 0.92];

/// An interval, in seconds from when it was made; infinite is beyond what is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// One in ten starts sooner.
    pub low: f64,
    /// Half start sooner.
    pub middle: f64,
    /// One in ten starts later.
    pub high: f64,
}

/// An estimate and what came true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// When it came true.
    pub at: Timestamp,
    /// Of which queue.
    pub queue: QueueName,
    /// Of which share.
    pub share: Option<ShareName>,
    /// As the runs gave it.
    pub raw: Interval,
    /// As it was shown; `None` if it was not, for lack of truths.
    pub shown: Option<Interval>,
    /// Seconds from when it was made to the start.
    pub actual: f64,
}

/// How good the estimates of a share were.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Of how many estimates that came true.
    pub truths: usize,
    /// The part of them whose interval held the truth.
    pub coverage: f64,
    /// The median of how far the middle was off, in seconds.
    pub error: f64,
}

/// Why an interval is only rough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rough {
    /// Too few estimates have come true.
    FewTruths,
    /// They came true in too short a time.
    Young,
    /// Too many intervals were wrong.
    OftenWrong,
}

/// What came true lately.
#[derive(Debug, Default)]
pub struct Calibration {
    /// By group, and by how far ahead they looked; `None` is any.
    groups: BTreeMap<(Group, Option<Ahead>), Truths>,
    /// When the first truth of each group came, which may not be among the latest any more.
    first_truths: BTreeMap<Group, Timestamp>,
}

/// How far ahead an estimate looks. What is near is off by more, for its size, than what is far.
type Ahead = usize;

/// Bounds between estimates that look further and further ahead, in seconds.
const AHEAD: [f64; 4] = [600.0, 1_800.0, 5_400.0, 14_400.0];

fn ahead_of(raw: &Interval) -> Ahead {
    AHEAD.partition_point(|bound| *bound < raw.middle)
}

/// The truths of one group, oldest first.
#[derive(Debug, Default)]
struct Truths {
    latest: VecDeque<Truth>,
    /// By what factors they missed the ends of their intervals; not set if some came since these were worked out.
    misses: OnceCell<[WeightedValues; 3]>,
    /// By how much the levels of the two ends differ from [`READ_AT`].
    adapted: [f64; 2],
}

impl Truths {
    /// Each miss at an end moves its level outwards, and each truth that is none moves it inwards by so much less that one in ten misses keeps it
    /// where it is: what comes next may always be other than what was (adaptive conformal inference).
    fn adapt(&mut self, truth: &Truth) {
        let Some(shown) = truth.shown else { return };
        let misses = [truth.actual < shown.low, truth.actual > shown.high];
        for (adapted, missed) in self.adapted.iter_mut().zip(misses) {
            let step = if missed { -(1.0 - MISSES) } else { MISSES };
            *adapted = (*adapted + ADAPTATION * step).clamp(-MAX_ADAPTED, MAX_ADAPTED);
        }
    }
}

/// Truths that are much alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// Those of a share.
    Share(QueueName, Option<ShareName>),
    /// Those of a queue.
    Queue(QueueName),
    /// All.
    All,
}

impl Group {
    /// The groups that a truth is of.
    pub fn of(truth: &Truth) -> [Self; 3] {
        let share = Self::Share(truth.queue.clone(), truth.share.clone());
        [share, Self::Queue(truth.queue.clone()), Self::All]
    }
}

impl Interval {
    fn ends(&self) -> [f64; 3] {
        [self.low, self.middle, self.high]
    }

    /// Whether a start after so many seconds lies within it.
    pub fn holds(&self, seconds: f64) -> bool {
        self.low <= seconds && seconds <= self.high
    }
}

impl Calibration {
    /// Goes on from when the first truths of groups came in an earlier run.
    pub fn restore(first_truths: BTreeMap<Group, Timestamp>) -> Self {
        Self { first_truths, ..Self::default() }
    }

    /// When the first truth of each group came.
    pub fn first_truths(&self) -> &BTreeMap<Group, Timestamp> {
        &self.first_truths
    }

    /// Forgets the groups of which no truth is kept.
    pub fn forget_empty_groups(&mut self) {
        let groups = &self.groups;
        self.first_truths.retain(|group, _| groups.contains_key(&(group.clone(), None)));
    }

    /// Takes in what came true.
    pub fn record(&mut self, truth: &Truth) {
        let groups = Group::of(truth);
        let ahead = ahead_of(&truth.raw);
        for group in groups.into_iter().flat_map(|group| [(group.clone(), Some(ahead)), (group, None)]) {
            if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
                continue;
            }
            if group.1.is_none() {
                self.first_truths.entry(group.0.clone()).or_insert(truth.at);
            }
            let truths = self.groups.entry(group).or_default();
            truths.adapt(truth);
            truths.misses = OnceCell::new();
            truths.latest.push_back(truth.clone());
            if truths.latest.len() > MAX_TRUTHS {
                truths.latest.pop_front();
            }
        }
    }

    /// What an estimate of a share has to be, by what came true; `None` while too little has.
    pub fn correct(&self, raw: Interval, queue: &QueueName, share: Option<&ShareName>) -> Option<Interval> {
        let factors = self.truths_for(queue, share, ahead_of(&raw))?.factors();
        let mut ends = [0.0; 3];
        for ((end, raw), factor) in ends.iter_mut().zip(raw.ends()).zip(factors) {
            *end = ((raw + GRAIN) * factor - GRAIN).max(0.0);
        }
        let [low, middle, high] = ends;
        Some(Interval { low: low.min(middle), middle, high: high.max(middle) })
    }

    /// How many truths there are for a share, or else for its queue, or else in all.
    pub fn known(&self, queue: &QueueName, share: Option<&ShareName>) -> usize {
        let groups = [Group::Share(queue.clone(), share.cloned()), Group::Queue(queue.clone()), Group::All];
        let groups = groups.map(|group| (group, None));
        groups.iter().filter_map(|group| self.groups.get(group)).map(|truths| truths.latest.len()).max().unwrap_or(0)
    }

    /// Why the interval of an estimate of a share is only rough; `None` if it is not.
    pub fn rough(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<Rough> {
        let groups = [Group::Share(queue.clone(), share.cloned()), Group::Queue(queue.clone()), Group::All];
        let found = groups
            .into_iter()
            .map(|group| (group, None))
            .find_map(|key| self.groups.get_key_value(&key).filter(|(_, truths)| truths.latest.len() >= ENOUGH));
        found.map_or(Some(Rough::FewTruths), |((group, _), truths)| truths.rough(self.first_truths.get(group)))
    }

    /// How good the estimates of a share were that were shown; `None` if too few were.
    pub fn quality(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<Quality> {
        self.groups.get(&(Group::Share(queue.clone(), share.cloned()), None))?.quality()
    }

    /// How good those of a queue were.
    pub fn quality_of_queue(&self, queue: &QueueName) -> Option<Quality> {
        self.groups.get(&(Group::Queue(queue.clone()), None))?.quality()
    }

    /// The quality of each share of which enough is known.
    pub fn qualities(&self) -> Vec<(QueueName, Option<ShareName>, Quality)> {
        let of_share = |(group, truths): (&(Group, Option<Ahead>), &Truths)| match group {
            (Group::Share(queue, share), None) => Some((queue.clone(), share.clone(), truths.quality()?)),
            (Group::Share(..) | Group::Queue(_) | Group::All, _) => None,
        };
        self.groups.iter().filter_map(of_share).collect()
    }

    fn truths_for(&self, queue: &QueueName, share: Option<&ShareName>, ahead: Ahead) -> Option<&Truths> {
        let enough = |group: Group, ahead: Option<Ahead>, least: usize| {
            self.groups.get(&(group, ahead)).filter(|truths| truths.latest.len() >= least)
        };
        let of_share = || Group::Share(queue.clone(), share.cloned());
        let of_queue = || Group::Queue(queue.clone());
        enough(of_share(), Some(ahead), ENOUGH)
            .or_else(|| enough(of_queue(), Some(ahead), ENOUGH))
            .or_else(|| enough(of_share(), None, ENOUGH))
            .or_else(|| enough(of_queue(), None, MIN_TRUTHS))
            .or_else(|| enough(Group::All, None, MIN_TRUTHS))
    }
}

impl Truths {
    /// What the ends of an interval have to be multiplied by.
    fn factors(&self) -> [f64; 3] {
        let levels = [READ_AT[0] + self.adapted[0], READ_AT[1], READ_AT[2] - self.adapted[1]];
        let mut factors = [1.0; 3];
        for ((factor, level), misses) in factors.iter_mut().zip(levels).zip(self.misses()) {
            let inside = level.clamp(EXTREME, 1.0 - EXTREME);
            // Beyond all that was seen it goes on by as much as it would have to.
            *factor = (misses.quantile(inside) + (level - inside) * BEYOND).exp();
        }
        factors
    }

    /// The logarithms of the factors by which truths missed the ends of their intervals, with how much each counts.
    fn misses(&self) -> &[WeightedValues; 3] {
        self.misses.get_or_init(|| {
            let latest = self.latest.back().map(|truth| truth.at).unwrap_or_default();
            let weighted = |end: fn(&Interval) -> f64| {
                let weighted = self.latest.iter().map(|truth| {
                    let half_lives = latest.seconds_since(truth.at) / HALF_LIFE.as_secs_f64();
                    (((truth.actual + GRAIN) / (end(&truth.raw) + GRAIN)).ln(), (-half_lives).exp2())
                });
                WeightedValues::of(weighted.collect())
            };
            [weighted(|raw| raw.low), weighted(|raw| raw.middle), weighted(|raw| raw.high)]
        })
    }

    fn rough(&self, first_at: Option<&Timestamp>) -> Option<Rough> {
        let span = first_at.zip(self.latest.back()).map(|(first, last)| last.at.since(*first));
        if self.latest.len() < SETTLED {
            Some(Rough::FewTruths)
        } else if span.is_none_or(|span| span < SETTLED_AFTER) {
            Some(Rough::Young)
        } else {
            self.quality().filter(|quality| quality.coverage < FEW_HELD).map(|_| Rough::OftenWrong)
        }
    }

    fn quality(&self) -> Option<Quality> {
        let shown: Vec<(&Interval, f64)> =
            self.latest.iter().filter_map(|truth| Some((truth.shown.as_ref()?, truth.actual))).collect();
        if shown.len() < MIN_TRUTHS {
            return None;
        }
        let held = shown.iter().filter(|(interval, actual)| interval.holds(*actual)).count();
        let mut errors: Vec<f64> = shown.iter().map(|(interval, actual)| (interval.middle - actual).abs()).collect();
        errors.sort_by(f64::total_cmp);
        let error = errors.get(errors.len() / 2).copied().filter(|error| error.is_finite())?;
        Some(Quality { truths: shown.len(), coverage: held as f64 / shown.len() as f64, error })
    }
}

/// Values in order, each with the sum of the weights up to it.
#[derive(Debug)]
struct WeightedValues(Vec<(f64, f64)>);

impl WeightedValues {
    fn of(mut weighted: Vec<(f64, f64)>) -> Self {
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut below = 0.0;
        for (_, weight) in &mut weighted {
            below += *weight;
            *weight = below;
        }
        Self(weighted)
    }

    /// The quantile at a level. As many values as are expected beyond it are at least beyond it: one more value, of which nothing is known, is taken
    /// to be there.
    fn quantile(&self, level: f64) -> f64 {
        let total = self.0.last().map_or(0.0, |(_, all)| *all);
        // On the side of caution at both ends.
        let extra = if level > 0.5 {
            level
        } else if level < 0.5 {
            level - 1.0
        } else {
            0.0
        };
        let target = (level * total + extra).clamp(0.0, total);
        let index = self.0.partition_point(|(_, below)| *below < target);
        self.0.get(index).or(self.0.last()).map_or(0.0, |(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(raw: Interval, shown: Option<Interval>, actual: f64) -> Truth {
        Truth { at: Timestamp::default(), queue: "q".into(), share: None, raw, shown, actual }
    }

    #[test]
    fn intervals_become_as_wide_as_the_truth_is_scattered_and_are_not_shown_before() {
        let mut calibration = Calibration::default();
        let raw = Interval { low: 3500.0, middle: 3600.0, high: 3700.0 };
        let actual = |index: u32| 1800.0 * f64::from(1 + index * 37 % 100) / 25.0;
        let mut held = 0;
        for index in 0..500 {
            let shown = calibration.correct(raw, &"q".into(), None);
            assert_eq!(shown.is_none(), index < 10, "after {index}");
            held += u32::from(index >= 100 && shown.unwrap().holds(actual(index)));
            calibration.record(&truth(raw, shown, actual(index)));
        }
        let coverage = f64::from(held) / 400.0;
        assert!((0.76..=0.86).contains(&coverage), "{coverage}");
        let quality = calibration.quality(&"q".into(), None).unwrap();
        assert!((0.76..=0.86).contains(&quality.coverage), "{quality:?}");
    }

    #[test]
    fn what_has_changed_is_learnt_and_what_was_is_forgotten() {
        let mut calibration = Calibration::default();
        let raw = Interval { low: 1000.0, middle: 1000.0, high: 1000.0 };
        let at = |hours: u64| Timestamp::default() + Duration::from_secs(3_600 * hours);
        for hour in 0..400 {
            calibration.record(&Truth { at: at(hour), ..truth(raw, None, 1000.0) });
        }
        for hour in 400..500 {
            calibration.record(&Truth { at: at(hour), ..truth(raw, None, 8000.0) });
        }
        let corrected = calibration.correct(raw, &"q".into(), None).unwrap();
        assert!((corrected.middle - 8000.0).abs() < 1.0, "{corrected:?}");
    }

    #[test]
    fn an_interval_is_rough_while_the_history_is_young_or_most_were_wrong() {
        let raw = Interval { low: 100.0, middle: 200.0, high: 300.0 };
        let rough = |truths: u64, apart: u64, actual: f64| {
            let mut calibration = Calibration::default();
            for index in 0..truths {
                let at = Timestamp::default() + Duration::from_secs(apart * index);
                calibration.record(&Truth { at, ..truth(raw, Some(raw), actual) });
            }
            calibration.rough(&"q".into(), None)
        };
        assert_eq!((rough(0, 600, 200.0), rough(99, 600, 200.0)), (Some(Rough::FewTruths), Some(Rough::FewTruths)));
        assert_eq!(rough(500, 10, 200.0), Some(Rough::Young));
        assert_eq!(rough(500, 600, 900.0), Some(Rough::OftenWrong));
        assert_eq!(rough(SETTLED as u64, 600, 200.0), None);
        // Much that comes true in little time is not young for ever.
        let many = MAX_TRUTHS as u64 * 2;
        assert_eq!((rough(many, 2, 200.0), rough(many, 4, 200.0)), (Some(Rough::Young), None));
    }
}
