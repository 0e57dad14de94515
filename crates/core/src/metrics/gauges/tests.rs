//! Gauges of rows and jobs whose values are worked out by hand.

use super::*;
use crate::jobs::Ledger;
use crate::metrics::frame::SourceHealth;
use crate::metrics::gpu_part_names::UnallocatedCause;
use crate::model::{Capacity, HostUtilisation, JobSeen, Policy, Prices, ServiceEnvironment, Timestamp};

const P5: &str = "ml.p5.48xlarge";

/// Each sample as its name, the values of its labels in the order of their names, and its value.
fn set(fill: impl FnOnce(&mut Gauges)) -> Vec<(String, f64)> {
    let mut gauges = Gauges::default();
    fill(&mut gauges);
    let text = |sample: Sample| match sample.value {
        Value::Gauge(value) => {
            let labels: Vec<String> = sample.labels.values().map(ToString::to_string).collect();
            (format!("{} {}", sample.metric.name, labels.join(" ")), value)
        }
        Value::Counter(_) | Value::Distribution(_) => panic!("{} is a gauge", sample.metric.name),
    };
    gauges.0.into_iter().map(text).collect()
}

fn check(found: &[(String, f64)], expected: &[(&str, f64)]) {
    let names = |all: &[(String, f64)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), expected.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    for ((name, value), (_, expected)) in found.iter().zip(expected) {
        assert!((value - expected).abs() < 1e-9, "{name} is {value}, not {expected}");
    }
}

#[test]
fn shares_have_their_rows_and_their_utilisation_in_gpus() {
    let row = |share: &str, unit: &str, quota: Option<f64>, used: f64| ShareFigures {
        queue: "prod".into(),
        share: share.into(),
        unit: unit.into(),
        quota,
        used,
        borrowed: 1.0,
        lent: 2.0,
        idle: 3.0,
        most: None,
        largest_job: None,
        weight: None,
    };
    let rows = [
        ShareFigures { most: Some(6.0), largest_job: Some(5.0), ..row("a", P5, Some(4.0), 3.0) },
        row("a", "ml.g5.xlarge", Some(10.0), 5.0),
        row("b", P5, None, 2.0),
        row("c", "ml.m5.large", Some(4.0), 2.0),
    ];
    let found = set(|gauges| gauges.shares(&rows));
    check(
        &found,
        &[
            ("share.quota ml.p5.48xlarge prod a", 4.0),
            ("share.borrowed ml.p5.48xlarge prod a", 1.0),
            ("share.lent ml.p5.48xlarge prod a", 2.0),
            ("share.idle ml.p5.48xlarge prod a", 3.0),
            ("share.used ml.p5.48xlarge prod a", 3.0),
            ("share.most ml.p5.48xlarge prod a", 6.0),
            ("share.largest_job ml.p5.48xlarge prod a", 5.0),
            ("share.quota ml.g5.xlarge prod a", 10.0),
            ("share.borrowed ml.g5.xlarge prod a", 1.0),
            ("share.lent ml.g5.xlarge prod a", 2.0),
            ("share.idle ml.g5.xlarge prod a", 3.0),
            ("share.used ml.g5.xlarge prod a", 5.0),
            ("share.used ml.p5.48xlarge prod b", 2.0),
            ("share.quota ml.m5.large prod c", 4.0),
            ("share.borrowed ml.m5.large prod c", 1.0),
            ("share.lent ml.m5.large prod c", 2.0),
            ("share.idle ml.m5.large prod c", 3.0),
            ("share.used ml.m5.large prod c", 2.0),
            // 3 of 4 instances with 8 GPUs, and 5 of 10 with one. The quota of c has no GPUs, so it has no ratio.
            ("share.utilisation prod a", (24.0 + 5.0) / (32.0 + 10.0)),
        ],
    );
    let fair = FairShareFigures { queue: "prod".into(), share: "a".into(), used: 4.0, target: 0.25, recent: 0.4 };
    check(
        &set(|gauges| gauges.fair_shares(std::slice::from_ref(&fair))),
        &[("share.target prod a", 0.25), ("share.used.recent prod a", 0.4), ("share.deviation prod a", 0.15)],
    );
    check(&set(|gauges| gauges.failure_ratio(&"prod".into(), &"a".into(), 0.5)), &[("job.failure_ratio prod a", 0.5)]);
}

#[test]
fn the_idle_ratio_leaves_out_what_is_unknown_or_of_other_queues() {
    let row = |capacity, parts: &[(Part, f64)]| Waterfall {
        queue: "prod".into(),
        capacity_gpus: capacity,
        parts: parts.iter().copied().collect(),
        dollars_per_hour: BTreeMap::new(),
        unallocated: [(UnallocatedCause::NoDemand, 7.0)].into(),
    };
    let ratio = |row: Waterfall| {
        let found = set(|gauges| gauges.waterfall(&[row]));
        assert!(found.contains(&("gpu.unallocated no_demand prod".to_owned(), 7.0)), "{found:?}");
        found.into_iter().find(|(name, _)| name.starts_with("gpu.idle.ratio")).map(|(_, value)| value)
    };
    let parts = [(Part::Busy, 30.0), (Part::Unknown, 20.0), (Part::OtherQueues, 30.0)];
    // 30 of the 50 GPUs that can be judged are busy.
    assert!((ratio(row(Some(100.0), &parts)).unwrap() - 0.4).abs() < 1e-9);
    assert_eq!(ratio(row(Some(50.0), &parts)), None, "nothing can be judged");
    assert_eq!(ratio(row(Some(45.0), &parts)), None);
    assert_eq!(ratio(row(None, &parts)), None);
    let found = set(|gauges| gauges.waterfall(&[row(Some(100.0), &parts)]));
    for (name, value) in [("gpu.part running_busy prod", 30.0), ("gpu.capacity prod", 100.0)] {
        assert!(found.contains(&(name.to_owned(), value)), "{found:?}");
    }
}

struct World {
    ledger: Ledger,
    queues: Vec<Queue>,
    prices: Prices,
    sources: Vec<SourceHealth>,
}

impl World {
    fn with<R>(&self, judge: impl FnOnce(&Inputs<'_>) -> R) -> R {
        judge(&Inputs {
            now: minute(60),
            queues: &self.queues,
            ledger: &self.ledger,
            fronts: &BTreeMap::new(),
            prices: &self.prices,
            reserved: &[],
            sources: &self.sources,
            expected_starts: &BTreeMap::new(),
            forecasts: &[],
        })
    }
}

fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000)
}

fn queue(name: &str, environment: &str, limit: Capacity) -> Queue {
    let environment = ServiceEnvironment { name: environment.to_owned(), enabled: true, limits: vec![limit] };
    Queue::new(name, Policy::Fifo, Some(environment))
}

/// Two queues in one environment of ten instances with eight GPUs, and one in another. The percentages are those of the
/// hosts of a job that has run for half an hour.
fn world(limit: Capacity) -> World {
    let mut ledger = Ledger::default();
    let mut add = |id: &str, queue: &str, status: JobStatus, instances: f64, percents: &[f64]| {
        let began = (status != JobStatus::Runnable).then(|| minute(30));
        let seen = JobSeen {
            scheduled_at: began,
            started_at: began.filter(|_| status == JobStatus::Running),
            demand: vec![Capacity::new(P5, instances)].into(),
            training_job: Some(id.into()),
            ..JobSeen::new(id, queue, status, minute(0))
        };
        ledger.observe(seen, minute(60));
        for (host, gpu_percent) in percents.iter().enumerate() {
            let host = format!("{id}/algo-{}", host + 1);
            ledger.observe_host(HostUtilisation { job: id.into(), host, at: minute(60), gpu_percent: *gpu_percent });
        }
    };
    add("half", "prod", JobStatus::Running, 1.0, &[400.0]);
    add("stuck", "prod", JobStatus::Running, 3.0, &[800.0, 800.0, 0.0]);
    add("starts", "prod", JobStatus::Scheduled, 1.0, &[]);
    add("waits", "prod", JobStatus::Runnable, 2.0, &[]);
    add("beside", "test", JobStatus::Running, 2.0, &[800.0, 0.0]);
    add("elsewhere", "other", JobStatus::Running, 5.0, &[]);
    let queues = vec![
        queue("prod", "gpus", limit.clone()),
        queue("test", "gpus", limit.clone()),
        queue("other", "more", limit),
        Queue::new("alone", Policy::Fifo, None),
    ];
    World { ledger, queues, prices: [(P5.into(), 32.0)].into(), sources: Vec::new() }
}

#[test]
fn the_parts_of_a_waterfall_sum_to_the_capacity_in_gpus_and_in_dollars() {
    for limit in [Capacity::new(P5, 10.0), Capacity::new(InstanceType::ANY, 10.0)] {
        let world = world(limit.clone());
        let row = world.with(|inputs| gpu_waterfall::of_queue(&inputs.queues[0], inputs, &[]));
        assert_eq!(row.capacity_gpus, Some(80.0), "{limit:?}");
        // One and two hosts are busy and one is idle, of a job each; one starts; two are of the queue beside it.
        let expected = [
            (Part::Busy, 24.0),
            (Part::Idle, 8.0),
            (Part::Scheduled, 8.0),
            (Part::OtherQueues, 16.0),
            (Part::Unallocated, 24.0),
        ];
        for part in Part::ALL {
            let gpus = expected.iter().find(|(other, _)| *other == part).map_or(0.0, |(_, gpus)| *gpus);
            assert!((row.parts[&part] - gpus).abs() < 1e-9, "{part:?} of {limit:?}: {row:?}");
            // An instance of eight GPUs costs 32 dollars.
            let dollars = row.dollars_per_hour.get(&part).copied();
            assert_eq!(dollars, (!limit.unit.is_any()).then_some(gpus * 4.0), "{part:?}");
        }
        assert_eq!(row.unallocated[&UnallocatedCause::NoDemand], 24.0);
    }
    let unpriced = World { prices: Prices::new(), ..world(Capacity::new(P5, 10.0)) };
    let row = unpriced.with(|inputs| gpu_waterfall::of_queue(&inputs.queues[0], inputs, &[]));
    assert!(row.dollars_per_hour.is_empty());
    let small = world(Capacity::new(P5, 2.0));
    let row = small.with(|inputs| gpu_waterfall::of_queue(&inputs.queues[0], inputs, &[]));
    assert_eq!((row.capacity_gpus, row.parts[&Part::Unallocated]), (Some(56.0), 0.0), "jobs hold more than the limit");
    let row = small.with(|inputs| gpu_waterfall::of_queue(&inputs.queues[3], inputs, &[]));
    assert_eq!(
        (row.capacity_gpus, row.parts.values().sum::<f64>()),
        (None, 0.0),
        "no environment is nobody's neighbour"
    );
}

#[test]
fn the_utilisation_of_a_share_is_a_mean_over_the_gpus_of_its_hosts() {
    let world = world(Capacity::new(P5, 10.0));
    let subjects: Subjects = [("prod".into(), no_share()), ("idle".into(), no_share())].into();
    let found = world.with(|inputs| set(|gauges| gauges.utilisation(&subjects, inputs)));
    let of = |name: &str| found.iter().find(|(other, _)| other.starts_with(name)).map(|(_, value)| *value);
    // Half of 8 GPUs, and 16 of 24.
    assert!((of("gpu.utilisation prod").unwrap() - (4.0 + 16.0) / 32.0).abs() < 1e-9, "{found:?}");
    assert!((of("gpu.utilisation test").unwrap() - 0.5).abs() < 1e-9);
    assert_eq!((of("gpu.dead_hosts prod"), of("gpu.dead_hosts test")), (Some(1.0), Some(1.0)));
    assert_eq!((of("gpu.dead_hosts idle"), of("gpu.utilisation idle")), (Some(0.0), None));
    assert_eq!(of("gpu.utilisation other"), None, "no host reports");
}

#[test]
fn jobs_are_counted_by_state_and_the_longest_wait_is_of_those_that_wait() {
    let world = world(Capacity::new(P5, 10.0));
    let figures = world.with(|inputs| queue_figures(&inputs.queues[0], inputs));
    let counts: Vec<(&str, u64)> =
        figures.jobs.iter().filter(|(_, count)| **count > 0).map(|(state, count)| (state.as_str(), *count)).collect();
    assert_eq!(counts, [("runnable", 1), ("running", 2), ("scheduled", 1)]);
    assert_eq!(figures.jobs.len(), JobStatus::KNOWN.len(), "zeros are reported");
    assert_eq!(figures.oldest_wait_seconds, Some(3_600.0));
}

#[test]
fn a_target_answers_unless_its_queues_or_the_jobs_of_all_queues_cannot_be_listed() {
    let health = |source, age: Option<f64>, error: bool, failing: &[&str]| SourceHealth {
        source,
        age_seconds: age,
        error: error.then(|| "x".to_owned()),
        note: None,
        failing: failing.iter().map(|queue| (*queue).into()).collect(),
    };
    let topology = |age, error| health(Source::Topology, age, error, &[]);
    let all = ["prod", "test", "other", "alone"];
    for (sources, expected) in [
        (vec![], None),
        (vec![health(Source::Jobs, Some(1.0), false, &[])], None),
        (vec![topology(None, false)], None),
        (vec![topology(Some(1.0), false)], Some(true)),
        (vec![topology(Some(1.0), true)], Some(false)),
        (vec![topology(Some(1.0), false), health(Source::Jobs, None, true, &all)], Some(false)),
        (vec![topology(Some(1.0), false), health(Source::Jobs, None, true, &all[..3])], Some(true)),
        (vec![topology(Some(1.0), false), health(Source::Jobs, Some(1.0), false, &all)], Some(true)),
    ] {
        let world = World { sources, ..world(Capacity::new(P5, 10.0)) };
        assert_eq!(world.with(answering), expected, "{:?}", world.sources);
    }
}
