//! Counters in the recorded frames of a state file.

use std::path::Path;
use std::time::Duration;

use trainspotter::store::Frames;
use trainspotter_core::metrics::{Frame, Value};
use trainspotter_core::model::Timestamp;

/// A counter in the last frame before a time, summed over its series with a label value.
pub fn counter(store: &Path, metric: &str, label: (&str, &str), before: Timestamp) -> f64 {
    let frames = Frames::open(store).unwrap();
    let (begin, _) = frames.span().unwrap().unwrap();
    let mut sum = 0.0;
    let take = |frame: Frame| {
        let of_metric = frame.samples.iter().filter(|sample| sample.metric.name == metric);
        let matching = of_metric.filter(|sample| sample.labels.get(label.0).is_some_and(|value| **value == *label.1));
        sum = matching
            .map(|sample| match &sample.value {
                Value::Counter(value) | Value::Gauge(value) => *value,
                Value::Distribution(distribution) => distribution.sum,
            })
            .sum();
    };
    frames.each(begin, before - Duration::from_millis(1), None, take).unwrap();
    sum
}
