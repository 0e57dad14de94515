//! The syntax and checks of test files.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::metrics::{catalogue, single_jobs};
use crate::model::PLACE_LABELS;
use crate::rules::check::values;
use crate::rules::rule_tests::fixture::{Fixture, Series, signals};
use crate::rules::rule_tests::{RuleTest, RuleTests};
use crate::rules::{Transition, TransitionKind};
use crate::yaml::{Document, HumanDuration, Problem, Problems, nearest};

/// Maximum ticks per test.
const MAX_TICKS: usize = 20_000;

/// Tests of rules.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFile {
    /// The rule files to test, relative to this file.
    rules: Vec<String>,
    /// Interval between ticks; 1m by default.
    #[serde(default)]
    every: Option<HumanDuration>,
    /// The tests.
    tests: Vec<TestText>,
}

/// One test.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TestText {
    /// What the test shows.
    name: String,
    /// Interval between ticks, if different from the file's.
    #[serde(default)]
    every: Option<HumanDuration>,
    /// Input series.
    series: Vec<SeriesText>,
    /// Expected alerts; those not listed must stay inactive.
    #[serde(default)]
    expect: Vec<Expected>,
    /// All expected notifications; not checked if absent.
    #[serde(default, alias = "told")]
    notified: Option<Vec<Notified>>,
}

/// One series.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SeriesText {
    /// A metric of docs/METRICS.md, or of single jobs.
    metric: String,
    /// Its labels; labels not given are empty.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Values per tick in the metric's unit: `5`, `0+60x10` (0, then ten more, each 60 higher), `30mx4`, `_x3` (no
    /// data), `stale` (gone), `!x2` (its source fails). For a distribution, the values added in that tick.
    values: String,
}

/// Expected states of one alert.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// Name of the rule.
    pub alert: String,
    /// Values of its `by` labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// One letter per tick: `.` inactive, `P` pending, `F` firing, `R` resolved. A number repeats: `5. 10P 3F R`.
    /// Ticks missing at the end are inactive.
    pub timeline: String,
}

/// An expected notification of one alert.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Notified {
    /// Time since the first tick.
    #[schemars(with = "String")]
    at: HumanDuration,
    /// Name of the rule.
    alert: String,
    /// Whether it fires or is resolved.
    kind: NotificationKind,
    /// Labels that it must have; others are ignored.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Annotations that it must have; others are ignored.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Kind of notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum NotificationKind {
    Fired,
    Resolved,
}

impl Notified {
    pub(super) fn of(transition: &Transition) -> Self {
        let alert = &transition.alert;
        Self {
            at: HumanDuration(Duration::from_millis(u64::try_from(transition.at.millis()).unwrap_or_default())),
            alert: alert.rule.clone(),
            kind: match transition.kind {
                TransitionKind::Fired => NotificationKind::Fired,
                TransitionKind::Resolved(_) => NotificationKind::Resolved,
            },
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
        }
    }

    /// Whether a transition matches all given fields.
    pub(super) fn is(&self, transition: &Transition) -> bool {
        let found = Self::of(transition);
        let within = |some: &BTreeMap<String, String>, all: &BTreeMap<String, String>| {
            some.iter().all(|(name, value)| all.get(name) == Some(value))
        };
        (self.at.0, &self.alert, self.kind) == (found.at.0, &found.alert, found.kind)
            && within(&self.labels, &found.labels)
            && within(&self.annotations, &found.annotations)
    }
}

impl fmt::Display for Notified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NotificationKind::Fired => "fired",
            NotificationKind::Resolved => "resolved",
        };
        write!(f, "after {} {} {kind} {:?}", humantime::format_duration(self.at.0), self.alert, self.labels)?;
        self.annotations.iter().try_for_each(|(name, text)| write!(f, "\n             {name}: {text}"))
    }
}

/// Checks a whole file.
pub(super) fn check(document: &Document<TestFile>) -> Result<RuleTests, Problems> {
    let file = &document.value;
    let mut problems = Vec::new();
    let every = file.every.map_or(Duration::from_secs(60), |every| every.0);
    let mut tests = Vec::new();
    for (index, text) in file.tests.iter().enumerate() {
        let mut check = Check { document, path: format!("tests[{index}]"), problems: &mut problems };
        tests.push(check.test(text, every));
    }
    if file.tests.is_empty() {
        problems.push(document.problem("tests", "there are no tests"));
    }
    if file.rules.is_empty() {
        problems.push(document.problem("rules", "name the rule files to test, relative to this file"));
    }
    document.conclude(problems)?;
    Ok(RuleTests { rules: file.rules.clone(), tests })
}

struct Check<'a> {
    document: &'a Document<TestFile>,
    path: String,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.document.problem(&format!("{}.{key}", self.path), message));
    }

    fn test(&mut self, text: &TestText, every: Duration) -> RuleTest {
        let every = text.every.map_or(every, |every| every.0);
        if every.is_zero() {
            self.problem("every", "must be longer than 0s");
        }
        let series = text.series.iter().enumerate();
        let series: Vec<Series> = series.filter_map(|(index, text)| self.series(index, text)).collect();
        for (index, one) in series.iter().enumerate() {
            if series.iter().take(index).any(|other| other.metric == one.metric && other.labels == one.labels) {
                self.problem(&format!("series[{index}]"), format!("`{}` with these labels is given twice", one.metric));
            }
        }
        let mut expected = text.expect.clone();
        for (index, one) in expected.iter_mut().enumerate() {
            match expanded(&one.timeline) {
                Ok(timeline) => one.timeline = timeline,
                Err(message) => self.problem(&format!("expect[{index}].timeline"), message),
            }
        }
        let fixture = Fixture::new(series, expected.iter().map(|one| one.timeline.len()).max().unwrap_or(0));
        if fixture.ticks() > MAX_TICKS {
            self.problem("series", format!("a test has {MAX_TICKS} ticks at most"));
        }
        RuleTest { name: text.name.clone(), every, fixture, expected, notified: text.notified.clone() }
    }

    fn series(&mut self, index: usize, text: &SeriesText) -> Option<Series> {
        let at = format!("series[{index}]");
        let Some(metric) = catalogue::find(&text.metric).or_else(|| single_jobs::find(&text.metric)) else {
            let names = catalogue::ALL.iter().copied().chain(single_jobs::ALL).map(|metric| metric.name);
            let hint = nearest(&text.metric, names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            self.problem(&format!("{at}.metric"), format!("there is no metric `{}`{hint}", text.metric));
            return None;
        };
        let is_known =
            |label: &&String| metric.labels.iter().chain(&PLACE_LABELS).any(|known| *known == label.as_str());
        for label in text.labels.keys().filter(|label| !is_known(label)) {
            let message = format!("`{metric}` has no label `{label}`; it has {}", metric.labels.join(", "));
            self.problem(&format!("{at}.labels.{label}"), message);
        }
        for (label, value) in &text.labels {
            let known = metric.labels.iter().find(|known| **known == label.as_str());
            if let Some(Err(message)) = known.map(|known| values::check(metric, known, value)) {
                self.problem(&format!("{at}.labels.{label}"), message);
            }
        }
        let value_of = |label: &&'static str| (*label, text.labels.get(*label).map_or("", String::as_str).into());
        let of_place = PLACE_LABELS.iter().filter(|label| text.labels.contains_key(**label));
        let labels = metric.labels.iter().chain(of_place).map(value_of).collect();
        match signals(&text.values, metric.unit, MAX_TICKS) {
            Ok(signals) => Some(Series { metric, labels, signals }),
            Err(message) => {
                self.problem(&format!("{at}.values"), message);
                None
            }
        }
    }
}

/// Expands the repetitions of a timeline.
fn expanded(text: &str) -> Result<String, String> {
    let mut drawn = String::new();
    let mut count = String::new();
    for letter in text.chars().filter(|letter| !letter.is_whitespace()) {
        match letter {
            '0'..='9' => count.push(letter),
            '.' | 'P' | 'F' | 'R' => {
                let times = if count.is_empty() { Ok(1) } else { count.parse::<usize>() };
                let times = times.ok().filter(|times| *times <= MAX_TICKS);
                let times = times.ok_or_else(|| format!("`{count}{letter}` is too many ticks"))?;
                drawn.extend(std::iter::repeat_n(letter, times));
                count.clear();
            }
            other => {
                return Err(format!("`{other}` is none of `.` inactive, `P` pending, `F` firing and `R` resolved"));
            }
        }
    }
    if count.is_empty() { Ok(drawn) } else { Err(format!("nothing follows the number {count}")) }
}
