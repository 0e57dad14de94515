//! Checks names of rules, receivers and priority bands: a name must be distinguishable wherever it is displayed.

/// Maximum length: names are used as labels, titles and columns.
const MAX_NAME: usize = 200;

/// Checks that a name is distinguishable wherever it is displayed.
///
/// # Errors
///
/// What is wrong with it, to be appended to the name of its key.
pub fn check_name(name: &str) -> Result<(), String> {
    if let Some(letter) = name.chars().find(|letter| is_invisible(*letter)) {
        return Err(format!("contains U+{:04X}, which is invisible", u32::from(letter)));
    }
    if name.trim() != name {
        return Err("begins or ends with a space".to_owned());
    }
    let length = name.chars().count();
    if length > MAX_NAME { Err(format!("has {length} characters, and at most {MAX_NAME} are shown")) } else { Ok(()) }
}

/// Line feeds and other control characters, direction marks, and zero-width characters.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_is_seen_of_it() {
        for name in ["LongWait", "a b", "Wartezeit über 30 m", "待ち時間", "X-1h", &"x".repeat(200)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, why) in [
            ("a\nb", "contains U+000A"),
            ("a\u{202e}b", "contains U+202E"),
            ("Long\u{200b}Wait", "contains U+200B"),
            ("\u{feff}a", "contains U+FEFF"),
            (" a", "begins or ends with a space"),
            (&"x".repeat(201), "has 201 characters"),
        ] {
            let reported = check_name(name).unwrap_err();
            assert!(reported.contains(why), "{name:?}: {reported}");
        }
    }
}
