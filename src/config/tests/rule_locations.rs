//! Rule locations: files, folders and buckets; and the history that replicas need.

use super::*;
use crate::config::{RulesBucket, RulesPlace};

#[test]
fn rules_stand_in_files_folders_and_buckets() {
    let text = "targets: [{ region: us-east-1 }]\nrules: [a.yaml, /alerts, 'file:///more', 's3://bucket/rules/', 's3://bucket/one.yaml',
        { from: 's3://bucket', region: eu-west-1, role: 'arn:aws:iam::111122223333:role/r', endpoint: 'http://127.0.0.1:9000' }]\n";
    let bucket = |name: &str| RulesBucket {
        bucket: "bucket".to_owned(),
        name: name.to_owned(),
        region: None,
        endpoint: None,
        role: None,
    };
    let more = RulesBucket {
        region: Some("eu-west-1".to_owned()),
        endpoint: Some("http://127.0.0.1:9000".to_owned()),
        role: Some("arn:aws:iam::111122223333:role/r".to_owned()),
        ..bucket("")
    };
    let expected = [
        RulesPlace::Path("/etc/trainspotter/a.yaml".into()),
        RulesPlace::Path("/alerts".into()),
        RulesPlace::Path("/more".into()),
        RulesPlace::Bucket(bucket("rules")),
        RulesPlace::Bucket(bucket("one.yaml")),
        RulesPlace::Bucket(more),
    ];
    assert_eq!(load_with(text).unwrap().rules, expected);
}

#[test]
fn what_is_no_place_of_rules_is_refused_where_it_is_written() {
    for (text, why) in [
        ("rules: ['']", "a path is required"),
        ("rules: ['s3://bucket/r', { from: 's3://bucket/r' }]", "given twice"),
        ("rules: [{ from: a }]", "write `s3://bucket/prefix`"),
        ("rules: [{ from: 'file:///alerts' }]", "is not a bucket: write only the path"),
        ("rules: [{ from: 's3://bucket/r', region: nowhere }]", "nowhere"),
        ("rules: [{ from: 's3://bucket/r', role: me }]", "me"),
        ("rules: [{ from: 's3://bucket/r', prefix: a }]", "prefix"),
        ("rules: ['s3://B/r']", "is not a bucket"),
        ("rules: ['s3://bucket/a b']", "the prefix has ` `"),
        ("rules: ['https://example.com/rules.yaml']", "cannot be stored at `https:`"),
        ("history: { keep: 0s }\nstore: { log: 's3://bucket/log' }", "followers serve the stored history"),
    ] {
        let problems = load_with(&format!("targets: [{{ region: us-east-1 }}]\n{text}\n")).map(|_| ()).unwrap_err();
        let found: Vec<_> = problems.iter().collect();
        assert!(found.iter().any(|(line, _, message)| *line == 2 && message.contains(why)), "{text}: {found:?}");
    }
}

#[test]
fn the_address_of_a_bucket_is_no_secret_and_what_is_no_such_address_is_covered() {
    let message = |rules: &str| {
        let text = format!("targets: [{{ region: us-east-1 }}]\nrules: [{rules}]\n");
        let found = vec![("rules[0]".to_owned(), "s3://bucket/rules holds nothing".to_owned())];
        problems("trainspotter.yaml", &text, found).unwrap().to_string()
    };
    for rules in ["'s3://bucket/rules'", "{ from: 's3://bucket/rules', region: eu-west-1 }"] {
        assert!(message(rules).contains("error: s3://bucket/rules holds nothing"), "{}", message(rules));
    }
    for rules in ["'s3://key:s3cret@bucket/rules'", "{ from: 'https://example.com/s3cret' }"] {
        assert!(!message(rules).contains("s3cret"), "{}", message(rules));
    }
}
