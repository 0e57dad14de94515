//! The configuration file as written; `check` decides what it means.
//!
//! Editors show these descriptions, through `trainspotter schema config`.

mod api;
mod archive;
mod forecast;
mod history;
mod publish;
mod reports;
mod rule_locations;
mod target;
pub(super) mod text_or_keys;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::store::StoreForm;
use trainspotter_core::model::{Matchers, SharesShown};
use trainspotter_core::yaml::HumanDuration;

pub(super) use api::Api;
pub use api::Permission;
pub(super) use archive::{ArchiveForm, ArchiveKeys};
pub(super) use forecast::Forecast;
pub(super) use history::History;
pub(super) use publish::{CloudWatchMetrics, Compression, Dollars, Histograms, Otlp, Protocol, Publish};
pub use reports::Every;
pub(super) use reports::Report;
pub(super) use rule_locations::{RulesForm, RulesKeys};
pub(super) use target::{Reserved, Target};

/// Trainspotter's configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Targets: up to 200 regions, each possibly in another account.
    #[serde(deserialize_with = "target::list")]
    pub(super) targets: Vec<Target>,
    /// Poll intervals and call budget.
    #[serde(default)]
    pub(super) poll: Poll,
    /// Sinks for metrics, besides /metrics, which is always available.
    #[serde(default)]
    pub(super) publish: Publish,
    /// Prices in dollars per instance-hour, by instance type such as ml.p5.48xlarge. With prices for all types of
    /// an environment, its GPU time is also reported in dollars.
    #[serde(default)]
    pub(super) prices: BTreeMap<String, f64>,
    /// Which shares have separate series; the others are aggregated as `other`.
    #[serde(default)]
    pub(super) shares: Shares,
    /// Priority bands: names with their lowest priority. Waits are also reported by band. Jobs below all bands, or
    /// with unknown priority, are in the band `other`.
    #[serde(default)]
    pub(super) priority_bands: BTreeMap<String, i32>,
    /// Cost limit of start estimates.
    #[serde(default)]
    pub(super) forecast: Forecast,
    /// Rule files, folders of them, or buckets. Changes take effect while the service runs.
    #[serde(default)]
    pub(super) rules: Vec<RulesForm>,
    /// Receivers of alerts.
    #[serde(default)]
    pub(super) receivers: Vec<Receiver>,
    /// Alerts to suppress while another one fires, for all receivers.
    #[serde(default)]
    pub(super) inhibit: Vec<Inhibition>,
    /// Where persistent state is kept: the path of a file, relative to this file, or a file and a log.
    #[serde(default)]
    pub(super) store: StoreForm,
    /// History of metrics, kept in the same file, for pages and backtests.
    #[serde(default)]
    pub(super) history: History,
    /// Long-term archive of jobs and hours as Parquet files: `s3://bucket/prefix` or a folder. Off by default.
    #[serde(default)]
    pub(super) archive: Option<ArchiveForm>,
    /// Job tags to keep besides `owner`: in the API, the archive and reports.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// Scheduled reports.
    #[serde(default)]
    pub(super) reports: Vec<Report>,
    /// Address of the API and the pages.
    #[serde(default = "default_listen")]
    pub(super) listen: String,
    /// Access to the API and the pages, by token.
    #[serde(default)]
    pub(super) api: Api,
    /// External URL of the pages; linked in notifications.
    #[serde(default)]
    pub(super) external_url: Option<String>,
    /// Log format.
    #[serde(default)]
    pub(super) log: Log,
    /// OTLP gRPC endpoint for the service's own traces.
    #[serde(default)]
    pub(super) traces: Option<String>,
    /// OTLP gRPC endpoint for its log lines, in addition to stderr.
    #[serde(default)]
    pub(super) logs: Option<String>,
}

/// The part of the file that a health check needs.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listening {
    #[serde(default = "default_listen")]
    pub(super) listen: String,
}

/// Which shares have separate series. Quota shares always have them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shares {
    /// Globs (* and ?) over share identifiers.
    pub(super) show: Vec<String>,
    /// Maximum number per queue.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) most: usize,
}

impl Default for Shares {
    fn default() -> Self {
        let SharesShown { show, most } = SharesShown::default();
        Self { show, most }
    }
}

/// Poll intervals and call budget.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Poll {
    /// Jobs and snapshots. At least 5s.
    pub(super) every: HumanDuration,
    /// Queues, environments, policies and shares.
    pub(super) topology_every: HumanDuration,
    /// Full sweeps of waiting jobs.
    pub(super) reconcile_every: HumanDuration,
    /// GPU metrics, which cost money: 1,000 requested metrics cost a cent. At least 1m.
    pub(super) utilisation_every: HumanDuration,
    /// AWS calls per second over all operations.
    #[schemars(range(min = 0.1, max = 100.0))]
    pub(super) calls_per_second: f64,
}

impl Default for Poll {
    fn default() -> Self {
        let seconds = |seconds| HumanDuration(Duration::from_secs(seconds));
        Self {
            every: seconds(30),
            topology_every: seconds(300),
            reconcile_every: seconds(900),
            utilisation_every: seconds(300),
            calls_per_second: 5.0,
        }
    }
}

/// A receiver of alerts: exactly one of sns, webhook, slack, pagerduty and alertmanager.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Receiver {
    /// Unique; part of each notification's id.
    pub(super) name: String,
    /// An SNS topic, standard or FIFO.
    #[serde(default)]
    pub(super) sns: Option<Sns>,
    /// An HTTP endpoint that accepts Alertmanager's version 4 body.
    #[serde(default)]
    pub(super) webhook: Option<Webhook>,
    /// A Slack channel: by an incoming webhook, or by an app's token, which can update the message on resolve.
    #[serde(default)]
    pub(super) slack: Option<Slack>,
    /// A PagerDuty service, by Events API v2.
    #[serde(default)]
    pub(super) pagerduty: Option<PagerDuty>,
    /// An Alertmanager, by its API v2.
    #[serde(default)]
    pub(super) alertmanager: Option<Alertmanager>,
    /// Only alerts whose labels match: globs (* and ?) over label values, or a list of matchers in Alertmanager's notation. All must match.
    #[serde(default, rename = "match")]
    pub(super) matchers: Matchers,
    /// Recurring windows in which no firing is sent. Resolves of sent firings are always sent.
    #[serde(default)]
    pub(super) mute: Vec<MuteWindow>,
    /// How long a notification is retried before it is given up. At least 10m.
    #[serde(default = "a_day")]
    pub(super) give_up_after: HumanDuration,
    /// Another receiver to notify if an alert keeps firing.
    #[serde(default)]
    pub(super) escalate: Option<Escalation>,
    /// Interval of reminders while an alert keeps firing. At least 5m; none by default.
    #[serde(default)]
    pub(super) repeat_interval: Option<HumanDuration>,
    /// Sends several alerts in one message. By default each alert has its own. Not for pagerduty.
    #[serde(default)]
    pub(super) group: Option<Group>,
}

/// Sends several alerts in one message. With a long wait this is a digest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// Labels that the alerts of a message have in common; a missing label counts as empty. Empty for one message
    /// with all alerts.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// How long the first alert of a message waits for others. From 1s to 24h.
    pub(super) wait: HumanDuration,
}

/// Notifies another receiver of an alert that still fires.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Escalation {
    /// How long after the firing. At least 1m.
    pub(super) after: HumanDuration,
    /// The name of another receiver. Its matchers do not apply; its mute windows do.
    pub(super) to: String,
}

/// Suppresses alerts while another one fires.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inhibition {
    /// Labels of the firing alert, such as alertname; same format as `match` of a receiver.
    pub(super) when: Matchers,
    /// Labels of the suppressed alerts. Resolves of sent firings are always sent.
    pub(super) mute: Matchers,
    /// Labels whose values both alerts must have in common.
    #[serde(default)]
    pub(super) same: Vec<String>,
}

/// A recurring window.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MuteWindow {
    /// Days on which it begins: mon, tue, wed, thu, fri, sat, sun. All by default.
    #[serde(default)]
    pub(super) days: Vec<String>,
    /// When it begins, such as 22:00.
    pub(super) from: String,
    /// When it ends, such as 06:00; on the next day if that is not later.
    pub(super) to: String,
    /// Time zone by IANA name, such as Europe/Berlin.
    #[serde(default = "utc")]
    pub(super) zone: String,
}

/// An SNS topic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sns {
    /// ARN of the topic. It may be in another region or account: the region is taken from the ARN.
    pub(super) topic: String,
    /// ARN of a role to assume for publishing. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(super) role: Option<String>,
    /// Overrides the endpoint. By default the target's, if it has one.
    #[serde(default)]
    pub(super) endpoint: Option<String>,
}

/// An HTTP endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    /// Where to post. Take secrets from the environment or a file: ${NAME}, ${file:/path}.
    pub(super) url: String,
    /// Standard Webhooks secrets (whsec_...) to sign with. Two during a rotation.
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    /// Sent with each request, such as Authorization: "Bearer ${TOKEN}". Take secrets from the environment or a file.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(super) allow_loopback: bool,
}

/// A Slack channel: url alone, or token and channel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Slack {
    /// URL of an incoming webhook. With a token: root of the Web API, instead of `https://slack.com/api`.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// A bot's token with chat:write.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// The channel's id (C...), which stays when it is renamed, or its name.
    #[serde(default)]
    pub(super) channel: Option<String>,
    /// Slack user ids (U...) by owner: the user in an alert's label owner is mentioned.
    #[serde(default)]
    pub(super) owners: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(super) allow_loopback: bool,
}

/// A PagerDuty service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PagerDuty {
    /// Integration key.
    pub(super) routing_key: String,
    /// Events endpoint, for example of another region.
    #[serde(default = "pagerduty_events")]
    pub(super) url: String,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(super) allow_loopback: bool,
}

/// An Alertmanager.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Alertmanager {
    /// Root URL, such as http://alertmanager:9093.
    pub(super) url: String,
    /// Sent with each request, such as Authorization: "Bearer ${TOKEN}". Take secrets from the environment or a file.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(super) allow_loopback: bool,
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Log {
    /// One JSON object per line.
    #[default]
    Json,
    /// Human-readable.
    Pretty,
}

fn default_listen() -> String {
    "127.0.0.1:9464".to_owned()
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
