//! Parses YAML into typed values, and reports all errors at once with a caret under each. PURE.
//!
//! serde stops at the first error. Therefore a document is first parsed into a tree with positions, then deserialised
//! repeatedly: each error is recorded and its node removed, until the rest is valid. Every round removes a node, so
//! this terminates.
//!
//! Supports YAML 1.2's core schema without anchors, tags and multiple documents per file.

mod nearest_word;
mod problem_excerpts;
mod tree;
mod type_errors;
mod unknown_keys;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::parse_duration;

pub use nearest_word::nearest;
pub use problem_excerpts::{Problem, Problems};
pub use tree::Text;

use tree::{Path, Step, Tree};
use unknown_keys::Mistake;

/// Maximum errors reported per file: finding each takes a pass over the whole file.
pub(crate) const MAX_PROBLEMS: usize = 50;

/// A value with the position of each part, and the errors found so far.
#[derive(Debug)]
pub struct Document<T> {
    /// What could be parsed; complete only if [`Document::conclude`] succeeds.
    pub value: T,
    tree: Tree,
    file: String,
    text: String,
    mistakes: Vec<Problem>,
}

/// Parses a document. `file` is the name shown in errors. Parts that do not fit `T` are left out of the value and
/// reported by [`Document::conclude`], together with the caller's own findings.
///
/// # Errors
///
/// Every error, if nothing of the document fits; for invalid YAML, the first position where it is invalid.
pub fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<Document<T>, Problems> {
    read_hinting(file, text, &[])
}

/// As [`read`]. `hints` are keys of other tools' files, and the message for each.
///
/// # Errors
///
/// As [`read`].
pub fn read_hinting<T: DeserializeOwned>(
    file: &str,
    text: &str,
    hints: &[(&str, &str)],
) -> Result<Document<T>, Problems> {
    let problems_of = |problems| Problems::new(file, text, problems);
    let tree = Tree::read(text).map_err(|problem| problems_of(vec![problem]))?;
    let mut cut: BTreeSet<Path> = BTreeSet::new();
    let mut mistakes: Vec<Problem> = Vec::new();
    loop {
        if mistakes.len() >= MAX_PROBLEMS {
            return Err(problems_of(mistakes));
        }
        let (value, origin) = tree.without(&cut);
        let error = match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(value) => {
                mistakes.extend(without_value(&tree, &cut));
                return Ok(Document { value, tree, file: file.to_owned(), text: text.to_owned(), mistakes });
            }
            Err(error) => error,
        };
        let mistake = Mistake::locate(&tree, &cut, &origin, &error, hints);
        mistakes.extend(mistake.problem);
        if mistake.cut.is_empty() || !cut.insert(mistake.cut) {
            return Err(problems_of(mistakes));
        }
    }
}

/// Keys without a value: serde treats them as absent, which is never intended.
fn without_value(tree: &Tree, cut: &BTreeSet<Path>) -> Vec<Problem> {
    let mut found = tree.without_value();
    found.retain(|(path, _)| !cut.iter().any(|cut| path.starts_with(cut)));
    let problem = |(path, range): (Path, _)| {
        let key = match path.last() {
            Some(Step::Key(key)) => key.as_str(),
            Some(Step::Index(_)) | None => "",
        };
        let message = format!("`{key}` has no value; write one ({{}} for all defaults), or leave the key out");
        Problem { message, range }
    };
    found.into_iter().map(problem).collect()
}

/// Every text of a file with its path; `None` for invalid YAML.
pub fn texts(text: &str) -> Option<Vec<Text>> {
    Tree::read(text).ok().map(|tree| tree.texts())
}

/// The canonical form of a path: `a.b` and `a[b]` are equal.
pub fn canonical(path: &str) -> String {
    tree::shown(&tree::parse_path(path))
}

/// Parses a document that needs no further checks.
///
/// # Errors
///
/// Every error in the text.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<Document<T>, Problems> {
    let document = read(file, text)?;
    document.conclude(Vec::new())?;
    Ok(document)
}

impl<T> Document<T> {
    /// A problem at the node `path` (`rules[2].for`), or at its nearest existing ancestor.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), range: self.tree.range_near(&tree::parse_path(path)) }
    }

    /// Every text of the document with its position, in the form that [`Document::problem`] accepts; includes keys.
    pub fn texts(&self) -> Vec<Text> {
        self.tree.texts()
    }

    /// Ends the checks of a document.
    ///
    /// # Errors
    ///
    /// The parse errors and `found`, the caller's findings. A finding about a node with a parse error is left out: it
    /// may be a consequence of it.
    pub fn conclude(&self, found: Vec<Problem>) -> Result<(), Problems> {
        let unread = |range: &std::ops::Range<usize>| {
            self.mistakes.iter().any(|mistake| range.start <= mistake.range.start && mistake.range.end <= range.end)
        };
        let mut problems = self.mistakes.clone();
        problems.extend(found.into_iter().filter(|problem| !unread(&problem.range)));
        if problems.is_empty() { Ok(()) } else { Err(Problems::new(&self.file, &self.text, problems)) }
    }
}

/// A duration in config syntax: `30m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = |text: &str| format!("`{text}` is not a duration; write it like 30s, 15m or 1h 30m");
        let value = serde_json::Value::deserialize(deserializer)?;
        let text = value.as_str().ok_or_else(|| serde::de::Error::custom(written(&value.to_string())))?;
        parse_duration(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl JsonSchema for HumanDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A duration: 30s, 15m, 1h 30m, 7d.",
            "examples": ["30s", "15m", "1h 30m"]
        })
    }
}

#[cfg(test)]
mod tests;
