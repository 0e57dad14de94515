//! A frame for an assumed world: with the maximum number of series, so that their number and size are known.

use std::sync::Arc;

use crate::cost::bill::Destination;
use trainspotter_core::metrics::catalogue::{self, DURATION_BOUNDS, Kind, Metric};
use trainspotter_core::metrics::{Distribution, Frame, Labels, Sample, Value, closed_values};
use trainspotter_core::model::Timestamp;

/// Assumed number of other shares whose quota a share uses within a month.
const LENDERS: usize = 3;
/// Assumed number of AWS operations and outcomes.
const CALLS: usize = 20;
/// Assumed number of values for other labels: limits that were hit, rules that fail.
const OTHERS: usize = 2;

/// An assumed world.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// Number of watched queues.
    pub queues: usize,
    /// Shares per queue with separate series.
    pub shares: usize,
    /// Instance types per queue.
    pub instance_types: usize,
    /// Priority bands including `other`; 0 without bands.
    pub bands: usize,
    /// Number of sinks.
    pub sinks: usize,
    /// Number of receivers.
    pub receivers: usize,
    /// Whether reserved capacity is watched.
    pub reserved: bool,
    /// Whether prices are configured.
    pub priced: bool,
}

/// A frame with every possible series of such a world: each metric with each combination of label values.
pub fn assumed_frame(assumed: &Assumed, at: Timestamp) -> Frame {
    let mut samples = Vec::new();
    for metric in catalogue::ALL.iter().copied().filter(|metric| is_there(metric, assumed)) {
        for labels in combinations(metric, assumed) {
            samples.push(Sample { metric, labels, value: value(metric) });
        }
    }
    Frame { at, samples, ..Frame::default() }
}

fn is_there(metric: &Metric, assumed: &Assumed) -> bool {
    let of_dollars = metric.unit == catalogue::Unit::Dollars && !metric.labels.contains(&"destination");
    let of_reserved = metric.labels.contains(&"instance_type") && !metric.labels.contains(&"queue");
    (assumed.priced || !of_dollars) && (assumed.reserved || !of_reserved)
}

/// A value whose encoding has a typical size.
fn value(metric: &Metric) -> Value {
    match metric.kind {
        Kind::Gauge => Value::Gauge(12.5),
        Kind::Counter => Value::Counter(12_345.5),
        Kind::Distribution => {
            let buckets = (0..=DURATION_BOUNDS.len() as u64).map(|bucket| bucket % 4).collect();
            Value::Distribution(Distribution { buckets, sum: 12_345.5, count: 20, ..Distribution::default() })
        }
    }
}

/// All combinations of label values of a metric.
fn combinations(metric: &'static Metric, assumed: &Assumed) -> Vec<Labels> {
    let mut combinations: Vec<Vec<(catalogue::Label, Arc<str>)>> = vec![Vec::new()];
    for label in metric.labels.iter().copied() {
        let mut longer = Vec::new();
        for so_far in &combinations {
            for value in values(metric, label, so_far, assumed) {
                let mut pairs = so_far.clone();
                pairs.push((label, value));
                longer.push(pairs);
            }
        }
        combinations = longer;
    }
    combinations.into_iter().map(|pairs| pairs.into_iter().collect()).collect()
}

/// The values of a label, given those chosen already.
fn values(
    metric: &Metric,
    label: catalogue::Label,
    chosen: &[(catalogue::Label, Arc<str>)],
    assumed: &Assumed,
) -> Vec<Arc<str>> {
    let closed = closed_values(metric, label);
    if !closed.is_empty() {
        return closed.into_iter().map(Arc::from).collect();
    }
    let some = |count: usize, name: &str| (1..=count).map(|n| Arc::from(format!("{name}-{n:02}"))).collect();
    let shares = |count: usize| some(count, "team-share");
    match label {
        "account" => vec![Arc::from("111122223333")],
        "region" => vec![Arc::from("us-east-1")],
        "metric" => some(OTHERS, "metric"),
        "queue" => some(assumed.queues, "training-queue"),
        "share" | "lender" => shares(assumed.shares),
        "borrower" => {
            let lender = chosen.iter().find(|(name, _)| *name == "lender").map(|(_, value)| value);
            shares(assumed.shares).into_iter().filter(|share| Some(share) != lender).take(LENDERS).collect()
        }
        "instance_type" => (1..=assumed.instance_types).map(|n| Arc::from(format!("ml.p{n}.48xlarge"))).collect(),
        "band" => some(assumed.bands, "band"),
        "sink" => some(assumed.sinks, "cloudwatch"),
        "receiver" => some(assumed.receivers, "receiver"),
        "cause" if metric.labels.contains(&"share") => ["preempted", "failed"].map(Arc::from).into(),
        "operation" => some(CALLS, "DescribeServiceJob"),
        "service" | "outcome" => some(1, "sagemaker"),
        "destination" => Destination::ALL.map(|destination| Arc::from(destination.as_str())).into(),
        _ => some(OTHERS, label),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use trainspotter_core::metrics::catalogue::{QUEUE_JOBS, QUEUE_WAIT, SHARE_LENDING_TIME};

    const WORLD: Assumed = Assumed {
        queues: 2,
        shares: 3,
        instance_types: 1,
        bands: 0,
        sinks: 1,
        receivers: 1,
        reserved: false,
        priced: false,
    };

    #[test]
    fn each_metric_has_every_combination_of_its_labels_once() {
        let frame = assumed_frame(&WORLD, Timestamp::default());
        let count = |name: &str| frame.samples.iter().filter(|sample| sample.metric.name == name).count();
        assert_eq!(count(QUEUE_WAIT.name), 6);
        assert_eq!(count(QUEUE_JOBS.name), 6 * closed_values(&QUEUE_JOBS, "state").len());
        assert_eq!(count(SHARE_LENDING_TIME.name), 2 * 3 * 2, "nobody lends to itself");
        let all: BTreeSet<String> =
            frame.samples.iter().map(|sample| format!("{} {:?}", sample.metric, sample.labels)).collect();
        assert_eq!(all.len(), frame.samples.len());
        assert!(frame.samples.iter().all(|sample| sample.metric.name != catalogue::GPU_COST.name));
        let more = assumed_frame(&Assumed { shares: 4, priced: true, ..WORLD }, Timestamp::default());
        assert!(more.samples.len() > frame.samples.len());
    }
}
