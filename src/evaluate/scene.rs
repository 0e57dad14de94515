//! A frame as rules see it: one value per alert instance, and what it means when there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::derive::catalogue::{self, Metric};
use crate::derive::{Frame, Sample, SourceHealth, Value};
use crate::evaluate::glob;
use crate::evaluate::history::History;
use crate::evaluate::rule::{Fold, Rule, Stat};
use crate::model::Source;

/// Data of a source that has not answered for this long says nothing of now, even if no call failed; or for
/// [`STALE_POLLS`] polls, if that is longer.
const STALE_AFTER: Duration = Duration::from_secs(15 * 60);

/// See [`STALE_AFTER`].
const STALE_POLLS: f64 = 5.0;

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
    /// A source failed or is old, or the past that a counter is compared with is not known: anything may be true.
    Unknown,
}

/// A frame, and what rules need to judge absence in it.
pub(super) struct Scene<'a> {
    frame: &'a Frame,
    history: &'a History,
    by_metric: BTreeMap<&'static str, Vec<&'a Sample>>,
    stale_after: f64,
}

impl<'a> Scene<'a> {
    pub(super) fn new(frame: &'a Frame, history: &'a History) -> Self {
        let mut by_metric: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for sample in &frame.samples {
            by_metric.entry(sample.metric.name).or_default().push(sample);
        }
        let poll_interval =
            by_metric.get(catalogue::POLL_INTERVAL.name).and_then(|samples| match samples.first()?.value {
                Value::Gauge(seconds) => Some(seconds),
                Value::Counter(_) | Value::Distribution(_) => None,
            });
        let stale_after = STALE_AFTER.as_secs_f64().max(STALE_POLLS * poll_interval.unwrap_or_default());
        Self { frame, history, by_metric, stale_after }
    }

    /// The value of each instance that has one. Series that differ only in other labels are folded.
    pub(super) fn values(&self, rule: &Rule) -> BTreeMap<By, f64> {
        let mut series: BTreeMap<By, Vec<f64>> = BTreeMap::new();
        for sample in self.by_metric.get(rule.metric.name).into_iter().flatten() {
            if accepts(rule, sample)
                && let Some(value) = self.value(rule, sample)
            {
                let by = rule.by.iter().map(|label| ((*label).to_owned(), text(sample, label).to_owned())).collect();
                series.entry(by).or_default().push(value);
            }
        }
        series.into_iter().map(|(by, values)| (by, fold(rule.fold, &values))).collect()
    }

    /// What the rule finds for an instance that has this value.
    pub(super) fn finding(&self, rule: &Rule, by: &By, value: Option<f64>, present: &Present) -> Finding {
        let incomplete = rule.increase.is_some_and(|over| !self.history.covers(rule.metric, over, self.frame.at));
        match value {
            _ if self.is_blind(rule, by) => Finding::Unknown,
            _ if incomplete && !value.is_some_and(|value| rule.condition.holds_at_least(value)) => Finding::Unknown,
            Some(value) => Finding::Value(value),
            None if present.of(self, rule).contains(by) => Finding::NoData,
            None if by.contains_key("queue") && self.is_failing(Source::Topology, by) => Finding::Unknown,
            None => Finding::Gone,
        }
    }

    /// Whether a source behind a rule's metric failed for what an instance is about.
    pub(super) fn is_blind(&self, rule: &Rule, by: &By) -> bool {
        sources_of(rule.metric).iter().any(|source| self.is_failing(*source, by))
    }

    fn is_failing(&self, source: Source, by: &By) -> bool {
        let health = self.frame.sources.iter().find(|health| health.source == source);
        let Some(SourceHealth { age_seconds: Some(age), error, failing, .. }) = health else { return true };
        if failing.is_empty() {
            return error.is_some() || *age > self.stale_after;
        }
        // Some queues fail, and the age is theirs: the others are as fresh as the last poll.
        by.get("queue").is_none_or(|queue| failing.contains(queue.as_str()))
    }

    fn value(&self, rule: &Rule, sample: &Sample) -> Option<f64> {
        match &sample.value {
            Value::Gauge(value) => Some(*value),
            Value::Counter(_) => self.history.increase(sample, rule.increase?, self.frame.at),
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

/// The label values of a rule's `by` that are there now, worked out once it is asked.
///
/// Queues, sources and whatever any gauge speaks of are there. Counters and distributions do not count: they outlive what
/// they were about.
#[derive(Default)]
pub(super) struct Present(std::cell::OnceCell<BTreeSet<By>>);

impl Present {
    fn of(&self, scene: &Scene<'_>, rule: &Rule) -> &BTreeSet<By> {
        self.0.get_or_init(|| {
            let gauges = scene.frame.samples.iter().filter(|sample| matches!(sample.value, Value::Gauge(_)));
            let of_gauge = |sample: &Sample| {
                let by = |label: &&'static str| Some(((*label).to_owned(), sample.labels.get(label)?.to_string()));
                rule.by.iter().map(by).collect::<Option<By>>()
            };
            let one = |label: &str, value: &str| By::from([(label.to_owned(), value.to_owned())]);
            let queues = scene.frame.queues.iter().map(|queue| one("queue", queue.queue.as_str()));
            let sources = scene.frame.sources.iter().map(|health| one("source", health.source.as_str()));
            // A rule over everything is about what never goes.
            gauges.filter_map(of_gauge).chain(queues).chain(sources).chain([By::new()]).collect()
        })
    }
}

/// The sources that a metric rests on; none for what the service knows of itself.
fn sources_of(metric: &Metric) -> &'static [Source] {
    let room = metric.name.split('.').next().unwrap_or_default();
    match (metric.name, room) {
        // Without utilisation every busy GPU is an unknown one, and the rest would look like all there is.
        ("gpu.utilisation" | "gpu.dead_hosts" | "gpu.part" | "gpu.time" | "gpu.idle.ratio", _) => {
            &[Source::Jobs, Source::Utilisation]
        }
        ("ledger.unverified", _) | (_, "queue" | "share" | "job" | "gpu" | "setup") => &[Source::Jobs],
        _ => &[],
    }
}

fn accepts(rule: &Rule, sample: &Sample) -> bool {
    rule.filters.iter().all(|(label, pattern)| glob::matches(pattern, text(sample, label)))
}

fn text<'a>(sample: &'a Sample, label: &str) -> &'a str {
    sample.labels.get(label).map(|value| &**value).unwrap_or_default()
}

/// One value of several; there is at least one.
fn fold(how: Fold, values: &[f64]) -> f64 {
    let sum = || values.iter().sum::<f64>();
    match how {
        Fold::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Fold::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Fold::Sum => sum(),
        Fold::Mean => sum() / values.len() as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_rests_on_the_sources_it_is_made_from() {
        for metric in catalogue::ALL {
            let of_aws = metric.labels.contains(&"queue");
            assert_eq!(of_aws, !sources_of(metric).is_empty(), "{metric}: decide which sources it rests on");
        }
    }
}
