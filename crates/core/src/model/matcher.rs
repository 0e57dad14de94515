//! Label matchers of receivers, inhibitions and silences.
//!
//! They are written as a map of globs (`{ queue: "prod-*" }`) or in Alertmanager's notation
//! (`queue="prod", severity=~"page|critical"`). All of them must match. A value after `=` or `!=` is a glob in either
//! form; after `=~` or `!~` it is a regular expression over the whole value. Notations that another tool would
//! interpret differently are rejected, with the correct form in the error.

mod notation;
mod possible_matches;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::glob::matches_glob;

pub use possible_matches::{LabelValue, Overlap};

/// Maximum matchers of one receiver, silence or inhibition.
const MAX_MATCHERS: usize = 100;

/// Matchers that must all match; an empty list matches every alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matchers(Vec<Matcher>);

/// A condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    label: String,
    negated: bool,
    pattern: Pattern,
}

#[derive(Clone, Debug)]
enum Pattern {
    Glob(String),
    /// The expression as written, and compiled over the whole value.
    Regex(String, Regex),
}

impl Matchers {
    /// Parses Alertmanager's notation: comma-separated matchers, with or without braces.
    ///
    /// # Errors
    ///
    /// What is wrong, and the correct form.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::checked(notation::parse(text)?)
    }

    /// Combines several lists.
    ///
    /// # Errors
    ///
    /// Two matchers contradict each other, or there are too many.
    pub fn all(lists: impl IntoIterator<Item = Self>) -> Result<Self, String> {
        Self::checked(lists.into_iter().flat_map(|list| list.0).collect())
    }

    /// Globs from a state file of an earlier version: kept without checks.
    pub fn of_stored_globs(globs: BTreeMap<String, String>) -> Self {
        let matcher = |(label, glob)| Matcher { label, negated: false, pattern: Pattern::Glob(glob) };
        Self(globs.into_iter().map(matcher).collect())
    }

    fn checked(matchers: Vec<Matcher>) -> Result<Self, String> {
        if matchers.len() > MAX_MATCHERS {
            return Err(format!("more than {MAX_MATCHERS} matchers"));
        }
        for (index, one) in matchers.iter().enumerate() {
            let Some(value) = one.literal() else { continue };
            let others =
                || matchers.iter().enumerate().filter(|(other, matcher)| *other != index && matcher.label == one.label);
            if let Some((_, other)) = others().find(|(_, other)| !other.matches(value)) {
                let label = &one.label;
                return Err(format!(
                    "`{one}` and `{other}` never match together, and all matchers must; to match either, write \
                     {label}=~\"a|b\""
                ));
            }
        }
        Ok(Self(matchers))
    }

    /// Whether there are no matchers, so that every alert matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The matchers, as written.
    pub fn iter(&self) -> impl Iterator<Item = &Matcher> {
        self.0.iter()
    }

    /// Whether labels match all matchers. An absent label counts as empty.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels.get(&matcher.label).map_or("", String::as_str)))
    }
}

impl Matcher {
    /// A matcher from a map entry: the value is a glob.
    ///
    /// # Errors
    ///
    /// The label name is invalid, or the value has a different meaning in another notation.
    pub fn of_glob(label: &str, glob: &str) -> Result<Self, String> {
        check_label(label)?;
        check_glob(label, glob).map_err(|message| format!("{message}; write `{}`", as_matcher(label, glob)))?;
        Ok(Self { label: label.to_owned(), negated: false, pattern: Pattern::Glob(glob.to_owned()) })
    }

    /// Name of the label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether a value of the label matches.
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.pattern {
            Pattern::Glob(glob) => matches_glob(glob, value),
            Pattern::Regex(_, regex) => regex.is_match(value),
        };
        found != self.negated
    }

    /// The only matching value, if there is just one.
    fn literal(&self) -> Option<&str> {
        match &self.pattern {
            Pattern::Glob(glob) if !self.negated && !glob.contains(['*', '?']) => Some(glob),
            Pattern::Glob(_) | Pattern::Regex(..) => None,
        }
    }
}

/// The probable intent of a map entry, in Alertmanager's notation.
fn as_matcher(label: &str, value: &str) -> String {
    let bare = value.trim_start_matches(['=', '!', '~']).trim().trim_matches(['"', '\'']);
    let operator = match value.trim_start() {
        value if value.starts_with("!~") => "!~",
        value if value.starts_with('!') => "!=",
        value if value.starts_with("=~") || value.starts_with('~') => "=~",
        _ if bare.contains(['|', '(', '[', '^', '$', '\\', '{']) => "=~",
        _ => "=",
    };
    format!("{label}{operator}\"{bare}\"")
}

/// Checks a label name.
///
/// # Errors
///
/// Why it is invalid.
pub fn check_label(label: &str) -> Result<(), String> {
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if label.chars().all(letters) && label.chars().next().is_some_and(|first| !first.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("`{label}` is not a label name: use letters, digits and _, not starting with a digit"))
}

/// Checks that a text is a glob that can match a value of a label, rather than another notation: `*` is any text, `?`
/// any one character, and everything else is literal.
///
/// # Errors
///
/// The part that has no meaning in a glob, or that no value of the label has.
pub fn check_glob(label: &str, glob: &str) -> Result<(), String> {
    check_notation(label, glob)?;
    check_place(label, glob)
}

/// The part of [`check_glob`] that stored matchers passed when they were written.
fn check_notation(label: &str, glob: &str) -> Result<(), String> {
    let plain = "this is a glob; only * and ? are special in it";
    let quoted = |quote: char| glob.len() > 1 && glob.starts_with(quote) && glob.ends_with(quote);
    if let Some(first) = glob.chars().next().filter(|first| matches!(first, '=' | '!' | '~')) {
        return Err(format!("`{first}` is not an operator here: {plain}"));
    }
    if quoted('"') || quoted('\'') {
        return Err("the value contains nested quotes".to_owned());
    }
    if let Some(odd) =
        glob.chars().find(|letter| matches!(letter, '|' | '"' | '[' | ']' | '{' | '}' | '^' | '$' | '\\'))
    {
        return Err(format!("no label value contains `{odd}`: {plain}"));
    }
    if glob.contains("(?") || glob.contains(".*") || glob.contains(".+") {
        return Err(format!("this looks like a regular expression: {plain}"));
    }
    if ["(none)", "no share"].contains(&glob) && label == "share" {
        return Err("jobs without a share have an empty one: write \"\"".to_owned());
    }
    if let Some(odd) = glob.chars().find(|letter| label == "queue" && !is_of_queue_name(*letter)) {
        return Err(format!("`{odd}` is not allowed in a queue name: use letters, digits, - and _"));
    }
    if glob.chars().any(char::is_control) || glob.trim() != glob {
        return Err("the value begins or ends with a space, or contains a control character".to_owned());
    }
    Ok(())
}

/// Checks that a glob can match an account id or a region, if the label is one of them.
///
/// # Errors
///
/// What no account id or region has.
pub fn check_place(label: &str, glob: &str) -> Result<(), String> {
    let is_glob = glob.contains(['*', '?']);
    if label == "account" && !glob.is_empty() {
        if let Some(odd) = glob.chars().find(|letter| !letter.is_ascii_digit() && !matches!(letter, '*' | '?')) {
            return Err(format!("`{odd}` is not allowed in an account id: account ids have 12 digits"));
        }
        if !is_glob && glob.len() != ACCOUNT_DIGITS {
            return Err(format!("`{glob}` is not an account id: account ids have {ACCOUNT_DIGITS} digits"));
        }
    }
    let of_region = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-*?".contains(letter);
    if let Some(odd) = glob.chars().find(|letter| label == "region" && !of_region(*letter)) {
        return Err(format!("`{odd}` is not allowed in a region: write it like us-east-1"));
    }
    Ok(())
}

/// Digits of an account id.
const ACCOUNT_DIGITS: usize = 12;

/// Whether a character can occur in a glob over job queue names.
pub fn is_of_queue_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '*' | '?')
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.operator(), self.value()) == (&other.label, other.operator(), other.value())
    }
}

impl Eq for Matcher {}

impl Matcher {
    fn operator(&self) -> &'static str {
        match (&self.pattern, self.negated) {
            (Pattern::Glob(_), false) => "=",
            (Pattern::Glob(_), true) => "!=",
            (Pattern::Regex(..), false) => "=~",
            (Pattern::Regex(..), true) => "!~",
        }
    }

    /// The glob of a matcher that has one.
    pub fn glob(&self) -> Option<&str> {
        match &self.pattern {
            Pattern::Glob(glob) => Some(glob),
            Pattern::Regex(..) => None,
        }
    }

    fn value(&self) -> &str {
        match &self.pattern {
            Pattern::Glob(text) | Pattern::Regex(text, _) => text,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value();
        let bare = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '*' | '?' | '.' | '/' | ':');
        write!(f, "{}{}", self.label, self.operator())?;
        if matches!(self.pattern, Pattern::Glob(_)) && !value.is_empty() && value.chars().all(bare) {
            return f.write_str(value);
        }
        write!(f, "\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    }
}

impl fmt::Display for Matchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, matcher) in self.0.iter().enumerate() {
            write!(f, "{}{matcher}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Serialize for Matchers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Matcher::to_string))
    }
}

/// Accepts a map of globs, a list of matchers in Alertmanager's notation, or one text with several.
impl<'de> Deserialize<'de> for Matchers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyForm)
    }
}

struct AnyForm;

impl<'de> Visitor<'de> for AnyForm {
    type Value = Matchers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("matchers: { label: glob }, or a list such as ['severity=~\"page|critical\"']")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Matchers, E> {
        Matchers::parse(text).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Matchers, A::Error> {
        let mut lists = Vec::new();
        while let Some(Listed(matchers)) = list.next_element()? {
            lists.push(matchers);
        }
        Matchers::all(lists).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Matchers, A::Error> {
        let mut matchers = Vec::new();
        while let Some(label) = map.next_key::<String>()? {
            matchers.push(map.next_value_seed(OfLabel(&label))?);
        }
        Matchers::checked(matchers).map_err(A::Error::custom)
    }
}

/// A list element, so that errors point at it.
struct Listed(Matchers);

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Matchers::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

/// The value of a map entry.
struct OfLabel<'a>(&'a str);

impl<'de> serde::de::DeserializeSeed<'de> for OfLabel<'_> {
    type Value = Matcher;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Matcher, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if let Some(glob) = value.as_str() {
            return Matcher::of_glob(self.0, glob).map_err(D::Error::custom);
        }
        Err(D::Error::custom(if value.is_array() {
            format!("one glob; for several values write the matchers as a list: ['{}=~\"a|b\"']", self.0)
        } else {
            "a label value is text: put it in quotes".to_owned()
        }))
    }
}

impl JsonSchema for Matchers {
    fn schema_name() -> Cow<'static, str> {
        "Matchers".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Labels of alerts, all of which must match: { queue: \"prod-*\" }, or [ 'severity=~\"page|critical\"' ].",
            "anyOf": [
                { "type": "object", "additionalProperties": { "type": "string" } },
                { "type": "array", "items": { "type": "string" } },
                { "type": "string" }
            ]
        })
    }
}

#[cfg(test)]
mod tests;
