//! Archive, tags and reports.

use super::*;

#[test]
fn an_archive_is_a_bucket_or_a_folder_and_tags_and_reports_are_checked() {
    let with = |text: &str| load_with(&format!("targets: [{{ region: us-east-1 }}]\n{text}\n"));
    let place = |text: &str| with(&format!("archive: {text}")).unwrap().archive.unwrap().place;
    assert_eq!(place("past"), ObjectPlace::Folder("/etc/trainspotter/past".into()));
    assert_eq!(place("\"file:///var/past\""), ObjectPlace::Folder("/var/past".into()));
    let bucket = ObjectPlace::Bucket { bucket: "my-bucket".to_owned(), prefix: "a".to_owned() };
    assert_eq!(place("\"s3://my-bucket/a\""), bucket);
    let archive = with("archive: { to: \"s3://my-bucket/a\", region: eu-west-1, grace: 2h }").unwrap().archive.unwrap();
    assert_eq!((archive.place, archive.grace), (bucket, Duration::from_secs(7_200)));
    assert_eq!(with("tags: [team, cost-centre]").unwrap().tags, ["team", "cost-centre"]);
    let hook = "receivers: [{ name: hook, webhook: { url: \"https://example.com\" } }]";
    let page = "receivers: [{ name: page, pagerduty: { routing_key: k } }]";
    let reports = with(&format!("reports: [{{ every: weekly, to: hook, by: [share, team] }}]\ntags: [team]\n{hook}"));
    assert_eq!(reports.unwrap().reports[0].by, ["share", "team"]);
    with(&format!("reports: [{{ every: weekly, to: page }}]\n{page}")).unwrap();
    for (text, message) in [
        ("archive: \"\"".to_owned(), "a location is required"),
        ("archive: \"s3://B/a\"".to_owned(), "not a bucket name"),
        ("archive: \"gs://bucket/a\"".to_owned(), "an archive cannot be stored at `gs:`"),
        ("archive: { region: eu-west-1 }".to_owned(), "to"),
        ("archive: { to: past, region: eu-west-1 }".to_owned(), "does not apply to a folder"),
        ("archive: { to: \"s3://bucket/a\", region: virginia }".to_owned(), "virginia"),
        ("archive: { to: past, grace: 1s }".to_owned(), "at least 1m"),
        ("archive: { to: past, grace: 2d }".to_owned(), "at most 1day"),
        ("archive: 5".to_owned(), "s3://bucket/prefix"),
        ("tags: [owner]".to_owned(), "always kept"),
        ("tags: [queue]".to_owned(), "with another meaning"),
        ("tags: [team, team]".to_owned(), "twice"),
        ("tags: [\"a,b\"]".to_owned(), "without commas"),
        (format!("reports: [{{ every: weekly, to: hoook }}]\n{hook}"), "no receiver `hoook`"),
        (format!("reports: [{{ every: hourly, to: hook }}]\n{hook}"), "hourly"),
        (
            format!("reports: [{{ every: daily, to: hook, by: [shore] }}]\n{hook}"),
            "unknown key `shore`; known keys are queue, share",
        ),
        (format!("reports: [{{ every: daily, to: hook }}, {{ every: daily, to: hook }}]\n{hook}"), "is a duplicate"),
    ] {
        let problems = with(&text).unwrap_err();
        let found: Vec<_> = problems.iter().collect();
        assert!(found.iter().any(|(line, _, what)| *line == 2 && what.contains(message)), "{text}: {found:?}");
    }
}
