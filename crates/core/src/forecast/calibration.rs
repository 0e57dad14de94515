//! Interval calibration: split conformal prediction with forgetting, adaptive levels and shrinkage.
//!
//! A resolved estimate gives three misses: the distance of the actual start from the low end, the median and the high end, as a multiple of
//! the interval's spread. Quantiles of recent misses correct the next estimate. A share with few resolved estimates is corrected mostly by
//! those of its queue.

mod levels;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::calibration::levels::Levels;
use crate::model::{QueueName, ShareName, Timestamp};

/// Maximum resolved estimates of a group that corrections use: the latest.
const MAX_TRUTHS: usize = 3_000;

/// Maximum groups with resolved estimates.
const MAX_GROUPS: usize = 2_000;

/// Age at which a resolved estimate has half its weight. Chosen on seeds 21 to 36 of the example `forecast` and on later parts of one of its
/// traces, with a look at the workloads of docs/FORECAST.md.
const HALF_LIFE: Duration = Duration::from_secs(100 * 3_600);

/// Minimum resolved estimates for a correction: fewer cannot locate a 10 % quantile.
pub const MIN_TRUTHS: usize = 10;

/// Number of resolved estimates at which a group's own correction has half the weight, against the correction of the wider group (the queue of a
/// share, all queues of a queue). The estimates of a small share come from a handful of backlogs. See docs/FORECAST.md for the data it was
/// chosen on.
const SHRINKAGE: f64 = 200.0;

/// Minimum resolved estimates of a group for a statement on whether its intervals are rough.
const ENOUGH: usize = 30;

/// Fewer truths of a share, or truths of a shorter time, make an interval that is only rough: those of one backlog are off together.
const SETTLED: usize = 100;

/// See [`SETTLED`].
const SETTLED_AFTER: Duration = Duration::from_secs(6 * 3_600);

/// Where less than this part of intervals held the truth, others will not either.
const FEW_HELD: f64 = 0.7;

/// Quantiles further out are not read off truths.
const EXTREME: f64 = 0.005;

/// Growth of an interval beyond [`EXTREME`], as a multiple of its spread per unit of level.
const BEYOND: f64 = 8.0;

/// The least spread of an interval to each side, as the logarithm of a factor: runs that all agree are off, too.
const MIN_SPREAD: f64 = 0.3;

/// No end is moved beyond the logarithm of so many seconds.
const MAX_LOG: f64 = 20.0;

/// Differences of less than this do not matter, in seconds.
const GRAIN: f64 = 60.0;

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
    /// When the latest forecast before it was made.
    #[serde(default)]
    pub after: Timestamp,
    /// Time of the forecast before the miss of the high end was counted, if it was counted while the job still waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_after: Option<Timestamp>,
}

impl Truth {
    /// When the estimate was made, in milliseconds.
    fn made_at(&self) -> i64 {
        self.at.millis() - (self.actual * 1_000.0).round() as i64
    }
}

/// A missed high end of a job that still waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    /// Queue of the job.
    pub queue: QueueName,
    /// Share of the job.
    pub share: Option<ShareName>,
    /// Time of the forecast before the miss was counted.
    pub after: Timestamp,
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
    /// By group.
    groups: BTreeMap<Group, Truths>,
    /// When the first truth of each group came, which may not be among the latest any more.
    first_truths: BTreeMap<Group, Timestamp>,
}

/// The truths of one group, oldest first.
#[derive(Debug, Default)]
struct Truths {
    latest: VecDeque<Truth>,
    /// By how much they missed the ends of their intervals; not set if some came since these were worked out.
    misses: OnceCell<[WeightedValues; 3]>,
    levels: Levels,
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
        Self::of_share(&truth.queue, truth.share.as_ref())
    }

    /// The groups of a share, the most like it first.
    fn of_share(queue: &QueueName, share: Option<&ShareName>) -> [Self; 3] {
        [Self::Share(queue.clone(), share.cloned()), Self::Queue(queue.clone()), Self::All]
    }
}

impl Interval {
    fn ends(&self) -> [f64; 3] {
        [self.low, self.middle, self.high]
    }

    /// The logarithms of its ends, and how far each is from the middle; that of the middle is the mean of both.
    fn logarithms(&self) -> [(f64, f64); 3] {
        let [low, middle, high] = self.ends().map(|end| (end + GRAIN).ln());
        let (below, above) = ((middle - low).max(MIN_SPREAD), (high - middle).max(MIN_SPREAD));
        [(low, below), (middle, ((high - low) / 2.0).max(MIN_SPREAD)), (high, above)]
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
        self.first_truths.retain(|group, _| groups.contains_key(group));
    }

    /// Takes in what came true.
    pub fn record(&mut self, truth: &Truth) {
        for group in Group::of(truth) {
            if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
                continue;
            }
            self.first_truths.entry(group.clone()).or_insert(truth.at);
            let truths = self.groups.entry(group).or_default();
            truths.levels.count(truth);
            truths.misses = OnceCell::new();
            truths.latest.push_back(truth.clone());
            if truths.latest.len() > MAX_TRUTHS {
                truths.latest.pop_front();
            }
        }
    }

    /// Counts a missed high end of a job that still waits.
    pub fn record_late(&mut self, late: &Late) {
        for group in Group::of_share(&late.queue, late.share.as_ref()) {
            if let Some(truths) = self.groups.get_mut(&group) {
                truths.levels.count_late(late.after);
            }
        }
    }

    /// Replays the resolved estimates of an earlier process, and the misses it had counted early, in their original order.
    pub fn record_again(&mut self, truths: &[Truth], mut late: Vec<Late>) {
        let of_truth = |truth: &Truth| {
            let (queue, share) = (truth.queue.clone(), truth.share.clone());
            truth.late_after.map(|after| Late { queue, share, after })
        };
        late.extend(truths.iter().filter_map(of_truth));
        late.sort_by_key(|late| late.after);
        let mut late = late.iter().peekable();
        for truth in truths {
            while let Some(late) = late.next_if(|late| late.after < truth.after) {
                self.record_late(late);
            }
            self.record(truth);
        }
        late.for_each(|late| self.record_late(late));
    }

    /// Applies what resolved before a forecast at `now` to the levels.
    pub fn settle(&mut self, now: Timestamp) {
        self.groups.values_mut().for_each(|truths| truths.levels.settle(now));
    }

    /// What an estimate of a share has to be, by what came true; `None` while too little has.
    pub fn correct(&self, raw: Interval, queue: &QueueName, share: Option<&ShareName>) -> Option<Interval> {
        let corrections = self.corrections(queue, share)?;
        let mut ends = [0.0; 3];
        for ((end, (logarithm, spread)), correction) in ends.iter_mut().zip(raw.logarithms()).zip(corrections) {
            *end = ((logarithm + spread * correction).min(MAX_LOG).exp() - GRAIN).max(0.0);
        }
        let [low, middle, high] = ends;
        Some(Interval { low: low.min(middle), middle, high: high.max(middle) })
    }

    /// How many truths there are for a share, or else for its queue, or else in all.
    pub fn known(&self, queue: &QueueName, share: Option<&ShareName>) -> usize {
        let groups = Group::of_share(queue, share);
        groups.iter().filter_map(|group| self.groups.get(group)).map(|truths| truths.latest.len()).max().unwrap_or(0)
    }

    /// Why the interval of an estimate of a share is only rough; `None` if it is not.
    pub fn rough(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<Rough> {
        let found = Group::of_share(queue, share)
            .into_iter()
            .find_map(|group| self.groups.get_key_value(&group).filter(|(_, truths)| truths.latest.len() >= ENOUGH));
        found.map_or(Some(Rough::FewTruths), |(group, truths)| truths.rough(self.first_truths.get(group)))
    }

    /// How good the estimates of a share were that were shown; `None` if too few were.
    pub fn quality(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<Quality> {
        self.groups.get(&Group::Share(queue.clone(), share.cloned()))?.quality()
    }

    /// How good those of a queue were.
    pub fn quality_of_queue(&self, queue: &QueueName) -> Option<Quality> {
        self.groups.get(&Group::Queue(queue.clone()))?.quality()
    }

    /// The quality of each share of which enough is known.
    pub fn qualities(&self) -> Vec<(QueueName, Option<ShareName>, Quality)> {
        let of_share = |(group, truths): (&Group, &Truths)| match group {
            Group::Share(queue, share) => Some((queue.clone(), share.clone(), truths.quality()?)),
            Group::Queue(_) | Group::All => None,
        };
        self.groups.iter().filter_map(of_share).collect()
    }

    /// Corrections of the three quantiles, as multiples of the spread: of all queues, shrunk towards those of the queue and then of the share. `None`
    /// below [`MIN_TRUTHS`].
    fn corrections(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<[f64; 3]> {
        let mut corrections: Option<[f64; 3]> = None;
        for group in Group::of_share(queue, share).iter().rev() {
            let Some(truths) = self.groups.get(group).filter(|truths| truths.latest.len() >= MIN_TRUTHS) else {
                continue;
            };
            let own = truths.corrections();
            let known = truths.latest.len() as f64;
            let weight = known / (known + SHRINKAGE);
            corrections = Some(corrections.map_or(own, |general| {
                let between = |end: usize| weight * own[end] + (1.0 - weight) * general[end];
                [between(0), between(1), between(2)]
            }));
        }
        corrections
    }
}

impl Truths {
    /// Corrections from this group alone.
    fn corrections(&self) -> [f64; 3] {
        let mut corrections = [0.0; 3];
        for ((correction, level), misses) in corrections.iter_mut().zip(self.levels.now()).zip(self.misses()) {
            let inside = level.clamp(EXTREME, 1.0 - EXTREME);
            // Extrapolates beyond the observed misses.
            *correction = misses.quantile(inside) + (level - inside) * BEYOND;
        }
        corrections
    }

    /// By how many times their spread truths missed the ends of their intervals, with how much each counts: less the longer ago it came, and the root
    /// of their number less for those of one forecast, which are off together.
    fn misses(&self) -> &[WeightedValues; 3] {
        self.misses.get_or_init(|| {
            let latest = self.latest.back().map(|truth| truth.at).unwrap_or_default();
            let mut of_forecasts: HashMap<i64, f64> = HashMap::new();
            self.latest.iter().for_each(|truth| *of_forecasts.entry(truth.made_at()).or_default() += 1.0);
            let mut all = [const { Vec::new() }; 3];
            for truth in &self.latest {
                let half_lives = latest.seconds_since(truth.at) / HALF_LIFE.as_secs_f64();
                let together = of_forecasts.get(&truth.made_at()).copied().unwrap_or(1.0);
                let (actual, weight) = ((truth.actual + GRAIN).ln(), (-half_lives).exp2() / together.sqrt());
                for (values, (logarithm, spread)) in all.iter_mut().zip(truth.raw.logarithms()) {
                    values.push(((actual - logarithm) / spread, weight));
                }
            }
            all.map(WeightedValues::of)
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

    /// The quantile at a level.
    fn quantile(&self, level: f64) -> f64 {
        let target = level * self.0.last().map_or(0.0, |(_, all)| *all);
        let index = self.0.partition_point(|(_, below)| *below < target);
        self.0.get(index).or(self.0.last()).map_or(0.0, |(value, _)| *value)
    }
}
