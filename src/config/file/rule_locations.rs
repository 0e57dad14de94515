//! Rule locations, as written.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::config::file::text_or_keys::text_or_keys;

/// As written: a location, or keys.
#[derive(Clone, Debug, JsonSchema)]
#[serde(untagged)]
#[schemars(description = "A rule file or a folder of them, relative to this file; s3://bucket/prefix for all objects \
     below a prefix, or the name of one object that ends with .yaml or .yml; or an object with a \
     location and options.")]
pub(crate) enum RulesForm {
    /// The location alone.
    Place(String),
    /// A bucket and further keys.
    More(RulesKeys),
}

/// Rules in a bucket.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesKeys {
    /// `s3://bucket/prefix` for the objects below a prefix, or for a single one whose name ends with `.yaml` or
    /// `.yml`.
    pub(crate) from: String,
    /// Region of the bucket; by default the first target's.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// Overrides the S3 endpoint. By default the first target's, if it has one.
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
