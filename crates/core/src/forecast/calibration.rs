//! Interval calibration: split conformal prediction with forgetting, offsets that follow the misses, and shrinkage.
//!
//! A resolved estimate gives three misses: the distance of the actual start from the low end, the median and the high end, as a multiple of
//! the interval's spread. Quantiles of recent misses correct the next estimate. A share with few resolved estimates is corrected mostly by
//! those of its queue.

mod miss_rate_tracking;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::forecast::calibration::miss_rate_tracking::{MISSES, Offsets};
use crate::forecast::stored_ring::Row;
use crate::model::{QueueName, ShareName, Timestamp};

/// Maximum resolved estimates of a group that corrections use. Beyond it [`Truths::thin`] keeps fewer of each hour before it drops old ones:
/// the latest 3,000 estimates of a busy share can be those of a single backlog, and an interval that fits one backlog misses the next.
const MAX_TRUTHS: usize = 3_000;

/// Number of resolved estimates that thinning keeps.
const AFTER_THINNING: usize = MAX_TRUTHS / 4 * 3;

/// Minimum resolved estimates of an hour that thinning keeps; before it keeps fewer, the oldest go.
const MIN_OF_HOUR: usize = 4;

const HOUR_MILLIS: i64 = 3_600_000;

/// Maximum groups with resolved estimates.
const MAX_GROUPS: usize = 2_000;

/// Age at which a resolved estimate has half its weight. Chosen on seeds 21 to 36 of the example `forecast` and on later parts of one of its
/// traces, with a look at the workloads of docs/FORECAST.md.
const HALF_LIFE: Duration = Duration::from_secs(100 * 3_600);

/// Minimum resolved estimates for a correction: fewer cannot locate a 10 % quantile.
pub const MIN_TRUTHS: usize = 10;

/// Number of resolved estimates at which a group's own quantiles have half the weight, against those of the wider group (the queue of a
/// share, all queues of a queue). The estimates of a small share come from a handful of backlogs. See docs/FORECAST.md for the data it was
/// chosen on.
const SHRINKAGE: f64 = 200.0;

/// The same for offsets, which must follow the misses of the share itself.
const OFFSET_SHRINKAGE: f64 = 50.0;

/// Minimum resolved estimates of a group for a statement on whether its intervals are rough.
const ENOUGH: usize = 30;

/// Minimum resolved estimates of a share for an interval that is not rough: the errors of one backlog are correlated.
const SETTLED: usize = 100;

/// Minimum time that they must span; see [`SETTLED`].
const SETTLED_AFTER: Duration = Duration::from_secs(6 * 3_600);

/// Coverage below which intervals are rough.
const MIN_COVERAGE: f64 = 0.7;

/// Minimum spread of an interval to each side, as the logarithm of a factor: even runs that all agree have errors.
const MIN_SPREAD: f64 = 0.3;

/// Maximum of a corrected end, as the logarithm of seconds.
const MAX_LOG: f64 = 20.0;

/// Resolution in seconds: smaller differences do not matter.
const GRAIN: f64 = 60.0;

/// An interval in seconds from the time of the estimate; infinite beyond the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// P10.
    pub low: f64,
    /// P50.
    pub middle: f64,
    /// P90.
    pub high: f64,
}

/// A resolved estimate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// When it was resolved.
    pub at: Timestamp,
    /// Queue of the job.
    pub queue: QueueName,
    /// Share of the job.
    pub share: Option<ShareName>,
    /// As simulated, before calibration.
    pub raw: Interval,
    /// As shown; `None` if there were too few resolved estimates to show it.
    pub shown: Option<Interval>,
    /// Seconds from the estimate to the start.
    pub actual: f64,
    /// Time of the latest forecast before it was resolved.
    #[serde(default)]
    pub after: Timestamp,
    /// Time of the forecast before the miss of the high end was counted, if it was counted while the job still waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_after: Option<Timestamp>,
}

impl Row for Truth {
    const RING: &'static str = "truth";

    fn stored(&self) -> impl Serialize {
        self
    }
}

impl Truth {
    /// Time of the estimate in milliseconds.
    fn made_at(&self) -> i64 {
        self.at.millis() - (self.actual * 1_000.0).round() as i64
    }

    /// A number that depends on this estimate alone, and looks random.
    fn lot(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let ends = [self.raw.low, self.raw.middle, self.raw.high, self.actual].map(f64::to_bits);
        (self.at.millis(), ends).hash(&mut hasher);
        hasher.finish()
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

/// Accuracy of the estimates of a share.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Number of resolved estimates.
    pub truths: usize,
    /// Fraction of them whose interval contained the actual start.
    pub coverage: f64,
    /// Median absolute error of the P50, in seconds.
    pub error: f64,
}

/// Why an interval is rough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rough {
    /// Too few resolved estimates.
    FewTruths,
    /// The resolved estimates span too little time.
    Young,
    /// Too many intervals missed the actual start.
    OftenWrong,
}

/// Recent resolved estimates.
#[derive(Debug, Default)]
pub struct Calibration {
    /// By group.
    groups: BTreeMap<Group, Truths>,
    /// Time of the first resolved estimate of each group, which may no longer be stored.
    first_truths: BTreeMap<Group, Timestamp>,
}

/// Resolved estimates of one group, oldest first.
#[derive(Debug, Default)]
struct Truths {
    kept: VecDeque<Truth>,
    /// Misses of the three quantiles; unset if estimates were added since the last computation.
    misses: OnceCell<[WeightedValues; 3]>,
    offsets: Offsets,
}

/// A group of similar jobs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// A share.
    Share(QueueName, Option<ShareName>),
    /// A queue.
    Queue(QueueName),
    /// All queues.
    All,
}

impl Group {
    /// The groups of a resolved estimate.
    pub fn of(truth: &Truth) -> [Self; 3] {
        Self::of_share(&truth.queue, truth.share.as_ref())
    }

    /// The groups of a share, most specific first.
    fn of_share(queue: &QueueName, share: Option<&ShareName>) -> [Self; 3] {
        [Self::Share(queue.clone(), share.cloned()), Self::Queue(queue.clone()), Self::All]
    }
}

impl Interval {
    fn ends(&self) -> [f64; 3] {
        [self.low, self.middle, self.high]
    }

    /// Logarithms of the quantiles, each with the spread to the median; the spread of the median is the mean of both.
    fn logarithms(&self) -> [(f64, f64); 3] {
        let [low, middle, high] = self.ends().map(|end| (end + GRAIN).ln());
        let (below, above) = ((middle - low).max(MIN_SPREAD), (high - middle).max(MIN_SPREAD));
        [(low, below), (middle, ((high - low) / 2.0).max(MIN_SPREAD)), (high, above)]
    }

    /// Whether it contains a start after `seconds`.
    pub fn holds(&self, seconds: f64) -> bool {
        self.low <= seconds && seconds <= self.high
    }
}

impl Calibration {
    /// Restores the times of the first resolved estimates from an earlier run.
    pub fn restore(first_truths: BTreeMap<Group, Timestamp>) -> Self {
        Self { first_truths, ..Self::default() }
    }

    /// Time of the first resolved estimate of each group.
    pub fn first_truths(&self) -> &BTreeMap<Group, Timestamp> {
        &self.first_truths
    }

    /// Removes groups without stored estimates.
    pub fn forget_empty_groups(&mut self) {
        let groups = &self.groups;
        self.first_truths.retain(|group, _| groups.contains_key(group));
    }

    /// Adds a resolved estimate.
    pub fn record(&mut self, truth: &Truth) {
        for group in Group::of(truth) {
            if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group) {
                continue;
            }
            self.first_truths.entry(group.clone()).or_insert(truth.at);
            let truths = self.groups.entry(group).or_default();
            truths.offsets.count(truth);
            truths.misses = OnceCell::new();
            truths.kept.push_back(truth.clone());
            if truths.kept.len() > MAX_TRUTHS {
                truths.thin();
            }
        }
    }

    /// Counts a missed high end of a job that still waits.
    pub fn record_late(&mut self, late: &Late) {
        for group in Group::of_share(&late.queue, late.share.as_ref()) {
            if let Some(truths) = self.groups.get_mut(&group) {
                truths.offsets.count_late(late.after);
            }
        }
    }

    /// Replays the resolved estimates of an earlier process, and the misses it had counted early, in their original order.
    pub fn replay<'a>(&mut self, truths: impl Iterator<Item = &'a Truth> + Clone, mut late: Vec<Late>) {
        let of_truth = |truth: &Truth| {
            let (queue, share) = (truth.queue.clone(), truth.share.clone());
            truth.late_after.map(|after| Late { queue, share, after })
        };
        late.extend(truths.clone().filter_map(of_truth));
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

    /// Applies what resolved before a forecast at `now` to the offsets.
    pub fn settle(&mut self, now: Timestamp) {
        self.groups.values_mut().for_each(|truths| truths.offsets.settle(now));
    }

    /// Corrects a simulated interval of a share; `None` with too few resolved estimates.
    pub fn correct(&self, raw: Interval, queue: &QueueName, share: Option<&ShareName>) -> Option<Interval> {
        let corrections = self.corrections(queue, share)?;
        let mut ends = [0.0; 3];
        for ((end, (logarithm, spread)), correction) in ends.iter_mut().zip(raw.logarithms()).zip(corrections) {
            *end = ((logarithm + spread * correction).min(MAX_LOG).exp() - GRAIN).max(0.0);
        }
        let [low, middle, high] = ends;
        Some(Interval { low: low.min(middle), middle, high: high.max(middle) })
    }

    /// The largest number of resolved estimates among a share, its queue and all queues.
    pub fn known(&self, queue: &QueueName, share: Option<&ShareName>) -> usize {
        let groups = Group::of_share(queue, share);
        groups.iter().filter_map(|group| self.groups.get(group)).map(|truths| truths.kept.len()).max().unwrap_or(0)
    }

    /// Why intervals of a share are rough; `None` if they are not.
    pub fn rough(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<Rough> {
        let found = Group::of_share(queue, share)
            .into_iter()
            .find_map(|group| self.groups.get_key_value(&group).filter(|(_, truths)| truths.kept.len() >= ENOUGH));
        found.map_or(Some(Rough::FewTruths), |(group, truths)| truths.rough(self.first_truths.get(group)))
    }

    /// Accuracy of the shown estimates of a share; `None` with too few of them.
    pub fn quality(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<Quality> {
        self.groups.get(&Group::Share(queue.clone(), share.cloned()))?.quality()
    }

    /// Accuracy of the shown estimates of a queue; `None` with too few of them.
    pub fn quality_of_queue(&self, queue: &QueueName) -> Option<Quality> {
        self.groups.get(&Group::Queue(queue.clone()))?.quality()
    }

    /// Accuracy of each share with enough estimates.
    pub fn qualities(&self) -> Vec<(QueueName, Option<ShareName>, Quality)> {
        let of_share = |(group, truths): (&Group, &Truths)| match group {
            Group::Share(queue, share) => Some((queue.clone(), share.clone(), truths.quality()?)),
            Group::Queue(_) | Group::All => None,
        };
        self.groups.iter().filter_map(of_share).collect()
    }

    /// Corrections of the three quantiles, as multiples of the spread: the quantiles of misses and the offsets of all queues, each shrunk towards
    /// those of the queue and then of the share. `None` below [`MIN_TRUTHS`].
    fn corrections(&self, queue: &QueueName, share: Option<&ShareName>) -> Option<[f64; 3]> {
        let mut shrunk: Option<([f64; 3], [f64; 3])> = None;
        for group in Group::of_share(queue, share).iter().rev() {
            let Some(truths) = self.groups.get(group).filter(|truths| truths.kept.len() >= MIN_TRUTHS) else {
                continue;
            };
            let (quantiles, offsets, known) = (truths.quantiles(), truths.offsets.now(), truths.kept.len() as f64);
            shrunk = Some(shrunk.map_or((quantiles, offsets), |(wider, wider_offsets)| {
                (
                    between(wider, quantiles, known / (known + SHRINKAGE)),
                    between(wider_offsets, offsets, known / (known + OFFSET_SHRINKAGE)),
                )
            }));
        }
        shrunk.map(|([low, middle, high], offsets)| [low + offsets[0], middle + offsets[1], high + offsets[2]])
    }
}

/// From `wider` to `own`, by the weight of `own`.
fn between(wider: [f64; 3], own: [f64; 3], weight: f64) -> [f64; 3] {
    [0, 1, 2].map(|end| weight * own[end] + (1.0 - weight) * wider[end])
}

impl Truths {
    /// Quantiles of the misses of this group alone.
    fn quantiles(&self) -> [f64; 3] {
        let [low, middle, high] = self.misses();
        [low.quantile(MISSES), middle.quantile(0.5), high.quantile(1.0 - MISSES)]
    }

    /// Misses of the three quantiles, as multiples of the spread, with weights. The weight decays with age. The
    /// estimates of one forecast have correlated errors, and weigh as much as one.
    fn misses(&self) -> &[WeightedValues; 3] {
        self.misses.get_or_init(|| {
            let latest = self.kept.back().map(|truth| truth.at).unwrap_or_default();
            let mut of_forecasts: HashMap<i64, f64> = HashMap::new();
            self.kept.iter().for_each(|truth| *of_forecasts.entry(truth.made_at()).or_default() += 1.0);
            let mut all = [const { Vec::new() }; 3];
            for truth in &self.kept {
                let half_lives = latest.seconds_since(truth.at) / HALF_LIFE.as_secs_f64();
                let together = of_forecasts.get(&truth.made_at()).copied().unwrap_or(1.0);
                let (actual, weight) = ((truth.actual + GRAIN).ln(), (-half_lives).exp2() / together);
                for (values, (logarithm, spread)) in all.iter_mut().zip(truth.raw.logarithms()) {
                    values.push(((actual - logarithm) / spread, weight));
                }
            }
            all.map(WeightedValues::of)
        })
    }

    /// Keeps [`AFTER_THINNING`] estimates or fewer: of each hour in which estimates were made the same number if it has more, chosen as if by lot,
    /// or else the latest. The choice depends on the estimate alone, so that thinning again and again prefers neither those that resolved early
    /// nor the late ones.
    fn thin(&mut self) {
        let hour = |truth: &Truth| truth.made_at().div_euclid(HOUR_MILLIS);
        let mut of_hours: HashMap<i64, Vec<u64>> = HashMap::new();
        self.kept.iter().for_each(|truth| of_hours.entry(hour(truth)).or_default().push(truth.lot()));
        let kept_with = |most: usize| of_hours.values().map(|lots| lots.len().min(most)).sum::<usize>();
        let (mut most, mut too_many) = (0, MAX_TRUTHS + 1);
        while too_many - most > 1 {
            let middle = most.midpoint(too_many);
            if kept_with(middle) <= AFTER_THINNING { most = middle } else { too_many = middle }
        }
        if most < MIN_OF_HOUR {
            self.kept.drain(..self.kept.len() - AFTER_THINNING);
            return;
        }
        of_hours.values_mut().for_each(|lots| {
            lots.sort_unstable();
            lots.truncate(most);
        });
        self.kept.retain(|truth| {
            let Some(lots) = of_hours.get_mut(&hour(truth)) else { return false };
            lots.binary_search(&truth.lot()).is_ok_and(|drawn| {
                lots.remove(drawn);
                true
            })
        });
    }

    fn rough(&self, first_at: Option<&Timestamp>) -> Option<Rough> {
        let span = first_at.zip(self.kept.back()).map(|(first, last)| last.at.since(*first));
        if self.kept.len() < SETTLED {
            Some(Rough::FewTruths)
        } else if span.is_none_or(|span| span < SETTLED_AFTER) {
            Some(Rough::Young)
        } else {
            self.quality().filter(|quality| quality.coverage < MIN_COVERAGE).map(|_| Rough::OftenWrong)
        }
    }

    fn quality(&self) -> Option<Quality> {
        let shown: Vec<(&Interval, f64)> =
            self.kept.iter().filter_map(|truth| Some((truth.shown.as_ref()?, truth.actual))).collect();
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

/// Sorted values, each with the cumulative weight.
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
