//! Delivers messages to HTTP subscribers, in SNS's format. Loopback addresses only: the simulator sends nothing to
//! other hosts.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::Digest;
use sha2::Sha256;
use tokio::sync::Semaphore;
use url::Host;
use url::Url;

use crate::api_error::without_nulls;
use crate::sns::message::{Message, Subscription};
use trainspotter_clock::Clock;

/// SNS's default delivery policy for HTTP: three retries, 20 seconds apart.
const ATTEMPTS: u32 = 4;
const BETWEEN: Duration = Duration::from_secs(20);
/// SNS's timeout for a response, in wall time.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum deliveries in progress; further ones are dropped and logged.
const MAX_UNDER_WAY: usize = 256;

/// One message to one subscriber.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivery {
    endpoint: String,
    message_id: String,
    topic: String,
    subscription: String,
    body: String,
}

impl Delivery {
    pub(super) fn new(message: &Message, arn: &str, subscription: &Subscription) -> Self {
        let attributes: serde_json::Map<_, _> = message
            .attributes
            .iter()
            .map(|(name, kind, value)| (name.clone(), json!({"Type": kind, "Value": value})))
            .collect();
        let body = json!({
            "Type": "Notification",
            "MessageId": message.id,
            "TopicArn": message.topic,
            "Subject": message.subject,
            "Message": message.text,
            "Timestamp": message.at,
            "SignatureVersion": "1",
            "Signature": "simulated",
            "SigningCertURL": "",
            "UnsubscribeURL": "",
            "MessageAttributes": (!attributes.is_empty()).then_some(attributes),
        });
        let raw = subscription.attributes.get("RawMessageDelivery").is_some_and(|value| value == "true");
        Self {
            endpoint: subscription.endpoint.clone(),
            message_id: message.id.clone(),
            topic: message.topic.clone(),
            subscription: arn.to_owned(),
            body: if raw { message.text.clone() } else { without_nulls(body).to_string() },
        }
    }
}

/// Delivers messages in the background. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Postman {
    client: Option<reqwest::Client>,
    clock: Clock,
    room: Arc<Semaphore>,
}

impl Postman {
    pub fn new(clock: Clock) -> Self {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .inspect_err(|error| {
                tracing::error!(
                    %error,
                    "cannot create an HTTP client; SNS messages are not delivered"
                )
            })
            .ok();
        Self { client, clock, room: Arc::new(Semaphore::new(MAX_UNDER_WAY)) }
    }

    /// Starts deliveries.
    pub fn send(&self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let (Some(client), Ok(room)) = (self.client.clone(), Arc::clone(&self.room).try_acquire_owned()) else {
                tracing::warn!(endpoint = delivery.endpoint, "too many concurrent deliveries; dropped one");
                continue;
            };
            let clock = self.clock;
            tokio::spawn(async move {
                deliver(&client, clock, &delivery).await;
                drop(room);
            });
        }
    }
}

async fn deliver(client: &reqwest::Client, clock: Clock, delivery: &Delivery) {
    for attempt in 1..=ATTEMPTS {
        match post(client, delivery).await {
            Ok(status) if status.is_success() => return,
            Ok(status) => tracing::debug!(
                attempt,
                %status,
                endpoint = delivery.endpoint,
                "a subscriber rejected a message"
            ),
            Err(error) => tracing::debug!(attempt, %error, endpoint = delivery.endpoint, "cannot reach a subscriber"),
        }
        if attempt < ATTEMPTS {
            clock.sleep(BETWEEN).await;
        }
    }
    tracing::warn!(endpoint = delivery.endpoint, "gave up delivering a message to a subscriber");
}

async fn post(client: &reqwest::Client, delivery: &Delivery) -> reqwest::Result<reqwest::StatusCode> {
    let response = client
        .post(&delivery.endpoint)
        .header("content-type", "text/plain; charset=UTF-8")
        .header("x-amz-sns-message-type", "Notification")
        .header("x-amz-sns-message-id", &delivery.message_id)
        .header("x-amz-sns-topic-arn", &delivery.topic)
        .header("x-amz-sns-subscription-arn", &delivery.subscription)
        .body(delivery.body.clone())
        .send()
        .await?;
    Ok(response.status())
}

/// Whether a URL points to this machine, by a literal address or the name `localhost`.
pub(super) fn is_loopback(endpoint: &str) -> bool {
    let Ok(url) = Url::parse(endpoint) else { return false };
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
}

/// Deduplication key of a message's text, for topics with content-based deduplication.
pub(super) fn digest(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_notified() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:1/x", true),
            ("http://[::1]:1/x", true),
            ("http://localhost:1", true),
            ("https://127.0.0.1/", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://169.254.169.254/", false),
            ("not a url", false),
        ] {
            assert_eq!(is_loopback(endpoint), expected, "{endpoint}");
        }
    }
}
