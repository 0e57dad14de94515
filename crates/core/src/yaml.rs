//! YAML text into typed values, with every mistake at once and a caret under each. PURE.
//!
//! serde stops at the first mistake. So a document is first read into a tree that knows where each node stands; then it is
//! deserialised again and again: each mistake is noted and its node cut out, until what is left fits. Every round cuts
//! something, so this ends.
//!
//! Accepted is YAML 1.2's core schema without anchors, tags and several documents in one file.

mod problems;
mod tree;
mod wording;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_path_to_error::Segment;

use crate::model::parse_duration;

pub use problems::{Problem, Problems};
pub use tree::Text;

use tree::{Path, Step, Tree};

/// Mistakes that are looked for in one file: finding each takes a look at the whole file.
pub(crate) const MAX_PROBLEMS: usize = 50;

/// A value, where each part of it stands in its file, and the mistakes found so far.
#[derive(Debug)]
pub struct Document<T> {
    /// What could be read: whole only once [`Document::conclude`] has said so.
    pub value: T,
    tree: Tree,
    file: String,
    text: String,
    mistakes: Vec<Problem>,
}

/// Reads a document. `file` is the name that problems show. What does not fit `T` is left out of the value and reported by
/// [`Document::conclude`], together with what the caller finds.
///
/// # Errors
///
/// Every mistake found, when nothing of the document fits; if it is no YAML at all, the first place where that shows.
pub fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<Document<T>, Problems> {
    read_hinting(file, text, &[])
}

/// Reads a document, as [`read`] does. `hints` are keys of other tools' files, and what to say where one of them stands.
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

/// Keys with nothing behind them: serde takes them as left out, and nobody who wrote one means that.
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

/// Every text of a file, by what stands around it; `None` if it is no YAML.
pub fn texts(text: &str) -> Option<Vec<Text>> {
    Tree::read(text).ok().map(|tree| tree.texts())
}

/// The same path however it is written: `a.b`, `a[b]`.
pub fn canonical(path: &str) -> String {
    tree::shown(&tree::parse_path(path))
}

/// Reads a document that needs no further checks.
///
/// # Errors
///
/// Every mistake that the text has.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<Document<T>, Problems> {
    let document = read(file, text)?;
    document.conclude(Vec::new())?;
    Ok(document)
}

impl<T> Document<T> {
    /// A problem with the node at `path` (`rules[2].for`); with the nearest one around it, if it is not in the file.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), range: self.tree.range_near(&tree::parse_path(path)) }
    }

    /// Every text of the document and where it stands, as [`Document::problem`] takes it; texts of keys, too.
    pub fn texts(&self) -> Vec<Text> {
        self.tree.texts()
    }

    /// Ends the checks of a document.
    ///
    /// # Errors
    ///
    /// The mistakes of reading and `found`, what the caller found in the value. A finding about a node in which
    /// something could not be read is left out: it may only follow from that.
    pub fn conclude(&self, found: Vec<Problem>) -> Result<(), Problems> {
        let unread = |range: &std::ops::Range<usize>| {
            self.mistakes.iter().any(|mistake| range.start <= mistake.range.start && mistake.range.end <= range.end)
        };
        let mut problems = self.mistakes.clone();
        problems.extend(found.into_iter().filter(|problem| !unread(&problem.range)));
        if problems.is_empty() { Ok(()) } else { Err(Problems::new(&self.file, &self.text, problems)) }
    }
}

/// What one round of deserialising found: a problem, unless it only follows from an earlier cut, and what to cut next
/// (nothing, if the whole document has to go).
struct Mistake {
    problem: Option<Problem>,
    cut: Path,
}

impl Mistake {
    fn locate(
        tree: &Tree,
        cut: &BTreeSet<Path>,
        origin: &tree::Origin,
        error: &serde_path_to_error::Error<serde_json::Error>,
        hints: &[(&str, &str)],
    ) -> Self {
        let found: Path = error.path().iter().map_while(step).collect();
        let mut path = origin.of(&found);
        while !tree.has(&path) {
            path.pop();
        }
        let message = error.inner().to_string();
        if let Some(field) = quoted(&message, "missing field") {
            let missing = [path.as_slice(), &[Step::Key(field.to_owned())]].concat();
            let of_another_tool = |cut: &Path| match cut.split_last() {
                Some((Step::Key(key), around)) => around == path && hints.iter().any(|(hinted, _)| hinted == key),
                Some((Step::Index(_), _)) | None => false,
            };
            let follows = cut.contains(&missing) || cut.iter().any(of_another_tool);
            let problem = Problem { message: format!("`{field}` is missing"), range: tree.range_near(&path) };
            return Self { problem: (!follows).then_some(problem), cut: path };
        }
        if let Some(field) = quoted(&message, "unknown field") {
            let inside = [path.as_slice(), &[Step::Key(field.to_owned())]].concat();
            let unknown = if tree.has(&inside) { inside } else { path };
            let range = tree.key_range(&unknown).unwrap_or_else(|| tree.range_near(&unknown));
            let hint = hints.iter().find(|(key, _)| *key == field);
            let message = hint.map_or_else(|| suggest(&message, field), |(_, hint)| (*hint).to_owned());
            return Self { problem: Some(Problem { message, range }), cut: unknown };
        }
        let message = quoted(&message, "unknown variant")
            .map_or_else(|| wording::of_type(&message), |word| suggest(&message, word));
        Self { problem: Some(Problem { message, range: tree.range_near(&path) }), cut: path }
    }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { variant } => Some(Step::Key(variant.clone())),
        Segment::Unknown => None,
    }
}

/// The first word in backticks of a message that begins with `opening`.
fn quoted<'a>(message: &'a str, opening: &str) -> Option<&'a str> {
    message.strip_prefix(opening)?.split('`').nth(1)
}

/// Adds the nearest of the words that serde lists as expected.
fn suggest(message: &str, word: &str) -> String {
    let expected = message.split('`').skip(3).step_by(2);
    match nearest(word, expected) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// The candidate that is most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let tolerated = word.chars().count().div_ceil(3);
    let near = |candidate: &&str| distance(word, candidate);
    candidates.min_by_key(near).filter(|candidate| near(candidate) <= tolerated)
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, other) in row.iter_mut().skip(1).zip(&b) {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// A duration as people write it: `30m`, `1h 30m`.
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
