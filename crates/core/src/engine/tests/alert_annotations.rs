//! Annotations about the jobs behind an alert.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Engine, Saved, cadence};
use crate::jobs::FailureCategory;
use crate::metrics::Notes;
use crate::model::{
    Capacity, HostUtilisation, JobDetails, JobSeen, JobStatus, Observation, Policy, Queue, ServiceEnvironment, Source,
    Timestamp,
};
use crate::rules::parse_rules;

const TYPE: &str = "ml.p5.48xlarge";

const RULES: &str = "
rules:
  - alert: NeverFits
    by: [queue]
    any:
      - { metric: queue.waiting, where: { reason: exceeds_share }, above: 0 }
      - { metric: queue.waiting, where: { reason: misconfigured }, above: 0 }
    annotations: { summary: x }
  - { alert: OneWaits, metric: job.waiting.age, by: [queue, job], above: 1m, annotations: { summary: x } }
  - { alert: LongWait, metric: queue.wait.oldest, by: [queue], above: 1m, annotations: { summary: x } }
  - { alert: Many, metric: queue.jobs, where: { state: runnable }, by: [queue], fold: sum, above: 1, annotations: { summary: x } }
  - { alert: Own, metric: queue.wait.oldest, by: [queue], above: 1m, annotations: { summary: x, jobs: mine, next_step: none } }
";

fn minute(minutes: u64) -> Timestamp {
    Timestamp::default() + Duration::from_secs(60 * minutes)
}

fn job(id: &str, created: u64, status: JobStatus, instances: f64, owner: Option<&str>) -> JobSeen {
    JobSeen {
        name: format!("train-{id}").into(),
        scheduled_at: status.is_in_flight().then_some(minute(created)),
        started_at: (status == JobStatus::Running).then_some(minute(created)),
        demand: vec![Capacity::new(TYPE, instances)].into(),
        details: Some(Box::new(JobDetails { owner: owner.map(Into::into), ..JobDetails::default() })),
        ..JobSeen::new(id, "prod", status, minute(created))
    }
}

/// Annotations of the alerts that fired, by rule and job.
fn fired(jobs: Vec<JobSeen>) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut engine = engine(jobs);
    let transitions = engine.tick(minute(100)).transitions.into_iter();
    let key = |job: Option<&String>, rule: &str| job.map_or(rule.to_owned(), |job| format!("{rule} {job}"));
    transitions.map(|one| (key(one.alert.by.get("job"), &one.alert.rule), one.alert.annotations)).collect()
}

/// An engine with these jobs.
fn engine(jobs: Vec<JobSeen>) -> Engine {
    let (every, now) = (Duration::from_secs(30), minute(100));
    let rules = parse_rules("rules.yaml", RULES).unwrap();
    let mut engine = Engine::new(rules, cadence(every * 30, every), Saved::default(), minute(0));
    let limits = vec![Capacity::new(TYPE, 4.0)];
    let queue =
        Queue::new("prod", Policy::Fifo, Some(ServiceEnvironment { name: "gpus".to_owned(), enabled: true, limits }));
    engine.observe(vec![
        Observation::Topology { at: now, queues: vec![queue] },
        Observation::Jobs { at: now, answered_at: now, jobs },
        Observation::Answered { source: Source::Topology, queue: None, at: now },
        Observation::Answered { source: Source::Jobs, queue: Some("prod".into()), at: now },
    ]);
    engine
}

#[test]
fn an_alert_carries_the_reason_that_it_is_about_and_names_the_jobs_that_matter() {
    use JobStatus::{Runnable, Running};
    let fired = fired(vec![
        job("busy", 1, Running, 4.0, None),
        job("a", 20, Runnable, 2.0, Some("ada")),
        job("b", 30, Runnable, 2.0, None),
        job("large", 40, Runnable, 8.0, Some("bob")),
        job("c", 50, Runnable, 2.0, None),
    ]);
    let of = |alert: &str, annotation: &str| fired[alert].get(annotation).map(String::as_str);

    // Three of four wait for capacity; a rule about the fourth gives another reason.
    assert_eq!(
        of("NeverFits", "likely_reason"),
        Some("1 of 4 waiting jobs waits with a request larger than the share can ever use")
    );
    assert_eq!(
        of("NeverFits", "next_step"),
        Some("ask for fewer instances, or raise the share's quota or borrow limit")
    );
    let large = "train-large (large) of bob has waited 1h with a request larger than the share can ever use";
    assert_eq!(of("NeverFits", "jobs"), Some(large));

    // A job's alert has the job's own reason, with its numbers.
    assert!(of("OneWaits large", "likely_reason").unwrap().starts_with("It requests 8 ml.p5.48xlarge"), "{fired:?}");
    assert!(of("OneWaits large", "next_step").unwrap().starts_with("ask for fewer instances"));
    assert!(of("OneWaits a", "likely_reason").unwrap().starts_with("It requests 2 ml.p5.48xlarge; of the 4"));
    assert_eq!(of("OneWaits a", "jobs"), None);

    // For a queue the three longest-waiting jobs are named.
    let jobs = "train-a (a) of ada has waited 1h 20m with all capacity in use; \
                train-b (b) has waited 1h 10m with all capacity in use; \
                train-large (large) of bob has waited 1h with a request larger than the share can ever use";
    assert_eq!(of("LongWait", "jobs"), Some(jobs));
    assert_eq!(of("Many", "jobs"), Some(jobs));
    assert_eq!(of("Many", "likely_reason"), Some("3 of 4 waiting jobs wait with all capacity in use"));

    // Annotations of the rule itself take precedence.
    assert_eq!((of("Own", "jobs"), of("Own", "next_step")), (Some("mine"), Some("none")));
}

#[test]
fn the_longest_wait_is_explained_by_its_own_reason() {
    let waiting = |id, created| job(id, created, JobStatus::Runnable, 2.0, None);
    let fired = fired(vec![
        job("busy", 1, JobStatus::Running, 4.0, None),
        job("large", 10, JobStatus::Runnable, 8.0, Some("bob")),
        waiting("a", 20),
        waiting("b", 30),
    ]);
    assert_eq!(
        fired["LongWait"]["likely_reason"],
        "the longest-waiting job waits with a request larger than the share can ever use; \
         2 of 3 waiting jobs wait with all capacity in use"
    );
    assert!(fired["LongWait"]["next_step"].starts_with("ask for fewer instances"));
}

#[test]
fn of_jobs_that_failed_the_latest_are_named_with_whose_business_it_is() {
    let failed = |id: &str, ended: u64, reason: &str, owner| JobSeen {
        stopped_at: Some(minute(ended)),
        scheduled_at: Some(minute(10)),
        started_at: Some(minute(10)),
        status_reason: Some(reason.into()),
        ..job(id, 5, JobStatus::Failed, 1.0, owner)
    };
    let code = "Received status from SageMaker: AlgorithmError: ExecuteUserScriptError: ExitCode 1";
    let sagemaker = "Received status from SageMaker: InternalServerError: We encountered an internal error.";
    let engine = engine(vec![
        failed("long-ago", 30, code, None),
        failed("a", 60, code, None),
        failed("b", 70, sagemaker, Some("ada")),
        failed("c", 95, code, None),
        failed("d", 80, code, Some("bob")),
        job("runs", 20, JobStatus::Running, 1.0, None),
    ]);
    let notes = Notes::new(engine.facts.inputs(minute(100), &[]));
    let [own, theirs] = [FailureCategory::UserCode, FailureCategory::SagemakerInternal].map(FailureCategory::words);
    let expected = [
        format!("train-c (c) failed 5m ago: {own}"),
        format!("train-d (d) of bob failed 20m ago: {own}"),
        format!("train-b (b) of ada failed 30m ago: {theirs}"),
    ];
    assert_eq!(notes.failed("prod", None), expected);
    assert_eq!(notes.failed("prod", Some("")), expected);
    assert_eq!(notes.failed("prod", Some("vision")), [""; 0]);
    assert_eq!(notes.failed("other", None), [""; 0]);
}

#[test]
fn of_jobs_that_leave_gpus_idle_those_with_most_are_named() {
    let running = |id: &str, instances, owner| job(id, 20, JobStatus::Running, instances, owner);
    let mut engine = engine(vec![
        running("one", 1.0, None),
        running("two", 2.0, Some("ada")),
        running("busy", 1.0, None),
        job("waits", 20, JobStatus::Runnable, 2.0, None),
    ]);
    let host = |job: &str, number: u32, gpu_percent| HostUtilisation {
        job: job.into(),
        host: format!("{job}/algo-{number}"),
        at: minute(99),
        gpu_percent,
    };
    let hosts = vec![host("one", 1, 0.0), host("two", 1, 0.0), host("two", 2, 8.0), host("busy", 1, 700.0)];
    engine.observe(vec![Observation::Utilisation { at: minute(100), hosts }]);
    let notes = Notes::new(engine.facts.inputs(minute(100), &[]));
    let expected = [
        "train-two (two) of ada leaves 16 GPUs idle and has run 1h 20m",
        "train-one (one) leaves 8 GPUs idle and has run 1h 20m",
    ];
    assert_eq!(notes.idle("prod", None), expected);
    assert_eq!(notes.idle("prod", Some("vision")), [""; 0]);
    assert_eq!(notes.idle("other", None), [""; 0]);
}
