//! `archive:` of the file: where jobs and hours are kept for years.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::config::file::text_or_keys::text_or_keys;
use trainspotter_core::yaml::HumanDuration;

/// As the file has it: a place, or more.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(
    description = "Where the archive is: s3://bucket/prefix, file:///folder or a folder relative to this file; or a place and more."
)]
pub(crate) enum ArchiveForm {
    /// The place alone.
    Place(String),
    /// The place and more.
    More(ArchiveKeys),
}

/// Where jobs and hours are kept for years.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchiveKeys {
    /// `s3://bucket/prefix`, `file:///folder`, or a folder relative to this file.
    pub(crate) to: String,
    /// The bucket's region: the first target's by default.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Another endpoint of S3. By default the first target's, if it has one.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// ARN of a role to assume for the bucket. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// How long after the end of a day its files are written: what AWS reports late is in them then. From 1m to 24h, 1h by default.
    #[serde(default)]
    pub(crate) grace: Option<HumanDuration>,
}

impl<'de> Deserialize<'de> for ArchiveForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "`s3://bucket/prefix` or a folder, or `{ to: \"s3://bucket/prefix\", region: us-east-1 }`";
        text_or_keys(deserializer, expected, Self::Place, Self::More)
    }
}
