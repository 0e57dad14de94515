//! A small frame with every kind of metric, and labels that need escaping.

use std::sync::Arc;

use trainspotter_core::metrics::catalogue::{
    DURATION_BOUNDS, GPU_TIME, JOB_PREEMPTIONS, QUEUE_JOBS, QUEUE_WAIT, SHARE_USED, SOURCE_AGE,
};
use trainspotter_core::metrics::{Distribution, Frame, Sample, Value, labels};
use trainspotter_core::model::Timestamp;

/// Time of the first frame.
pub const AT: Timestamp = Timestamp::from_millis(1_700_000_000_250);

/// A frame whose totals grow with `tick` and whose only distribution gets these new values, in seconds.
pub fn frame(tick: u32, fresh: &[f64]) -> Arc<Frame> {
    let total = f64::from(tick);
    let mut samples = Vec::new();
    for (share, state, jobs) in [("research", "runnable", 17.0), ("research", "running", 4.0), ("", "running", 0.0)] {
        let labels = labels([("queue", "prod".into()), ("share", share.into()), ("state", state.into())]);
        samples.push(Sample { metric: &QUEUE_JOBS, labels, value: Value::Gauge(jobs) });
    }
    let mut buckets = vec![0; DURATION_BOUNDS.len() + 1];
    for value in fresh {
        buckets[DURATION_BOUNDS.iter().filter(|bound| value > bound).count()] += 1;
    }
    let waits = Distribution {
        buckets,
        sum: fresh.iter().sum(),
        count: fresh.len() as u64,
        fresh: fresh.iter().map(|value| (AT, *value)).collect(),
        recent: None,
    };
    let labels_of = || labels([("queue", "prod".into()), ("share", "research".into())]);
    samples.push(Sample { metric: &QUEUE_WAIT, labels: labels_of(), value: Value::Distribution(waits) });
    let hard = labels([
        ("queue", "quote\" back\\slash\nline".into()),
        ("share", "größe".into()),
        ("instance_type", "ml.p5.48xlarge".into()),
    ]);
    samples.push(Sample { metric: &SHARE_USED, labels: hard, value: Value::Gauge(2.5) });
    let part = labels([("queue", "prod".into()), ("part", "running_busy".into())]);
    samples.push(Sample { metric: &GPU_TIME, labels: part, value: Value::Counter(1e9 + total) });
    samples.push(Sample { metric: &JOB_PREEMPTIONS, labels: labels_of(), value: Value::Counter(40.0 + total) });
    samples.push(Sample {
        metric: &SOURCE_AGE,
        labels: labels([("source", "jobs".into())]),
        value: Value::Gauge(0.125),
    });
    let at = AT + std::time::Duration::from_secs(60 * u64::from(tick));
    Arc::new(Frame { at, samples, ..Frame::default() })
}
