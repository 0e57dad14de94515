//! Checks one condition of a rule: its metric, the aggregation and the threshold.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::metrics::catalogue::{self, Kind, Label, Metric};
use crate::metrics::single_jobs;
use crate::model::{PLACE_LABELS, check_glob};
use crate::rules::check::{Check, values};
use crate::rules::file::ClauseText;
use crate::rules::parse_threshold::Threshold;
use crate::rules::rule::{self, Aggregation, Clause, Condition, Fold, Stat};
use crate::yaml::{HumanDuration, nearest};

/// Maximum `increase` and `change_over`: past values are kept in memory.
const MAX_LOOKBACK: Duration = Duration::from_secs(24 * 60 * 60);

impl Check<'_> {
    /// Checks a condition and its rule's labels. `at` is its path in the rule: empty, or for example `all[0].`.
    pub(super) fn clause(&mut self, at: &str, text: &ClauseText, by: &[String]) -> Option<(Clause, Vec<Label>)> {
        let Some(name) = &text.metric else {
            let key = if at.is_empty() { "alert" } else { at.trim_end_matches('.') };
            self.problem(key, "there is no `metric`; docs/METRICS.md lists them");
            return None;
        };
        let metric = self.known_metric(&format!("{at}metric"), name)?;
        let take = self.take(at, metric, text);
        let by = self.labels(metric, by);
        let filters = self.filters(metric, &format!("{at}where"), &text.r#where);
        // Check the threshold even if the aggregation is invalid.
        let condition = self.condition(at, metric, take.unwrap_or(Aggregation::Now), text);
        let (take, condition) = (take?, condition?);
        let fold = text.fold.unwrap_or_else(|| usual_fold(take, condition));
        Some((Clause { metric, take, fold, filters, condition }, by))
    }

    /// A metric of the catalogue or of single jobs.
    pub(super) fn known_metric(&mut self, key: &str, name: &str) -> Option<&'static Metric> {
        let found = catalogue::find(name).or_else(|| single_jobs::find(name));
        if found.is_none() {
            let names = catalogue::ALL.iter().copied().chain(single_jobs::ALL).map(|metric| metric.name);
            let hint = nearest(name, names)
                .map_or_else(|| "docs/METRICS.md lists them".to_owned(), |near| format!("did you mean `{near}`?"));
            self.problem(key, format!("there is no metric `{name}`; {hint}"));
        }
        found
    }

    /// The rule's `by`, limited to labels that the metric has.
    pub(super) fn labels(&mut self, metric: &'static Metric, by: &[String]) -> Vec<Label> {
        (0_usize..).zip(by).filter_map(|(index, label)| self.label(metric, label, &format!("by[{index}]"))).collect()
    }

    pub(super) fn filters(
        &mut self,
        metric: &'static Metric,
        key: &str,
        globs: &BTreeMap<String, String>,
    ) -> Vec<(Label, String)> {
        let filter = |(label, glob): (&String, &String)| {
            let at = format!("{key}.{label}");
            let found = self.label(metric, label, &at)?;
            if let Err(message) = check_glob(label, glob).and_then(|()| values::check(metric, found, glob)) {
                self.problem(&at, message);
            }
            Some((found, glob.clone()))
        };
        globs.iter().filter_map(filter).collect()
    }

    fn label(&mut self, metric: &'static Metric, label: &str, key: &str) -> Option<Label> {
        let found = metric.labels.iter().copied().chain(PLACE_LABELS).find(|known| *known == label);
        if found.is_none() {
            let message = match (label, metric.labels) {
                ("job", _) => {
                    let names = single_jobs::ALL.map(|metric| metric.name).join(", ");
                    format!("`{}` is not a metric of single jobs; {names} are", metric.name)
                }
                (_, []) => format!("`{}` has no labels but account and region", metric.name),
                (_, labels) => format!("`{}` has no label `{label}`; it has {}", metric.name, labels.join(", ")),
            };
            self.problem(key, message);
        }
        found
    }

    /// The aggregation, if it fits the kind of the metric.
    fn take(&mut self, at: &str, metric: &Metric, text: &ClauseText) -> Option<Aggregation> {
        let mut fits = |key: &str, given: bool, kind: Kind, message: &str| {
            if given && metric.kind != kind {
                self.problem(&format!("{at}{key}"), message);
            }
        };
        fits("stat", text.stat.is_some(), Kind::Distribution, "only a distribution has a `stat`");
        fits("increase", text.increase.is_some(), Kind::Counter, "only a counter has an `increase`");
        fits("change_over", text.change_over.is_some(), Kind::Gauge, "only a gauge has a `change_over`");
        let increase = self.span(&format!("{at}increase"), text.increase);
        let change = self.span(&format!("{at}change_over"), text.change_over);
        match (metric.kind, text.stat) {
            (Kind::Gauge, _) => Some(change.map_or(Aggregation::Now, Aggregation::Change)),
            (Kind::Counter, _) => {
                if increase.is_none() {
                    let message = "this metric is a counter; compare its increase, such as `increase: 10m`";
                    self.problem(&format!("{at}metric"), message);
                }
                increase.map(Aggregation::Increase)
            }
            (Kind::Distribution, Some(stat)) => Some(Aggregation::Stat(stat)),
            (Kind::Distribution, None) => {
                let message = "this metric is a distribution; set `stat` to p50, p90, p95, p99, mean, max or count";
                self.problem(&format!("{at}metric"), message);
                None
            }
        }
    }

    fn span(&mut self, key: &str, written: Option<HumanDuration>) -> Option<Duration> {
        let over = written?.0;
        if over.is_zero() || over > MAX_LOOKBACK {
            self.problem(key, "must be longer than 0s and no longer than 24h");
        }
        Some(over)
    }

    fn condition(&mut self, at: &str, metric: &Metric, take: Aggregation, text: &ClauseText) -> Option<Condition> {
        let unit = rule::unit_of(metric, take);
        let mut number = |key: &str, level: &Option<Threshold>| {
            let read =
                |level: &Threshold| level.in_unit(unit).map_err(|message| self.problem(&format!("{at}{key}"), message));
            level.as_ref().map(read)
        };
        let levels = (number("above", &text.above), number("below", &text.below), number("recover", &text.recover));
        let recover_of = |threshold: f64, recover: Option<Result<f64, ()>>| recover.unwrap_or(Ok(threshold)).ok();
        match levels {
            (Some(threshold), None, recover) => {
                let threshold = threshold.ok()?;
                let recover = recover_of(threshold, recover)?;
                if recover > threshold {
                    let message = "must not be above `above`: the alert resolves below it";
                    self.problem(&format!("{at}recover"), message);
                }
                Some(Condition::Above { threshold, recover })
            }
            (None, Some(threshold), recover) => {
                let threshold = threshold.ok()?;
                let recover = recover_of(threshold, recover)?;
                if recover < threshold {
                    let message = "must not be below `below`: the alert resolves above it";
                    self.problem(&format!("{at}recover"), message);
                }
                Some(Condition::Below { threshold, recover })
            }
            (Some(_), Some(_), _) | (None, None, _) => {
                let key = if at.is_empty() { "alert" } else { at.trim_end_matches('.') };
                self.problem(key, "a condition has exactly one of `above` and `below`");
                None
            }
        }
    }
}

/// The sum where a sum is meaningful; otherwise the value closest to holding.
fn usual_fold(take: Aggregation, condition: Condition) -> Fold {
    match (take, condition) {
        (Aggregation::Increase(_) | Aggregation::Stat(Stat::Count), _) => Fold::Sum,
        (_, Condition::Above { .. }) => Fold::Max,
        (_, Condition::Below { .. }) => Fold::Min,
    }
}
