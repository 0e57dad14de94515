//! Rule files: what is accepted, what is rejected, and how errors are reported.

use super::*;

/// The errors of one rule that has a name and a summary.
fn mistakes(rule: &str) -> Vec<String> {
    let text = format!("rules: [{{ alert: A, annotations: {{ summary: x }}, {rule} }}]");
    match parse_rules("rules.yaml", &text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|(_, _, message)| message.to_owned()).collect(),
    }
}

#[track_caller]
fn check_refused(rule: &str, expected: &str) {
    let found = mistakes(rule);
    assert!(found.len() == 1 && found[0].contains(expected), "{rule}\n  found {found:#?}\n  not {expected}");
}

#[test]
fn a_rule_is_described_in_the_terms_of_its_metric() {
    let idle = "metric: gpu.idle.ratio";
    let oldest = "metric: queue.wait.oldest";
    for rule in [
        &format!("{idle}, by: [queue], below: 40%, recover: 50%"),
        &format!("{idle}, above: 0.5"),
        &format!("{oldest}, above: 1h 30m, for: 90s, keep_firing_for: 1m, no_data: ok, limit: 1000"),
        &format!("{oldest}, above: 30m, datapoints: 3 of 5, fold: mean, where: {{ queue: 'prod-*' }}"),
        "metric: queue.wait, stat: count, above: 12",
        "metric: job.preemptions, increase: 24h, above: 3",
        "metric: queue.jobs, where: { state: runnable }, by: [queue], fold: sum, change_over: 1h, above: 50",
        "metric: job.scheduled.age, by: [queue, job], above: 30m",
        "by: [queue], all: [{ metric: queue.wait.oldest, above: 30m }, { metric: gpu.idle.ratio, above: 40%, recover: 30% }]",
        "any: [{ metric: queue.wait, stat: p95, above: 1h }]",
        "by: [queue, share], objective: { metric: queue.wait, target: 95%, within: 30m, where: { queue: 'prod-*' } }",
    ] {
        assert_eq!(mistakes(rule), [""; 0], "{rule}");
    }
    check_refused("above: 1", "there is no `metric`");
    check_refused(oldest, "exactly one of `above` and `below`");
    check_refused(&format!("{oldest}, above: 1800"), "write it like 30m");
    check_refused(&format!("{idle}, above: 40"), "write it like 40%");
    check_refused("metric: queue.wait, stat: count, above: 12m", "write it like 12");
    check_refused(&format!("{idle}, below: 40%, recover: 30%"), "must not be below `below`");
    check_refused(&format!("{oldest}, above: 30m, for: 5m, datapoints: 3 of 5"), "not both");
    check_refused(&format!("{oldest}, above: 30m, datapoints: 6 of 5"), "like 3 of 5");
    check_refused(&format!("{oldest}, above: 30m, datapoints: 0 of 5"), "like 3 of 5");
    check_refused(&format!("{oldest}, above: 30m, limit: 0"), "from 1 to 1000");
    check_refused("metric: job.preemptions, increase: 25h, above: 3", "no longer than 24h");
    check_refused("metric: job.preemptions, increase: 0s, above: 3", "longer than 0s");
    check_refused("metric: poll.interval, by: [queue], above: 5m", "has no labels");
    check_refused(&format!("{oldest}, above: 30m, by: [job]"), "is not a metric of single jobs; job.waiting.age");
    check_refused(&format!("{oldest}, above: 30m, change_over: 25h"), "no longer than 24h");
    check_refused("metric: job.preemptions, increase: 1h, change_over: 1h, above: 3", "only a gauge has");
    check_refused(&format!("{oldest}, above: 30m, labels: {{ alertname: x }}"), "set automatically");
    check_refused(&format!("{oldest}, above: 30m, labels: {{ account: x }}"), "set automatically");
    check_refused(&format!("{oldest}, above: 30m, labels: {{ region: x }}"), "set automatically");
    check_refused(&format!("{oldest}, above: 30m, by: [queue], labels: {{ queue: x }}"), "set automatically");
    check_refused(&format!("{oldest}, above: 30m, labels: {{ on-call: x }}"), "is not a label name");
}

#[test]
fn several_conditions_and_objectives_are_checked_part_by_part() {
    check_refused("all: []", "from 1 to 10 conditions");
    check_refused("all: [{ metric: queue.wait.oldest }]", "exactly one of `above` and `below`");
    check_refused("any: [{ metric: gpu.capacity, above: 1, abov: 2 }]", "unknown field `abov`");
    check_refused("above: 1, all: [{ metric: gpu.capacity, above: 1 }]", "`above` cannot be combined with `all`");
    check_refused("by: [share], any: [{ metric: gpu.capacity, above: 1 }]", "has no label `share`");
    let objective = |rest: &str| format!("objective: {{ metric: queue.wait, {rest} }}");
    check_refused(
        &objective("target: 95%, within: 20m"),
        "must be a bucket bound of the metric: 1s, 10s, 1m, 5m, 10m, 30m",
    );
    check_refused(&objective("target: 100%, within: 30m"), "less than 100%");
    check_refused(&objective("target: 95%, within: 30m, by: [x]"), "unknown field `by`");
    let gauge = "objective: { metric: gpu.capacity, target: 95%, within: 30m }";
    check_refused(gauge, "an objective requires a distribution");
}

#[test]
fn an_objective_becomes_a_rule_for_each_window_that_can_hold() {
    let of = |target: &str| {
        let rules = rules_of(&format!(
            "rules: [{{ alert: Slow, objective: {{ metric: queue.wait, target: {target}, within: 30m }},
               annotations: {{ summary: x }} }}]"
        ));
        rules.iter().map(|rule| (rule.name().to_owned(), rule.labels["severity"].clone())).collect::<Vec<_>>()
    };
    let rule = |name: &str, severity: &str| (name.to_owned(), severity.to_owned());
    assert_eq!(of("95%"), [rule("Slow-1h", "page"), rule("Slow-6h", "page"), rule("Slow-3d", "warning")]);
    // 14.4 times a budget of 10 % exceeds 100 %.
    assert_eq!(of("90%"), [rule("Slow-6h", "page"), rule("Slow-3d", "warning")]);
}

#[test]
fn a_template_is_checked_in_every_branch() {
    let annotated = |summary: &str| {
        let text = format!(
            "rules: [{{ alert: A, metric: queue.wait.oldest, by: [queue], above: 30m, annotations: {{ summary: \"{summary}\" }} }}]"
        );
        parse_rules("rules.yaml", &text).err().map(|problems| problems.iter().map(|(_, _, m)| m.to_owned()).collect())
    };
    let check = |summary: &str, expected: Option<&str>| {
        let found: Option<Vec<String>> = annotated(summary);
        let agree = match (&found, expected) {
            (Some(found), Some(expected)) => found.len() == 1 && found[0].contains(expected),
            (found, expected) => found.is_none() && expected.is_none(),
        };
        assert!(agree, "{summary}: {found:?} is not {expected:?}");
    };
    check("{{ queue | upper }} waits {{ value }} of {{ threshold }}", None);
    check("{% for n in range(2) %}{{ n }}{% endfor %}", None);
    check("{{ queue or share }}", Some("there is no `share` here; available: queue, threshold, value"));
    check("{% if value == 'x' %}{{ shard }}{% endif %}", Some("there is no `shard` here"));
    check("{{ queue | shout }}", Some("unknown filter"));
    check("{{ queue", Some("syntax error"));
    check("", Some("a one-line `summary` is required"));
}

#[test]
fn a_rule_file_of_prometheus_is_called_one() {
    let text = "groups: [{ name: g, rules: [{ alert: A, expr: up == 0 }] }]\n";
    let reported: Vec<_> =
        parse_rules("rules.yaml", text).unwrap_err().iter().map(|(.., reported)| reported.to_owned()).collect();
    assert!(
        matches!(reported.as_slice(), [one] if one.starts_with("`groups` is the format of Prometheus rule files")),
        "{reported:?}"
    );
    let text = "rules: [{ alert: A, expr: up == 0, annotations: { summary: x } }]\n";
    assert!(
        parse_rules("rules.yaml", text).unwrap_err().to_string().contains("Prometheus expressions are not supported")
    );
}

#[test]
fn a_filter_that_selects_nothing_is_refused() {
    let check = |metric: &str, filter: &str, why: Option<&str>| {
        let text = format!(
            "rules: [{{ alert: A, metric: {metric}, above: 1, where: {{ {filter} }}, annotations: {{ summary: x }} }}]"
        );
        let reported = parse_rules("rules.yaml", &text).map(|_| ()).map_err(|problems| problems.to_string());
        match why {
            None => assert_eq!(reported, Ok(())),
            Some(why) => {
                assert!(reported.as_ref().is_err_and(|reported| reported.contains(why)), "{filter}: {reported:?}")
            }
        }
    };
    check("queue.jobs", "state: run*", None);
    check("queue.jobs", "state: RUNNABLE", Some("`state` of `queue.jobs` is never `RUNNABLE`; it is one of submitted"));
    for ended in ["succeeded", "failed", "SUCCEEDED"] {
        let never = format!("`state` of `queue.jobs` is never `{ended}`; it is one of submitted");
        check("queue.jobs", &format!("state: {ended}"), Some(&never));
        check(
            "queue.jobs",
            &format!("state: {ended}"),
            Some("jobs that have ended are counted by `job.ended`, with the label `outcome`"),
        );
    }
    check(
        "queue.jobs",
        "state: endedd",
        Some("it is one of submitted, pending, runnable, scheduled, starting, running"),
    );
    check("queue.waiting", "reason: no_capacty", Some("did you mean `no_capacity`?"));
    check("gpu.part", "part: idle", Some("running_idle"));
    check("gpu.part", "part: running_idle", None);
    check("queue.jobs", "queue: ''", Some("is never empty"));
    check("queue.jobs", "share: ''", None);
    check("queue.jobs", "share: (none)", Some("have an empty one"));
    check("queue.jobs", "region: ''", Some("is never empty"));
    check("job.failures", "category: user_cod", Some("did you mean `user_code`?"));
    check("job.ended", "outcome: FAILED", Some("it is one of succeeded, failed, vanished"));
    check("queue.jobs", "queue: 'prod|test'", Some("no label value contains `|`"));
    check("queue.jobs", "queue: '=~prod.*'", Some("`=` is not an operator here"));
    check("queue.jobs", "queue: 'prod/*'", Some("`/` is not allowed in a queue name"));
    check("queue.jobs", "share: '\"a\"'", Some("contains nested quotes"));
}

#[test]
fn every_mistake_in_a_rule_file_is_reported() {
    let text = "\
rules:
  - { alert: A, metric: queue.wait.oldst, above: 1, annotations: { summary: x } }
  - { alert: B, metric: queue.wait, above: 30m, annotations: { summary: x } }
  - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
  - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
  - { alert: D, metric: queue.wait.oldest, above: 30m, recover: 40m, fro: 5m }
";
    insta::assert_snapshot!(parse_rules("rules.yaml", text).unwrap_err(), @r#"
    error: there is no metric `queue.wait.oldst`; did you mean `queue.wait.oldest`?
     --> rules.yaml:2:25
      |
    2 |   - { alert: A, metric: queue.wait.oldst, above: 1, annotations: { summary: x } }
      |                         ^^^^^^^^^^^^^^^^

    error: this metric is a distribution; set `stat` to p50, p90, p95, p99, mean, max or count
     --> rules.yaml:3:25
      |
    3 |   - { alert: B, metric: queue.wait, above: 30m, annotations: { summary: x } }
      |                         ^^^^^^^^^^

    error: another rule is already named `B`
     --> rules.yaml:4:14
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |              ^

    error: only a distribution has a `stat`
     --> rules.yaml:4:47
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |                                               ^^^

    error: `lots` is not a ratio; write it like 40%
     --> rules.yaml:4:59
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |                                                           ^^^^

    error: `gpu.idle.ratio` has no label `share`; it has queue
     --> rules.yaml:4:70
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |                                                                      ^^^^^

    error: a condition has exactly one of `above` and `below`
     --> rules.yaml:5:14
      |
    5 |   - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
      |              ^

    error: this metric is a counter; compare its increase, such as `increase: 10m`
     --> rules.yaml:5:25
      |
    5 |   - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
      |                         ^^^^^^^^^^^^^^^

    error: there is no `shard` here; available: threshold, value
     --> rules.yaml:5:86
      |
    5 |   - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
      |                                                                                      ^^^^^^^^^^^^^^

    error: must not be above `above`: the alert resolves below it
     --> rules.yaml:6:65
      |
    6 |   - { alert: D, metric: queue.wait.oldest, above: 30m, recover: 40m, fro: 5m }
      |                                                                 ^^^

    error: unknown field `fro`, expected one of `alert`, `all`, `any`, `objective`, `metric`, `stat`, `increase`, `change_over`, `by`, `fold`, `where`, `above`, `below`, `recover`, `for`, `datapoints`, `keep_firing_for`, `no_data`, `limit`, `labels`, `annotations`
     --> rules.yaml:6:70
      |
    6 |   - { alert: D, metric: queue.wait.oldest, above: 30m, recover: 40m, fro: 5m }
      |                                                                      ^^^

    11 problems in rules.yaml
    "#);
}

#[test]
fn the_schema_names_every_key() {
    let schema = rules_schema();
    let keys = &schema["$defs"]["RuleText"]["properties"];
    let keys: Vec<&str> = keys.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = "alert all any objective metric stat increase change_over by fold where above below recover for datapoints keep_firing_for no_data limit \
                    labels annotations";
    assert_eq!(keys.join(" "), expected);
}

/// The error for a rule with this template; everything else is valid.
fn refused_template(template: &str) -> String {
    let annotations = serde_json::json!({ "summary": "x", "description": template });
    let rule = serde_json::json!({ "alert": "A", "metric": "gpu.capacity", "above": 1, "annotations": annotations });
    let text = serde_json::json!({ "rules": [rule] }).to_string();
    match parse_rules("rules.yaml", &text) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(|(_, _, message)| message.to_owned()).collect::<Vec<_>>().join("; "),
    }
}

#[test]
fn templates_that_would_overflow_the_stack_or_take_all_memory_or_time_are_refused() {
    let chain = |before: &str, part: &str, times: usize, after: &str| format!("{before}{}{after}", part.repeat(times));
    // At the maximum depth, templates work on a stack as small as any thread of the service has.
    for fine in [
        chain("{{ ", "not ", 90, "value }}"),
        chain("{{ ", "-", 90, "1 }}"),
        chain("{{ value", "|upper", 45, " }}"),
        chain("{{ 1", " + 1", 45, " }}"),
        chain("{% if false %}", "{% elif value %}", 90, "{% endif %}"),
        chain("{{ ", "[", 45, "]".repeat(45).as_str()) + " }}",
        chain("", "{% if value %}", 45, &"{% endif %}".repeat(45)),
        "{% for i in range(50) %}{{ i }} {% endfor %}".to_owned(),
    ] {
        assert_eq!(refused_template(&fine), "", "{fine}");
    }
    for (too_much, says) in [
        (chain("{{ value", "|upper", 10_000, " }}"), "more than"),
        (chain("{{ value", "|upper", 1_000, " }}"), "tokens"),
        (chain("{{ ", "not ", 20_000, "value }}"), "more than"),
        (chain("{{ ", "not ", 2_000, "value }}"), "tokens"),
        (chain("{{ ", "-", 10_000, "1 }}"), "tokens"),
        (chain("{{ 1", " + 1", 3_000, " }}"), "tokens"),
        (chain("{{ value", ".a", 6_000, " }}"), "tokens"),
        (chain("{{ ", "(", 6_000, "1"), "tokens"),
        (chain("{% if value %}", "{% elif value %}", 900, "{% endif %}"), "tags"),
        (chain("{% set a = 'xxxxxxxx' %}", "{% set a = a ~ a %}", 60, "{{ a }}"), "not supported"),
        ("{{ 'x' * 100000000 }}".to_owned(), "not supported"),
        ("{{ [1] * 100000000 }}".to_owned(), "not supported"),
        (
            "{% for a in [[1,1,1,1,1,1,1,1]] %}{% for b in [[a,a,a,a,a,a,a,a]] %}{% for c in [[b,b,b,b,b,b,b,b]] %}{{ c }}{% endfor %}{% endfor %}{% endfor %}"
                .to_owned(),
            "only numbers and quoted strings",
        ),
        (chain("{{ value", "|replace('', value)", 9, " }}"), "exceeds the limit"),
        ("{% for a in range(9)|zip(range(9)) %}{{ a }}{% endfor %}".to_owned(), "unknown"),
        ("{{ 'x'|indent(1000000000) }}".to_owned(), ""),
        ("{{ '%1000000000d'|format(1) }}".to_owned(), ""),
        ("{{ '%.1000000000f'|format(1.5) }}".to_owned(), ""),
        ("{{ range(100000)|list }}".to_owned(), "at most 1000"),
        (
            "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}{% endfor %}{% endfor %}{% endfor %}"
                .to_owned(),
            "exceeds the limit",
        ),
        (format!("{{% for a in range(900) %}}{}{{% endfor %}}", "x".repeat(40)), "32768 bytes"),
        ("{{ namespace(x=1) }}".to_owned(), "there is no `namespace`"),
    ] {
        let found = refused_template(&too_much);
        let start: String = too_much.chars().take(60).collect();
        assert!(!found.is_empty() && found.contains(says), "{start}: {found:?}");
    }
    let many: String = (0..30).map(|number| format!("a{number}: x, ")).collect();
    let text =
        format!("rules: [{{ alert: A, metric: gpu.capacity, above: 1, annotations: {{ summary: x, {many} }} }}]");
    assert!(parse_rules("r", &text).unwrap_err().to_string().contains("more than 20"));
}

#[test]
fn a_template_that_takes_too_much_work_costs_its_rule_and_no_other() {
    // Cheap with the words of the check, expensive with real values.
    let heavy = "{% for a in value %}{% for b in value %}{% for c in value %}{% for d in value %}x{% endfor %}{% endfor %}{% endfor %}{% endfor %}";
    let rules = format!(
        "rules:
- {{ alert: Heavy, metric: gpu.capacity, above: 1, annotations: {{ summary: \"{heavy}\" }} }}
- {{ alert: Light, metric: gpu.capacity, above: 1, annotations: {{ summary: '{{{{ value }}}}' }} }}"
    );
    let rules = parse_rules("r", &rules).unwrap();
    let mut active_alerts = ActiveAlerts::default();
    let sample = gauge(&catalogue::GPU_CAPACITY, &[("queue", "q")], 123_456_789_012_345.0);
    let frame = frame_of(vec![sample], minute(1));
    let fired = active_alerts.step(&rules, &frame, minute(1));
    assert_eq!(fired.len(), 2, "both fire");
    let summary =
        |rule: &str| active_alerts.alerts().find(|alert| alert.rule == rule).unwrap().annotations["summary"].clone();
    assert!(summary("Heavy").contains("cannot be rendered: rendering it exceeds the limit"), "{}", summary("Heavy"));
    assert!(summary("Light").contains("GPUs"), "{}", summary("Light"));
    assert_eq!(active_alerts.take_failures(), [("Heavy".to_owned(), 1)].into());
}
