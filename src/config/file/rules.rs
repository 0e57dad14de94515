//! Where rules are, as the file has it.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::config::file::text_or_keys::text_or_keys;

/// As the file has it: a place, or more.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(
    description = "A rule file or a folder of them, relative to this file; s3://bucket/prefix for the objects below a prefix, or for one whose name ends with .yaml or .yml; or such a place and more."
)]
pub(crate) enum RulesForm {
    /// The place alone.
    Place(String),
    /// A bucket and more.
    More(RulesKeys),
}

/// Rules in a bucket.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesKeys {
    /// `s3://bucket/prefix` for the objects below a prefix, or for one whose name ends with `.yaml` or `.yml`.
    pub(crate) from: String,
    /// The bucket's region: the first target's by default.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Another endpoint of S3. By default the first target's, if it has one.
    #[serde(default)]
    pub(crate) endpoint: Option<String>,
    /// ARN of a role to assume for the bucket. By default the service's own credentials, never a target's role.
    #[serde(default)]
    pub(crate) role: Option<String>,
}

impl<'de> Deserialize<'de> for RulesForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected =
            "a file, a folder or `s3://bucket/prefix`, or `{ from: \"s3://bucket/prefix\", region: us-east-1 }`";
        text_or_keys(deserializer, expected, Self::Place, Self::More)
    }
}
