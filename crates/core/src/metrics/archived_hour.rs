//! Hourly rows of the archive, from the increase of counters since the beginning of the hour.
//!
//! Each increase belongs to the hour of the tick that counted it, and to no other. The rows of all hours therefore
//! sum to the counters, also across restarts and takeovers: the values at the beginning of the hour are saved, as
//! are the counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::jobs::FailureCategory;
use crate::metrics::Reason;
use crate::metrics::archived_job::account_and_region;
use crate::metrics::catalogue::{self, DURATION_BOUNDS, Metric};
use crate::metrics::frame::QueueFigures;
use crate::metrics::gpu_part_names::{Part, UnallocatedCause};
use crate::metrics::quota_share_use;
use crate::model::{SavedSeries, Timestamp};

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;

/// Number of completed hours remembered, so that a clock that is set back completes none of them twice.
const MAX_MADE: usize = 24;

/// Counts of one hour, for a whole queue or for one of its shares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HourFigures {
    /// Beginning of the hour.
    pub hour: Timestamp,
    /// The queue's account.
    pub account: Option<String>,
    /// The queue's region.
    pub region: Option<String>,
    /// The queue.
    pub queue: String,
    /// The share, empty for jobs without one; `None` for the whole queue.
    pub share: Option<String>,
    /// Values by [column](columns); columns without a count are absent.
    pub figures: BTreeMap<String, f64>,
}

/// Value of a counter or distribution at the beginning of an hour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Mark {
    metric: String,
    labels: BTreeMap<String, String>,
    value: f64,
    buckets: Vec<u64>,
    sum: f64,
    count: u64,
}

/// State at the beginning of an hour, saved across restarts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HourBegin {
    hour: Timestamp,
    marks: Vec<Mark>,
    /// Counts of series that have been dropped since.
    gone: Vec<HourFigures>,
    /// The latest completed hours.
    #[serde(default)]
    made: BTreeSet<Timestamp>,
}

/// The current hour.
#[derive(Debug, Default)]
pub struct Hourly {
    begin: Option<HourBegin>,
    last: Vec<SavedSeries>,
    places: BTreeMap<String, (Option<String>, Option<String>)>,
    /// Hours that may be completed a second time: the clock was set back beyond the hours that are remembered.
    unknown_hours: u64,
}

impl Hourly {
    /// Resumes from the saved state: the beginning of the hour, and the last values of the counters.
    pub fn restored(begin: Option<HourBegin>, series: &[SavedSeries]) -> Self {
        Self { begin, last: archived(series), ..Self::default() }
    }

    /// State at the beginning of the hour, to be saved.
    pub fn begin(&self) -> Option<&HourBegin> {
        self.begin.as_ref()
    }

    /// Takes the number of hours that may have two rows in the archive since the last call.
    pub fn take_unknown_hours(&mut self) -> u64 {
        std::mem::take(&mut self.unknown_hours)
    }

    /// Updates with the counters of a tick. Returns the rows of the previous hour if it has been completed.
    pub fn tick(
        &mut self,
        now: Timestamp,
        series: &[SavedSeries],
        queues: &[QueueFigures],
    ) -> Option<Vec<HourFigures>> {
        for queue in queues.iter().filter(|queue| !queue.arn.is_empty()) {
            self.places.entry(queue.queue.to_string()).or_insert_with(|| account_and_region(&queue.arn));
        }
        let hour = hour_of(now);
        let before = std::mem::replace(&mut self.last, archived(series));
        let over = match &mut self.begin {
            None => None,
            // A clock that was ahead has been corrected.
            Some(begin) if hour <= begin.hour => {
                let is_unknown = begin.made.len() >= MAX_MADE && begin.made.first().is_some_and(|first| hour < *first);
                self.unknown_hours += u64::from(is_unknown && hour < begin.hour);
                begin.hour = first_incomplete(hour, &begin.made);
                None
            }
            Some(begin) => Some(rows(begin, &before, &self.places)),
        };
        if over.is_some() || self.begin.is_none() {
            let made = self.begin.take().map(|begin| begin.made_with(over.as_deref())).unwrap_or_default();
            let marks = before.iter().map(Mark::of).collect();
            self.begin = Some(HourBegin { hour: first_incomplete(hour, &made), marks, gone: Vec::new(), made });
        }
        self.keep_dropped_series(&before);
        over.filter(|rows| !rows.is_empty())
    }

    /// Series are dropped with their share or queue: their counts in this hour are kept.
    fn keep_dropped_series(&mut self, before: &[SavedSeries]) {
        let same = |(a, b): (&SavedSeries, &SavedSeries)| a.metric == b.metric && Arc::ptr_eq(&a.labels, &b.labels);
        if before.len() <= self.last.len() && before.iter().zip(&self.last).all(same) {
            return;
        }
        let Some(begin) = &mut self.begin else { return };
        let there: BTreeSet<_> = self.last.iter().map(|one| (&*one.metric, &*one.labels)).collect();
        let gone: Vec<SavedSeries> =
            before.iter().filter(|one| !there.contains(&(&*one.metric, &*one.labels))).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let is_gone = |mark: &Mark| !there.contains(&(mark.metric.as_str(), &mark.labels));
        let (of_gone, rest) = std::mem::take(&mut begin.marks).into_iter().partition(is_gone);
        begin.marks = rest;
        let of_gone = HourBegin { hour: begin.hour, marks: of_gone, gone: Vec::new(), made: BTreeSet::new() };
        begin.gone.extend(rows(&of_gone, &gone, &self.places));
    }
}

impl HourBegin {
    /// The completed hours, including this one if it has rows.
    fn made_with(self, rows: Option<&[HourFigures]>) -> BTreeSet<Timestamp> {
        let mut made = self.made;
        if rows.is_some_and(|rows| !rows.is_empty()) {
            made.insert(self.hour);
        }
        while made.len() > MAX_MADE {
            made.pop_first();
        }
        made
    }
}

/// The hour, or the first one after it that is not completed: a second row for an hour would be lost.
fn first_incomplete(mut hour: Timestamp, made: &BTreeSet<Timestamp>) -> Timestamp {
    while made.contains(&hour) {
        hour = Timestamp::from_millis(hour.millis() + HOUR);
    }
    hour
}

/// Beginning of the hour of a time.
pub fn hour_of(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.millis().div_euclid(HOUR) * HOUR)
}

impl Mark {
    fn of(series: &SavedSeries) -> Self {
        Self {
            metric: series.metric.to_string(),
            labels: BTreeMap::clone(&series.labels),
            value: series.value,
            buckets: series.buckets.clone(),
            sum: series.sum,
            count: series.count,
        }
    }
}

fn archived(series: &[SavedSeries]) -> Vec<SavedSeries> {
    series.iter().filter(|one| ARCHIVED.iter().any(|metric| metric.name == one.metric)).cloned().collect()
}

/// Metrics archived as columns.
static ARCHIVED: [&Metric; 14] = [
    &catalogue::GPU_TIME,
    &catalogue::GPU_COST,
    &catalogue::GPU_UNALLOCATED_TIME,
    &catalogue::SHARE_TIME,
    &catalogue::QUEUE_WAIT,
    &catalogue::QUEUE_WAIT_REQUEUE,
    &catalogue::QUEUE_WAITING_TIME,
    &catalogue::QUEUE_WAITING_GPU_TIME,
    &catalogue::JOB_ENDED,
    &catalogue::JOB_FAILURES,
    &catalogue::JOB_PREEMPTIONS,
    &catalogue::JOB_LOST,
    &catalogue::JOB_RUN,
    &catalogue::JOB_STARTUP,
];

/// Counts since the beginning of the hour, by queue and share.
fn rows(
    begin: &HourBegin,
    series: &[SavedSeries],
    places: &BTreeMap<String, (Option<String>, Option<String>)>,
) -> Vec<HourFigures> {
    let marks: BTreeMap<_, _> = begin.marks.iter().map(|mark| ((mark.metric.as_str(), &mark.labels), mark)).collect();
    let mut rows: BTreeMap<(String, Option<String>), BTreeMap<String, f64>> = BTreeMap::new();
    let mut add = |queue: &str, share: Option<&str>, column: String, increase: f64| {
        let row = rows.entry((queue.to_owned(), share.map(str::to_owned))).or_default();
        *row.entry(column).or_default() += increase;
    };
    for one in series {
        let mark = marks.get(&(&*one.metric, &*one.labels)).copied();
        let Some(queue) = one.labels.get("queue") else { continue };
        let share = one.labels.get("share").map(String::as_str);
        for (column, increase) in increases(one, mark) {
            add(queue, share, column, increase);
        }
    }
    for gone in &begin.gone {
        for (column, increase) in &gone.figures {
            add(&gone.queue, gone.share.as_deref(), column.clone(), *increase);
        }
    }
    let row = |((queue, share), figures): ((String, Option<String>), BTreeMap<String, f64>)| {
        let (account, region) = places.get(&queue).cloned().unwrap_or_default();
        HourFigures { hour: begin.hour, account, region, queue, share, figures }
    };
    rows.into_iter().map(row).collect()
}

/// Increases of a series, by column.
fn increases(series: &SavedSeries, mark: Option<&Mark>) -> Vec<(String, f64)> {
    let label = |name: &str| series.labels.get(name).map_or("", String::as_str);
    let since = |now: f64, then: Option<f64>| now - then.filter(|then| *then <= now).unwrap_or(0.0);
    let value = || since(series.value, mark.map(|mark| mark.value));
    let sum = || since(series.sum, mark.map(|mark| mark.sum));
    let count = || since(series.count as f64, mark.map(|mark| mark.count as f64));
    let is = |metric: &Metric| series.metric == metric.name;
    if is(&catalogue::QUEUE_WAIT) {
        let mut all = vec![("waits".to_owned(), count()), ("wait_seconds".to_owned(), sum())];
        let mut within = 0.0;
        for (index, name) in WITHIN.iter().enumerate() {
            let bucket = |buckets: &[u64]| buckets.get(index).copied().unwrap_or(0) as f64;
            within += since(bucket(&series.buckets), mark.map(|mark| bucket(&mark.buckets)));
            all.push((format!("waits_within_{name}"), within));
        }
        return all;
    }
    if is(&catalogue::QUEUE_WAIT_REQUEUE) {
        return vec![("requeue_waits".to_owned(), count()), ("requeue_wait_seconds".to_owned(), sum())];
    }
    if is(&catalogue::JOB_RUN) {
        return vec![("runs".to_owned(), count()), ("run_seconds".to_owned(), sum())];
    }
    if is(&catalogue::JOB_STARTUP) {
        return vec![("startups".to_owned(), count()), ("startup_seconds".to_owned(), sum())];
    }
    let column = if is(&catalogue::GPU_TIME) {
        format!("{}_gpu_seconds", label("part"))
    } else if is(&catalogue::GPU_COST) {
        format!("{}_dollars", label("part"))
    } else if is(&catalogue::GPU_UNALLOCATED_TIME) {
        format!("unallocated_{}_gpu_seconds", label("cause"))
    } else if is(&catalogue::SHARE_TIME) {
        format!("quota_{}_gpu_seconds", label("part"))
    } else if is(&catalogue::QUEUE_WAITING_TIME) {
        format!("waiting_{}_seconds", label("reason"))
    } else if is(&catalogue::QUEUE_WAITING_GPU_TIME) {
        "waiting_gpu_seconds".to_owned()
    } else if is(&catalogue::JOB_ENDED) {
        format!("jobs_{}", label("outcome"))
    } else if is(&catalogue::JOB_FAILURES) {
        format!("failed_{}", label("category"))
    } else if is(&catalogue::JOB_PREEMPTIONS) {
        "preemptions".to_owned()
    } else {
        format!("lost_{}_gpu_seconds", label("cause"))
    };
    vec![(column, value())]
}

/// Labels of the wait bounds.
pub const WITHIN: [&str; 13] = ["1s", "10s", "1m", "5m", "10m", "30m", "1h", "3h", "6h", "12h", "1d", "2d", "7d"];

/// Label of a bound in seconds; `None` if it is not a bound.
pub fn within(seconds: f64) -> Option<&'static str> {
    let index = DURATION_BOUNDS.iter().position(|bound| *bound == seconds)?;
    WITHIN.get(index).copied()
}

/// All possible columns with their descriptions, in file order.
pub fn columns() -> Vec<(String, String)> {
    let mut columns = Vec::new();
    let mut add = |name: String, meaning: String| columns.push((name, meaning));
    for part in Part::ALL.map(Part::as_str) {
        add(format!("{part}_gpu_seconds"), format!("GPU-seconds in the part `{part}` of the queue's capacity"));
    }
    for part in Part::ALL.map(Part::as_str) {
        add(format!("{part}_dollars"), format!("dollars of the part `{part}`, where prices are configured"));
    }
    for cause in UnallocatedCause::ALL.map(UnallocatedCause::as_str) {
        add(format!("unallocated_{cause}_gpu_seconds"), format!("GPU-seconds unallocated by the cause `{cause}`"));
    }
    for (part, meaning) in [
        (quota_share_use::OWN, "of quota used by the share itself"),
        (quota_share_use::LENT, "of quota used by other shares"),
        (quota_share_use::IDLE, "of quota unused while no job of the share waits"),
        (quota_share_use::IDLE_WHILE_WAITING, "of quota unused while jobs of the share wait"),
        (quota_share_use::BORROWED, "used by the share above its quota"),
    ] {
        add(format!("quota_{part}_gpu_seconds"), format!("GPU-seconds {meaning}"));
    }
    add("waits".to_owned(), "first waits that ended in dispatch to SageMaker".to_owned());
    add("wait_seconds".to_owned(), "total duration of these waits".to_owned());
    for bound in WITHIN {
        add(format!("waits_within_{bound}"), format!("waits of at most {bound}"));
    }
    for (name, what) in [
        ("requeue_wait", "requeue waits, after a retry or a preemption"),
        ("startup", "start-ups, from dispatch to SageMaker to running"),
        ("run", "attempts that ran"),
    ] {
        add(format!("{name}s"), what.to_owned());
        add(format!("{name}_seconds"), "total duration of these".to_owned());
    }
    for reason in Reason::ALL.map(Reason::as_str) {
        add(format!("waiting_{reason}_seconds"), format!("job-seconds waited for the reason `{reason}`"));
    }
    add("waiting_gpu_seconds".to_owned(), "GPU-seconds requested by waiting jobs".to_owned());
    for outcome in ["succeeded", "failed", "vanished"] {
        add(format!("jobs_{outcome}"), format!("jobs that ended as `{outcome}`"));
    }
    for category in FailureCategory::ALL.map(FailureCategory::as_str) {
        add(format!("failed_{category}"), format!("jobs that failed in the category `{category}`"));
    }
    add("preemptions".to_owned(), "attempts that were preempted".to_owned());
    for cause in ["preempted", "failed"] {
        add(format!("lost_{cause}_gpu_seconds"), format!("GPU-seconds of attempts that ended as `{cause}`"));
    }
    columns
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Counters;
    use crate::metrics::frame::{Labels, labels};
    use crate::model::format;

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 - 1_800_000_000_000 % HOUR) + Duration::from_secs(minutes * 60)
    }

    fn of_share(share: &str) -> Labels {
        labels([("queue", "q".into()), ("share", share.into())])
    }

    fn busy() -> Labels {
        labels([("queue", "q".into()), ("part", "running_busy".into())])
    }

    #[test]
    fn hours_sum_to_the_counters_over_a_restart_and_a_share_that_goes() {
        let mut counters = Counters::default();
        counters.add(&catalogue::GPU_TIME, busy(), 1_000.0);
        let mut hourly = Hourly::restored(None, &counters.saved());
        let mut rows = Vec::new();
        let mut preempted = 0.0;
        for minute in 0..=200 {
            counters.add(&catalogue::GPU_TIME, busy(), 60.0);
            counters.record(&catalogue::QUEUE_WAIT, of_share("a"), at(minute), 90.0);
            if minute < 90 {
                counters.add(&catalogue::JOB_PREEMPTIONS, of_share("b"), 1.0);
                preempted += 1.0;
            }
            if minute == 95 {
                counters.retain(|_, share| share != Some("b"));
            }
            if minute == 130 {
                // A restart: the state is read back as written.
                let kept = serde_json::to_string(hourly.begin().unwrap()).unwrap();
                hourly = Hourly::restored(serde_json::from_str(&kept).unwrap(), &hourly.last);
            }
            rows.extend(hourly.tick(at(minute), &counters.saved(), &[]).unwrap_or_default());
        }
        let sum = |column: &str| rows.iter().filter_map(|row| row.figures.get(column)).sum::<f64>();
        // Three hours are completed: minutes 0 to 179.
        assert_eq!(sum("running_busy_gpu_seconds"), 180.0 * 60.0);
        assert_eq!((sum("waits"), sum("wait_seconds")), (180.0, 180.0 * 90.0));
        assert_eq!((sum("waits_within_1m"), sum("waits_within_5m")), (0.0, 180.0));
        assert_eq!(sum("preemptions"), preempted, "a share that is gone keeps its hours");
        let hours: BTreeSet<_> = rows.iter().map(|row| row.hour).collect();
        assert_eq!(hours.into_iter().collect::<Vec<_>>(), [at(0), at(60), at(120)]);
    }

    #[test]
    fn a_clock_that_steps_back_over_the_end_of_an_hour_makes_no_hour_twice_and_loses_nothing() {
        let mut counters = Counters::default();
        let mut hourly = Hourly::restored(None, &[]);
        let mut rows = Vec::new();
        // From 50 to 65 minutes, back to 55, and over the end of the hour again; then back by more than an hour,
        // across a restart.
        for minute in (50..=65).chain(55..=130).chain(20..=250) {
            counters.add(&catalogue::GPU_TIME, busy(), 60.0);
            if minute == 20 {
                let kept = serde_json::to_string(hourly.begin().unwrap()).unwrap();
                hourly = Hourly::restored(serde_json::from_str(&kept).unwrap(), &hourly.last);
            }
            rows.extend(hourly.tick(at(minute), &counters.saved(), &[]).unwrap_or_default());
        }
        let hours: Vec<_> = rows.iter().map(|row| row.hour).collect();
        assert_eq!(hours, [at(0), at(60), at(120), at(180)]);
        let sum: f64 = rows.iter().filter_map(|row| row.figures.get("running_busy_gpu_seconds")).sum();
        // All but minutes 240 to 250, whose hour is not completed.
        assert_eq!(sum, (16 + 76 + 231 - 11) as f64 * 60.0);
        assert_eq!(hourly.take_unknown_hours(), 0);
        (251..=2_000).chain([91, 92]).for_each(|minute| drop(hourly.tick(at(minute), &counters.saved(), &[])));
        assert_eq!(hourly.take_unknown_hours(), 1, "that hour is not remembered any more");
        // State saved by an earlier release has no completed hours.
        let mut kept = serde_json::to_value(hourly.begin().unwrap()).unwrap();
        kept.as_object_mut().unwrap().remove("made");
        assert!(serde_json::from_value::<HourBegin>(kept).is_ok());
    }

    #[test]
    fn the_counters_at_the_start_of_an_hour_survive_a_round_trip_exactly() {
        let mut value = 0.1;
        for _ in 0..2_000 {
            let mut counters = Counters::default();
            value += 300.376 * 12.0 / 7.0;
            counters.add(&catalogue::GPU_TIME, busy(), value);
            let mut hourly = Hourly::restored(None, &counters.saved());
            hourly.tick(at(0), &counters.saved(), &[]);
            let kept = serde_json::to_vec(hourly.begin().unwrap()).unwrap();
            let mut hourly = Hourly::restored(serde_json::from_slice(&kept).unwrap(), &counters.saved());
            let rows = hourly.tick(at(60), &counters.saved(), &[]).unwrap();
            // A start value that is parsed slightly too high would look like a counter reset, and everything would
            // count again.
            assert_eq!(rows[0].figures.get("running_busy_gpu_seconds"), Some(&0.0), "{value:?}");
        }
    }

    #[test]
    fn every_metric_has_its_columns_among_those_that_files_have() {
        let known: Vec<String> = columns().into_iter().map(|(name, _)| name).collect();
        let unique: BTreeSet<_> = known.iter().collect();
        assert_eq!(unique.len(), known.len());
        let bounds: Vec<String> = DURATION_BOUNDS.iter().map(|bound| format::duration(*bound)).collect();
        assert_eq!(WITHIN.to_vec(), bounds);
        for metric in ARCHIVED {
            let label = metric.labels.iter().copied().find(|label| !["queue", "share"].contains(label));
            let values: Vec<&str> = match label {
                Some("part") if metric.name == catalogue::SHARE_TIME.name => {
                    vec![
                        quota_share_use::OWN,
                        quota_share_use::LENT,
                        quota_share_use::IDLE,
                        quota_share_use::IDLE_WHILE_WAITING,
                        quota_share_use::BORROWED,
                    ]
                }
                Some("part") => Part::ALL.map(Part::as_str).to_vec(),
                Some("cause") if metric.name == catalogue::JOB_LOST.name => vec!["preempted", "failed"],
                Some("cause") => UnallocatedCause::ALL.map(UnallocatedCause::as_str).to_vec(),
                Some("reason") => Reason::ALL.map(Reason::as_str).to_vec(),
                Some("outcome") => vec!["succeeded", "failed", "vanished"],
                Some("category") => FailureCategory::ALL.map(FailureCategory::as_str).to_vec(),
                other => vec![other.map_or("", |label| panic!("{metric}: {label}"))],
            };
            for value in values {
                let labels = label.map(|label| (label.to_owned(), value.to_owned())).into_iter().collect();
                let series =
                    SavedSeries { metric: metric.name.into(), labels: Arc::new(labels), ..SavedSeries::default() };
                for (column, _) in increases(&series, None) {
                    assert!(known.contains(&column), "{metric}: {column}");
                }
            }
        }
    }
}
