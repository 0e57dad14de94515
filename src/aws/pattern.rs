//! Globs over queue names: `*` is any text, `?` any one character, all else itself.

/// Whether `pattern` covers all of `text`. Linear in practice, never exponential: only the last `*` is ever retried.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was, and how much of the text was left to it.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_cover_whole_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("ml-*", "ml-prod", true),
            ("ml-*", "xml-prod", false),
            ("*-prod", "ml-prod-prod", true),
            ("*-prod", "ml-prod-2", false),
            ("ml-?", "ml-a", true),
            ("ml-?", "ml-", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("exact", "exact", true),
            ("exact", "exact-not", false),
            ("", "", true),
            ("", "a", false),
            ("ü*", "über", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} on {text:?}");
        }
        assert!(!matches(&"*a".repeat(30), &"a".repeat(29)));
        assert!(!matches(&("*a".repeat(30) + "b"), &"a".repeat(10_000)));
    }
}
