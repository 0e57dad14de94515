//! Globs of `*` and `?`.

/// Whether a text matches a glob.
pub(super) fn matches(glob: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Which lengths of the text the glob so far can have matched.
    let mut reachable = vec![false; text.len() + 1];
    if let Some(nothing) = reachable.first_mut() {
        *nothing = true;
    }
    for letter in glob.chars() {
        let one = |before: &[bool], fits: &dyn Fn(char) -> bool| {
            let stepped = before.iter().zip(&text).map(|(reached, c)| *reached && fits(*c));
            std::iter::once(false).chain(stepped).collect()
        };
        reachable = match letter {
            '*' => reachable
                .iter()
                .scan(false, |any, reached| {
                    *any |= reached;
                    Some(*any)
                })
                .collect(),
            '?' => one(&reachable, &|_| true),
            letter => one(&reachable, &|c| c == letter),
        };
    }
    reachable.last() == Some(&true)
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
        ] {
            assert_eq!(matches(glob, text), expected, "{glob} {text}");
        }
    }
}
