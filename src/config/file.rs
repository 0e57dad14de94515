//! The configuration file as written; `check` decides what it means.
//!
//! Editors show these descriptions, through `trainspotter schema config`.

mod api;
mod archive;
mod forecast;
mod history;
mod publish;
mod receivers;
mod reports;
mod rule_locations;
mod store;
mod target;
pub(super) mod text_or_keys;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use trainspotter_core::model::SharesShown;
use trainspotter_core::yaml::HumanDuration;

pub(super) use api::Api;
pub use api::Permission;
pub(super) use archive::{ArchiveForm, ArchiveKeys};
pub(super) use forecast::Forecast;
pub(super) use history::History;
pub(super) use publish::{CloudWatchMetrics, Compression, Dollars, Histograms, Otlp, Protocol, Publish};
pub(super) use receivers::{Escalation, Group, Inhibition, MuteWindow, Receiver, Slack, Sns, Webhook};
pub use reports::Every;
pub(super) use reports::Report;
pub(super) use rule_locations::{RulesForm, RulesKeys};
pub(super) use store::{StoreForm, StoreKeys};
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
