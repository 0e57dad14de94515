//! `store:` in the file: the state file and the log of replicas.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::config::file::text_or_keys::text_or_keys;
use trainspotter_core::yaml::HumanDuration;

/// As written: the path of a file, or keys.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(description = "State file, relative to this file; or an object with `file` and `log`.")]
pub(crate) enum StoreForm {
    /// The path of the file.
    File(String),
    /// File and log.
    More(StoreKeys),
}

/// The state file, and the log shared by replicas.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreKeys {
    /// File for the persistent state, relative to this file. With a log it is a copy of that, separate for each
    /// replica.
    #[serde(default = "default_file")]
    pub(crate) file: String,
    /// Log of the replicas: `s3://bucket/prefix`, or `file:///folder` on one machine. Without it there is one
    /// service per file.
    #[serde(default)]
    pub(crate) log: Option<String>,
    /// Region of the bucket; by default the first target's.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Overrides the S3 endpoint. By default the first target's, if it has one.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// ARN of a role to assume for the bucket. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// How long a replica leads without a sign of life before another one takes over. From 3s to 10m, 45s by
    /// default.
    #[serde(default)]
    pub(crate) lease: Option<HumanDuration>,
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
        let expected = "the path of a file, or `{ file: trainspotter.db, log: \"s3://bucket/prefix\" }`";
        text_or_keys(deserializer, expected, Self::File, Self::More)
    }
}
