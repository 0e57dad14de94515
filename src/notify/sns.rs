//! Publishes to an SNS topic, standard or FIFO.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use aws_sdk_sns::error::DisplayErrorContext;
use aws_sdk_sns::error::ProvideErrorMetadata;
use aws_sdk_sns::error::SdkError;
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::types::MessageAttributeValue;

use crate::notify::Failure;
use crate::notify::Receipt;
use crate::notify::message::Message;
use crate::notify::message::head;
use crate::notify::outbox::Kind;
use crate::notify::webhook::body;
use trainspotter_core::model::readable_line;
use trainspotter_core::rules::Transition;

/// SNS's size limit, including attributes.
const MAX_BYTES: usize = 256 * 1_024;

/// Maximum alerts per message: it contains the JSON body five times.
pub(super) const MAX_TOGETHER: usize = 25;

/// Maximum bytes of an attribute value: filter policies match names.
const MAX_ATTRIBUTE_BYTES: usize = 1_024;

/// Maximum bytes of a list value: room for one longest name per alert of a message.
const MAX_LIST_BYTES: usize = 8_192;

/// Data type of a single-value attribute; counts towards the size.
const STRING: &str = "String";

/// Data type of a list attribute; a filter policy matches any of its values.
const LIST: &str = "String.Array";

/// An SNS topic as a receiver.
#[derive(Debug)]
pub struct Sns {
    topic: String,
    client: aws_sdk_sns::Client,
}

impl Sns {
    /// Creates a receiver from the topic's ARN and a client of its region.
    pub fn new(topic: impl Into<String>, client: aws_sdk_sns::Client) -> Self {
        Self { topic: topic.into(), client }
    }

    /// Publishes a message. The SDK client retries by itself.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    pub(super) async fn deliver(&self, message: &Message) -> Result<Receipt, Failure> {
        let Publication { text, structure, attributes } = publication(message);
        let mut request = self
            .client
            .publish()
            .topic_arn(&self.topic)
            .subject(&message.subject)
            .message(text)
            .set_message_structure(structure.map(str::to_owned));
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder()
                .data_type(if value.starts_with('[') { LIST } else { STRING })
                .string_value(value)
                .build()
                .map_err(|error| Failure::park(format!("the attribute {name} cannot be built: {error}")))?;
            request = request.message_attributes(name, value);
        }
        if self.topic.ends_with(".fifo") {
            // The message group keeps an alert's messages in order; SNS drops a message that is sent again within 5
            // min.
            request = request.message_group_id(fifo_group(message)).message_deduplication_id(message.id.as_str());
        }
        let published = request.send().await.map_err(|error| judge(&error))?;
        let id = published.message_id().unwrap_or("without an id");
        Ok(Receipt { response: format!("SNS accepted it as message {id}"), reference: None })
    }
}

/// Message group of a FIFO topic: one per alert or, if alerts are grouped, one for all, since an alert may be sent
/// alone now and in a group later.
fn fifo_group(message: &Message) -> &str {
    if message.group.is_some() { "grouped" } else { message.transition.alert.id.as_str() }
}

/// Permanent errors are parked; throttling, SNS's internal errors and transport errors are retried.
fn judge<R: std::fmt::Debug>(error: &SdkError<PublishError, R>) -> Failure {
    let reason = match error.as_service_error() {
        Some(refusal) => {
            let code = refusal.code().unwrap_or("an unknown error");
            format!("SNS responded with {code}: {}", refusal.message().unwrap_or("no message"))
        }
        None => format!("cannot reach SNS: {}", DisplayErrorContext(error)),
    };
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    match code {
        Some(code) if concerns_message(code) => Failure::set_aside(reason),
        Some(code) if is_final(code) => Failure::park(reason),
        Some(_) | None => Failure::retry(reason, None),
    }
}

/// Error codes that concern this message only.
fn concerns_message(code: &str) -> bool {
    ["InvalidParameter", "InvalidParameterException", "InvalidParameterValue", "ValidationException"].contains(&code)
}

/// Error codes that a retry does not change.
fn is_final(code: &str) -> bool {
    [
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "EndpointDisabled",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "KMSAccessDenied",
        "KMSDisabled",
        "KMSInvalidState",
        "KMSNotFound",
        "KMSOptInRequired",
        "NotFound",
        "NotFoundException",
        "PlatformApplicationDisabled",
        "SignatureDoesNotMatch",
    ]
    .contains(&code)
}

/// Protocols with programs as subscribers: they get the JSON body; others get the text.
const FOR_PROGRAMS: [&str; 5] = ["sqs", "http", "https", "lambda", "firehose"];

/// Text and attributes of a message, within SNS's size limit.
#[derive(Debug, PartialEq)]
struct Publication {
    text: String,
    /// `json` if the text contains one text per protocol.
    structure: Option<&'static str>,
    attributes: BTreeMap<&'static str, String>,
}

fn publication(message: &Message) -> Publication {
    let mut attributes: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut is_cut = false;
    for name in ["severity", "state", "rule", "queue", "share", "owner", "account", "region"] {
        let values = message.transitions().map(|transition| readable_line(attribute(transition, name)));
        // SNS refuses empty values, and characters that are invalid in XML.
        let values: BTreeSet<Cow<'_, str>> = values.filter(|value| !value.is_empty()).collect();
        if let Some((value, whole)) = as_attribute(&values.iter().map(Cow::as_ref).collect()) {
            attributes.insert(name, value);
            is_cut |= !whole;
        }
    }
    if is_cut {
        attributes.insert("truncated", "true".to_owned());
    }
    let room = MAX_BYTES - size(&attributes);
    if let Some(text) = per_protocol(message).filter(|text| text.len() <= room) {
        return Publication { text, structure: Some("json"), attributes };
    }
    // Not enough room for one text per protocol, so all get the same text.
    if message.text.len() <= room {
        return Publication { text: message.text.clone(), structure: None, attributes };
    }
    attributes.insert("truncated", "true".to_owned());
    let mark = "\n[truncated]\n";
    let room = MAX_BYTES - size(&attributes) - mark.len();
    Publication { text: format!("{}{mark}", head(&message.text, room)), structure: None, attributes }
}

fn attribute<'a>(transition: &'a Transition, name: &str) -> &'a str {
    let alert = &transition.alert;
    match (name, Kind::of(transition)) {
        ("state", Kind::Fired) => "firing",
        ("state", Kind::Resolved) => "resolved",
        ("rule", _) => &alert.rule,
        _ => alert.labels.get(name).or_else(|| alert.by.get(name)).map_or("", String::as_str),
    }
}

/// Formats one value as it is and several as a list, with as many as fit. Returns whether it is complete; `None`
/// without values.
fn as_attribute(values: &BTreeSet<&str>) -> Option<(String, bool)> {
    let (first, many) = (values.first()?, values.len() > 1);
    // A value that begins with `[` would be parsed as a list.
    if !many && !first.starts_with('[') {
        return Some((head(first, MAX_ATTRIBUTE_BYTES).to_owned(), first.len() <= MAX_ATTRIBUTE_BYTES));
    }
    let mut room = MAX_LIST_BYTES;
    let fits = |value: &&&str| {
        let size = serde_json::json!(value).to_string().len() + 2;
        let fits = size <= room;
        room = room.saturating_sub(size);
        fits
    };
    let shown: Vec<_> = values.iter().take_while(fits).collect();
    Some((serde_json::to_string(&shown).ok()?, shown.len() == values.len()))
}

/// One text per protocol: plain text for mail, one line for SMS, Alertmanager's body for programs.
fn per_protocol(message: &Message) -> Option<String> {
    let body = serde_json::to_string(&body::of(message)).ok()?;
    // Two characters that are valid in JSON but not in XML, so SNS refuses them.
    let body = body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff");
    let mut texts = BTreeMap::from([("default", message.text.as_str()), ("sms", message.subject.as_str())]);
    texts.extend(FOR_PROGRAMS.map(|protocol| (protocol, body.as_str())));
    serde_json::to_string(&texts).ok()
}

/// Size of attributes: names, types and values count.
fn size(attributes: &BTreeMap<&'static str, String>) -> usize {
    attributes.iter().map(|(name, value)| name.len() + LIST.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample_alerts;
    use trainspotter_core::rules::TransitionKind;

    #[test]
    fn attributes_are_what_filter_policies_need() {
        let published = publication(&Message::of(&sample_alerts::row(TransitionKind::Fired), None));
        let attributes: Vec<_> = published.attributes.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(
            attributes,
            [
                ("queue", "prod-a"),
                ("rule", "ShareWaitsTooLong"),
                ("severity", "page"),
                ("share", "research"),
                ("state", "firing"),
            ]
        );
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.labels.insert("share".to_owned(), String::new());
        row.transition.alert.labels.insert("account".to_owned(), "444455556666".to_owned());
        row.transition.alert.labels.insert("region".to_owned(), "eu-west-1".to_owned());
        let attributes = publication(&Message::of(&row, None)).attributes;
        assert!(!attributes.contains_key("share"));
        assert_eq!((&*attributes["account"], &*attributes["region"]), ("444455556666", "eu-west-1"));
    }

    #[test]
    fn what_several_alerts_differ_in_is_a_list_that_a_filter_policy_matches_by_any() {
        let mut other = sample_alerts::row(TransitionKind::Fired);
        other.transition.alert.id = trainspotter_core::rules::AlertId::of("other", &BTreeMap::new());
        other.transition.alert.labels.insert("share".to_owned(), "vision".to_owned());
        let row = crate::notify::OutboxRow { together: vec![other], ..sample_alerts::row(TransitionKind::Fired) };
        let published = publication(&Message::of_group(&row, None, Some(&[])));
        assert_eq!(published.attributes["share"], r#"["research","vision"]"#);
        assert_eq!(published.attributes["severity"], "page");
        let many: Vec<String> = (0..5_000).map(|share| format!("share-{share}")).collect();
        let (list, whole) = as_attribute(&many.iter().map(String::as_str).collect()).unwrap();
        assert!(!whole && list.len() <= MAX_LIST_BYTES && serde_json::from_str::<Vec<String>>(&list).is_ok(), "{list}");
    }

    #[test]
    fn long_text_is_cut_at_a_character_and_marked() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.annotations.insert("description".to_owned(), "ü".repeat(200_000));
        row.transition.alert.labels.insert("queue".to_owned(), "ü".repeat(2_000));
        let published = publication(&Message::of(&row, None));
        let total = published.text.len() + size(&published.attributes);
        assert!((MAX_BYTES - 1..=MAX_BYTES).contains(&total), "{total}");
        assert!(published.text.ends_with("ü\n[truncated]\n"));
        assert_eq!(published.attributes["truncated"], "true");
        assert_eq!(published.attributes["queue"].len(), MAX_ATTRIBUTE_BYTES);
    }

    #[test]
    fn people_get_text_and_programs_get_json() {
        let message = Message::of(&sample_alerts::row(TransitionKind::Fired), None);
        let published = publication(&message);
        assert_eq!(published.structure, Some("json"));
        let texts: BTreeMap<String, String> = serde_json::from_str(&published.text).unwrap();
        assert_eq!(texts["default"], message.text);
        assert_eq!(texts["sms"], message.subject);
        let body: serde_json::Value = serde_json::from_str(&texts["sqs"]).unwrap();
        assert_eq!((&body["version"], &body["status"]), (&"4".into(), &"firing".into()));
    }

    #[test]
    fn hostile_names_are_what_sns_takes_and_change_nothing_for_programs() {
        // Characters valid in XML; SNS refuses others.
        let is_taken = |letter: char| {
            matches!(letter, '\t' | '\n' | '\r') || letter >= ' ' && !matches!(letter, '\u{fffe}' | '\u{ffff}')
        };
        for (name, row) in sample_alerts::hostile_rows() {
            let message = Message::of(&row, Some("https://spotter.example"));
            assert!(
                message.subject.chars().all(|letter| (' '..='~').contains(&letter)),
                "{name:?}: {}",
                message.subject
            );
            assert!((1..100).contains(&message.subject.len()), "{name:?}: {}", message.subject);
            let published = publication(&message);
            assert!(published.text.chars().all(is_taken), "{name:?}");
            assert!(published.text.len() + size(&published.attributes) <= MAX_BYTES, "{name:?}");
            for (attribute, value) in &published.attributes {
                let is_short = value.len() <= MAX_LIST_BYTES && !value.is_empty();
                assert!(is_short && value.chars().all(is_taken), "{name:?}: {attribute} {value:?}");
            }
            if published.structure == Some("json") {
                let texts: BTreeMap<String, String> = serde_json::from_str(&published.text).unwrap();
                let body: serde_json::Value = serde_json::from_str(&texts["sqs"]).unwrap();
                assert_eq!(body["alerts"][0]["labels"]["share"], name.as_str(), "labels are exact");
            } else {
                assert!(name.len() >= 10_000, "there is room for the rest: {name:?}");
            }
        }
    }

    #[test]
    fn what_just_fits_is_not_cut() {
        let mut message = Message::of(&sample_alerts::row(TransitionKind::Fired), None);
        let room = MAX_BYTES - size(&publication(&message).attributes);
        message.text = "x".repeat(room);
        let published = publication(&message);
        assert_eq!((&published.text, published.structure), (&message.text, None));
        message.text.push('x');
        assert!(publication(&message).attributes.contains_key("truncated"));
    }
}
