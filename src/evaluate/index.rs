//! Which series each condition is about. Labels change rarely and values always, so this is worked out when a series comes or goes
//! or the rules change, and not in every tick.
//!
//! Invariant: after [`Index::follow`] a selection is what a fresh index would have for the same rules and series.

use std::collections::BTreeMap;

use crate::derive::catalogue::Label;
use crate::derive::{Labels, Sample};
use crate::evaluate::glob;
use crate::evaluate::rule::{Clause, Rule};
use crate::evaluate::scene::By;

/// The series that a condition is about, by the label values that tell its rule's instances apart, in the order of those. A series
/// is told by its rank among those of its metric.
pub(super) type Selection = Vec<(By, Vec<usize>)>;

/// The selections of all conditions.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The series that this is about, in the order of the frame.
    series: Vec<(&'static str, Labels)>,
    /// Where the series of each metric are in the frame.
    places: BTreeMap<&'static str, Vec<usize>>,
    /// By metric, labels of the rule, and filters of the condition.
    selections: BTreeMap<&'static str, BTreeMap<Vec<Label>, BTreeMap<Vec<(Label, String)>, Selection>>>,
    /// How many selections there are.
    selected: usize,
}

impl Index {
    /// Makes this the index of these rules and series.
    pub(super) fn follow(&mut self, rules: &[Rule], samples: &[&Sample]) {
        if !self.is_about(samples) {
            *self = Self::of(samples);
        }
        let clauses: usize = rules.iter().map(|rule| rule.clauses.len()).sum();
        self.select_all(rules, samples);
        // More than there are conditions: some were for rules that are gone.
        if self.selected > clauses {
            *self = Self::of(samples);
            self.select_all(rules, samples);
        }
    }

    /// Where the series of a metric are in the frame, in the order of their ranks.
    pub(super) fn places(&self, metric: &str) -> &[usize] {
        self.places.get(metric).map(Vec::as_slice).unwrap_or_default()
    }

    /// What a condition of a rule is about.
    pub(super) fn selection(&self, rule: &Rule, clause: &Clause) -> &[(By, Vec<usize>)] {
        self.find(rule, clause).map(Vec::as_slice).unwrap_or_default()
    }

    fn of(samples: &[&Sample]) -> Self {
        let mut index = Self::default();
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
            let selection = select(rule, clause, self.places(clause.metric.name), samples);
            let of_metric = self.selections.entry(clause.metric.name).or_default();
            of_metric.entry(rule.by.clone()).or_default().insert(clause.filters.clone(), selection);
            self.selected += 1;
        }
    }
}

fn select(rule: &Rule, clause: &Clause, places: &[usize], samples: &[&Sample]) -> Selection {
    let mut groups: BTreeMap<By, Vec<usize>> = BTreeMap::new();
    for (rank, place) in places.iter().enumerate() {
        let Some(sample) = samples.get(*place) else { continue };
        let text = |label: &str| sample.labels.get(label).map(|value| &**value).unwrap_or_default();
        if clause.filters.iter().all(|(label, pattern)| glob::matches(pattern, text(label))) {
            let by = rule.by.iter().map(|label| ((*label).to_owned(), text(label).to_owned())).collect();
            groups.entry(by).or_default().push(rank);
        }
    }
    groups.into_iter().collect()
}
