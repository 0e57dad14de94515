//! Topics, their subscriptions, and the latest messages.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::Duration;

use crate::api_error::ApiError;
use crate::sns::delivery::Delivery;
use crate::sns::message::{Message, Subscription};
use trainspotter_core::model::Timestamp;

/// Deduplication interval of FIFO topics.
const DEDUPLICATION: Duration = Duration::from_mins(5);
/// Maximum messages kept for the ground truth.
const MAX_KEPT: usize = 1_000;

/// All topics, by ARN.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    topics: BTreeMap<String, Topic>,
    published: u64,
    kept: VecDeque<Message>,
    due: Vec<Delivery>,
}

#[derive(Debug, Default)]
pub(super) struct Topic {
    pub fifo: bool,
    /// Attributes as set.
    pub attributes: BTreeMap<String, String>,
    /// Subscriptions by ARN.
    pub subscriptions: BTreeMap<String, Subscription>,
    /// By deduplication id: time of the first message, its id and its sequence number.
    seen: BTreeMap<String, (Timestamp, String, u64)>,
    last_number: u64,
}

impl Topics {
    /// Number of published messages; duplicates on FIFO topics do not count.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// The latest messages, oldest first.
    pub fn kept(&self) -> &VecDeque<Message> {
        &self.kept
    }

    /// Takes the deliveries added since the last call.
    pub fn take_due(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.due)
    }

    /// Creates a topic unless it exists.
    pub fn create(&mut self, name: &str, attributes: BTreeMap<String, String>) {
        let fifo = name.ends_with(".fifo");
        let topic = Topic { fifo, attributes, ..Topic::default() };
        self.topics.entry(crate::arn::topic(name)).or_insert(topic);
    }

    /// Deletes a topic and its subscriptions, if it exists.
    pub(super) fn remove(&mut self, arn: &str) {
        self.topics.remove(arn);
    }

    /// All topics by ARN, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Topic)> {
        self.topics.iter()
    }

    pub(super) fn find(&mut self, arn: &str) -> Result<&mut Topic, ApiError> {
        self.topics.get_mut(arn).ok_or_else(|| ApiError::new(404, "NotFound", "Topic does not exist"))
    }

    /// Publishes to an existing topic.
    pub(super) fn publish(&mut self, topic: &str, message: Message) {
        if let Some(topic) = self.topics.get(topic) {
            let reported = topic.subscriptions.iter().filter(|(_, subscription)| subscription.protocol == "http");
            self.due.extend(reported.map(|(arn, subscription)| Delivery::new(&message, arn, subscription)));
        }
        self.published += 1;
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(message);
    }

    /// Publishes to an existing FIFO topic, unless it received the same message within five minutes. Returns the
    /// message's id and sequence number; for a duplicate, those of the first one.
    pub(super) fn publish_once(
        &mut self,
        arn: &str,
        message: Message,
        deduplication: String,
        now: Timestamp,
    ) -> (String, u64) {
        let Some(topic) = self.topics.get_mut(arn) else { return (message.id, 0) };
        topic.seen.retain(|_, (at, _, _)| now.since(*at) < DEDUPLICATION);
        if let Some((_, id, number)) = topic.seen.get(&deduplication) {
            return (id.clone(), *number);
        }
        topic.last_number += 1;
        let answer = (message.id.clone(), topic.last_number);
        topic.seen.insert(deduplication, (now, answer.0.clone(), answer.1));
        self.publish(arn, message);
        answer
    }
}

impl Topic {
    /// Subscribes an endpoint; an existing subscription keeps its ARN.
    pub fn subscribe(&mut self, arn: String, new: Subscription) -> String {
        let same = |old: &Subscription| (&old.protocol, &old.endpoint) == (&new.protocol, &new.endpoint);
        if let Some((arn, _)) = self.subscriptions.iter().find(|(_, old)| same(old)) {
            return arn.clone();
        }
        self.subscriptions.insert(arn.clone(), new);
        arn
    }
}
