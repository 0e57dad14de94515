//! The shipped rule packs: every rule has tests for firing and not firing, a severity, and a runbook link.

use std::path::Path;

use super::*;
use crate::rules::rule_tests::parse_rule_tests;

/// Name, rules and tests of each pack.
const PACKS: [(&str, &str, &str); 2] = [
    (
        "default.yaml",
        include_str!("../../../../../alerts/default.yaml"),
        include_str!("../../../../../alerts/default.test.yaml"),
    ),
    (
        "queues.yaml",
        include_str!("../../../../../alerts/queues.yaml"),
        include_str!("../../../../../alerts/queues.test.yaml"),
    ),
];

#[test]
fn every_rule_of_a_pack_has_a_test_that_makes_it_fire_and_one_that_must_not() {
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for (file, rules, tests) in PACKS {
        let rule_tests_file = parse_rule_tests(file, tests).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(rule_tests_file.rules, [file], "the tests beside a pack are about it");
        let rules = rules_of(rules);
        for test in &rule_tests_file.tests {
            let differences: Vec<String> = test.run(&rules).iter().map(ToString::to_string).collect();
            assert_eq!(differences, [""; 0], "{file}: {}", test.name);
            fires.extend(test.expected().iter().filter(|one| one.timeline.contains('F')).map(|one| one.alert.clone()));
            // The first word of a test's name is the rule that it is about.
            let about = test.name.split(' ').next().unwrap_or_default();
            if test.expected().iter().all(|one| !one.alert.starts_with(about)) {
                rests.insert(about.to_owned());
            }
        }
    }
    for rule in PACKS.iter().flat_map(|(_, rules, _)| rules_of(rules)) {
        // One window of an objective represents all.
        let name = rule.name().split('-').next().unwrap_or_default();
        assert!(fires.iter().any(|fired| fired.starts_with(name)), "no test makes {name} fire");
        assert!(rests.contains(name), "no test in which {name} must not fire");
    }
}

#[test]
fn every_rule_of_a_pack_has_a_severity_and_a_next_step() {
    let mut linked = BTreeSet::new();
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    for rule in PACKS.iter().flat_map(|(_, rules, _)| rules_of(rules)) {
        let name = rule.name();
        assert!(["page", "warning", "info"].contains(&rule.labels["severity"].as_str()), "{name}");
        let words =
            rule.by.iter().copied().chain(["value", "threshold"]).map(|word| (word.to_owned(), word.to_owned()));
        let (annotations, problems) = rule.templates.render(&words.collect());
        assert_eq!(problems, [], "{name}");
        assert!(!annotations["description"].is_empty(), "{name}");
        // A path on the service, which serves each file of this folder there.
        let runbook = annotations["runbook"].strip_prefix("/runbooks/").unwrap_or_else(|| panic!("{name}"));
        assert!(root.join(format!("docs/runbooks/{runbook}.md")).is_file(), "{name}: {runbook}");
        linked.insert(format!("{runbook}.md"));
    }
    let folder = root.join("docs/runbooks");
    let there = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(there.collect::<BTreeSet<_>>(), linked, "no orphans");
}
