//! Logs limits that leave something out: one line when a limit begins to, and again only after a day without.

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::metrics::{Sample, Value, catalogue};
use trainspotter_core::model::{SavedSeries, Timestamp};

/// A limit that left out nothing for so long is logged again when it does.
const QUIET_AFTER: Duration = Duration::from_secs(86_400);

/// Counts of `limit.hits` by limit, and when they last grew.
#[derive(Debug, Default)]
pub(super) struct LimitLog {
    limits: BTreeMap<String, Hits>,
}

#[derive(Debug, Default)]
struct Hits {
    count: f64,
    grown_at: Option<Timestamp>,
}

impl LimitLog {
    /// Continues the counts of an earlier run.
    pub(super) fn after(series: &[SavedSeries]) -> Self {
        let counts = series.iter().filter(|series| series.metric == catalogue::LIMIT_HITS.name);
        let hits = |series: &SavedSeries| {
            let limit = series.labels.get("limit")?.clone();
            Some((limit, Hits { count: series.value, grown_at: None }))
        };
        Self { limits: counts.filter_map(hits).collect() }
    }

    /// Logs the limits whose counts have grown since the last tick.
    pub(super) fn observe(&mut self, samples: &[Sample], now: Timestamp) {
        for sample in samples.iter().filter(|sample| sample.metric.name == catalogue::LIMIT_HITS.name) {
            if let (Some(limit), Value::Counter(count)) = (sample.labels.get("limit"), &sample.value) {
                self.count(limit, *count, now);
            }
        }
    }

    fn count(&mut self, limit: &str, count: f64, now: Timestamp) {
        if !self.limits.contains_key(limit) {
            self.limits.insert(limit.to_owned(), Hits::default());
        }
        let Some(hits) = self.limits.get_mut(limit) else { return };
        let more = count - hits.count;
        hits.count = count;
        if more > 0.0 {
            let is_quiet = hits.grown_at.replace(now).is_none_or(|at| now.since(at) > QUIET_AFTER);
            if is_quiet {
                log(limit, more);
            }
        }
    }
}

fn log(limit: &str, times: f64) {
    tracing::warn!(
        limit,
        times,
        "a limit left something out: the runbook LimitReached says what is missing; `limit.hits` counts how often"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_capture;
    use trainspotter_core::metrics::labels;

    #[test]
    fn a_limit_is_logged_when_it_begins_to_leave_something_out() {
        let counts = |counts: &[(&str, f64)]| -> Vec<Sample> {
            let sample = |(limit, count): &(&str, f64)| Sample {
                metric: &catalogue::LIMIT_HITS,
                labels: labels([("limit", (*limit).into())]),
                value: Value::Counter(*count),
            };
            counts.iter().map(sample).collect()
        };
        let saved = |limit: &str, value: f64| SavedSeries {
            metric: catalogue::LIMIT_HITS.name.into(),
            labels: std::sync::Arc::new([("limit".to_owned(), limit.to_owned())].into()),
            value,
            ..SavedSeries::default()
        };
        let mut log = LimitLog::after(&[saved("shares", 7.0), saved("past_alerts", 2.0)]);
        let lines = log_capture::lines(|| {
            let hour = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
            log.observe(&counts(&[("shares", 7.0), ("jobs", 0.0), ("past_alerts", 6.0), ("queues", 8.0)]), hour(0));
            log.observe(&counts(&[("shares", 7.0), ("jobs", 0.0)]), hour(1));
            log.observe(&counts(&[("shares", 9.0), ("jobs", 0.0), ("hosts", 3.0)]), hour(2));
            log.observe(&counts(&[("shares", 10.0), ("jobs", 0.0), ("hosts", 4.0)]), hour(20));
            log.observe(&counts(&[("shares", 11.0), ("jobs", 0.0), ("hosts", 4.0)]), hour(40));
            log.observe(&counts(&[("shares", 11.0), ("jobs", 0.0), ("hosts", 5.0)]), hour(50));
        });
        let expected = [
            ("past_alerts", "times=4.0"),
            ("queues", "times=8.0"),
            ("shares", "times=2.0"),
            ("hosts", "times=3.0"),
            ("hosts", "times=1.0"),
        ];
        assert_eq!(lines.len(), expected.len(), "{lines:#?}");
        for (line, (limit, times)) in lines.iter().zip(expected) {
            assert!(line.contains("WARN") && line.contains(limit) && line.contains(times), "{line}");
        }
    }
}
