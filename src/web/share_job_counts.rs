//! Job figures of a share.

use std::collections::BTreeMap;

use trainspotter_core::metrics::catalogue::{self, Metric};
use trainspotter_core::metrics::{Frame, Sample, ShareFigures, Value};

/// Jobs of a share by state, and the age of its longest-waiting job.
pub(super) fn jobs_of(frame: &Frame, share: &ShareFigures) -> (BTreeMap<String, u64>, Option<f64>) {
    let (queue, name) = (share.queue.to_string(), share.share.to_string());
    let is_of_it = |sample: &&Sample| {
        let is = |label: &str, value: &str| sample.labels.get(label).is_some_and(|found| **found == *value);
        is("queue", &queue) && is("share", &name)
    };
    let of = |metric: &'static Metric| frame.samples.iter().filter(move |sample| sample.metric.name == metric.name);
    let gauge = |sample: &Sample| match sample.value {
        Value::Gauge(value) => Some(value),
        Value::Counter(_) | Value::Distribution(_) => None,
    };
    let count = |sample: &Sample| {
        // Counts are integers well within the precision of a float.
        let count = format!("{:.0}", gauge(sample)?).parse().ok()?;
        Some((sample.labels.get("state")?.to_string(), count))
    };
    let jobs = of(&catalogue::QUEUE_JOBS).filter(is_of_it).filter_map(count).collect();
    let oldest = of(&catalogue::QUEUE_WAIT_OLDEST).find(is_of_it).and_then(gauge);
    (jobs, oldest.filter(|seconds| *seconds > 0.0))
}
