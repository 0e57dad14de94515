//! The poller against invalid responses: endless lists, duplicate entries, errors with status 200, and unparseable
//! entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::aws::poller::*;
use crate::aws::scripted_endpoint;
use crate::aws::scripted_endpoint::{asked, error, job, page, shown};
use trainspotter_core::model::Capacity;

async fn poll(script: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static) -> Vec<Observation> {
    let (endpoint, _) = scripted_endpoint::serve(script).await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    poll_with(&mut poller).await
}

async fn poll_with(poller: &mut Poller) -> Vec<Observation> {
    let (out, mut from) = scripted_endpoint::channel();
    poller.poll(&Questions::default(), &out).await;
    poller.reconcile(&Questions::default(), &out).await;
    scripted_endpoint::received(&mut from)
}

fn queue(name: &str) -> Value {
    json!({"jobQueueName": name, "jobQueueArn": format!("arn:{name}"), "state": "ENABLED", "status": "VALID", "priority": 1,
           "jobQueueType": "SAGEMAKER_TRAINING", "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": name}]})
}

fn environment(name: &str, capacity: Value) -> Value {
    json!({"serviceEnvironmentName": name, "state": "ENABLED",
           "capacityLimits": [{"maxCapacity": capacity, "capacityUnit": "NUM_INSTANCES"}]})
}

fn two_queues(operation: &str) -> (u16, Value) {
    match operation {
        "describejobqueues" => (200, json!({"jobQueues": [queue("p"), queue("q")]})),
        "describeserviceenvironments" => {
            (200, json!({"serviceEnvironments": [environment("p", json!(4)), environment("q", json!(8))]}))
        }
        "getjobqueuesnapshot" => (200, json!({"frontOfQueue": {"jobs": []}})),
        "listquotashares" => (200, json!({"quotaShares": []})),
        _ => page(&[], None),
    }
}

fn queues(observations: &[Observation]) -> &[Queue] {
    let topology = observations
        .iter()
        .find_map(|one| if let Observation::Topology { queues, .. } = one { Some(queues.as_slice()) } else { None });
    topology.unwrap_or_else(|| panic!("{observations:?}"))
}

fn failures(observations: &[Observation]) -> Vec<String> {
    let failure = |one: &Observation| {
        let Observation::Failed { source, queue, error, .. } = one else { return None };
        let queue = queue.as_ref().map_or("-", QueueName::as_str);
        Some(format!("{} {queue}: {error}", source.as_str()))
    };
    observations.iter().filter_map(failure).collect()
}

#[tokio::test]
async fn a_list_of_jobs_without_an_end_keeps_no_other_queue_waiting() {
    // Tokens that repeat in cycles of two, and tokens that keep changing for the same jobs or for none.
    for (kind, jobs) in [("circle", 1), ("fresh", 1), ("fresh", 0)] {
        let calls = Arc::new(AtomicUsize::new(0));
        let observations = poll(move |operation, body| match (operation, asked(body)) {
            ("listservicejobs", (status, token)) if body["jobQueue"] == "p" && status == "RUNNING" => {
                let next = match kind {
                    "circle" => {
                        if token == Some("A") {
                            "B".to_owned()
                        } else {
                            "A".to_owned()
                        }
                    }
                    _ => calls.fetch_add(1, Ordering::SeqCst).to_string(),
                };
                page(&vec![job("a", "RUNNING", 10); jobs], Some(&next))
            }
            _ => two_queues(operation),
        })
        .await;
        let failures = failures(&observations);
        assert!(
            matches!(failures.as_slice(), [one] if one.starts_with("jobs p: ListServiceJobs: the listing does not end")),
            "{failures:?}"
        );
        let shown = shown(&observations);
        assert!(shown.contains(&"in flight q".to_owned()) && !shown.contains(&"in flight p".to_owned()), "{shown:?}");
        assert!(shown.contains(&"limit list_pages 1".to_owned()), "{shown:?}");
    }
}

#[tokio::test]
async fn every_list_of_the_topology_has_an_end() {
    for (endless, list) in [
        ("describejobqueues", "jobQueues"),
        ("describeserviceenvironments", "serviceEnvironments"),
        ("listquotashares", "quotaShares"),
    ] {
        let circle = move |operation: &str, body: &Value| match operation {
            _ if operation == endless => {
                let (_, mut answer) = two_queues(operation);
                let next = if body["nextToken"] == "A" { "B" } else { "A" };
                answer["nextToken"] = json!(next);
                answer[list] = answer.get(list).cloned().unwrap_or(json!([]));
                (200, answer)
            }
            "describejobqueues" => {
                let mut one = queue("p");
                one["schedulingPolicyArn"] = json!("arn:policy");
                (200, json!({"jobQueues": [one]}))
            }
            "describeschedulingpolicies" => {
                (200, json!({"schedulingPolicies": [{"arn": "arn:policy", "quotaSharePolicy": {}}]}))
            }
            _ => two_queues(operation),
        };
        let observations = poll(circle).await;
        let failures = failures(&observations);
        assert!(failures.iter().all(|one| one.contains("the listing does not end")), "{endless}: {failures:?}");
        // The environments found are complete, even if the list has no end.
        assert_eq!(failures.is_empty(), endless == "describeserviceenvironments", "{endless}");
        assert!(shown(&observations).contains(&"limit list_pages 1".to_owned()), "{endless}");
    }
}

#[tokio::test]
async fn what_is_listed_twice_counts_once() {
    let twice = |operation: &str, body: &Value| {
        let (status, mut answer) = match operation {
            "describejobqueues" => {
                let mut one = queue("p");
                one["schedulingPolicyArn"] = json!("arn:policy");
                (200, json!({"jobQueues": [one.clone(), one]}))
            }
            "describeserviceenvironments" => {
                let mut one = environment("p", json!(4));
                one["capacityLimits"] = json!([one["capacityLimits"][0], one["capacityLimits"][0]]);
                (200, json!({"serviceEnvironments": [one.clone(), one]}))
            }
            "describeschedulingpolicies" => {
                let policy = json!({"arn": "arn:policy", "quotaSharePolicy": {}});
                (200, json!({"schedulingPolicies": [policy.clone(), policy]}))
            }
            "listquotashares" => {
                let limit = json!({"maxCapacity": 2, "capacityUnit": "ml.p5.48xlarge"});
                let share = json!({"quotaShareName": "s", "state": "ENABLED", "capacityLimits": [limit.clone(), limit],
                                   "resourceSharingConfiguration": {"strategy": "RESERVE"}});
                (200, json!({"quotaShares": [share.clone(), share]}))
            }
            _ => two_queues(operation),
        };
        if body.get("nextToken").is_none() && operation != "listservicejobs" {
            answer["nextToken"] = json!("2");
        }
        (status, answer)
    };
    let observations = poll(twice).await;
    let [queue] = queues(&observations) else { panic!("{observations:?}") };
    assert_eq!(queue.environment.as_ref().unwrap().limits, [Capacity::new("NUM_INSTANCES", 4.0)]);
    let trainspotter_core::model::Policy::QuotaShares(shares) = &queue.policy else { panic!("{queue:?}") };
    let [share] = shares.as_slice() else { panic!("{shares:?}") };
    assert_eq!(share.limits, [Capacity::new("ml.p5.48xlarge", 2.0)]);
    assert_eq!(shown(&observations).iter().filter(|one| *one == "in flight p").count(), 1);
}

#[tokio::test]
async fn an_answer_without_what_it_must_have_is_a_failure() {
    for operation in ["describejobqueues", "describeserviceenvironments", "getjobqueuesnapshot", "listservicejobs"] {
        for body in [
            json!({}),
            json!({"message": "Internal failure"}),
            json!({"__type": "ServerException", "message": "sorry"}),
        ] {
            let odd = body.clone();
            let script =
                move |asked: &str, _: &Value| if asked == operation { (200, odd.clone()) } else { two_queues(asked) };
            let observations = poll(script).await;
            assert!(!failures(&observations).is_empty(), "{operation} {body}");
            let empty = |one: &Observation| matches!(one, Observation::Topology { queues, .. } if queues.is_empty());
            assert!(!observations.iter().any(empty), "{operation} {body}: nothing is known to be gone");
            let lists = shown(&observations).iter().any(|one| one.starts_with("in flight"));
            assert_eq!(lists, !["describejobqueues", "listservicejobs"].contains(&operation), "{operation} {body}");
        }
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_costs_only_itself() {
    let odd_environment = |operation: &str, _: &Value| match operation {
        "describeserviceenvironments" => {
            let odd = environment("p", json!(800_000_000_000_i64));
            (200, json!({"serviceEnvironments": [odd, environment("q", json!(8))]}))
        }
        _ => two_queues(operation),
    };
    let observations = poll(odd_environment).await;
    let known: Vec<_> =
        queues(&observations).iter().map(|one| (one.name.as_str(), one.environment.is_some())).collect();
    assert_eq!(known, [("p", false), ("q", true)]);
    let failed = failures(&observations);
    let expected =
        "topology p: DescribeServiceEnvironments: p is unreadable: capacityLimits: maxCapacity is 800000000000";
    assert!(matches!(failed.as_slice(), [one] if one.starts_with(expected)), "{failed:?}");
    let shown = shown(&observations);
    assert!(shown.contains(&"in flight p".to_owned()) && shown.contains(&"in flight q".to_owned()), "{shown:?}");
}

#[tokio::test]
async fn an_environment_that_is_not_there_is_reported() {
    let without_p = |operation: &str, _: &Value| match operation {
        "describeserviceenvironments" => (200, json!({"serviceEnvironments": [environment("q", json!(8))]})),
        _ => two_queues(operation),
    };
    let observations = poll(without_p).await;
    assert_eq!(failures(&observations), Vec::<String>::new());
    let invalid: Vec<_> = queues(&observations).iter().map(|one| one.invalid.clone()).collect();
    assert_eq!(invalid, [vec!["Environment p does not exist: no job of this queue can start.".to_owned()], vec![]]);
}

#[tokio::test]
async fn values_read_before_a_failure_stay() {
    for broken in ["describejobqueues", "describeserviceenvironments"] {
        let round = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&round);
        let (endpoint, _) =
            scripted_endpoint::serve(move |operation, _| match (operation, now.load(Ordering::SeqCst)) {
                ("describejobqueues", 1) if broken == operation => {
                    let mut odd = queue("p");
                    odd["priority"] = json!("high");
                    (200, json!({"jobQueues": [odd, queue("q")]}))
                }
                ("describeserviceenvironments", 1) if broken == operation => {
                    error(403, "AccessDeniedException", "not you")
                }
                _ => two_queues(operation),
            })
            .await;
        let hasty = Poll { topology_every: std::time::Duration::ZERO, ..scripted_endpoint::poll_config() };
        let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, hasty).await;
        let before = poll_with(&mut poller).await;
        round.store(1, Ordering::SeqCst);
        let after = poll_with(&mut poller).await;
        assert_eq!(queues(&after), queues(&before), "{broken}");
        assert!(!failures(&after).is_empty(), "{broken}");
        round.store(2, Ordering::SeqCst);
        assert_eq!(failures(&poll_with(&mut poller).await), [""; 0], "{broken}");
    }
}

#[tokio::test]
async fn when_no_queue_matches_those_that_are_there_are_named() {
    for (listed, expected) in [
        (json!([queue("prod-a"), queue("prod-b")]), "matches `queues: dev-*`; there are: prod-a, prod-b"),
        (json!([]), "matches `queues: dev-*`: there is none at all"),
    ] {
        let script = move |operation: &str, _: &Value| match operation {
            "describejobqueues" => (200, json!({"jobQueues": listed})),
            _ => two_queues(operation),
        };
        let (endpoint, _) = scripted_endpoint::serve(script).await;
        let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
        poller.target.queues = vec!["dev-*".to_owned()];
        let observations = poll_with(&mut poller).await;
        assert!(queues(&observations).is_empty());
        let shown = shown(&observations);
        assert!(
            matches!(shown.as_slice(), [one] if one.starts_with("no queues: ") && one.contains(expected)),
            "{shown:?}"
        );
    }
}

#[tokio::test]
async fn a_queue_that_is_unreadable_on_one_page_and_readable_on_another_is_polled_once() {
    let odd = || {
        let mut odd = queue("q");
        odd["priority"] = json!("high");
        odd
    };
    let seen = Arc::new(AtomicUsize::new(0));
    let (endpoint, log) = scripted_endpoint::serve(move |operation, _| match operation {
        "describejobqueues" if seen.fetch_add(1, Ordering::SeqCst) > 0 => {
            (200, json!({"jobQueues": [queue("q"), odd()]}))
        }
        "describejobqueues" => (200, json!({"jobQueues": [queue("q")]})),
        _ => two_queues(operation),
    })
    .await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    poll_with(&mut poller).await;
    poller.topology_due = poller.clock.now();
    log.lock().unwrap().clear();
    poll_with(&mut poller).await;
    let mut lists = scripted_endpoint::lists(&log);
    let all = lists.len();
    lists.sort();
    lists.dedup();
    assert_eq!(all, lists.len(), "each list is read once: {lists:?}");
}
