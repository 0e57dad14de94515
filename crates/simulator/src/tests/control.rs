//! Control of time, events and faults, as seen by clients.

use std::time::Duration;

use aws_sdk_batch::error::ProvideErrorMetadata;
use serde_json::Value;
use serde_json::json;

use crate::tests::fixture::Account;
use crate::tests::fixture::client;
use trainspotter_core::model::Timestamp;

fn moment(text: &Value) -> Timestamp {
    serde_json::from_value(text.clone()).unwrap()
}

#[tokio::test]
async fn time_stands_jumps_and_runs_on_request() {
    let account = Account::open().await;
    let stopped = account.control(json!({"pause": true})).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let still = account.sim("control").await;
    assert_eq!((&still["now"], &still["paused"]), (&stopped["now"], &json!(true)));
    let later = account.control(json!({"advance": "2h"})).await;
    assert_eq!(moment(&later["now"]), moment(&stopped["now"]) + Duration::from_hours(2));
    assert_eq!(account.sim("truth").await["now"], later["now"], "the world has lived through it");
    account.control(json!({"pause": false, "speed": 100_000.0})).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let fast = account.sim("control").await;
    assert!(moment(&fast["now"]).since(moment(&later["now"])) > Duration::from_mins(30), "{fast}");
}

#[tokio::test]
async fn jobs_are_submitted_and_ended_on_request() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let job = json!({"queue": "dev", "instance_type": "ml.g5.xlarge", "lasts": "10m", "jobs": 2, "name": "mine"});
    let submitted = account.control(json!({"submit": job, "advance": "5m"})).await["submitted"].clone();
    let described = batch.describe_service_job().job_id(submitted[0].as_str().unwrap()).send().await.unwrap();
    assert_eq!((described.job_name(), described.status().unwrap().as_str()), (Some("mine"), "RUNNING"));
    account.control(json!({"terminate": {"job": submitted[0], "reason": "enough"}})).await;
    let described = batch.describe_service_job().job_id(submitted[0].as_str().unwrap()).send().await.unwrap();
    assert_eq!((described.status_reason(), described.status().unwrap().as_str()), (Some("enough"), "FAILED"));
    for (command, why) in [
        (json!({"speed": 0}), "speed"),
        (json!({"terminate": {"job": "nobody"}}), "nobody"),
        (json!({"faults": {"slow": {}}}), "slow.by"),
    ] {
        let response =
            reqwest::Client::new().post(format!("{}/_sim/control", account.url)).json(&command).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 400);
        assert!(response.text().await.unwrap().contains(why));
    }
}

#[tokio::test]
async fn answers_arrive_late_broken_or_not_at_all() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let describe = || batch.describe_job_queues().send();
    let once = |fault: &str| json!({fault: {"operation": "DescribeJobQueues", "count": 1}});
    for fault in ["cut", "truncated", "malformed"] {
        account.arrange(once(fault)).await;
        let error = describe().await.unwrap_err();
        assert_eq!(error.code(), None, "{fault}: {error:?}");
        assert!(describe().await.is_ok(), "{fault} is over");
    }
    account.arrange(once("expired_credentials")).await;
    let error = describe().await.unwrap_err();
    assert_eq!(error.code(), Some("ExpiredTokenException"));
    account.arrange(once("access_denied")).await;
    let error = describe().await.unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    assert!(error.message().unwrap().contains("not authorized to perform: batch:DescribeJobQueues"), "{error:?}");

    account.arrange(json!({"slow": {"operation": "DescribeJobQueues", "by": "300ms", "count": 1}})).await;
    let began = tokio::time::Instant::now();
    describe().await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_skewed_clock_shows_in_every_time() {
    let account = Account::open().await;
    let before = account.control(json!({"pause": true})).await;
    account.arrange(json!({"clock_skew": {"by": "10m"}})).await;
    let response = reqwest::Client::new().post(format!("{}/v1/describejobqueues", account.url)).send().await.unwrap();
    let date = response.headers()["date"].to_str().unwrap();
    let skewed = moment(&account.sim("truth").await["now"]);
    assert_eq!(skewed, moment(&before["now"]) + Duration::from_mins(10));
    let shown = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).unwrap();
    assert_eq!(shown.as_second(), skewed.millis() / 1_000, "{date}");
}

#[tokio::test]
async fn a_vanished_job_is_in_no_list_and_no_description() {
    let account = Account::open().await;
    let batch = client!(aws_sdk_batch, account);
    let list = || batch.list_service_jobs().job_queue("prod").send();
    let running = list().await.unwrap();
    let id = running.job_summary_list()[0].job_id().unwrap().to_owned();
    account.arrange(json!({"vanish": {"job": id}})).await;
    let left = list().await.unwrap();
    assert_eq!(left.job_summary_list().len(), running.job_summary_list().len() - 1);
    let error = batch.describe_service_job().job_id(&id).send().await.unwrap_err();
    assert!(error.message().unwrap().contains("does not exist"), "{error:?}");
    reqwest::Client::new().delete(format!("{}/_sim/faults", account.url)).send().await.unwrap();
    assert!(batch.describe_service_job().job_id(&id).send().await.is_ok());
}

#[tokio::test]
async fn the_truth_integrates_gpu_seconds_and_counts_work_lost() {
    let account = Account::open().await;
    account.control(json!({"pause": true, "advance": "3h"})).await;
    let truth = account.sim("truth").await;
    let row = &truth["gpu_seconds"][0];
    let quota = |share: &Value| share["quota"].as_f64().filter(|_| share["share"] != "");
    let of_quota: f64 = 8.0 * truth["shares"].as_array().unwrap().iter().filter_map(quota).sum::<f64>();
    let parts: f64 = row["parts"].as_object().unwrap().values().filter_map(Value::as_f64).sum();
    let capacity = row["capacity"].as_f64().unwrap();
    let seconds = moment(&truth["now"]).seconds_since(moment(&row["since"]));
    assert!((capacity - 64.0 * seconds).abs() < 1.0, "{row} over {seconds} s");
    assert!((parts - capacity).abs() < 1.0, "{row}");
    let sum = |row: &Value, of: &dyn Fn(&str) -> bool| {
        let parts = row["gpu_seconds"].as_object().unwrap().iter();
        parts.filter(|(part, _)| of(part)).filter_map(|(_, value)| value.as_f64()).sum::<f64>()
    };
    assert_eq!(truth["exact_to_seconds"], 10.0);
    let (causes, idle) = (sum(&truth["unallocated"][0], &|_| true), row["parts"]["unallocated"].as_f64().unwrap());
    assert!(idle > 0.0 && (causes - idle).abs() < 0.01 * capacity, "{causes} by cause, {idle} in all");
    let of_shares = |part: &'static str| {
        let shares = truth["lending"].as_array().unwrap().iter();
        shares.map(|share| sum(share, &|name| name == part)).sum::<f64>()
    };
    assert!(of_shares("lent") > 0.0 && (of_shares("lent") - of_shares("borrowed")).abs() < 1.0, "{truth:#}");
    let quotas = of_shares("own") + of_shares("lent") + of_shares("idle");
    assert!((quotas - of_quota * seconds).abs() < 1.0, "{quotas} of {of_quota} GPUs over {seconds} s");
    let jobs = account.sim("truth/jobs?limit=1000").await["jobs"].clone();
    let preemptions: u64 = jobs.as_array().unwrap().iter().filter_map(|job| job["preemptions"].as_u64()).sum();
    let counted: u64 = truth["preempted"].as_array().unwrap().iter().filter_map(|row| row["count"].as_u64()).sum();
    assert_eq!((counted, truth["preemptions"].as_u64()), (preemptions, Some(preemptions)));
}
