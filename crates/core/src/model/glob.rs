//! Globs of `*` and `?`.

/// Whether a text matches a glob. Takes time up to the product of their lengths.
pub fn matches_glob(glob: &str, text: &str) -> bool {
    let (mut glob, mut text) = (glob.chars(), text.chars());
    // The pattern after the last star, and the text that the star has not consumed.
    let mut star = None;
    loop {
        let (mut glob_rest, mut text_rest) = (glob.clone(), text.clone());
        match (glob_rest.next(), text_rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((glob_rest.clone(), text.clone()));
                glob = glob_rest;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => (glob, text) = (glob_rest, text_rest),
            (_, _) => {
                // The last star consumes one more character.
                let Some((after, untaken)) = &mut star else { return false };
                if untaken.next().is_none() {
                    return false;
                }
                (glob, text) = (after.clone(), untaken.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        for (glob, text, expected) in [
            ("prod-*", "prod-a", true),
            ("prod-*", "preprod-a", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("?", "ü", true),
            ("a?c*e", "abcde", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**a", "bba", true),
            ("*a?", "aab", true),
            ("*aab", "aaaab", true),
            ("*?b", "b", false),
            ("x", "*", false),
            ("ml-*", "xml-prod", false),
            ("*-prod", "ml-prod-prod", true),
            ("ü*", "über", true),
        ] {
            assert_eq!(matches_glob(glob, text), expected, "{glob} {text}");
        }
        assert!(!matches_glob(&"*a".repeat(30), &"a".repeat(29)));
        assert!(!matches_glob(&("*a".repeat(30) + "b"), &"a".repeat(10_000)));
    }
}
