//! Selected jobs are those that a look at every open job selects, and their values are worked out by hand.

use proptest::prelude::*;

use super::*;
use crate::jobs::Ledger;
use crate::model::{Capacity, HostUtilisation, JobDetails, JobSeen, JobStatus};

const NOW: i64 = 100;

fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_millis(minutes * 60_000)
}

/// One job in each phase. Times in minutes: submitted, dispatched, running.
fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let mut add = |id: &str, status: JobStatus, [submitted, scheduled, started]: [Option<i64>; 3], of: (&str, u32)| {
        let (owner, preemptions) = of;
        let details = JobDetails {
            owner: (!owner.is_empty()).then(|| owner.into()),
            preemptions,
            start_by: Some(minute(90)),
            ..JobDetails::default()
        };
        let ended = status.is_ended();
        let seen = JobSeen {
            name: format!("name-{id}").as_str().into(),
            share: (owner != "cat").then(|| "vision".into()),
            scheduled_at: scheduled.map(minute),
            started_at: started.map(minute),
            stopped_at: ended.then(|| minute(95)),
            demand: vec![Capacity::new("ml.p5.48xlarge", 2.0)].into(),
            training_job: scheduled.map(|_| id.into()),
            details: Some(Box::new(details)),
            ..JobSeen::new(id, if owner == "bob" { "test" } else { "prod" }, status, minute(submitted.unwrap()))
        };
        ledger.observe(seen, minute(NOW));
    };
    add("waits-30", JobStatus::Runnable, [Some(70), None, None], ("ann", 1));
    add("waits-60", JobStatus::Runnable, [Some(40), None, None], ("bob", 0));
    add("waits-5", JobStatus::Runnable, [Some(95), None, None], ("", 0));
    add("scheduled", JobStatus::Scheduled, [Some(10), Some(92), None], ("cat", 0));
    add("starting", JobStatus::Starting, [Some(11), Some(91), None], ("ann", 2));
    add("runs-50", JobStatus::Running, [Some(12), Some(50), Some(50)], ("ann", 0));
    add("runs-2", JobStatus::Running, [Some(13), Some(98), Some(98)], ("bob", 0));
    add("ended", JobStatus::Succeeded, [Some(1), Some(2), Some(2)], ("ann", 0));
    for (job, host, gpu_percent) in [("runs-50", "runs-50/algo-1", 400.0), ("runs-2", "runs-2/algo-1", 800.0)] {
        ledger.observe_host(HostUtilisation { job: job.into(), host: host.to_owned(), at: minute(NOW), gpu_percent });
    }
    ledger
}

fn with_inputs<R>(judge: impl FnOnce(&Inputs<'_>) -> R) -> R {
    let ledger = ledger();
    // One estimate is in the past: a start that is overdue is expected now.
    let expected: BTreeMap<JobId, Timestamp> =
        [("waits-30", 130), ("waits-60", 97), ("runs-50", 140)].map(|(id, at)| (id.into(), minute(at))).into();
    judge(&Inputs {
        now: minute(NOW),
        queues: &[],
        ledger: &ledger,
        fronts: &BTreeMap::new(),
        prices: &BTreeMap::new(),
        reserved: &[],
        sources: &[],
        expected_starts: &expected,
        forecasts: &[],
    })
}

/// Values of a metric by job, of jobs that have one.
fn values(metric: &'static Metric) -> Vec<(String, f64)> {
    let wanted = Wanted { of_every_job: [metric.name].into(), ..Wanted::default() };
    with_inputs(|inputs| samples(inputs, &wanted))
        .into_iter()
        .filter(|sample| *sample.metric.name == *metric.name)
        .map(|sample| match sample.value {
            Value::Gauge(value) => (sample.labels.get("job").unwrap().to_string(), value),
            Value::Counter(_) | Value::Distribution(_) => panic!("{} is a gauge", metric.name),
        })
        .collect()
}

#[test]
fn each_metric_has_the_value_of_its_job() {
    let check = |metric: &'static Metric, expected: &[(&str, f64)]| {
        let mut values = values(metric);
        values.retain(|(_, value)| *value != 0.0);
        let expected: Vec<_> = expected.iter().map(|(job, value)| ((*job).to_owned(), *value)).collect();
        assert_eq!(values, expected, "{}", metric.name);
    };
    // Oldest submission first.
    check(&JOB_WAITING_AGE, &[("waits-60", 3_600.0), ("waits-30", 1_800.0), ("waits-5", 300.0)]);
    check(&JOB_SCHEDULED_AGE, &[("scheduled", 480.0)]);
    check(&JOB_RUNNING_AGE, &[("runs-50", 3_000.0), ("runs-2", 120.0)]);
    // Expected starts less the begin of the wait; that of waits-60 was due, so it is now.
    check(&JOB_START_ESTIMATE, &[("waits-60", 3_600.0), ("waits-30", 3_600.0)]);
    // Expected starts less the time of the tag, minute 90.
    check(&JOB_START_LATE, &[("waits-60", 600.0), ("waits-30", 2_400.0)]);
    check(&JOB_PREEMPTED, &[("starting", 2.0), ("waits-30", 1.0)]);
    // 400 of 800 percent; the other one has not run for the grace period.
    check(&JOB_GPU_UTILISATION, &[("runs-50", 0.5)]);
    let late = values(&JOB_START_LATE);
    let of = |job: &str| late.iter().find(|(other, _)| other == job).map(|(_, value)| *value);
    assert_eq!((of("waits-5"), of("runs-2")), (None, Some(0.0)), "unknown, and not late any more");
    assert_eq!(
        values(&JOB_START_ESTIMATE).iter().filter(|(_, value)| *value == 0.0).count(),
        4,
        "those that do not wait"
    );
    assert_eq!(values(&JOB_WAITING_AGE).len(), 7, "an ended job has none");
}

#[test]
fn samples_have_the_labels_of_their_job() {
    let wanted =
        Wanted { metrics: [JOB_WAITING_AGE.name].into(), jobs: ["waits-60", "ended", "x"].into(), ..Wanted::default() };
    let samples = with_inputs(|inputs| samples(inputs, &wanted));
    let [sample] = samples.as_slice() else { panic!("only one of these jobs is open: {samples:?}") };
    let pairs: Vec<_> = sample.labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect();
    let expected =
        [("job", "waits-60"), ("name", "name-waits-60"), ("owner", "bob"), ("queue", "test"), ("share", "vision")];
    assert_eq!(pairs, expected.map(|(label, value)| (label.to_owned(), value.to_owned())));
}

const METRICS: [&Metric; 7] = [
    &JOB_WAITING_AGE,
    &JOB_SCHEDULED_AGE,
    &JOB_RUNNING_AGE,
    &JOB_START_ESTIMATE,
    &JOB_START_LATE,
    &JOB_PREEMPTED,
    &JOB_GPU_UTILISATION,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Only some jobs are looked at; the others are those for which no condition can hold.
    #[test]
    fn a_selection_finds_what_a_look_at_every_open_job_finds(
        tests in prop::collection::vec((0_usize..7, any::<bool>(), 0_usize..6, 0_usize..12), 1..4),
        all: bool,
    ) {
        let filters: Vec<Vec<(Label, String)>> = [
            None, None, None, None, None,
            Some(("queue", "prod")), Some(("share", "")), Some(("owner", "ann")), Some(("name", "name-waits-30")),
            Some(("job", "runs-50")), Some(("owner", "")), Some(("state", "x")),
        ]
        .map(|filter| filter.into_iter().map(|(label, value)| (label, value.to_owned())).collect())
        .into();
        let tests: Vec<Test<'_>> = tests
            .iter()
            .map(|(metric, above, threshold, filter)| {
                let threshold = [-1.0, 0.0, 0.4, 120.0, 1_800.0, 3_599.0][*threshold];
                let limit = if *above { Limit::Above(threshold) } else { Limit::Below(threshold) };
                Test { metric: METRICS[*metric], limit, filters: &filters[*filter], matches: |pattern, text| pattern == text }
            })
            .collect();
        let names = METRICS.map(|metric| metric.name).into();
        let every = with_inputs(|inputs| samples(inputs, &Wanted { of_every_job: names, ..Wanted::default() }));
        let label = |sample: &Sample, label: &str| sample.labels.get(label).map(ToString::to_string).unwrap_or_default();
        let open: BTreeSet<String> = every.iter().map(|sample| label(sample, "job")).collect();
        let holds = |job: &str, test: &Test<'_>| {
            every.iter().any(|sample| {
                let passes = |(of, text): &(Label, String)| match *of {
                    "share" => text.is_empty() == ["(none)", "", "no share"].contains(&label(sample, "share").as_str()),
                    of => label(sample, of) == *text,
                };
                let value = match (&sample.value, test.limit) {
                    (Value::Gauge(value), Limit::Above(limit)) => *value > limit,
                    (Value::Gauge(value), Limit::Below(limit)) => *value < limit,
                    (Value::Counter(_) | Value::Distribution(_), _) => false,
                };
                label(sample, "job") == job && *sample.metric.name == *test.metric.name && value
                    && test.filters.iter().all(passes)
            })
        };
        let expected: BTreeSet<String> = open
            .into_iter()
            .filter(|job| if all { tests.iter().all(|test| holds(job, test)) } else { tests.iter().any(|test| holds(job, test)) })
            .collect();
        let selections = vec![Selection { tests: tests.clone(), all }];
        let wanted = Wanted { metrics: [JOB_WAITING_AGE.name].into(), selections, ..Wanted::default() };
        let found: BTreeSet<String> =
            with_inputs(|inputs| samples(inputs, &wanted)).iter().map(|sample| label(sample, "job")).collect();
        prop_assert_eq!(found, expected, "{:?}", tests);
    }
}
