//! `receivers:` and `inhibit:` in the file: who is notified of which alerts, and how.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use trainspotter_core::model::Matchers;
use trainspotter_core::yaml::HumanDuration;

/// A receiver of alerts: exactly one of sns, webhook, slack, pagerduty and alertmanager.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receiver {
    /// Unique; part of each notification's id.
    pub(crate) name: String,
    /// An SNS topic, standard or FIFO.
    #[serde(default)]
    pub(crate) sns: Option<Sns>,
    /// An HTTP endpoint that accepts Alertmanager's version 4 body.
    #[serde(default)]
    pub(crate) webhook: Option<Webhook>,
    /// A Slack channel: by an incoming webhook, or by an app's token, which can update the message on resolve.
    #[serde(default)]
    pub(crate) slack: Option<Slack>,
    /// A PagerDuty service, by Events API v2.
    #[serde(default)]
    pub(crate) pagerduty: Option<PagerDuty>,
    /// An Alertmanager, by its API v2.
    #[serde(default)]
    pub(crate) alertmanager: Option<Alertmanager>,
    /// Only alerts whose labels match: globs (* and ?) over label values, or a list of matchers in Alertmanager's notation. All must match.
    #[serde(default, rename = "match")]
    pub(crate) matchers: Matchers,
    /// Recurring windows in which no firing is sent. Resolves of sent firings are always sent.
    #[serde(default)]
    pub(crate) mute: Vec<MuteWindow>,
    /// How long a notification is retried before it is given up. At least 10m.
    #[serde(default = "a_day")]
    pub(crate) give_up_after: HumanDuration,
    /// Another receiver to notify if an alert keeps firing.
    #[serde(default)]
    pub(crate) escalate: Option<Escalation>,
    /// Interval of reminders while an alert keeps firing. At least 5m; none by default.
    #[serde(default)]
    pub(crate) repeat_interval: Option<HumanDuration>,
    /// Sends several alerts in one message. By default each alert has its own. Not for pagerduty.
    #[serde(default)]
    pub(crate) group: Option<Group>,
}

/// Sends several alerts in one message. With a long wait this is a digest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// Labels that the alerts of a message have in common; a missing label counts as empty. Empty for one message
    /// with all alerts.
    #[serde(default)]
    pub(crate) by: Vec<String>,
    /// How long the first alert of a message waits for others. From 1s to 24h.
    pub(crate) wait: HumanDuration,
}

/// Notifies another receiver of an alert that still fires.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Escalation {
    /// How long after the firing. At least 1m.
    pub(crate) after: HumanDuration,
    /// The name of another receiver. Its matchers do not apply; its mute windows do.
    pub(crate) to: String,
}

/// Suppresses alerts while another one fires.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inhibition {
    /// Labels of the firing alert, such as alertname; same format as `match` of a receiver.
    pub(crate) when: Matchers,
    /// Labels of the suppressed alerts. Resolves of sent firings are always sent.
    pub(crate) mute: Matchers,
    /// Labels whose values both alerts must have in common.
    #[serde(default)]
    pub(crate) same: Vec<String>,
}

/// A recurring window.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MuteWindow {
    /// Days on which it begins: mon, tue, wed, thu, fri, sat, sun. All by default.
    #[serde(default)]
    pub(crate) days: Vec<String>,
    /// When it begins, such as 22:00.
    pub(crate) from: String,
    /// When it ends, such as 06:00; on the next day if that is not later.
    pub(crate) to: String,
    /// Time zone by IANA name, such as Europe/Berlin.
    #[serde(default = "utc")]
    pub(crate) zone: String,
}

/// An SNS topic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sns {
    /// ARN of the topic. It may be in another region or account: the region is taken from the ARN.
    pub(crate) topic: String,
    /// ARN of a role to assume for publishing. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// Overrides the endpoint. By default the target's, if it has one.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
}

/// An HTTP endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    /// Where to post. Take secrets from the environment or a file: ${NAME}, ${file:/path}.
    pub(crate) url: String,
    /// Standard Webhooks secrets (whsec_...) to sign with. Two during a rotation.
    #[serde(default)]
    pub(crate) secrets: Vec<String>,
    /// Sent with each request, such as Authorization: "Bearer ${TOKEN}". Take secrets from the environment or a file.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(crate) allow_loopback: bool,
}

/// A Slack channel: url alone, or token and channel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slack {
    /// URL of an incoming webhook. With a token: root of the Web API, instead of `https://slack.com/api`.
    #[serde(default)]
    pub(crate) url: Option<String>,
    /// A bot's token with chat:write.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// The channel's id (C...), which stays when it is renamed, or its name.
    #[serde(default)]
    pub(crate) channel: Option<String>,
    /// Slack user ids (U...) by owner: the user in an alert's label owner is mentioned.
    #[serde(default)]
    pub(crate) owners: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(crate) allow_loopback: bool,
}

/// A PagerDuty service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PagerDuty {
    /// Integration key.
    pub(crate) routing_key: String,
    /// Events endpoint, for example of another region.
    #[serde(default = "pagerduty_events")]
    pub(crate) url: String,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(crate) allow_loopback: bool,
}

/// An Alertmanager.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alertmanager {
    /// Root URL, such as http://alertmanager:9093.
    pub(crate) url: String,
    /// Sent with each request, such as Authorization: "Bearer ${TOKEN}". Take secrets from the environment or a file.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(crate) allow_loopback: bool,
}

fn a_day() -> HumanDuration {
    HumanDuration(crate::config::GIVE_UP_AFTER)
}

fn utc() -> String {
    "UTC".to_owned()
}

fn pagerduty_events() -> String {
    "https://events.pagerduty.com/v2/enqueue".to_owned()
}
