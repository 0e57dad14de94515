//! SNS, awsQuery: topics, HTTP subscriptions, and Publish with its limits.
//!
//! A subscription is confirmed at once, without the token that SNS sends first.

mod delivery;
mod topics;

use crate::model::Timestamp;
use crate::simulate::World;
use crate::simulate::arn;
use crate::simulate::query::Form;
use crate::simulate::query::element;
use crate::simulate::reply::ApiError;

pub(super) use delivery::Postman;
use topics::Message;
pub(super) use topics::Topics;

/// The API version, by which calls are recognised, and the namespace of its answers.
pub(super) const VERSION: &str = "2010-03-31";
pub(super) const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// The default of a topic's `MaximumMessageSize`, attributes included.
const MAX_MESSAGE_BYTES: usize = 256 * 1_024;
/// "less than 100 characters".
const MAX_SUBJECT: usize = 99;
const MAX_ID: usize = 128;
const MAX_TOPIC_NAME: usize = 256;

/// Performs an operation and gives the members of its result.
pub(super) fn answer(world: &mut World, operation: &str, form: &Form) -> Result<String, ApiError> {
    match operation {
        "CreateTopic" => create_topic(&mut world.topics, form),
        "Subscribe" => subscribe(world, form),
        "Publish" => publish(world, form),
        _ => Err(ApiError::bad(
            "InvalidAction",
            format!("the simulator does not serve SNS {operation}; it serves CreateTopic, Subscribe and Publish"),
        )),
    }
}

fn create_topic(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let name = form.required("Name")?;
    let fifo = attribute(form, "Attributes", "FifoTopic").is_some_and(|value| value == "true");
    let plain = name.strip_suffix(".fifo").filter(|_| fifo).unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > MAX_TOPIC_NAME || plain.is_empty() || !plain.chars().all(legal) || fifo != name.ends_with(".fifo") {
        return Err(invalid("Topic Name"));
    }
    let deduplicates = attribute(form, "Attributes", "ContentBasedDeduplication").is_some_and(|value| value == "true");
    topics.create(name, deduplicates);
    Ok(element("TopicArn", &arn::topic(name)))
}

fn subscribe(world: &mut World, form: &Form) -> Result<String, ApiError> {
    let topic_arn = form.required("TopicArn")?.to_owned();
    let protocol = form.required("Protocol")?;
    let endpoint = form.get("Endpoint").unwrap_or_default();
    let id = world.next_id();
    let topic = world.topics.find(&topic_arn)?;
    if protocol != "http" || topic.fifo {
        return Err(invalid(&format!("the simulator cannot deliver {protocol} from this topic: only http, not FIFO")));
    }
    if !delivery::is_loopback(endpoint) {
        return Err(invalid(&format!("Endpoint {endpoint}: the simulator delivers to loopback addresses only")));
    }
    let arn = format!("{topic_arn}:{id}");
    let arn = topic.subscribe(arn, endpoint);
    Ok(element("SubscriptionArn", &arn))
}

fn publish(world: &mut World, form: &Form) -> Result<String, ApiError> {
    let arn = form.get("TopicArn").or(form.get("TargetArn")).ok_or_else(|| invalid("TopicArn or TargetArn"))?;
    let now = world.now;
    let id = world.next_id();
    world.faults.fail_topic(arn.rsplit(':').next().unwrap_or_default())?;
    let topic = world.topics.find(arn)?;
    let message = checked(form, arn, topic.fifo, id, now)?;
    if !topic.fifo {
        let id = message.id.clone();
        world.topics.publish(arn, message);
        return Ok(element("MessageId", &id));
    }
    let deduplication = match form.get("MessageDeduplicationId") {
        Some(id) => id.to_owned(),
        None if topic.deduplicates => delivery::digest(&message.text),
        None => {
            return Err(invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
                 explicitly",
            ));
        }
    };
    let (id, number) = world.topics.publish_once(arn, message, deduplication, now);
    Ok(element("MessageId", &id) + &element("SequenceNumber", &format!("{number:020}")))
}

/// The message that a form holds, within all limits.
fn checked(form: &Form, topic: &str, fifo: bool, id: String, at: Timestamp) -> Result<Message, ApiError> {
    let text = form.get("Message").unwrap_or_default();
    if text.is_empty() {
        return Err(invalid("Empty message"));
    }
    let mut attributes = Vec::new();
    for entry in form.entries("MessageAttributes.entry") {
        let member = |name: &str| form.get(&format!("{entry}.{name}")).unwrap_or_default().to_owned();
        attributes.push((
            member("Name"),
            member("Value.DataType"),
            member("Value.StringValue") + &member("Value.BinaryValue"),
        ));
    }
    let bytes =
        text.len() + attributes.iter().map(|(name, kind, value)| name.len() + kind.len() + value.len()).sum::<usize>();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(invalid("Message too long"));
    }
    let subject = form.get("Subject");
    if subject.is_some_and(|subject| {
        subject.is_empty() || subject.chars().count() > MAX_SUBJECT || subject.chars().any(char::is_control)
    }) {
        return Err(invalid("Subject"));
    }
    let group = form.get("MessageGroupId");
    if fifo && group.is_none_or(|group| group.is_empty() || group.len() > MAX_ID) {
        return Err(invalid("The MessageGroupId parameter is required for FIFO topics"));
    }
    if form.get("MessageDeduplicationId").is_some_and(|id| !fifo || id.is_empty() || id.len() > MAX_ID) {
        return Err(invalid("MessageDeduplicationId Reason: only FIFO topics take one, of 1 to 128 characters"));
    }
    if form.get("MessageStructure") == Some("json") && default_text(text).is_none() {
        return Err(invalid("Message Structure - No default entry in JSON message body"));
    }
    let text = if form.get("MessageStructure") == Some("json") { default_text(text) } else { Some(text.to_owned()) };
    Ok(Message {
        id,
        topic: topic.to_owned(),
        at,
        subject: subject.map(str::to_owned),
        text: text.unwrap_or_default(),
        group: group.map(str::to_owned),
        attributes,
    })
}

/// What a message with a structure says to protocols it does not name.
fn default_text(text: &str) -> Option<String> {
    let structure: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(structure.get("default")?.as_str()?.to_owned())
}

/// The value of an entry of a flattened map of strings.
fn attribute<'a>(form: &'a Form, map: &str, name: &str) -> Option<&'a str> {
    let list = format!("{map}.entry");
    let entry = form.entries(&list).find(|entry| form.get(&format!("{entry}.key")) == Some(name))?;
    form.get(&format!("{entry}.value"))
}

fn invalid(what: &str) -> ApiError {
    ApiError::bad("InvalidParameter", format!("Invalid parameter: {what}"))
}
