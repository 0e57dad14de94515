//! Where rules are, as the file has it.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

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
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = RulesForm;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a file, a folder or `s3://bucket/prefix`, or `{ from: \"s3://bucket/prefix\", region: us-east-1 }`",
                )
            }

            fn visit_str<E: Error>(self, place: &str) -> Result<RulesForm, E> {
                Ok(RulesForm::Place(place.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RulesForm, A::Error> {
                RulesKeys::deserialize(MapAccessDeserializer::new(map)).map(RulesForm::More)
            }
        }

        deserializer.deserialize_any(Forms)
    }
}
