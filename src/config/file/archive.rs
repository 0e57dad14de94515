//! `archive:` in the file: long-term archive of jobs and hours.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::config::file::text_or_keys::text_or_keys;
use trainspotter_core::yaml::HumanDuration;

/// As written: a location, or keys.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(
    description = "Location of the archive: s3://bucket/prefix, file:///folder or a folder relative to this file; \
     or an object with a location and options."
)]
pub(crate) enum ArchiveForm {
    /// The location alone.
    Place(String),
    /// The location and further keys.
    More(ArchiveKeys),
}

/// Long-term archive of jobs and hours.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ArchiveKeys {
    /// `s3://bucket/prefix`, `file:///folder`, or a folder relative to this file.
    pub(crate) to: String,
    /// Region of the bucket; by default the first target's.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Overrides the S3 endpoint. By default the first target's, if it has one.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// ARN of a role to assume for the bucket. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// Delay after the end of a day before its files are written, so that they include what AWS reports late. From
    /// 1m to 24h, 1h by default.
    #[serde(default)]
    pub(crate) grace: Option<HumanDuration>,
}

impl<'de> Deserialize<'de> for ArchiveForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "`s3://bucket/prefix` or a folder, or `{ to: \"s3://bucket/prefix\", region: us-east-1 }`";
        text_or_keys(deserializer, expected, Self::Place, Self::More)
    }
}
