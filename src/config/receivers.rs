//! Validates the receivers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use crate::config::aws_names::check_topic;
use crate::config::check::Check;
use crate::config::file;
use crate::config::forbidden_addresses;
use crate::config::{Channel, Endpoint, Mute, Receiver, Secret, SigningKey};
use crate::config::{Escalation, Group, Inhibition};
use trainspotter_core::model::check_name;

/// Minimum retry time: a shorter one would lose alerts when the receiver restarts.
const MIN_GIVE_UP: Duration = Duration::from_secs(600);

/// Minimum delay of an escalation; with less it would be a second receiver.
const MIN_ESCALATION: Duration = Duration::from_secs(60);

/// Minimum interval of reminders: more frequent ones get muted.
const MIN_REPEAT: Duration = Duration::from_secs(300);

/// Maximum delay of escalations and reminders.
const MAX_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// Allowed grouping delay: a digest of more than a day is not useful, and notifications that wait longer are given
/// up.
const GROUP_WAIT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(86_400);

/// Headers that the configuration must not set.
const OWN_HEADERS: [&str; 6] =
    ["content-length", "content-type", "host", "webhook-id", "webhook-signature", "webhook-timestamp"];

/// Slack's Web API.
const SLACK_API: &str = "https://slack.com/api";

impl Check<'_> {
    pub(super) fn receivers(&mut self, receivers: &[file::Receiver], inhibit: &[file::Inhibition]) -> Vec<Receiver> {
        let inhibit = self.inhibit(inhibit);
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for (index, receiver) in receivers.iter().enumerate() {
            let at = format!("receivers[{index}]");
            if receiver.name.trim().is_empty() {
                self.problem(&format!("{at}.name"), "a receiver needs a name");
            }
            self.refuse(&format!("{at}.name"), check_name(&receiver.name).map_err(|why| format!("this name {why}")));
            if !names.insert(&receiver.name) {
                let message = format!("another receiver is already named `{}`", receiver.name);
                self.problem(&format!("{at}.name"), message);
            }
            let give_up_after = format!("{at}.give_up_after");
            self.at_least(&give_up_after, receiver.give_up_after.0, MIN_GIVE_UP);
            self.at_most(&give_up_after, receiver.give_up_after.0, MAX_DELAY);
            let mute = self.mute(&at, &receiver.mute);
            let escalate = self.escalate(&at, receiver, receivers);
            if let Some(interval) = &receiver.repeat_interval {
                self.at_least(&format!("{at}.repeat_interval"), interval.0, MIN_REPEAT);
                self.at_most(&format!("{at}.repeat_interval"), interval.0, MAX_DELAY);
            }
            let group = self.group(&at, receiver);
            if let Some(channel) = self.channel(&at, receiver) {
                checked.push(Receiver {
                    name: receiver.name.clone(),
                    channel,
                    matchers: receiver.matchers.clone(),
                    mute,
                    give_up_after: receiver.give_up_after.0,
                    escalate,
                    repeat_interval: receiver.repeat_interval.as_ref().map(|interval| interval.0),
                    group,
                    inhibit: inhibit.clone(),
                });
            }
        }
        checked
    }

    fn group(&mut self, at: &str, receiver: &file::Receiver) -> Option<Group> {
        let file::Group { by, wait } = receiver.group.as_ref()?;
        if receiver.pagerduty.is_some() {
            self.problem(
                &format!("{at}.group"),
                "not supported for PagerDuty, which has one incident per alert and groups them itself",
            );
        }
        if !GROUP_WAIT.contains(&wait.0) {
            self.problem(&format!("{at}.group.wait"), "from 1s to 24h");
        }
        self.distinct(&format!("{at}.group.by"), by);
        Some(Group { by: by.clone(), wait: wait.0 })
    }

    fn escalate(&mut self, at: &str, from: &file::Receiver, all: &[file::Receiver]) -> Option<Escalation> {
        let file::Escalation { after, to } = from.escalate.as_ref()?;
        self.at_least(&format!("{at}.escalate.after"), after.0, MIN_ESCALATION);
        self.at_most(&format!("{at}.escalate.after"), after.0, MAX_DELAY);
        if *to == from.name {
            self.problem(
                &format!("{at}.escalate.to"),
                "this is the receiver itself; name another, or use `repeat_interval`",
            );
        } else if !all.iter().any(|receiver| receiver.name == *to) {
            let known: Vec<&str> = all.iter().map(|receiver| receiver.name.as_str()).collect();
            let message = format!("there is no receiver `{to}`; known receivers: {}", known.join(", "));
            self.problem(&format!("{at}.escalate.to"), message);
        }
        Some(Escalation { after: after.0, to: to.clone() })
    }

    fn inhibit(&mut self, inhibitions: &[file::Inhibition]) -> Vec<Inhibition> {
        for (index, inhibition) in inhibitions.iter().enumerate() {
            self.distinct(&format!("inhibit[{index}].same"), &inhibition.same);
            for (key, matchers) in [("when", &inhibition.when), ("mute", &inhibition.mute)] {
                let at = format!("inhibit[{index}].{key}");
                if matchers.is_empty() {
                    self.problem(&at, "at least one label is required: an empty matcher would match every alert");
                }
                if matchers.iter().any(|matcher| matcher.label() == "alert") {
                    self.problem(&format!("{at}.alert"), "an alert's name is its label `alertname`");
                }
            }
        }
        let checked = |inhibition: &file::Inhibition| {
            let file::Inhibition { when, mute, same } = inhibition.clone();
            Inhibition { when, mute, same }
        };
        inhibitions.iter().map(checked).collect()
    }

    fn owners(&mut self, at: &str, owners: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut checked = BTreeMap::new();
        for (owner, id) in owners {
            let path = format!("{at}.owners[{owner}]");
            let id = self.filled(&path, id);
            let is_id = id.len() > 1
                && id.starts_with(['U', 'W'])
                && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !is_id {
                let message =
                    format!("`{id}` is not the id of a Slack user; it looks like U012AB3CD, in the user's profile");
                self.problem(&path, message);
            }
            checked.insert(owner.clone(), id);
        }
        checked
    }

    fn channel(&mut self, at: &str, receiver: &file::Receiver) -> Option<Channel> {
        let mut channels = Vec::new();
        if let Some(sns) = &receiver.sns {
            channels.push(self.sns(at, sns));
        }
        if let Some(webhook) = &receiver.webhook {
            channels.push(self.webhook(at, webhook));
        }
        if let Some(slack) = &receiver.slack {
            channels.extend(self.slack(&format!("{at}.slack"), slack));
        }
        if let Some(pagerduty) = &receiver.pagerduty {
            let path = format!("{at}.pagerduty.url");
            let endpoint = self.endpoint(&path, &pagerduty.url, pagerduty.allow_loopback);
            self.refuse(&path, takes_events(endpoint.url.expose()));
            let routing_key = self.secret(&format!("{at}.pagerduty.routing_key"), &pagerduty.routing_key);
            channels.push(Channel::PagerDuty { endpoint, routing_key });
        }
        if let Some(alertmanager) = &receiver.alertmanager {
            let path = format!("{at}.alertmanager.url");
            let endpoint = self.endpoint(&path, &alertmanager.url, alertmanager.allow_loopback);
            self.refuse(&path, is_root_of_alertmanager(endpoint.url.expose()));
            let headers = self.headers(&format!("{at}.alertmanager"), &alertmanager.headers);
            channels.push(Channel::Alertmanager { endpoint, headers });
        }
        let given = [
            receiver.sns.is_some(),
            receiver.webhook.is_some(),
            receiver.slack.is_some(),
            receiver.pagerduty.is_some(),
            receiver.alertmanager.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let message = "a receiver has exactly one of `sns`, `webhook`, `slack`, `pagerduty` and `alertmanager`";
            self.problem(at, message);
            return None;
        }
        channels.pop()
    }

    fn sns(&mut self, at: &str, sns: &file::Sns) -> Channel {
        let path = format!("{at}.sns.topic");
        let topic = self.filled(&path, &sns.topic);
        self.refuse(&path, check_topic(&topic));
        let role = self.role(&format!("{at}.sns.role"), sns.role.as_deref(), None);
        let endpoint = self.endpoint_of_aws(&format!("{at}.sns.endpoint"), sns.endpoint.as_deref());
        Channel::Sns { topic, role, endpoint }
    }

    fn webhook(&mut self, at: &str, webhook: &file::Webhook) -> Channel {
        let path = format!("{at}.webhook.url");
        let endpoint = self.endpoint(&path, &webhook.url, webhook.allow_loopback);
        self.refuse(&path, takes_webhooks(endpoint.url.expose()));
        let mut keys = Vec::new();
        for (index, secret) in webhook.secrets.iter().enumerate() {
            let path = format!("{at}.webhook.secrets[{index}]");
            match SigningKey::parse(&self.filled(&path, secret)) {
                Some(key) if keys.contains(&key) => {
                    self.problem(&path, "duplicate secret; two secrets are for rotation");
                }
                Some(key) => keys.push(key),
                None => self.problem(&path, "not a Standard Webhooks secret: `whsec_` and base64 of 24 to 64 bytes"),
            }
        }
        let headers = self.headers(&format!("{at}.webhook"), &webhook.headers);
        Channel::Webhook { endpoint, keys, headers }
    }

    pub(super) fn headers(&mut self, at: &str, headers: &BTreeMap<String, String>) -> BTreeMap<String, Secret> {
        let mut checked = BTreeMap::new();
        for (name, value) in headers {
            let path = format!("{at}.headers.{name}");
            let secret = self.secret(&path, value);
            let lower = name.to_ascii_lowercase();
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.problem(&path, format!("`{name}` is not the name of a header"));
            } else if OWN_HEADERS.contains(&lower.as_str()) {
                self.problem(&path, format!("`{name}` is set by the service itself"));
            } else if HeaderValue::from_str(secret.expose()).is_err() {
                self.problem(
                    &path,
                    "its value contains characters that are not allowed in a header, such as a line feed",
                );
            }
            checked.insert(name.clone(), secret);
        }
        checked
    }

    fn slack(&mut self, at: &str, slack: &file::Slack) -> Option<Channel> {
        let path = format!("{at}.url");
        let owners = self.owners(at, &slack.owners);
        match (&slack.url, &slack.token, &slack.channel) {
            (Some(url), None, None) => {
                let endpoint = self.endpoint(&path, url, slack.allow_loopback);
                self.refuse(&path, is_incoming_webhook(endpoint.url.expose()));
                Some(Channel::SlackWebhook { endpoint, owners })
            }
            (url, Some(token), Some(channel)) => {
                let url = url.as_deref().unwrap_or(SLACK_API);
                let endpoint = self.endpoint(&path, url, slack.allow_loopback);
                let token = self.secret(&format!("{at}.token"), token);
                let channel = self.filled(&format!("{at}.channel"), channel);
                if token.expose().contains(char::is_whitespace) {
                    self.problem(&format!("{at}.token"), "must be the token only, without `Bearer` or spaces");
                }
                self.refuse(&format!("{at}.token"), is_token_of_a_bot(token.expose()));
                self.refuse(&format!("{at}.channel"), is_channel(&channel));
                Some(Channel::SlackApp { endpoint, token, channel, owners })
            }
            (_, _, _) => {
                self.problem(at, "give either the `url` of an incoming webhook, or `token` and `channel`");
                None
            }
        }
    }

    fn secret(&mut self, path: &str, text: &str) -> Secret {
        let filled = self.filled(path, text);
        if filled.trim().is_empty() {
            self.problem(path, "must not be empty");
        }
        Secret::new(filled)
    }

    fn endpoint(&mut self, path: &str, url: &str, allow_loopback: bool) -> Endpoint {
        let filled = self.filled(path, url);
        if let Some(url) = self.http_url(path, &filled)
            && let Some(refusal) =
                forbidden_addresses::literal(&url).and_then(|ip| forbidden_addresses::refusal(ip, allow_loopback))
        {
            self.problem(path, format!("requests to this address are refused: {refusal}"));
        }
        Endpoint { url: Secret::new(filled), allow_loopback }
    }

    fn mute(&mut self, at: &str, windows: &[file::MuteWindow]) -> Vec<Mute> {
        let mut checked = Vec::new();
        for (index, window) in windows.iter().enumerate() {
            match Mute::new(&window.days, &window.from, &window.to, &window.zone) {
                Ok(mute) => checked.push(mute),
                Err((key, message)) => self.problem(&format!("{at}.mute[{index}].{key}"), message),
            }
        }
        checked
    }
}

/// Refuses URLs of services with their own format, which do not accept Alertmanager's body.
fn takes_webhooks(url: &str) -> Result<(), String> {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let own = match host.as_str() {
        "hooks.slack.com" => "slack: { url: ... }",
        "events.pagerduty.com" | "events.eu.pagerduty.com" => "pagerduty: { routing_key: ... }",
        _ => return Ok(()),
    };
    Err(format!("{host} does not accept webhook bodies; write `{own}`"))
}

/// Checks the path of PagerDuty's Events API, on any host.
fn takes_events(url: &str) -> Result<(), String> {
    let is_root = Url::parse(url).is_ok_and(|url| url.path() == "/");
    if is_root {
        return Err("the complete URL is required, such as https://events.eu.pagerduty.com/v2/enqueue".to_owned());
    }
    Ok(())
}

/// Refuses other URLs on Slack's host, which accept other bodies or none.
fn is_incoming_webhook(url: &str) -> Result<(), String> {
    let Ok(url) = Url::parse(url) else { return Ok(()) };
    let is_slack = url.host_str().is_some_and(|host| host.starts_with("hooks.slack"));
    if is_slack && !url.path().starts_with("/services/") {
        return Err("not the URL of an incoming webhook: its path begins with /services/".to_owned());
    }
    Ok(())
}

/// Checks the type of a Slack token by its prefix. The error does not contain it.
fn is_token_of_a_bot(token: &str) -> Result<(), String> {
    let kinds = [
        ("xoxp-", "a user's"),
        ("xoxe.xoxp-", "a user's"),
        ("xapp-", "for an app's sockets"),
        ("xoxe-", "for refreshing others"),
        ("xoxs-", "a session's"),
        ("xoxc-", "a session's"),
        ("xoxd-", "a session's"),
    ];
    match kinds.into_iter().find(|(begins, _)| token.starts_with(begins)) {
        Some((begins, kind)) => {
            Err(format!("a token that begins with {begins} is {kind}; use a bot token, which begins with xoxb-"))
        }
        None => Ok(()),
    }
}

/// Slack accepts channel ids and names, with or without `#`.
fn is_channel(channel: &str) -> Result<(), String> {
    let name = channel.strip_prefix('#').unwrap_or(channel);
    let why = if channel.trim().is_empty() {
        "must not be empty"
    } else if name.is_empty()
        || name.starts_with('@')
        || name.contains(|letter: char| letter.is_whitespace() || "/:#<>,".contains(letter))
    {
        "not a channel; write its id, such as C0123ABCD, or its name, such as ops"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}

/// Refuses a URL with a path of Alertmanager's API: paths are appended to it.
fn is_root_of_alertmanager(url: &str) -> Result<(), String> {
    let Ok(url) = Url::parse(url) else { return Ok(()) };
    let is_api = url.path().trim_end_matches('/').ends_with("/api/v2/alerts") || url.path().contains("/api/v1/");
    if is_api || url.fragment().is_some() {
        return Err(
            "must be Alertmanager's base URL, such as http://alertmanager:9093: /api/v2/alerts is appended".to_owned()
        );
    }
    Ok(())
}
