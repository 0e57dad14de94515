//! The poller against a scripted endpoint: what is asked, in which order, and what is concluded from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::CallOutcome;
use crate::model::JobId;
use crate::source::fake;

fn job(id: &str, status: &str, created_at: i64) -> Value {
    json!({"jobId": id, "jobArn": format!("arn:{id}"), "jobName": id, "serviceJobType": "SAGEMAKER_TRAINING",
           "status": status, "createdAt": created_at})
}

fn page(jobs: &[Value], next: Option<&str>) -> (u16, Value) {
    match next {
        Some(next) => (200, json!({"jobSummaryList": jobs, "nextToken": next})),
        None => (200, json!({"jobSummaryList": jobs})),
    }
}

fn error(status: u16, code: &str, message: &str) -> (u16, Value) {
    (status, json!({"__type": code, "code": code, "message": message}))
}

/// The status and the page that a ListServiceJobs asks for; the status of arrivals is `ARRIVALS`.
fn asked(body: &Value) -> (String, Option<&str>) {
    let status = body.get("jobStatus").and_then(Value::as_str).unwrap_or("ARRIVALS");
    (status.to_owned(), body.get("nextToken").and_then(Value::as_str))
}

/// Statuses in the order they were asked for.
fn lists(log: &fake::Log) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter().filter(|(operation, _)| operation == "listservicejobs").map(|(_, body)| asked(body).0).collect()
}

/// Observations in short, one word or two each; those of topology and calls are left out.
fn told(observations: &[Observation]) -> Vec<String> {
    observations
        .iter()
        .filter_map(|observation| match observation {
            Observation::Jobs { jobs, .. } => {
                Some(jobs.iter().map(|job| format!("{} {}", job.id, job.status)).collect::<Vec<_>>().join(", "))
            }
            Observation::JobGone { id, .. } => Some(format!("gone {id}")),
            Observation::InFlightListed { queue, .. } => Some(format!("in flight {queue}")),
            Observation::WaitingListed { queue, .. } => Some(format!("waiting {queue}")),
            Observation::Snapshot(_) => Some("snapshot".to_owned()),
            Observation::TrainingJob(seen) => Some(format!("training job {}", seen.name)),
            Observation::Utilisation { hosts, .. } => Some(format!("utilisation of {}", hosts.len())),
            Observation::Answered { source: Source::Topology, .. } => None,
            Observation::Answered { source, .. } => Some(format!("{} answered", source.as_str())),
            Observation::Failed { source, error, .. } => Some(format!("{} failed: {error}", source.as_str())),
            Observation::UnknownValue { kind, value } => Some(format!("unknown {kind} {value}")),
            Observation::Topology { .. } | Observation::Calls(_) => None,
        })
        .collect()
}

fn known(after: i64) -> Questions {
    Questions { created_after: [("q".into(), Timestamp::from_millis(after))].into(), ..Questions::default() }
}

fn sweep(after: i64) -> Questions {
    Questions { sweep: ["q".into()].into(), ..known(after) }
}

/// Polls once, and returns what was told.
async fn poll_once(poller: &mut Poller, questions: &Questions) -> Vec<Observation> {
    let (out, mut from) = fake::channel();
    poller.poll(questions, &out).await;
    fake::received(&mut from)
}

#[tokio::test]
async fn states_are_listed_in_the_order_a_job_passes_through_them() {
    let (endpoint, log) = fake::serve(|operation, body| match fake::one_queue(operation) {
        Some(answer) => (200, answer),
        None => match asked(body) {
            (status, None) if status == "RUNNING" => page(&[job("a", "RUNNING", 10)], Some("2")),
            (status, Some("2")) if status == "RUNNING" => page(&[job("b", "RUNNING", 20)], None),
            (status, None) if status == "RUNNABLE" => page(&[job("c", "RUNNABLE", 30)], None),
            (status, None) if status == "ARRIVALS" => page(&[job("d", "SUCCEEDED", 40)], None),
            _ => page(&[], None),
        },
    })
    .await;
    let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;

    let first = poll_once(&mut poller, &Questions::default()).await;
    assert!(matches!(first.first(), Some(Observation::Topology { queues, .. }) if queues.len() == 1), "{first:?}");
    let expected = [
        "c RUNNABLE",
        "waiting q",
        "a RUNNING",
        "b RUNNING",
        "in flight q",
        "jobs answered",
        "snapshot",
        "snapshot answered",
    ];
    assert_eq!(told(&first), expected);
    assert_eq!(lists(&log), ["SUBMITTED", "PENDING", "RUNNABLE", "SCHEDULED", "STARTING", "RUNNING", "RUNNING"]);

    log.lock().unwrap().clear();
    let second = poll_once(&mut poller, &known(35)).await;
    let expected =
        ["a RUNNING", "b RUNNING", "in flight q", "d SUCCEEDED", "jobs answered", "snapshot", "snapshot answered"];
    assert_eq!(told(&second), expected);
    assert_eq!(lists(&log), ["SUBMITTED", "PENDING", "SCHEDULED", "STARTING", "RUNNING", "RUNNING", "ARRIVALS"]);
    let filter = json!([{"name": "AFTER_CREATED_AT", "values": ["35"]}]);
    assert!(log.lock().unwrap().iter().any(|(_, body)| body.get("filters") == Some(&filter)));

    let Some(Observation::Calls(calls)) = second.last() else { panic!("{second:?}") };
    let counted: Vec<_> = calls.iter().map(|call| (call.service, call.operation, call.outcome, call.count)).collect();
    let expected =
        [("batch", "GetJobQueueSnapshot", CallOutcome::Ok, 1), ("batch", "ListServiceJobs", CallOutcome::Ok, 7)];
    assert_eq!(counted, expected);
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_never_called_complete() {
    let (endpoint, _) = fake::serve(|operation, body| match (operation, asked(body)) {
        ("describejobqueues", _) => {
            let queue = |name: &str| {
                json!({"jobQueueName": name, "jobQueueArn": name, "state": "ENABLED", "priority": 1,
                       "jobQueueType": "SAGEMAKER_TRAINING"})
            };
            (200, json!({"jobQueues": [queue("p"), queue("q")]}))
        }
        ("describeserviceenvironments", _) => (200, json!({"serviceEnvironments": []})),
        ("getjobqueuesnapshot", _) => (200, json!({})),
        (_, (status, None)) if status == "STARTING" && body["jobQueue"] == "p" => {
            page(&[job("a", "STARTING", 10)], Some("2"))
        }
        (_, (_, Some("2"))) => error(403, "AccessDeniedException", "not you"),
        _ => page(&[], None),
    })
    .await;
    let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;
    let told = told(&poll_once(&mut poller, &Questions::default()).await);
    let failed = "jobs failed: ListServiceJobs: AccessDeniedException: not you";
    let expected = [
        "waiting p",
        "a STARTING",
        failed,
        "waiting q",
        "in flight q",
        "jobs answered",
        "snapshot",
        "snapshot answered",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_storm_of_throttles_is_ridden_out_counted_and_slows_the_budget() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (endpoint, _) = fake::serve(move |operation, _| match fake::one_queue(operation) {
        Some(answer) => (200, answer),
        None if counted.fetch_add(1, Ordering::SeqCst) < 2 => (429, json!({"message": "Too Many Requests"})),
        None => page(&[], None),
    })
    .await;
    let (mut poller, clients, _) =
        fake::poller(&endpoint, Poll { calls_per_second: 100.0, ..fake::poll_config() }).await;
    let observations = poll_once(&mut poller, &known(0)).await;
    assert_eq!(told(&observations), ["in flight q", "jobs answered", "snapshot", "snapshot answered"]);
    let Some(Observation::Calls(counts)) = observations.last() else { panic!("{observations:?}") };
    let throttled: Vec<_> = counts.iter().filter(|count| count.outcome == CallOutcome::Throttled).collect();
    assert!(
        matches!(throttled.as_slice(), [one] if one.operation == "ListServiceJobs" && one.count == 2),
        "{counts:?}"
    );
    assert!(clients.budget().rate() < 100.0, "{:?}", clients.budget());
}

#[tokio::test]
async fn a_throttle_without_end_is_a_failure_that_says_so() {
    let (endpoint, log) = fake::serve(|operation, _| match fake::one_queue(operation) {
        Some(answer) => (200, answer),
        None => error(429, "TooManyRequestsException", "Too Many Requests"),
    })
    .await;
    let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;
    let observations = poll_once(&mut poller, &known(0)).await;
    assert_eq!(told(&observations), ["jobs failed: ListServiceJobs: TooManyRequestsException: Too Many Requests"]);
    assert_eq!(lists(&log).len(), 3, "three attempts");
}

#[tokio::test]
async fn values_that_no_one_knows_are_told_besides_the_jobs() {
    let (endpoint, _) = fake::serve(|operation, body| match fake::one_queue(operation) {
        Some(answer) => (200, answer),
        None if asked(body).0 == "RUNNING" => {
            let mut odd = job("b", "RUNNING", 20);
            odd["capacityUsage"] = json!([{"capacityUnit": "ml.p9.48xlarge", "quantity": 2}]);
            page(&[job("a", "HIBERNATING", 10), odd], None)
        }
        None => page(&[], None),
    })
    .await;
    let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;
    let told = told(&poll_once(&mut poller, &known(0)).await);
    let unknown =
        ["a HIBERNATING, b RUNNING", "unknown instance_type ml.p9.48xlarge", "unknown job_status HIBERNATING"];
    assert_eq!(told.first_chunk::<3>().unwrap(), &unknown);
}

#[tokio::test]
async fn arrivals_that_were_cut_off_are_owed() {
    let broken = Arc::new(AtomicUsize::new(1));
    let breaks = Arc::clone(&broken);
    let (endpoint, log) = fake::serve(move |operation, body| match (fake::one_queue(operation), asked(body)) {
        (Some(answer), _) => (200, answer),
        (None, (status, None)) if status == "ARRIVALS" => page(&[job("new", "RUNNABLE", 900)], Some("2")),
        (None, (_, Some("2"))) if breaks.load(Ordering::SeqCst) == 1 => error(400, "ClientException", "bad token"),
        _ => page(&[], None),
    })
    .await;
    let after = || {
        let log = log.lock().unwrap();
        let filter = log.iter().rev().find_map(|(_, body)| body.pointer("/filters/0/values/0").cloned());
        filter.unwrap()
    };
    let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;
    for (watermark, broken_now, expected) in [(100, 1, "100"), (900, 1, "100"), (900, 0, "100"), (900, 0, "900")] {
        broken.store(broken_now, Ordering::SeqCst);
        poll_once(&mut poller, &known(watermark)).await;
        assert_eq!(after(), expected);
    }
}

#[tokio::test]
async fn arrivals_end_with_the_first_page_that_is_older_than_asked() {
    let (endpoint, log) = fake::serve(|operation, body| match (fake::one_queue(operation), asked(body)) {
        (Some(answer), _) => (200, answer),
        (None, (status, None)) if status == "ARRIVALS" => page(&[job("b", "RUNNING", 500)], Some("2")),
        (None, (_, Some("2"))) => page(&[job("a", "RUNNING", 50)], Some("3")),
        _ => page(&[], None),
    })
    .await;
    let (mut poller, _, _) = fake::poller(&endpoint, fake::poll_config()).await;
    poll_once(&mut poller, &known(100)).await;
    assert_eq!(lists(&log).iter().filter(|status| *status == "ARRIVALS").count(), 2);
}

#[tokio::test]
async fn a_long_sweep_goes_on_in_the_next_polls() {
    let (endpoint, log) = fake::serve(|operation, body| match (fake::one_queue(operation), asked(body)) {
        (Some(answer), _) => (200, answer),
        (None, (status, token)) if status == "RUNNABLE" => {
            let at: usize = token.unwrap_or("0").parse().unwrap();
            let next = (at + 1).to_string();
            page(&[job(&format!("j{at}"), "RUNNABLE", 10)], (at < 24).then_some(next.as_str()))
        }
        _ => page(&[], None),
    })
    .await;
    let slow = Poll { every: Duration::from_millis(1), ..fake::poll_config() };
    let (mut poller, _, _) = fake::poller(&endpoint, Poll { calls_per_second: 1e4, ..slow }).await;
    let mut polls = 0;
    let since = loop {
        polls += 1;
        let questions = if polls == 1 { sweep(0) } else { known(0) };
        let observations = poll_once(&mut poller, &questions).await;
        assert!(told(&observations).contains(&"in flight q".to_owned()), "poll {polls}");
        let listed = observations.into_iter().find_map(|observation| {
            if let Observation::WaitingListed { since, .. } = observation { Some(since) } else { None }
        });
        if let Some(since) = listed {
            break since;
        }
    };
    assert_eq!(polls, 3, "25 pages, 10 a poll");
    assert!(since < poller.clock.now());
    let pages = lists(&log).iter().filter(|status| *status == "RUNNABLE").count();
    assert_eq!(pages, 25, "no page twice");
    let swept = poll_once(&mut poller, &known(0)).await;
    assert!(!told(&swept).contains(&"waiting q".to_owned()), "a sweep ends");
}

#[tokio::test]
async fn a_topology_that_does_not_come_leaves_the_last_one_in_force() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (endpoint, _) = fake::serve(move |operation, _| match operation {
        "describejobqueues" if count.fetch_add(1, Ordering::SeqCst) > 0 => error(500, "ServerException", "sorry"),
        _ => fake::one_queue(operation).map_or_else(|| page(&[], None), |answer| (200, answer)),
    })
    .await;
    let hasty = Poll { topology_every: Duration::ZERO, ..fake::poll_config() };
    let (mut poller, _, _) = fake::poller(&endpoint, hasty).await;
    poll_once(&mut poller, &known(0)).await;
    let observations = poll_once(&mut poller, &known(0)).await;
    let expected = [
        "topology failed: DescribeJobQueues: ServerException: sorry",
        "in flight q",
        "jobs answered",
        "snapshot",
        "snapshot answered",
    ];
    assert_eq!(told(&observations), expected);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_a_failure_too() {
    let (mut poller, _, _) = fake::poller("http://127.0.0.1:1", fake::poll_config()).await;
    let observations = poll_once(&mut poller, &Questions::default()).await;
    let told = told(&observations);
    assert!(matches!(told.as_slice(), [one] if one.starts_with("topology failed: DescribeJobQueues: ")), "{told:?}");
    let Some(Observation::Calls(calls)) = observations.last() else { panic!("{observations:?}") };
    assert!(matches!(calls.as_slice(), [one] if one.outcome == CallOutcome::Error && one.count == 3), "{calls:?}");
}

#[tokio::test]
async fn jobs_and_training_jobs_are_described_gone_or_failed() {
    let (endpoint, _) = fake::serve(|operation, body| match (operation, body.get("jobId").and_then(Value::as_str)) {
        ("describeservicejob", Some("a")) => {
            let mut described = job("a", "FAILED", 10);
            described["jobQueue"] = json!("q");
            (200, described)
        }
        ("describeservicejob", Some("b")) => error(400, "ClientException", "Service job b does not exist"),
        ("describeservicejob", _) => error(403, "AccessDeniedException", "not you"),
        ("DescribeTrainingJob", _) if body["TrainingJobName"] == "t1" => (
            200,
            json!({
                "TrainingJobName": "t1", "TrainingJobArn": "arn", "TrainingJobStatus": "InProgress",
                "SecondaryStatusTransitions": [{"Status": "Training", "StartTime": 1_700_000_000.5}],
            }),
        ),
        _ => error(400, "ValidationException", "Requested resource not found."),
    })
    .await;
    let (mut poller, _, clock) = fake::poller(&endpoint, fake::poll_config()).await;
    let questions = Questions {
        jobs: ["a", "b", "c", "d"].map(JobId::from).to_vec(),
        training_jobs: vec![("a".into(), "t1".into()), ("a".into(), "t0".into())],
        ..Questions::default()
    };
    let (out, mut from) = fake::channel();
    poller.answer(&questions, clock.now() + Duration::from_secs(3600), &out).await;
    let observations = fake::received(&mut from);
    let mut told = told(&observations);
    told.sort();
    let expected = [
        "a FAILED",
        "gone b",
        "jobs failed: DescribeServiceJob: AccessDeniedException: not you (and 1 more)",
        "training job t0",
        "training job t1",
        "training_jobs answered",
        "utilisation answered",
    ];
    assert_eq!(told, expected);
    let began = observations
        .iter()
        .find_map(|observation| if let Observation::TrainingJob(seen) = observation { seen.training_at } else { None });
    assert_eq!(began, Some(Timestamp::from_millis(1_700_000_000_500)));
}

#[tokio::test]
async fn nothing_is_asked_after_the_deadline_and_the_budget_is_kept() {
    let (endpoint, log) = fake::serve(|_, _| error(400, "ClientException", "does not exist")).await;
    let poll = Poll { calls_per_second: 0.05, ..fake::poll_config() };
    let (mut poller, _, clock) = fake::poller(&endpoint, poll).await;
    let jobs: Vec<JobId> = (0..1000).map(|n: u32| n.to_string().into()).collect();
    let (out, mut from) = fake::channel();
    let began = clock.now();
    let questions = Questions { jobs, ..Questions::default() };
    poller.answer(&questions, began + Duration::from_secs(400), &out).await;
    let spent = clock.now().seconds_since(began);
    let calls = log.lock().unwrap().len();
    assert!(calls >= 13, "{calls} calls");
    assert!(calls as f64 <= 5.0 + spent * 0.05 + 1.0, "{calls} calls in {spent} s");
    assert!(calls < 100, "{calls} calls");
    assert_eq!(fake::received(&mut from).iter().filter(|o| matches!(o, Observation::JobGone { .. })).count(), calls);
}

#[tokio::test]
async fn utilisation_is_asked_when_due_and_hosts_without_data_are_absent() {
    let (endpoint, log) = fake::serve(|operation, _| match operation {
        "GetMetricData" => (200, json!({"MetricDataResults": [
            {"Id": "h0", "StatusCode": "Complete", "Timestamps": ["@1700000060", "@1700000000"], "Values": [700.0, 100.0]},
            {"Id": "h1", "StatusCode": "Complete", "Timestamps": [], "Values": []},
        ]})),
        _ => error(400, "ClientException", "?"),
    })
    .await;
    let (mut poller, _, clock) = fake::poller(&endpoint, fake::poll_config()).await;
    let hosts = vec![("a".into(), "t/algo-1".to_owned()), ("a".into(), "t/algo-2".to_owned())];
    let questions = Questions { hosts, ..Questions::default() };
    let (out, mut from) = fake::channel();
    let deadline = clock.now() + Duration::from_secs(3600);
    poller.answer(&questions, deadline, &out).await;
    let observations = fake::received(&mut from);
    let Some(Observation::Utilisation { hosts, .. }) = observations.first() else { panic!("{observations:?}") };
    let [host] = hosts.as_slice() else { panic!("{hosts:?}") };
    assert_eq!((host.host.as_str(), host.gpu_percent), ("t/algo-1", 400.0));
    assert_eq!(host.at, Timestamp::from_millis(1_700_000_120_000));
    assert_eq!(told(&observations), ["utilisation of 1", "utilisation answered", "training_jobs answered"]);

    let mut poller = Poller { utilisation_due: clock.now() + Duration::from_secs(3600), ..poller };
    poller.answer(&questions, deadline, &out).await;
    assert_eq!(told(&fake::received(&mut from)), ["training_jobs answered"]);
    assert_eq!(log.lock().unwrap().len(), 1);
}
