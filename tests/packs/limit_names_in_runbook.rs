//! The runbook `docs/runbooks/LimitReached.md` has a row for each name of a limit that the code counts, and no others.

use std::collections::BTreeSet;

use crate::read_sources::{code_of, files, root};

/// What stands before the name of a limit where it is counted.
const BEFORE_A_NAME: [&str; 4] = ["limit_hit(\"", ".hit(\"", "(\"limit\", \"", "limit: \""];

#[test]
fn every_limit_is_in_the_runbook() {
    let runbook = std::fs::read_to_string(root().join("docs/runbooks/LimitReached.md")).unwrap();
    let rows = runbook.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let described: BTreeSet<&str> = rows.collect();
    let sources: Vec<String> = files().iter().map(|file| code_of(&file.text)).collect();
    let names = |text: &'static str| {
        let pieces = sources.iter().flat_map(move |source| source.split(text).skip(1));
        pieces.filter_map(|piece| piece.split('"').next())
    };
    let literal = BEFORE_A_NAME.into_iter().flat_map(names);
    // Some names are constants: those that their file counts by `.hit(NAME)`, and those that are called `LIMIT`.
    let constants = sources.iter().flat_map(|source| {
        source.split("const ").skip(1).filter_map(move |rest| {
            let (constant, value) = rest.split_once(": &str = \"")?;
            let is_counted = constant == "LIMIT" || source.contains(&format!(".hit({constant})"));
            is_counted.then(|| value.split('"').next())?
        })
    });
    let hit: BTreeSet<&str> = literal.chain(constants).filter(|name| name.starts_with(char::is_alphabetic)).collect();
    assert!(hit.len() > 20, "only {} limits were found", hit.len());
    let missing: Vec<_> = hit.difference(&described).collect();
    assert!(missing.is_empty(), "docs/runbooks/LimitReached.md lacks {missing:?}");
    for name in described {
        assert!(hit.contains(name), "nothing counts {name}");
    }
}
