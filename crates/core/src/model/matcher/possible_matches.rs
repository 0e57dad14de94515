//! Whether future alerts could match, given what is known about their labels.

use crate::model::glob::matches_glob;
use crate::model::matcher::{Matcher, Matchers, Pattern};

/// What is known about the value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelValue<'a> {
    /// Exactly this value; empty if the label is absent.
    Known(&'a str),
    /// Any value that matches all these globs.
    Within(Vec<&'a str>),
}

/// Which alerts of a kind match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overlap {
    /// None.
    Never,
    /// Depends on label values.
    Sometimes,
    /// All.
    Always,
}

impl Matchers {
    /// Which alerts match, given what is known about their labels.
    pub fn overlap<'a>(&self, value_of: impl Fn(&str) -> LabelValue<'a>) -> Overlap {
        self.iter().map(|matcher| matcher.overlap(&value_of(matcher.label()))).min().unwrap_or(Overlap::Always)
    }
}

impl Matcher {
    /// Whether a label with this knowledge matches.
    pub fn overlap(&self, value: &LabelValue<'_>) -> Overlap {
        let of = |holds: bool| if holds { Overlap::Always } else { Overlap::Never };
        let globs = match value {
            LabelValue::Known(value) => return of(self.matches(value)),
            LabelValue::Within(globs) => globs,
        };
        if let Some(only) = globs.iter().find(|glob| !glob.contains(['*', '?'])) {
            return of(self.matches(only) && globs.iter().all(|glob| matches_glob(glob, only)));
        }
        match &self.pattern {
            Pattern::Glob(mine) if mine.chars().all(|letter| letter == '*') && !mine.is_empty() => of(!self.negated),
            Pattern::Glob(mine) if !self.negated && globs.iter().any(|glob| disjoint(mine, glob)) => Overlap::Never,
            Pattern::Glob(mine) if self.negated && globs.contains(&mine.as_str()) => Overlap::Never,
            Pattern::Glob(_) | Pattern::Regex(..) => Overlap::Sometimes,
        }
    }
}

/// Whether two globs have no common text, judged by their prefixes and suffixes.
fn disjoint(one: &str, other: &str) -> bool {
    let literal = |glob: &str| !glob.contains(['*', '?']);
    if literal(one) {
        return !matches_glob(other, one);
    }
    if literal(other) {
        return !matches_glob(one, other);
    }
    let wild = ['*', '?'];
    let (begins, other_begins) =
        (one.split(wild).next().unwrap_or_default(), other.split(wild).next().unwrap_or_default());
    let (ends, other_ends) =
        (one.rsplit(wild).next().unwrap_or_default(), other.rsplit(wild).next().unwrap_or_default());
    !(begins.starts_with(other_begins) || other_begins.starts_with(begins))
        || !(ends.ends_with(other_ends) || other_ends.ends_with(ends))
}
