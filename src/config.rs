//! Configuration: parses and validates one YAML file as a whole.
//!
//! The rest of the crate sees only these types, which cannot hold a value that the service cannot run with.

mod api_tokens;
mod archive;
mod aws_names;
mod check;
mod file;
pub mod forbidden_addresses;
mod forecast;
mod masked_excerpt;
mod mute_windows;
mod object_place;
mod otlp_environment;
mod placeholders;
mod publish;
mod receivers;
mod reports;
mod rule_locations;
mod store;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use api_tokens::{ApiToken, MAX_TOKEN, MIN_TOKEN};
pub use archive::Archive;
pub use aws_names::{check_namespace, place_problem};
pub use file::{Every, Permission};
pub use masked_excerpt::shown_url;
pub use mute_windows::Mute;
pub use object_place::ObjectPlace;
pub use placeholders::Environment;
pub use publish::{CloudWatch, CloudWatchMetrics, Histograms, Otlp, OtlpProtocol, Publish};
pub use reports::{MAX_REPORT_KEYS, ScheduledReport, check_report_key};
pub use rule_locations::{RulesBucket, RulesPlace};
pub use store::Replication;
pub use targets::{MAX_TARGETS, usual_name};

use trainspotter_core::model::Matchers;
use trainspotter_core::model::Prices;
use trainspotter_core::model::PriorityBands;
use trainspotter_core::model::SharesShown;
use trainspotter_core::yaml::{self, Problems};

/// Parses a configuration. `file` is the name shown in errors; relative paths start at `folder`.
///
/// # Errors
///
/// All errors in the text.
pub fn load(file: &str, text: &str, folder: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let checked = yaml::read(file, text).and_then(|document| check::check(&document, folder, environment));
    checked.map_err(|problems| masked_excerpt::masked(problems, text))
}

/// Problems found when the configuration is used, each with its location in the file (`receivers[2].match`); `None`
/// if there are none.
pub fn problems(file: &str, text: &str, found: Vec<(String, String)>) -> Option<Problems> {
    let document = yaml::read::<serde_json::Value>(file, text).ok()?;
    let found = found.into_iter().map(|(path, message)| document.problem(&path, message)).collect();
    document.conclude(found).err().map(|problems| masked_excerpt::masked(problems, text))
}

/// The listen address in a configuration, whatever else the file contains.
///
/// # Errors
///
/// The file is not YAML, or `listen` is not an address.
pub fn listen_of(file: &str, text: &str, environment: Environment<'_>) -> Result<SocketAddr, Problems> {
    let masked = |problems| masked_excerpt::masked(problems, text);
    let document = yaml::read::<file::Listening>(file, text).map_err(masked)?;
    check::listen(&document, environment).map_err(masked)
}

/// The JSON Schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(file::File).to_value()
}

/// The complete configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Targets to watch: at least one. Each is a region, possibly in another account.
    pub targets: Vec<Target>,
    /// Poll intervals and call budget.
    pub poll: Poll,
    /// Prices per instance-hour, by instance type.
    pub prices: Prices,
    /// Which shares have separate series.
    pub shares: SharesShown,
    /// Priority bands for waits; empty by default.
    pub priority_bands: PriorityBands,
    /// Sinks besides `/metrics`, which is always available.
    pub publish: Publish,
    /// Share of a core for start estimates; 0 disables them.
    pub forecast: f64,
    /// Rule locations: files, folders, buckets.
    pub rules: Vec<RulesPlace>,
    /// Receivers of alerts.
    pub receivers: Vec<Receiver>,
    /// Number of `inhibit` entries without effect, because there is no receiver.
    pub idle_inhibitions: usize,
    /// Path of the state file.
    pub store: PathBuf,
    /// The log shared by replicas; `None` for a single service.
    pub replication: Option<Replication>,
    /// Retention of history.
    pub history: History,
    /// Long-term archive of jobs and hours, if configured.
    pub archive: Option<Archive>,
    /// Job tags kept beside the owner's.
    pub tags: Vec<String>,
    /// Scheduled reports.
    pub reports: Vec<ScheduledReport>,
    /// Address of the API and the pages. Loopback by default.
    pub listen: SocketAddr,
    /// API tokens.
    pub api: Vec<ApiToken>,
    /// External URL of the pages; linked in notifications.
    pub external_url: Option<String>,
    /// Log format.
    pub log: LogFormat,
    /// OTLP gRPC endpoint for the service's own traces, if any.
    pub traces: Option<String>,
    /// OTLP gRPC endpoint for its log lines, if any.
    pub logs: Option<String>,
}

/// An account and region to watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Unique, ignoring case.
    pub name: String,
    /// AWS region, such as `us-east-1`.
    pub region: String,
    /// A role to assume.
    pub role: Option<String>,
    /// External id required by the role's trust policy.
    pub external_id: Option<String>,
    /// Endpoint for all AWS services, such as a simulator.
    pub endpoint: Option<String>,
    /// Queue name globs; a queue is watched if any matches.
    pub queues: Vec<String>,
    /// URL of an SQS queue with Batch events, to see changes between polls.
    pub events: Option<String>,
    /// Which reserved capacity is watched.
    pub reserved: Reserved,
    /// Service Quotas code of the training limit per instance type, for the types to be watched.
    pub quotas: BTreeMap<String, String>,
    /// Calls per second of this target; default from [`Poll`].
    pub calls_per_second: Option<f64>,
}

impl Target {
    /// All queues of a region, with the service's own credentials.
    pub fn new(region: impl Into<String>) -> Self {
        let region = region.into();
        Self {
            name: usual_name(&region, None),
            region,
            role: None,
            external_id: None,
            endpoint: None,
            queues: vec!["*".to_owned()],
            events: None,
            reserved: Reserved::default(),
            quotas: BTreeMap::new(),
            calls_per_second: None,
        }
    }
}

/// Capacity that is paid for whether or not jobs use it; not queried unless enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// SageMaker training plans.
    pub training_plans: bool,
    /// Warm pools left by training jobs.
    pub warm_pools: bool,
}

/// Poll intervals and call budget, in clock time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poll {
    /// Jobs and snapshots.
    pub every: Duration,
    /// Queues, environments, policies and shares.
    pub topology_every: Duration,
    /// Full sweeps of waiting jobs.
    pub reconcile_every: Duration,
    /// GPU metrics, which cost money.
    pub utilisation_every: Duration,
    /// AWS calls per second over all operations.
    pub calls_per_second: f64,
}

/// Retention of history for pages and backtests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct History {
    /// Retention time; zero stores nothing.
    pub keep: Duration,
    /// Maximum bytes; beyond it the oldest data is deleted early.
    pub at_most: u64,
}

/// A receiver of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Unique; part of each notification's id.
    pub name: String,
    /// How to reach it.
    pub channel: Channel,
    /// Which alerts it gets. Empty for all alerts.
    pub matchers: Matchers,
    /// When no firings are sent. Resolves of sent firings are always sent.
    pub mute: Vec<Mute>,
    /// How long a notification is retried.
    pub give_up_after: Duration,
    /// Receiver to escalate to if an alert of this receiver keeps firing.
    pub escalate: Option<Escalation>,
    /// Interval of reminders while an alert keeps firing; `None` for none.
    pub repeat_interval: Option<Duration>,
    /// Grouping of alerts into messages; `None` for one message per alert.
    pub group: Option<Group>,
    /// Inhibition rules: the same for all receivers of a file.
    pub inhibit: Vec<Inhibition>,
}

/// Grouping of alerts into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Labels that the alerts of a message have in common; a missing label counts as empty.
    pub by: Vec<String>,
    /// How long the first alert of a message waits for others.
    pub wait: Duration,
}

/// A later notification to another receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Delay after the firing, in clock time.
    pub after: Duration,
    /// The name of another receiver.
    pub to: String,
}

/// Suppresses alerts while another one fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibition {
    /// Labels of the firing alert.
    pub when: Matchers,
    /// Labels of the suppressed alerts.
    pub mute: Matchers,
    /// Labels that both must have in common; a label missing on both counts as equal.
    pub same: Vec<String>,
}

/// Default retry time of a notification: a day.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);

impl Receiver {
    /// A receiver of all alerts at any time.
    pub fn new(name: impl Into<String>, channel: Channel) -> Self {
        Self {
            name: name.into(),
            channel,
            matchers: Matchers::default(),
            mute: Vec::new(),
            give_up_after: GIVE_UP_AFTER,
            escalate: None,
            repeat_interval: None,
            group: None,
            inhibit: Vec::new(),
        }
    }
}

/// Channel of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    /// An SNS topic, standard or FIFO, by ARN.
    Sns {
        /// The topic's ARN, which also determines its region.
        topic: String,
        /// A role to assume; by default the service's own credentials, never a target's.
        role: Option<String>,
        /// Overrides the endpoint; by default the first target's.
        endpoint: Option<String>,
    },
    /// An HTTP endpoint for Alertmanager's version 4 webhook body.
    Webhook {
        /// The URL to post to.
        endpoint: Endpoint,
        /// Decoded signing keys; several during a rotation. Without keys, bodies are not signed.
        keys: Vec<SigningKey>,
        /// Sent with each request, such as `Authorization`; values may be secret and are never logged.
        headers: BTreeMap<String, Secret>,
    },
    /// A Slack incoming webhook: one message for a firing and one for its resolve.
    SlackWebhook {
        /// The webhook's URL.
        endpoint: Endpoint,
        /// Slack user ids by owner: the user in the label `owner` is mentioned.
        owners: BTreeMap<String, String>,
    },
    /// A Slack app: one message per episode, updated when it resolves.
    SlackApp {
        /// Root of `chat.postMessage` and `chat.update`.
        endpoint: Endpoint,
        /// The bot's token.
        token: Secret,
        /// The channel's id or name.
        channel: String,
        /// As for an incoming webhook.
        owners: BTreeMap<String, String>,
    },
    /// A PagerDuty service, by Events API v2.
    PagerDuty {
        /// Events endpoint.
        endpoint: Endpoint,
        /// Integration key.
        routing_key: Secret,
    },
    /// An Alertmanager, by API v2, which routes alerts by its own configuration.
    Alertmanager {
        /// Its root URL.
        endpoint: Endpoint,
        /// As for a webhook.
        headers: BTreeMap<String, Secret>,
    },
}

impl Channel {
    /// A topic, with the service's own credentials.
    pub fn sns(topic: impl Into<String>) -> Self {
        Self::Sns { topic: topic.into(), role: None, endpoint: None }
    }
}

/// Endpoint of a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The URL, which often contains a token.
    pub url: Secret,
    /// Whether it may lead to this machine. Link-local addresses are always refused.
    pub allow_loopback: bool,
}

/// Key of a Standard Webhooks secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Parses `whsec_` and base64; `None` if invalid or not of 24 to 64 bytes.
    pub fn parse(secret: &str) -> Option<Self> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The key, for signing.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// Human-readable.
    Pretty,
}

/// A text that must not appear in logs, errors or the API. `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for its one use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
