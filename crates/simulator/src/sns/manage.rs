//! Topics and subscriptions: all SNS operations except publishing.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::World;
use crate::api_error::ApiError;
use crate::arn;
use crate::aws_query::Form;
use crate::aws_query::element;
use crate::page_token::PageToken;
use crate::sns::delivery;
use crate::sns::invalid;
use crate::sns::message::Subscription;
use crate::sns::topics::Topic;
use crate::sns::topics::Topics;

const MAX_TOPIC_NAME: usize = 256;
const MAX_TAGS: usize = 50;
/// Topics or subscriptions per page.
const PAGE: usize = 100;
/// Accepted protocols. Only `http` is delivered; messages to others are dropped.
const PROTOCOLS: [&str; 9] =
    ["http", "https", "email", "email-json", "sms", "sqs", "application", "lambda", "firehose"];
/// Attributes that clients may set.
const TOPIC_ATTRIBUTES: [&str; 12] = [
    "ArchivePolicy",
    "ContentBasedDeduplication",
    "DataProtectionPolicy",
    "DeliveryPolicy",
    "DisplayName",
    "FifoThroughputScope",
    "FifoTopic",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "Policy",
    "SignatureVersion",
    "TracingConfig",
];
const SUBSCRIPTION_ATTRIBUTES: [&str; 4] =
    ["DeliveryPolicy", "RawMessageDelivery", "RedrivePolicy", "SubscriptionRoleArn"];
/// Allowed `MaximumMessageSize`, in bytes.
const MESSAGE_SIZES: std::ops::RangeInclusive<usize> = 1_024..=1_048_576;

pub(super) fn create_topic(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let name = form.required("Name")?;
    let attributes = attributes(form, &TOPIC_ATTRIBUTES)?;
    check_tags(form)?;
    let fifo = attributes.get("FifoTopic").is_some_and(|value| value == "true");
    let plain = name.strip_suffix(".fifo").filter(|_| fifo).unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.len() > MAX_TOPIC_NAME || plain.is_empty() || !plain.chars().all(legal) || fifo != name.ends_with(".fifo") {
        return Err(invalid("Topic Name"));
    }
    for (name, value) in &attributes {
        check_topic_attribute(name, value, fifo)?;
    }
    let arn = arn::topic(name);
    if let Ok(topic) = topics.find(&arn) {
        let differs = |(name, value): &(&String, &String)| topic.attributes.get(*name) != Some(*value);
        if attributes.iter().any(|attribute| differs(&attribute)) {
            return Err(invalid("Attributes Reason: Topic already exists with different attributes"));
        }
    }
    topics.create(name, attributes);
    Ok(element("TopicArn", &arn))
}

pub(super) fn delete_topic(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let arn = form.required("TopicArn")?;
    check_arn(arn)?;
    topics.remove(arn);
    Ok(String::new())
}

pub(super) fn list_topics(topics: &Topics, form: &Form) -> Result<String, ApiError> {
    let (arns, next) = page(topics.all().map(|(arn, _)| arn), form)?;
    let listed: String = arns.iter().map(|arn| element_of("member", &element("TopicArn", arn))).collect();
    Ok(element_of("Topics", &listed) + &next)
}

pub(super) fn get_topic_attributes(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let arn = form.required("TopicArn")?;
    let topic = topics.find(arn)?;
    let mut shown = topic.attributes.clone();
    let mut show = |name: &str, value: String| {
        shown.entry(name.to_owned()).or_insert(value);
    };
    show("TopicArn", arn.to_owned());
    show("Owner", arn::account().to_string());
    show("DisplayName", String::new());
    show("Policy", "{}".to_owned());
    show("SubscriptionsConfirmed", topic.subscriptions.len().to_string());
    show("SubscriptionsPending", "0".to_owned());
    show("SubscriptionsDeleted", "0".to_owned());
    if topic.fifo {
        show("ContentBasedDeduplication", "false".to_owned());
    }
    Ok(map("Attributes", &shown))
}

pub(super) fn set_topic_attributes(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let topic = topics.find(form.required("TopicArn")?)?;
    let (name, value) = (form.required("AttributeName")?, form.get("AttributeValue").unwrap_or_default());
    if !TOPIC_ATTRIBUTES.contains(&name) || name == "FifoTopic" {
        return Err(invalid("AttributeName"));
    }
    check_topic_attribute(name, value, topic.fifo)?;
    topic.attributes.insert(name.to_owned(), value.to_owned());
    Ok(String::new())
}

pub(super) fn subscribe(world: &mut World, form: &Form) -> Result<String, ApiError> {
    let topic_arn = form.required("TopicArn")?.to_owned();
    let protocol = form.required("Protocol")?;
    let endpoint = form.get("Endpoint").unwrap_or_default();
    let attributes = attributes(form, &SUBSCRIPTION_ATTRIBUTES)?;
    let id = world.next_id();
    let topic = world.topics.find(&topic_arn)?;
    if !PROTOCOLS.contains(&protocol) {
        return Err(invalid(&format!("Protocol Reason: {protocol} is not one of {}", PROTOCOLS.join(", "))));
    }
    if topic.fifo && protocol != "sqs" {
        return Err(invalid(&format!("Protocol Reason: FIFO topics deliver to sqs, not to {protocol}")));
    }
    check_endpoint(protocol, endpoint)?;
    if protocol == "http" && !delivery::is_loopback(endpoint) {
        return Err(invalid(&format!("Endpoint {endpoint}: the simulator delivers to loopback addresses only")));
    }
    let arn = format!("{topic_arn}:{id}");
    let new = Subscription { protocol: protocol.to_owned(), endpoint: endpoint.to_owned(), attributes };
    Ok(element("SubscriptionArn", &topic.subscribe(arn, new)))
}

/// Checks the format of an endpoint for its protocol.
fn check_endpoint(protocol: &str, endpoint: &str) -> Result<(), ApiError> {
    let (fits, wanted) = match protocol {
        "http" => (endpoint.starts_with("http://"), "Endpoint must match the specified protocol"),
        "https" => (endpoint.starts_with("https://"), "Endpoint must match the specified protocol"),
        "email" | "email-json" => (endpoint.contains('@'), "Email address"),
        "sms" => (endpoint.bytes().filter(u8::is_ascii_digit).count() > 4, "Invalid SMS endpoint"),
        "sqs" => (endpoint.starts_with("arn:aws:sqs:"), "SQS endpoint ARN"),
        "lambda" => (endpoint.starts_with("arn:aws:lambda:"), "Lambda endpoint ARN"),
        "firehose" => (endpoint.starts_with("arn:aws:firehose:"), "Firehose endpoint ARN"),
        _ => (endpoint.starts_with("arn:aws:sns:"), "Application endpoint arn invalid"),
    };
    if fits { Ok(()) } else { Err(invalid(wanted)) }
}

pub(super) fn unsubscribe(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let arn = form.required("SubscriptionArn")?;
    check_arn(arn)?;
    if let Ok(topic) = topics.find(topic_of(arn)) {
        topic.subscriptions.remove(arn);
    }
    Ok(String::new())
}

pub(super) fn list_subscriptions(topics: &Topics, form: &Form) -> Result<String, ApiError> {
    listed(topics.all().flat_map(|(_, topic)| &topic.subscriptions), form)
}

pub(super) fn list_subscriptions_by_topic(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let topic: &Topic = topics.find(form.required("TopicArn")?)?;
    listed(topic.subscriptions.iter(), form)
}

pub(super) fn get_subscription_attributes(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let arn = form.required("SubscriptionArn")?;
    let subscription = find(topics, arn)?;
    let mut shown = subscription.attributes.clone();
    let mut show = |name: &str, value: &str| {
        shown.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    };
    show("SubscriptionArn", arn);
    show("TopicArn", topic_of(arn));
    show("Owner", &arn::account());
    show("Protocol", &subscription.protocol);
    show("Endpoint", &subscription.endpoint);
    show("PendingConfirmation", "false");
    show("ConfirmationWasAuthenticated", "true");
    show("RawMessageDelivery", "false");
    Ok(map("Attributes", &shown))
}

pub(super) fn set_subscription_attributes(topics: &mut Topics, form: &Form) -> Result<String, ApiError> {
    let (name, value) = (form.required("AttributeName")?, form.get("AttributeValue").unwrap_or_default());
    let subscription = find(topics, form.required("SubscriptionArn")?)?;
    if !SUBSCRIPTION_ATTRIBUTES.contains(&name) {
        return Err(not_taken(name));
    }
    subscription.attributes.insert(name.to_owned(), value.to_owned());
    Ok(String::new())
}

fn listed<'a>(
    subscriptions: impl Iterator<Item = (&'a String, &'a Subscription)>,
    form: &Form,
) -> Result<String, ApiError> {
    let all: BTreeMap<_, _> = subscriptions.collect();
    let (arns, next) = page(all.keys().copied(), form)?;
    let mut members = String::new();
    for arn in arns {
        let Some(subscription) = all.get(arn) else { continue };
        let member = element("SubscriptionArn", arn)
            + &element("Owner", &arn::account())
            + &element("Protocol", &subscription.protocol)
            + &element("Endpoint", &subscription.endpoint)
            + &element("TopicArn", topic_of(arn));
        members += &element_of("member", &member);
    }
    Ok(element_of("Subscriptions", &members) + &next)
}

/// A page of names in order, and the element with the token of the next page.
fn page<'a>(names: impl Iterator<Item = &'a String>, form: &Form) -> Result<(Vec<&'a String>, String), ApiError> {
    let after = match form.get("NextToken") {
        None => None,
        Some(token) => Some(PageToken::decode(token).ok_or_else(|| invalid("NextToken"))?.key),
    };
    let mut page: Vec<_> =
        names.filter(|name| after.as_ref().is_none_or(|after| *name > after)).take(PAGE + 1).collect();
    let more = page.len() > PAGE;
    page.truncate(PAGE);
    let token = |last: &&String| PageToken { page: 2, order: 0, key: (*last).clone() }.encode();
    let next = page.last().filter(|_| more).map_or(String::new(), |last| element("NextToken", &token(last)));
    Ok((page, next))
}

fn find<'a>(topics: &'a mut Topics, arn: &str) -> Result<&'a mut Subscription, ApiError> {
    check_arn(arn)?;
    let missing = || ApiError::new(404, "NotFound", "Subscription does not exist");
    let topic = topics.find(topic_of(arn)).map_err(|_| missing())?;
    topic.subscriptions.get_mut(arn).ok_or_else(missing)
}

/// The topic's ARN in a subscription's ARN.
fn topic_of(arn: &str) -> &str {
    arn.rsplit_once(':').map_or(arn, |(topic, _)| topic)
}

fn check_arn(arn: &str) -> Result<(), ApiError> {
    if arn.starts_with("arn:aws:sns:") && arn.split(':').count() >= 6 {
        return Ok(());
    }
    Err(invalid(&format!("TopicArn Reason: An ARN must have at least 6 elements, not {arn}")))
}

fn check_tags(form: &Form) -> Result<(), ApiError> {
    let tags: Vec<_> = form.entries("Tags.member").collect();
    if tags.len() > MAX_TAGS {
        return Err(ApiError::bad(
            "TagLimitExceeded",
            "Could not complete request: tag quota of per resource exceeded",
        ));
    }
    for tag in tags {
        let (key, value) = (form.get(&format!("{tag}.Key")), form.get(&format!("{tag}.Value")));
        let fits = |text: Option<&str>, least: usize, most: usize| {
            text.is_some_and(|text| (least..=most).contains(&text.chars().count()))
        };
        if !fits(key, 1, 128) || !fits(value, 0, 256) {
            return Err(invalid("Tags Reason: a tag has a key of 1 to 128 characters and a value of up to 256"));
        }
    }
    Ok(())
}

fn check_topic_attribute(name: &str, value: &str, fifo: bool) -> Result<(), ApiError> {
    let of_fifo = ["ContentBasedDeduplication", "FifoThroughputScope"].contains(&name);
    let right = match name {
        "ContentBasedDeduplication" | "FifoTopic" => ["true", "false"].contains(&value),
        "FifoThroughputScope" => ["Topic", "MessageGroup"].contains(&value),
        "MaximumMessageSize" => value.parse().is_ok_and(|bytes| MESSAGE_SIZES.contains(&bytes)),
        _ => true,
    };
    if right && (fifo || !of_fifo) { Ok(()) } else { Err(invalid(&format!("Attributes Reason: {name} {value}"))) }
}

/// The entries of `Attributes`; only `known` names are accepted.
fn attributes(form: &Form, known: &[&str]) -> Result<BTreeMap<String, String>, ApiError> {
    let member = |entry: &str, name: &str| form.get(&format!("{entry}.{name}")).unwrap_or_default().to_owned();
    let all: BTreeMap<_, _> =
        form.entries("Attributes.entry").map(|entry| (member(&entry, "key"), member(&entry, "value"))).collect();
    match all.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(not_taken(name)),
        None => Ok(all),
    }
}

fn not_taken(name: &str) -> ApiError {
    if name.starts_with("FilterPolicy") {
        return invalid("AttributeName Reason: the simulator delivers all messages; it has no filter policies");
    }
    invalid(&format!("AttributeName Reason: {name} is not known"))
}

fn map(name: &str, entries: &BTreeMap<String, String>) -> String {
    let mut inside = String::new();
    for (key, value) in entries {
        // Writing to a string cannot fail.
        let _ = write!(inside, "<entry>{}{}</entry>", element("key", key), element("value", value));
    }
    element_of(name, &inside)
}

/// An element that contains others.
pub(super) fn element_of(name: &str, inside: &str) -> String {
    format!("<{name}>{inside}</{name}>")
}
