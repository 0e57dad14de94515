//! Every response shape, field by field: what is asserted here is what clients may rely on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tokio::sync::mpsc;

use crate::web::Snapshot;
use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot;
use trainspotter_core::metrics::{Frame, SourceHealth};
use trainspotter_core::model::Source;
use trainspotter_core::rules::AlertId;

/// Adds the place that every row of figures has.
fn placed(row: Value) -> Value {
    let mut place = json!({"account": "123456789012", "region": "eu-west-1"});
    let (Value::Object(all), Value::Object(row)) = (&mut place, row.clone()) else { return row };
    all.extend(row);
    place
}

async fn check(path: &str, pointer: &str, expected: Value) {
    let is_row = expected.get("queue").is_some() || expected.get("kind").is_some();
    let expected = if is_row { placed(expected) } else { expected };
    let answer = Server::start().await.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let body = answer.json();
    assert_eq!(body.pointer(pointer), Some(&expected), "{path}{pointer} in {body:#}");
}

#[tokio::test]
async fn queues_have_jobs_by_state_and_the_oldest_wait() {
    let jobs = json!({"submitted": 1, "runnable": 17, "scheduled": 1, "starting": 1, "running": 28, "failed": 3});
    let research = json!({"queue": "research", "policy": "QUOTA_SHARE", "jobs": jobs, "oldest_wait_seconds": 15_000.0});
    check("/api/v1/queues", "/1", research).await;
    check("/api/v1/queues", "/0/oldest_wait_seconds", Value::Null).await;
}

#[tokio::test]
async fn shares_have_quota_and_use() {
    let language = json!({
        "queue": "research", "share": "language", "unit": "ml.p5.48xlarge",
        "quota": 16.0, "used": 20.0, "borrowed": 4.0, "lent": 0.0,
        "idle": 0.0, "most": null, "largest_job": 32.0, "weight": null, "target_gpus": null, "recent_gpus": null,
        "jobs": { "runnable": 7, "running": 2 }, "oldest_wait_seconds": 15000.0,
    });
    check("/api/v1/shares", "/2", language).await;
    check("/api/v1/shares", "/0/quota", Value::Null).await;
}

#[tokio::test]
async fn waits_have_mean_and_quantiles() {
    let audio = json!({
        "queue": "research", "share": "audio", "count": 31, "mean_seconds": 375.0, "p50_seconds": 300.0,
        "p90_seconds": 600.0, "p95_seconds": 750.0, "p99_seconds": 900.0, "max_seconds": 1050.0,
    });
    check("/api/v1/waits", "/1", audio).await;
}

#[tokio::test]
async fn the_waterfall_has_parts_that_sum_to_the_capacity() {
    let parts = json!({
        "unallocated": 16.0, "scheduled": 8.0, "starting": 8.0,
        "running_busy": 176.0, "running_idle": 24.0, "running_unknown": 24.0,
    });
    check(
        "/api/v1/waterfall",
        "/1",
        json!({"queue": "research", "capacity_gpus": 256.0, "parts": parts, "dollars_per_hour": {}, "unallocated": {"no_demand": 16.0}}),
    )
    .await;
    check(
        "/api/v1/waterfall",
        "/0",
        json!({"queue": "production", "capacity_gpus": null, "parts": {}, "dollars_per_hour": {}, "unallocated": {}}),
    )
    .await;
}

#[tokio::test]
async fn findings_have_a_problem_and_advice() {
    check(
        "/api/v1/setup",
        "/0",
        json!({
            "queue": "research", "share": "audio", "problem": "share_unused",
            "what": "No job of audio has held an instance for 8 days.",
            "advice": "Give its quota to a share whose jobs wait, or remove it.",
        }),
    )
    .await;
}

#[tokio::test]
async fn failures_name_owner_and_category() {
    check(
        "/api/v1/failures",
        "/0",
        json!({
            "queue": "research", "share": "language", "owner": "ada", "category": "user_code", "jobs": 3, "gpu_hours": 2.0,
        }),
    )
    .await;
}

#[tokio::test]
async fn loans_name_lender_and_borrower() {
    let loan = json!({"queue": "research", "lender": "audio", "borrower": "language", "gpus": 32.0, "gpu_hours": 25.0});
    check("/api/v1/loans", "/0", loan).await;
}

#[tokio::test]
async fn fair_shares_have_entitlement_and_recent_use() {
    let row = json!({"queue": "production", "share": "nightly", "target": 24.0, "used": 8.0, "recent": 12.5});
    check("/api/v1/fair_shares", "/0", row).await;
}

#[tokio::test]
async fn reserved_capacity_has_the_idle_part() {
    let row = json!({
        "kind": "training_plan", "name": "spring", "instance_type": "ml.p5.48xlarge", "total": 16.0, "in_use": 10.0, "idle": 5.0,
        "ends_at": "2027-01-15T08:00:00Z",
    });
    check("/api/v1/reserved", "/0", row).await;
}

#[tokio::test]
async fn estimates_and_reasons_cover_waiting_jobs() {
    let estimate = json!({
        "queue": "research", "share": "audio",
        "p50_seconds": 300.0, "p90_seconds": 600.0, "p95_seconds": 2100.0, "p99_seconds": 2100.0,
    });
    check("/api/v1/estimates", "/0", estimate).await;
    let reason =
        json!({"queue": "research", "share": "language", "reason": "share_at_limit", "jobs": 8, "gpus": 256.0});
    check("/api/v1/reasons", "/0", reason).await;
}

#[tokio::test]
async fn alerts_come_firing_first_then_pending_then_resolved() {
    let alerts = Server::start().await.get("/api/v1/alerts").await.json();
    let order: Vec<_> =
        alerts.as_array().unwrap().iter().map(|alert| (&alert["state"], &alert["labels"]["share"])).collect();
    assert_eq!(
        json!(order),
        json!([["firing", "language"], ["firing", "audio"], ["pending", "vision"], ["resolved", "vision"]])
    );
    let by = [("queue", "research"), ("share", "audio")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let id = AlertId::of("ShareWaitsTooLong", &by.into());
    assert_eq!(
        alerts[1],
        json!({
            "id": id.as_str(), "rule": "ShareWaitsTooLong", "account": null, "region": null, "state": "firing",
            "labels": {
                "alertname": "ShareWaitsTooLong", "queue": "research", "severity": "page", "share": "audio",
            },
            "annotations": {"summary": "audio waits 35m (p95)"},
            "value": 2100.0, "value_at_fire": 2100.0, "unit": "seconds", "threshold": 1800.0,
            "active_at": "2026-03-01T11:45:00Z", "fired_at": "2026-03-01T11:55:00Z",
            "evaluated_at": "2026-03-01T12:00:00Z", "resolved_at": null, "ending": null,
            "silenced_until": "2026-03-01T13:00:00Z",
            "silences": [{ "id": 2, "ends_at": "2026-03-01T13:00:00Z", "author": "ann", "comment": "maintenance" }],
        })
    );
    assert_eq!(alerts[2]["fired_at"], Value::Null);
    assert_eq!(alerts[3]["resolved_at"], "2026-03-01T11:30:00Z");
    assert_eq!(alerts[3]["ending"], "recovered");
}

#[tokio::test]
async fn a_job_has_its_whole_timeline() {
    let expected = json!({
        "id": "job-nightly", "name": "nightly", "queue": "production", "share": null,
        "state": "running", "status": "running", "status_reason": "Running", "priority": 10,
        "created_at": "2026-03-01T10:36:40Z", "scheduled_at": "2026-03-01T10:53:20Z",
        "started_at": "2026-03-01T10:55:00Z", "stopped_at": null,
        "wait_seconds": 1000.0, "waiting_seconds": null, "attempts": 2, "preemptions": 1, "retries_left": 2, "preemptions_left": null, "attempt_timeout_seconds": null, "time_limit_at": null, "gpus": 32.0,
        "demand": [{"unit": "ml.p5.48xlarge", "quantity": 4.0}],
        "owner": "ada", "tags": {}, "training_job": "AWSBatch-nightly-2",
        "story": [], "why": null, "start": null, "start_by": null,
        "spans": [
            waited(
                span("waiting", 1, "2026-03-01T10:36:40Z", Some("2026-03-01T10:53:20Z")),
                &json!({ "capacity_in_use": 700.0, "behind": 290.0 }),
            ),
            span("running", 1, "2026-03-01T10:53:20Z", Some("2026-03-01T11:10:00Z")),
            waited(
                span("waiting", 2, "2026-03-01T11:10:00Z", Some("2026-03-01T11:43:20Z")),
                &json!({ "share_at_limit": 1_500.0, "no_capacity": 500.0 }),
            ),
            span("running", 2, "2026-03-01T11:43:20Z", None),
        ],
    });
    check("/api/v1/jobs/job-nightly", "", expected).await;
}

/// A span with times reported by AWS.
fn span(phase: &str, attempt: u32, from: &str, to: Option<&str>) -> Value {
    json!({
        "phase": phase, "attempt": attempt, "from": from, "to": to, "from_uncertain_seconds": 0.0,
        "to_uncertain_seconds": to.map(|_| 0.0),
    })
}

/// Adds the waited seconds by reason.
fn waited(mut span: Value, seconds: &Value) -> Value {
    span["waited_seconds"] = seconds.clone();
    span
}

#[tokio::test]
async fn jobs_come_in_pages_without_gaps_or_repeats() {
    let server = Server::start().await;
    let (mut seen, mut path) = (Vec::new(), "/api/v1/jobs?queue=research&state=RUNNABLE&limit=5".to_owned());
    loop {
        let page = server.get(&path).await.json();
        seen.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/jobs?queue=research&state=runnable&limit=5&after={next}");
    }
    assert_eq!(seen, (0..12).map(|number| format!("job-{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_text_that_means_several_jobs_lists_them() {
    let server = Server::start().await;
    assert_eq!(server.get("/api/v1/jobs/night").await.json()["id"], "job-nightly");
    let answer = server.get("/api/v1/jobs/vision").await;
    assert_eq!((answer.status, &*answer.error_code()), (409, "ambiguous"));
    let body = answer.json();
    assert_eq!(body["jobs"].as_array().unwrap().len(), 4);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "4 jobs match \"vision\"; give the id of one: job-01 (vision-pretrain-1, runnable, owner ada); "
        ),
        "{message}"
    );
}

#[tokio::test]
async fn jobs_can_be_narrowed() {
    for (query, count) in [
        ("", 14),
        ("?", 14),
        ("?queue=research", 12),
        ("?queue=nowhere", 0),
        ("?share=vision", 4),
        ("?share=", 2),
        ("?state=running", 1),
        ("?name=language", 8),
        ("?name=language-pretrain-1", 1),
        ("?name=pretrain", 0),
        ("?name=vision-pretrain-1&owner=ada", 2),
        ("?owner=ada", 13),
        ("?owner=nobody", 0),
        ("?id=job-0", 10),
        ("?id=job-03&state=runnable", 1),
        ("?limit=500", 14),
        ("?sort=created", 14),
        ("?sort=newest", 14),
        ("?type=ml.p5.48xlarge", 14),
        ("?type=ml.g5.xlarge", 0),
        ("?reason=share_at_limit", 8),
        ("?reason=BEHIND", 0),
        ("?state=failed&owner=bob", 1),
        ("?sort=waiting", 12),
        ("?sort=waiting&limit=3", 3),
        ("?queue=rese%61rch&share=vision", 4),
    ] {
        let body = Server::start().await.get(&format!("/api/v1/jobs{query}")).await.json();
        assert_eq!(body["jobs"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn health_has_the_clock_and_each_source() {
    check("/api/v1/health", "/status", json!("degraded")).await;
    check("/api/v1/health", "/ready", json!(true)).await;
    check("/api/v1/health", "/clock_speed", json!(1.0)).await;
    check("/api/v1/health", "/started_at", json!("2026-03-01T11:00:00Z")).await;
    check("/api/v1/health", "/ticked_at", json!("2026-03-01T12:00:00Z")).await;
    check("/api/v1/health", "/version", json!(env!("CARGO_PKG_VERSION"))).await;
    let troubled = json!({"target": "eu-west-1", "source": "snapshot", "age_seconds": 94.0, "error": "research: rate exceeded (throttled)"});
    check("/api/v1/health", "/sources/2", troubled).await;
    check(
        "/api/v1/health",
        "/sources/4",
        json!({"target": "eu-west-1", "source": "utilisation", "age_seconds": null, "error": null}),
    )
    .await;
}

#[tokio::test]
async fn probes_follow_the_engine() {
    let tick = |ready, at| Snapshot { ready, ticked_at: at, ..Snapshot::default() };
    let (early, late) = (fixture_snapshot::ago(10), fixture_snapshot::ago(300));
    for (snapshot, healthz, readyz, status) in [
        // The service started an hour before: never having ticked is a failure too.
        (tick(false, None), 503, 503, "stale"),
        (tick(false, Some(early)), 200, 503, "starting"),
        (tick(true, Some(early)), 200, 200, "ok"),
        (tick(true, Some(late)), 503, 200, "stale"),
    ] {
        let server = Server::serving(Snapshot::default(), mpsc::channel(1).0).await;
        server.snapshot.send_replace(snapshot);
        assert_eq!(server.get("/healthz").await.status, healthz, "{status}");
        assert_eq!(server.get("/readyz").await.status, readyz, "{status}");
        assert_eq!(server.get("/api/v1/health").await.json()["status"], status);
    }
}

#[tokio::test]
async fn probes_and_metrics_speak_their_readers_formats() {
    let server = Server::start().await;
    let problems = json!(["snapshot: research: rate exceeded (throttled)"]);
    assert_eq!(server.get("/healthz").await.json(), json!({"status": "ok", "problems": problems}));
    assert_eq!(server.get("/readyz").await.json(), json!({"status": "ready", "problems": problems}));
    let metrics = server.get("/metrics").await;
    assert!(metrics.has("content-type: text/plain; version=0.0.4"), "{}", metrics.head);
    assert_eq!(metrics.text(), "trainspotter_queues 2\n");
}

#[tokio::test]
async fn probes_name_each_problem_once() {
    let failing = |source, error: &str| SourceHealth {
        source,
        age_seconds: Some(1.0),
        error: Some(error.to_owned()),
        note: None,
        failing: BTreeSet::new(),
    };
    let frame = |sources: Vec<SourceHealth>| Arc::new(Frame { sources, ..Frame::default() });
    let ticked = Snapshot { ticked_at: Some(fixture_snapshot::ago(10)), ..Snapshot::default() };
    let check = async |snapshot: Snapshot, expected: Value| {
        let server = Server::serving(Snapshot::default(), mpsc::channel(1).0).await;
        server.snapshot.send_replace(snapshot);
        assert_eq!(server.get("/healthz").await.json()["problems"], expected);
    };
    let waits = Snapshot {
        frame: frame(vec![failing(Source::Jobs, "ListServiceJobs: denied")]),
        not_ready: Some("jobs of prod: ListServiceJobs: denied".to_owned()),
        ..ticked.clone()
    };
    check(waits, json!(["jobs: ListServiceJobs: denied"])).await;
    let none = Snapshot { not_ready: Some("no job queue matches".to_owned()), ..ticked.clone() };
    check(none, json!(["no job queue matches"])).await;
    let says = "rule files: they have errors";
    let broken = Snapshot { ready: true, problems: [says.to_owned()].into(), ..ticked };
    check(broken, json!([says])).await;
}

#[tokio::test]
async fn the_age_of_a_tick_grows_with_the_clock() {
    tokio::time::pause();
    let server = Server::start().await;
    tokio::time::advance(Duration::from_secs(20)).await;
    let age = server.get("/api/v1/health").await.json()["tick_age_seconds"].as_f64().unwrap();
    assert!((20.0..21.0).contains(&age), "{age}");
}
