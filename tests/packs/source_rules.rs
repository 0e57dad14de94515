//! Rules for every source file: its length, its module doc, and the names of log fields.

use crate::read_sources::{File, code_of, files};

/// Longer files hide a second subject.
const MAX_LINES: usize = 500;

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    for File { path, text, .. } in files() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines; the limit is {MAX_LINES}", path.display());
    }
}

#[test]
fn every_file_has_a_module_doc() {
    for File { path, text, .. } in files() {
        assert!(text.starts_with("//!"), "{} has no module doc", path.display());
    }
}

/// A line of the log in JSON has these keys of its own, and a field with the same name would be a second one. The target
/// of a line is a field of its span.
#[test]
fn no_field_of_a_log_line_is_named_as_a_key_of_all_lines() {
    const KEYS: [&str; 5] = ["target", "level", "timestamp", "message", "span"];
    for File { path, text, .. } in files() {
        let code = code_of(&text);
        for call in ["trace", "debug", "info", "warn", "error"].map(|level| format!("tracing::{level}!(")) {
            for line in code.split(&call).skip(1).filter_map(|rest| rest.split(");").next()) {
                let fields = line.split(',').map(|field| field.trim_start());
                // `name = value`, or one of the short forms `name`, `%name` and `?name`.
                let is_key = |field: &&str| {
                    let name = field.trim().trim_start_matches(['%', '?']);
                    KEYS.contains(&name.split_once(" = ").map_or(name, |(name, _)| name))
                };
                let named = fields.into_iter().find(is_key);
                assert!(named.is_none(), "{}: {named:?} of a log line; name the target by a span", path.display());
            }
        }
    }
}
