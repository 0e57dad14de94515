//! Where the state is kept: a file and, for several replicas, a log.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use url::Url;

use crate::config::aws_names::partition_of;
use crate::config::check::Check;
use trainspotter_core::yaml::HumanDuration;

/// How long a replica leads from a record of its own, unless the file says otherwise.
const LEASE: Duration = Duration::from_secs(45);

/// Shorter leases are lost by slow answers alone.
const MIN_LEASE: Duration = Duration::from_secs(3);

/// Longer ones leave a dead leader's work undone.
const MAX_LEASE: Duration = Duration::from_secs(600);

/// Where the log of several replicas is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The place itself.
    pub log: LogPlace,
    /// The bucket's region; the first target's otherwise.
    pub region: Option<String>,
    /// Another endpoint than AWS's; the first target's otherwise, if it has one.
    pub endpoint: Option<String>,
    /// A role to assume for the bucket.
    pub role: Option<String>,
    /// How long a replica leads from a record of its own.
    pub lease: Duration,
}

impl Replication {
    /// Whether the log is in a bucket, which has a price.
    pub fn is_in_a_bucket(&self) -> bool {
        matches!(self.log, LogPlace::Bucket { .. })
    }
}

/// What a log is kept in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPlace {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A bucket of S3.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What the names of its objects begin with; without a slash at either end, and perhaps empty.
        prefix: String,
    },
}

impl LogPlace {
    /// A place of its own below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path.join(name)),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => {
                Self::Bucket { bucket: bucket.clone(), prefix: name.to_owned() }
            }
            Self::Bucket { bucket, prefix } => {
                Self::Bucket { bucket: bucket.clone(), prefix: format!("{prefix}/{name}") }
            }
        }
    }
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// As the file has it: the path of a file, or more.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(description = "The file that keeps what must survive a restart, relative to this file; or file and log.")]
pub(super) enum StoreForm {
    /// The path of the file.
    File(String),
    /// File and log.
    More(StoreKeys),
}

/// The state file, and the log that several replicas share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreKeys {
    /// The file that keeps what must survive a restart, relative to this file. With a log it is a copy of that, for each replica its own.
    #[serde(default = "default_file")]
    pub(super) file: String,
    /// Where the log of several replicas is: `s3://bucket/prefix`, or `file:///folder` on one machine. Without one there is one service per
    /// file.
    #[serde(default)]
    pub(super) log: Option<String>,
    /// The bucket's region: the first target's by default.
    #[serde(default)]
    pub(super) region: Option<String>,
    /// Another endpoint of S3. By default the first target's, if it has one.
    #[serde(default)]
    pub(super) endpoint: Option<String>,
    /// ARN of a role to assume for the bucket. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(super) role: Option<String>,
    /// How long a replica leads without a sign of life, before another one takes over. From 3s to 10m, 45s by default.
    #[serde(default)]
    pub(super) lease: Option<HumanDuration>,
}

impl Default for StoreForm {
    fn default() -> Self {
        Self::File(default_file())
    }
}

fn default_file() -> String {
    "trainspotter.db".to_owned()
}

impl<'de> Deserialize<'de> for StoreForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = StoreForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the path of a file, or `{ file: trainspotter.db, log: \"s3://bucket/prefix\" }`")
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<StoreForm, E> {
                Ok(StoreForm::File(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StoreForm, A::Error> {
                StoreKeys::deserialize(MapAccessDeserializer::new(map)).map(StoreForm::More)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl Check<'_> {
    pub(super) fn store(&mut self, store: &StoreForm, folder: &Path) -> (PathBuf, Option<Replication>) {
        match store {
            StoreForm::File(path) => (self.state_file("store", path, folder), None),
            StoreForm::More(keys) => {
                let file = self.state_file("store.file", &keys.file, folder);
                (file, self.replication(keys))
            }
        }
    }

    fn state_file(&mut self, at: &str, path: &str, folder: &Path) -> PathBuf {
        let path = self.filled(at, path);
        let is_log = path.starts_with("s3://") || path.starts_with("file://");
        if path.is_empty() || path.ends_with('/') && !is_log {
            self.problem(at, "the path of a file is needed");
        } else if is_log {
            let message = format!(
                "the path of a file is needed, and this is no path: nothing would be kept there. A log is given beside the file: \
                 `store: {{ file: trainspotter.db, log: \"{path}\" }}`"
            );
            self.problem(at, message);
        } else if path.starts_with(':') || path.starts_with("file:") || path.contains("://") {
            self.problem(at, "the path of a file is needed, and this is no path: nothing would be kept there");
        }
        folder.join(path)
    }

    fn replication(&mut self, keys: &StoreKeys) -> Option<Replication> {
        let region = keys.region.as_ref().map(|region| self.filled("store.region", region));
        if let Some(region) = &region {
            self.refuse("store.region", partition_of(region).map(|_| ()));
        }
        let role = self.role("store.role", keys.role.as_deref(), region.as_deref());
        let endpoint = self.endpoint_of_aws("store.endpoint", keys.endpoint.as_deref());
        let lease = keys.lease.map_or(LEASE, |lease| lease.0);
        if !(MIN_LEASE..=MAX_LEASE).contains(&lease) {
            self.problem("store.lease", "must lie between 3s and 10m");
        }
        let Some(log) = &keys.log else {
            let others = [
                ("region", region.is_some()),
                ("endpoint", endpoint.is_some()),
                ("role", role.is_some()),
                ("lease", keys.lease.is_some()),
            ];
            for (key, _) in others.iter().filter(|(_, is_given)| *is_given) {
                self.problem(&format!("store.{key}"), "means nothing without `store.log`");
            }
            return None;
        };
        let log = self.filled("store.log", log);
        match place(&log) {
            Ok(log) => {
                let of_s3 = [("region", region.is_some()), ("endpoint", endpoint.is_some()), ("role", role.is_some())];
                if matches!(log, LogPlace::Folder(_)) {
                    for (key, _) in of_s3.iter().filter(|(_, is_given)| *is_given) {
                        self.problem(&format!("store.{key}"), "means nothing for a folder");
                    }
                }
                Some(Replication { log, region, endpoint, role, lease })
            }
            Err(message) => {
                self.problem("store.log", message);
                None
            }
        }
    }
}

/// Reads the place of a log.
fn place(text: &str) -> Result<LogPlace, String> {
    let forms = "write `s3://bucket/prefix`, or `file:///folder` for replicas on one machine";
    let url = Url::parse(text).map_err(|_| format!("not the place of a log: {forms}"))?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some() {
        return Err(format!("has more than a bucket and a prefix: {forms}"));
    }
    match url.scheme() {
        "file" => match url.to_file_path() {
            Ok(path) if path.components().count() > 1 => Ok(LogPlace::Folder(path)),
            Ok(_) | Err(()) => Err("not the path of a folder of this machine: write `file:///folder`".to_owned()),
        },
        "s3" => {
            let rest = text.strip_prefix("s3://").unwrap_or_default();
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            check_bucket(bucket)?;
            let prefix = prefix.trim_matches('/');
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=".contains(c);
            if let Some(odd) = prefix.chars().find(|c| !is_plain(*c)) {
                return Err(format!("the prefix has `{odd}`: use letters, digits, `-`, `_`, `.`, `=` and `/`"));
            }
            if prefix.split('/').any(|part| prefix.contains('/') && part.is_empty() || part == "." || part == "..") {
                return Err("the prefix has an empty part, `.` or `..`".to_owned());
            }
            Ok(LogPlace::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        }
        scheme => Err(format!("there are no logs at `{scheme}:`; {forms}")),
    }
}

/// As S3 has it for buckets of general purpose.
fn check_bucket(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_name = (3..=63).contains(&name.len())
        && name.chars().all(is_plain)
        && is_end(name.chars().next())
        && is_end(name.chars().next_back())
        && !name.contains("..");
    if is_name {
        return Ok(());
    }
    Err(format!("`{name}` is no bucket: names have 3 to 63 lower-case letters, digits, `-` and `.`"))
}
