//! The whole service against the simulator, over real sockets, on one fast clock.
//!
//! Compares what users rely on: derived figures with the truth, alerts with the sent messages, and the service's own
//! metrics while AWS fails.

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use trainspotter::store::Frames;
use trainspotter_core::backtest::{Episode, Replay};

use support::hook::hook;
use support::read_frames::ticks;
use support::service::{PATIENCE, POLL_EVERY, Running, Setup, rules};
use support::two_share_trace::jobs;

#[tokio::test(flavor = "multi_thread")]
async fn first_waits_are_the_truth_but_for_a_dispatch_that_no_poll_could_see() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("state.db");
    let running = Running::start(Setup { trace: jobs(), store: Some(store.clone()), ..Setup::default() }).await;
    running
        .until("every job has ended", |running| async move {
            let queues = running.api("/api/v1/queues").await;
            queues[0]["jobs"]["succeeded"] == 80
        })
        .await;
    let derived = by_share(&running.api("/api/v1/waits").await);
    let truth = by_share(&running.truth().await["waits"]);
    assert_eq!(derived.keys().collect::<Vec<_>>(), ["bursty", "steady"]);
    // On a busy machine polls are late.
    let gaps = ticks(&store).windows(2).map(|pair| pair[1].at.seconds_since(pair[0].at)).collect::<Vec<_>>();
    let between_polls = gaps.into_iter().fold(POLL_EVERY.as_secs_f64(), f64::max);
    for (share, truth) in truth {
        for figure in
            ["count", "mean_seconds", "p50_seconds", "p90_seconds", "p95_seconds", "p99_seconds", "max_seconds"]
        {
            let (ours, theirs) = (derived[&share][figure].as_f64().unwrap(), truth[figure].as_f64().unwrap());
            // For the API, a borrower that is dispatched and preempted between two polls kept waiting.
            let tolerance = if share == "steady" || figure == "count" { 0.001 } else { between_polls };
            assert!((ours - theirs).abs() < tolerance, "{share} {figure}: {ours} is not {theirs}");
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_reaches_a_webhook_and_is_resolved_later() {
    let hook = hook().await;
    let folder = tempfile::tempdir().unwrap();
    let store = Some(folder.path().join("state.db"));
    let setup = Setup { trace: jobs(), webhook: Some(hook.url.clone()), store, ..Setup::default() };
    let running = Running::start(setup).await;
    // On a busy machine an alert about late polls may come and go before.
    let is_over = |(status, alert, _): &(String, Value, String)| {
        status == "resolved" && alert["labels"]["alertname"] == "LongWait"
    };
    let reported = hook.until(|reported| reported.iter().any(is_over)).await;
    let of = |wanted: &str| {
        let alerts =
            reported.iter().filter(|(status, alert, _)| status == wanted && alert["labels"]["alertname"] == "LongWait");
        alerts
            .map(|(_, alert, id)| (alert["labels"]["share"].clone(), alert["fingerprint"].clone(), id.clone()))
            .collect::<Vec<_>>()
    };
    let (fired, resolved) = (of("firing"), of("resolved"));
    assert_eq!(fired.len(), 1, "{reported:?}");
    assert_eq!(resolved.len(), 1, "{reported:?}");
    assert_eq!((&fired[0].0, &fired[0].1), (&resolved[0].0, &resolved[0].1), "one alert");
    assert_ne!(fired[0].2, resolved[0].2, "two notifications");
    let alerts = running.api("/api/v1/alerts").await;
    let shown =
        alerts.as_array().unwrap().iter().any(|alert| alert["rule"] == "LongWait" && alert["state"] == "resolved");
    assert!(shown, "{alerts}");
    running.stop().await;
    // A backtest over the stored frames gives the same result.
    let frames = Frames::open(&folder.path().join("state.db")).unwrap();
    let (begin, end) = frames.span().unwrap().unwrap();
    let mut replay = Replay::new(rules(), begin, end);
    frames.each(begin, end, None, |frame| replay.take(&frame)).unwrap();
    let times = |episode: &Episode| (json!(episode.fired_at), episode.ended_at.map(|at| json!(at)));
    let (_, alert, _) = reported.iter().rfind(|reported| is_over(reported)).unwrap();
    let expected = [(alert["startsAt"].clone(), Some(alert["endsAt"].clone()))];
    assert_eq!(replay.report().episodes["LongWait"].iter().map(times).collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_balance_and_the_waterfall_sums_to_capacity_in_every_answer() {
    let running = Running::start(Setup { trace: jobs(), ..Setup::default() }).await;
    let (mut lent_at_all, mut looks) = (false, 0);
    let began = tokio::time::Instant::now();
    while !lent_at_all || looks < 30 {
        assert!(began.elapsed() < PATIENCE, "the workload makes one share borrow from the other");
        looks += 1;
        let shares = running.api("/api/v1/shares").await;
        let sum = |key: &str| shares.as_array().unwrap().iter().map(|share| share[key].as_f64().unwrap()).sum::<f64>();
        assert!((sum("borrowed") - sum("lent")).abs() < 1e-9, "{shares}");
        lent_at_all |= sum("lent") > 0.0;
        for row in running.api("/api/v1/waterfall").await.as_array().unwrap() {
            let parts: f64 = row["parts"].as_object().unwrap().values().map(|gpus| gpus.as_f64().unwrap()).sum();
            assert!(row["capacity_gpus"].as_f64().is_some_and(|capacity| (capacity - parts).abs() < 1e-9), "{row}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_aws_gets_wrong_is_survived_and_visible() {
    let running = Running::start(Setup { trace: jobs(), unreachable_topic: true, ..Setup::default() }).await;
    // At once: on a busy machine all jobs could be described before the service is ready.
    running.inject(&json!({ "unknown_instance_type": "ml.p9.48xlarge" })).await;
    running.inject(&json!({ "unknown_status": "HIBERNATING" })).await;
    running.until("the service is ready", |running| async move { running.get("/readyz").await.0 == 200 }).await;
    running.inject(&json!({ "throttle": { "operation": "ListServiceJobs", "count": 60 } })).await;
    running
        .until_metric("a 429 storm is counted", "trainspotter_source_calls_total", "outcome=\"throttled\"", 50.0)
        .await;
    running
        .until_metric("so is an unknown status", "trainspotter_source_unknown_values_total", "HIBERNATING", 1.0)
        .await;
    running
        .until_metric("and an unknown type", "trainspotter_source_unknown_values_total", "ml.p9.48xlarge", 1.0)
        .await;
    // More failures than the client's own retries cover.
    running.inject(&json!({ "fail_page": { "operation": "ListServiceJobs", "page": 1, "count": 30 } })).await;
    running
        .until_metric("a page that fails is counted", "trainspotter_source_failures_total", "source=\"jobs\"", 1.0)
        .await;
    running
        .until_metric("SNS is tried again and again", "trainspotter_notify_pending", "receiver=\"topic\"", 1.0)
        .await;
    running
        .until("and job lists are complete again", |running| async move {
            let health = running.api("/api/v1/health").await;
            let text = health.to_string();
            !text.contains("ListServiceJobs")
        })
        .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_continues_the_counters() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("state.db");
    let running = Running::start(Setup { trace: jobs(), store: Some(store.clone()), ..Setup::default() }).await;
    let ended = |text: &str| sum_of(text, "trainspotter_job_ended_total");
    running
        .until("some jobs have ended", |running| async move { ended(&running.get("/metrics").await.1) >= 20.0 })
        .await;
    let past = running.api("/api/v1/history?metric=job.ended&step=30s").await;
    let restarted = running.restart().await;
    restarted
        .until("every job has ended", |running| async move {
            running.truth().await["queues"][0]["jobs"]["succeeded"] == 80
                && ended(&running.get("/metrics").await.1) >= 80.0
        })
        .await;
    let text = restarted.get("/metrics").await.1;
    assert_eq!(ended(&text), 80.0, "each job is counted once");
    let waits = sum_of(&text, "trainspotter_queue_wait_seconds_count");
    assert_eq!(waits, 80.0, "each wait is counted once");
    let begin = past["at"][0].as_str().unwrap();
    let whole = restarted.api(&format!("/api/v1/history?metric=job.ended&step=30s&from={begin}")).await;
    assert!(whole["at"][0].as_str() < past["at"][1].as_str(), "the past is still there");
    assert!(whole["at"].as_array().unwrap().len() > past["at"].as_array().unwrap().len(), "and has grown");
    let succeeded = |series: &&Value| series["labels"]["outcome"] == "succeeded";
    let ended = whole["series"].as_array().unwrap().iter().filter(succeeded).map(|series| &series["values"]);
    for values in ended {
        let values: Vec<f64> = values.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert!(values.len() > 5 && values.is_sorted(), "no counter falls: {values:?}");
    }
    restarted.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_simulated_cloudwatch_gets_what_metrics_shows() {
    let running = Running::start(Setup { trace: jobs(), cloudwatch: true, ..Setup::default() }).await;
    running.until_metric("CloudWatch takes series", "trainspotter_publish_series", "sink=\"cloudwatch\"", 10.0).await;
    let published = running.truth().await["published"]["cloudwatch_data"].as_u64().unwrap();
    assert!(published > 10, "{published}");
    running.stop().await;
}

#[test]
fn the_rules_that_are_shipped_are_the_ones_tested_here() {
    assert!(rules().iter().any(|rule| rule.name() == "LongWait"));
}

fn by_share(rows: &Value) -> BTreeMap<String, Value> {
    rows.as_array().unwrap().iter().map(|row| (row["share"].as_str().unwrap().to_owned(), row.clone())).collect()
}

fn sum_of(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}
