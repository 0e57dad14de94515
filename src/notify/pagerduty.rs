//! PagerDuty, by Events API v2: a firing triggers an incident, and its resolve resolves it. Both carry the alert's
//! id, which PagerDuty also uses for deduplication. A report is a change event, which pages nobody.

use std::collections::BTreeMap;

use reqwest::header::HeaderMap;
use serde_json::Value;
use serde_json::json;
use url::Url;

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
use trainspotter_core::model::readable_line;
use trainspotter_core::rules::REPORT;

/// Maximum characters of a PagerDuty summary.
const MAX_SUMMARY: usize = 1_024;

/// Maximum characters per annotation: PagerDuty refuses events of more than 512 KB.
const MAX_DETAIL: usize = 4_096;

/// Error for a report that cannot be sent.
const NO_CHANGES: &str =
    "cannot send a report: PagerDuty's URL for change events is derived from a `url` that ends in /enqueue";

/// A PagerDuty receiver.
#[derive(Debug)]
pub struct PagerDuty {
    http: Http,
    /// Client for change events; `None` if the URL does not have PagerDuty's form.
    changes: Option<Http>,
    routing_key: Secret,
}

impl PagerDuty {
    /// Creates a client for an integration key.
    ///
    /// # Errors
    /// The URL cannot be used. The reason does not contain the URL.
    pub fn new(endpoint: &Endpoint, routing_key: &Secret) -> Result<Self, IntegrationError> {
        let changes = of_changes(endpoint).map(|endpoint| Http::new(&endpoint)).transpose()?;
        Ok(Self { http: Http::new(endpoint)?, changes, routing_key: routing_key.clone() })
    }

    /// Sends an event once.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    pub(super) async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        let is_report = message.transition.alert.rule == REPORT;
        let (http, mut event) = match &self.changes {
            Some(changes) if is_report => (changes, change(message)),
            None if is_report => return Err(Failure::set_aside(NO_CHANGES.to_owned())),
            Some(_) | None => (&self.http, event(message)),
        };
        event["routing_key"] = self.routing_key.expose().into();
        let body = serde_json::to_vec(&event).map_err(|error| Failure::unwritable(&error))?;
        Ok(http.post("", HeaderMap::new(), body, clock).await?.into())
    }
}

/// URL for change events: `/v2/change/enqueue` instead of `/v2/enqueue`; `None` for another path.
fn of_changes(endpoint: &Endpoint) -> Option<Endpoint> {
    let mut url = Url::parse(endpoint.url.expose()).ok()?;
    if url.path_segments()?.next_back() != Some("enqueue") {
        return None;
    }
    url.path_segments_mut().ok()?.pop().extend(["change", "enqueue"]);
    Some(Endpoint { url: Secret::new(url.as_str()), ..endpoint.clone() })
}

/// A change event without its routing key.
fn change(message: &Message) -> Value {
    let alert = &message.transition.alert;
    let summary = alert.annotations.get("summary").unwrap_or(&message.subject);
    let mut change = json!({
        "payload": {
            "summary": cut(summary, MAX_SUMMARY),
            "source": "trainspotter",
            "timestamp": message.transition.at.to_string(),
            "custom_details": {
                "labels": alert.labels,
                "notification_id": message.id.as_str(),
                "text": cut(&message.text, MAX_DETAIL),
            },
        },
    });
    if let Some(link) = message.link() {
        change["links"] = json!([{ "href": link, "text": "Trainspotter" }]);
    }
    change
}

/// An event without its routing key.
fn event(message: &Message) -> Value {
    let transition = &message.transition;
    let alert = &transition.alert;
    let action = match Kind::of(transition) {
        Kind::Fired => "trigger",
        Kind::Resolved => "resolve",
    };
    let annotations: BTreeMap<_, _> =
        alert.annotations.iter().map(|(name, words)| (name, cut(words, MAX_DETAIL))).collect();
    // PagerDuty refuses events without a summary.
    let summary = alert.annotations.get("summary").filter(|summary| !summary.trim().is_empty());
    let summary = readable_line(summary.unwrap_or(&message.subject));
    let label = |name: &str| alert.labels.get(name).filter(|value| !value.trim().is_empty());
    let mut event = json!({
        "event_action": action,
        "dedup_key": alert.id.as_str(),
        "client": "Trainspotter",
        "payload": {
            "summary": cut(&summary, MAX_SUMMARY),
            "source": cut(label("queue").map_or("trainspotter", String::as_str), MAX_SUMMARY),
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
        event["payload"]["component"] = cut(share, MAX_SUMMARY).into();
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

/// Maps a severity to one of PagerDuty's four; unknown words become `error`.
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
    use crate::notify::sample_alerts;
    use trainspotter_core::rules::ResolveReason;
    use trainspotter_core::rules::TransitionKind;

    #[test]
    fn a_firing_triggers_and_its_resolve_ends_the_same_incident() {
        let url = Some("https://spotter.example");
        let fired = event(&Message::of(&sample_alerts::row(TransitionKind::Fired), url));
        insta::assert_snapshot!(serde_json::to_string_pretty(&fired).unwrap());
        let resolved =
            event(&Message::of(&sample_alerts::row(TransitionKind::Resolved(ResolveReason::Recovered)), url));
        assert_eq!(resolved["event_action"], "resolve");
        assert_eq!(resolved["dedup_key"], fired["dedup_key"]);
    }

    #[test]
    fn a_report_is_a_change_event_and_opens_no_incident() {
        let digest = crate::notify::Digest {
            name: "weekly".to_owned(),
            from: trainspotter_core::model::Timestamp::from_millis(1_800_000_000_000),
            summary: "12 jobs ended.".to_owned(),
            text: "Largest wastes".to_owned(),
        };
        let row = crate::notify::notification(&digest, "pager", digest.from);
        let change = change(&Message::of(&row, Some("https://spotter.example")));
        assert_eq!(change["payload"]["summary"], "12 jobs ended.");
        assert!(change["payload"]["custom_details"]["text"].as_str().unwrap().contains("Largest wastes"), "{change}");
        assert!(change.get("event_action").is_none() && change.get("dedup_key").is_none(), "{change}");
        for (url, expected) in [
            ("https://events.pagerduty.com/v2/enqueue", Some("https://events.pagerduty.com/v2/change/enqueue")),
            ("https://user@enqueue/v2/enqueue?a=/enqueue", Some("https://user@enqueue/v2/change/enqueue?a=/enqueue")),
            ("https://relay.example/enqueue/pagerduty", None),
            ("https://enqueue", None),
        ] {
            let endpoint = Endpoint { url: Secret::new(url), allow_loopback: false };
            let changes = of_changes(&endpoint);
            assert_eq!(changes.as_ref().map(|endpoint| endpoint.url.expose()), expected, "{url}");
        }
    }

    #[test]
    fn hostile_names_are_data_of_an_event_that_pagerduty_takes() {
        for (name, row) in sample_alerts::hostile_rows() {
            let event = event(&Message::of(&row, Some("https://spotter.example")));
            let payload = &event["payload"];
            let summary = payload["summary"].as_str().unwrap();
            assert!(!summary.trim().is_empty() && summary.len() <= MAX_SUMMARY, "{name:?}: {summary}");
            assert!(!summary.contains(['\n', '\u{1b}', '\u{202e}']), "{name:?}: {summary:?}");
            assert!(!payload["source"].as_str().unwrap().trim().is_empty(), "{name:?}");
            assert!(event.to_string().len() < 512 * 1_024, "{name:?}");
            assert_eq!(payload["custom_details"]["labels"]["share"], name.as_str(), "labels are exact");
        }
    }

    #[test]
    fn an_event_stays_within_pagerdutys_limits() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.annotations.insert("summary".to_owned(), "ü".repeat(600_000));
        let event = event(&Message::of(&row, None));
        let summary = event["payload"]["summary"].as_str().unwrap();
        assert!(summary.len() <= MAX_SUMMARY && summary.ends_with('…'), "what is cut says so");
        assert!(event.to_string().len() < 64 * 1_024);
    }
}
