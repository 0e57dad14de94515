//! Builds frames from the series of a test.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::metrics::catalogue::{CloudWatch, DURATION_BOUNDS, Kind, Metric, Range, Stability, Subject, Unit};
use crate::metrics::{Distribution, Frame, Labels, Quantiles, QueueFigures, Sample, SourceHealth, Value};
use crate::model::{QueueName, Source, Timestamp};
use crate::rules::parse_threshold::Threshold;

/// Window of distributions.
const RECENT: Duration = Duration::from_secs(3_600);

/// Marks the subject of a series as present while it has no value.
static PRESENT: Metric = Metric {
    name: "fixture.present",
    unit: Unit::Count,
    range: Range::NonNegative,
    kind: Kind::Gauge,
    labels: &[],
    closed_labels: &[],
    stability: Stability::Experimental,
    about: Subject::Other,
    sources: &[],
    cloudwatch: CloudWatch::OnceStable,
    meaning: "",
};

/// State of one series in one tick.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Signal {
    /// A value, in the metric's unit.
    Value(f64),
    /// The subject exists, but has no value.
    NoData,
    /// The subject does not exist.
    Gone,
    /// The subject exists, and its source failed.
    Failed,
}

/// A series by tick; gone after its last one.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) metric: &'static Metric,
    pub(super) labels: Labels,
    pub(super) signals: Vec<Signal>,
}

/// All series of a test.
#[derive(Debug)]
pub(super) struct Fixture {
    series: Vec<Series>,
    ticks: usize,
}

impl Fixture {
    /// Has at least `ticks` ticks.
    pub(super) fn new(series: Vec<Series>, ticks: usize) -> Self {
        let ticks = series.iter().map(|series| series.signals.len()).max().unwrap_or(0).max(ticks);
        Self { series, ticks }
    }

    pub(super) fn ticks(&self) -> usize {
        self.ticks
    }

    /// The frame of a healthy service, except for failing sources.
    pub(super) fn frame(&self, tick: usize, every: Duration) -> Frame {
        let at = Timestamp::default() + every * u32::try_from(tick).unwrap_or(u32::MAX);
        let mut frame = Frame { at, ..Frame::default() };
        let mut failing: BTreeSet<Source> = BTreeSet::new();
        for series in &self.series {
            let signal = series.signals.get(tick).copied().unwrap_or(Signal::Gone);
            if signal == Signal::Failed {
                failing.extend(series.metric.sources.iter().copied());
            }
            let value = match signal {
                Signal::Gone => continue,
                Signal::NoData | Signal::Failed if series.metric.kind == Kind::Gauge => None,
                Signal::Value(_) | Signal::NoData | Signal::Failed => series.value(tick, every),
            };
            let sample = |metric, value| Sample { metric, labels: series.labels.clone(), value };
            let produced =
                value.map_or_else(|| sample(&PRESENT, Value::Gauge(1.0)), |value| sample(series.metric, value));
            frame.samples.push(produced);
        }
        frame.queues = self.queues(tick);
        let health = |source| SourceHealth {
            source,
            age_seconds: Some(1.0),
            error: failing.contains(&source).then(|| "failed in this test".to_owned()),
            note: None,
            failing: BTreeSet::new(),
        };
        frame.sources = Source::ALL.into_iter().map(health).collect();
        frame
    }

    /// The queues of all series that are present.
    fn queues(&self, tick: usize) -> Vec<QueueFigures> {
        let there = |series: &&Series| series.signals.get(tick).is_some_and(|signal| *signal != Signal::Gone);
        let named = self.series.iter().filter(there).filter_map(|series| series.labels.get("queue"));
        let names: BTreeSet<QueueName> = named.map(|name| QueueName::from(&**name)).collect();
        let figures = |queue| QueueFigures {
            arn: String::new(),
            queue,
            policy: "QUOTA_SHARE".into(),
            jobs: std::collections::BTreeMap::new(),
            oldest_wait_seconds: None,
        };
        names.into_iter().map(figures).collect()
    }
}

impl Series {
    /// The value up to and including a tick, according to the metric's kind. Counters and distributions keep theirs
    /// while there is no data.
    fn value(&self, tick: usize, every: Duration) -> Option<Value> {
        let past = || self.signals.iter().take(tick + 1).enumerate();
        let numbers = || past().filter_map(|(at, signal)| Some((at, number(*signal)?)));
        match self.metric.kind {
            Kind::Gauge => number(*self.signals.get(tick)?).map(Value::Gauge),
            Kind::Counter => numbers().next_back().map(|(_, value)| Value::Counter(value)),
            Kind::Distribution => {
                let mut distribution =
                    Distribution { buckets: vec![0; DURATION_BOUNDS.len() + 1], ..Distribution::default() };
                let mut recent = Vec::new();
                for (at, value) in numbers() {
                    let bucket = DURATION_BOUNDS.partition_point(|bound| *bound < value);
                    if let Some(count) = distribution.buckets.get_mut(bucket) {
                        *count += 1;
                    }
                    distribution.count += 1;
                    distribution.sum += value;
                    if every * u32::try_from(tick - at).unwrap_or(u32::MAX) <= RECENT {
                        recent.push(value);
                    }
                }
                recent.sort_by(f64::total_cmp);
                distribution.recent = Quantiles::of_sorted(&recent);
                Some(Value::Distribution(distribution))
            }
        }
    }
}

fn number(signal: Signal) -> Option<f64> {
    match signal {
        Signal::Value(value) => Some(value),
        Signal::NoData | Signal::Gone | Signal::Failed => None,
    }
}

/// Parses promtool's notation: `5`, `0+60x10`, `3x4`, `_`, `_x3`, `stale`; in addition, `!` for a failed source, and
/// values as in rules (`30m`, `40%`).
pub(super) fn signals(text: &str, unit: Unit, most: usize) -> Result<Vec<Signal>, String> {
    let mut signals = Vec::new();
    for token in text.split_whitespace() {
        let wrong = || format!("`{token}` is none of 5, 0+60x10, 30mx4, _, _x3, stale and !x2");
        let (body, times) = match token.rsplit_once('x') {
            Some((body, times)) => (body, Some(times.parse::<usize>().map_err(|_| wrong())?)),
            None => (token, None),
        };
        if times.is_some_and(|times| times > most) {
            return Err(format!("`{token}` is more than {most} ticks"));
        }
        let plain = match body {
            "_" => Some(Signal::NoData),
            "stale" => Some(Signal::Gone),
            "!" => Some(Signal::Failed),
            _ => None,
        };
        if let Some(signal) = plain {
            signals.extend(std::iter::repeat_n(signal, times.unwrap_or(1)));
            continue;
        }
        // A sign at the start belongs to the number.
        let sign = body.char_indices().skip(1).find(|(_, letter)| matches!(letter, '+' | '-'));
        let (start, step) = body.split_at(sign.map_or(body.len(), |(index, _)| index));
        let start = level(start, unit).ok_or_else(wrong)?;
        let step = match (step.strip_prefix('+'), step.strip_prefix('-')) {
            (Some(up), _) => level(up, unit).ok_or_else(wrong)?,
            (None, Some(down)) => -level(down, unit).ok_or_else(wrong)?,
            (None, None) => 0.0,
        };
        let times = times.unwrap_or(0);
        signals.extend((0..=times).map(|index| Signal::Value(start + step * index as f64)));
    }
    Ok(signals)
}

/// A number in the metric's unit, or a value as in rules.
fn level(text: &str, unit: Unit) -> Option<f64> {
    text.parse::<f64>().ok().or_else(|| Threshold::written(text).in_unit(unit).ok()).filter(|number| number.is_finite())
}
