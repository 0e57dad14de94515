//! Start estimates of a service over the simulator.

use std::fmt::Write as _;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::process;
use crate::support::service::{Running, Setup};

/// A backlog of sixty jobs of one to three hours, for a share whose quota allows about five at a time, and one job a
/// day later.
fn backlog() -> String {
    let mut trace = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..60 {
        writeln!(trace, "job-{job:02},speech,1,{job},{}", 3_600 + (job * 37 % 60) * 120).unwrap();
    }
    trace.push_str("late,speech,1,86400,3600\n");
    trace
}

/// The current estimates of waiting jobs.
async fn expected(running: &Running) -> Vec<Value> {
    let page = running.api("/api/v1/jobs?state=runnable&limit=5").await;
    let mut found = Vec::new();
    for job in page["jobs"].as_array().into_iter().flatten() {
        let job = running.api(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap())).await;
        found.extend(Some(job["start"].clone()).filter(|start| start["outlook"] == "expected"));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_has_an_interval_with_its_calibration_that_survives_a_restart() {
    let running = Running::start(Setup { trace: backlog(), forecast: 1.0, ..Setup::default() }).await;
    running
        .until("a waiting job says that too little has ended", async |running| {
            let page = running.api("/api/v1/jobs?state=runnable&limit=1").await;
            let Some(id) = page["jobs"][0]["id"].as_str() else { return false };
            let job = running.api(&format!("/api/v1/jobs/{id}")).await;
            job["start"]["outlook"] == "too_little_history" && job["start"]["p50"].is_null()
        })
        .await;
    running.until("a waiting job has an estimate", async |running| !expected(running).await.is_empty()).await;

    let start = expected(&running).await.remove(0);
    let time = |key: &str| start[key].as_str().map(str::to_owned);
    assert!(time("p10") <= time("p50") && time("p50") <= time("p90"), "{start:#}");
    assert!(start["truths"].as_u64().unwrap() >= 10, "{start:#}");
    assert!(start["rests_on"].as_str().unwrap().contains("100 simulations"), "{start:#}");
    assert!(start["would_change"].as_str().unwrap().starts_with("Earlier with"), "{start:#}");

    let queue = running.api("/api/v1/queues").await[0]["queue"].as_str().unwrap().to_owned();
    let ask = |share: &str, unit: &str| format!("/api/v1/when?queue={queue}&share={share}&instances=1&type={unit}");
    let last = running.api(&ask("speech", "ml.p5.4xlarge")).await;
    assert_eq!(last["outlook"], "expected", "{last:#}");
    let never = running.api(&ask("speech", "ml.p5.48xlarge")).await;
    assert_eq!((never["outlook"].as_str(), never["p50"].as_str()), (Some("never"), None), "{never:#}");
    assert!(
        never["sentence"].as_str().unwrap().contains(" has ")
            && never["sentence"].as_str().unwrap().contains("ml.p5.4xlarge")
    );
    let all = format!("/api/v1/when?queue={queue}&share=speech&instances=100000&type=ml.p5.4xlarge");
    let never = running.api(&all).await;
    let sentence = never["sentence"].as_str().unwrap();
    assert!(never["outlook"] == "never" && sentence.contains("at most "), "{never:#}");
    let (status, text) = running.get(&ask("nobody", "ml.p5.4xlarge")).await;
    assert!(status == 404 && text.contains("known shares: speech"), "{status} {text}");
    for (wrong, said) in [
        ("queue=q", "parameter type is missing"),
        ("type=x", "parameter queue is missing"),
        ("queue=q&type=x&instances=0", "whole number"),
        ("queue=q&type=x&priority=high", "0 to 9999"),
        ("queue=q&type=x&colour=red", "unknown parameter"),
        ("queue=q&queue=q&type=x", "given twice"),
    ] {
        let (status, text) = running.get(&format!("/api/v1/when?{wrong}")).await;
        assert!(status == 400 && text.contains(said), "{wrong}: {status} {text}");
    }

    ranking(&running, &queue).await;

    let running = running.restart().await;
    running.until("estimates are there again", async |running| !expected(running).await.is_empty()).await;
    let again = expected(&running).await.remove(0);
    assert!(again["truths"].as_u64() >= start["truths"].as_u64(), "{again:#}");
    running
        .until("it is known how often intervals were right", async |running| {
            running.get("/metrics").await.1.contains("trainspotter_forecast_coverage")
        })
        .await;
    running.stop().await;
}

/// Single changes are ranked with one replay of the past, while new data arrives.
async fn ranking(running: &Running, queue: &str) {
    let candidates = running.api("/api/v1/what-if/candidates").await;
    let (past, first) = (candidates["past"].as_str().unwrap(), candidates["candidates"][0]["changes"][0].as_str());
    let change = first.unwrap().replace('+', "%2B");
    let report = running.api(&format!("/api/v1/what-if?past={past}&set={change}")).await;
    running
        .until("the latest past is another", async |running| {
            running.api("/api/v1/what-if/candidates").await["past"].as_str() != Some(past)
        })
        .await;
    let again = running.api(&format!("/api/v1/what-if?past={past}&set={change}")).await;
    assert_eq!(again, report, "the past of the candidates is the same for all of them");
    let (status, text) = running.get("/api/v1/what-if?past=0123&set=queue.q.capacity=1").await;
    assert!(status == 404 && text.contains("request the candidates again"), "{status} {text}");
    for (wrong, said) in [
        ("what-if?past=a&past=b", "given twice"),
        (&format!("what-if?past={past}&region=mars-1"), "another account or region"),
        ("what-if/candidates?past=a", "unknown parameter"),
    ] {
        let (status, text) = running.get(&format!("/api/v1/{wrong}")).await;
        assert!(status == 400 && text.contains(said), "{wrong}: {status} {text}");
    }

    running
        .until("a past that makes room for others is counted", async |running| {
            running.api("/api/v1/what-if/candidates").await;
            running.get("/metrics").await.1.contains("limit=\"kept_pasts\"")
        })
        .await;
    let url = running.url();
    let output = process::trainspotter(&["what-if", "--rank", "--json", "--url", &url]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let ranked: Vec<Value> = serde_json::from_str(&text).unwrap();
    let worth = |row: &Value| row["saved_wait_hours"].as_f64().unwrap() / row["instances"].as_f64().unwrap();
    assert!(ranked.iter().any(|row| row["changes"].as_str().unwrap().contains(queue)), "{text}");
    assert!(ranked.iter().all(|row| row["saved_wait_hours"].as_f64().unwrap() > 0.0), "{text}");
    assert!(ranked.windows(2).all(|pair| worth(&pair[0]) >= worth(&pair[1])), "{text}");
    assert!(ranked.iter().all(|row| row["before"] == ranked[0]["before"]), "{text}");
}

/// What answers as a service does that lists three changes, and forgets their past after the first of them was tried.
async fn forgetful(asked: Arc<AtomicUsize>) -> String {
    let answer = move |uri: Uri| async move {
        let names_past = uri.query().is_some_and(|query| query.contains("past=first"));
        let not_kept = json!({ "error": { "code": "not_found", "message": "no past first is kept" } });
        let waits =
            |hours: f64| json!({ "started": 4, "mean_seconds": hours * 3_600.0, "p95_seconds": hours * 3_600.0 });
        let shares =
            |before: f64| json!([{ "queue": "q", "share": "s", "before": waits(before), "after": waits(1.0) }]);
        if uri.path().ends_with("/candidates") {
            let change = |more: u32| json!({ "changes": [format!("queue.q.capacity=+{more}")], "instances": more });
            (StatusCode::OK, Json(json!({ "past": "first", "candidates": [change(1), change(2), change(4)] })))
        } else if !names_past {
            (StatusCode::OK, Json(json!({ "shares": shares(3.0) })))
        } else if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            (StatusCode::OK, Json(json!({ "shares": shares(2.0) })))
        } else {
            (StatusCode::NOT_FOUND, Json(not_kept))
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ranking_whose_recording_expired_continues_and_marks_the_later_changes() {
    let asked = Arc::new(AtomicUsize::new(0));
    let url = forgetful(Arc::clone(&asked)).await;
    let rank = async |more: &[&str]| {
        asked.store(0, Ordering::Relaxed);
        let arguments = [&["what-if", "--rank", "--url", &url], more].concat();
        let output = process::trainspotter(&arguments).output().await.unwrap();
        let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && said.contains("deleted the recording"), "{text}{said}");
        text
    };
    let rows: Vec<Value> = serde_json::from_str(&rank(&["--json"]).await).unwrap();
    let of = |past: &str| {
        let rows = rows.iter().filter(|row| row["past"] == past);
        rows.map(|row| (row["instances"].as_f64().unwrap(), row["saved_wait_hours"].as_f64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!((of("first"), of("later")), (vec![(1.0, 4.0)], vec![(2.0, 8.0), (4.0, 8.0)]), "{rows:#?}");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the first past is not asked for again");
    let table = rank(&[]).await;
    let marked = |line: &&str| line.contains("of a later past");
    assert_eq!(table.lines().filter(marked).count(), 2, "{table}");
    assert!(table.lines().filter(|line| line.contains("capacity=+1")).all(|line| !marked(&line)), "{table}");
}

/// Jobs of firing alerts of a rule.
async fn alerting(running: &Running, rule: &str) -> Vec<String> {
    let alerts = running.api("/api/v1/alerts").await;
    let is_of_rule = |alert: &&Value| alert["rule"] == rule && alert["state"] == "firing";
    let of_rule = alerts.as_array().into_iter().flatten().filter(is_of_rule);
    of_rule.filter_map(|alert| alert["labels"]["job"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_warn_of_jobs_that_will_start_late_before_and_after_a_takeover() {
    let rules = Some(include_str!("../../alerts/queues.yaml"));
    let setup =
        Setup { trace: backlog(), forecast: 1.0, start_by: Some("1h"), rules, has_log: true, ..Setup::default() };
    let running = Running::start(setup).await;
    let is_warned = async |running: &Running| {
        let late = alerting(running, "JobWillStartLate").await;
        let long = alerting(running, "JobWillWaitLong").await;
        late.iter().any(|job| long.contains(job))
    };
    running.until("a job is expected later than its tag start-by", is_warned).await;

    let mut found = 0;
    for id in alerting(&running, "JobWillStartLate").await {
        let job = running.api(&format!("/api/v1/jobs/{id}")).await;
        let (start_by, p50) = (job["start_by"].as_str().unwrap(), job["start"]["p50"].as_str());
        // Some have started meanwhile.
        found += u32::from(p50.is_some_and(|p50| start_by < p50));
    }
    assert!(found > 0);
    let truths = async |running: &Running| {
        let estimates = expected(running).await;
        estimates.iter().filter_map(|start| start["truths"].as_u64()).max()
    };
    let before = truths(&running).await.unwrap();

    let running = running.take_over().await;
    running.until("the estimates are there again", async |running| !expected(running).await.is_empty()).await;
    assert!(truths(&running).await.unwrap() >= before, "nothing that was learned is lost");
    running.until("a job is expected later than its tag start-by", is_warned).await;
    running.stop().await;
}
