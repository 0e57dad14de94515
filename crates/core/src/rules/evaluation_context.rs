//! A frame as rules see it: one value per alert instance, and the meaning of a missing value.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use crate::metrics::catalogue::{self, Label};
use crate::metrics::{Frame, Quantiles, Sample, SourceHealth, Value};
use crate::model::Source;
use crate::rules::rule::{Aggregation, Clause, Condition, Fold, Rule, Stat};
use crate::rules::selected_series::{By, Index};
use crate::rules::window_history::History;

/// A source without an answer for this long is stale, even if no call failed; or for [`STALE_POLLS`] polls, if that
/// is longer.
const STALE_AFTER: Duration = Duration::from_secs(15 * 60);

/// See [`STALE_AFTER`].
const STALE_POLLS: f64 = 5.0;

/// What a rule finds for an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finding {
    /// A value, in the metric's unit.
    Value(f64),
    /// The subject exists, but has no value.
    NoData,
    /// The subject no longer exists.
    Gone,
    /// A source failed or is stale, or the past values for a comparison are missing: anything may be true.
    Unknown,
}

/// A frame, and the means to judge absence in it.
///
/// Built once per tick. Results shared by several rules (aggregated series, present instances) are computed once.
pub(super) struct Context<'a> {
    frame: &'a Frame,
    history: &'a History,
    index: &'a Index,
    samples: &'a [&'a Sample],
    taken: RefCell<BTreeMap<(&'static str, Aggregation), Aggregated>>,
    present: RefCell<BTreeMap<&'a [Label], Rc<BTreeSet<By>>>>,
    stale_after: f64,
}

/// Aggregated value of each series of a metric, by rank.
type Aggregated = Rc<[Option<f64>]>;

/// Instances of one clause, ordered by label values.
pub(super) struct Values<'a> {
    groups: &'a [(By, Vec<usize>)],
    /// One value per group.
    values: Vec<Option<f64>>,
}

impl<'a> Values<'a> {
    /// The value of one instance.
    pub(super) fn get(&self, by: &By) -> Option<f64> {
        *self.values.get(self.groups.binary_search_by(|(other, _)| other.cmp(by)).ok()?)?
    }

    /// All instances that have a value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'a By, f64)> {
        self.groups.iter().zip(&self.values).filter_map(|((by, _), value)| Some((by, (*value)?)))
    }
}

impl<'a> Context<'a> {
    /// `samples` are all samples of the frame, in the order that the index uses.
    pub(super) fn new(frame: &'a Frame, samples: &'a [&'a Sample], index: &'a Index, history: &'a History) -> Self {
        let interval = index.places(catalogue::POLL_INTERVAL.name).first().and_then(|place| samples.get(*place));
        let poll_interval = interval.and_then(|sample| match sample.value {
            Value::Gauge(seconds) => Some(seconds),
            Value::Counter(_) | Value::Distribution(_) => None,
        });
        let stale_after = STALE_AFTER.as_secs_f64().max(STALE_POLLS * poll_interval.unwrap_or_default());
        let (taken, present) = (RefCell::default(), RefCell::default());
        Self { frame, history, index, samples, taken, present, stale_after }
    }

    /// The value of each instance that has one. Series that differ only in other labels are folded.
    pub(super) fn values(&self, rule: &Rule, clause: &Clause) -> Values<'a> {
        let groups = self.index.selection(rule, clause);
        let taken = self.taken(clause);
        let folded = |(_, ranks): &(By, Vec<usize>)| {
            let mut values = ranks.iter().filter_map(|rank| *taken.get(*rank)?).peekable();
            values.peek().is_some().then(|| fold(clause.fold, values))
        };
        Values { groups, values: groups.iter().map(folded).collect() }
    }

    /// The finding of a clause for an instance with this value.
    pub(super) fn finding(&self, rule: &'a Rule, clause: &Clause, by: &By, value: Option<f64>) -> Finding {
        let certain = value.is_some_and(|value| self.holds_for_certain(clause, value));
        match value {
            _ if self.is_blind(clause, by) => Finding::Unknown,
            _ if !certain && !self.history.covers(clause, self.frame.at) => Finding::Unknown,
            Some(value) => Finding::Value(value),
            None if self.present(&rule.by).contains(by) => Finding::NoData,
            None if by.contains_key("queue") && self.is_failing(Source::Topology, by) => Finding::Unknown,
            None => Finding::Gone,
        }
    }

    /// Whether a source behind a clause's metric failed for an instance.
    pub(super) fn is_blind(&self, clause: &Clause, by: &By) -> bool {
        clause.metric.sources.iter().any(|source| self.is_failing(*source, by))
    }

    /// An increase above the threshold within part of the window is one within the whole window.
    fn holds_for_certain(&self, clause: &Clause, value: f64) -> bool {
        match (clause.take, clause.condition) {
            (Aggregation::Increase(_), Condition::Above { threshold, .. }) => value > threshold,
            (Aggregation::Increase(_), Condition::Below { .. }) => false,
            (Aggregation::Now | Aggregation::Stat(_) | Aggregation::Change(_) | Aggregation::FractionAbove(..), _) => {
                false
            }
        }
    }

    /// Aggregated value of each series of the clause's metric; cached, since many rules use the same.
    fn taken(&self, clause: &Clause) -> Aggregated {
        let take = || {
            let places = self.index.places(clause.metric.name).iter();
            places.map(|place| self.value(clause, self.samples.get(*place)?)).collect()
        };
        Rc::clone(self.taken.borrow_mut().entry((clause.metric.name, clause.take)).or_insert_with(take))
    }

    /// Label values of a rule's `by` that are present now.
    ///
    /// Present are queues, sources and the subjects of all gauges. Counters and distributions do not count: they
    /// outlive their subjects. Nor do the series of alerts, which would keep their own subjects present forever.
    pub(super) fn present(&self, labels: &'a [Label]) -> Rc<BTreeSet<By>> {
        let gather = || {
            let says_what_is_there = |sample: &&&Sample| {
                matches!(sample.value, Value::Gauge(_)) && sample.metric != &catalogue::ALERTS_ACTIVE
            };
            let gauges = self.samples.iter().filter(says_what_is_there);
            let of_gauge = |sample: &&Sample| {
                let by = |label: &&'static str| {
                    Some(((*label).to_owned(), sample.labels.get(label).or(self.frame.place.get(label))?.to_string()))
                };
                labels.iter().map(by).collect::<Option<By>>()
            };
            let one = |label: &str, value: &str| By::from([(label.to_owned(), value.to_owned())]);
            let queues = self.frame.queues.iter().map(|queue| one("queue", queue.queue.as_str()));
            let sources = self.frame.sources.iter().map(|health| one("source", health.source.as_str()));
            // The instance of a rule without `by` is always present.
            Rc::new(gauges.filter_map(of_gauge).chain(queues).chain(sources).chain([By::new()]).collect())
        };
        Rc::clone(self.present.borrow_mut().entry(labels).or_insert_with(gather))
    }

    fn is_failing(&self, source: Source, by: &By) -> bool {
        let health = self.frame.sources.iter().find(|health| health.source == source);
        let Some(SourceHealth { age_seconds: Some(age), error, failing, .. }) = health else { return true };
        if failing.is_empty() {
            return error.is_some() || *age > self.stale_after;
        }
        // If only some queues fail, the age is theirs: the others are as fresh as the last poll.
        by.get("queue").is_none_or(|queue| failing.contains(queue.as_str()))
    }

    fn value(&self, clause: &Clause, sample: &Sample) -> Option<f64> {
        let (labels, now) = (&sample.labels, self.frame.at);
        match (clause.take, &sample.value) {
            (Aggregation::Now, Value::Gauge(value)) => Some(*value),
            (Aggregation::Stat(stat), Value::Distribution(distribution)) => statistic(stat, distribution.recent),
            (Aggregation::Increase(over), _) => self.history.increase(clause, labels, over, now),
            (Aggregation::Change(over), _) => self.history.change(clause, labels, over, now),
            (Aggregation::FractionAbove(_, over), _) => self.history.fraction_above(clause, labels, over, now),
            (Aggregation::Now, Value::Counter(_) | Value::Distribution(_))
            | (Aggregation::Stat(_), Value::Gauge(_) | Value::Counter(_)) => None,
        }
    }
}

fn statistic(stat: Stat, recent: Option<Quantiles>) -> Option<f64> {
    match stat {
        Stat::Count => Some(recent.map_or(0.0, |recent| recent.count as f64)),
        Stat::P50 => recent.map(|recent| recent.p50),
        Stat::P90 => recent.map(|recent| recent.p90),
        Stat::P95 => recent.map(|recent| recent.p95),
        Stat::P99 => recent.map(|recent| recent.p99),
        Stat::Mean => recent.map(|recent| recent.mean),
        Stat::Max => recent.map(|recent| recent.max),
    }
}

/// Folds several values into one; there is at least one.
fn fold(how: Fold, values: impl Iterator<Item = f64>) -> f64 {
    match how {
        Fold::Max => values.fold(f64::NEG_INFINITY, f64::max),
        Fold::Min => values.fold(f64::INFINITY, f64::min),
        Fold::Sum => values.sum(),
        Fold::Mean => {
            let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
            sum / count
        }
    }
}
