//! Mistakes in a file, shown as people want to see them.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and, where it helps, what to do.
    pub message: String,
    /// Where, in bytes of the text.
    pub(super) range: Range<usize>,
}

/// Everything that is wrong with a file; never empty. Displays with an excerpt and a caret for each.
#[derive(Clone, Debug)]
pub struct Problems {
    file: String,
    text: String,
    problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.range.start, problem.range.end));
        Self { file: file.to_owned(), text: text.to_owned(), problems }
    }

    /// A file that has problems as a whole: it cannot be read, say.
    pub fn with_file(file: &str, message: impl Into<String>) -> Self {
        Self::new(file, "", vec![Problem { message: message.into(), range: 0..0 }])
    }

    /// The same without these texts: each is covered by asterisks wherever it would be shown. What stands elsewhere in the
    /// file stays where it is.
    #[must_use]
    pub fn masked(mut self, secrets: &[String]) -> Self {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            let cover = "*".repeat(secret.len());
            self.text = self.text.replace(secret.as_str(), &cover);
            for problem in &mut self.problems {
                problem.message = problem.message.replace(secret.as_str(), "***");
            }
        }
        self
    }

    /// Line and column (from 1) and message of each, from top to bottom.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.problems.iter().map(|problem| {
            let before = self.text.get(..problem.range.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            (line, column, problem.message.as_str())
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        for problem in &self.problems {
            // A caret under the first line says enough; an excerpt of a whole block hides it.
            let end = self.text.get(problem.range.clone()).and_then(|text| text.find('\n'));
            let range = problem.range.start..end.map_or(problem.range.end, |length| problem.range.start + length);
            let snippet = Snippet::source(&self.text).path(&self.file).annotation(AnnotationKind::Primary.span(range));
            let report = [Level::ERROR.primary_title(&problem.message).element(snippet)];
            writeln!(f, "{}\n", renderer.render(&report))?;
        }
        match self.problems.len() {
            1 => write!(f, "1 problem in {}", self.file),
            n => write!(f, "{n} problems in {}", self.file),
        }
    }
}

impl std::error::Error for Problems {}
