//! `api:` of the file: tokens, and what each is good for.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// Who may use the API.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Without any, everybody who reaches the port may read and nobody may act. With one that may `read`, reading needs a token, too.
    pub(crate) tokens: Vec<Token>,
}

/// A token of a person or a program.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Token {
    /// Unique; the author of what is done with the token.
    pub(crate) name: String,
    /// 16 to 512 letters, digits and -._~+/=. Take it from the environment or a file: ${NAME}, ${file:/path}.
    pub(crate) token: String,
    /// What it is good for.
    pub(crate) may: Permission,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, token: _, may } = self;
        f.debug_struct("Token").field("name", name).field("may", may).finish_non_exhaustive()
    }
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// To read.
    Read,
    /// To read and to act: silences, the outbox, test notifications.
    Operate,
}
