//! Sends unchanged points less often, where each point is charged. Pure.
//!
//! PromQL uses the latest point of the last five minutes as the current value. So for a constant value, a point every
//! three minutes is as good as one every minute, and the increase of an unchanged counter is zero either way.

use std::collections::BTreeMap;
use std::time::Duration;

use trainspotter_core::metrics::{Frame, Labels, Sample, Value};
use trainspotter_core::model::Timestamp;

/// A repetition may be this early: ticks are not exact.
const EARLY: Duration = Duration::from_secs(5);

/// Last sent value of each series, and its time.
#[derive(Clone, Debug)]
pub struct Unchanged {
    every: Duration,
    sent: BTreeMap<(&'static str, Labels), (Timestamp, [u64; 2])>,
}

impl Unchanged {
    /// Sends unchanged points at this interval.
    pub fn every(every: Duration) -> Self {
        Self { every, sent: BTreeMap::new() }
    }

    /// Whether a sample is to be sent now.
    pub fn is_due(&self, sample: &Sample, at: Timestamp) -> bool {
        let sent = self.sent.get(&(sample.metric.name, sample.labels.clone()));
        sent.is_none_or(|(when, value)| {
            *value != bits(&sample.value) || at.since(*when) + EARLY >= self.every || at < *when
        })
    }

    /// Records the points of a frame that a receiver accepted, and forgets series that are gone.
    pub fn taken(&mut self, frame: &Frame) {
        let mut sent = BTreeMap::new();
        for sample in &frame.samples {
            let key = (sample.metric.name, sample.labels.clone());
            let now = (frame.at, bits(&sample.value));
            let kept = if self.is_due(sample, frame.at) { Some(now) } else { self.sent.remove(&key) };
            sent.insert(key, kept.unwrap_or(now));
        }
        self.sent = sent;
    }
}

/// Key that equal values share.
fn bits(value: &Value) -> [u64; 2] {
    match value {
        Value::Gauge(value) | Value::Counter(value) => [value.to_bits(), 0],
        Value::Distribution(distribution) => [distribution.count, distribution.sum.to_bits()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trainspotter_core::metrics::catalogue::{GPU_CAPACITY, QUEUE_WAIT};
    use trainspotter_core::metrics::{Distribution, labels};

    #[test]
    fn what_changes_is_sent_at_once_and_what_does_not_every_three_minutes() {
        let mut unchanged = Unchanged::every(Duration::from_secs(180));
        let mut sent = Vec::new();
        for (minute, capacity, waits) in
            [(0, 8.0, 1), (1, 8.0, 1), (2, 8.0, 2), (3, 8.0, 2), (4, 9.0, 2), (5, 9.0, 2), (6, 9.0, 2), (7, 9.0, 2)]
        {
            let of = |metric, value| Sample { metric, labels: labels([("queue", "q".into())]), value };
            let waits = Distribution { count: waits, sum: 1.0, ..Distribution::default() };
            let samples = vec![of(&GPU_CAPACITY, Value::Gauge(capacity)), of(&QUEUE_WAIT, Value::Distribution(waits))];
            let frame = Frame { at: Timestamp::from_millis(minute * 60_000), samples, ..Frame::default() };
            sent.push([0, 1].map(|index| unchanged.is_due(&frame.samples[index], frame.at)));
            unchanged.taken(&frame);
        }
        let expected = [
            (true, true),
            (false, false),
            (false, true),
            (true, false),
            (true, false),
            (false, true),
            (false, false),
            (true, false),
        ];
        assert_eq!(sent, expected.map(|(capacity, waits)| [capacity, waits]));
        unchanged.taken(&Frame { at: Timestamp::from_millis(0), ..Frame::default() });
        assert!(unchanged.sent.is_empty(), "what is gone is forgotten");
    }
}
