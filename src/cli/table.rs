//! Tables: aligned columns, in which foreign names cannot control the terminal.

use unicode_width::UnicodeWidthStr as _;

use trainspotter_core::model::readable_line;

/// Placeholder for an unknown or inapplicable value.
pub(super) const NOTHING: &str = "-";

/// Alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it must have one cell per column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The header, then the rows.
    pub(super) fn lines(&self) -> Vec<String> {
        let titles: Vec<String> = self.columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        let all: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| width(column).unwrap_or(0)).collect();
        all.into_iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (((_, align), cell), width) in self.columns.iter().zip(row).zip(widths) {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = match align {
                Align::Left => ("", padding.as_str()),
                Align::Right => (padding.as_str(), ""),
            };
            line.extend([before, cell, after, "  "]);
        }
        line.trim_end().to_owned()
    }
}

/// Joins a text into one line without terminal control characters.
pub(super) fn plain(text: &str) -> String {
    readable_line(text).into_owned()
}

/// Cuts a text to a width.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if kept.width() + unicode_width::UnicodeWidthChar::width(letter).unwrap_or(0) + 1 > most {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_stands_in_them() {
        let mut table = Table::new(&[("NAME", Align::Left), ("GPUS", Align::Right), ("WHY", Align::Left)]);
        table.row(["train".to_owned(), "8".to_owned(), "behind".to_owned()]);
        table.row(["日本\u{1b}[2J\n".to_owned(), "1024".to_owned(), String::new()]);
        assert_eq!(table.lines(), ["NAME       GPUS  WHY", "train         8  behind", "日本\u{fffd}[2J\u{fffd}  1024"]);
    }

    #[test]
    fn what_is_too_long_is_cut_where_it_is_seen() {
        assert_eq!(["", "abc", "abcd"].map(|text| cut(text, 3)), ["", "abc", "ab…"]);
        assert_eq!(cut("日本語", 4), "日…");
    }
}
