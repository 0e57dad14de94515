//! Figures of a single job: its story, its time limit, and what it used.

use std::time::Duration;

use crate::engine::tests::fixture::{engine, job, minute, observations};
use crate::model::{JobId, JobSeen, JobStatus, Observation, Position, QueueSnapshot, TimeLimit};

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
    let snapshot = |since: u64| {
        let job_arn = "arn:aws:batch:us-east-1:1:service-job/first".to_owned();
        let front = vec![Position { job_arn, since: Some(minute(since)) }];
        let queue = Some("prod".into());
        Observation::Snapshot(QueueSnapshot { queue, at: minute(100), front, ..QueueSnapshot::default() })
    };
    all.push(snapshot(70));
    engine.observe(all);
    engine.tick(minute(100));
    let at = |id: &str| engine.time_limit_at(&id.into());
    assert_eq!(at("starved"), Some(minute(10 + 120)), "from when it began to wait, by the shortest limit");
    assert_eq!(at("first"), Some(minute(70 + 120)), "from when it came to its place");
    for id in ["other", "silent", "ended", "nobody"] {
        assert_eq!(at(id), None, "{id}");
    }
    engine.observe(vec![snapshot(100_000)]);
    let first = engine.time_limit_at(&"first".into());
    assert_eq!(first, Some(minute(10 + 120)), "it cannot have come to its place after the snapshot");
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
