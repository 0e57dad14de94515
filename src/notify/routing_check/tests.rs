//! Routes, and matchers that can never match.

use std::path::Path;

use super::*;
use crate::config;
use trainspotter_core::rules::parse_rules;

const RULES: &str = "rules:
  - { alert: LongWait, metric: queue.wait.oldest, by: [queue, share], above: 30m, labels: { severity: page }, annotations: { summary: x } }
  - { alert: LongerWait, metric: queue.wait.oldest, by: [queue], where: { queue: prod-* }, above: 2h, labels: { severity: page }, annotations: { summary: x } }
  - { alert: GpusIdle, metric: gpu.idle.ratio, by: [queue], above: 50%, labels: { severity: info }, annotations: { summary: x } }
  - { alert: DataStale, metric: source.age, by: [source], above: 10m, labels: { severity: warning }, annotations: { summary: x } }
";

fn with(receivers: &str, rules: &str) -> (Config, Vec<Rule>) {
    let text = format!("targets: [{{ region: us-east-1 }}]\n{receivers}");
    let config =
        config::load("t.yaml", &text, Path::new("."), &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    (config, parse_rules("rules.yaml", rules).unwrap())
}

fn hook(name: &str, more: &str) -> String {
    format!("  - {{ name: {name}, webhook: {{ url: 'https://example.com/' }}{more} }}\n")
}

#[test]
fn each_rule_lists_the_receivers_that_would_be_notified() {
    let receivers = [
        hook("pager", ", match: { severity: page }"),
        hook("prod", ", match: { queue: prod-* }"),
        hook("boss", ", match: { severity: never }"),
        hook("chat", ", match: ['severity=~\"page|warning\"'], escalate: { after: 30m, to: boss }"),
    ];
    let inhibit = "inhibit: [{ when: { alertname: DataStale }, mute: { alertname: Long* } }]\n";
    let (config, rules) = with(&format!("receivers:\n{}{inhibit}", receivers.concat()), RULES);
    let shown: Vec<String> = routes(&config, &rules)
        .into_iter()
        .map(|route| format!("{}: {} | {}", route.rule, route.receivers.join(", "), route.held_back_by.join(", ")))
        .collect();
    assert_eq!(
        shown,
        [
            "LongWait: pager, prod (if queue=prod-*), boss (30m after chat), chat | DataStale",
            "LongerWait: pager, prod (if queue=prod-*), boss (30m after chat), chat | DataStale",
            "GpusIdle: prod (if queue=prod-*) | ",
            "DataStale: boss (30m after chat), chat | ",
        ]
    );
    assert_eq!(problems(&config, &rules), [], "whoever is escalated to needs no matchers of their own");
}

#[test]
fn what_reaches_no_receiver_is_reported_where_it_is_written() {
    let check = |more: &str, at: &str, why: &str| {
        let (config, rules) = with(more, RULES);
        let found = problems(&config, &rules);
        assert!(
            matches!(found.as_slice(), [(path, message)] if path == at && message.contains(why)),
            "{more}: {found:?}"
        );
    };
    let one = |more: &str| format!("receivers:\n{}", hook("a", more));
    check(&one(", match: { sevrity: page }"), "receivers[0].match.sevrity", "did you mean `severity`?");
    check(&one(", match: { severity: critical }"), "receivers[0].match.severity", "it is one of info, page, warning");
    check(&one(", match: { alertname: LongWiat }"), "receivers[0].match.alertname", "did you mean `LongWait`?");
    check(&one(", match: { alertname: GpusIdle, share: a }"), "receivers[0].match", "matches all of");
    check(&one(", match: { owner: ada }"), "receivers[0].match.owner", "no alert has a label `owner`");
    check(&one(", match: { region: us-west-2 }"), "receivers[0].match.region", "there are us-east-1");
    check(&one(", group: { by: [quque], wait: 1m }"), "receivers[0].group.by[0]", "did you mean `queue`?");
    check(
        &one(", mute: [{ from: '00:00', to: '12:00' }, { from: '11:00', to: '00:00' }]"),
        "receivers[0].mute",
        "cover the whole week",
    );
    let inhibit = |rule: &str| format!("{}inhibit: [{rule}]\n", one(""));
    check(
        &inhibit("{ when: { alertname: JobDataStale }, mute: { alertname: LongWait } }"),
        "inhibit[0].when.alertname",
        "DataStale",
    );
    check(
        &inhibit("{ when: { alertname: DataStale }, mute: { alertname: X* } }"),
        "inhibit[0].mute.alertname",
        "no alert of any rule matches",
    );
    let same = "{ when: { alertname: DataStale }, mute: { alertname: LongWait }, same: [qeue] }";
    check(&inhibit(same), "inhibit[0].same[0]", "did you mean `queue`?");
    let itself = "`when` and `mute` match the same alerts";
    check(&inhibit("{ when: { alertname: LongWait }, mute: { alertname: LongWait } }"), "inhibit[0].mute", itself);
    check(&inhibit("{ when: { severity: page }, mute: { severity: page }, same: [queue] }"), "inhibit[0].mute", itself);
    check(&inhibit("{ when: { severity: page }, mute: { alertname: Long* } }"), "inhibit[0].mute", itself);
    let same = |label: &str| {
        inhibit(&format!("{{ when: {{ alertname: DataStale }}, mute: {{ alertname: LongWait }}, same: [{label}] }}"))
    };
    check(&same("queue"), "inhibit[0].same[0]", "no alert of `when` has the label `queue`");
    check(&same("source"), "inhibit[0].same[0]", "no alert of `mute` has the label `source`");
    check(&same("severity"), "inhibit[0].same[0]", "never have the same `severity`");
    for fine in [
        "{ when: { alertname: LongerWait }, mute: { alertname: LongWait }, same: [queue] }",
        "{ when: { alertname: LongWait }, mute: { severity: page }, same: [queue] }",
        "{ when: { alertname: LongWait, queue: a }, mute: { alertname: LongWait, queue: b } }",
        "{ when: { severity: warning }, mute: { severity: page } }",
    ] {
        let (config, rules) = with(&inhibit(fine), RULES);
        assert_eq!(problems(&config, &rules), [], "{fine}");
    }
    for fine in [
        ", match: { region: us-* }",
        ", match: { account: '111122223333' }",
        ", group: { by: [account, region], wait: 1m }",
    ] {
        let (config, rules) = with(&one(fine), RULES);
        assert_eq!(problems(&config, &rules), [], "{fine}: every alert has these labels");
    }
    let (config, _) = with(&one(""), RULES);
    assert_eq!(problems(&config, &[])[0].0, "receivers", "without rules nobody hears of anything");
}

#[test]
fn a_silence_that_would_silence_nothing_is_known() {
    let (_, rules) = with("", RULES);
    let check = |text: &str, rules: &[Rule], why: Option<&str>| {
        let found = never(&Matchers::parse(text).unwrap(), rules);
        match why {
            None => assert_eq!(found, None, "{text}"),
            Some(why) => assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{text}: {found:?}"),
        }
    };
    check("alertname=LongWait", &rules, None);
    check("alertname=~\"Long.*\",queue=prod", &rules, None);
    check("alertname=ReceiverInTrouble", &rules, None);
    check("receiver=chat", &rules, None);
    check("region=us-east-1,account=111122223333", &rules, None);
    check("queue=test-a,alertname=LongerWait", &rules, Some("matches all of"));
    check("sevrity=page", &rules, Some("did you mean `severity`?"));
    check("severity!=\"\"", &rules, None);
    check("severity=critical", &rules, Some("it is one of info, page, warning"));
    check("sevrity=page", &[], Some("did you mean `severity`?"));
    check("queue=prod,severity=page", &[], None);
}

#[test]
fn an_account_that_no_target_is_of_is_refused_where_all_are_known() {
    let role =
        |account: &str| format!("{{ region: us-east-1, role: 'arn:aws:iam::{account}:role/r', name: t{account} }}");
    let text = |targets: &str, account: &str| {
        format!("targets: [{targets}]\nreceivers:\n{}", hook("a", &format!(", match: {{ account: '{account}' }}")))
    };
    let found = |targets: &str, account: &str| {
        let config = config::load("t.yaml", &text(targets, account), Path::new("."), &|_| None).unwrap();
        problems(&config, &parse_rules("rules.yaml", RULES).unwrap())
    };
    let both = format!("{}, {}", role("111122223333"), role("444455556666"));
    assert_eq!(found(&both, "444455556666"), []);
    assert_eq!(found(&both, "4444*"), []);
    let wrong = found(&both, "777788889999");
    assert!(
        matches!(wrong.as_slice(), [(at, why)] if at == "receivers[0].match.account" && why.contains("444455556666")),
        "{wrong:?}"
    );
    let own = format!("{}, {{ region: eu-west-1 }}", role("111122223333"));
    assert_eq!(found(&own, "777788889999"), [], "the service's own account is known to AWS only");
}

#[test]
fn a_matcher_of_a_queue_that_no_target_watches_never_matches() {
    let check = |queues: &str, matcher: &str, never: bool| {
        let receivers = format!("receivers:\n{}", hook("a", &format!(", match: {matcher}")));
        let text = format!("targets: [{{ region: us-east-1, queues: {queues} }}]\n{receivers}");
        let config = config::load("t.yaml", &text, Path::new("."), &|_| None).unwrap();
        let found = problems(&config, &parse_rules("rules.yaml", RULES).unwrap());
        assert_eq!(!found.is_empty(), never, "{queues} {matcher}: {found:?}");
        assert!(found.iter().all(|(path, _)| path == "receivers[0].match.queue"), "{found:?}");
    };
    check("[research]", "{ queue: prod }", true);
    check("[research, prod]", "{ queue: prod }", false);
    check("[research]", "{ queue: r* }", false);
    check("[research, 'p*']", "{ queue: prod }", false);
    // Alerts that are about no queue are of no queue's name.
    check("[research]", "['queue!=research']", false);
}

#[test]
fn a_rule_may_give_its_alerts_a_queue_of_its_own() {
    let receivers = format!("receivers:\n{}", hook("a", ", match: { queue: platform }"));
    let text = format!("targets: [{{ region: us-east-1, queues: [research] }}]\n{receivers}");
    let config = config::load("t.yaml", &text, Path::new("."), &|_| None).unwrap();
    let rule = |labels: &str| {
        format!("rules: [{{ alert: A, metric: ledger.jobs, above: 1, {labels} annotations: {{ summary: x }} }}]")
    };
    let found = |labels: &str| problems(&config, &parse_rules("rules.yaml", &rule(labels)).unwrap()).len();
    assert_eq!(found("labels: { queue: platform },"), 0);
    assert_eq!(found("labels: { queue: other },"), 1);
}

#[test]
fn account_ids_and_regions_that_cannot_be_are_refused() {
    let found = |matcher: &str| {
        let receivers = format!("receivers:\n{}", hook("a", &format!(", match: ['{matcher}']")));
        let text = format!("targets: [{{ region: us-east-1 }}]\n{receivers}");
        let config = config::load("t.yaml", &text, Path::new("."), &|_| None).unwrap();
        problems(&config, &parse_rules("rules.yaml", RULES).unwrap())
    };
    for (matcher, why) in [
        ("account=1234", "account ids have 12 digits"),
        ("account!=1234567890123", "account ids have 12 digits"),
        ("account=12345678901x", "`x` is not allowed in an account id"),
        ("region!=US-EAST-1", "`U` is not allowed in a region"),
        ("region!=us_east_1", "`_` is not allowed in a region"),
    ] {
        let found = found(matcher);
        assert!(found.len() == 1 && found[0].1.contains(why), "{matcher}: {found:?}");
    }
    assert_eq!(found("account=~\"1234.*\"").len(), 0);
}
