//! Fuzzing corpora: every input, whether written by hand or found by fuzzing, is accepted or rejected and violates no
//! property. Fuzzing itself needs a nightly compiler; see CONTRIBUTING.md.

use std::fs;
use std::panic;
use std::path::Path;

#[path = "../../src/mutated_inputs.rs"]
mod mutation;
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use mutation::try_mutated;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("aws_requests", targets::aws_requests),
    ("forecast_rows", targets::forecast_rows),
    ("names", targets::names),
    ("rule_tests", targets::rule_tests),
    ("rules", targets::rules),
    ("saved_jobs", targets::saved_jobs),
    ("scenarios", targets::scenarios),
    ("templates", targets::templates),
    ("traces", targets::traces),
];

#[test]
fn every_input_of_the_corpora_is_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let names = |of: &str| {
        let mut names: Vec<String> = fs::read_dir(folder.join(of))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    };
    let known: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        (names("fuzz_targets"), names("corpus")),
        (known.iter().map(|name| (*name).to_owned()).collect(), known.iter().map(|name| (*name).to_owned()).collect())
    );
    for (name, target) in TARGETS {
        for input in fs::read_dir(folder.join("corpus").join(name)).unwrap() {
            let path = input.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(panic::catch_unwind(|| target(&bytes)).is_ok(), "{}", path.display());
        }
    }
}

/// Mutated inputs per target, of a usual run.
const MUTATED: u64 = 200;

#[test]
fn every_mutated_input_of_the_corpora_is_read_or_refused() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in TARGETS {
        let mut files: Vec<_> = fs::read_dir(corpora.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort_unstable();
        let examples: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
        let examples: Vec<&[u8]> = examples.iter().map(Vec::as_slice).collect();
        try_mutated(name, &examples, MUTATED, |input| {
            target(input);
            // The target itself judges whether it may be refused.
            true
        });
    }
}
