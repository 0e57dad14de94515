//! Strict parser of Alertmanager's matcher notation.

use regex::{Regex, RegexBuilder};

use crate::model::matcher::{Matcher, Pattern, check_label, check_notation};

/// Maximum size of a compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// Correct form, for error messages.
const FORM: &str = "write it like queue=prod-*, severity!=info or alertname=~\"Long.*\"";

/// Parses comma-separated matchers, with or without braces around them.
pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    let whole = text.trim();
    let inside = match (whole.strip_prefix('{'), whole.ends_with('}')) {
        (Some(rest), true) => rest.get(..rest.len().saturating_sub(1)).unwrap_or_default(),
        (None, false) => whole,
        (Some(_), false) | (None, true) => return Err(format!("`{whole}` has an unmatched brace")),
    };
    let mut rest = inside.trim();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (matcher, after) = one(rest)?;
        matchers.push(matcher);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(rest) => rest.trim_start(),
            None if after.is_empty() => after,
            None => return Err(format!("`{after}` follows a matcher; separate matchers by commas")),
        };
    }
    if matchers.is_empty() { Err(format!("the matcher is empty; {FORM}")) } else { Ok(matchers) }
}

/// The first matcher of a text, and the rest.
fn one(text: &str) -> Result<(Matcher, &str), String> {
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).unwrap_or(text.len());
    let (label, rest) = text.split_at(end);
    let rest = rest.trim_start();
    if label.is_empty() {
        return Err(format!("`{text}` does not begin with a label; {FORM}"));
    }
    check_label(label)?;
    let operators = [("=~", false, true), ("!~", true, true), ("!=", true, false), ("=", false, false)];
    let found = operators
        .into_iter()
        .find_map(|(operator, negated, regex)| Some((rest.strip_prefix(operator)?, negated, regex)));
    let Some((rest, negated, regex)) = found else {
        return Err(format!("`{label}` is not followed by =, !=, =~ or !~; {FORM}"));
    };
    if rest.starts_with('=') {
        return Err(format!("`==` is not an operator; write {label}=..."));
    }
    let (value, quoted, rest) = value(label, rest.trim_start())?;
    let pattern = if regex {
        let compiled =
            compiled(&value).map_err(|error| format!("`{value}` of `{label}` is not a regular expression: {error}"))?;
        Pattern::Regex(value, compiled)
    } else {
        check_notation(label, &value)
            .map_err(|message| format!("`{value}` of `{label}`: {message}; use =~ for a regular expression"))?;
        if value.is_empty() && !quoted {
            return Err(format!("`{label}` has no value; write {label}=\"\" for alerts without it"));
        }
        Pattern::Glob(value)
    };
    Ok((Matcher { label: label.to_owned(), negated, pattern }, rest))
}

/// A value, whether it was quoted, and the rest.
fn value<'t>(label: &str, text: &'t str) -> Result<(String, bool, &'t str), String> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        let value = value.trim_end();
        let odd =
            |letter: &char| letter.is_whitespace() || "\"'`{}=!\u{201c}\u{201d}\u{2018}\u{2019}".contains(*letter);
        return match value.chars().find(odd) {
            Some(odd) => Err(format!("`{odd}` in the value of `{label}`; put the value in quotes: {label}=\"...\"")),
            None => Ok((value.to_owned(), false, rest)),
        };
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, true, quoted.get(at + 1..).unwrap_or_default())),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                // Escapes of the regular expression itself: \d, \.
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(format!("the value of `{label}` has no closing quote"))
}

/// Compiles a regular expression over the whole value.
fn compiled(text: &str) -> Result<Regex, String> {
    let said = |error: regex::Error| {
        if let regex::Error::CompiledTooBig(_) = error {
            return "it is too large".to_owned();
        }
        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    };
    // Compile it alone first: `a)(b` is invalid, although it is valid inside a group.
    Regex::new(text).map_err(said)?;
    RegexBuilder::new(&format!("^(?s:{text})$")).size_limit(MAX_REGEX).build().map_err(said)
}
