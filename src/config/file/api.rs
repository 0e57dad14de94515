//! `api:` in the file: tokens and their permissions.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// Access to the API.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Without tokens, everybody who reaches the port may read, and nobody may act. Once a token for `read` is
    /// configured, reading requires a token too.
    pub(crate) tokens: Vec<Token>,
}

/// A token of a person or a program.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// Unique; recorded as the author of the token's actions.
    pub(crate) name: String,
    /// 16 to 512 letters, digits and -._~+/=. Take it from the environment or a file: ${NAME}, ${file:/path}.
    pub(crate) token: String,
    /// Permission of the token.
    pub(crate) may: Permission,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, token: _, may } = self;
        f.debug_struct("Token").field("name", name).field("may", may).finish_non_exhaustive()
    }
}

/// Permission of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Read.
    Read,
    /// Read, and act: silences, the outbox, test notifications.
    Operate,
}
