//! Every notation has its documented meaning, or is rejected.

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn alertmanagers_notation_works_as_written() {
    let alert = labels(&[("alertname", "LongWait"), ("queue", "prod-a"), ("severity", "page")]);
    for (text, expected) in [
        ("alertname=LongWait", true),
        ("alertname=\"LongWait\"", true),
        ("alertname = \"LongWait\"", true),
        ("alertname=~\"Long.*\"", true),
        ("alertname=~Long.*", true),
        ("alertname=~\"Long\"", false),
        ("alertname=~\"Long|LongWait\"", true),
        ("alertname!~\"Long.*\"", false),
        ("alertname!~\"Short.*\"", true),
        ("queue!=prod-a", false),
        ("queue!=test", true),
        ("queue=prod-*", true),
        ("queue=\"prod-*\"", true),
        ("queue!=prod-*", false),
        ("queue=prod-a,severity=page", true),
        ("queue=prod-a, severity=info", false),
        ("{alertname=\"LongWait\", severity=~\"page|critical\"}", true),
        ("{alertname=\"LongWait\",}", true),
        ("share=\"\"", true),
        ("share=*", true),
        ("share!=\"\"", false),
        ("share=~\".+\"", false),
        ("share=~\".*\"", true),
        ("queue=~\"prod-\\\\w\"", true),
        ("queue=~\"prod-\\w\"", true),
    ] {
        let matchers = Matchers::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(matchers.matches(&alert), expected, "{text}");
        let again = Matchers::parse(&matchers.to_string()).unwrap_or_else(|error| panic!("{matchers}: {error}"));
        assert_eq!(again, matchers, "{text} is written as it is read");
    }
}

#[test]
fn what_would_mean_nothing_is_refused() {
    for (text, why) in [
        ("", "the matcher is empty"),
        ("{}", "the matcher is empty"),
        ("queue", "is not followed by"),
        ("queue:prod", "is not followed by"),
        ("queue==prod", "`==` is not an operator"),
        ("queue=", "has no value"),
        ("=prod", "does not begin with a label"),
        ("my-label=x", "is not followed by"),
        ("9th=x", "is not a label name"),
        ("queue=prod severity=page", "in quotes"),
        ("queue=\"prod\" severity=page", "separate matchers by commas"),
        ("queue='prod'", "in quotes"),
        ("queue=\u{201c}prod\u{201d}", "in quotes"),
        ("queue=\"prod", "no closing quote"),
        ("{queue=prod", "an unmatched brace"),
        ("queue=prod|test", "no label value contains `|`"),
        ("severity=\"page|critical\"", "use =~ for a regular expression"),
        ("alertname=Long.*", "looks like a regular expression"),
        ("alertname=~\"Long(\"", "is not a regular expression"),
        ("alertname=~\"a)(b\"", "is not a regular expression"),
        ("alertname=~\"(a{1000}){1000}\"", "it is too large"),
        ("queue=a,queue=b", "never match together"),
        ("queue=a,queue!=a", "never match together"),
        ("queue=a,queue=~\"b.*\"", "never match together"),
    ] {
        let refused = Matchers::parse(text).expect_err(text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
}

#[test]
fn a_stored_matcher_of_an_account_that_cannot_be_stays_readable() {
    for text in ["account!=1234", "region!=EU"] {
        let matchers = Matchers::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let stored = serde_json::to_string(&matchers).unwrap();
        assert_eq!(serde_json::from_str::<Matchers>(&stored).unwrap(), matchers);
    }
    assert!(check_glob("account", "1234").is_err() && check_glob("region", "EU").is_err());
}

#[test]
fn a_map_a_list_and_a_text_are_the_same_matchers() {
    let read = |json: &str| serde_json::from_str::<Matchers>(json);
    let map = read(r#"{"queue": "prod-*", "severity": "page"}"#).unwrap();
    assert_eq!(map, read(r#"["queue=prod-*", "severity=\"page\""]"#).unwrap());
    assert_eq!(map, read(r#""{queue=prod-*, severity=page}""#).unwrap());
    assert_eq!(map, read(&serde_json::to_string(&map).unwrap()).unwrap());
    assert!(read("{}").unwrap().is_empty());
    for (json, right) in [
        (r#"{"severity": "page|critical"}"#, r#"write `severity=~"page|critical"`"#),
        (r#"{"severity": "!=page"}"#, r#"write `severity!="page"`"#),
        (r#"{"severity": "=~page"}"#, r#"write `severity=~"page"`"#),
        (r#"{"severity": "\"page\""}"#, r#"write `severity="page"`"#),
        (r#"{"severity": ["page", "critical"]}"#, r#"['severity=~"a|b"']"#),
        (r#"{"severity": 1}"#, "put it in quotes"),
        (r#"{"sev-erity": "page"}"#, "is not a label name"),
        ("7", "{ label: glob }"),
    ] {
        let refused = read(json).expect_err(json).to_string();
        assert!(refused.contains(right), "{json}: {refused}");
    }
}

#[test]
fn what_alerts_could_meet_is_known_from_what_is_known_of_them() {
    use LabelValue::{Known, Within};
    use Overlap::{Always, Never, Sometimes};
    let any = || Within(vec![]);
    for (text, value, expected) in [
        ("queue=a", Known("a"), Always),
        ("queue=a", Known("b"), Never),
        ("queue=a", Known(""), Never),
        ("queue!=a", Known(""), Always),
        ("queue=a", any(), Sometimes),
        ("queue=*", any(), Always),
        ("queue!=*", any(), Never),
        ("queue=~\"a.*\"", any(), Sometimes),
        ("queue=prod-*", Within(vec!["prod-*"]), Sometimes),
        ("queue=test-*", Within(vec!["prod-*"]), Never),
        ("queue=*-x", Within(vec!["*-y"]), Never),
        ("queue=prod-a", Within(vec!["prod-*"]), Sometimes),
        ("queue=test", Within(vec!["prod-*"]), Never),
        ("queue=prod-*", Within(vec!["prod-a"]), Always),
        ("queue=~\"x.*\"", Within(vec!["prod-a"]), Never),
        ("queue!=prod-*", Within(vec!["prod-*"]), Never),
    ] {
        assert_eq!(Matchers::parse(text).unwrap().overlap(|_| value.clone()), expected, "{text} {value:?}");
    }
}
