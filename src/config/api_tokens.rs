//! API tokens: who may read, and who may act.

use std::collections::BTreeMap;

use crate::config::Secret;
use crate::config::check::Check;
use crate::config::file::{Api, Permission};

/// Minimum length of a token; shorter ones can be guessed.
pub const MIN_TOKEN: usize = 16;

/// Maximum length of a token; a longer text is probably the wrong file.
pub const MAX_TOKEN: usize = 512;

/// Maximum tokens: each request's token is compared with all of them.
const MAX_TOKENS: usize = 100;

/// Maximum characters of a name, which is the author of the token's actions.
const MAX_NAME: usize = 64;

/// An API token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiToken {
    /// Unique.
    pub name: String,
    /// The token text.
    pub token: Secret,
    /// Its permission.
    pub may: Permission,
}

impl Check<'_> {
    pub(super) fn api(&mut self, api: &Api) -> Vec<ApiToken> {
        if api.tokens.len() > MAX_TOKENS {
            self.problem("api.tokens", format!("must be {MAX_TOKENS} tokens at most"));
        }
        let (mut names, mut tokens) = (BTreeMap::new(), BTreeMap::new());
        let mut checked = Vec::new();
        for (index, token) in api.tokens.iter().enumerate() {
            let at = |key: &str| format!("api.tokens[{index}].{key}");
            let name = self.filled(&at("name"), &token.name);
            self.refuse(&at("name"), check_name(&name));
            if let Some(other) = names.insert(name.to_lowercase(), index) {
                let message = format!(
                    "has the same name as api.tokens[{other}]; names identify the author of changes and must be unique"
                );
                self.problem(&at("name"), message);
            }
            let problems = self.count();
            let secret = self.filled(&at("token"), &token.token);
            // A placeholder that was not filled in is not a token.
            if self.count() == problems {
                self.refuse(&at("token"), check_token(&secret));
                if let Some(other) = tokens.insert(secret.clone(), index) {
                    self.problem(
                        &at("token"),
                        format!("is the same token as api.tokens[{other}]; tokens must be unique"),
                    );
                }
            }
            checked.push(ApiToken { name, token: Secret::new(secret), may: token.may });
        }
        checked
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err("a name is required: it is recorded as the author of changes".to_owned());
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(
            "must not begin or end with a space, nor contain a line break or another control character".to_owned()
        );
    }
    if name.chars().count() > MAX_NAME {
        return Err(format!("must have {MAX_NAME} characters at most"));
    }
    Ok(())
}

/// Checks a token. The error does not contain it.
fn check_token(token: &str) -> Result<(), String> {
    let make = "make one with `openssl rand -hex 32`";
    let length = token.chars().count();
    if token.chars().any(char::is_whitespace) {
        return Err(format!("must not contain a space or a line break; {make}"));
    }
    if !token.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._~+/=".contains(letter)) {
        return Err(format!("must consist of letters, digits and -._~+/=, to fit into a header; {make}"));
    }
    if length < MIN_TOKEN {
        return Err(format!("has {length} characters and could be guessed; the minimum is {MIN_TOKEN}: {make}"));
    }
    if length > MAX_TOKEN {
        return Err(format!("has {length} characters; the maximum is {MAX_TOKEN}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::load;

    #[test]
    fn tokens_of_the_api_come_from_where_secrets_come_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "operate-token-000001\n").unwrap();
        let text = format!(
            "targets: [{{ region: us-east-1 }}]\napi:\n  tokens:\n    - {{ name: prometheus, token: \"${{READ_TOKEN}}\", may: read }}\n    - {{ name: ann, token: \"${{file:{}}}\", may: operate }}\n",
            file.display()
        );
        let environment = |name: &str| (name == "READ_TOKEN").then(|| "read-token-00000001".to_owned());
        let config = load("trainspotter.yaml", &text, Path::new("."), &environment).unwrap();
        let [read, operate] = config.api.as_slice() else { panic!("{:?}", config.api) };
        assert_eq!(
            (read.name.as_str(), read.token.expose(), read.may),
            ("prometheus", "read-token-00000001", Permission::Read)
        );
        assert_eq!((operate.token.expose(), operate.may), ("operate-token-000001", Permission::Operate));
        assert!(!format!("{config:?}").contains("-token-0"), "{config:?}");
        assert_eq!(
            load("trainspotter.yaml", "targets: [{ region: us-east-1 }]\napi: {}\n", Path::new("."), &environment)
                .unwrap()
                .api,
            []
        );
    }

    #[test]
    fn each_mistake_in_a_token_is_shown_and_the_token_is_not() {
        let environment = |name: &str| match name {
            "SHORT" => Some("s3cret".to_owned()),
            "SPACED" => Some("s3cret s3cret s3cret".to_owned()),
            "UMLAUT" => Some("s3crets3crets3crät".to_owned()),
            "LONG" => Some("s3cret".repeat(100)),
            "GOOD" => Some("s3cret-s3cret-s3cret".to_owned()),
            _ => None,
        };
        for (token, says, at) in [
            (
                "{ name: a, token: \"${SHORT}\", may: read }",
                "has 6 characters and could be guessed; the minimum is 16",
                "s3",
            ),
            ("{ name: a, token: s3cret-s3cret-s, may: read }", "has 15 characters", "token"),
            ("{ name: a, token: \"${SPACED}\", may: read }", "must not contain a space", "token"),
            ("{ name: a, token: \"${UMLAUT}\", may: read }", "letters, digits and -._~+/=", "token"),
            ("{ name: a, token: \"${LONG}\", may: read }", "the maximum is 512", "token"),
            ("{ name: a, token: \"${UNSET}\", may: read }", "UNSET is not set", "token"),
            ("{ name: a, token: \"$GOOD\", may: read }", "write ${GOOD}", "token"),
            ("{ name: a, token: \"${file:/nowhere}\", may: read }", "cannot read the file", "token"),
            ("{ name: a, token: \"${GOOD}\", may: write }", "unknown variant `write`", "may"),
            ("{ name: a, token: \"${GOOD}\" }", "`may` is missing", "name"),
            ("{ name: a, tokn: s3cret-s3cret-s3cret, may: read }", "did you mean `token`?", "tokn"),
            ("{ name: \" \", token: \"${GOOD}\", may: read }", "a name is required", "name"),
            ("{ name: \"a\\nb\", token: \"${GOOD}\", may: read }", "line break", "name"),
            ("{ name: a, token: [s3cret-s3cret-s3cret], may: read }", "expected a string", "token"),
            ("s3cret-s3cret-s3cret", "expected", "tokens"),
        ] {
            let text = format!("targets: [{{ region: us-east-1 }}]\napi:\n  tokens:\n    - {token}\n");
            let problems = load("trainspotter.yaml", &text, Path::new("."), &environment).unwrap_err();
            let shown = problems.to_string();
            assert!(shown.contains(says), "{token} ({at}): {shown}");
            assert!(shown.contains('^') && shown.contains("trainspotter.yaml:4"), "{shown}");
            assert!(!shown.contains("s3cr") && !format!("{problems:?}").contains("s3cr"), "{token}: {shown}");
        }
    }

    #[test]
    fn names_and_tokens_of_the_api_are_each_given_once() {
        let text = "targets: [{ region: us-east-1 }]
api:
  tokens:
    - { name: ann, token: s3cret-s3cret-s3cret, may: read }
    - { name: Ann, token: other-token-000001, may: operate }
    - { name: bo, token: s3cret-s3cret-s3cret, may: operate }
";
        let shown = load("trainspotter.yaml", text, Path::new("."), &|_| None).unwrap_err().to_string();
        assert!(
            shown.contains("has the same name as api.tokens[0]")
                && shown.contains("is the same token as api.tokens[0]"),
            "{shown}"
        );
        assert!(shown.contains("2 problems") && !shown.contains("s3cret") && shown.contains("name: bo"), "{shown}");
    }
}
