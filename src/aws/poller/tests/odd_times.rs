//! Every time that a response of AWS has, in another unit, impossible, or missing: what is said of it is unknown, and all else stays.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::aws::poller::*;
use crate::aws::scripted_endpoint;
use crate::config::Reserved as Watched;
use trainspotter_core::engine::{Engine, Saved, cadence};
use trainspotter_core::metrics::Value as Figure;
use trainspotter_core::metrics::catalogue::Unit;

/// What replaces a time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    /// Milliseconds where seconds are documented, and the other way round.
    OtherUnit,
    Is(i64),
    Null,
    Missing,
}

const ODD: [Odd; 7] = [
    Odd::OtherUnit,
    Odd::Is(0),
    Odd::Is(-1),
    // The end of the year 9999, in both units.
    Odd::Is(253_402_300_799),
    Odd::Is(253_402_300_799_000),
    Odd::Null,
    Odd::Missing,
];

/// A queue with a waiting, a running and an ended job, all about an hour old: responses by operation. The running job was preempted.
fn answer(operation: &str, body: &Value, now: i64) -> Value {
    let ago = |minutes: i64| now - minutes * 60_000;
    let job = |id: &str, status: &str| {
        let mut job = scripted_endpoint::job(id, status, ago(60));
        if status != "RUNNABLE" {
            job["scheduledAt"] = json!(ago(30));
            job["startedAt"] = json!(ago(25));
            let training_job = json!({"name": "TRAINING_JOB_ARN", "value": format!("arn:aws:sagemaker:us-east-1:1:training-job/{id}-2")});
            job["latestAttempt"] = json!({"serviceResourceId": training_job});
        }
        if status == "SUCCEEDED" {
            job["stoppedAt"] = json!(ago(10));
        }
        job
    };
    let of_status = |status: &str| match status {
        "RUNNABLE" => vec![job("waits", "RUNNABLE")],
        "RUNNING" => vec![job("runs", "RUNNING")],
        "SUCCEEDED" | "ARRIVALS" => vec![job("ended", "SUCCEEDED")],
        _ => Vec::new(),
    };
    match operation {
        "listservicejobs" => scripted_endpoint::page(&of_status(&scripted_endpoint::asked(body).0), None).1,
        "describeservicejob" => {
            let id = body["jobId"].as_str().unwrap();
            let status = [("waits", "RUNNABLE"), ("runs", "RUNNING")].into_iter().find(|(name, _)| *name == id);
            let mut job = job(id, status.map_or("SUCCEEDED", |(_, status)| status));
            job["jobQueue"] = json!("q");
            if id != "waits" {
                job["attempts"] = json!([{"startedAt": ago(25)}]);
                job["preemptionSummary"] = json!({"preemptedAttemptCount": 1,
                    "recentPreemptedAttempts": [{"startedAt": ago(50), "stoppedAt": ago(40)}]});
            }
            job
        }
        "getjobqueuesnapshot" => json!({
            "frontOfQueue": {"lastUpdatedAt": ago(1), "jobs": [{"jobArn": "arn:waits", "earliestTimeAtPosition": ago(20)}]},
            "queueUtilization": {"lastUpdatedAt": ago(1), "totalCapacityUsage": [{"capacityUnit": "NUM_INSTANCES", "quantity": 1.0}]},
        }),
        "DescribeTrainingJob" => json!({
            "TrainingJobName": body["TrainingJobName"], "TrainingJobArn": "arn", "TrainingJobStatus": "InProgress",
            "CreationTime": ago(29) / 1_000, "TrainingStartTime": ago(25) / 1_000, "LastModifiedTime": ago(25) / 1_000,
            "SecondaryStatusTransitions": [
                {"Status": "Downloading", "StartTime": ago(28) / 1_000, "EndTime": ago(26) / 1_000},
                {"Status": "Training", "StartTime": ago(26) / 1_000},
            ],
        }),
        "ListTrainingPlans" => json!({"TrainingPlanSummaries": [{
            "TrainingPlanArn": "arn", "TrainingPlanName": "plan", "Status": "Active", "StartTime": ago(600) / 1_000,
            "EndTime": ago(-600) / 1_000, "TotalInstanceCount": 4, "InUseInstanceCount": 1, "AvailableInstanceCount": 3,
            "ReservedCapacitySummaries": [{"ReservedCapacityArn": "arn", "InstanceType": "ml.p5.48xlarge",
                "StartTime": ago(600) / 1_000, "EndTime": ago(-600) / 1_000}],
        }]}),
        _ => scripted_endpoint::one_queue(operation).unwrap_or_else(|| json!({})),
    }
}

/// Changes a time, given its path, its object and its name.
type Change<'a> = dyn FnMut(&str, &mut Map<String, Value>, &str) + 'a;

/// Calls `change` with each time of a response.
fn each_time(value: &mut Value, path: &str, change: &mut Change<'_>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_time(item, path, change)),
        Value::Object(members) => {
            let names: Vec<String> = members.keys().cloned().collect();
            for name in names {
                let path = format!("{path}/{name}");
                if ["At", "Time", "AtPosition"].iter().any(|end| name.ends_with(end)) && members[&name].is_i64() {
                    change(&path, members, &name);
                } else if let Some(member) = members.get_mut(&name) {
                    each_time(member, &path, change);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn put(odd: Odd, members: &mut Map<String, Value>, name: &str) {
    let before = members[name].as_i64().unwrap();
    let other = if before > 100_000_000_000 { before / 1_000 } else { before * 1_000 };
    match odd {
        Odd::OtherUnit => members[name] = json!(other),
        Odd::Is(number) => members[name] = json!(number),
        Odd::Null => members[name] = Value::Null,
        Odd::Missing => drop(members.remove(name)),
    }
}

/// What is known after two polls, with one time replaced: jobs and their exact times to a second, and the largest value of each metric
/// in seconds.
async fn known(path: &'static str, odd: Option<Odd>) -> (BTreeMap<String, String>, BTreeMap<String, f64>, Vec<String>) {
    let clock = Clock::fast(1.0);
    let now = clock.now().millis() / 1_000 * 1_000;
    let (endpoint, _) = scripted_endpoint::serve(move |operation, body| {
        let mut answer = answer(operation, body, now);
        if let Some(odd) = odd {
            each_time(&mut answer, operation, &mut |found, members, name| {
                if found == path {
                    put(odd, members, name);
                }
            });
        }
        (200, answer)
    })
    .await;
    let clients = crate::aws::connect(&scripted_endpoint::target(&endpoint), 1e6, clock).await.unwrap();
    let mut target = scripted_endpoint::target(&endpoint);
    target.reserved = Watched { training_plans: true, warm_pools: false };
    let mut poller = Poller::new(clients, target, scripted_endpoint::poll_config(), clock);
    poller.identity = crate::aws::identity::Identity::known();
    let every = Duration::from_secs(30);
    let mut engine = Engine::new(Vec::new(), cadence(every * 30, every), Saved::default(), clock.now());
    let mut reserved = Vec::new();
    for _ in 0..2 {
        let questions = engine.questions(clock.now());
        let (out, mut from) = scripted_endpoint::channel();
        poller.poll(&questions, &out).await;
        poller.reconcile(&questions, &out).await;
        poller.poll_reserved(&out).await;
        poller.answer(&engine.questions(clock.now()), clock.now() + Duration::from_secs(60), &out).await;
        let observations = scripted_endpoint::received(&mut from);
        for observation in &observations {
            if let Observation::Reserved { all, .. } = observation {
                reserved.extend(all.iter().map(|one| format!("{} {:?}", one.name, one.ends_at)));
            }
        }
        engine.observe(observations);
    }
    let output = engine.tick(clock.now());
    let jobs = engine.ledger().jobs().map(|job| {
        let spans = job.timeline.spans();
        let exact = spans.iter().map(|span| {
            let from = if span.from.is_exact() { (span.from.latest.millis() - now) / 1_000 } else { 1 };
            format!("{} {} {from}", span.phase, span.attempt)
        });
        (job.latest.id.to_string(), exact.collect::<Vec<_>>().join(", "))
    });
    let mut largest = BTreeMap::new();
    for sample in &output.frame.samples {
        assert!(sample.value.is_finite(), "{path} {odd:?}: {sample:?}");
        if let (Unit::Seconds, Figure::Gauge(value) | Figure::Counter(value)) = (sample.metric.unit, &sample.value) {
            assert!(*value >= 0.0, "{path} {odd:?}: {sample:?}");
            let entry: &mut f64 = largest.entry(sample.metric.name.to_owned()).or_default();
            *entry = entry.max(*value);
        }
    }
    (jobs.collect(), largest, reserved)
}

#[tokio::test]
async fn no_time_of_aws_that_cannot_be_makes_a_figure_that_cannot_be() {
    let mut paths = std::collections::BTreeSet::new();
    let operations = [
        ("listservicejobs", json!({"jobStatus": "RUNNABLE"})),
        ("listservicejobs", json!({"jobStatus": "SUCCEEDED"})),
        ("describeservicejob", json!({"jobId": "ended"})),
        ("getjobqueuesnapshot", Value::Null),
        ("DescribeTrainingJob", json!({"TrainingJobName": "runs-2"})),
        ("ListTrainingPlans", Value::Null),
    ];
    for (operation, body) in operations {
        let mut answer = answer(operation, &body, 1_800_000_000_000);
        each_time(&mut answer, operation, &mut |path, _, _| _ = paths.insert(&*path.to_owned().leak()));
    }
    assert!(paths.len() >= 20, "{paths:#?}");
    let (jobs, largest, reserved) = known("", None).await;
    assert_eq!((jobs.len(), reserved.len()), (3, 1), "{jobs:?} {reserved:?}");
    let mut wrong = Vec::new();
    for (path, odd) in paths.into_iter().flat_map(|path| ODD.map(|odd| (path, odd))) {
        let (now, figures, plans) = known(path, Some(odd)).await;
        let is_same = if odd == Odd::OtherUnit {
            now == jobs
        } else {
            // A job without the time of its creation is left out.
            path.ends_with("createdAt") || now.keys().eq(jobs.keys())
        };
        if !is_same || plans.len() != reserved.len() {
            wrong.push(format!("{path} {odd:?}: {now:?} {plans:?}"));
        }
        for (metric, value) in figures {
            if value > largest.get(&metric).copied().unwrap_or_default() + 3_700.0 {
                wrong.push(format!("{path} {odd:?}: {metric} is {value}"));
            }
        }
    }
    assert!(wrong.is_empty(), "with {jobs:?} {reserved:?}: {wrong:#?}");
}
