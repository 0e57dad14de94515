//! Training plans and warm pools against a scripted endpoint: what counts, which requests are made once, and
//! partial responses.

use serde_json::{Value, json};

use super::*;
use crate::aws::scripted_endpoint;
use crate::aws::scripted_endpoint::error;
use crate::config::{Poll, Reserved as Watched};

fn plan(name: &str, status: &str, types: &[&str], counts: [i32; 3]) -> Value {
    let parts: Vec<_> = types.iter().map(|unit| json!({"ReservedCapacityArn": "arn", "InstanceType": unit})).collect();
    json!({
        "TrainingPlanArn": "arn", "TrainingPlanName": name, "Status": status,
        "TotalInstanceCount": counts[0], "InUseInstanceCount": counts[1], "AvailableInstanceCount": counts[2],
        "ReservedCapacitySummaries": parts,
    })
}

fn pool(name: &str, status: &str) -> Value {
    json!({
        "TrainingJobName": name, "TrainingJobArn": "arn", "CreationTime": 1_700_000_000, "TrainingJobStatus": "Completed",
        "WarmPoolStatus": {"Status": status},
    })
}

fn answer(operation: &str, body: &Value) -> (u16, Value) {
    match operation {
        "ListTrainingPlans" => match body.get("NextToken") {
            None => (
                200,
                json!({"TrainingPlanSummaries": [plan("spring", "Active", &["ml.p5.48xlarge"], [16, 10, 5])], "NextToken": "2"}),
            ),
            Some(_) => {
                let mixed =
                    plan("mixed", "Active", &["ml.p5.48xlarge", "ml.p4d.24xlarge", "ml.p5.48xlarge"], [4, 0, 4]);
                (
                    200,
                    json!({"TrainingPlanSummaries": [plan("next", "Scheduled", &["ml.p5.48xlarge"], [8, 0, 8]), mixed]}),
                )
            }
        },
        "ListTrainingJobs" => {
            (200, json!({"TrainingJobSummaries": [pool("left", "Available"), pool("taken", "Reused")]}))
        }
        "DescribeTrainingJob" => (
            200,
            json!({
                "TrainingJobName": "left", "TrainingJobArn": "arn", "TrainingJobStatus": "Completed",
                "ResourceConfig": {"InstanceType": "ml.p4d.24xlarge", "InstanceCount": 2, "KeepAlivePeriodInSeconds": 1800},
            }),
        ),
        _ => scripted_endpoint::one_queue(operation)
            .map_or_else(|| scripted_endpoint::page(&[], None), |answer| (200, answer)),
    }
}

/// Polls when due, when due again, and once when not due. Returns the reservations or the failure each time.
async fn look_twice(
    watched: Watched,
    script: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Vec<String>, scripted_endpoint::Log) {
    let (endpoint, log) = scripted_endpoint::serve(script).await;
    // It is never due by time, however slow the machine.
    let poll = Poll { utilisation_every: Duration::from_secs(365 * 86_400), ..scripted_endpoint::poll_config() };
    let (mut poller, _, clock) = scripted_endpoint::poller(&endpoint, poll).await;
    poller.target.reserved = watched;
    let (out, mut from) = scripted_endpoint::channel();
    poller.poll_reserved(&out).await;
    poller.reserved_due = clock.now();
    poller.poll_reserved(&out).await;
    poller.poll_reserved(&out).await;
    let shown = scripted_endpoint::received(&mut from).into_iter().filter_map(|observation| {
        if let Observation::Reserved { all, .. } = observation {
            let one = |one: &Reserved| {
                let Reserved { kind, name, unit, total, in_use, idle, .. } = one;
                let [total, in_use, idle] =
                    [total, in_use, idle].map(|count| count.map_or("?".to_owned(), |count| count.to_string()));
                format!("{} {name} {unit} {total} {in_use} {idle}", kind.as_str())
            };
            return Some(all.iter().map(one).collect::<Vec<_>>().join(", "));
        }
        if let Observation::Failed { error, .. } = observation { Some(error) } else { None }
    });
    (shown.collect(), log)
}

#[tokio::test]
async fn active_plans_and_waiting_pools_count_and_a_pool_is_described_once() {
    let (shown, log) = look_twice(Watched { training_plans: true, warm_pools: true }, answer).await;
    let expected = "training_plan mixed ml.p4d.24xlarge+ml.p5.48xlarge 4 0 4, \
                    training_plan spring ml.p5.48xlarge 16 10 5, \
                    warm_pool left ml.p4d.24xlarge 2 0 2";
    assert_eq!(shown, [expected, expected]);
    let log = log.lock().unwrap();
    let calls = |name: &str| log.iter().filter(|(operation, _)| operation == name).count();
    assert_eq!(["ListTrainingPlans", "ListTrainingJobs", "DescribeTrainingJob"].map(calls), [4, 2, 1]);
    let (_, asked) = log.iter().find(|(operation, _)| operation == "ListTrainingJobs").unwrap();
    assert_eq!(asked["WarmPoolStatusEquals"], "Available");
}

#[tokio::test]
async fn nothing_is_asked_that_is_not_switched_on() {
    let (shown, log) = look_twice(Watched::default(), answer).await;
    assert_eq!((shown.len(), log.lock().unwrap().len()), (0, 0));
    let (shown, log) = look_twice(Watched { training_plans: false, warm_pools: true }, answer).await;
    assert_eq!(shown, ["warm_pool left ml.p4d.24xlarge 2 0 2"; 2]);
    assert!(log.lock().unwrap().iter().all(|(operation, _)| operation != "ListTrainingPlans"));
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let refused = |operation: &str, body: &Value| match operation {
        "ListTrainingJobs" => error(400, "AccessDeniedException", "not you"),
        _ => answer(operation, body),
    };
    let both = Watched { training_plans: true, warm_pools: true };
    let (shown, _) = look_twice(both, refused).await;
    // It is retried at once, since it failed.
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|one| one.starts_with("ListTrainingJobs: AccessDeniedException: not you")), "{shown:?}");
}

#[tokio::test]
async fn pages_without_end_keep_what_was_found_and_count_the_limit() {
    let endless = |operation: &str, body: &Value| match operation {
        "ListTrainingJobs" => {
            let page: u32 = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
            let jobs = if page == 1 { json!([pool("left", "Available")]) } else { json!([]) };
            (200, json!({"TrainingJobSummaries": jobs, "NextToken": (page + 1).to_string()}))
        }
        _ => answer(operation, body),
    };
    let pools = Watched { training_plans: false, warm_pools: true };
    let (shown, log) = look_twice(pools, endless).await;
    assert_eq!(shown, ["warm_pool left ml.p4d.24xlarge 2 0 2"; 2]);
    let calls = log.lock().unwrap().iter().filter(|(operation, _)| operation == "ListTrainingJobs").count();
    assert_eq!(calls, 2 * MAX_POOL_PAGES);

    let just_so = |operation: &str, body: &Value| match operation {
        "ListTrainingJobs" => {
            let page: usize = body["NextToken"].as_str().map_or(1, |token| token.parse().unwrap());
            let next = (page < MAX_POOL_PAGES).then(|| (page + 1).to_string());
            (200, json!({"TrainingJobSummaries": [pool("left", "Available")], "NextToken": next}))
        }
        _ => answer(operation, body),
    };
    let (endpoint, _) = scripted_endpoint::serve(just_so).await;
    let (mut poller, clients, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    poller.target.reserved = pools;
    let (out, mut from) = scripted_endpoint::channel();
    poller.poll_reserved(&out).await;
    let answered = |one: &Observation| matches!(one, Observation::Answered { source: Source::Reserved, .. });
    assert!(scripted_endpoint::received(&mut from).iter().any(answered));
    assert!(clients.limits().drain().is_empty(), "as many pages as there may be are no error");
}

#[tokio::test]
async fn only_plans_that_training_jobs_may_use_count_and_their_end_is_known() {
    let plans = |operation: &str, body: &Value| match operation {
        "ListTrainingPlans" => {
            let with = |name, targets: Value| {
                let mut plan = plan(name, "Active", &["ml.p5.48xlarge"], [4, 0, 4]);
                plan["TargetResources"] = targets;
                plan["EndTime"] = json!(1_800_000_000);
                plan
            };
            let plans = [
                with("both", json!(["hyperpod-cluster", "training-job"])),
                with("hyperpod", json!(["hyperpod-cluster"])),
                with("of-tomorrow", json!(["something-new"])),
                with("silent", json!([])),
            ];
            (200, json!({"TrainingPlanSummaries": plans}))
        }
        _ => answer(operation, body),
    };
    let (endpoint, _) = scripted_endpoint::serve(plans).await;
    let (mut poller, _, _) = scripted_endpoint::poller(&endpoint, scripted_endpoint::poll_config()).await;
    poller.target.reserved = Watched { training_plans: true, warm_pools: false };
    let (out, mut from) = scripted_endpoint::channel();
    poller.poll_reserved(&out).await;
    let observations = scripted_endpoint::received(&mut from);
    let Some(Observation::Reserved { all, .. }) = observations.first() else { panic!("{observations:?}") };
    let found: Vec<_> = all.iter().map(|plan| (plan.name.as_str(), plan.ends_at)).collect();
    let end = Some(Timestamp::from_millis(1_800_000_000_000));
    assert_eq!(found, [("both", end), ("silent", end)]);
}

#[tokio::test]
async fn a_plan_on_two_pages_counts_once() {
    let twice = |operation: &str, body: &Value| match operation {
        "ListTrainingPlans" => {
            let plans = [plan("spring", "Active", &["ml.p5.48xlarge"], [16, 10, 5])];
            let next = body.get("NextToken").is_none().then_some("2");
            (200, json!({"TrainingPlanSummaries": plans, "NextToken": next}))
        }
        _ => answer(operation, body),
    };
    let (shown, _) = look_twice(Watched { training_plans: true, warm_pools: false }, twice).await;
    assert_eq!(shown, ["training_plan spring ml.p5.48xlarge 16 10 5"; 2]);
}

#[tokio::test]
async fn an_answer_without_its_list_is_no_empty_list() {
    let bare = |operation: &str, body: &Value| match operation {
        "ListTrainingPlans" => (200, json!({"message": "sorry"})),
        _ => answer(operation, body),
    };
    let (shown, _) = look_twice(Watched { training_plans: true, warm_pools: false }, bare).await;
    assert_eq!(shown[0], "ListTrainingPlans: an error without a code: sorry");
}

#[tokio::test]
async fn a_count_that_a_plan_omits_is_unknown() {
    let silent = |operation: &str, body: &Value| match operation {
        "ListTrainingPlans" => {
            let mut plan = plan("spring", "Active", &["ml.p5.48xlarge"], [16, 10, 5]);
            plan.as_object_mut().unwrap().remove("InUseInstanceCount");
            plan["AvailableInstanceCount"] = json!(-1);
            (200, json!({"TrainingPlanSummaries": [plan]}))
        }
        _ => answer(operation, body),
    };
    let (shown, _) = look_twice(Watched { training_plans: true, warm_pools: false }, silent).await;
    assert_eq!(shown, ["training_plan spring ml.p5.48xlarge 16 ? ?"; 2]);
}
