//! Selects the jobs that rules over single jobs look at in one tick: those that may start an alert, and those that
//! have one.

use std::collections::BTreeSet;

use crate::metrics::catalogue::Metric;
use crate::metrics::single_jobs::{self, Limit, Selection, Test, Wanted};
use crate::model::matches_glob;
use crate::rules::active_alerts::ActiveAlerts;
use crate::rules::rule::{Aggregation, Clause, Combine, Condition, NoData, Rule};

impl ActiveAlerts {
    /// The jobs that these rules need, including those with an alert.
    pub fn wanted<'a>(&'a self, rules: &'a [Rule]) -> Wanted<'a> {
        let mut wanted = Wanted::default();
        let mut of_jobs = BTreeSet::new();
        for rule in rules.iter().filter(|rule| rule.metrics().any(is_of_jobs)) {
            let metrics = || rule.metrics().filter(|metric| is_of_jobs(metric)).map(|metric| metric.name);
            wanted.metrics.extend(metrics());
            if rule.looks_at_every_job() {
                wanted.of_every_job.extend(metrics());
            } else {
                wanted.selections.push(rule.selection());
            }
            of_jobs.insert(rule.name.as_str());
        }
        let alerts = self.alerts().filter(|alert| of_jobs.contains(alert.rule.as_str()));
        wanted.jobs = alerts.filter_map(|alert| alert.by.get("job")).map(String::as_str).collect();
        wanted
    }
}

fn is_of_jobs(metric: &Metric) -> bool {
    single_jobs::find(metric.name).is_some()
}

impl Rule {
    /// Whether it needs every job: it aggregates several jobs, compares with the past, or alerts on no data.
    fn looks_at_every_job(&self) -> bool {
        !self.by.contains(&"job")
            || self.no_data == NoData::Alert
            || self.clauses.iter().any(|clause| clause.take != Aggregation::Now)
    }

    fn selection(&self) -> Selection<'_> {
        Selection { tests: self.clauses.iter().map(Clause::test).collect(), all: self.combine == Combine::All }
    }
}

impl Clause {
    fn test(&self) -> Test<'_> {
        let limit = match self.condition {
            Condition::Above { threshold, .. } => Limit::Above(threshold),
            Condition::Below { threshold, .. } => Limit::Below(threshold),
        };
        Test { metric: self.metric, limit, filters: &self.filters, matches: matches_glob }
    }
}
