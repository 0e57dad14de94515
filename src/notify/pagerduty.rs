//! PagerDuty, by Events API v2: a firing triggers an incident, its resolve ends it. Both carry the alert's id, by which
//! PagerDuty also recognises what is sent twice.

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use serde_json::Value;
use serde_json::json;

use crate::config::Endpoint;
use crate::config::Secret;
use crate::notify::Failure;
use crate::notify::IntegrationError;
use crate::notify::Receipt;
use crate::notify::http::Http;
use crate::notify::message::Message;
use crate::notify::message::cut;
use crate::notify::outbox::Kind;
use trainspotter_clock::Clock;

/// The longest summary that PagerDuty takes, in characters.
const MAX_SUMMARY: usize = 1_024;

/// PagerDuty refuses events of more than 512 KB; no annotation needs a hundredth of that.
const MAX_DETAIL: usize = 4_096;

/// A PagerDuty service that gets alerts.
#[derive(Debug)]
pub struct PagerDuty {
    http: Http,
    routing_key: Secret,
}

impl PagerDuty {
    /// A service by its integration's key.
    ///
    /// # Errors
    /// The URL cannot be used. Says why, without the URL.
    pub fn new(endpoint: &Endpoint, routing_key: &Secret) -> Result<Self, IntegrationError> {
        Ok(Self { http: Http::new(endpoint)?, routing_key: routing_key.clone() })
    }

    /// Sends an event once.
    ///
    /// # Errors
    /// What to do next, and why.
    pub(super) async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        let mut event = event(message);
        event["routing_key"] = self.routing_key.expose().into();
        let body = serde_json::to_vec(&event).map_err(|error| Failure::unwritable(&error))?;
        Ok(self.http.post("", HeaderMap::new(), body, clock).await?.into())
    }
}

/// All of an event but the key that lets it in.
fn event(message: &Message) -> Value {
    let transition = &message.transition;
    let alert = &transition.alert;
    let action = match Kind::of(transition) {
        Kind::Fired => "trigger",
        Kind::Resolved => "resolve",
    };
    let annotations: BTreeMap<_, _> =
        alert.annotations.iter().map(|(name, words)| (name, cut(words, MAX_DETAIL))).collect();
    let summary = alert.annotations.get("summary").unwrap_or(&message.subject);
    let label = |name: &str| alert.labels.get(name).filter(|value| !value.is_empty());
    let mut event = json!({
        "event_action": action,
        "dedup_key": alert.id.as_str(),
        "client": "Trainspotter",
        "payload": {
            "summary": cut(summary, MAX_SUMMARY),
            "source": label("queue").map_or("trainspotter", String::as_str),
            "severity": severity(alert.labels.get("severity").map_or("", String::as_str)),
            "timestamp": transition.at.to_string(),
            "class": alert.rule,
            "custom_details": {
                "labels": alert.labels,
                "annotations": annotations,
                "value": alert.value,
                "value_at_fire": alert.value_at_fire,
                "notification_id": message.id.as_str(),
                "text": cut(&message.text, MAX_DETAIL),
            },
        },
    });
    if let Some(share) = label("share") {
        event["payload"]["component"] = share.as_str().into();
    }
    if let Some(link) = message.link() {
        event["client_url"] = link.into();
    }
    let links = [("Runbook", message.runbook()), ("AWS console", message.console())];
    let links: Vec<Value> =
        links.into_iter().filter_map(|(text, link)| Some(json!({ "href": link?, "text": text }))).collect();
    if !links.is_empty() {
        event["links"] = links.into();
    }
    event
}

/// PagerDuty knows four severities; what people write besides them is mapped to the nearest, and unknown words to `error`.
fn severity(ours: &str) -> &'static str {
    match ours {
        "page" | "critical" => "critical",
        "warning" | "warn" | "ticket" => "warning",
        "info" | "low" => "info",
        _ => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample;
    use trainspotter_core::rules::ResolveReason;
    use trainspotter_core::rules::TransitionKind;

    #[test]
    fn a_firing_triggers_and_its_resolve_ends_the_same_incident() {
        let url = Some("https://spotter.example");
        let fired = event(&Message::of(&sample::row(TransitionKind::Fired), url));
        insta::assert_snapshot!(serde_json::to_string_pretty(&fired).unwrap());
        let resolved = event(&Message::of(&sample::row(TransitionKind::Resolved(ResolveReason::Recovered)), url));
        assert_eq!(resolved["event_action"], "resolve");
        assert_eq!(resolved["dedup_key"], fired["dedup_key"]);
    }

    #[test]
    fn an_event_stays_within_pagerdutys_limits() {
        let mut row = sample::row(TransitionKind::Fired);
        row.transition.alert.annotations.insert("summary".to_owned(), "ü".repeat(600_000));
        let event = event(&Message::of(&row, None));
        let summary = event["payload"]["summary"].as_str().unwrap();
        assert!(summary.len() <= MAX_SUMMARY && summary.ends_with('…'), "what is cut says so");
        assert!(event.to_string().len() < 64 * 1_024);
    }
}
