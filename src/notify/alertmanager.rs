//! An Alertmanager, by its API v2, so that routing that exists can stay.
//!
//! Alertmanager keeps nothing for long: it takes an alert for resolved when its end has passed, and a restart may lose it. So
//! what fires is posted again every minute, as Prometheus does, each time with an end a few minutes away; the resolve comes with
//! the true end. Whatever is down for a minute or two, on either side, ends nothing.

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

/// How often what fires is posted again, in clock time.
const REPEAT_EVERY: Duration = Duration::from_secs(60);

/// Under a fast clock not more often than this, in wall time.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// A firing is said to end after so many repetitions that did not come. Prometheus says four; a deployment of this service takes longer.
const REPETITIONS_MISSED: u32 = 5;

/// See [`crate::notify::Deliver::repeats_every`].
pub(super) fn repeat_interval(clock: &Clock) -> Duration {
    REPEAT_EVERY.max(clock.of_wall(LEAST_PAUSE))
}

/// An Alertmanager that gets alerts.
#[derive(Debug)]
pub struct Alertmanager {
    http: Http,
}

impl Alertmanager {
    /// An Alertmanager by its root.
    ///
    /// # Errors
    /// The URL cannot be used. Says why, without the URL.
    pub fn new(endpoint: &Endpoint) -> Result<Self, IntegrationError> {
        Ok(Self { http: Http::new(endpoint)? })
    }

    /// With headers of the configuration, which go with every request.
    ///
    /// # Errors
    /// One of them cannot be sent. Says which, without its value.
    pub fn with_headers(self, headers: &BTreeMap<String, Secret>) -> Result<Self, IntegrationError> {
        Ok(Self { http: self.http.with_headers(headers)? })
    }

    /// Posts the alerts of a message once.
    ///
    /// # Errors
    /// What to do next, and why.
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
    // Alertmanager refuses labels whose names it does not know how to write; an empty value is an absent label to it.
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

/// A name of letters, digits and underscores that does not begin with a digit.
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
    use crate::notify::sample;
    use trainspotter_core::rules::ResolveReason;

    #[test]
    fn a_firing_ends_unless_it_is_repeated_and_a_resolve_when_it_did() {
        let until = Timestamp::from_millis(1_700_000_300_000);
        let fired = alerts(&Message::of(&sample::row(TransitionKind::Fired), Some("https://spotter.example")), until);
        insta::assert_snapshot!(serde_json::to_string_pretty(&fired).unwrap());
        let resolved =
            alerts(&Message::of(&sample::row(TransitionKind::Resolved(ResolveReason::Recovered)), None), until);
        assert_eq!(resolved[0]["labels"], fired[0]["labels"]);
        assert_eq!(resolved[0]["startsAt"], fired[0]["startsAt"]);
        assert_eq!(resolved[0]["endsAt"], "2023-11-14T23:16:20Z");
    }

    #[test]
    fn hostile_names_are_values_of_labels_and_no_more() {
        for (name, row) in sample::hostile_rows() {
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
