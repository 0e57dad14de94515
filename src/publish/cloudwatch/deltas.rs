//! What CloudWatch has not been told yet, and how it is cut into requests. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use crate::derive::Labels;
use crate::derive::Sample;
use crate::derive::Value;
use crate::derive::catalogue::Metric;
use crate::derive::catalogue::cloudwatch_dimension;
use crate::model::Timestamp;
use crate::publish::families;
use crate::publish::is_in_cloudwatch;

/// `PutMetricData`: "the list can include no more than 1000 metrics per call" (API reference).
pub const MAX_DATA_PER_REQUEST: usize = 1_000;
/// `PutMetricData`: 1 MB per request, before compression; taken as the smaller of the two megabytes.
pub const MAX_BYTES_PER_REQUEST: usize = 1_000_000;
/// `MetricDatum`: "up to 150 unique metrics" in `Values` (API reference).
pub const MAX_VALUES_PER_DATUM: usize = 150;
/// `MetricDatum`: at most 30 dimensions. The catalogue has three labels at most.
pub const MAX_DIMENSIONS: usize = 30;
/// `Dimension`: at most 1024 ASCII characters, not all of them blank.
const MAX_DIMENSION_VALUE: usize = 1_024;
/// `MetricDatum`: values lie between -2^360 and 2^360.
const MAX_EXPONENT: i32 = 360;

/// How many different values of distributions may wait while CloudWatch is away: about 8 MB of memory, and at 10,000
/// jobs a day two days of four distributions. What comes on top is given up and counted.
pub const MAX_PENDING_VALUES: usize = 100_000;
/// How many counters are remembered. Above it, those that left the frame are forgotten.
pub const MAX_REMEMBERED_SERIES: usize = 50_000;

/// The dimension value of an empty label, which CloudWatch does not allow: a job without a share. No share can have
/// this name.
pub const NO_VALUE: &str = "(none)";

/// What a request holds besides its data: the namespace and the envelope.
const REQUEST_BYTES: usize = 1_024;
/// The keys, unit, timestamp and value of a datum in CBOR take 110 bytes, its name aside.
const DATUM_BYTES: usize = 200;
/// The keys and string headers of a dimension in CBOR take 20 bytes.
const DIMENSION_BYTES: usize = 32;
/// A value and its count: two doubles of 9 bytes in CBOR.
const VALUE_BYTES: usize = 20;

/// The memory of what was published, and of what waits to be.
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    counters: BTreeMap<Series, Counted>,
    distributions: BTreeMap<Series, Waiting>,
    waiting_values: usize,
    dropped: u64,
}

/// One `PutMetricData` request, and what it tells.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The data, within all limits.
    pub data: Vec<MetricDatum>,
    /// How many series the data are of, not counting again those that an earlier batch began.
    pub series: u64,
    /// An upper estimate of the request's size in bytes.
    pub bytes: usize,
    tells: Vec<Tells>,
}

type Series = (&'static str, Labels);

#[derive(Clone, Debug)]
struct Counted {
    metric: &'static Metric,
    /// The total up to which CloudWatch was told. Below zero after a restart of the count with news untold.
    published: f64,
    /// The latest total.
    seen: f64,
    in_frame: bool,
    /// Seen in one frame only: a baseline, which is no news.
    is_new: bool,
}

/// How often each value waits, by the bits of the value.
#[derive(Clone, Debug)]
struct Waiting {
    metric: &'static Metric,
    counts: BTreeMap<u64, u64>,
}

/// What a datum settles once it is taken.
#[derive(Clone, Debug)]
enum Tells {
    Gauge,
    Total(Series, f64),
    Values(Series, Vec<(u64, u64)>),
}

impl Deltas {
    /// Takes note of a frame: of each counter's total and each distribution's new values.
    ///
    /// Totals survive restarts and this memory does not. So the first total of a queue's counters is where counting
    /// starts. A counter that appears later on a queue that is followed already did not exist before, and counts from
    /// zero: the first failure of its kind must not go unseen.
    pub fn observe(&mut self, samples: &[Sample]) {
        let followed: BTreeSet<Option<Arc<str>>> = self.counters.keys().map(|(_, labels)| queue_of(labels)).collect();
        for counted in self.counters.values_mut() {
            counted.in_frame = false;
        }
        for (metric, samples) in families(samples).into_values().filter(|(metric, _)| is_in_cloudwatch(metric)) {
            for sample in samples {
                let series = (metric.name, sample.labels.clone());
                match &sample.value {
                    Value::Gauge(_) => {}
                    Value::Counter(total) => self.count(metric, series, *total, &followed),
                    Value::Distribution(distribution) => self.wait(metric, series, &distribution.fresh),
                }
            }
        }
        if self.counters.len() > MAX_REMEMBERED_SERIES {
            self.counters.retain(|_, counted| counted.in_frame);
        }
    }

    /// What is to be sent now, cut into requests: the gauges of `samples` and all that was observed and not settled.
    pub fn batches(&self, samples: &[Sample], at: Timestamp) -> Vec<Batch> {
        let mut cutter = Cutter::default();
        for (metric, samples) in families(samples).into_values().filter(|(metric, _)| is_in_cloudwatch(metric)) {
            for sample in samples {
                if let Value::Gauge(value) = sample.value {
                    cutter.add(metric, &sample.labels, at, &Points::One(value), Tells::Gauge);
                }
            }
        }
        for (series, counted) in self.counters.iter().filter(|(_, counted)| counted.has_news()) {
            let tells = Tells::Total(series.clone(), counted.seen);
            cutter.add(counted.metric, &series.1, at, &Points::One(counted.seen - counted.published), tells);
        }
        for (series, waiting) in &self.distributions {
            let values: Vec<(u64, u64)> = waiting.counts.iter().map(|(bits, count)| (*bits, *count)).collect();
            for part in values.chunks(MAX_VALUES_PER_DATUM) {
                let tells = Tells::Values(series.clone(), part.to_vec());
                cutter.add(waiting.metric, &series.1, at, &Points::Many(part), tells);
            }
        }
        cutter.batches
    }

    /// Notes that a batch is done with: taken, or refused for good.
    pub fn settle(&mut self, batch: &Batch) {
        for tells in &batch.tells {
            match tells {
                Tells::Gauge => {}
                Tells::Total(series, total) => {
                    if let Some(counted) = self.counters.get_mut(series) {
                        counted.published = *total;
                    }
                }
                Tells::Values(series, values) => self.forget(series, values),
            }
        }
    }

    /// How many values were given up since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

impl Deltas {
    fn count(&mut self, metric: &'static Metric, series: Series, total: f64, followed: &BTreeSet<Option<Arc<str>>>) {
        match self.counters.entry(series) {
            Entry::Vacant(vacant) => {
                let published = if followed.contains(&queue_of(&vacant.key().1)) { 0.0 } else { total };
                vacant.insert(Counted { metric, published, seen: total, in_frame: true, is_new: true });
            }
            Entry::Occupied(mut occupied) => {
                let counted = occupied.get_mut();
                if total < counted.seen {
                    // The count began again: what was not told yet stays news.
                    counted.published -= counted.seen;
                }
                (counted.seen, counted.in_frame, counted.is_new) = (total, true, false);
            }
        }
    }

    fn wait(&mut self, metric: &'static Metric, series: Series, fresh: &[f64]) {
        if fresh.is_empty() {
            return;
        }
        let waiting = self.distributions.entry(series).or_insert_with(|| Waiting { metric, counts: BTreeMap::new() });
        for value in fresh {
            // The sum turns -0 into 0, so that equal values have equal bits.
            let bits = (value + 0.0).to_bits();
            let is_known = waiting.counts.contains_key(&bits);
            if !is_publishable(*value) || (!is_known && self.waiting_values >= MAX_PENDING_VALUES) {
                self.dropped += 1;
                continue;
            }
            *waiting.counts.entry(bits).or_default() += 1;
            self.waiting_values += usize::from(!is_known);
        }
    }

    fn forget(&mut self, series: &Series, values: &[(u64, u64)]) {
        let Some(waiting) = self.distributions.get_mut(series) else { return };
        for (bits, taken) in values {
            if let Entry::Occupied(mut count) = waiting.counts.entry(*bits) {
                *count.get_mut() = count.get().saturating_sub(*taken);
                if *count.get() == 0 {
                    count.remove();
                    self.waiting_values -= 1;
                }
            }
        }
        if waiting.counts.is_empty() {
            self.distributions.remove(series);
        }
    }
}

impl Counted {
    /// Zeros are news too while the series is in the frame: "nothing happened" is not "nobody looked".
    fn has_news(&self) -> bool {
        self.seen != self.published || (self.in_frame && !self.is_new)
    }
}

enum Points<'a> {
    One(f64),
    Many(&'a [(u64, u64)]),
}

/// Fills requests one after the other, each as far as the limits allow.
#[derive(Default)]
struct Cutter {
    batches: Vec<Batch>,
}

impl Cutter {
    fn add(&mut self, metric: &Metric, labels: &Labels, at: Timestamp, points: &Points<'_>, tells: Tells) {
        if let Points::One(value) = points
            && !is_publishable(*value)
        {
            return;
        }
        let datum = datum(metric, labels, at, points);
        let bytes = size_of(&datum);
        let is_continued = self
            .batches
            .last()
            .and_then(|batch| batch.data.last())
            .is_some_and(|last| last.metric_name == datum.metric_name && last.dimensions == datum.dimensions);
        let fits = |batch: &&mut Batch| {
            batch.data.len() < MAX_DATA_PER_REQUEST && batch.bytes + bytes <= MAX_BYTES_PER_REQUEST
        };
        match self.batches.last_mut().filter(fits) {
            Some(batch) => {
                batch.data.push(datum);
                batch.series += u64::from(!is_continued);
                batch.bytes += bytes;
                batch.tells.push(tells);
            }
            None => self.batches.push(Batch {
                data: vec![datum],
                series: u64::from(!is_continued),
                bytes: REQUEST_BYTES + bytes,
                tells: vec![tells],
            }),
        }
    }
}

fn datum(metric: &Metric, labels: &Labels, at: Timestamp, points: &Points<'_>) -> MetricDatum {
    debug_assert!(labels.len() <= MAX_DIMENSIONS, "{metric} has {} labels", labels.len());
    let datum = MetricDatum::builder()
        .metric_name(metric.cloudwatch_name())
        .set_dimensions(Some(
            labels.iter().take(MAX_DIMENSIONS).map(|(label, value)| dimension(label, value)).collect(),
        ))
        .unit(StandardUnit::from(metric.unit.cloudwatch()))
        .timestamp(aws_smithy_types::DateTime::from_millis(at.millis()));
    match points {
        Points::One(value) => datum.value(*value),
        Points::Many(values) => datum
            .set_values(Some(values.iter().map(|(bits, _)| f64::from_bits(*bits)).collect()))
            .set_counts(Some(values.iter().map(|(_, count)| *count as f64).collect())),
    }
    .build()
}

fn dimension(label: &str, value: &str) -> Dimension {
    let mut text = String::new();
    for character in value.chars() {
        if character.is_ascii_graphic() || character == ' ' {
            text.push(character);
        } else {
            text.extend(character.escape_unicode());
        }
    }
    text.truncate(MAX_DIMENSION_VALUE);
    if text.trim().is_empty() {
        text = NO_VALUE.to_owned();
    }
    Dimension::builder().name(cloudwatch_dimension(label)).value(text).build()
}

/// An upper estimate of what a datum takes on the wire.
fn size_of(datum: &MetricDatum) -> usize {
    let text = |text: Option<&str>| text.map_or(0, str::len);
    let dimensions: usize = datum
        .dimensions()
        .iter()
        .map(|dimension| DIMENSION_BYTES + text(dimension.name()) + text(dimension.value()))
        .sum();
    DATUM_BYTES + text(datum.metric_name()) + dimensions + VALUE_BYTES * datum.values().len()
}

fn is_publishable(value: f64) -> bool {
    value.is_finite() && value.abs() <= f64::powi(2.0, MAX_EXPONENT)
}

fn queue_of(labels: &Labels) -> Option<Arc<str>> {
    labels.get("queue").cloned()
}
