//! Training plans and warm pools against a scripted endpoint: what counts, what is asked once, and what half an answer is worth.

use serde_json::{Value, json};

use super::*;
use crate::aws::fake;
use crate::aws::fake::error;
use crate::config::Reserved as Watched;

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
        _ => fake::one_queue(operation).map_or_else(|| fake::page(&[], None), |answer| (200, answer)),
    }
}

/// Looks twice, the second time half an hour later, and tells what was reserved each time, or why that is not known.
async fn look_twice(
    watched: Watched,
    script: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (Vec<String>, fake::Log) {
    let (endpoint, log) = fake::serve(script).await;
    let (mut poller, _, clock) = fake::poller(&endpoint, fake::poll_config()).await;
    poller.target.reserved = watched;
    let (out, mut from) = fake::channel();
    poller.poll_reserved(&out).await;
    clock.sleep_until(clock.now() + Duration::from_secs(1_800)).await;
    poller.poll_reserved(&out).await;
    poller.poll_reserved(&out).await;
    let told = fake::received(&mut from).into_iter().filter_map(|observation| {
        if let Observation::Reserved { all, .. } = observation {
            let one = |one: &Reserved| {
                let Reserved { kind, name, unit, total, in_use, idle } = one;
                format!("{} {name} {unit} {total} {in_use} {idle}", kind.as_str())
            };
            return Some(all.iter().map(one).collect::<Vec<_>>().join(", "));
        }
        if let Observation::Failed { error, .. } = observation { Some(error) } else { None }
    });
    (told.collect(), log)
}

#[tokio::test]
async fn active_plans_and_waiting_pools_count_and_a_pool_is_described_once() {
    let (told, log) = look_twice(Watched { training_plans: true, warm_pools: true }, answer).await;
    let expected = "training_plan spring ml.p5.48xlarge 16 10 5, \
                    training_plan mixed ml.p4d.24xlarge+ml.p5.48xlarge 4 0 4, \
                    warm_pool left ml.p4d.24xlarge 2 0 2";
    assert_eq!(told, [expected, expected]);
    let log = log.lock().unwrap();
    let calls = |name: &str| log.iter().filter(|(operation, _)| operation == name).count();
    assert_eq!(["ListTrainingPlans", "ListTrainingJobs", "DescribeTrainingJob"].map(calls), [4, 2, 1]);
    let (_, asked) = log.iter().find(|(operation, _)| operation == "ListTrainingJobs").unwrap();
    assert_eq!(asked["WarmPoolStatusEquals"], "Available");
}

#[tokio::test]
async fn nothing_is_asked_that_is_not_switched_on() {
    let (told, log) = look_twice(Watched::default(), answer).await;
    assert_eq!((told.len(), log.lock().unwrap().len()), (0, 0));
    let (told, log) = look_twice(Watched { training_plans: false, warm_pools: true }, answer).await;
    assert_eq!(told, ["warm_pool left ml.p4d.24xlarge 2 0 2"; 2]);
    assert!(log.lock().unwrap().iter().all(|(operation, _)| operation != "ListTrainingPlans"));
}

#[tokio::test]
async fn half_an_answer_is_none_and_pages_without_end_are_left() {
    let refused = |operation: &str, body: &Value| match operation {
        "ListTrainingJobs" => error(400, "AccessDeniedException", "not you"),
        _ => answer(operation, body),
    };
    let both = Watched { training_plans: true, warm_pools: true };
    let (told, _) = look_twice(both, refused).await;
    // It is tried again at once, since nothing came.
    assert_eq!(told, ["ListTrainingJobs: AccessDeniedException: not you"; 3]);

    let endless = |operation: &str, body: &Value| match operation {
        "ListTrainingJobs" => {
            let page: u32 = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
            (200, json!({"TrainingJobSummaries": [], "NextToken": (page + 1).to_string()}))
        }
        _ => answer(operation, body),
    };
    let (told, log) = look_twice(both, endless).await;
    assert_eq!(told[0], "ListTrainingJobs: more than 20 pages in search of warm pools");
    let calls = log.lock().unwrap().iter().filter(|(operation, _)| operation == "ListTrainingJobs").count();
    assert_eq!(calls, 60);
}
