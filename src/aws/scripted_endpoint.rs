//! A scripted AWS endpoint on the loopback interface, for tests: a function computes the response to each request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::aws::Clients;
use crate::aws::Poller;
use crate::aws::connect;
use crate::config::Poll;
use crate::config::Target;
use trainspotter_clock::Clock;
use trainspotter_core::model::Observation;
use trainspotter_core::model::Source;

/// Requests by operation (`listservicejobs`, `DescribeTrainingJob`) and body, in order of arrival.
pub(crate) type Log = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves `script` on a free port until the runtime ends. Returns the endpoint's URL and the request log.
pub(crate) async fn serve(
    script: impl Fn(&str, &Value) -> (u16, Value) + Clone + Send + Sync + 'static,
) -> (String, Log) {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let (script, seen) = (script.clone(), Arc::clone(&seen));
        async move { reply(&script, &seen, &uri, &headers, &body) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (format!("http://{address}"), log)
}

fn reply(
    script: impl Fn(&str, &Value) -> (u16, Value),
    seen: &Log,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let target = headers.get("x-amz-target").map(|target| target.to_str().unwrap());
    let operation = match target {
        Some(target) => target.rsplit('.').next().unwrap(),
        None => uri.path().rsplit('/').next().unwrap(),
    };
    let cbor = headers.contains_key("smithy-protocol");
    let body: Value = match (body.is_empty(), cbor) {
        (true, _) => Value::Null,
        (false, true) => Value::Null,
        // STS requests are form-encoded.
        (false, false) => serde_json::from_slice(body).unwrap_or_default(),
    };
    let (status, answer) = script(operation, &body);
    seen.lock().unwrap().push((operation.to_owned(), body));
    let status = StatusCode::from_u16(status).unwrap();
    if cbor {
        let mut bytes = Vec::new();
        ciborium::into_writer(&cbor_of(&answer), &mut bytes).unwrap();
        return (status, [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")], bytes)
            .into_response();
    }
    (status, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// Encodes JSON as CBOR; a text `@1700000000` becomes a timestamp.
fn cbor_of(value: &Value) -> ciborium::Value {
    use ciborium::Value as Cbor;
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(is) => Cbor::Bool(*is),
        Value::Number(number) => Cbor::Float(number.as_f64().unwrap()),
        Value::String(text) => match text.strip_prefix('@') {
            Some(seconds) => Cbor::Tag(1, Box::new(Cbor::Float(seconds.parse().unwrap()))),
            None => Cbor::Text(text.clone()),
        },
        Value::Array(items) => Cbor::Array(items.iter().map(cbor_of).collect()),
        Value::Object(map) => {
            Cbor::Map(map.iter().map(|(key, item)| (Cbor::Text(key.clone()), cbor_of(item))).collect())
        }
    }
}

/// The topology of one healthy FIFO queue `q`, for scripts that test something else.
pub(crate) fn one_queue(operation: &str) -> Option<Value> {
    match operation {
        "describejobqueues" => Some(json!({"jobQueues": [{
            "jobQueueName": "q", "jobQueueArn": "arn:aws:batch:us-east-1:1:job-queue/q", "state": "ENABLED",
            "status": "VALID", "jobQueueType": "SAGEMAKER_TRAINING", "priority": 1,
            "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": "gpus"}],
        }]})),
        "describeserviceenvironments" => Some(json!({"serviceEnvironments": [{
            "serviceEnvironmentName": "gpus", "serviceEnvironmentType": "SAGEMAKER_TRAINING", "state": "ENABLED",
            "capacityLimits": [{"maxCapacity": 4, "capacityUnit": "NUM_INSTANCES"}],
        }]})),
        "getjobqueuesnapshot" => Some(json!({"frontOfQueue": {"jobs": []}})),
        _ => None,
    }
}

/// Clock speed relative to wall time, so that backoffs take no time.
pub(crate) const SPEED: f64 = 1000.0;

pub(crate) fn target(endpoint: &str) -> Target {
    Target { endpoint: Some(endpoint.to_owned()), ..Target::new("us-east-1") }
}

pub(crate) fn poll_config() -> Poll {
    Poll {
        every: Duration::from_secs(30),
        topology_every: Duration::from_secs(300),
        reconcile_every: Duration::from_secs(900),
        utilisation_every: Duration::from_secs(300),
        calls_per_second: 1e6,
    }
}

/// Creates a poller of the endpoint, with its clients and clock.
pub(crate) async fn poller(endpoint: &str, poll: Poll) -> (Poller, Clients, Clock) {
    let clock = Clock::fast(SPEED);
    let clients = connect(&target(endpoint), poll.calls_per_second, clock).await.unwrap();
    let mut poller = Poller::new(clients.clone(), target(endpoint), poll, clock);
    poller.identity = crate::aws::identity::Identity::known();
    (poller, clients, clock)
}

/// A channel large enough that tests need not drain it while polling.
pub(crate) fn channel() -> (mpsc::Sender<Vec<Observation>>, mpsc::Receiver<Vec<Observation>>) {
    mpsc::channel(10_000)
}

/// All observations sent so far.
pub(crate) fn received(from: &mut mpsc::Receiver<Vec<Observation>>) -> Vec<Observation> {
    let mut all = Vec::new();
    while let Ok(observations) = from.try_recv() {
        all.extend(observations);
    }
    all
}

/// A job summary.
pub(crate) fn job(id: &str, status: &str, created_at: i64) -> Value {
    json!({"jobId": id, "jobArn": format!("arn:{id}"), "jobName": id, "serviceJobType": "SAGEMAKER_TRAINING",
           "status": status, "createdAt": created_at})
}

/// A page of jobs.
pub(crate) fn page(jobs: &[Value], next: Option<&str>) -> (u16, Value) {
    match next {
        Some(next) => (200, json!({"jobSummaryList": jobs, "nextToken": next})),
        None => (200, json!({"jobSummaryList": jobs})),
    }
}

/// An error in AWS's format.
pub(crate) fn error(status: u16, code: &str, message: &str) -> (u16, Value) {
    (status, json!({"__type": code, "code": code, "message": message}))
}

/// Status and page token of a ListServiceJobs request; the status of arrivals is `ARRIVALS`.
pub(crate) fn asked(body: &Value) -> (String, Option<&str>) {
    let status = body.get("jobStatus").and_then(Value::as_str).unwrap_or("ARRIVALS");
    (status.to_owned(), body.get("nextToken").and_then(Value::as_str))
}

/// Requested statuses, in order.
pub(crate) fn lists(log: &Log) -> Vec<String> {
    let log = log.lock().unwrap();
    log.iter().filter(|(operation, _)| operation == "listservicejobs").map(|(_, body)| asked(body).0).collect()
}

/// Observations as short texts; those of topology and calls are left out.
pub(crate) fn shown(observations: &[Observation]) -> Vec<String> {
    observations
        .iter()
        .filter_map(|observation| match observation {
            Observation::Jobs { jobs, .. } => {
                Some(jobs.iter().map(|job| format!("{} {}", job.id, job.status)).collect::<Vec<_>>().join(", "))
            }
            Observation::JobGone { id, .. } => Some(format!("gone {id}")),
            Observation::InFlightListed { queue, .. } => Some(format!("in flight {queue}")),
            Observation::WaitingListed { queue, .. } => Some(format!("waiting {queue}")),
            Observation::Snapshot(_) => Some("snapshot".to_owned()),
            Observation::TrainingJob(seen) => Some(format!("training job {}", seen.name)),
            Observation::Utilisation { hosts, .. } => Some(format!("utilisation of {}", hosts.len())),
            Observation::Answered { source: Source::Topology, .. } => None,
            Observation::Answered { source, .. } => Some(format!("{} answered", source.as_str())),
            Observation::Failed { source, error, .. } => Some(format!("{} failed: {error}", source.as_str())),
            Observation::Undescribed { item, error, .. } => Some(format!("undescribed {}: {error}", item.as_str())),
            Observation::UnknownValue { kind, value } => Some(format!("unknown {kind} {value}")),
            Observation::LimitHit { limit, times } => Some(format!("limit {limit} {times}")),
            Observation::NoQueues { why } => Some(format!("no queues: {why}")),
            Observation::TooManyQueues { why } => why.as_ref().map(|why| format!("too many queues: {why}")),
            Observation::AccountLimits(_)
            | Observation::TrainingJobsListed { .. }
            | Observation::OutsideTrainingJob { .. }
            | Observation::Account(_)
            | Observation::Topology { .. }
            | Observation::Calls(_)
            | Observation::Reserved { .. } => None,
        })
        .collect()
}
