//! Sanitizes external text for display: control characters, text direction, and length.

use std::borrow::Cow;

/// Maximum length of a value that this build does not know: AWS's own states and instance types are much shorter.
const MAX_UNKNOWN: usize = 100;

/// A value from AWS that this build does not know, short enough to be a label and to be logged.
pub fn unknown_value(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_UNKNOWN) {
        Some((end, _)) => Cow::Owned(format!("{}...", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// External text that is safe to display: characters that a terminal interprets, or that change text direction, are
/// replaced with U+FFFD. Line feeds and tabs stay.
pub fn readable(text: &str) -> Cow<'_, str> {
    replaced(text, |letter| is_unsafe_to_display(letter) && !matches!(letter, '\n' | '\t'))
}

/// As [`readable`], on a single line.
pub fn readable_line(text: &str) -> Cow<'_, str> {
    replaced(text, is_unsafe_to_display)
}

fn replaced(text: &str, is_bad: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_bad) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|letter| if is_bad(letter) { char::REPLACEMENT_CHARACTER } else { letter }).collect())
}

/// Control characters, line and paragraph separators, direction marks, and noncharacters.
fn is_unsafe_to_display(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_value_is_no_longer_than_a_label_may_be() {
        assert_eq!(unknown_value("HIBERNATING"), "HIBERNATING");
        let long = "é".repeat(1_000_000);
        assert_eq!(unknown_value(&long), format!("{}...", "é".repeat(MAX_UNKNOWN)));
        let exactly = "x".repeat(MAX_UNKNOWN);
        assert_eq!(unknown_value(&exactly), exactly);
    }

    #[test]
    fn a_text_from_outside_moves_no_cursor_and_turns_no_direction() {
        for (text, shown) in [
            ("train", "train"),
            ("a\u{1b}[2Jb", "a\u{fffd}[2Jb"),
            ("a\u{9b}2Jb\u{7f}", "a\u{fffd}2Jb\u{fffd}"),
            ("gpj.\u{202e}exe\u{2066}x\u{2069}", "gpj.\u{fffd}exe\u{fffd}x\u{fffd}"),
            ("ab\rcd", "ab\u{fffd}cd"),
            ("a\u{2028}b", "a\u{fffd}b"),
            ("日本 👨\u{200d}👩 می\u{200c}خواهم", "日本 👨\u{200d}👩 می\u{200c}خواهم"),
        ] {
            assert_eq!(readable(text), shown, "{text:?}");
            assert_eq!(readable_line(text), shown, "{text:?}");
        }
        assert_eq!((readable("a\n\tb").as_ref(), readable_line("a\n\tb").as_ref()), ("a\n\tb", "a\u{fffd}\u{fffd}b"));
    }
}
