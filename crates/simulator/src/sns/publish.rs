//! `Publish` and `PublishBatch`, with the limits of their API reference.

use std::collections::BTreeSet;

use crate::World;
use crate::api_error::ApiError;
use crate::aws_query::Form;
use crate::aws_query::element;
use crate::sns::delivery;
use crate::sns::invalid;
use crate::sns::manage::element_of;
use crate::sns::message::Message;
use crate::sns::topics::Topic;

/// Default `MaximumMessageSize` of a topic, including attributes.
const MAX_MESSAGE_BYTES: usize = 256 * 1_024;
/// "less than 100 characters".
const MAX_SUBJECT: usize = 99;
const MAX_ID: usize = 128;
/// Maximum messages of a batch, characters of an entry's id, and bytes of the whole batch.
const MAX_ENTRIES: usize = 10;
const MAX_ENTRY_ID: usize = 80;
const MAX_BATCH_BYTES: usize = MAX_MESSAGE_BYTES;
const DATA_TYPES: [&str; 4] = ["String", "String.Array", "Number", "Binary"];

pub(super) fn publish(world: &mut World, form: &Form) -> Result<String, ApiError> {
    let arn = form.get("TopicArn").or(form.get("TargetArn")).ok_or_else(|| invalid("TopicArn or TargetArn"))?;
    world.faults.fail_topic(arn.rsplit(':').next().unwrap_or_default())?;
    publish_one(world, arn, Entry { form, prefix: "" })
}

/// Publishes each entry separately: some may fail.
pub(super) fn publish_batch(world: &mut World, form: &Form) -> Result<String, ApiError> {
    let arn = form.required("TopicArn")?;
    let prefixes: Vec<_> = form.entries("PublishBatchRequestEntries.member").map(|entry| format!("{entry}.")).collect();
    let entries: Vec<_> = prefixes.iter().map(|prefix| Entry { form, prefix }).collect();
    check_batch(&entries)?;
    world.topics.find(arn)?;
    world.faults.fail_topic(arn.rsplit(':').next().unwrap_or_default())?;
    let (mut successful, mut failed) = (String::new(), String::new());
    for entry in entries {
        let id = element("Id", entry.get("Id").unwrap_or_default());
        match publish_one(world, arn, entry) {
            Ok(members) => successful += &element_of("member", &(id + &members)),
            Err(error) => {
                let fault = if error.status < 500 { "true" } else { "false" };
                let members =
                    element("Code", error.code) + &element("Message", &error.message) + &element("SenderFault", fault);
                failed += &element_of("member", &(id + &members));
            }
        }
    }
    Ok(element_of("Successful", &successful) + &element_of("Failed", &failed))
}

fn check_batch(entries: &[Entry<'_>]) -> Result<(), ApiError> {
    if entries.is_empty() {
        return Err(ApiError::bad("EmptyBatchRequest", "The batch request doesn't contain any entries."));
    }
    if entries.len() > MAX_ENTRIES {
        let message = "The batch request contains more entries than permissible.";
        return Err(ApiError::bad("TooManyEntriesInBatchRequest", message));
    }
    let mut ids = BTreeSet::new();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for entry in entries {
        let id = entry.get("Id").unwrap_or_default();
        if id.is_empty() || id.len() > MAX_ENTRY_ID || !id.chars().all(legal) {
            let message = "The Id of a batch entry in a batch request doesn't abide by the specification.";
            return Err(ApiError::bad("InvalidBatchEntryId", message));
        }
        if !ids.insert(id) {
            let message = "Two or more batch entries in the request have the same Id.";
            return Err(ApiError::bad("BatchEntryIdsNotDistinct", message));
        }
    }
    let bytes: usize = entries.iter().map(|entry| entry.get("Message").unwrap_or_default().len()).sum();
    if bytes > MAX_BATCH_BYTES {
        return Err(ApiError::bad(
            "BatchRequestTooLong",
            "The length of all the batch messages put together is more than the limit.",
        ));
    }
    Ok(())
}

/// The members of one message: those of the request, or of an entry of a batch.
#[derive(Clone, Copy)]
struct Entry<'a> {
    form: &'a Form,
    prefix: &'a str,
}

impl<'a> Entry<'a> {
    fn get(self, member: &str) -> Option<&'a str> {
        self.form.get(&format!("{}{member}", self.prefix))
    }

    /// Name, data type and value of each attribute.
    fn attributes(self) -> Result<Vec<(String, String, String)>, ApiError> {
        let list = format!("{}MessageAttributes.entry", self.prefix);
        let read = |entry: String| {
            let member = |name: &str| self.form.get(&format!("{entry}.{name}")).unwrap_or_default().to_owned();
            let value = member("Value.StringValue") + &member("Value.BinaryValue");
            let (name, kind) = (member("Name"), member("Value.DataType"));
            let plain = DATA_TYPES.iter().any(|known| {
                kind.strip_prefix(known).is_some_and(|custom| custom.is_empty() || custom.starts_with('.'))
            });
            if name.is_empty() || !plain || value.is_empty() {
                let message =
                    format!("The message attribute '{name}' must contain a type and a value that are not empty.");
                return Err(ApiError::bad("ParameterValueInvalid", message));
            }
            Ok((name, kind, value))
        };
        self.form.entries(&list).map(read).collect()
    }
}

/// Publishes one message and returns the members of the response.
fn publish_one(world: &mut World, arn: &str, entry: Entry<'_>) -> Result<String, ApiError> {
    let now = world.now;
    let id = world.next_id();
    let topic = world.topics.find(arn)?;
    let (text, attributes) = checked(entry, topic)?;
    let group = entry.get("MessageGroupId").map(str::to_owned);
    let deduplication = deduplication(entry, topic, &text)?;
    let subject = entry.get("Subject").map(str::to_owned);
    let message = Message { id, topic: arn.to_owned(), at: now, subject, text, group, attributes };
    let Some(deduplication) = deduplication else {
        let id = message.id.clone();
        world.topics.publish(arn, message);
        return Ok(element("MessageId", &id));
    };
    let (id, number) = world.topics.publish_once(arn, message, deduplication, now);
    Ok(element("MessageId", &id) + &element("SequenceNumber", &format!("{number:020}")))
}

/// Deduplication id on a FIFO topic; `None` for other topics.
fn deduplication(entry: Entry<'_>, topic: &Topic, text: &str) -> Result<Option<String>, ApiError> {
    if !topic.fifo {
        return Ok(None);
    }
    let attribute = |name: &str| topic.attributes.get(name).map(String::as_str);
    let id = match entry.get("MessageDeduplicationId") {
        Some(id) => id.to_owned(),
        None if attribute("ContentBasedDeduplication") == Some("true") => delivery::digest(text),
        None => {
            return Err(invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
                 explicitly",
            ));
        }
    };
    let by_group = attribute("FifoThroughputScope") == Some("MessageGroup");
    let group = entry.get("MessageGroupId").filter(|_| by_group).unwrap_or_default();
    Ok(Some(format!("{group} {id}")))
}

/// Validated text and attributes of a message.
type Content = (String, Vec<(String, String, String)>);

fn checked(entry: Entry<'_>, topic: &Topic) -> Result<Content, ApiError> {
    let text = entry.get("Message").unwrap_or_default();
    if text.is_empty() {
        return Err(invalid("Empty message"));
    }
    let attributes = entry.attributes()?;
    let bytes =
        text.len() + attributes.iter().map(|(name, kind, value)| name.len() + kind.len() + value.len()).sum::<usize>();
    let most = topic.attributes.get("MaximumMessageSize").and_then(|bytes| bytes.parse().ok());
    if bytes > most.unwrap_or(MAX_MESSAGE_BYTES) {
        return Err(invalid("Message too long"));
    }
    if entry.get("Subject").is_some_and(|subject| {
        subject.is_empty() || subject.chars().count() > MAX_SUBJECT || subject.chars().any(char::is_control)
    }) {
        return Err(invalid("Subject"));
    }
    let group = entry.get("MessageGroupId");
    if topic.fifo && group.is_none() || group.is_some_and(|group| group.is_empty() || group.len() > MAX_ID) {
        return Err(invalid("The MessageGroupId parameter is required for FIFO topics"));
    }
    if entry.get("MessageDeduplicationId").is_some_and(|id| !topic.fifo || id.is_empty() || id.len() > MAX_ID) {
        return Err(invalid("MessageDeduplicationId Reason: only FIFO topics take one, of 1 to 128 characters"));
    }
    let text = match entry.get("MessageStructure") {
        None => text.to_owned(),
        Some("json") => {
            default_text(text).ok_or_else(|| invalid("Message Structure - No default entry in JSON message body"))?
        }
        Some(other) => return Err(invalid(&format!("MessageStructure Reason: {other} is not json"))),
    };
    Ok((text, attributes))
}

/// The text of a structured message for protocols that it does not name.
fn default_text(text: &str) -> Option<String> {
    let structure: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(structure.get("default")?.as_str()?.to_owned())
}
