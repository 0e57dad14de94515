//! The budget: which series are sent, what is left out, and what it costs.

use proptest::prelude::*;

use super::*;
use crate::cost::{ClassicUse, Usage, bill};
use trainspotter_core::metrics::catalogue::{JOB_FAILURES, QUEUE_JOBS, QUEUE_WAIT_OLDEST, SOURCE_AGE};
use trainspotter_core::metrics::{QueueFigures, Sample, Value, labels};

const BEGIN: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn at(minutes: u64) -> Timestamp {
    BEGIN + Duration::from_secs(minutes * 60)
}

/// All series of a metric with these shares.
fn of(metric: &'static Metric, shares: &[String]) -> Vec<Sample> {
    let sample = |share: &String| {
        let labels =
            metric.labels.iter().map(|label| (*label, if *label == "share" { share.as_str() } else { "x" }.into()));
        Sample { metric, labels: labels.collect(), value: Value::Gauge(1.0) }
    };
    shares.iter().map(sample).collect()
}

fn shares(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("share-{n}")).collect()
}

fn frame(minutes: u64, samples: Vec<Sample>) -> Frame {
    let queue = QueueFigures {
        queue: "x".into(),
        arn: String::new(),
        policy: "FIFO".into(),
        jobs: BTreeMap::new(),
        oldest_wait_seconds: None,
    };
    Frame { at: at(minutes), queues: vec![queue], samples, ..Frame::default() }
}

fn sent(budget: &Budget, frame: &Frame) -> BTreeMap<&'static str, usize> {
    let mut sent = BTreeMap::new();
    for sample in &frame.samples {
        if budget.admission(sample.metric, &sample.labels) == Admission::Sent {
            *sent.entry(sample.metric.name).or_default() += 1;
        }
    }
    sent
}

#[test]
fn the_most_useful_metrics_are_kept_as_a_whole_and_the_rest_is_named() {
    let mut budget = Budget::of_series(20);
    let world =
        || [of(&QUEUE_JOBS, &shares(9)), of(&JOB_FAILURES, &shares(9)), of(&QUEUE_WAIT_OLDEST, &shares(9))].concat();
    let first = frame(0, world());
    budget.admit(&first);
    let expected = BTreeMap::from([(QUEUE_WAIT_OLDEST.name, 9), (JOB_FAILURES.name, 9)]);
    assert_eq!(sent(&budget, &first), expected);
    assert_eq!(budget.left_out(), &BTreeMap::from([(QUEUE_JOBS.name, 9)]));
    assert_eq!((budget.take_newly_left_out(), budget.take_newly_left_out()), (9, 0));
    // Stable for hours.
    for minutes in 1..600 {
        let next = frame(minutes, world());
        budget.admit(&next);
        assert_eq!(sent(&budget, &next), expected, "after {minutes} minutes");
    }
    assert_eq!(budget.take_newly_left_out(), 0);
}

#[test]
fn a_share_that_appears_gets_the_place_of_what_is_less_useful_and_no_hour_has_more_series() {
    let mut budget = Budget::of_series(20);
    let mut last_sent: BTreeMap<Series, u64> = BTreeMap::new();
    let mut history = Vec::new();
    for minutes in 0..400 {
        let count = if minutes < 60 { 6 } else { 9 };
        let samples =
            [of(&QUEUE_WAIT_OLDEST, &shares(count)), of(&JOB_FAILURES, &shares(count)), of(&QUEUE_JOBS, &shares(6))];
        let frame = frame(minutes, samples.concat());
        budget.admit(&frame);
        for sample in &frame.samples {
            if budget.admission(sample.metric, &sample.labels) == Admission::Sent {
                last_sent.insert((sample.metric.name, sample.labels.clone()), minutes);
            }
        }
        let within_the_hour = last_sent.values().filter(|last| minutes - **last < 60).count();
        assert!(within_the_hour <= 20, "{within_the_hour} series after {minutes} minutes");
        let mut taken: BTreeMap<&'static str, usize> = BTreeMap::new();
        budget.places.keys().for_each(|(name, _)| *taken.entry(name).or_default() += 1);
        budget.taken.retain(|_, count| *count > 0);
        assert_eq!(budget.taken, taken, "after {minutes} minutes");
        history.push(sent(&budget, &frame));
    }
    assert_eq!(
        history[59],
        BTreeMap::from([(QUEUE_WAIT_OLDEST.name, 6), (JOB_FAILURES.name, 6), (QUEUE_JOBS.name, 6)])
    );
    // Two of them fit at once; the least useful metric is removed, and after an hour all fit.
    assert_eq!(history[60], BTreeMap::from([(QUEUE_WAIT_OLDEST.name, 8), (JOB_FAILURES.name, 6)]));
    assert_eq!(history[130], BTreeMap::from([(QUEUE_WAIT_OLDEST.name, 9), (JOB_FAILURES.name, 9)]));
    assert!(history[130..].iter().all(|sent| sent == &history[130]), "nothing flaps");
}

#[test]
fn a_share_that_comes_and_goes_does_not_make_other_series_flap() {
    let mut budget = Budget::of_series(10);
    let mut changes = 0;
    let mut was_there = None;
    for minutes in 0..(20 * 60) {
        let count = if (minutes / 100) % 2 == 0 { 4 } else { 7 };
        let frame = frame(minutes, [of(&QUEUE_WAIT_OLDEST, &shares(count)), of(&QUEUE_JOBS, &shares(5))].concat());
        budget.admit(&frame);
        let is_there = sent(&budget, &frame).contains_key(QUEUE_JOBS.name);
        changes += u32::from(was_there.replace(is_there).is_some_and(|was| was != is_there));
    }
    assert_eq!(changes, 1, "what had to go stays out for a day");
}

#[test]
fn before_queues_are_known_the_places_are_kept_for_them() {
    let mut budget = Budget::of_series(10);
    let early = Frame { at: at(0), samples: of(&SOURCE_AGE, &shares(1)), ..Frame::default() };
    budget.admit(&early);
    assert!(sent(&budget, &early).is_empty());
    // Without queues the service's own metrics are sent after a while.
    let later = Frame { at: at(11), samples: of(&SOURCE_AGE, &shares(1)), ..Frame::default() };
    budget.admit(&later);
    assert_eq!(sent(&budget, &later).len(), 1);
}

#[test]
fn a_series_waits_only_where_its_metric_is_sent() {
    let mut budget = Budget::of_series(10);
    let samples = [of(&QUEUE_WAIT_OLDEST, &shares(12)), of(&SOURCE_AGE, &shares(1))].concat();
    budget.admit(&frame(0, samples.clone()));
    let of_first = |budget: &Budget| budget.admission(&QUEUE_WAIT_OLDEST, &samples[0].labels);
    assert_eq!(of_first(&budget), Admission::LeftOut, "no part of a metric is sent");
    let mut budget = Budget::of_series(10);
    budget.admit(&frame(0, of(&QUEUE_WAIT_OLDEST, &shares(9))));
    budget.admit(&frame(1, of(&QUEUE_WAIT_OLDEST, &shares(12))));
    let last = labels([("queue", "x".into()), ("share", "share-9".into())]);
    let beyond = labels([("queue", "x".into()), ("share", "share-11".into())]);
    assert_eq!(budget.admission(&QUEUE_WAIT_OLDEST, &beyond), Admission::Waits);
    assert!(budget.admission(&QUEUE_WAIT_OLDEST, &last) != Admission::LeftOut);
}

#[test]
fn dollars_become_series_with_the_requests_that_send_them() {
    let prices = PriceTable::shipped().unwrap();
    for dollars in [1.0, 5.0, 30.0, 299.99, 3_000.0, 40_000.0] {
        let minute = Duration::from_secs(60);
        let series = Budget::new(dollars, minute, &prices).most() as u64;
        let cost = |series: u64| cost_of(series, &prices);
        assert!(cost(series) <= dollars, "{dollars}: {series} series cost {}", cost(series));
        assert!(cost(series + 11) > dollars * 0.99, "{dollars}: {series} series are too few");
    }
    assert_eq!(Budget::new(30.0, Duration::from_secs(60), &prices).most(), 98);
}

#[test]
fn a_budget_that_is_shared_among_more_leaves_out_the_least_useful() {
    let prices = PriceTable::shipped().unwrap();
    let minute = Duration::from_secs(60);
    let whole = Budget::new(30.0, minute, &prices).most();
    let mut budget = Budget::new(30.0, minute, &prices).warm();
    let samples = [of(&QUEUE_JOBS, &shares(40)), of(&JOB_FAILURES, &shares(10))].concat();
    let (first, next) = (frame(0, samples.clone()), frame(1, samples));
    budget.admit(&first);
    assert_eq!(sent(&budget, &first), BTreeMap::from([(JOB_FAILURES.name, 10), (QUEUE_JOBS.name, 40)]));
    budget.share_among(4);
    let part = budget.most();
    assert!((10..=whole / 4).contains(&part), "{part} of {whole}");
    budget.admit(&next);
    assert_eq!(sent(&budget, &next), BTreeMap::from([(JOB_FAILURES.name, 10)]));
    budget.share_among(0);
    assert_eq!(budget.most(), whole);
}

/// Shares and metrics of the property test.
const SHARES: usize = 12;
const METRICS: usize = 8;

/// A span of time: number of frames, minutes between them, and one bit for each share and metric that is there.
type Span = (u8, u64, u16, u8);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_shares_come_and_go_the_budget_holds_and_all_that_is_left_out_is_counted(
        dollars in 1.0..40.0_f64,
        spans in prop::collection::vec((1..12_u8, 1..12_u64, any::<u16>(), any::<u8>()), 1..40),
    ) {
        let prices = PriceTable::shipped().unwrap();
        let mut budget = Budget::new(dollars, Duration::from_secs(60), &prices);
        let (mut minutes, mut last_sent, mut before) = (0, BTreeMap::new(), BTreeSet::new());
        for (frames, apart, shares, metrics) in spans as Vec<Span> {
            for _ in 0..frames {
                minutes += apart;
                let frame = frame(minutes, samples_of(shares, metrics));
                budget.admit(&frame);
                let mut left_out = BTreeSet::new();
                for sample in &frame.samples {
                    let series = (sample.metric.name, sample.labels.clone());
                    if budget.admission(sample.metric, &sample.labels) == Admission::Sent {
                        last_sent.insert(series, minutes);
                    } else {
                        left_out.insert(series);
                    }
                }
                let mut by_metric = BTreeMap::new();
                left_out.iter().for_each(|(name, _)| *by_metric.entry(*name).or_default() += 1);
                prop_assert_eq!(budget.left_out(), &by_metric);
                prop_assert_eq!(budget.take_newly_left_out(), left_out.difference(&before).count() as u64);
                before = left_out;
                // What CloudWatch would bill if every hour of the month were like the last one.
                let billed = last_sent.values().filter(|last| minutes - **last < 60).count() as u64;
                let cost = cost_of(billed, &prices);
                prop_assert!(cost <= dollars, "{billed} series after {minutes} minutes cost {cost}");
            }
        }
    }
}

/// The series of these shares and metrics.
fn samples_of(shares: u16, metrics: u8) -> Vec<Sample> {
    let is_set = |bits: u16, n: usize| bits >> n & 1 == 1;
    let names: Vec<String> = self::shares(SHARES)
        .into_iter()
        .enumerate()
        .filter(|(n, _)| is_set(shares, *n))
        .map(|(_, name)| name)
        .collect();
    let by_share = BY_USE.iter().filter(|metric| metric.labels.contains(&"share") && metric.is_in_cloudwatch());
    let chosen = by_share.take(METRICS).enumerate().filter(|(n, _)| is_set(metrics.into(), *n));
    chosen.flat_map(|(_, metric)| of(metric, &names)).collect()
}

/// The monthly cost of series that are published every minute.
fn cost_of(series: u64, prices: &PriceTable) -> f64 {
    let requests = SECONDS_A_MONTH / 60.0 * (series as f64 / 1_000.0).ceil();
    let classic = Some(ClassicUse { series, left_out: 0, requests });
    bill(&Usage { classic, ..Usage::default() }, prices).total()
}
