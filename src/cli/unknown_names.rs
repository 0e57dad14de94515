//! Refuses unknown names on the command line: a name that nothing has is an error, since an empty result would hide the
//! mistake.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cli::Failure;
use trainspotter_core::model::matches_glob;

/// Maximum names listed.
const MAX_LISTED: usize = 30;

/// Refuses a name that is not known. If no names are known, accepts it.
pub(super) fn refuse(option: &str, what: &str, given: &str, known: &BTreeSet<&str>) -> Result<(), Failure> {
    if known.is_empty() || known.contains(given) {
        return Ok(());
    }
    Err(Failure::usage(format!("{option}: there is no {what} {given:?}; there are {}", listed(known))))
}

/// As [`refuse`], for a glob that matches none.
pub(super) fn refuse_glob(what: &str, given: &str, known: &BTreeSet<&str>) -> Result<(), Failure> {
    if known.is_empty() || known.iter().any(|name| matches_glob(given, name)) {
        return Ok(());
    }
    Err(Failure::usage(format!("there is no {what} {given:?}; there are {}", listed(known))))
}

/// Distinct non-empty values of a field.
pub(super) fn known<'a>(rows: &'a [Value], key: &str) -> BTreeSet<&'a str> {
    rows.iter().filter_map(|row| row[key].as_str()).filter(|name| !name.is_empty()).collect()
}

fn listed(names: &BTreeSet<&str>) -> String {
    let mut listed: Vec<String> = names.iter().take(MAX_LISTED).map(|name| (*name).to_owned()).collect();
    let more = names.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    listed.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_has_is_refused_with_those_that_there_are() {
        let text = |checked| match checked {
            Err(Failure::Usage(message)) => message,
            Ok(()) => String::new(),
            other => panic!("{other:?}"),
        };
        let message =
            |given: &str, known: &[&str]| text(refuse("--queue", "queue", given, &known.iter().copied().collect()));
        assert_eq!(message("nope", &["b", "a"]), "--queue: there is no queue \"nope\"; there are a, b");
        assert_eq!(message("a*", &["b", "a"]), "--queue: there is no queue \"a*\"; there are a, b");
        assert_eq!(message("a", &["b", "a"]), "");
        assert_eq!(message("nope", &[]), "", "nothing is known yet");
        let both = BTreeSet::from(["a", "b"]);
        assert_eq!(["a", "?", "a*"].map(|glob| text(refuse_glob("queue", glob, &both))), ["", "", ""]);
        assert_eq!(text(refuse_glob("queue", "c*", &both)), "there is no queue \"c*\"; there are a, b");
        let many: Vec<String> = (0..40).map(|number| format!("q{number:02}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(message("nope", &many).ends_with("q29, and 10 more"));
    }
}
