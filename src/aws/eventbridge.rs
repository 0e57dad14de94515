//! Receives hints about job changes from an SQS queue that EventBridge sends Batch events to.
//!
//! A hint only says which job to describe next. No other data is taken from an event, so lost, duplicate, late or
//! forged events change no figure.

use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, DeleteMessageBatchRequestEntry, Message};
use serde::Deserialize;

use crate::aws::ConnectError;
use crate::aws::clients::sqs;
use crate::aws::failure::Failure;
use crate::config::Target;
use trainspotter_clock::Clock;
use trainspotter_core::model::{JobId, Timestamp};

/// Long polling wait of one call, in wall time: the maximum that SQS and the call timeouts allow.
const WAIT_SECONDS: i32 = 10;

/// Maximum messages per SQS call.
const MESSAGES: i32 = 10;

/// Minimum wall time between two calls, for endpoints that return at once instead of long polling.
const MIN_CALL_INTERVAL: Duration = Duration::from_millis(200);

/// Pause after a failure, in wall time.
const PAUSE: Duration = Duration::from_secs(10);

const DELETE: &str = "DeleteMessageBatch";

/// A hint that a job changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// The job.
    pub job: JobId,
    /// Time of the event.
    pub at: Timestamp,
}

/// The SQS queue of events.
#[derive(Debug)]
pub struct JobEvents {
    client: aws_sdk_sqs::Client,
    queue: String,
    clock: Clock,
    /// Earliest time of the next call.
    next_at: Timestamp,
}

/// Result of one call to the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The events received.
    pub events: Vec<JobEvent>,
    /// Time of the call.
    pub at: Timestamp,
    /// The failure, if any. Polls still see every change.
    pub error: Option<String>,
}

impl JobEvents {
    /// Connects to the event queue of a target; `None` if it has none. Makes no request yet.
    ///
    /// # Errors
    /// The client cannot be created.
    pub async fn connect(target: &Target, clock: Clock) -> Result<Option<Self>, ConnectError> {
        let Some(queue) = target.events.clone() else { return Ok(None) };
        let client = sqs(target, &queue, clock).await?;
        Ok(Some(Self { client, queue, clock, next_at: clock.now() }))
    }

    /// Receives the next batch of events. Waits for the pause to end, then long-polls. Not cancel-safe: events are
    /// lost if the future is dropped.
    pub async fn next(&mut self) -> Received {
        self.clock.sleep_until(self.next_at).await;
        let at = self.clock.now();
        let (events, failure) = match self.receive().await {
            Ok((events, kept)) => (events, kept),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let pause = if failure.is_some() { PAUSE } else { MIN_CALL_INTERVAL };
        self.next_at = at + self.clock.of_wall(pause);
        Received { events, at, error: failure.map(|failure| failure.to_string()) }
    }

    /// Receives events and deletes them from the queue. The failure, if any, says why they could not be deleted.
    async fn receive(&self) -> Result<(Vec<JobEvent>, Option<Failure>), Failure> {
        let receive = self.client.receive_message().queue_url(&self.queue).max_number_of_messages(MESSAGES);
        let answer = receive.wait_time_seconds(WAIT_SECONDS).send().await;
        let answer = answer.map_err(|error| Failure::new("ReceiveMessage", &error))?;
        let messages = answer.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok((Vec::new(), None));
        }
        let receipts = messages.iter().enumerate().filter_map(receipt).collect();
        let delete = self.client.delete_message_batch().queue_url(&self.queue).set_entries(Some(receipts));
        // Messages that are not deleted are delivered again: harmless, but it costs calls.
        let kept = match delete.send().await {
            Ok(answer) => answer.failed().first().map(stays),
            Err(error) => Some(Failure::new(DELETE, &error)),
        };
        Ok((messages.iter().filter_map(|message| hint(message.body()?)).collect(), kept))
    }
}

/// Why a message could not be deleted.
fn stays(failed: &BatchResultErrorEntry) -> Failure {
    let why = failed.message().unwrap_or("AWS gives no reason");
    Failure::of_answer(DELETE, format_args!("events stay in their queue: {}: {why}", failed.code()))
}

fn receipt((number, message): (usize, &Message)) -> Option<DeleteMessageBatchRequestEntry> {
    let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
    entry.receipt_handle(message.receipt_handle()?).build().ok()
}

/// The parsed part of an EventBridge event.
#[derive(Deserialize)]
struct Event {
    source: String,
    time: Timestamp,
    detail: Detail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    job_id: Option<JobId>,
    /// Preemption events have this instead.
    preempted_job_arn: Option<String>,
}

/// Parses a message to a hint; `None` if it is not a Batch event or has no job.
fn hint(body: &str) -> Option<JobEvent> {
    let Event { source, time, detail } = serde_json::from_str(body).ok()?;
    let of_arn = || Some(detail.preempted_job_arn.as_deref()?.rsplit_once('/')?.1.into());
    let job = detail.job_id.or_else(of_arn)?;
    (source == "aws.batch").then_some(JobEvent { job, at: time })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::scripted_endpoint;

    #[tokio::test]
    async fn a_queue_that_answers_at_once_is_not_asked_again_and_again() {
        for answer in [json!({}), json!({"Messages": [{"Body": "none of ours", "ReceiptHandle": "r"}]})] {
            let (endpoint, log) = scripted_endpoint::serve(move |operation, _| match operation {
                "ReceiveMessage" => (200, answer.clone()),
                _ => (200, json!({"Successful": [], "Failed": []})),
            })
            .await;
            let target =
                Target { events: Some(format!("{endpoint}/1/events")), ..scripted_endpoint::target(&endpoint) };
            let mut hints = JobEvents::connect(&target, Clock::real()).await.unwrap().unwrap();
            let asked_for = Duration::from_millis(1_100);
            let listening = async {
                loop {
                    let heard = hints.next().await;
                    assert_eq!((heard.events, heard.error), (vec![], None), "there are no hints");
                }
            };
            assert!(tokio::time::timeout(asked_for, listening).await.is_err());
            let asked = log.lock().unwrap().iter().filter(|(operation, _)| operation == "ReceiveMessage").count();
            assert!((1..=6).contains(&asked), "asked {asked} times in {asked_for:?}");
        }
    }

    #[tokio::test]
    async fn a_queue_that_cannot_be_read_or_emptied_is_reported_and_loses_no_event() {
        let body = r#"{"source":"aws.batch","time":"2026-11-01T10:00:07Z","detail":{"jobId":"j-1"}}"#;
        let (endpoint, _) =
            scripted_endpoint::serve(move |operation, asked| match (operation, asked["QueueUrl"].as_str()) {
                ("ReceiveMessage", Some(queue)) if queue.ends_with("denied") => {
                    scripted_endpoint::error(400, "AccessDeniedException", "not you")
                }
                ("ReceiveMessage", _) => (200, json!({"Messages": [{"Body": body, "ReceiptHandle": "r"}]})),
                (_, Some(queue)) if queue.ends_with("kept") => (
                    200,
                    json!({"Successful": [], "Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": false}]}),
                ),
                (_, Some(queue)) if queue.ends_with("locked") => {
                    scripted_endpoint::error(400, "AccessDeniedException", "not you")
                }
                _ => (200, json!({"Successful": [{"Id": "0"}], "Failed": []})),
            })
            .await;
        for (queue, events, expected) in [
            ("denied", 0, Some("allow sqs:ReceiveMessage")),
            ("kept", 1, Some("events stay in their queue: InternalError")),
            ("locked", 1, Some("allow sqs:DeleteMessage ")),
            ("well", 1, None),
        ] {
            let target =
                Target { events: Some(format!("{endpoint}/1/{queue}")), ..scripted_endpoint::target(&endpoint) };
            let mut source = JobEvents::connect(&target, Clock::fast(scripted_endpoint::SPEED)).await.unwrap().unwrap();
            let heard = source.next().await;
            assert_eq!(heard.events.len(), events, "{queue}");
            let error = heard.error.as_deref();
            assert_eq!(error.is_some(), expected.is_some(), "{queue}: {error:?}");
            assert!(error.is_none_or(|error| error.contains(expected.unwrap())), "{queue}: {error:?}");
        }
    }

    #[test]
    fn events_of_batch_hint_at_their_job_and_nothing_else_does() {
        let of = |source: &str, detail: &str| {
            let event = format!(
                r#"{{"version":"0","source":"{source}","detail-type":"any","time":"2026-11-01T10:00:07Z","resources":[],
                   "detail":{detail}}}"#
            );
            hint(&event).map(|hint| (hint.job.to_string(), hint.at.to_string()))
        };
        let at = |job: &str| Some((job.to_owned(), "2026-11-01T10:00:07Z".to_owned()));
        assert_eq!(of("aws.batch", r#"{"jobId":"j-1","status":"FAILED","jobArn":"arn:other/j-9"}"#), at("j-1"));
        let preempted =
            r#"{"statusReason":"x","preemptedJobArn":"arn:aws:batch:r:1:service-job/j-2","status":"RUNNING"}"#;
        assert_eq!(of("aws.batch", preempted), at("j-2"));
        assert_eq!(of("aws.sagemaker", r#"{"jobId":"j-1"}"#), None);
        assert_eq!(of("aws.batch", "{}"), None);
        for garbage in ["", "null", "{}", r#"{"source":"aws.batch","time":"soon","detail":{"jobId":"j"}}"#] {
            assert_eq!(hint(garbage), None);
        }
    }
}
