//! Results of tests, and how differences are reported.

use super::*;
use crate::rules::parse_rules;

const RULES: &str = "rules:
  - { alert: Wait, metric: queue.wait.oldest, by: [queue], above: 30m, for: 2m, annotations: { summary: '{{ queue }} {{ value }}' } }
  - { alert: Slow, metric: queue.wait, stat: p95, by: [queue], above: 1h, annotations: { summary: x } }
  - { alert: Lost, metric: job.preemptions, increase: 3m, by: [queue], above: 2, annotations: { summary: x } }
  - { alert: Long, metric: job.running.age, by: [job], above: 1d, annotations: { summary: x } }
";

fn differences(test: &str) -> String {
    let text = format!("rules: [a.yaml]\ntests:\n  - name: a test\n{test}");
    let rule_tests_file = parse_rule_tests("a.test.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let found = rule_tests_file.tests[0].run(&parse_rules("a.yaml", RULES).unwrap());
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn series_in_and_timelines_out() {
    let check = |series: &str, alert: &str, timeline: &str| {
        let found = differences(&format!(
            "    series: [{{ {series} }}]\n    expect: [{{ alert: {alert}, timeline: {timeline} }}]\n"
        ));
        assert_eq!(found, "", "{series}");
    };
    let oldest = "metric: queue.wait.oldest, labels: { queue: prod }";
    let prod = "Wait, labels: { queue: prod }";
    check(&format!("{oldest}, values: '1m 40mx3 5m'"), prod, ".PPFFR");
    check(&format!("{oldest}, values: '29m+1mx5'"), prod, "2. 2P 2F");
    check(&format!("{oldest}, values: '40mx1 _x2 !x2 40mx2 stale'"), prod, "7P 2F R");
    check(
        "metric: queue.wait, labels: { queue: prod }, values: '5m _ 2h _x60 5m'",
        "Slow, labels: { queue: prod }",
        "2. 61F R",
    );
    check(
        "metric: job.preemptions, labels: { queue: prod }, values: '0 1 4 4 4 4 4'",
        "Lost, labels: { queue: prod }",
        "2. 3F R",
    );
    check("metric: job.running.age, labels: { job: j }, values: '23h 25h stale'", "Long, labels: { job: j }", ".FR");
}

#[test]
fn what_differs_is_drawn() {
    let found = differences(
        "    series: [{ metric: queue.wait.oldest, labels: { queue: prod }, values: '40mx2 5m' }]
    expect: [{ alert: Wait, labels: { queue: prod }, timeline: PFFR }]
    notified: [{ at: 1m, alert: Wait, kind: fired, annotations: { summary: prod 40m } }]
",
    );
    insta::assert_snapshot!(found, @r#"
    Wait {queue=prod}
      expected PFFR
      found    PPFR
                ^ after 1m
    not sent:  after 1m Wait fired {}
                 summary: prod 40m
    also sent: after 2m Wait fired {"alertname": "Wait", "queue": "prod"}
                 summary: prod 40m
    also sent: after 3m Wait resolved {"alertname": "Wait", "queue": "prod"}
                 summary: prod 40m
    "#);
    let unexpected =
        differences("    series: [{ metric: queue.wait.oldest, labels: { queue: prod }, values: 40mx2 }]\n");
    assert!(unexpected.starts_with("Wait {queue=prod}\n  expected ...\n  found    PPF"), "{unexpected}");
}

#[test]
fn what_no_rule_can_raise_is_not_expected_in_vain() {
    let quiet = |expect: &str| {
        differences(&format!(
            "    series: [{{ metric: queue.wait.oldest, labels: {{ queue: prod }}, values: 1m }}]\n    expect: [{expect}]\n"
        ))
    };
    assert_eq!(quiet("{ alert: Wait, labels: { queue: prod }, timeline: '.' }"), "");
    assert_eq!(
        quiet("{ alert: Wiat, labels: { queue: prod }, timeline: '.' }"),
        "there is no rule Wiat; did you mean Wait?"
    );
    let message = quiet("{ alert: Wait, labels: { share: a }, timeline: '.' }");
    assert_eq!(message, "Wait: `expect` needs the labels of the rule's `by`: queue");
}

/// `told` was the earlier name of `notified`.
#[test]
fn the_key_of_the_release_before_is_still_read() {
    let series = "    series: [{ metric: queue.wait.oldest, labels: { queue: prod }, values: 5mx2 }]\n";
    let expected = "[{ at: 1m, alert: Wait, kind: fired }]";
    let [now, before] = ["notified", "told"].map(|key| differences(&format!("{series}    {key}: {expected}\n")));
    assert!(now.contains("not sent:"), "{now}");
    assert_eq!(now, before);
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let text = "\
rules: []
tests:
  - name: a
    series:
      - { metric: queue.wait.oldst, values: 1 2 }
      - { metric: gpu.capacity, labels: { share: a }, values: 1z }
    expect: [{ alert: A, timeline: PPX }, { alert: A, timeline: '3' }]
";
    let message = parse_rule_tests("a.test.yaml", text).unwrap_err().to_string();
    for mistake in [
        "name the rule files",
        "did you mean `queue.wait.oldest`?",
        "has no label `share`",
        "`1z` is none of",
        "`X` is none of `.` inactive",
        "nothing follows the number 3",
    ] {
        assert!(message.contains(mistake), "{mistake}: {message}");
    }
}
