//! The context of the fixture's jobs, and the API's response.

use serde_json::json;

use crate::web::tests::Server;
use crate::web::tests::fixture_snapshot::ago;
use crate::web::{JobView, JobWithContext};
use trainspotter_core::jobs::FailureCategory;
use trainspotter_core::metrics::{Alike, AttemptEnd, HostFigures, JobContext, Neighbour};
use trainspotter_core::model::JobStatus;

/// The context of a job: the jobs ahead of a waiting one, the hosts of a running one, the reason of a failed one.
pub(super) fn around(job: &JobView) -> JobWithContext {
    let neighbour = |id: &str, name: &str, status: JobStatus, age: u64, quantity: Option<f64>| Neighbour {
        id: id.into(),
        name: name.to_owned(),
        share: Some("language".into()),
        owner: Some("bob".to_owned()),
        status,
        since: ago(age),
        quantity,
        gpus: Some(32.0),
    };
    let waits = job.status.is_waiting();
    let (ahead, holders) = if waits {
        (
            vec![neighbour("job-00", "language-pretrain-0", JobStatus::Runnable, 15_000, None)],
            vec![
                neighbour("job-nightly", "nightly", JobStatus::Running, 90_000, Some(12.0)),
                neighbour("job-b", "sweep-small", JobStatus::Starting, 600, Some(8.0)),
            ],
        )
    } else {
        (Vec::new(), Vec::new())
    };
    let host = |number: u32, utilisation: f64| HostFigures {
        host: format!("AWSBatch-nightly-2/algo-{number}"),
        gpus: 8.0,
        utilisation,
        at: ago(60),
    };
    let attempt = |from: u64, to: Option<u64>, preempted: bool| AttemptEnd {
        started_at: Some(ago(from)),
        stopped_at: to.map(ago),
        status_reason: to.map(|_| "Cross-share preemption".to_owned()),
        training_job: (!preempted).then(|| "AWSBatch-nightly-2".into()),
        preempted,
    };
    let failed = job.status == JobStatus::Failed;
    let category = FailureCategory::UserCode;
    let runs = job.status == JobStatus::Running;
    JobWithContext {
        queue_arn: Some("arn:aws:batch:eu-west-1:123456789012:job-queue/research".to_owned()),
        training_job: job.training_job.clone(),
        context: JobContext {
            holders_in_all: holders.len(),
            ahead,
            holders,
            held_unit: waits.then(|| "ml.p5.48xlarge".into()),
            alike: Some(Alike { jobs: 41, p50: 5_400.0, p90: 14_000.0, max: 21_000.0, since: ago(600_000) }),
            hosts: if runs { vec![host(1, 0.93), host(2, 0.91), host(3, 0.04), host(4, 0.95)] } else { Vec::new() },
            attempts: if runs {
                vec![attempt(4_000, Some(3_000), true), attempt(1_000, None, false)]
            } else {
                Vec::new()
            },
            failure: failed.then(|| (category, category.words(), category.next_step())),
        },
    }
}

#[tokio::test]
async fn a_job_is_shown_with_its_neighbours_hosts_and_links() {
    let server = Server::start().await;
    let body = server.get("/api/v1/jobs/job-01/context").await.json();
    assert_eq!(body["ahead"][0]["name"], "language-pretrain-0");
    assert_eq!(
        body["holders"][0],
        json!({
            "id": "job-nightly", "name": "nightly", "share": "language", "owner": "bob", "state": "running", "status": "running",
            "since": "2026-02-28T11:00:00Z", "quantity": 12.0, "gpus": 32.0,
        })
    );
    assert_eq!((&body["holders_in_all"], &body["held_unit"]), (&json!(2), &json!("ml.p5.48xlarge")));
    assert_eq!(body["alike"]["p90_seconds"], 14_000.0);
    assert_eq!((&body["failure"], &body["links"]["training_job"]), (&json!(null), &json!(null)));
    let body = server.get("/api/v1/jobs/job-nightly/context").await.json();
    assert_eq!(body["hosts"][2]["utilisation"], 0.04);
    assert_eq!((&body["attempts"][0]["preempted"], &body["attempts"][1]["stopped_at"]), (&json!(true), &json!(null)));
    let console = "https://eu-west-1.console.aws.amazon.com/sagemaker/home?region=eu-west-1#/jobs/AWSBatch-nightly-2";
    assert_eq!(body["links"]["training_job"], console);
    let answer = server.get("/api/v1/jobs/night/context").await;
    assert_eq!((answer.status, &*answer.error_code()), (404, "not_found"));
}
