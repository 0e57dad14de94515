//! Figures of single jobs and of their shares.

use std::time::Duration;

use super::{Engine, Saved, cadence};
use crate::forecast::Hypothetical;
use crate::metrics::{Sample, Value};
use crate::model::{
    Capacity, JobDetails, JobId, JobSeen, JobStatus, Observation, Policy, Position, Queue, QueueSnapshot, QuotaShare,
    Reserved, ReservedKind, ServiceEnvironment, Sharing, Source, TimeLimit, Timestamp, WeightedShare,
};

const TYPE: &str = "ml.p5.48xlarge";

pub(in crate::engine) fn minute(minutes: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(60 * minutes)
}

pub(in crate::engine) fn job(id: &str, status: JobStatus, dispatched: Option<u64>, ended: Option<u64>) -> JobSeen {
    JobSeen {
        name: format!("train-{id}").into(),
        share: Some("LOWPRI".into()),
        scheduled_at: dispatched.map(minute),
        started_at: dispatched.filter(|_| status != JobStatus::Scheduled).map(minute),
        stopped_at: ended.map(minute),
        demand: vec![Capacity::new(TYPE, 1.0)].into(),
        details: Some(Box::new(JobDetails::default())),
        ..JobSeen::new(id, "prod", status, minute(10))
    }
}

pub(in crate::engine) fn engine() -> Engine {
    let every = Duration::from_secs(30);
    Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), minute(0))
}

pub(in crate::engine) fn observations(now: Timestamp, jobs: Vec<JobSeen>) -> Vec<Observation> {
    let entry = |share: &str, weight| WeightedShare { share: share.into(), weight };
    let queue = Queue::new(
        "prod",
        Policy::FairShare {
            shares: vec![entry("HIGHPRI", 1.0), entry("LOWPRI", 4.0), entry("MIDPRI", 2.0), entry("team-*", 8.0)],
            decay: Duration::ZERO,
            reservation: 0,
        },
        Some(ServiceEnvironment {
            name: "gpus".to_owned(),
            enabled: true,
            limits: vec![Capacity::new("NUM_INSTANCES", 4.0)],
        }),
    );
    vec![
        Observation::Topology { at: now, queues: vec![queue] },
        Observation::Jobs { at: now, answered_at: now, jobs },
        Observation::Answered { source: Source::Topology, queue: None, at: now },
        Observation::Answered { source: Source::Jobs, queue: Some("prod".into()), at: now },
    ]
}

#[test]
fn a_job_that_runs_or_has_ended_has_a_story() {
    let mut engine = engine();
    let reason = |job: JobSeen, reason: &str| JobSeen { status_reason: Some(reason.into()), ..job };
    engine.observe(observations(
        minute(100),
        vec![
            job("runs", JobStatus::Running, Some(40), None),
            job("starts", JobStatus::Scheduled, Some(40), None),
            job("done", JobStatus::Succeeded, Some(40), Some(90)),
            reason(
                job("failed", JobStatus::Failed, Some(40), Some(90)),
                "Received status from SageMaker: AlgorithmError: NCCL timeout",
            ),
            job("cancelled", JobStatus::Failed, None, Some(90)),
            job("waits", JobStatus::Runnable, None, None),
        ],
    ));
    engine.tick(minute(100));
    let why = |id: &str| engine.why(&JobId::from(id), minute(100));
    let story = |id: &str| engine.story(&JobId::from(id), why(id).as_ref(), minute(100));
    let waited = "It waited 30m before it was dispatched.";
    assert_eq!(story("runs"), ["It has run 1h on 8 GPUs, since 1970-01-01T00:40:00Z.", waited]);
    assert_eq!(story("starts")[1], waited);
    assert!(story("starts")[0].ends_with("and SageMaker is looking for its instances."), "{:?}", story("starts"));
    assert_eq!(story("done"), ["It succeeded 10m ago, at 1970-01-01T01:30:00Z, after it had run 50m.", waited]);
    assert_eq!(
        story("failed"),
        [
            "It failed 10m ago, at 1970-01-01T01:30:00Z, after it had run 50m: its own code failed.",
            waited,
            "Next: read the job's log; the page of its training job in the SageMaker console links to it.",
        ]
    );
    assert!(story("cancelled")[0].contains("before it was dispatched"), "{:?}", story("cancelled"));
    assert_eq!(story("cancelled")[1], "It waited 1h 20m.");
    assert!(story("waits").last().unwrap().starts_with("Next: "), "{:?}", story("waits"));
    assert_eq!(story("nobody"), [""; 0]);

    let whys = engine.whys(&["waits", "runs"].map(JobId::from), minute(100));
    let [Some(why), None] = whys.as_slice() else { panic!("{whys:?}") };
    assert_eq!(why.position, None);
    assert_eq!(Some(why.reason), engine.why(&"waits".into(), minute(100)).map(|why| why.reason));
}

#[test]
fn all_shares_are_listed_and_demand_is_zero_when_nothing_waits() {
    let mut engine = engine();
    let demand = |engine: &mut Engine, minutes| {
        let frame = engine.tick(minute(minutes)).frame;
        let shares: Vec<_> = frame.shares.iter().map(|row| (row.share.to_string(), row.used, row.weight)).collect();
        let expected = [("HIGHPRI", 0.0, 1.0), ("LOWPRI", 0.0, 4.0), ("MIDPRI", 0.0, 2.0)];
        assert_eq!(shares, expected.map(|(share, used, weight)| (share.to_owned(), used, Some(weight))));
        let samples = frame.samples.iter().filter(|sample| sample.metric.name == "queue.demand");
        samples.map(|sample| sample.value.clone()).collect::<Vec<_>>()
    };
    engine.observe(observations(minute(20), vec![job("a", JobStatus::Runnable, None, None)]));
    assert_eq!(demand(&mut engine, 20), [Value::Gauge(8.0)]);
    let other = JobSeen {
        demand: vec![Capacity::new("ml.g5.xlarge", 1.0)].into(),
        ..job("b", JobStatus::Runnable, None, None)
    };
    engine.observe(observations(minute(30), vec![job("a", JobStatus::Failed, None, Some(30)), other]));
    assert_eq!(demand(&mut engine, 30), [Value::Gauge(1.0), Value::Gauge(0.0)]);
}

#[test]
fn a_time_limit_of_the_queue_shows_when_a_waiting_job_will_end() {
    let mut engine = engine();
    let because = |id: &str, status: JobStatus, reason: Option<&str>| JobSeen {
        status_reason: reason.map(Into::into),
        ..job(id, status, None, None)
    };
    let capacity = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none";
    let mut all = observations(
        minute(100),
        vec![
            because("starved", JobStatus::Runnable, Some(capacity)),
            because("first", JobStatus::Runnable, Some(capacity)),
            because("other", JobStatus::Runnable, Some("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT")),
            because("silent", JobStatus::Runnable, None),
            because("ended", JobStatus::Failed, Some(capacity)),
        ],
    );
    let Observation::Topology { queues, .. } = &mut all[0] else { panic!() };
    let limit =
        |reason: &str, minutes: u64| TimeLimit { reason: reason.to_owned(), after: Duration::from_secs(60 * minutes) };
    queues[0].time_limits = vec![limit("CAPACITY:", 300), limit("CAPACITY:INSUFFICIENT", 120)];
    let place = Position { job_arn: "arn:aws:batch:us-east-1:1:service-job/first".to_owned(), since: Some(minute(70)) };
    all.push(Observation::Snapshot(QueueSnapshot {
        queue: Some("prod".into()),
        at: minute(100),
        front: vec![place],
        ..QueueSnapshot::default()
    }));
    engine.observe(all);
    engine.tick(minute(100));
    let at = |id: &str| engine.time_limit_at(&id.into());
    assert_eq!(at("starved"), Some(minute(10 + 120)), "from when it began to wait, by the shortest limit");
    assert_eq!(at("first"), Some(minute(70 + 120)), "from when it came to its place");
    for id in ["other", "silent", "ended", "nobody"] {
        assert_eq!(at(id), None, "{id}");
    }
}

#[test]
fn an_attempt_that_ended_before_its_container_ran_is_kept_and_teaches_no_runtime() {
    let mut engine = engine();
    let failed = JobSeen { started_at: None, ..job("failed", JobStatus::Failed, Some(40), Some(43)) };
    engine.observe(observations(minute(41), vec![job("failed", JobStatus::Scheduled, Some(40), None)]));
    engine.tick(minute(41));
    engine.observe(observations(minute(44), vec![failed]));
    engine.tick(minute(44));
    let (arrivals, attempts, _) = crate::forecast::stored_history(engine.forecast_rows());
    let kept: Vec<_> = attempts.iter().map(|one| (one.job, one.at, one.seconds, one.ended, one.never_ran)).collect();
    assert_eq!(kept, [(arrivals[0].id, minute(40), 180.0, true, true)]);
    assert_eq!(engine.forecast_state(minute(44), None).unwrap().ended, 0);
}

#[test]
fn a_job_for_a_disabled_queue_or_share_is_refused() {
    let asked = Hypothetical {
        queue: "prod".into(),
        share: Some("LOWPRI".into()),
        priority: 0,
        demand: vec![Capacity::new(TYPE, 1.0)].into(),
        name: "train".into(),
        owner: None,
    };
    let said = |change: &dyn Fn(&mut Queue)| {
        let mut engine = engine();
        let mut observations = observations(minute(1), Vec::new());
        if let Some(Observation::Topology { queues, .. }) = observations.first_mut() {
            change(&mut queues[0]);
        }
        engine.observe(observations);
        engine.check_asked(&asked)
    };
    assert_eq!(said(&|_| {}), Ok(()));
    assert_eq!(said(&|queue| queue.enabled = false), Err("queue prod is disabled: it accepts no new jobs".to_owned()));
    let quota = |enabled: bool| QuotaShare {
        name: "LOWPRI".into(),
        enabled,
        limits: vec![Capacity::new("NUM_INSTANCES", 4.0)],
        sharing: Sharing::Reserve,
        in_share_preemption: false,
    };
    assert_eq!(said(&|queue| queue.policy = Policy::QuotaShares(vec![quota(true)])), Ok(()));
    assert_eq!(
        said(&|queue| queue.policy = Policy::QuotaShares(vec![quota(false)])),
        Err("share LOWPRI of queue prod is disabled: it accepts no new jobs".to_owned())
    );
}

#[test]
fn a_training_plan_that_ends_between_two_reads_is_no_longer_reserved() {
    let mut engine = engine();
    let reserved = |name: &str, ends_at| Reserved {
        kind: ReservedKind::TrainingPlan,
        name: name.to_owned(),
        unit: "ml.p5.48xlarge".into(),
        total: Some(2.0),
        in_use: Some(1.0),
        idle: Some(1.0),
        ends_at,
    };
    let all = vec![reserved("ends", Some(minute(10))), reserved("later", Some(minute(99))), reserved("open", None)];
    engine.observe(observations(minute(1), vec![]));
    engine.observe(vec![Observation::Reserved { at: minute(1), all }]);
    for (at, expected) in [(9, 3), (10, 2), (11, 2)] {
        assert_eq!(engine.tick(minute(at)).frame.reserved.len(), expected, "at minute {at}");
    }
}

#[test]
fn the_largest_demand_is_that_of_known_sizes_and_absent_without_any() {
    let largest = |jobs: Vec<JobSeen>| {
        let mut engine = engine();
        engine.observe(observations(minute(20), jobs));
        let samples = engine.tick(minute(20)).frame.samples;
        let of_share = |sample: &&Sample| {
            sample.metric.name == "queue.demand.largest"
                && sample.labels.get("share").is_some_and(|share| **share == *"LOWPRI")
        };
        samples.iter().find(of_share).map(|sample| sample.value.clone())
    };
    let sized = |id: &str| job(id, JobStatus::Runnable, None, None);
    let unsized_job = |id: &str| JobSeen { demand: vec![].into(), ..sized(id) };
    let running = job("r", JobStatus::Running, Some(15), None);
    assert_eq!(largest(vec![running]), Some(Value::Gauge(0.0)), "nothing waits");
    assert_eq!(largest(vec![sized("a")]), Some(Value::Gauge(8.0)));
    assert_eq!(largest(vec![sized("a"), unsized_job("b")]), Some(Value::Gauge(8.0)));
    assert_eq!(largest(vec![unsized_job("b")]), None);
}

#[test]
fn what_a_job_used_is_unknown_if_it_succeeded_and_was_never_seen_running() {
    for (status, started, expected) in [
        (JobStatus::Succeeded, Some(20), Some(600.0)),
        (JobStatus::Succeeded, None, None),
        (JobStatus::Failed, Some(20), Some(600.0)),
        (JobStatus::Failed, None, Some(0.0)),
    ] {
        let mut engine = engine();
        engine.observe(observations(minute(11), vec![job("a", JobStatus::Runnable, None, None)]));
        engine.tick(minute(11));
        let over = JobSeen { started_at: started.map(minute), ..job("a", status.clone(), Some(20), Some(30)) };
        engine.observe(observations(minute(31), vec![over]));
        let ended = engine.tick(minute(31)).ended;
        let [row] = &ended[..] else { panic!("{status:?}: {ended:?}") };
        let lost = expected.map(|ran| if status == JobStatus::Succeeded { 0.0 } else { ran * 8.0 });
        assert_eq!((row.run_seconds, row.lost_gpu_seconds), (expected, lost), "{status:?} {started:?}");
        assert_eq!(row.gpu_seconds.is_some(), expected.is_some(), "{status:?} {started:?}");
    }
}
