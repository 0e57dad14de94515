//! Slack: blocks in a channel. An app updates its message when the alert resolves; an incoming webhook cannot, and
//! posts a second one.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use reqwest::header::AUTHORIZATION;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderValue;
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
use crate::notify::message::head;
use crate::notify::outbox::Kind;
use trainspotter_clock::Clock;
use trainspotter_core::model::readable_line;
use trainspotter_core::rules::Alert;

/// Maximum characters of a text block; Slack's limit is 3,000.
const MAX_BLOCK: usize = 2_900;

/// Maximum text blocks; Slack's limit is 50, which is more than anybody reads.
const MAX_SECTIONS: usize = 12;

/// Slack's limit on the characters of a header.
const MAX_HEADER: usize = 150;

/// Maximum characters of the notification preview.
const MAX_PREVIEW: usize = 1_000;

/// Maximum characters of a severity or link: Slack refuses the whole message if one is too long.
const MAX_SEVERITY: usize = 100;
const MAX_LINK: usize = 800;

/// Maximum owners mentioned per message: their ids must fit beside [`MAX_BLOCK`].
const MAX_MENTIONED: usize = 5;

/// A Slack receiver.
#[derive(Debug)]
pub struct Slack {
    http: Http,
    app: Option<App>,
    /// Slack user ids by owner.
    owners: BTreeMap<String, String>,
}

/// An app, which can update its messages.
#[derive(Debug)]
struct App {
    token: Secret,
    channel: String,
}

impl Slack {
    /// Creates a client for an incoming webhook.
    ///
    /// # Errors
    /// The URL cannot be used. The reason does not contain the URL.
    pub fn webhook(endpoint: &Endpoint) -> Result<Self, IntegrationError> {
        Ok(Self { http: Http::new(endpoint)?, app: None, owners: BTreeMap::new() })
    }

    /// Creates a client for an app with a bot token and a channel. `endpoint` is the root of Slack's Web API.
    ///
    /// # Errors
    /// The URL cannot be used. The reason does not contain the URL.
    pub fn app(endpoint: &Endpoint, token: &Secret, channel: &str) -> Result<Self, IntegrationError> {
        let app = App { token: token.clone(), channel: channel.to_owned() };
        Ok(Self { http: Http::new(endpoint)?, app: Some(app), owners: BTreeMap::new() })
    }

    /// Sets the Slack user ids by owner; the user in an alert's label `owner` is mentioned.
    #[must_use]
    pub fn with_owners(self, owners: &BTreeMap<String, String>) -> Self {
        Self { owners: owners.clone(), ..self }
    }

    /// Posts a message once, or updates the firing message.
    ///
    /// # Errors
    /// Why it failed, and how to proceed.
    pub(super) async fn deliver(&self, message: &Message, clock: &Clock) -> Result<Receipt, Failure> {
        let mut body = body(message, &self.owners);
        let Some(app) = &self.app else {
            return Ok(self.http.post("", HeaderMap::new(), written(&body)?, clock).await?.into());
        };
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", app.token.expose())).map_err(|_| {
            Failure::park("the Slack token contains characters that are not allowed in headers".to_owned())
        })?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        // Channel id and message timestamp, from Slack's response to the firing.
        let path = match message.reference.as_deref().and_then(|reference| reference.split_once(' ')) {
            Some((channel, ts)) if message.others.is_empty() && message.status() == Kind::Resolved => {
                body["channel"] = channel.into();
                body["ts"] = ts.into();
                "/chat.update"
            }
            Some(_) | None => {
                body["channel"] = app.channel.as_str().into();
                "/chat.postMessage"
            }
        };
        let answer = self.http.post(path, headers, written(&body)?, clock).await?;
        let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if json["ok"] != true {
            return Err(refused(self.http.host(), &json));
        }
        let reference =
            json["channel"].as_str().zip(json["ts"].as_str()).map(|(channel, ts)| format!("{channel} {ts}"));
        // A message with several alerts cannot be updated for a single one.
        let reference = reference.filter(|_| message.others.is_empty());
        Ok(Receipt { response: answer.status, reference })
    }
}

/// Slack responds with 200 always, and puts errors into the body.
fn refused(host: &str, json: &Value) -> Failure {
    let Some(error) = json["error"].as_str() else {
        return Failure::retry(
            format!("{host} responded with 200 OK, but without confirming that it accepted the message"),
            None,
        );
    };
    let reason = format!("{host} answered: {}", cut(error, 100));
    match error {
        "ratelimited" | "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            Failure::retry(reason, None)
        }
        "message_not_found" | "cant_update_message" | "edit_window_closed" | "msg_too_long" | "invalid_blocks" => {
            Failure::set_aside(reason)
        }
        _ => Failure::park(reason),
    }
}

fn written(body: &Value) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::unwritable(&error))
}

fn body(message: &Message, owners: &BTreeMap<String, String>) -> Value {
    let story = message.text.split_once('\n').map_or("", |(_, story)| story).trim();
    let mut texts = sections(story);
    let owner = |alert: &Alert| owners.get(alert.labels.get("owner").or_else(|| alert.by.get("owner"))?).cloned();
    let mentioned: BTreeSet<String> =
        message.transitions().filter_map(|transition| owner(&transition.alert)).map(|id| format!("<@{id}>")).collect();
    if !mentioned.is_empty() {
        let more = mentioned.len().saturating_sub(MAX_MENTIONED);
        let mut mentioned = mentioned.into_iter().take(MAX_MENTIONED).collect::<Vec<_>>().join(" ");
        if more > 0 {
            mentioned.push_str(&format!(" and {more} more"));
        }
        match texts.first_mut() {
            Some(first) => *first = format!("{mentioned}\n{first}"),
            None => texts.push(mentioned),
        }
    }
    let title = format!("{} {}", mark(message), message.title());
    let header = cut(&title, MAX_HEADER);
    let mut blocks =
        vec![json!({ "type": "header", "text": { "type": "plain_text", "emoji": true, "text": header.as_ref() } })];
    if header != title {
        texts.insert(0, cut(&escaped(&title), MAX_BLOCK).into_owned());
    }
    if let Some(severity) = message.severity() {
        let severity = format!("Severity: *{}*", escaped(&cut(&readable_line(severity), MAX_SEVERITY)));
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": severity }] }));
    }
    let section = |text| json!({ "type": "section", "text": { "type": "mrkdwn", "verbatim": true, "text": text } });
    blocks.extend(texts.into_iter().map(section));
    let page = if message.others.is_empty() { message.link() } else { message.external_url.clone() };
    let of_one = |link: Option<String>| link.filter(|_| message.others.is_empty());
    let links = [("Details", page), ("AWS console", of_one(message.console())), ("Runbook", of_one(message.runbook()))];
    let links: Vec<String> = links
        .into_iter()
        .filter_map(|(name, link)| Some((name, link?)))
        .filter(|(_, link)| link.starts_with("http") && !link.contains(['|', '>', ' ', '\n']) && link.len() <= MAX_LINK)
        .map(|(name, link)| format!("<{}|{name}>", escaped(&link)))
        .collect();
    if !links.is_empty() {
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": links.join(" | ") }] }));
    }
    json!({ "text": preview(message), "blocks": blocks, "unfurl_links": false })
}

/// Text for phone notifications and channel lists: enough to decide whether to act.
fn preview(message: &Message) -> String {
    let severity = message.severity().map(|severity| format!(" ({severity})")).unwrap_or_default();
    let summaries = message.summaries();
    // A summary describes the current state, which may no longer hold.
    let colon = match (summaries.is_empty(), message.status()) {
        (true, _) => "",
        (false, Kind::Fired) => " – ",
        (false, Kind::Resolved) => " – was: ",
    };
    let preview = format!("{} {}{severity}{colon}{summaries}", mark(message), message.title());
    cut(&escaped(&preview), MAX_PREVIEW).into_owned()
}

/// Emoji that shows severity and state at a glance.
fn mark(message: &Message) -> &'static str {
    match (message.status(), message.severity()) {
        (Kind::Resolved, _) => ":white_check_mark:",
        (Kind::Fired, Some("page" | "critical")) => ":rotating_light:",
        (Kind::Fired, Some("info" | "low" | "none")) => ":information_source:",
        (Kind::Fired, Some("warning" | "warn" | "ticket")) => ":warning:",
        (Kind::Fired, _) => ":bell:",
    }
}

/// Splits a text into blocks, at paragraphs where possible.
fn sections(story: &str) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut is_cut = false;
    for paragraph in story.split("\n\n") {
        let whole = escaped(paragraph);
        let text = head(&whole, MAX_BLOCK);
        is_cut |= text.len() < whole.len();
        match texts.last_mut() {
            Some(last) if last.len() + 2 + text.len() <= MAX_BLOCK => {
                last.push_str("\n\n");
                last.push_str(text);
            }
            Some(_) | None => texts.push(text.to_owned()),
        }
    }
    is_cut |= texts.len() > MAX_SECTIONS;
    texts.truncate(MAX_SECTIONS);
    if let Some(last) = texts.last_mut().filter(|_| is_cut) {
        last.push_str("\n[cut]");
    }
    texts
}

/// Escapes the three special characters of Slack's markup, so that a label cannot mention anybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::sample_alerts;
    use trainspotter_core::rules::ResolveReason;
    use trainspotter_core::rules::TransitionKind;

    #[test]
    fn blocks_have_the_explanation_and_links() {
        let message = Message::of(&sample_alerts::row(TransitionKind::Fired), Some("https://spotter.example"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&body(&message, &BTreeMap::new())).unwrap());
        let message = Message::of(&sample_alerts::row(TransitionKind::Resolved(ResolveReason::Recovered)), None);
        insta::assert_snapshot!(serde_json::to_string_pretty(&body(&message, &BTreeMap::new())).unwrap());
    }

    #[test]
    fn labels_cannot_mention_anyone_nor_exceed_slacks_limits() {
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.by.insert("share".to_owned(), format!("<!channel> {}", "&".repeat(9_000)));
        let body = body(&Message::of(&row, None), &BTreeMap::new());
        let blocks = body["blocks"].as_array().unwrap();
        let texts: Vec<&str> = blocks[1..].iter().filter_map(|block| block["text"]["text"].as_str()).collect();
        // Headers are plain text in Slack; everything else is markup.
        assert!(!texts.concat().contains("<!channel>") && !body["text"].to_string().contains("<!channel>"), "{body}");
        assert!(texts.iter().all(|text| text.len() <= 3_000) && texts.concat().ends_with("[cut]"), "{texts:?}");
        assert!(body["blocks"][0]["text"]["text"].as_str().unwrap().len() <= MAX_HEADER);
    }

    #[test]
    fn hostile_names_cause_no_mentions_and_keep_slacks_limits() {
        for (name, row) in sample_alerts::hostile_rows() {
            let message = Message::of(&row, Some("https://spotter.example"));
            let body = body(&message, &BTreeMap::new());
            let blocks = body["blocks"].as_array().unwrap();
            // Headers are plain text in Slack; everything else is markup.
            let header = blocks[0]["text"]["text"].as_str().unwrap();
            let of_block = |block: &Value| {
                let elements = block["elements"].as_array().into_iter().flatten().chain([&block["text"]]);
                elements.filter_map(|one| one["text"].as_str().map(str::to_owned)).collect::<Vec<_>>()
            };
            let mut texts: Vec<String> = blocks[1..].iter().flat_map(of_block).collect();
            assert!(blocks.len() <= 50 && header.len() <= MAX_HEADER, "{name:?}");
            assert!(texts.iter().all(|text| !text.is_empty() && text.len() <= 3_000), "{name:?}: {texts:#?}");
            texts.push(body["text"].as_str().unwrap().to_owned());
            let links = ["|Details>", "|AWS console>", "|Runbook>"];
            let all = texts.concat();
            let expected: usize = links.iter().map(|link| all.matches(link).count()).sum();
            assert_eq!((all.matches('<').count(), all.matches('>').count()), (expected, expected), "{name:?}: {all}");
            assert!(!(all + header).contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{name:?}");
        }
    }

    #[test]
    fn severities_look_different_and_the_preview_names_the_subject() {
        let of = |severity: &str, kind| {
            let mut row = sample_alerts::row(kind);
            row.transition.alert.labels.insert("severity".to_owned(), severity.to_owned());
            body(&Message::of(&row, None), &BTreeMap::new())
        };
        let marks: BTreeSet<String> = ["page", "warning", "info", "odd"]
            .map(|severity| of(severity, TransitionKind::Fired))
            .into_iter()
            .chain([of("page", TransitionKind::Resolved(ResolveReason::Recovered))])
            .map(|body| body["blocks"][0]["text"]["text"].as_str().unwrap().split(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(marks.len(), 5, "{marks:?}");
        let page = of("page", TransitionKind::Fired);
        let preview = page["text"].as_str().unwrap();
        assert!(preview.contains("(page)") && preview.contains("research on prod-a waits 42m (p95)"), "{preview}");
        assert_eq!(page["blocks"][1]["elements"][0]["text"], "Severity: *page*");
    }

    #[test]
    fn a_label_is_shown_in_full_whatever_its_length_and_script() {
        let share = format!("zürich-{}", "x".repeat(400));
        let mut row = sample_alerts::row(TransitionKind::Fired);
        row.transition.alert.by.insert("share".to_owned(), share.clone());
        let body = body(&Message::of(&row, None), &BTreeMap::new());
        let header = body["blocks"][0]["text"]["text"].as_str().unwrap();
        assert!(header.len() <= MAX_HEADER && header.ends_with('…'), "{header}");
        let texts: Vec<&str> =
            body["blocks"].as_array().unwrap().iter().filter_map(|block| block["text"]["text"].as_str()).collect();
        assert!(texts[1..].iter().any(|text| text.contains(&share)), "{texts:?}");
    }

    #[test]
    fn the_owner_of_an_alert_is_mentioned_by_id() {
        let owners = BTreeMap::from([("ada".to_owned(), "U012AB3CD".to_owned())]);
        let check = |owner: &str, mentioned: bool| {
            let mut row = sample_alerts::row(TransitionKind::Fired);
            row.transition.alert.labels.insert("owner".to_owned(), owner.to_owned());
            let body = body(&Message::of(&row, None), &owners);
            let text = body["blocks"][2]["text"]["text"].as_str().unwrap();
            assert_eq!(text.starts_with("<@U012AB3CD>\n"), mentioned, "{text}");
        };
        check("ada", true);
        check("<@U012AB3CD>", false);
    }

    #[test]
    fn errors_in_the_body_are_retried_parked_or_set_aside() {
        use crate::notify::RetryClass;
        let check = |error: &str, remedy: RetryClass| {
            assert_eq!(refused("slack.example", &json!({ "ok": false, "error": error })).remedy, remedy, "{error}");
        };
        check("ratelimited", RetryClass::Retry { after: None });
        check("invalid_auth", RetryClass::Park);
        check("channel_not_found", RetryClass::Park);
        check("message_not_found", RetryClass::SetAside);
        assert_eq!(refused("slack.example", &Value::Null).remedy, RetryClass::Retry { after: None });
    }
}
