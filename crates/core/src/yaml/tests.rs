//! Finding and displaying errors.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Garden {
    #[serde(default)]
    beds: Vec<Bed>,
    #[serde(default)]
    water_every: Option<HumanDuration>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bed {
    plant: Plant,
    rows: u32,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Plant {
    Tomato,
    Potato,
}

#[test]
fn every_mistake_is_reported_at_once_with_a_caret() {
    let text = "\
water_evry: 1h
water_every: soon
beds:
  - plant: tomatoe
    rows: 3
  - plant: potato
    rows: many
    labels: { shade: 7 }
  - rows: 1
";
    let problems = parse::<Garden>("garden.yaml", text).unwrap_err();
    insta::assert_snapshot!(problems, @r#"
    error: unknown field `water_evry`, expected `beds` or `water_every`; did you mean `water_every`?
     --> garden.yaml:1:1
      |
    1 | water_evry: 1h
      | ^^^^^^^^^^

    error: `soon` is not a duration; write it like 30s, 15m or 1h 30m
     --> garden.yaml:2:14
      |
    2 | water_every: soon
      |              ^^^^

    error: unknown variant `tomatoe`, expected `tomato` or `potato`; did you mean `tomato`?
     --> garden.yaml:4:12
      |
    4 |   - plant: tomatoe
      |            ^^^^^^^

    error: invalid type: a string, expected a whole number, 0 or more
     --> garden.yaml:7:11
      |
    7 |     rows: many
      |           ^^^^

    error: invalid type: a number, expected a string
     --> garden.yaml:8:22
      |
    8 |     labels: { shade: 7 }
      |                      ^

    error: `plant` is missing
     --> garden.yaml:9:5
      |
    9 |   - rows: 1
      |     ^^^^^^^

    6 problems in garden.yaml
    "#);
}

#[test]
fn a_clean_document_is_its_value() {
    let text = "beds: [{plant: potato, rows: 2, labels: {a: b}}]\nwater_every: 1h 30m\n";
    let garden = parse::<Garden>("garden.yaml", text).unwrap().value;
    assert_eq!(garden.water_every, Some(HumanDuration(Duration::from_secs(5_400))));
    assert_eq!(
        (garden.beds[0].rows, &garden.beds[0].plant, garden.beds[0].labels["a"].as_str()),
        (2, &Plant::Potato, "b")
    );
}

#[test]
fn unsupported_syntax_is_reported() {
    let check = |text: &str, expected: (usize, usize, &str)| {
        let problems = parse::<serde_json::Value>("f", text).unwrap_err();
        assert_eq!(problems.iter().collect::<Vec<_>>(), [expected], "{text}");
    };
    check("a: 1\na: 2\n", (2, 1, "`a` is given twice"));
    check("a: &x 1\n", (1, 4, "anchors (&name) are not supported; repeat the value"));
    check("a: !!str 1\n", (1, 4, "tags (!name) are not supported"));
    check("a: 1\n---\nb: 2\n", (3, 1, "a second document; only one per file is supported"));
}

#[test]
fn a_key_without_a_value_differs_from_an_absent_key() {
    let check = |text: &str, expected: (usize, usize, &str)| {
        let problems = parse::<Garden>("f", text).unwrap_err();
        assert_eq!(problems.iter().collect::<Vec<_>>(), [expected], "{text}");
    };
    let nothing = "`water_every` has no value; write one ({} for all defaults), or leave the key out";
    check("beds: []\nwater_every:\n", (2, 1, nothing));
    check("beds: []\nwater_every: ~\n", (2, 1, nothing));
    #[derive(Debug, Deserialize)]
    struct Shed {
        #[expect(dead_code, reason = "nothing is read")]
        tools: Vec<String>,
    }
    let reported = parse::<Shed>("f", "[]\n").unwrap_err().to_string();
    assert!(reported.contains("invalid type: a list, expected keys with values, `key: value`"), "{reported}");
}

#[test]
fn a_later_check_points_at_the_node_or_the_nearest_one() {
    let document = parse::<Garden>("garden.yaml", "beds:\n  - plant: potato\n    rows: 2\n").unwrap();
    let at = |path: &str| {
        let problems = document.conclude(vec![document.problem(path, "no")]).unwrap_err();
        problems.iter().map(|(line, column, _)| (line, column)).next()
    };
    assert_eq!(at("beds[0].rows"), Some((3, 11)));
    assert_eq!(at("beds[0].absent.deeper"), Some((2, 5)));
    assert_eq!(at("beds[7]"), Some((2, 3)));
}

#[test]
fn a_value_of_the_wrong_type_is_not_shown() {
    for (text, message) in [
        (
            "beds: { plant: potato }\n",
            "invalid type: keys with values, expected a list of items, each starting with `- `",
        ),
        ("beds: s3cret\n", "invalid type: a string, expected a list of items, each starting with `- `"),
        (
            "beds: [{ plant: potato, rows: 's3cret, expected f64' }]\n",
            "invalid type: a string, expected a whole number, 0 or more",
        ),
        ("water_every: 30M\n", "`M` means months; write `30m` for minutes, or days such as 30d"),
    ] {
        let problems = parse::<Garden>("garden.yaml", text).unwrap_err();
        assert_eq!(problems.iter().map(|(_, _, message)| message).collect::<Vec<_>>(), [message], "{text}");
    }
}

#[test]
fn a_key_of_another_tool_is_explained_and_not_what_is_missing_beside_it() {
    let hints = [("hoses", "this is a file of the other tool")];
    let problems = read_hinting::<Bed>("garden.yaml", "hoses: 3\n", &hints).unwrap_err();
    assert_eq!(problems.iter().collect::<Vec<_>>(), [(1, 1, "this is a file of the other tool")]);
}

/// For large and broken files, errors are found in bounded time and capped; otherwise this test would take minutes.
#[test]
fn of_a_large_file_so_many_mistakes_are_looked_for() {
    let keys: String = (0..20_000).map(|key| format!("key_{key}: 1\n")).collect();
    let reported = parse::<Garden>("garden.yaml", &keys).unwrap_err().to_string();
    assert!(reported.ends_with("at least 50 problems in garden.yaml; checking stopped"), "{}", reported.len());
    let more: String = (0..100_000).map(|key| format!("k{key}: 1\n")).collect();
    let reported = parse::<Garden>("garden.yaml", &more).unwrap_err().to_string();
    assert!(reported.contains("more than 50000 values in one file"), "{reported}");
    let line = format!("beds: [{}]\n", "x, ".repeat(16_000));
    let reported = parse::<Garden>("garden.yaml", &line).unwrap_err().to_string();
    assert!(reported.len() < 100_000, "excerpts are short: {}", reported.len());
}

proptest! {
    /// Any text gives a value or problems.
    #[test]
    fn no_text_panics(text in "[ -~\n\u{e9}\u{1f33b}]{0,200}") {
        let _ = parse::<Garden>("garden.yaml", &text).map_err(|problems| problems.to_string());
    }

    /// For any set of broken beds, each is reported, and nothing else.
    #[test]
    fn each_of_many_mistakes_is_reported(bad in prop::collection::vec(0..4_u8, 1..12)) {
        let bed = |kind: &u8| match kind {
            0 => "  - { plant: potato, rows: 1 }\n",
            1 => "  - { plant: potato, rows: -1 }\n",
            2 => "  - { plant: weed, rows: 1 }\n",
            _ => "  - { plant: potato, row: 1 }\n",
        };
        let text = format!("beds:\n{}", bad.iter().map(bed).collect::<String>());
        let reported = match parse::<Garden>("garden.yaml", &text) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.iter().map(|(line, ..)| line - 2).collect(),
        };
        let mut expected: Vec<usize> = Vec::new();
        for (index, kind) in bad.iter().enumerate() {
            // An unknown key in place of a required one is two errors.
            expected.extend(std::iter::repeat_n(index, [0, 1, 1, 2][usize::from(*kind)]));
        }
        prop_assert_eq!(reported, expected);
    }
}

#[test]
fn what_stands_for_something_else_is_refused_before_it_grows() {
    let bomb: String = (1..30).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(9))).collect();
    let bomb = format!("a0: &a0 [x]\n{bomb}");
    let of_itself = "a: &a [*a]\n";
    let merged = "a: &a { b: 1 }\nc: { <<: *a, <<: *a }\n";
    for text in [bomb.as_str(), of_itself, merged, "*a : 1\n", "a: *nobody\n"] {
        let refused = read::<serde_json::Value>("a.yaml", text).unwrap_err().to_string();
        assert!(refused.len() < 2_000, "{} bytes of {text}", refused.len());
    }
}

#[test]
fn nesting_without_an_end_is_refused_and_overflows_no_stack() {
    for (what, part) in [("lists", "["), ("maps", "{a: "), ("entries", "- "), ("keys", "? "), ("both", "[{a: ")] {
        let text = part.repeat(50_000);
        let refused = read::<serde_json::Value>("a.yaml", &text).unwrap_err().to_string();
        assert!(refused.len() < 10_000, "{what}: {} bytes", refused.len());
    }
}
