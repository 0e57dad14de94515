//! Ages, events over restarts, and limits.

use super::*;
use crate::derive::{Labels, Sample, Value};
use crate::model::{Demand, JobDetails, JobSeen, JobStatus, Policy, QuotaShare, Sharing, StoppedAttempt};

fn second(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn engine(saved: Saved) -> Engine {
    let every = Duration::from_secs(30);
    Engine::new(Vec::new(), cadence(every * 30, every), saved, second(0))
}

fn topology() -> Observation {
    let queue = Queue {
        name: "prod".into(),
        arn: String::new(),
        enabled: true,
        status_reason: None,
        has_time_limit: true,
        policy: Policy::Fifo,
        environment: None,
    };
    Observation::Topology { at: second(0), queues: vec![queue] }
}

fn answered(at: i64) -> Observation {
    Observation::Answered { source: Source::Jobs, queue: Some("prod".into()), at: second(at) }
}

/// A job that was created at 10 s and dispatched at 70 s.
fn dispatched() -> Observation {
    Observation::Jobs { at: second(80), jobs: vec![scheduled_at(70)] }
}

fn scheduled_at(scheduled: i64) -> JobSeen {
    JobSeen {
        id: "job-1".into(),
        name: "train".into(),
        queue: "prod".into(),
        share: None,
        status: JobStatus::Scheduled,
        status_reason: None,
        created_at: second(10),
        scheduled_at: Some(second(scheduled)),
        started_at: None,
        stopped_at: None,
        demand: Demand::default(),
        training_job: None,
        odd_arn: None,
        terminated: false,
        details: None,
    }
}

/// What an engine leaves to the next one.
fn saved(output: Output) -> Saved {
    Saved {
        series: output.series,
        events: output.events,
        jobs: output.jobs,
        counted_until: Some(output.counted_until),
        ..Saved::default()
    }
}

/// The value of a series, by metric and one label; for a distribution how many values it has had.
fn value(output: &Output, metric: &str, label: &str) -> Option<f64> {
    let has = |labels: &Labels| labels.values().any(|value| **value == *label);
    let sample = output.frame.samples.iter().find(|sample| sample.metric.name == metric && has(&sample.labels))?;
    Some(match &sample.value {
        Value::Gauge(value) | Value::Counter(value) => *value,
        Value::Distribution(distribution) => distribution.count as f64,
    })
}

#[test]
fn a_description_that_failed_makes_the_lists_no_older() {
    let mut engine = engine(Saved::default());
    let error = "throttled".to_owned();
    let failed = Observation::Failed { source: Source::Jobs, queue: None, at: second(95), error };
    engine.observe(vec![topology(), answered(90), failed]);
    let output = engine.tick(second(100));
    assert_eq!(value(&output, "source.age", "jobs"), Some(10.0));
    assert_eq!(value(&output, "source.failures", "jobs"), Some(1.0));
}

#[test]
fn a_list_that_failed_ages_and_is_named() {
    let mut engine = engine(Saved::default());
    let error = "throttled".to_owned();
    let failed = Observation::Failed { source: Source::Jobs, queue: Some("prod".into()), at: second(95), error };
    engine.observe(vec![topology(), answered(30), failed]);
    let output = engine.tick(second(100));
    assert_eq!(value(&output, "source.age", "jobs"), Some(70.0));
    let health = output.frame.sources.iter().find(|health| health.source == Source::Jobs).unwrap();
    assert!(health.failing.contains("prod"), "{health:?}");
}

#[test]
fn an_event_is_counted_once_a_poll_has_covered_it_and_never_again_after_a_restart() {
    let mut first = engine(Saved::default());
    let known = Observation::Answered { source: Source::Topology, queue: None, at: second(0) };
    first.observe(vec![topology(), known, dispatched(), answered(60)]);
    let output = first.tick(second(90));
    assert_eq!(value(&output, "queue.wait", "prod"), Some(0.0), "the last complete poll began before the dispatch");
    first.observe(vec![answered(90)]);
    let output = first.tick(second(120));
    assert_eq!(value(&output, "queue.wait", "prod"), Some(1.0));

    let saved = Saved {
        alerts: output.alerts,
        series: output.series,
        jobs: output.jobs,
        events: output.events,
        ticked_at: Some(second(120)),
        counted_until: Some(output.counted_until),
        open_since: Some(output.open_since),
    };
    let mut second_run = engine(saved);
    assert_eq!(second_run.questions(second(150)).since, Some(second(9)), "the job may have ended meanwhile");
    second_run.observe(vec![topology(), dispatched(), answered(150)]);
    let again = second_run.tick(second(160));
    assert_eq!(value(&again, "queue.wait", "prod"), Some(1.0));
    let last_hour = |sample: &Sample| match &sample.value {
        Value::Distribution(distribution) => distribution.recent.map(|recent| recent.count),
        Value::Gauge(_) | Value::Counter(_) => None,
    };
    let waits = again.frame.samples.iter().filter(|sample| sample.metric.name == "queue.wait");
    assert_eq!(waits.filter_map(last_hour).collect::<Vec<_>>(), [1], "the last hour goes on, too");
    assert_eq!(again.frame.waits[0].seconds.count, 1);
    assert!(again.events.is_empty(), "nothing is kept twice");
}

#[test]
fn a_job_that_went_back_to_the_queue_during_a_restart_has_had_its_first_wait() {
    let mut first = engine(Saved::default());
    let known = Observation::Answered { source: Source::Topology, queue: None, at: second(0) };
    first.observe(vec![topology(), known, dispatched(), answered(90)]);
    let output = first.tick(second(100));
    // Killed once more before it has seen the job.
    let again = saved(engine(saved(output)).tick(second(110)));
    let mut last = engine(again);
    let job = JobSeen { details: Some(Box::default()), ..scheduled_at(140) };
    last.observe(vec![topology(), Observation::Jobs { at: second(150), jobs: vec![job] }, answered(160)]);
    let output = last.tick(second(170));
    assert_eq!(value(&output, "queue.wait", "prod"), Some(1.0));
    assert_eq!(value(&output, "queue.wait.requeue", "prod"), Some(1.0));
}

#[test]
fn an_end_that_was_seen_before_a_restart_and_told_exactly_after_it_is_counted() {
    let job = |status, details: Option<JobDetails>, at| {
        let job = JobSeen { status, started_at: Some(second(75)), details: details.map(Box::new), ..scheduled_at(70) };
        Observation::Jobs { at: second(at), jobs: vec![job] }
    };
    let known = Observation::Answered { source: Source::Topology, queue: None, at: second(0) };
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known, job(JobStatus::Running, Some(JobDetails::default()), 80), answered(90)]);
    first.observe(vec![job(JobStatus::Runnable, None, 130), answered(125)]);
    let output = first.tick(second(140));
    assert_eq!((value(&output, "job.run", "prod"), output.counted_until), (Some(0.0), second(80)));

    let mut last = engine(saved(output));
    let stopped = StoppedAttempt { started_at: Some(second(75)), stopped_at: Some(second(120)), status_reason: None };
    let details = JobDetails { preemptions: 1, preempted: vec![stopped], ..JobDetails::default() };
    last.observe(vec![topology(), job(JobStatus::Runnable, Some(details), 150), answered(145)]);
    let output = last.tick(second(160));
    let counts = ["queue.wait", "job.run", "job.preemptions"].map(|metric| value(&output, metric, "prod"));
    assert_eq!(counts, [Some(1.0); 3]);
}

#[test]
fn a_job_that_ended_after_the_last_poll_began_is_found_again_after_a_restart() {
    let job = |status, stopped, at| {
        let job = JobSeen { status, stopped_at: Some(second(stopped)), ..scheduled_at(70) };
        Observation::Jobs { at: second(at), jobs: vec![job] }
    };
    let known = Observation::Answered { source: Source::Topology, queue: None, at: second(0) };
    let mut first = engine(Saved::default());
    first.observe(vec![topology(), known, dispatched(), answered(90), job(JobStatus::Succeeded, 95, 100)]);
    let output = first.tick(second(100));
    assert_eq!((output.counted_until, output.open_since), (second(90), second(10)));
    first.observe(vec![answered(120)]);
    let output = first.tick(second(130));
    assert_eq!(output.open_since, second(120), "now it is counted");
}

#[test]
fn unknown_values_are_counted_one_by_one_up_to_a_limit() {
    let mut engine = engine(Saved::default());
    let unknown = |number| Observation::UnknownValue { kind: "job_status", value: format!("S{number}") };
    engine.observe((0..60).map(unknown).collect());
    let output = engine.tick(second(1));
    assert_eq!(value(&output, "source.unknown_values", "S0"), Some(1.0));
    assert_eq!(value(&output, "source.unknown_values", "other"), Some(10.0));
}

/// A page of jobs that wait, one for each share.
fn page(shares: impl Iterator<Item = usize>, status: &JobStatus, at: i64) -> Observation {
    let job = |share: usize| JobSeen {
        id: format!("job-{share}").as_str().into(),
        share: Some(format!("user-{share:03}").as_str().into()),
        status: status.clone(),
        scheduled_at: None,
        stopped_at: status.is_ended().then(|| second(at)),
        ..scheduled_at(0)
    };
    Observation::Jobs { at: second(at), jobs: shares.map(job).collect() }
}

#[test]
fn shares_beyond_the_limit_are_told_of_together_and_sums_stay_right() {
    let shown = |shares: &[&str], most| {
        let show = shares.iter().map(|glob| (*glob).to_owned()).collect();
        let mut engine = engine(Saved::default()).showing(SharesShown { show, most });
        let known = Observation::Answered { source: Source::Topology, queue: None, at: second(0) };
        engine.observe(vec![topology(), known]);
        engine
    };
    // How many jobs wait in each share.
    let waiting = |output: &Output| -> BTreeMap<String, f64> {
        let jobs = output.frame.samples.iter().filter(|sample| sample.metric.name == "queue.jobs");
        let runnable = jobs.filter(|sample| sample.labels.get("state").is_some_and(|state| **state == *"runnable"));
        let value = |sample: &Sample| match sample.value {
            Value::Gauge(value) => (sample.labels.get("share").unwrap().to_string(), value),
            Value::Counter(_) | Value::Distribution(_) => panic!("{sample:?}"),
        };
        runnable.map(value).filter(|(_, value)| *value > 0.0).collect()
    };
    let mut limited = shown(&["*"], 3);
    limited.observe(vec![page(0..50, &JobStatus::Runnable, 20), answered(20)]);
    let output = limited.tick(second(20));
    let expected = [("other", 47.0), ("user-000", 1.0), ("user-001", 1.0), ("user-002", 1.0)];
    assert_eq!(waiting(&output), expected.map(|(share, jobs)| (share.to_owned(), jobs)).into());
    assert_eq!(value(&output, "limit.hits", "shares"), Some(47.0));
    // Two of those that are told of by themselves end: others take their places, and their series are gone.
    limited.observe(vec![page(0..2, &JobStatus::Failed, 30), answered(40)]);
    limited.tick(second(40));
    limited.observe(vec![page(2..50, &JobStatus::Runnable, 50), answered(50)]);
    let output = limited.tick(second(50));
    let told = waiting(&output);
    assert_eq!((told.len(), told.values().sum::<f64>(), told["other"]), (4, 48.0, 45.0));
    assert_eq!(value(&output, "job.ended", "user-000"), None);
    assert_eq!(value(&output, "limit.hits", "shares"), Some(47.0), "once for a job");

    let mut listed = shown(&["user-00*"], 200);
    listed.observe(vec![page(0..50, &JobStatus::Runnable, 20), answered(20)]);
    let output = listed.tick(second(20));
    assert_eq!((waiting(&output).len(), waiting(&output)["other"]), (11, 40.0));
    assert_eq!(value(&output, "limit.hits", "shares").unwrap_or_default(), 0.0, "that is how it was wanted");
}

#[test]
fn quota_shares_have_series_of_their_own_whatever_the_limit() {
    let mut engine = engine(Saved::default()).showing(SharesShown { show: Vec::new(), most: 1 });
    let Observation::Topology { at, mut queues } = topology() else { panic!("no topology") };
    let quota = |share: usize| QuotaShare {
        name: format!("user-{share:03}").as_str().into(),
        limits: Vec::new(),
        sharing: Sharing::Reserve,
        in_share_preemption: false,
        enabled: true,
    };
    queues[0].policy = Policy::QuotaShares((0..3).map(quota).collect());
    engine.observe(vec![Observation::Topology { at, queues }, page(0..5, &JobStatus::Runnable, 20), answered(20)]);
    let output = engine.tick(second(20));
    let shares = output.frame.samples.iter().filter(|sample| sample.metric.name == "queue.wait.oldest");
    let shares: Vec<String> = shares.map(|sample| sample.labels.get("share").unwrap().to_string()).collect();
    assert_eq!(shares, ["other", "user-000", "user-001", "user-002"]);
}
