//! The configuration file as it is written. What it means is decided in `check`.
//!
//! The descriptions here are what editors show, through `trainspotter schema config`.

mod api;
mod archive;
mod forecast;
mod history;
mod publish;
mod reports;
mod rules;
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
pub(super) use rules::{RulesForm, RulesKeys};
pub(super) use target::{Reserved, Target};

/// Trainspotter's configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Where to look: up to 200 regions, each perhaps in another account.
    #[serde(deserialize_with = "target::list")]
    pub(super) targets: Vec<Target>,
    /// How often to look, and how many calls that may take.
    #[serde(default)]
    pub(super) poll: Poll,
    /// Where figures go, besides /metrics, which is always there.
    #[serde(default)]
    pub(super) publish: Publish,
    /// Dollars per instance and hour, by instance type such as ml.p5.48xlarge. With all types of an environment given, its GPU
    /// time is reported in dollars, too.
    #[serde(default)]
    pub(super) prices: BTreeMap<String, f64>,
    /// Which shares have series of their own; the others are aggregated as `other`.
    #[serde(default)]
    pub(super) shares: Shares,
    /// Names for ranges of job priorities, each with its lowest priority: waits are reported by them, too. Jobs below all of them, or of
    /// a priority that is not known, are in the band `other`.
    #[serde(default)]
    pub(super) priority_bands: BTreeMap<String, i32>,
    /// What estimates of when jobs start may cost.
    #[serde(default)]
    pub(super) forecast: Forecast,
    /// Rule files, folders of them, or buckets. What changes there takes effect while the service runs.
    #[serde(default)]
    pub(super) rules: Vec<RulesForm>,
    /// Who is notified of alerts.
    #[serde(default)]
    pub(super) receivers: Vec<Receiver>,
    /// Alerts that are not sent while another one fires, for all receivers.
    #[serde(default)]
    pub(super) inhibit: Vec<Inhibition>,
    /// Where the state is kept that must survive a restart: the path of a file, relative to this file, or file and log.
    #[serde(default)]
    pub(super) store: StoreForm,
    /// Past figures, kept in the same file, for the page and for backtests.
    #[serde(default)]
    pub(super) history: History,
    /// Where jobs and hours are kept for years, as Parquet files: `s3://bucket/prefix` or a folder. Off when absent.
    #[serde(default)]
    pub(super) archive: Option<ArchiveForm>,
    /// Tags of jobs that are kept beside `owner`: in the API, the archive and reports.
    #[serde(default)]
    pub(super) tags: Vec<String>,
    /// Reports that are sent again and again.
    #[serde(default)]
    pub(super) reports: Vec<Report>,
    /// Address of the API and the page.
    #[serde(default = "default_listen")]
    pub(super) listen: String,
    /// Who may use the API and the page, by token.
    #[serde(default)]
    pub(super) api: Api,
    /// Where the page can be reached from outside; linked in notifications.
    #[serde(default)]
    pub(super) external_url: Option<String>,
    /// How logs look.
    #[serde(default)]
    pub(super) log: Log,
    /// OTLP gRPC endpoint for traces of the service itself.
    #[serde(default)]
    pub(super) traces: Option<String>,
    /// OTLP gRPC endpoint for the lines of its log, beside stderr.
    #[serde(default)]
    pub(super) logs: Option<String>,
}

/// What a health check needs of the file.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listening {
    #[serde(default = "default_listen")]
    pub(super) listen: String,
}

/// Which shares have series of their own. Quota shares have them in any case.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Shares {
    /// Globs (* and ?) over share identifiers.
    pub(super) show: Vec<String>,
    /// How many of a queue, at most.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) most: usize,
}

impl Default for Shares {
    fn default() -> Self {
        let SharesShown { show, most } = SharesShown::default();
        Self { show, most }
    }
}

/// Cadence and budget of polling.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Poll {
    /// Jobs and snapshots. At least 5s.
    pub(super) every: HumanDuration,
    /// Queues, environments, policies and shares.
    pub(super) topology_every: HumanDuration,
    /// Full sweeps of waiting jobs.
    pub(super) reconcile_every: HumanDuration,
    /// GPU metrics, which cost money: 1,000 metrics requested cost a cent. At least 1m.
    pub(super) utilisation_every: HumanDuration,
    /// AWS calls per second, all operations together.
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
    /// Unique; part of the identity of each notification.
    pub(super) name: String,
    /// An SNS topic, standard or FIFO.
    #[serde(default)]
    pub(super) sns: Option<Sns>,
    /// An HTTP endpoint that takes Alertmanager's version 4 body.
    #[serde(default)]
    pub(super) webhook: Option<Webhook>,
    /// A Slack channel: by an incoming webhook, or by an app's token, which allows to change the message on resolve.
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
    /// Recurring windows in which no firing is sent. Resolves of what was sent always pass.
    #[serde(default)]
    pub(super) mute: Vec<MuteWindow>,
    /// How long a notification is tried before it is given up. At least 10m.
    #[serde(default = "a_day")]
    pub(super) give_up_after: HumanDuration,
    /// Who else is notified when an alert still fires after a while.
    #[serde(default)]
    pub(super) escalate: Option<Escalation>,
    /// How often to be reminded of an alert that still fires. At least 5m; never by default.
    #[serde(default)]
    pub(super) repeat_interval: Option<HumanDuration>,
    /// Several alerts in one message. Each on its own by default. Not for pagerduty.
    #[serde(default)]
    pub(super) group: Option<Group>,
}

/// Sends several alerts in one message. With a long wait this is a digest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    /// Labels in which the alerts of a message agree; an absent one counts as empty. None is one message for all.
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

/// While one alert fires, others are not sent.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Inhibition {
    /// Labels of the alert that fires, such as alertname; as in `match` of a receiver.
    pub(super) when: Matchers,
    /// Labels of those that are not sent meanwhile. Resolves of what was sent always pass.
    pub(super) mute: Matchers,
    /// Labels whose values both alerts must share.
    #[serde(default)]
    pub(super) same: Vec<String>,
}

/// A recurring window.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MuteWindow {
    /// On which days it begins: mon, tue, wed, thu, fri, sat, sun. All by default.
    #[serde(default)]
    pub(super) days: Vec<String>,
    /// When it begins, such as 22:00.
    pub(super) from: String,
    /// When it ends, such as 06:00; on the next day if that is not later.
    pub(super) to: String,
    /// The time zone by its IANA name, such as Europe/Berlin.
    #[serde(default = "utc")]
    pub(super) zone: String,
}

/// An SNS topic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sns {
    /// The topic's ARN. It may be of another region or account: the region is the ARN's.
    pub(super) topic: String,
    /// ARN of a role to assume for publishing. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(super) role: Option<String>,
    /// Another endpoint. By default the target's, if it has one.
    #[serde(default)]
    pub(super) endpoint: Option<String>,
}

/// An HTTP endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    /// Where to post. Take secrets from the environment or a file: ${NAME}, ${file:/path}.
    pub(super) url: String,
    /// Standard Webhooks secrets (whsec_...) to sign with. Two while they are exchanged.
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
    /// An incoming webhook. With a token: another root than `https://slack.com/api`.
    #[serde(default)]
    pub(super) url: Option<String>,
    /// A bot's token with chat:write.
    #[serde(default)]
    pub(super) token: Option<String>,
    /// The channel's id (C...), which stays when it is renamed, or its name.
    #[serde(default)]
    pub(super) channel: Option<String>,
    /// Slack user ids (U...) by owner: whoever an alert's label owner names is mentioned.
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
    /// The integration's key.
    pub(super) routing_key: String,
    /// Where events go: another region's, say.
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
    /// Its root, such as http://alertmanager:9093.
    pub(super) url: String,
    /// Sent with each request, such as Authorization: "Bearer ${TOKEN}". Take secrets from the environment or a file.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Whether the URL may lead to this machine.
    #[serde(default)]
    pub(super) allow_loopback: bool,
}

/// How logs look.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Log {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
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
