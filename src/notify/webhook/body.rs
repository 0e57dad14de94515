//! Webhook body: as Alertmanager's webhook receiver posts it for a group of alerts, with extra fields that its
//! clients ignore. PURE.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::notify::message::Message;
use crate::notify::outbox::Kind;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Alert;
use trainspotter_core::rules::ResolveReason;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;
use trainspotter_core::rules::Unit;

/// Alertmanager's end time of an alert that has not ended: Go's zero time.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// The body of a message.
pub(in crate::notify) fn of(message: &Message) -> Body<'_> {
    let first = &message.transition.alert;
    // The same for all messages of a group, however many alerts each contains.
    let group_labels = match &message.group {
        Some(group) => texts(group),
        None => texts(&first.by).into_iter().chain([("alertname", first.rule.as_str())]).collect(),
    };
    Body {
        receiver: &message.receiver,
        status: status(message.status()),
        alerts: message.transitions().map(|transition| body_alert(message, transition)).collect(),
        group_key: group_key(&group_labels),
        group_labels,
        common_labels: common(message, |alert| &alert.labels),
        common_annotations: common(message, |alert| &alert.annotations),
        external_url: message.external_url.as_deref().unwrap_or_default(),
        version: "4",
        truncated_alerts: 0,
    }
}

fn body_alert<'a>(message: &Message, transition: &'a Transition) -> BodyAlert<'a> {
    let alert = &transition.alert;
    let (ends_at, ended_because) = match transition.kind {
        TransitionKind::Fired => (NOT_ENDED.to_owned(), None),
        TransitionKind::Resolved(ending) => (transition.at.to_string(), Some(ending)),
    };
    BodyAlert {
        status: status(Kind::of(transition)),
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: alert.state.fired_at().unwrap_or(transition.at),
        ends_at,
        generator_url: message.link_of(alert).unwrap_or_default(),
        fingerprint: alert.id.as_str(),
        value: alert.value,
        value_at_fire: alert.value_at_fire,
        unit: alert.unit,
        threshold: alert.threshold,
        console_url: Message::console_of(alert),
        ended_because,
    }
}

fn status(kind: Kind) -> &'static str {
    match kind {
        Kind::Fired => "firing",
        Kind::Resolved => "resolved",
    }
}

fn texts(labels: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect()
}

/// Labels or annotations that all alerts share.
fn common<'a>(
    message: &'a Message,
    of: impl Fn(&'a Alert) -> &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, &'a str> {
    let all_have = |(name, value): &(&String, &String)| {
        message.others.iter().all(|transition| of(&transition.alert).get(*name) == Some(*value))
    };
    let first = of(&message.transition.alert).iter().filter(all_have);
    first.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// `{}:{alertname="Waits", queue="prod"}`: the root route, then the group's labels in Alertmanager's format.
fn group_key(labels: &BTreeMap<&str, &str>) -> String {
    let pairs: Vec<_> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    format!("{{}}:{{{}}}", pairs.join(", "))
}

/// Alertmanager's `template.Data` with `version` and `groupKey`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::notify) struct Body<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<BodyAlert<'a>>,
    group_labels: BTreeMap<&'a str, &'a str>,
    common_labels: BTreeMap<&'a str, &'a str>,
    common_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert<'a> {
    status: &'static str,
    labels: &'a BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: Timestamp,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: &'a str,
    // An extension: Alertmanager sends no values.
    value: Option<f64>,
    value_at_fire: Option<f64>,
    unit: Unit,
    threshold: Option<f64>,
    #[serde(rename = "consoleURL")]
    console_url: Option<String>,
    ended_because: Option<ResolveReason>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::notify::sample_alerts;

    /// Extension fields that Alertmanager does not have.
    const EXTENSION_FIELDS: [&str; 6] = ["value", "valueAtFire", "unit", "threshold", "consoleURL", "endedBecause"];

    #[test]
    fn several_alerts_share_what_they_have_in_common() {
        let mut other = sample_alerts::row(TransitionKind::Resolved(ResolveReason::Recovered));
        let alert = &mut other.transition.alert;
        alert.labels.insert("share".to_owned(), "vision".to_owned());
        alert.id = trainspotter_core::rules::AlertId::of("other", &alert.by);
        let row = crate::notify::OutboxRow { together: vec![other], ..sample_alerts::row(TransitionKind::Fired) };
        let message = Message::of_group(&row, None, Some(&["queue".to_owned(), "none".to_owned()]));
        let body = serde_json::to_value(of(&message)).unwrap();
        assert_eq!(body["status"], "firing", "while any fires");
        let statuses: Vec<&str> =
            body["alerts"].as_array().unwrap().iter().map(|alert| alert["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["firing", "resolved"]);
        assert_eq!(body["groupLabels"], serde_json::json!({ "queue": "prod-a" }));
        assert_eq!(body["groupKey"], "{}:{queue=\"prod-a\"}");
        assert_eq!(
            body["commonLabels"],
            serde_json::json!({ "alertname": "ShareWaitsTooLong", "queue": "prod-a", "severity": "page" })
        );
    }

    fn body(kind: TransitionKind) -> Value {
        let message = Message::of(&sample_alerts::row(kind), Some("https://spotter.example"));
        serde_json::to_value(of(&message)).unwrap()
    }

    #[test]
    fn hostile_names_are_values_and_no_more() {
        for (name, row) in sample_alerts::hostile_rows() {
            let message = Message::of(&row, Some("https://spotter.example"));
            let body: Value = serde_json::from_str(&serde_json::to_string(&of(&message)).unwrap()).unwrap();
            for labels in ["groupLabels", "commonLabels"] {
                assert_eq!(body[labels]["share"], name.as_str(), "{labels}");
            }
            assert_eq!(body["alerts"][0]["labels"]["owner"], name.as_str());
            let key = body["groupKey"].as_str().unwrap();
            assert!(!key.contains(|letter: char| letter.is_control()) && key.ends_with("\"}"), "{key:?}");
        }
    }

    #[test]
    fn a_firing_has_no_end_and_a_resolve_has_a_reason() {
        let firing = body(TransitionKind::Fired);
        assert_eq!(firing["status"], "firing");
        assert_eq!(firing["alerts"][0]["startsAt"], "2023-11-14T22:13:20Z");
        assert_eq!(firing["alerts"][0]["endsAt"], NOT_ENDED);
        assert_eq!(firing["alerts"][0]["endedBecause"], Value::Null);
        assert_eq!(firing["groupKey"], r#"{}:{alertname="ShareWaitsTooLong", queue="prod-a", share="research"}"#);
        let resolved = body(TransitionKind::Resolved(ResolveReason::NoData));
        assert_eq!(resolved["status"], "resolved");
        assert_eq!(resolved["alerts"][0]["status"], "resolved");
        assert_eq!(resolved["alerts"][0]["startsAt"], firing["alerts"][0]["startsAt"]);
        assert_eq!(resolved["alerts"][0]["endsAt"], "2023-11-14T23:16:20Z");
        assert_eq!(resolved["alerts"][0]["endedBecause"], "no_data");
        assert_eq!(resolved["alerts"][0]["value"], 61.25);
        assert_eq!(resolved["alerts"][0]["valueAtFire"], 2_520.0);
        assert_eq!(resolved["groupKey"], firing["groupKey"]);
    }

    #[test]
    fn the_shape_is_that_of_captured_alertmanager_bodies() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/alertmanager"));
        let captured = |name: &str| -> Value {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        same_shape("", &captured("webhook_firing.json"), &body(TransitionKind::Fired));
        let resolved = body(TransitionKind::Resolved(ResolveReason::Recovered));
        same_shape("", &captured("webhook_partly_resolved.json"), &resolved);
        same_shape("", &captured("webhook_resolved.json"), &resolved);
    }

    /// Checks that keys, order and value types are equal; label maps may hold any strings.
    fn same_shape(path: &str, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) if path.ends_with("abels") || path.ends_with("nnotations") => {
                assert!(theirs.values().chain(ours.values()).all(Value::is_string), "{path}");
            }
            (Value::Object(theirs), Value::Object(ours)) => {
                let keys: Vec<_> = ours.keys().filter(|key| !EXTENSION_FIELDS.contains(&key.as_str())).collect();
                assert_eq!(theirs.keys().collect::<Vec<_>>(), keys, "{path}");
                for (key, value) in theirs {
                    same_shape(&format!("{path}.{key}"), value, &ours[key]);
                }
            }
            (Value::Array(theirs), Value::Array(ours)) => same_shape(&format!("{path}[0]"), &theirs[0], &ours[0]),
            (theirs, ours) => {
                let kind = std::mem::discriminant::<Value>;
                assert_eq!(kind(theirs), kind(ours), "{path}: {theirs} {ours}");
                if let (Some(theirs), Some(ours)) = (theirs.as_str(), ours.as_str()) {
                    let is_time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
                    assert_eq!(is_time(theirs), is_time(ours), "{path}");
                }
            }
        }
    }
}
