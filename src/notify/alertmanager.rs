//! Sends alerts to Alertmanager (API v2), so that existing routing can stay.
//!
//! Alertmanager does not store alerts: it resolves an alert once its end time has passed, and may lose it in a
//! restart. Firing alerts are therefore posted again every minute, as Prometheus does, with an end time a few
//! minutes ahead; the resolve carries the actual end. An outage of a minute or two on either side resolves nothing.

use std::collections::BTreeMap;
use std::time::Duration;

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
use trainspotter_clock::Clock;
use trainspotter_core::model::Timestamp;
use trainspotter_core::rules::Transition;
use trainspotter_core::rules::TransitionKind;

/// Interval for posting firing alerts again, in clock time.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// Lower bound of that interval in wall time, for a fast clock.
const MIN_REPEAT_INTERVAL: Duration = Duration::from_secs(1);

/// An alert's end time is this many intervals ahead. Prometheus uses four; a deployment of this service takes
/// longer.
const REPETITIONS_MISSED: u32 = 5;

/// See [`crate::notify::Deliver::repeat_interval`].
pub(super) fn repeat_interval(clock: &Clock) -> Duration {
    REPEAT_EVERY.max(clock.of_wall(MIN_REPEAT_INTERVAL))
}

/// An Alertmanager receiver.
#[derive(Debug)]
pub struct Alertmanager {
    http: Http,
}

impl Alertmanager {
    /// Creates a client from Alertmanager's root URL.
    ///
    /// # Errors
    /// The URL cannot be used. The reason does not contain the URL.
    pub fn new(endpoint: &Endpoint) -> Result<Self, IntegrationError> {
        Ok(Self { http: Http::new(endpoint)? })
    }

    /// Adds the configured headers to every request.
    ///
    /// # Errors
    /// A header is invalid. The error names it, without its value.
    pub fn with_headers(self, headers: &BTreeMap<String, Secret>) -> Result<Self, IntegrationError> {
        Ok(Self { http: self.http.with_headers(headers)? })
    }

    /// Posts the alerts of a message once.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    pub(super) async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        let firing_until = clock.now() + repeat_interval(clock) * REPETITIONS_MISSED;
        let body = serde_json::to_vec(&alerts(message, firing_until)).map_err(|error| Failure::unwritable(&error))?;
        Ok(self.http.post("/api/v2/alerts", HeaderMap::new(), body, clock).await?.into())
    }
}

fn alerts(message: &Message, firing_until: Timestamp) -> Value {
    message.transitions().map(|transition| posted(message, transition, firing_until)).collect()
}

fn posted(message: &Message, transition: &Transition, firing_until: Timestamp) -> Value {
    let alert = &transition.alert;
    let starts_at = alert.state.fired_at().unwrap_or(transition.at);
    let ends_at = match transition.kind {
        TransitionKind::Fired => firing_until.max(starts_at),
        TransitionKind::Resolved(_) => transition.at,
    };
    // Alertmanager refuses invalid label names, and treats an empty value as an absent label.
    let labels: BTreeMap<String, &str> = alert
        .labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (label_name(name), value.as_str()))
        .collect();
    let mut posted = json!({
        "labels": labels,
        "annotations": alert.annotations.iter().map(|(name, words)| (label_name(name), words.as_str())).collect::<BTreeMap<_, _>>(),
        "startsAt": starts_at,
        "endsAt": ends_at,
    });
    if let Some(link) = message.link_of(alert) {
        posted["generatorURL"] = link.into();
    }
    posted
}

/// Converts to a valid label name: letters, digits and underscores, not starting with a digit.
fn label_name(name: &str) -> String {
    let mut legal: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if legal.starts_with(|c: char| c.is_ascii_digit()) {
        legal.insert(0, '_');
    }
    legal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample_alerts;
    use trainspotter_core::rules::ResolveReason;

    #[test]
    fn a_firing_ends_unless_it_is_repeated_and_a_resolve_when_it_did() {
        let until = Timestamp::from_millis(1_700_000_300_000);
        let fired =
            alerts(&Message::of(&sample_alerts::row(TransitionKind::Fired), Some("https://spotter.example")), until);
        insta::assert_snapshot!(serde_json::to_string_pretty(&fired).unwrap());
        let resolved =
            alerts(&Message::of(&sample_alerts::row(TransitionKind::Resolved(ResolveReason::Recovered)), None), until);
        assert_eq!(resolved[0]["labels"], fired[0]["labels"]);
        assert_eq!(resolved[0]["startsAt"], fired[0]["startsAt"]);
        assert_eq!(resolved[0]["endsAt"], "2023-11-14T23:16:20Z");
    }

    #[test]
    fn hostile_names_are_values_of_labels_and_no_more() {
        for (name, row) in sample_alerts::hostile_rows() {
            let posted = alerts(&Message::of(&row, None), Timestamp::from_millis(1_700_000_300_000));
            let posted: Value = serde_json::from_str(&posted.to_string()).unwrap();
            assert_eq!(posted.as_array().map(Vec::len), Some(1));
            assert_eq!(posted[0]["labels"]["share"], name.as_str());
            let is_legal = |name: &String| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            assert!(posted[0]["labels"].as_object().unwrap().keys().all(is_legal), "{posted}");
            assert!(posted[0]["labels"].as_object().unwrap().values().all(|value| value != ""), "{posted}");
        }
    }

    #[test]
    fn labels_are_made_legal() {
        let check = |name: &str, legal: &str| assert_eq!(label_name(name), legal);
        check("job.queue", "job_queue");
        check("3rd", "_3rd");
        check("größe", "gr__e");
    }
}
