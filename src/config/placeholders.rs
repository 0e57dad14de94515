//! Placeholders in values: `${NAME}` from the environment, `${file:/path}` from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Maximum size of a secret's file.
const MAX_BYTES: u64 = 64 * 1024;

/// Fills in the placeholders of a value. `$$` is a dollar sign.
///
/// # Errors
///
/// A placeholder cannot be filled in. The error contains no values.
pub(super) fn filled(text: &str, environment: Environment<'_>) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        let after = after.get(1..).unwrap_or_default();
        filled.push_str(before);
        rest = match after.chars().next() {
            Some('{') => {
                let Some((name, after)) = after.get(1..).and_then(|inside| inside.split_once('}')) else {
                    return Err("`${` without `}`; write $${ for a literal `${`".to_owned());
                };
                filled.push_str(&value_of(name, environment)?);
                after
            }
            Some('$') if begins_a_name(after.get(1..).unwrap_or_default()) => {
                filled.push('$');
                let length = after.chars().nth(1).map_or(1, |next| 1 + next.len_utf8());
                let (taken, rest) = after.split_at(length);
                filled.push_str(taken.get(1..).unwrap_or_default());
                rest
            }
            Some(_) if begins_a_name(after) => {
                let name: String =
                    after.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
                return Err(if name.is_empty() {
                    "`$(` does not run a command here; write ${NAME} for an environment variable, or $$( for a literal `$(`".to_owned()
                } else {
                    format!(
                        "`${name}` is not replaced; write ${{{name}}} for the environment variable, or $${name} for a literal `${name}`"
                    )
                });
            }
            Some(_) | None => {
                filled.push('$');
                after
            }
        };
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Whether the text after a dollar sign looks like a placeholder, here or in a shell.
fn begins_a_name(after: &str) -> bool {
    after.starts_with(|letter: char| letter.is_ascii_alphabetic() || matches!(letter, '_' | '{' | '('))
}

/// Whether a text contains placeholders, or something that looks like one.
pub(super) fn has_names(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| begins_a_name(text.get(at + 1..).unwrap_or_default()))
}

fn value_of(name: &str, environment: Environment<'_>) -> Result<String, String> {
    let is_name = |text: &str| {
        text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    };
    // The text may be secret, for example the default in a shell expansion.
    if !name.starts_with("file:") && !is_name(name) {
        return Err(
            "`${...}` takes the name of an environment variable, or file:/path; defaults are not supported".to_owned()
        );
    }
    let value = match name.strip_prefix("file:") {
        // Secret files often end with a newline, which is stripped.
        Some(path) => read(Path::new(path)).map_err(|error| format!("cannot read the file {name}: {error}"))?,
        None => environment(name).ok_or_else(|| format!("the environment variable {name} is not set"))?,
    };
    let value = value.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err(format!("{name} is empty")) } else { Ok(value.to_owned()) }
}

/// Reads a secret's file. Only regular files are read: a device or pipe would block forever.
fn read(path: &Path) -> Result<String, String> {
    let to_text = |error: std::io::Error| error.to_string();
    if !std::fs::metadata(path).map_err(to_text)?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut text = String::new();
    File::open(path).map_err(to_text)?.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(to_text)?;
    if text.len() as u64 > MAX_BYTES { Err(format!("it is larger than {MAX_BYTES} bytes")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_nothing_that_looks_like_one_is_sent() {
        let environment = |name: &str| match name {
            "KEY" => Some("s3cret".to_owned()),
            "EMPTY" => Some("\n".to_owned()),
            _ => None,
        };
        let filled = |text: &str| filled(text, &environment);
        for (text, expected) in [
            ("plain", "plain"),
            ("${KEY}", "s3cret"),
            ("a-${KEY}-${KEY}-b", "a-s3cret-s3cret-b"),
            ("$${KEY}", "${KEY}"),
            ("$$KEY", "$KEY"),
            ("$$(x)", "$(x)"),
            ("cost: 5$", "cost: 5$"),
            ("$5", "$5"),
            ("a$$b", "a$b"),
            ("p$$", "p$$"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, why) in [
            ("$KEY", "write ${KEY}"),
            ("Bearer $KEY", "write ${KEY}"),
            ("$key", "write ${key}"),
            ("$(cat key)", "does not run a command here"),
            ("${KEY", "without `}`"),
            ("${NONE}", "NONE is not set"),
            ("${NONE:-s3cret}", "defaults are not supported"),
            ("${NONE-s3cret}", "defaults are not supported"),
            ("${KEY:?s3cret}", "defaults are not supported"),
            ("${env:KEY}", "defaults are not supported"),
            ("${}", "takes the name"),
            ("${EMPTY}", "EMPTY is empty"),
            ("${file:/dev/zero}", "it is not a file"),
            ("${file:/}", "it is not a file"),
            ("${file:/nowhere}", "cannot read the file"),
        ] {
            let reported = filled(text).unwrap_err();
            assert!(reported.contains(why) && !reported.contains("s3cret"), "{text}: {reported}");
        }
    }
}
