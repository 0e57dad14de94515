//! From the samples of a frame to one value per alert instance of a rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::derive::catalogue::{self, Kind, Metric};
use crate::derive::{Frame, Labels, Sample, Value};
use crate::evaluate::rule::{Rule, Stat};
use crate::model::{QueueName, Source, Timestamp};

/// Values of a counter remembered per series at most: the oldest go first.
const HISTORY_KEPT: usize = 2_000;

/// The label values that tell the instances of a rule apart.
pub(super) type By = BTreeMap<String, String>;

/// What a rule finds for an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finding {
    /// A value, in the metric's unit.
    Value(f64),
    /// What the instance is about is there, a value is not.
    NoData,
    /// What the instance is about is no longer there.
    Gone,
    /// The source failed, so nothing is known.
    Unknown,
}

/// A frame, and what rules need to judge absence in it.
pub(super) struct Scene<'a> {
    frame: &'a Frame,
    history: &'a History,
    queues: BTreeSet<&'a str>,
    shares: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(frame: &'a Frame, history: &'a History) -> Self {
        let of_jobs = frame.samples.iter().filter(|sample| *sample.metric == catalogue::QUEUE_JOBS);
        let share = |sample: &'a Sample| Some((&**sample.labels.get("queue")?, &**sample.labels.get("share")?));
        Self {
            frame,
            history,
            queues: frame.queues.iter().map(|queue| queue.queue.as_str()).collect(),
            shares: of_jobs.filter_map(share).collect(),
        }
    }

    /// The value of each instance that has one. Series that differ only in other labels are folded.
    pub(super) fn values(&self, rule: &Rule) -> BTreeMap<By, f64> {
        let mut values: BTreeMap<By, f64> = BTreeMap::new();
        for sample in self.frame.samples.iter().filter(|sample| sample.metric == rule.metric && accepts(rule, sample)) {
            let Some(value) = self.value(rule, sample) else { continue };
            let by = rule.by.iter().map(|label| ((*label).to_owned(), text(sample, label))).collect();
            let folded = values.entry(by);
            let fold = |other: &mut f64| {
                *other = if rule.increase.is_some() { *other + value } else { rule.condition.worse(*other, value) };
            };
            folded.and_modify(fold).or_insert(value);
        }
        values
    }

    /// What is to be made of an instance without a value.
    pub(super) fn absence(&self, rule: &Rule, by: &By) -> Finding {
        let label = |name: &str| by.get(name).map(String::as_str);
        let exists = match (label("queue"), label("share")) {
            (Some(queue), Some(share)) => self.shares.contains(&(queue, share)),
            (Some(queue), None) => self.queues.contains(queue),
            (None, _) => true,
        };
        debug_assert!(rule.by.len() >= by.len() || by.contains_key(OVERFLOW), "{by:?}");
        if exists { Finding::NoData } else { Finding::Gone }
    }

    /// Whether the source behind a rule's metric failed for what an instance is about.
    pub(super) fn is_blind(&self, rule: &Rule, by: &By) -> bool {
        let Some(source) = source_of(rule.metric) else { return false };
        let Some(health) = self.frame.sources.iter().find(|health| health.source == source) else { return true };
        let queue = by.get("queue").map(|queue| QueueName::new(queue.as_str()));
        let failing = queue.map_or(!health.failing.is_empty(), |queue| health.failing.contains(&queue));
        health.age_seconds.is_none() || failing
    }

    fn value(&self, rule: &Rule, sample: &Sample) -> Option<f64> {
        match &sample.value {
            Value::Gauge(value) => Some(*value),
            Value::Counter(value) => self.history.increase(sample, *value, rule.increase?, self.frame.at),
            Value::Distribution(distribution) => {
                let recent = distribution.recent;
                match rule.stat? {
                    Stat::Count => Some(recent.map_or(0.0, |recent| recent.count as f64)),
                    Stat::P50 => recent.map(|recent| recent.p50),
                    Stat::P90 => recent.map(|recent| recent.p90),
                    Stat::P95 => recent.map(|recent| recent.p95),
                    Stat::P99 => recent.map(|recent| recent.p99),
                    Stat::Mean => recent.map(|recent| recent.mean),
                    Stat::Max => recent.map(|recent| recent.max),
                }
            }
        }
    }
}

/// The label of the one alert that stands for those over a rule's limit.
pub(super) const OVERFLOW: &str = "overflow";

/// The source that a metric rests on; `None` for what the service knows of itself.
fn source_of(metric: &Metric) -> Option<Source> {
    let room = metric.name.split('.').next().unwrap_or_default();
    match (metric.name, room) {
        ("gpu.utilisation", _) => Some(Source::Utilisation),
        (_, "queue" | "share" | "job" | "gpu") => Some(Source::Jobs),
        _ => None,
    }
}

fn accepts(rule: &Rule, sample: &Sample) -> bool {
    rule.filters.iter().all(|(label, glob)| matches(glob, &text(sample, label)))
}

fn text(sample: &Sample, label: &str) -> String {
    sample.labels.get(label).map(|value| value.to_string()).unwrap_or_default()
}

/// Whether a text matches a glob of `*` and `?`.
fn matches(glob: &str, text: &str) -> bool {
    let mut reachable = vec![true];
    let text: Vec<char> = text.chars().collect();
    reachable.resize(text.len() + 1, false);
    for letter in glob.chars() {
        let mut next = vec![false; text.len() + 1];
        let mut any_before = false;
        for (at, reached) in reachable.iter().enumerate() {
            any_before |= reached;
            let here = match letter {
                '*' => any_before,
                '?' => at > 0 && reachable.get(at - 1) == Some(&true),
                letter => at > 0 && reachable.get(at - 1) == Some(&true) && text.get(at - 1) == Some(&letter),
            };
            if let Some(cell) = next.get_mut(at) {
                *cell = here;
            }
        }
        reachable = next;
    }
    reachable.last() == Some(&true)
}

/// Past values of the counters that rules compare.
#[derive(Debug, Default)]
pub(super) struct History {
    began: bool,
    series: BTreeMap<(&'static str, Labels), VecDeque<(Timestamp, f64)>>,
}

impl History {
    /// Remembers the counters of a frame that any rule looks at, for as long as the longest looks back.
    pub(super) fn remember(&mut self, rules: &[Rule], frame: &Frame) {
        let mut longest: BTreeMap<&str, Duration> = BTreeMap::new();
        for rule in rules {
            if let Some(increase) = rule.increase {
                let entry = longest.entry(rule.metric.name).or_default();
                *entry = (*entry).max(increase);
            }
        }
        self.series.retain(|(metric, _), _| longest.contains_key(metric));
        for sample in frame.samples.iter().filter(|sample| sample.metric.kind == Kind::Counter) {
            let (Value::Counter(value), Some(longest)) = (&sample.value, longest.get(sample.metric.name)) else {
                continue;
            };
            let begun = self.began;
            let past = self.series.entry((sample.metric.name, sample.labels.clone())).or_insert_with(|| {
                // A series that appears later began at 0; the first frame after a start is where counting goes on from.
                VecDeque::from([(frame.at, if begun { 0.0 } else { *value })])
            });
            past.push_back((frame.at, *value));
            // One value from before the window stays: it is what the window is compared with.
            while past.len() > HISTORY_KEPT || past.get(1).is_some_and(|(at, _)| frame.at.since(*at) >= *longest) {
                past.pop_front();
            }
        }
        self.began = true;
    }

    fn increase(&self, sample: &Sample, value: f64, over: Duration, now: Timestamp) -> Option<f64> {
        let past = self.series.get(&(sample.metric.name, sample.labels.clone()))?;
        let before = past.iter().rev().find(|(at, _)| now.since(*at) >= over).or_else(|| past.front())?;
        Some((value - before.1).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, text, expected) in [
            ("prod-*", "prod-a", true),
            ("prod-*", "preprod-a", false),
            ("*", "", true),
            ("?", "", false),
            ("a?c*e", "abcde", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
