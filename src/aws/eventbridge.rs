//! Hints of what happened to jobs, from an SQS queue to which EventBridge sends Batch's events.
//!
//! A hint says which job to describe next, and nothing else is taken from an event: what is lost, doubled, late or made up changes no
//! figure.

use std::time::Duration;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use serde::Deserialize;

use crate::aws::ConnectError;
use crate::aws::clients::sqs;
use crate::aws::failure::describe;
use crate::config::Target;
use trainspotter_clock::Clock;
use trainspotter_core::model::{JobId, Timestamp};

/// How long one call waits for events, in wall time: as long as SQS and the timeouts of calls allow.
const WAIT_SECONDS: i32 = 10;

/// The most messages that SQS gives at once.
const MESSAGES: i32 = 10;

/// The least wall time between two calls: whatever answers at once, though it should wait, is not asked again and again.
const LEAST_BETWEEN: Duration = Duration::from_millis(200);

/// How long to leave the queue alone after a failure, in wall time.
const PAUSE: Duration = Duration::from_secs(10);

/// Something happened to a job, as somebody says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEvent {
    /// To which job.
    pub job: JobId,
    /// When.
    pub at: Timestamp,
}

/// The queue that hints come from.
#[derive(Debug)]
pub struct JobEvents {
    client: aws_sdk_sqs::Client,
    queue: String,
    clock: Clock,
    /// When it may be asked next.
    next_at: Timestamp,
    /// Why it could not be read the last time.
    error: Option<String>,
}

impl JobEvents {
    /// The queue of a target; `None` if it has none. Nothing is called yet.
    ///
    /// # Errors
    /// The client cannot be made.
    pub async fn connect(target: &Target, clock: Clock) -> Result<Option<Self>, ConnectError> {
        let Some(queue) = target.events.clone() else { return Ok(None) };
        let client = sqs(target, &queue, clock).await?;
        Ok(Some(Self { client, queue, clock, next_at: clock.now(), error: None }))
    }

    /// The next hints. Waits for them, and for the queue when it cannot be reached, which is logged: polls see what happens
    /// anyway. Whoever does not come back for them loses them.
    pub async fn next(&mut self) -> Vec<JobEvent> {
        loop {
            self.clock.sleep_until(self.next_at).await;
            self.next_at = self.clock.now() + self.clock.of_wall(LEAST_BETWEEN);
            match self.receive().await {
                Ok(hints) => {
                    self.note(None);
                    if !hints.is_empty() {
                        return hints;
                    }
                }
                Err(error) => {
                    self.note(Some(error));
                    self.clock.sleep(self.clock.of_wall(PAUSE)).await;
                }
            }
        }
    }

    /// Logs how the queue answers, whenever that changes.
    fn note(&mut self, error: Option<String>) {
        match (&self.error, &error) {
            (before, Some(error)) if before.as_ref() != Some(error) => {
                tracing::warn!(error, "the queue of events cannot be read; changes are seen by polls only");
            }
            (Some(_), None) => tracing::info!("the queue of events is read again"),
            (_, _) => {}
        }
        self.error = error;
    }

    async fn receive(&self) -> Result<Vec<JobEvent>, String> {
        let receive = self.client.receive_message().queue_url(&self.queue).max_number_of_messages(MESSAGES);
        let answer = receive.wait_time_seconds(WAIT_SECONDS).send().await;
        let messages = answer.map_err(|error| describe("ReceiveMessage", &error))?.messages.unwrap_or_default();
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let receipts = messages.iter().enumerate().filter_map(receipt).collect();
        let delete = self.client.delete_message_batch().queue_url(&self.queue).set_entries(Some(receipts));
        // What is not deleted comes again, which does no harm.
        if let Err(error) = delete.send().await {
            tracing::warn!(error = describe("DeleteMessageBatch", &error), "events stay in their queue");
        }
        Ok(messages.iter().filter_map(|message| hint(message.body()?)).collect())
    }
}

fn receipt((number, message): (usize, &Message)) -> Option<DeleteMessageBatchRequestEntry> {
    let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
    entry.receipt_handle(message.receipt_handle()?).build().ok()
}

/// An event of EventBridge, as far as it is read.
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
    /// What preemptions name instead.
    preempted_job_arn: Option<String>,
}

/// What an event hints at; `None` if it is none of Batch's, or of no job.
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
    use crate::aws::fake;

    #[tokio::test]
    async fn a_queue_that_answers_at_once_is_not_asked_again_and_again() {
        for answer in [json!({}), json!({"Messages": [{"Body": "none of ours", "ReceiptHandle": "r"}]})] {
            let (endpoint, log) = fake::serve(move |operation, _| match operation {
                "ReceiveMessage" => (200, answer.clone()),
                _ => (200, json!({"Successful": [], "Failed": []})),
            })
            .await;
            let target = Target { events: Some(format!("{endpoint}/1/events")), ..fake::target(&endpoint) };
            let mut hints = JobEvents::connect(&target, Clock::real()).await.unwrap().unwrap();
            let asked_for = Duration::from_millis(1_100);
            assert!(tokio::time::timeout(asked_for, hints.next()).await.is_err(), "there are no hints");
            let asked = log.lock().unwrap().iter().filter(|(operation, _)| operation == "ReceiveMessage").count();
            assert!((1..=6).contains(&asked), "asked {asked} times in {asked_for:?}");
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
