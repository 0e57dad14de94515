//! Finds the place of an error of serde in the document: unknown and missing keys, values that are not allowed, with the nearest
//! word that is.

use std::collections::BTreeSet;

use serde_path_to_error::Segment;

use crate::yaml::nearest_word::nearest;
use crate::yaml::problem_excerpts::Problem;
use crate::yaml::tree::{Origin, Path, Step, Tree};
use crate::yaml::type_errors;

/// Result of one deserialisation round: a problem, unless it follows from an earlier removal, and the node to remove
/// next (`None` if the whole document has to go).
pub(super) struct Mistake {
    pub(super) problem: Option<Problem>,
    pub(super) cut: Path,
}

impl Mistake {
    pub(super) fn locate(
        tree: &Tree,
        cut: &BTreeSet<Path>,
        origin: &Origin,
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
            .map_or_else(|| type_errors::of_type(&message), |word| suggest(&message, word));
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

/// The first word in backticks of a message that starts with `opening`.
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
