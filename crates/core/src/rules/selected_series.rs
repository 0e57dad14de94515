//! Caches which series each condition selects. Labels change rarely and values always, so selections are updated when
//! a series appears or disappears or the rules change, not on every tick.
//!
//! Invariant: after [`Index::follow`], every selection equals that of a fresh index for the same rules and series.

use std::collections::BTreeMap;

use crate::metrics::catalogue::Label;
use crate::metrics::{Labels, Sample};
use crate::model::{Place, matches_glob};
use crate::rules::rule::{Clause, Rule};

/// Label values that identify an instance of a rule.
pub(super) type By = BTreeMap<String, String>;

/// The series of a condition by instance, ordered by label values. A series is identified by its rank among those of
/// its metric.
pub(super) type Selection = Vec<(By, Vec<usize>)>;

/// Selections by the condition's filters.
type ByFilters = BTreeMap<Vec<(Label, String)>, Selection>;

/// The selections of all conditions.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The indexed series, in frame order.
    series: Vec<(&'static str, Labels)>,
    /// Positions of each metric's series in the frame.
    places: BTreeMap<&'static str, Vec<usize>>,
    /// By metric, then by the rule's labels.
    selections: BTreeMap<&'static str, BTreeMap<Vec<Label>, ByFilters>>,
    /// Number of selections.
    selected: usize,
    /// Account and region of the series.
    place: Place,
}

impl Index {
    /// Updates the index to these rules and series.
    pub(super) fn follow(&mut self, rules: &[Rule], samples: &[&Sample], place: &Place) {
        if !self.is_about(samples) || self.place != *place {
            *self = Self::of(samples, place);
        }
        let clauses: usize = rules.iter().map(|rule| rule.clauses.len()).sum();
        self.select_all(rules, samples);
        // More selections than conditions: some belong to removed rules.
        if self.selected > clauses {
            *self = Self::of(samples, place);
            self.select_all(rules, samples);
        }
    }

    /// Positions of a metric's series in the frame, by rank.
    pub(super) fn places(&self, metric: &str) -> &[usize] {
        self.places.get(metric).map(Vec::as_slice).unwrap_or_default()
    }

    /// The selection of a rule's condition.
    pub(super) fn selection(&self, rule: &Rule, clause: &Clause) -> &[(By, Vec<usize>)] {
        self.find(rule, clause).map(Vec::as_slice).unwrap_or_default()
    }

    fn of(samples: &[&Sample], place: &Place) -> Self {
        let mut index = Self { place: place.clone(), ..Self::default() };
        for (place, sample) in samples.iter().enumerate() {
            index.series.push((sample.metric.name, sample.labels.clone()));
            index.places.entry(sample.metric.name).or_default().push(place);
        }
        index
    }

    fn is_about(&self, samples: &[&Sample]) -> bool {
        let same = |((metric, labels), sample): (&(&str, Labels), &&Sample)| {
            *metric == sample.metric.name && *labels == sample.labels
        };
        self.series.len() == samples.len() && self.series.iter().zip(samples).all(same)
    }

    fn find(&self, rule: &Rule, clause: &Clause) -> Option<&Selection> {
        self.selections.get(clause.metric.name)?.get(rule.by.as_slice())?.get(clause.filters.as_slice())
    }

    fn select_all(&mut self, rules: &[Rule], samples: &[&Sample]) {
        for (rule, clause) in rules.iter().flat_map(|rule| rule.clauses.iter().map(move |clause| (rule, clause))) {
            if self.find(rule, clause).is_some() {
                continue;
            }
            let selection = select(rule, clause, self.places(clause.metric.name), samples, &self.place);
            let of_metric = self.selections.entry(clause.metric.name).or_default();
            of_metric.entry(rule.by.clone()).or_default().insert(clause.filters.clone(), selection);
            self.selected += 1;
        }
    }
}

fn select(rule: &Rule, clause: &Clause, places: &[usize], samples: &[&Sample], at: &Place) -> Selection {
    let mut groups: BTreeMap<By, Vec<usize>> = BTreeMap::new();
    for (rank, place) in places.iter().enumerate() {
        let Some(sample) = samples.get(*place) else { continue };
        let text = |label: &str| sample.labels.get(label).or(at.get(label)).map(|value| &**value).unwrap_or_default();
        if clause.filters.iter().all(|(label, pattern)| matches_glob(pattern, text(label))) {
            let by = rule.by.iter().map(|label| ((*label).to_owned(), text(label).to_owned())).collect();
            groups.entry(by).or_default().push(rank);
        }
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::metrics::catalogue::QUEUE_WAIT_OLDEST;
    use crate::metrics::{Value, labels};
    use crate::rules::parse_rules;

    const FORMS: [&str; 4] = [
        "by: [queue, share]",
        "by: [queue]",
        "by: [share], where: { queue: 'q-1*' }",
        "by: [queue, share], where: { share: s-2 }",
    ];

    proptest! {
        #[test]
        fn an_incremental_index_equals_a_new_one(
            steps in prop::collection::vec((prop::collection::vec(0..30_usize, 0..6), prop::collection::btree_set(0..4_usize, 0..4)), 1..8)
        ) {
            let mut followed = Index::default();
            for (series, forms) in steps {
                let sample = |n: &usize| {
                    let labels = labels([("queue", format!("q-{}", n / 2).into()), ("share", format!("s-{}", n % 3).into())]);
                    Sample { metric: &QUEUE_WAIT_OLDEST, labels, value: Value::Gauge(1.0) }
                };
                let samples: Vec<Sample> = series.iter().map(sample).collect();
                let samples: Vec<&Sample> = samples.iter().collect();
                let mut text = "rules: []".to_owned();
                for form in &forms {
                    let rest = "metric: queue.wait.oldest, above: 30m, annotations: { summary: x }";
                    text = text.replace("[]", "");
                    write!(text, "\n  - {{ alert: A{form}, {}, {rest} }}", FORMS[*form]).unwrap();
                }
                let rules = parse_rules("rules.yaml", &text).unwrap();
                followed.follow(&rules, &samples, &Place::default());
                let mut fresh = Index::default();
                fresh.follow(&rules, &samples, &Place::default());
                for (rule, clause) in rules.iter().flat_map(|rule| rule.clauses.iter().map(move |clause| (rule, clause))) {
                    prop_assert_eq!(followed.selection(rule, clause), fresh.selection(rule, clause));
                }
                prop_assert!(followed.selected <= rules.len(), "what no rule asks for is forgotten");
            }
        }
    }
}
