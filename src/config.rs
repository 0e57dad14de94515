//! Configuration: what one YAML file says, checked as a whole.
//!
//! The rest of the crate sees only these types, which cannot hold a value that the service could not run on.

pub mod address;
mod api_tokens;
mod archive;
mod aws_names;
mod check;
mod environment_variables;
mod excerpt;
mod file;
mod forecast;
mod mute;
mod object_place;
mod otlp_environment;
mod publish;
mod receivers;
mod rules;
mod store;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use api_tokens::{ApiToken, MAX_TOKEN, MIN_TOKEN};
pub use archive::{Archive, MAX_REPORT_KEYS, ScheduledReport, check_report_key};
pub use aws_names::{check_namespace, place_problem};
pub use environment_variables::Environment;
pub use excerpt::shown_url;
pub use file::{Every, Permission};
pub use mute::Mute;
pub use object_place::ObjectPlace;
pub use publish::{CloudWatch, CloudWatchMetrics, Histograms, Otlp, OtlpProtocol, Publish};
pub use rules::{RulesBucket, RulesPlace};
pub use store::Replication;
pub use targets::{MAX_TARGETS, usual_name};

use trainspotter_core::model::Matchers;
use trainspotter_core::model::Prices;
use trainspotter_core::model::PriorityBands;
use trainspotter_core::model::SharesShown;
use trainspotter_core::yaml::{self, Problems};

/// Reads a configuration. `file` is the name that problems show, `folder` what relative paths in it start from.
///
/// # Errors
///
/// Every mistake in the text.
pub fn load(file: &str, text: &str, folder: &Path, environment: Environment<'_>) -> Result<Config, Problems> {
    let checked = yaml::read(file, text).and_then(|document| check::check(&document, folder, environment));
    checked.map_err(|problems| excerpt::masked(problems, text))
}

/// Problems that show only once the file is put to use, each with its place in it (`receivers[2].match`); `None` if there are none.
pub fn problems(file: &str, text: &str, found: Vec<(String, String)>) -> Option<Problems> {
    let document = yaml::read::<serde_json::Value>(file, text).ok()?;
    let found = found.into_iter().map(|(path, message)| document.problem(&path, message)).collect();
    document.conclude(found).err().map(|problems| excerpt::masked(problems, text))
}

/// Where a service with this configuration listens, whatever else the file says.
///
/// # Errors
///
/// The file is no YAML, or what it says of `listen` is no address.
pub fn listen_of(file: &str, text: &str, environment: Environment<'_>) -> Result<SocketAddr, Problems> {
    let masked = |problems| excerpt::masked(problems, text);
    let document = yaml::read::<file::Listening>(file, text).map_err(masked)?;
    check::listen(&document, environment).map_err(masked)
}

/// The JSON Schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(file::File).to_value()
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to look: at least one. Each is a region, perhaps in another account.
    pub targets: Vec<Target>,
    /// How often to look, and how many calls that may take.
    pub poll: Poll,
    /// Dollars per instance and hour, by instance type.
    pub prices: Prices,
    /// Which shares have series of their own.
    pub shares: SharesShown,
    /// Bands of job priority by which waits are reported, too; none by default.
    pub priority_bands: PriorityBands,
    /// Where figures go besides `/metrics`, which is always there.
    pub publish: Publish,
    /// The part of a core that estimates of when jobs start may take; 0 for none.
    pub forecast: f64,
    /// Where rules are: files, folders, buckets.
    pub rules: Vec<RulesPlace>,
    /// Who is notified of alerts.
    pub receivers: Vec<Receiver>,
    /// Entries of `inhibit` that hold nothing back, because there is no receiver.
    pub idle_inhibitions: usize,
    /// What survives a restart.
    pub store: PathBuf,
    /// The log that several replicas share; none where one service has its file.
    pub replication: Option<Replication>,
    /// How much of the past is kept.
    pub history: History,
    /// Where jobs and hours are kept for years; nowhere when absent.
    pub archive: Option<Archive>,
    /// Tags of jobs that are kept beside the owner's.
    pub tags: Vec<String>,
    /// Reports that are sent again and again.
    pub reports: Vec<ScheduledReport>,
    /// Address of the API and the page. Loopback unless the file says otherwise.
    pub listen: SocketAddr,
    /// Who may use the API, by token.
    pub api: Vec<ApiToken>,
    /// Where the page can be reached from outside; linked in notifications.
    pub external_url: Option<String>,
    /// How logs look.
    pub log: LogFormat,
    /// OTLP gRPC endpoint for traces of the service itself; off when absent.
    pub traces: Option<String>,
    /// OTLP gRPC endpoint for the lines of its log; off when absent.
    pub logs: Option<String>,
}

/// An account and region whose queues are watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Unique; no two differ in case only.
    pub name: String,
    /// AWS region, such as `us-east-1`.
    pub region: String,
    /// A role to assume first.
    pub role: Option<String>,
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// Another endpoint for every AWS service: the simulator, say.
    pub endpoint: Option<String>,
    /// Globs over queue names; a queue is watched if any matches.
    pub queues: Vec<String>,
    /// The URL of an SQS queue that gets Batch's events, to see changes between polls.
    pub events: Option<String>,
    /// Which capacity is watched that is paid for whether jobs use it or not.
    pub reserved: Reserved,
    /// The code of the account's quota for training jobs by instance type, as far as they are to be asked for.
    pub quotas: BTreeMap<String, String>,
    /// Calls per second of its own; what [`Poll`] says otherwise.
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

/// Capacity that is paid for whether jobs use it or not: nothing is asked about it unless it is switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// SageMaker training plans.
    pub training_plans: bool,
    /// Warm pools that training jobs have left.
    pub warm_pools: bool,
}

/// Cadence and budget of polling, in clock time.
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
    /// AWS calls per second, all operations together.
    pub calls_per_second: f64,
}

/// How much of the past is kept, for pages and backtests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct History {
    /// For how long; zero keeps none.
    pub keep: Duration,
    /// Bytes beyond which the oldest goes before its time.
    pub at_most: u64,
}

/// A receiver of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// Unique; part of the identity of each notification.
    pub name: String,
    /// How to reach them.
    pub channel: Channel,
    /// Which alerts it is notified of. Empty for all alerts.
    pub matchers: Matchers,
    /// When no firings are sent. Resolves of what was sent always pass.
    pub mute: Vec<Mute>,
    /// How long a notification is tried before it is given up.
    pub give_up_after: Duration,
    /// Who is notified when an alert that this receiver was to hear of still fires after a while.
    pub escalate: Option<Escalation>,
    /// How often they are reminded of an alert that still fires; never when absent.
    pub repeat_interval: Option<Duration>,
    /// Whether several alerts are sent in one message; each has its own when absent.
    pub group: Option<Group>,
    /// What holds firings back: the same for all receivers of a file.
    pub inhibit: Vec<Inhibition>,
}

/// Sends several alerts in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Labels in which the alerts of a message agree; one that is absent counts as empty.
    pub by: Vec<String>,
    /// How long the first alert of a message waits for others.
    pub wait: Duration,
}

/// Notifies someone else, later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Clock time from the firing on.
    pub after: Duration,
    /// The name of another receiver.
    pub to: String,
}

/// While one alert fires, others are not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibition {
    /// Labels of the alert that fires.
    pub when: Matchers,
    /// Labels of those that are not sent.
    pub mute: Matchers,
    /// Labels in which both must agree; one that both lack counts as agreement.
    pub same: Vec<String>,
}

/// How long a notification is tried unless the file says otherwise: a day.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);

impl Receiver {
    /// A receiver that gets everything at any time.
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

/// How a receiver is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Channel {
    /// An SNS topic, standard or FIFO, by ARN.
    Sns {
        /// The topic's ARN, which names its region, too.
        topic: String,
        /// A role to assume for it; the service's own credentials otherwise, never a target's.
        role: Option<String>,
        /// Another endpoint; the first target's if absent.
        endpoint: Option<String>,
    },
    /// An HTTP endpoint that takes Alertmanager's version 4 body.
    Webhook {
        /// Where to post.
        endpoint: Endpoint,
        /// Keys that bodies are signed with, decoded; several while they are exchanged. Without any nothing is signed.
        keys: Vec<SigningKey>,
        /// Sent with each request, such as `Authorization`; values may be secrets and are never logged.
        headers: BTreeMap<String, Secret>,
    },
    /// An incoming webhook of Slack: a message each for a firing and its resolve.
    SlackWebhook {
        /// The webhook's URL.
        endpoint: Endpoint,
        /// Slack user ids by owner: whoever the label `owner` names is mentioned.
        owners: BTreeMap<String, String>,
    },
    /// A Slack app: one message for an episode, changed when it resolves.
    SlackApp {
        /// Where `chat.postMessage` and `chat.update` are.
        endpoint: Endpoint,
        /// The bot's token.
        token: Secret,
        /// The channel's id or name.
        channel: String,
        /// As for an incoming webhook.
        owners: BTreeMap<String, String>,
    },
    /// A service of PagerDuty, by Events API v2.
    PagerDuty {
        /// Where events go.
        endpoint: Endpoint,
        /// The integration's key.
        routing_key: Secret,
    },
    /// An Alertmanager, by its API v2, which then routes alerts by its own configuration.
    Alertmanager {
        /// Its root.
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

/// Where a receiver listens.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The URL, which often holds a token.
    pub url: Secret,
    /// Whether it may lead to this machine. Link-local addresses are refused always.
    pub allow_loopback: bool,
}

/// The bytes of a Standard Webhooks secret. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64; `None` if it is not that, or not of 24 to 64 bytes.
    pub fn parse(secret: &str) -> Option<Self> {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Pretty,
}

/// A text that must not reach logs, errors or the API. `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
