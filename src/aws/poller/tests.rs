//! The poller against a scripted endpoint: the requests, their order, and the resulting observations.

mod odd_answers;
mod odd_times;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::aws::scripted_endpoint;
use crate::aws::scripted_endpoint::{asked, error, job, lists, page, shown};
use trainspotter_core::model::CallOutcome;

fn known(after: i64) -> Questions {
    Questions { created_after: [("q".into(), Timestamp::from_millis(after))].into(), ..Questions::default() }
}

fn sweep(after: i64) -> Questions {
    Questions { reconcile: ["q".into()].into(), ..known(after) }
}

/// Polls once and returns the observations.
async fn poll_once(poller: &mut Poller, questions: &Questions) -> Vec<Observation> {
    let (out, mut from) = scripted_endpoint::channel();
    poller.poll(questions, &out).await;
    poller.reconcile(questions, &out).await;
    scripted_endpoint::received(&mut from)
}

#[tokio::test]
async fn states_are_listed_in_the_order_a_job_passes_through_them() {
    let (endpoint, log) = scripted_endpoint::serve(|operation, body| match scripted_endpoint::one_queue(operation) {
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
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;

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
    assert_eq!(shown(&first), expected);
    assert_eq!(lists(&log), ["SUBMITTED", "PENDING", "RUNNABLE", "SCHEDULED", "STARTING", "RUNNING", "RUNNING"]);

    log.lock().unwrap().clear();
    let second = poll_once(&mut poller, &known(35)).await;
    let expected =
        ["a RUNNING", "b RUNNING", "in flight q", "d SUCCEEDED", "jobs answered", "snapshot", "snapshot answered"];
    assert_eq!(shown(&second), expected);
    assert_eq!(lists(&log), ["SUBMITTED", "PENDING", "SCHEDULED", "STARTING", "RUNNING", "RUNNING", "ARRIVALS"]);
    let few = Questions { waiting: ["q".into()].into(), ..known(35) };
    log.lock().unwrap().retain(|(_, body)| body.get("filters").is_some());
    assert_eq!(
        shown(&poll_once(&mut poller, &few).await)[..2],
        ["c RUNNABLE", "waiting q"],
        "few are listed with the rest"
    );
    let swept = poll_once(&mut poller, &sweep(35)).await;
    assert_eq!(shown(&swept)[4..6], ["c RUNNABLE", "waiting q"], "many are listed last");
    let began_at = swept.iter().find_map(|observation| {
        if let Observation::Answered { source: Source::Jobs, at, .. } = observation { Some(*at) } else { None }
    });
    let listed =
        |one: &Observation| matches!(one, Observation::WaitingListed { since, .. } if Some(*since) == began_at);
    assert!(swept.iter().any(listed), "what is SUBMITTED or PENDING is part of what waits: {swept:?}");
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
    let (endpoint, _) = scripted_endpoint::serve(|operation, body| match (operation, asked(body)) {
        ("describejobqueues", _) => {
            let queue = |name: &str| {
                json!({"jobQueueName": name, "jobQueueArn": name, "state": "ENABLED", "priority": 1,
                       "jobQueueType": "SAGEMAKER_TRAINING"})
            };
            (200, json!({"jobQueues": [queue("p"), queue("q")]}))
        }
        ("describeserviceenvironments", _) => (200, json!({"serviceEnvironments": []})),
        ("getjobqueuesnapshot", _) => (200, json!({"frontOfQueue": {"jobs": []}})),
        (_, (status, None)) if status == "STARTING" && body["jobQueue"] == "p" => {
            page(&[job("a", "STARTING", 10)], Some("2"))
        }
        (_, (_, Some("2"))) => error(403, "AccessDeniedException", "not you"),
        _ => page(&[], None),
    })
    .await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let shown = shown(&poll_once(&mut poller, &Questions::default()).await);
    let failed = "jobs failed: ListServiceJobs: AccessDeniedException: not you (allow batch:ListServiceJobs to the role: \
                  deploy/iam-policy.json lists all required permissions)";
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
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_storm_of_throttles_is_ridden_out_counted_and_slows_the_budget() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (endpoint, _) = scripted_endpoint::serve(move |operation, _| match scripted_endpoint::one_queue(operation) {
        Some(answer) => (200, answer),
        None if counted.fetch_add(1, Ordering::SeqCst) < 2 => (429, json!({"message": "Too Many Requests"})),
        None => page(&[], None),
    })
    .await;
    let (mut poller, clients, _) =
        scripted_endpoint::poller(&endpoint, Poll { calls_per_second: 100.0, ..scripted_endpoint::poll_config() })
            .await;
    let observations = poll_once(&mut poller, &known(0)).await;
    assert_eq!(shown(&observations), ["in flight q", "jobs answered", "snapshot", "snapshot answered"]);
    let Some(Observation::Calls(counts)) = observations.last() else { panic!("{observations:?}") };
    let throttled: Vec<_> = counts.iter().filter(|count| count.outcome == CallOutcome::Throttled).collect();
    assert!(
        matches!(throttled.as_slice(), [one] if one.operation == "ListServiceJobs" && one.count == 2),
        "{counts:?}"
    );
    assert!(clients.budget().rate() < 100.0, "{:?}", clients.budget());
}

#[tokio::test]
async fn endless_throttling_is_reported_as_such() {
    let (endpoint, log) = scripted_endpoint::serve(|operation, _| match scripted_endpoint::one_queue(operation) {
        Some(answer) => (200, answer),
        None => error(429, "TooManyRequestsException", "Too Many Requests"),
    })
    .await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let observations = poll_once(&mut poller, &known(0)).await;
    assert_eq!(shown(&observations), ["jobs failed: ListServiceJobs: TooManyRequestsException: Too Many Requests"]);
    assert_eq!(lists(&log).len(), 3, "three attempts");
}

#[tokio::test]
async fn values_that_no_one_knows_are_reported_besides_the_jobs() {
    let (endpoint, _) = scripted_endpoint::serve(|operation, body| match scripted_endpoint::one_queue(operation) {
        Some(answer) => (200, answer),
        None if asked(body).0 == "RUNNING" => {
            let mut odd = job("b", "RUNNING", 20);
            odd["capacityUsage"] = json!([{"capacityUnit": "ml.p9.48xlarge", "quantity": 2}]);
            page(&[job("a", "HIBERNATING", 10), odd], None)
        }
        None => page(&[], None),
    })
    .await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let shown = shown(&poll_once(&mut poller, &known(0)).await);
    let unknown =
        ["a HIBERNATING, b RUNNING", "unknown instance_type ml.p9.48xlarge", "unknown job_status HIBERNATING"];
    assert_eq!(shown.first_chunk::<3>().unwrap(), &unknown);
}

#[tokio::test]
async fn arrivals_that_were_cut_off_are_owed() {
    let broken = Arc::new(AtomicUsize::new(1));
    let breaks = Arc::clone(&broken);
    let (endpoint, log) =
        scripted_endpoint::serve(move |operation, body| match (scripted_endpoint::one_queue(operation), asked(body)) {
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
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    for (watermark, broken_now, expected) in [(100, 1, "100"), (900, 1, "100"), (900, 0, "100"), (900, 0, "900")] {
        broken.store(broken_now, Ordering::SeqCst);
        poll_once(&mut poller, &known(watermark)).await;
        assert_eq!(after(), expected);
    }
}

#[tokio::test]
async fn arrivals_end_with_the_first_page_that_is_older_than_asked() {
    let (endpoint, log) =
        scripted_endpoint::serve(|operation, body| match (scripted_endpoint::one_queue(operation), asked(body)) {
            (Some(answer), _) => (200, answer),
            (None, (status, None)) if status == "ARRIVALS" => page(&[job("b", "RUNNING", 500)], Some("2")),
            (None, (_, Some("2"))) => page(&[job("a", "RUNNING", 50)], Some("3")),
            _ => page(&[], None),
        })
        .await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    poll_once(&mut poller, &known(100_000)).await;
    assert_eq!(lists(&log).iter().filter(|status| *status == "ARRIVALS").count(), 2);
}

#[tokio::test]
async fn a_long_sweep_continues_in_the_next_polls() {
    let (endpoint, log) =
        scripted_endpoint::serve(|operation, body| match (scripted_endpoint::one_queue(operation), asked(body)) {
            (Some(answer), _) => (200, answer),
            (None, (status, token)) if status == "RUNNABLE" => {
                let at: usize = token.unwrap_or("0").parse().unwrap();
                let next = (at + 1).to_string();
                page(&[job(&format!("j{at}"), "RUNNABLE", 10)], (at < 24).then_some(next.as_str()))
            }
            _ => page(&[], None),
        })
        .await;
    let slow = Poll { every: Duration::from_millis(1), ..scripted_endpoint::poll_config() };
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, Poll { calls_per_second: 1e4, ..slow }).await;
    let mut polls = 0;
    let since = loop {
        polls += 1;
        let questions = if polls == 1 { sweep(0) } else { known(0) };
        let observations = poll_once(&mut poller, &questions).await;
        assert!(shown(&observations).contains(&"in flight q".to_owned()), "poll {polls}");
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
    assert!(!shown(&swept).contains(&"waiting q".to_owned()), "a sweep ends");
}

#[tokio::test]
async fn sweeps_wait_for_what_is_in_flight_anywhere_and_take_turns() {
    let (endpoint, log) = scripted_endpoint::serve(|operation, body| match (operation, asked(body)) {
        ("describejobqueues", _) => {
            let queue = |name: &str| {
                json!({"jobQueueName": name, "jobQueueArn": name, "state": "ENABLED", "priority": 1,
                       "jobQueueType": "SAGEMAKER_TRAINING"})
            };
            (200, json!({"jobQueues": [queue("p"), queue("q")]}))
        }
        ("describeserviceenvironments", _) => (200, json!({"serviceEnvironments": []})),
        ("getjobqueuesnapshot", _) => (200, json!({"frontOfQueue": {"jobs": []}})),
        // An endless list.
        (_, (status, token)) if status == "RUNNABLE" => {
            let next = token.map_or(1, |token| token.parse::<u32>().unwrap() + 1).to_string();
            page(&[], Some(&next))
        }
        _ => page(&[], None),
    })
    .await;
    let slow = Poll { every: Duration::from_millis(1), calls_per_second: 1e4, ..scripted_endpoint::poll_config() };
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, slow).await;
    let both = || ["p", "q"].map(QueueName::from);
    let questions = Questions {
        created_after: both().map(|queue| (queue, Timestamp::default())).into(),
        reconcile: both().into(),
        ..Questions::default()
    };
    let mut swept = Vec::new();
    for _ in 0..3 {
        poll_once(&mut poller, &questions).await;
        let lists: Vec<(String, String)> = std::mem::take(&mut *log.lock().unwrap())
            .into_iter()
            .filter(|(operation, _)| operation == "listservicejobs")
            .map(|(_, body)| (body["jobQueue"].as_str().unwrap().to_owned(), asked(&body).0))
            .collect();
        let first = lists.iter().position(|(_, status)| status == "RUNNABLE").unwrap();
        assert_eq!(lists[..first].len(), 12, "six of each queue: {lists:?}");
        assert!(lists[first..].iter().all(|(_, status)| status == "RUNNABLE"), "{lists:?}");
        swept.push(lists[first].0.clone());
    }
    assert_eq!(swept, ["p", "q", "p"]);

    // Descriptions leave time for the sweep.
    let (out, _from) = scripted_endpoint::channel();
    poller.poll(&questions, &out).await;
    let end = Timestamp::from_millis(1_000);
    assert_eq!(poller.reconcile_from(&questions, end), end - Duration::from_micros(500));
    poller.reconcile(&questions, &out).await;
    assert_eq!(poller.reconcile_from(&questions, end), end, "nothing is left to list");
}

#[tokio::test]
async fn a_sweep_continues_after_an_outage_and_restarts_after_a_refusal() {
    for (failure, expected) in [
        (error(500, "ServerException", "sorry"), vec!["0", "1", "1", "1", "1", "2"]),
        (error(400, "ClientException", "bad token"), vec!["0", "1", "0", "1", "2"]),
    ] {
        let up = Arc::new(AtomicUsize::new(0));
        let state = Arc::clone(&up);
        let (endpoint, log) = scripted_endpoint::serve(move |operation, body| {
            match (scripted_endpoint::one_queue(operation), asked(body)) {
                (Some(answer), _) => (200, answer),
                (None, (status, None)) if status == "RUNNABLE" => page(&[job("a", "RUNNABLE", 10)], Some("1")),
                (None, (_, Some("1"))) if state.load(Ordering::SeqCst) == 0 => failure.clone(),
                (None, (_, Some("1"))) => page(&[job("b", "RUNNABLE", 10)], Some("2")),
                _ => page(&[], None),
            }
        })
        .await;
        let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
        let first = shown(&poll_once(&mut poller, &sweep(0)).await);
        assert!(!first.contains(&"waiting q".to_owned()), "{first:?}");
        up.store(1, Ordering::SeqCst);
        let second = shown(&poll_once(&mut poller, &sweep(0)).await);
        assert!(second.contains(&"waiting q".to_owned()), "{second:?}");
        let log = log.lock().unwrap();
        let sweeps = log.iter().map(|(_, body)| asked(body)).filter(|(status, _)| status == "RUNNABLE");
        assert_eq!(sweeps.map(|(_, token)| token.unwrap_or("0")).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn policies_and_shares_are_read_with_their_queues() {
    let (endpoint, log) = scripted_endpoint::serve(|operation, body| match operation {
        "describejobqueues" => {
            let queue = |name: &str, policy: &str| {
                json!({"jobQueueName": name, "jobQueueArn": name, "state": "ENABLED", "priority": 1,
                       "jobQueueType": "SAGEMAKER_TRAINING", "schedulingPolicyArn": policy,
                       "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": "arn:x:service-environment/gpus"}]})
            };
            match body.get("nextToken") {
                None => (200, json!({"jobQueues": [queue("quota", "arn:p1")], "nextToken": "2"})),
                Some(_) => (200, json!({"jobQueues": [queue("fair", "arn:p2"), queue("lost", "arn:p3")]})),
            }
        }
        "describeschedulingpolicies" => (200, json!({"schedulingPolicies": [
            {"name": "p1", "arn": "arn:p1", "quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}},
            {"name": "p2", "arn": "arn:p2", "fairsharePolicy": {"shareDistribution": [{"shareIdentifier": "a"}]}},
        ]})),
        "listquotashares" => (200, json!({"quotaShares": [
            {"quotaShareName": "s", "state": "ENABLED", "resourceSharingConfiguration": {"strategy": "BARTER"},
             "capacityLimits": [{"maxCapacity": 2, "capacityUnit": "ml.p5.48xlarge"}]},
        ]})),
        _ => scripted_endpoint::one_queue(operation).map_or_else(|| page(&[], None), |answer| (200, answer)),
    })
    .await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let observations = poll_once(&mut poller, &Questions::default()).await;
    let Some(Observation::Topology { queues, .. }) = observations.first() else { panic!("{observations:?}") };
    let policies: Vec<_> = queues.iter().map(|queue| (queue.name.as_str(), queue.policy.as_str())).collect();
    assert_eq!(policies, [("fair", "FAIR_SHARE"), ("lost", "FAIR_SHARE"), ("quota", "QUOTA_SHARE")]);
    assert!(queues.iter().all(|queue| queue.environment.as_ref().is_some_and(|found| found.name == "gpus")));
    let shown = shown(&observations);
    assert_eq!(shown[..2], ["unknown scheduling_policy arn:p3", "unknown sharing_strategy BARTER"]);
    let arns = json!({"arns": ["arn:p1", "arn:p2", "arn:p3"]});
    assert!(log.lock().unwrap().iter().any(|(_, body)| *body == arns));
}

#[tokio::test]
async fn a_topology_that_does_not_come_leaves_the_last_one_in_force() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (endpoint, _) = scripted_endpoint::serve(move |operation, _| match operation {
        "describejobqueues" if count.fetch_add(1, Ordering::SeqCst) > 0 => error(500, "ServerException", "sorry"),
        _ => scripted_endpoint::one_queue(operation).map_or_else(|| page(&[], None), |answer| (200, answer)),
    })
    .await;
    let hasty = Poll { topology_every: Duration::ZERO, ..scripted_endpoint::poll_config() };
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, hasty).await;
    poll_once(&mut poller, &known(0)).await;
    let observations = poll_once(&mut poller, &known(0)).await;
    let expected = [
        "topology failed: DescribeJobQueues: ServerException: sorry",
        "in flight q",
        "jobs answered",
        "snapshot",
        "snapshot answered",
    ];
    assert_eq!(shown(&observations), expected);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_a_failure_too() {
    let (mut poller, _, _) = scripted_endpoint::poller("http://127.0.0.1:1", scripted_endpoint::poll_config()).await;
    let observations = poll_once(&mut poller, &Questions::default()).await;
    let shown = shown(&observations);
    assert!(matches!(shown.as_slice(), [one] if one.starts_with("topology failed: DescribeJobQueues: ")), "{shown:?}");
    let Some(Observation::Calls(calls)) = observations.last() else { panic!("{observations:?}") };
    assert!(matches!(calls.as_slice(), [one] if one.outcome == CallOutcome::Error && one.count == 3), "{calls:?}");
}

#[tokio::test]
async fn an_answer_that_stands_still_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (begun, answer_has_begun) = oneshot::channel();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    let polled = tokio::spawn(async move { poll_once(&mut poller, &Questions::default()).await });
    answer_has_begun.await.unwrap();
    // Nothing arrives from here on, so time can be skipped.
    tokio::time::pause();
    let observations = tokio::time::timeout(Duration::from_secs(600), polled).await.expect("a timeout").unwrap();
    let shown = shown(&observations);
    assert!(matches!(shown.as_slice(), [one] if one.starts_with("topology failed")), "{shown:?}");
}
