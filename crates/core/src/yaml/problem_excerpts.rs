//! Errors in a file, with excerpts for display.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::yaml::MAX_PROBLEMS;

/// Maximum bytes of a long line shown before an error, and from its start on.
const MAX_AROUND: usize = 200;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and, where helpful, how to fix it.
    pub message: String,
    /// Byte range in the text.
    pub(super) range: Range<usize>,
}

/// All errors of a file; never empty. Displays each with an excerpt and a caret.
#[derive(Clone, Debug)]
pub struct Problems {
    file: String,
    text: String,
    problems: Vec<Problem>,
    /// Errors or warnings.
    level: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warning,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.range.start, problem.range.end));
        Self { file: file.to_owned(), text: text.to_owned(), problems, level: Severity::Error }
    }

    /// A problem with the file as a whole, for example if it cannot be read.
    pub fn with_file(file: &str, message: impl Into<String>) -> Self {
        Self::new(file, "", vec![Problem { message: message.into(), range: 0..0 }])
    }

    /// The same problems as warnings.
    #[must_use]
    pub fn as_warnings(mut self) -> Self {
        self.level = Severity::Warning;
        self
    }

    /// Masks the file's text with asterisks, except for white space and the `shown` ranges, and masks the `hidden`
    /// words where messages quote them. Positions stay the same.
    #[must_use]
    pub fn showing_only(mut self, shown: &[Range<usize>], hidden: &[String]) -> Self {
        let mut shown = shown.to_vec();
        shown.sort_by_key(|range| range.start);
        let mut next = shown.into_iter().peekable();
        let mut covered = String::with_capacity(self.text.len());
        for (at, letter) in self.text.char_indices() {
            while next.peek().is_some_and(|range| range.end <= at) {
                next.next();
            }
            if letter.is_whitespace() || next.peek().is_some_and(|range| range.start <= at) {
                covered.push(letter);
            } else {
                covered.extend(std::iter::repeat_n('*', letter.len_utf8()));
            }
        }
        self.text = covered;
        for word in hidden {
            for problem in &mut self.problems {
                problem.message = problem.message.replace(&format!("`{word}`"), "`***`");
                if word.len() >= 8 {
                    problem.message = problem.message.replace(word.as_str(), "***");
                }
            }
        }
        self
    }

    /// Line and column (from 1) and message of each, from top to bottom.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.problems.iter().map(|problem| {
            let (line, start) = self.line_of(problem.range.start);
            let column = self.text.get(start..problem.range.start).unwrap_or_default().chars().count() + 1;
            (line, column, problem.message.as_str())
        })
    }

    /// Line number of a byte, from 1, and the start of that line.
    fn line_of(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or_default();
        (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |end| end + 1))
    }

    /// The line of a problem, or an excerpt of a long line, with its line number and the range to underline in it.
    fn excerpt(&self, problem: &Problem) -> (usize, &str, Range<usize>) {
        let at = problem.range.start.min(self.text.len());
        let (number, begin) = self.line_of(at);
        let end = self.text.get(at..).and_then(|rest| rest.find('\n')).map_or(self.text.len(), |length| at + length);
        let begin = self.boundary(begin.max(at.saturating_sub(MAX_AROUND)));
        let end = self.boundary(end.min(at + MAX_AROUND));
        // A caret under the first line is enough; underlining a whole block would hide it.
        let last = problem.range.end.min(end).max(at);
        (number, self.text.get(begin..end).unwrap_or_default(), at - begin..last - begin)
    }

    /// The next character boundary.
    fn boundary(&self, at: usize) -> usize {
        (at..=self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(self.text.len())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        let (level, one, many) = match self.level {
            Severity::Error => (Level::ERROR, "problem", "problems"),
            Severity::Warning => (Level::WARNING, "warning", "warnings"),
        };
        for problem in self.problems.iter().take(MAX_PROBLEMS) {
            let (line, text, range) = self.excerpt(problem);
            let annotation = AnnotationKind::Primary.span(range);
            let snippet = Snippet::source(text).line_start(line).path(&self.file).annotation(annotation);
            let report = [level.clone().primary_title(&problem.message).element(snippet)];
            writeln!(f, "{}\n", renderer.render(&report))?;
        }
        match self.problems.len() {
            1 => write!(f, "1 {one} in {}", self.file),
            n if n >= MAX_PROBLEMS => write!(f, "at least {MAX_PROBLEMS} {many} in {}; checking stopped", self.file),
            n => write!(f, "{n} {many} in {}", self.file),
        }
    }
}

impl std::error::Error for Problems {}
