//! Values not yet sent to CloudWatch. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::publish::cloudwatch::budget::Admission;
use crate::publish::cloudwatch::requests::Value as Waited;
use crate::publish::cloudwatch::requests::{
    Batch, MAX_VALUES_PER_DATUM, Points, RequestBuilder, Series, Settles, is_publishable,
};
use trainspotter_core::metrics::Labels;
use trainspotter_core::metrics::Sample;
use trainspotter_core::metrics::Value;
use trainspotter_core::metrics::catalogue::Metric;
use trainspotter_core::model::Timestamp;
use trainspotter_otlp::{LATE_AFTER, families};

/// Maximum distinct pending values of distributions during an outage: about 8 MB of memory, or two days of four
/// distributions at 10,000 jobs a day. Further values are dropped and counted.
pub const MAX_PENDING_VALUES: usize = 100_000;
/// Maximum remembered counters. Above it, those no longer in the frame are forgotten.
pub const MAX_REMEMBERED_SERIES: usize = 50_000;

/// `MetricDatum`: CloudWatch accepts data of the last two weeks; minus an hour for the request and clock
/// differences.
const MAX_DATA_AGE: Duration = Duration::from_secs(14 * 86_400 - 3_600);

/// Published totals and pending values.
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    counters: BTreeMap<Series, Counted>,
    distributions: BTreeMap<Series, Waiting>,
    waiting_values: usize,
    dropped: u64,
}

#[derive(Clone, Debug)]
struct Counted {
    metric: &'static Metric,
    /// The total that CloudWatch has. Negative after a counter reset with unsent increases.
    published: f64,
    /// The latest total.
    seen: f64,
    in_frame: bool,
    /// In one frame only: a baseline, not an increase.
    is_new: bool,
}

/// Number of occurrences of each pending value, by minute and bits.
#[derive(Clone, Debug)]
struct Waiting {
    metric: &'static Metric,
    counts: BTreeMap<(Timestamp, u64), u64>,
}

impl Deltas {
    /// Records a frame: the total of each counter and the new values of each distribution.
    ///
    /// Totals survive restarts, this state does not. The first total of a queue's counters is therefore the
    /// baseline. A counter that appears later on a known queue did not exist before and starts at zero, so that the
    /// first failure of its kind is reported.
    pub fn observe(&mut self, samples: &[Sample], at: Timestamp) {
        self.observe_within(samples, at, &|_, _| Admission::Sent);
    }

    /// As [`Self::observe`], for series that are sent or waiting. Nothing is stored for the others; if one is sent
    /// later, it counts from then on.
    pub fn observe_within(
        &mut self,
        samples: &[Sample],
        at: Timestamp,
        admission: &impl Fn(&Metric, &Labels) -> Admission,
    ) {
        self.expire(at);
        let followed: BTreeSet<Option<Arc<str>>> = self.counters.keys().map(|(_, labels)| queue_of(labels)).collect();
        for counted in self.counters.values_mut() {
            counted.in_frame = false;
        }
        for (metric, samples) in families(samples).into_values().filter(|(metric, _)| metric.is_in_cloudwatch()) {
            for sample in samples {
                let series = (metric.name, sample.labels.clone());
                let is_kept = admission(metric, &sample.labels) != Admission::LeftOut;
                match &sample.value {
                    Value::Gauge(_) => {}
                    Value::Counter(total) => {
                        let reference = (!is_kept).then(|| series.clone());
                        self.count(metric, series, *total, &followed);
                        if let Some(counted) = reference.and_then(|series| self.counters.get_mut(&series)) {
                            (counted.published, counted.is_new) = (*total, true);
                        }
                    }
                    Value::Distribution(distribution) if is_kept => {
                        self.wait(metric, series, &distribution.fresh, at);
                    }
                    Value::Distribution(_) => self.give_up(&series),
                }
            }
        }
        if self.counters.len() > MAX_REMEMBERED_SERIES {
            self.counters.retain(|_, counted| counted.in_frame);
        }
    }

    /// The requests to send now: gauges of `samples` and everything observed and not settled.
    pub fn batches(&self, samples: &[Sample], at: Timestamp) -> Vec<Batch> {
        self.batches_within(samples, at, &|_, _| true)
    }

    /// As [`Self::batches`], for series that are sent.
    pub fn batches_within(
        &self,
        samples: &[Sample],
        at: Timestamp,
        is_sent: &impl Fn(&Metric, &Labels) -> bool,
    ) -> Vec<Batch> {
        let mut cutter = RequestBuilder::default();
        for (metric, samples) in families(samples).into_values().filter(|(metric, _)| metric.is_in_cloudwatch()) {
            for sample in samples {
                if let Value::Gauge(value) = sample.value
                    && is_sent(metric, &sample.labels)
                {
                    cutter.add(metric, &sample.labels, at, &Points::One(value), Settles::Gauge);
                }
            }
        }
        let is_sent = |metric: &'static Metric, series: &Series| is_sent(metric, &series.1);
        let with_news = self.counters.iter().filter(|(_, counted)| counted.has_news());
        for (series, counted) in with_news.filter(|(series, counted)| is_sent(counted.metric, series)) {
            let settles = Settles::Total(series.clone(), counted.seen);
            cutter.add(counted.metric, &series.1, at, &Points::One(counted.seen - counted.published), settles);
        }
        for (series, waiting) in self.distributions.iter().filter(|(series, waiting)| is_sent(waiting.metric, series)) {
            let values: Vec<Waited> =
                waiting.counts.iter().map(|((minute, bits), count)| (*minute, *bits, *count)).collect();
            // Late values keep their own minute; the rest is sent as of now.
            let is_late = |(minute, ..): &Waited| at.since(*minute) > LATE_AFTER;
            let of_one = |a: &Waited, b: &Waited| a.0 == b.0 || !(is_late(a) || is_late(b));
            for of_minute in values.chunk_by(of_one) {
                let timestamp = of_minute.first().filter(|value| is_late(value)).map_or(at, |(minute, ..)| *minute);
                for part in of_minute.chunks(MAX_VALUES_PER_DATUM) {
                    let settles = Settles::Values(series.clone(), part.to_vec());
                    cutter.add(waiting.metric, &series.1, timestamp, &Points::Many(part), settles);
                }
            }
        }
        cutter.batches
    }

    /// Marks a batch as done: accepted, or rejected permanently.
    pub fn settle(&mut self, batch: &Batch) {
        for settles in &batch.settles {
            match settles {
                Settles::Gauge => {}
                Settles::Total(series, total) => {
                    if let Some(counted) = self.counters.get_mut(series) {
                        counted.published = *total;
                    }
                }
                Settles::Values(series, values) => self.forget(series, values),
            }
        }
    }

    /// Returns and resets the number of dropped values.
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
                    // A counter reset: unsent increases are kept.
                    counted.published -= counted.seen;
                }
                (counted.seen, counted.in_frame, counted.is_new) = (total, true, false);
            }
        }
    }

    /// Drops values that CloudWatch no longer accepts.
    fn expire(&mut self, at: Timestamp) {
        let oldest = at - MAX_DATA_AGE;
        for waiting in self.distributions.values_mut() {
            while let Some(first) = waiting.counts.first_entry().filter(|first| first.key().0 < oldest) {
                self.dropped += first.remove();
                self.waiting_values -= 1;
            }
        }
        self.distributions.retain(|_, waiting| !waiting.counts.is_empty());
    }

    fn wait(&mut self, metric: &'static Metric, series: Series, fresh: &[(Timestamp, f64)], at: Timestamp) {
        if fresh.is_empty() {
            return;
        }
        let waiting = self.distributions.entry(series).or_insert_with(|| Waiting { metric, counts: BTreeMap::new() });
        for (of, value) in fresh {
            // Adding 0 turns -0 into 0, so that equal values have equal bits.
            let key = (minute((*of).min(at)), (value + 0.0).to_bits());
            let is_known = waiting.counts.contains_key(&key);
            let room = is_known || self.waiting_values < MAX_PENDING_VALUES;
            if !is_publishable(*value) || !room || *of < at - MAX_DATA_AGE {
                self.dropped += 1;
                continue;
            }
            *waiting.counts.entry(key).or_default() += 1;
            self.waiting_values += usize::from(!is_known);
        }
    }

    /// Drops the values of a series that is not sent.
    fn give_up(&mut self, series: &Series) {
        if let Some(waiting) = self.distributions.remove(series) {
            self.waiting_values -= waiting.counts.len();
        }
    }

    fn forget(&mut self, series: &Series, values: &[Waited]) {
        let Some(waiting) = self.distributions.get_mut(series) else { return };
        for (minute, bits, taken) in values {
            if let Entry::Occupied(mut count) = waiting.counts.entry((*minute, *bits)) {
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
    /// Whether there is something to send. Zeros count while the series is in the frame: they show that it was
    /// observed.
    fn has_news(&self) -> bool {
        self.seen != self.published || (self.in_frame && !self.is_new)
    }
}

fn minute(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis().div_euclid(60_000) * 60_000)
}

fn queue_of(labels: &Labels) -> Option<Arc<str>> {
    labels.get("queue").cloned()
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::MetricDatum;
    use proptest::prelude::*;

    use super::*;
    use crate::publish::cloudwatch::requests::{MAX_BYTES_PER_REQUEST, MAX_DATA_PER_REQUEST};
    use trainspotter_core::metrics::Distribution;
    use trainspotter_core::metrics::catalogue::{JOB_FAILURES, QUEUE_JOBS, QUEUE_WAIT, SOURCE_CALLS, STORE_SIZE};
    use trainspotter_core::metrics::labels;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn failures(category: &str, total: f64) -> Sample {
        let labels = labels([("queue", "prod".into()), ("share", "a".into()), ("category", category.into())]);
        Sample { metric: &JOB_FAILURES, labels, value: Value::Counter(total) }
    }

    fn waits(queue: &str, fresh: &[f64]) -> Sample {
        waits_at(queue, &fresh.iter().map(|value| (NOW, *value)).collect::<Vec<_>>())
    }

    fn waits_at(queue: &str, fresh: &[(Timestamp, f64)]) -> Sample {
        let distribution = Distribution { fresh: fresh.to_vec(), ..Distribution::default() };
        let labels = labels([("queue", queue.into()), ("share", "".into())]);
        Sample { metric: &QUEUE_WAIT, labels, value: Value::Distribution(distribution) }
    }

    fn gauge(queue: &str, value: f64) -> Sample {
        let labels = labels([("queue", queue.into()), ("share", "a".into()), ("state", "running".into())]);
        Sample { metric: &QUEUE_JOBS, labels, value: Value::Gauge(value) }
    }

    /// All numbers that CloudWatch receives: single values, and values by number of occurrences.
    fn numbers(batches: &[Batch]) -> Vec<f64> {
        let of = |datum: &MetricDatum| {
            let many = datum.values().iter().zip(datum.counts());
            let many = many.flat_map(|(value, count)| std::iter::repeat_n(*value, *count as usize));
            datum.value().into_iter().chain(many).collect::<Vec<_>>()
        };
        let mut numbers: Vec<f64> = batches.iter().flat_map(|batch| &batch.data).flat_map(of).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    }

    /// Publishes frame by frame, with failures at the indexes `fails`, and returns what each attempt sent.
    fn increases(steps: &[&[Sample]], fails: &[usize]) -> Vec<Vec<f64>> {
        let mut deltas = Deltas::default();
        let attempt = |(index, samples): (usize, &&[Sample])| {
            deltas.observe(samples, NOW);
            let batches = deltas.batches(samples, NOW);
            if !fails.contains(&index) {
                batches.iter().for_each(|batch| deltas.settle(batch));
            }
            numbers(&batches)
        };
        steps.iter().enumerate().map(attempt).collect()
    }

    #[test]
    fn the_first_total_is_a_baseline_and_then_increases_count_zeros_included() {
        let totals = [100.0, 103.0, 103.0, 110.0].map(|total| [failures("user_code", total)]);
        let steps: Vec<&[Sample]> = totals.iter().map(|step| &step[..]).collect();
        assert_eq!(increases(&steps, &[]), [vec![], vec![3.0], vec![0.0], vec![7.0]]);
    }

    #[test]
    fn a_counter_that_is_born_on_a_followed_queue_counts_from_zero() {
        let (old, born) = (failures("user_code", 100.0), failures("capacity", 1.0));
        let steps: [&[Sample]; 2] = [std::slice::from_ref(&old), &[old.clone(), born]];
        assert_eq!(increases(&steps, &[]), [vec![], vec![0.0, 1.0]]);
    }

    #[test]
    fn what_was_not_taken_is_sent_with_what_follows() {
        let totals = [5.0, 7.0, 8.0, 9.0].map(|total| [failures("user_code", total)]);
        let steps: Vec<&[Sample]> = totals.iter().map(|step| &step[..]).collect();
        assert_eq!(increases(&steps, &[1, 2]), [vec![], vec![2.0], vec![3.0], vec![4.0]]);
    }

    #[test]
    fn a_count_that_begins_again_loses_nothing() {
        let totals = [5.0, 7.0, 2.0].map(|total| [failures("user_code", total)]);
        let steps: Vec<&[Sample]> = totals.iter().map(|step| &step[..]).collect();
        assert_eq!(increases(&steps, &[]), [vec![], vec![2.0], vec![2.0]]);
        assert_eq!(increases(&steps, &[1]), [vec![], vec![2.0], vec![4.0]], "2 untold before, 2 since");
    }

    #[test]
    fn a_series_that_left_the_frame_sends_its_last_increase_and_no_zeros() {
        let (five, seven) = ([failures("user_code", 5.0)], [failures("user_code", 7.0)]);
        let steps: [&[Sample]; 4] = [&five, &seven, &[], &[]];
        assert_eq!(increases(&steps, &[1]), [vec![], vec![2.0], vec![2.0], vec![]]);
    }

    #[test]
    fn what_is_not_worth_its_price_is_not_sent() {
        let calls = labels([("service", "batch".into()), ("operation", "x".into()), ("outcome", "ok".into())]);
        let samples = [
            Sample { metric: &SOURCE_CALLS, labels: calls, value: Value::Counter(1.0) },
            Sample { metric: &STORE_SIZE, labels: labels([]), value: Value::Gauge(1.0) },
        ];
        assert_eq!(increases(&[&samples, &samples], &[]), [vec![], Vec::<f64>::new()]);
    }

    #[test]
    fn what_was_left_out_counts_from_when_it_is_sent() {
        let mut deltas = Deltas::default();
        let mut sent = Vec::new();
        for (tick, admission) in
            [Admission::LeftOut, Admission::LeftOut, Admission::Waits, Admission::Waits, Admission::Sent]
                .iter()
                .enumerate()
        {
            let samples = [failures("user", tick as f64), waits("a", &[tick as f64 + 0.5])];
            deltas.observe_within(&samples, NOW, &|_, _| *admission);
            let batches = deltas.batches_within(&samples, NOW, &|_, _| *admission == Admission::Sent);
            batches.iter().for_each(|batch| deltas.settle(batch));
            sent.push(numbers(&batches));
        }
        // Failures 2 to 4, and the waits since the series has been waiting for its slot.
        assert_eq!(sent, [vec![], vec![], vec![], vec![], vec![2.5, 3.0, 3.5, 4.5]]);
        assert_eq!(deltas.waiting_values, 0);
    }

    #[test]
    fn numbers_that_cloudwatch_refuses_do_not_spoil_a_batch() {
        let samples = [gauge("a", f64::NAN), gauge("b", f64::INFINITY), gauge("c", 1e200), gauge("d", 4.0)];
        assert_eq!(increases(&[&samples], &[]), [vec![4.0]]);
        let mut deltas = Deltas::default();
        deltas.observe(&[waits("a", &[1.0, f64::NAN, 1e300])], NOW);
        assert_eq!((numbers(&deltas.batches(&[], NOW)), deltas.take_dropped()), (vec![1.0], 2));
    }

    #[test]
    fn what_is_late_is_sent_once_as_of_its_own_minute_and_what_is_too_late_is_dropped() {
        let ago = |seconds: u64| NOW - Duration::from_secs(seconds);
        let fresh = [(ago(7_230), 1.0), (ago(7_225), 2.0), (ago(3_600), 3.0), (ago(300), 4.0), (NOW, 5.0)];
        let mut deltas = Deltas::default();
        deltas.observe(&[waits_at("a", &fresh), waits_at("b", &[(ago(15 * 86_400), 6.0)])], NOW);
        let reported = |batches: &[Batch]| -> Vec<(i64, Vec<f64>)> {
            let of = |datum: &MetricDatum| {
                let at = datum.timestamp().unwrap().to_millis().unwrap();
                ((NOW.millis() - at) / 1_000, datum.values().to_vec())
            };
            batches.iter().flat_map(|batch| &batch.data).map(of).collect()
        };
        let batches = deltas.batches(&[], NOW);
        assert_eq!(reported(&batches), [(7_280, vec![1.0, 2.0]), (3_620, vec![3.0]), (0, vec![4.0, 5.0])]);
        assert_eq!(deltas.take_dropped(), 1);
        // After an outage, values that were current are an hour late.
        let later = deltas.batches(&[], NOW + Duration::from_secs(3_600));
        assert_eq!(reported(&later).len(), 4);
        batches.iter().for_each(|batch| deltas.settle(batch));
        assert_eq!(reported(&deltas.batches(&[], NOW)), []);
    }

    #[test]
    fn memory_is_bounded_while_cloudwatch_is_away_and_what_is_given_up_is_counted() {
        let mut deltas = Deltas::default();
        let many: Vec<f64> = (0..MAX_PENDING_VALUES + 10).map(|n| n as f64).collect();
        deltas.observe(&[waits("a", &many)], NOW);
        // A value that is already pending takes no more room.
        deltas.observe(&[waits("a", &[0.0, -0.0])], NOW);
        let batches = deltas.batches(&[], NOW);
        assert_eq!(numbers(&batches).len(), MAX_PENDING_VALUES + 2);
        assert_eq!(deltas.take_dropped(), 10);
        batches.iter().for_each(|batch| deltas.settle(batch));
        assert_eq!((deltas.waiting_values, deltas.distributions.len()), (0, 0));
    }

    proptest! {
        // Few cases, since each is as large as the limits.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_value_arrives_exactly_once_within_the_limits(
            ticks in prop::collection::vec(
                (
                    prop::collection::vec((0_u8..4, prop::collection::vec(0_u32..400, 0..500)), 0..4),
                    0_usize..2_500,
                    prop::bool::ANY,
                    prop::bool::ANY,
                ),
                1..8,
            )
        ) {
            let (mut deltas, mut seen, mut taken) = (Deltas::default(), Vec::new(), Vec::new());
            let last = ticks.len() - 1;
            for (index, (fresh, gauges, long, works)) in ticks.into_iter().enumerate() {
                let mut samples: Vec<Sample> =
                    (0..gauges).map(|n| gauge(&format!("queue-{n}-{}", "x".repeat(if long { 900 } else { 1 })), -1.0)).collect();
                for (queue, values) in &fresh {
                    let values: Vec<f64> = values.iter().map(|value| f64::from(*value) / 4.0).collect();
                    seen.extend_from_slice(&values);
                    samples.push(waits(&format!("queue-{queue}"), &values));
                }
                deltas.observe(&samples, NOW);
                let batches = deltas.batches(&samples, NOW);
                let series: u64 = batches.iter().map(|batch| batch.series).sum();
                prop_assert_eq!(series, (gauges + deltas.distributions.len()) as u64);
                for batch in &batches {
                    prop_assert!(batch.data.len() <= MAX_DATA_PER_REQUEST && batch.bytes <= MAX_BYTES_PER_REQUEST);
                    prop_assert!(batch.data.iter().all(|datum| datum.values().len() <= MAX_VALUES_PER_DATUM));
                }
                // A publication that fails half-way settles its first part.
                let settled = if works || index == last { batches.len() } else { batches.len() / 2 };
                taken.extend(numbers(&batches[..settled]).into_iter().filter(|number| *number >= 0.0));
                batches[..settled].iter().for_each(|batch| deltas.settle(batch));
            }
            seen.sort_by(f64::total_cmp);
            taken.sort_by(f64::total_cmp);
            prop_assert_eq!(seen, taken);
        }
    }
}
