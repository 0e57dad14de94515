//! Requests that no client of ours sends.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use tower::ServiceExt as _;

use super::*;
use crate::mutated_inputs::try_mutated;

/// Method, path and query, a newline, and a body.
const EXAMPLES: [&str; 18] = [
    "GET /api/v1/jobs?limit=5&queue=prod&share=vision&state=waiting&owner=ada&sort=-created&cursor=abc\n",
    "GET /api/v1/jobs/job-1/context\n",
    "GET /api/v1/alerts/past?from=1h&to=0s&queue=prod&limit=10\n",
    "GET /api/v1/alerts/1a2b/figure\n",
    "GET /api/v1/history?metric=queue.jobs&from=6h&to=0s&queue=prod&share=vision\n",
    "GET /api/v1/histories?queue=prod&from=2026-11-28T00:00:00Z&to=2026-11-28T06:00:00Z\n",
    "GET /api/v1/report?from=1d&to=0s&by=share,owner\n",
    "GET /api/v1/what-if?queue=prod&share=vision&limit=ml.p5.48xlarge=8&from=1h\n",
    "GET /api/v1/what-if/candidates?queue=prod\n",
    "GET /api/v1/when?queue=prod&share=vision&instances=2&instance_type=ml.p5.48xlarge\n",
    "GET /api/v1/outbox?receiver=oncall&state=dead&limit=5\n",
    "GET /api/v1/waits?queue=prod&share=vision\n",
    "GET /jobs/job-1?queue=prod\n",
    "GET /runbooks/LongWait\n",
    "POST /api/v1/silences\n{\"matchers\": [\"queue=prod\", \"share=~\\\"a|b\\\"\"], \"duration_seconds\": 600, \"comment\": \"maintenance\"}",
    "POST /api/v1/silences/7/end\n{}",
    "POST /api/v1/outbox/retry\n{\"receiver\": \"oncall\", \"ids\": [\"a\"]}",
    "POST /api/v1/notifications/test\n{\"receiver\": \"oncall\"}",
];

/// Maximum bytes of an answer that is read.
const MAX_ANSWER: usize = 16 << 20;

/// The request of an input; `None` if it is not HTTP.
fn request(input: &[u8]) -> Option<Request<Body>> {
    let (line, body) = input.split_at(input.iter().position(|byte| *byte == b'\n')?);
    let (method, path) = str::from_utf8(line).ok()?.split_once(' ')?;
    let made = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    let made = made.header(header::AUTHORIZATION, format!("Bearer {}", roles::OPERATE));
    made.header(header::CONTENT_TYPE, "application/json").body(Body::from(body[1..].to_vec())).ok()
}

#[test]
fn a_mutated_request_gets_an_answer_and_is_no_internal_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let (jobs, questions) = mpsc::channel(4);
    tokio::spawn(fixture_snapshot::answer(questions));
    let (history, asked) = mpsc::channel(4);
    tokio::spawn(history::answer_with(asked, fixture_busy::frame));
    let access = Access::new([Token::new("ann", roles::OPERATE, true)]);
    let (_figures, pages) = pages(fixture_busy::snapshot(), jobs, history, access);
    let routes = router(pages);
    let tally = try_mutated("API requests", &EXAMPLES.map(str::as_bytes), 1_000, |input| {
        let Some(request) = request(input) else { return false };
        let (parts, body) = runtime.block_on(async {
            let answer = routes.clone().oneshot(request).await.unwrap();
            let (parts, body) = answer.into_parts();
            (parts, to_bytes(body, MAX_ANSWER).await.unwrap())
        });
        assert_ne!(parts.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", body.escape_ascii());
        if parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
            let json: Result<Value, _> = serde_json::from_slice(&body);
            assert!(json.is_ok(), "{}", body.escape_ascii());
        }
        parts.status.is_success()
    });
    assert!(0 < tally.accepted && tally.accepted < tally.inputs || tally.inputs < 100, "{tally:?}");
}
