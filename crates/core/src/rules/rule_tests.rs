//! Tests of rules: input series, and the expected alerts of each minute.
//!
//! A test runs the live evaluator over frames built from the series. Expected and actual timelines have one letter
//! per tick: `.` inactive, `P` pending, `F` firing, `R` the tick in which the resolution is notified.

mod file;
mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::rules::{ActiveAlerts, AlertState, Rule, Transition, TransitionKind};
use crate::yaml::{self, Problems, nearest};

pub use file::{Expected, NotificationKind, Notified};
use fixture::Fixture;

/// The tests of one file.
#[derive(Debug)]
pub struct RuleTests {
    /// Rule files to test, as written: relative to the test file.
    pub rules: Vec<String>,
    /// The tests, in file order.
    pub tests: Vec<RuleTest>,
}

/// One test, ready to run.
#[derive(Debug)]
pub struct RuleTest {
    /// What it shows.
    pub name: String,
    every: Duration,
    fixture: Fixture,
    expected: Vec<Expected>,
    notified: Option<Vec<Notified>>,
}

/// A difference from the expectation: one line or timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Parses and checks a test file. `file` is the name shown in errors.
///
/// # Errors
///
/// Every error in the text.
pub fn parse_rule_tests(file: &str, text: &str) -> Result<RuleTests, Problems> {
    file::check(&yaml::read(file, text)?)
}

/// The JSON Schema of a test file, for editors.
pub fn rule_tests_schema() -> serde_json::Value {
    schemars::schema_for!(file::TestFile).to_value()
}

/// An alert instance: the rule's name and its label values.
type Instance = (String, BTreeMap<String, String>);

impl RuleTest {
    /// The expected alerts.
    pub fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// Runs the test with the live evaluator. Returns nothing if all expectations hold.
    pub fn run(&self, rules: &[Rule]) -> Vec<Difference> {
        let mut active_alerts = ActiveAlerts::default();
        let mut drawn: BTreeMap<Instance, String> = BTreeMap::new();
        let mut notified = Vec::new();
        for tick in 0..self.fixture.ticks() {
            let frame = self.fixture.frame(tick, self.every);
            let now = active_alerts.step(rules, &frame, frame.at);
            let mut letters: BTreeMap<Instance, char> = BTreeMap::new();
            for alert in active_alerts.alerts() {
                let letter = match alert.state {
                    AlertState::Pending { .. } => 'P',
                    AlertState::Firing { .. } => 'F',
                };
                letters.insert((alert.rule.clone(), alert.by.clone()), letter);
            }
            for transition in &now {
                if let TransitionKind::Resolved(_) = transition.kind {
                    letters.insert((transition.alert.rule.clone(), transition.alert.by.clone()), 'R');
                }
            }
            for (instance, letter) in letters {
                let timeline = drawn.entry(instance).or_default();
                let missed = tick - timeline.len();
                timeline.extend(std::iter::repeat_n('.', missed));
                timeline.push(letter);
            }
            notified.extend(now);
        }
        let mut differences = self.unknown(rules);
        differences.extend(self.timelines(drawn));
        differences.extend(self.notifications(&notified));
        differences
    }

    /// Expected alerts that no rule can raise: for these any timeline without alerts would pass.
    fn unknown(&self, rules: &[Rule]) -> Vec<Difference> {
        let wrong = |expected: &Expected| {
            let Some(rule) = rules.iter().find(|rule| rule.name() == expected.alert) else {
                let near = nearest(&expected.alert, rules.iter().map(Rule::name));
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                return Some(Difference(format!("there is no rule {}{hint}", expected.alert)));
            };
            let is_overflow = expected.labels.keys().eq(["overflow"]);
            let by: BTreeSet<&str> = rule.by().iter().copied().collect();
            let same = expected.labels.keys().map(String::as_str).eq(by.iter().copied());
            (!same && !is_overflow).then(|| {
                let by = if by.is_empty() { "none".to_owned() } else { by.into_iter().collect::<Vec<_>>().join(", ") };
                Difference(format!("{}: `expect` needs the labels of the rule's `by`: {by}", expected.alert))
            })
        };
        self.expected.iter().filter_map(wrong).collect()
    }

    /// Timelines that differ. Instances without an expectation must stay inactive.
    fn timelines(&self, mut drawn: BTreeMap<Instance, String>) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |instance: &Instance, expected: &str, found: &str| {
            let (expected, found) = (self.filled(expected), self.filled(found));
            if expected != found {
                differences.push(self.picture(instance, &expected, &found));
            }
        };
        for Expected { alert, labels, timeline } in &self.expected {
            let instance = (alert.clone(), labels.clone());
            let found = drawn.remove(&instance).unwrap_or_default();
            compare(&instance, timeline, &found);
        }
        for (instance, found) in drawn {
            compare(&instance, "", &found);
        }
        differences
    }

    fn filled(&self, timeline: &str) -> String {
        let ticks = self.fixture.ticks();
        format!("{timeline:.<ticks$}")
    }

    fn picture(&self, (alert, labels): &Instance, expected: &str, found: &str) -> Difference {
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        let same = expected.chars().zip(found.chars()).take_while(|(expected, found)| expected == found).count();
        let at = humantime::format_duration(self.every * u32::try_from(same).unwrap_or(u32::MAX));
        Difference(format!(
            "{alert} {{{}}}\n  expected {expected}\n  found    {found}\n           {:>width$} after {at}",
            labels.join(", "),
            "^",
            width = same + 1,
        ))
    }

    /// Notifications that differ, if the test lists notifications.
    fn notifications(&self, transitions: &[Transition]) -> Vec<Difference> {
        let Some(expected) = &self.notified else { return Vec::new() };
        let mut left: Vec<&Transition> = transitions.iter().collect();
        let mut differences = Vec::new();
        for notified in expected {
            match left.iter().position(|transition| notified.is(transition)) {
                Some(place) => {
                    left.remove(place);
                }
                None => differences.push(Difference(format!("not sent:  {notified}"))),
            }
        }
        let found = |transition| Difference(format!("also sent: {}", Notified::of(transition)));
        differences.extend(left.into_iter().map(found));
        differences
    }
}

#[cfg(test)]
mod tests;
