//! Timelines, drawn. One character is one minute.
//!
//! Signals: `y` holds, `n` does not, `-` no data, `x` the share is gone, `!` the source failed.
//! Alerts: `.` inactive, `P` pending, `F` firing; a capital `R` marks the tick of a resolve.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::derive::catalogue::{self, Metric};
use crate::derive::{Frame, QueueFigures, Sample, SourceHealth, Value, labels};
use crate::model::{Source, Timestamp};

const PACK: &str = include_str!("../../alerts/default.yaml");

/// A rule, the series it is about, a value that must fire within three hours, and one that must not.
type Case<'a> = (&'a str, &'static Metric, &'a [(&'static str, &'a str)], f64, f64);

fn rules_of(text: &str) -> Vec<Rule> {
    parse_rules("test.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// One rule over the oldest wait of a share, which holds above half an hour.
fn rule(extra: &str) -> Vec<Rule> {
    rules_of(&format!(
        "rules: [{{ alert: Waits, metric: queue.wait.oldest, by: [queue, share], above: 30m, {extra}
           labels: {{ severity: page }}, annotations: {{ summary: '{{{{ share }}}} waits {{{{ value }}}}' }} }}]"
    ))
}

fn minute(minutes: usize) -> Timestamp {
    Timestamp::from_millis(minutes as i64 * 60_000)
}

fn gauge(metric: &'static Metric, pairs: &[(&'static str, &str)], value: f64) -> Sample {
    Sample {
        metric,
        labels: pairs.iter().map(|(label, value)| (*label, (*value).into())).collect(),
        value: Value::Gauge(value),
    }
}

fn healthy(error: Option<&str>) -> Vec<SourceHealth> {
    let failing = if error.is_some() { BTreeSet::from(["prod".into()]) } else { BTreeSet::new() };
    let health = |source| SourceHealth {
        source,
        age_seconds: Some(10.0),
        error: error.map(str::to_owned),
        failing: failing.clone(),
    };
    Source::ALL.into_iter().map(health).collect()
}

/// A frame in which share `vision` of queue `prod` shows a signal.
fn frame(signal: char, at: Timestamp) -> Frame {
    let share = [("queue", "prod"), ("share", "vision")];
    let mut samples = Vec::new();
    if signal != 'x' {
        let pairs = labels([("queue", "prod".into()), ("share", "vision".into()), ("state", "runnable".into())]);
        samples.push(Sample { metric: &catalogue::QUEUE_JOBS, labels: pairs, value: Value::Gauge(1.0) });
    }
    let minutes = match signal {
        'y' | '!' => Some(45.0),
        'm' => Some(25.0),
        'n' => Some(5.0),
        _ => None,
    };
    samples.extend(minutes.map(|minutes| gauge(&catalogue::QUEUE_WAIT_OLDEST, &share, minutes * 60.0)));
    let queue =
        QueueFigures { queue: "prod".into(), policy: "QUOTA_SHARE", jobs: BTreeMap::new(), oldest_wait_seconds: None };
    let sources = healthy((signal == '!').then_some("throttled"));
    Frame { at, queues: vec![queue], samples, sources, ..Frame::default() }
}

fn letter(book: &AlertBook, told: &[Transition]) -> char {
    let resolved = told.iter().any(|transition| matches!(transition.kind, TransitionKind::Resolved(_)));
    match book.alerts().next().map(|alert| alert.state) {
        None if resolved => 'R',
        None => '.',
        Some(AlertState::Pending { .. }) => 'P',
        Some(AlertState::Firing { .. }) => 'F',
    }
}

fn draw(rules: &[Rule], signals: &str) -> (String, Vec<Transition>) {
    let mut book = AlertBook::default();
    let mut told = Vec::new();
    let drawn = signals
        .chars()
        .enumerate()
        .map(|(at, signal)| {
            let now = book.step(rules, &frame(signal, minute(at)), minute(at));
            told.extend(now.clone());
            letter(&book, &now)
        })
        .collect();
    (drawn, told)
}

#[track_caller]
fn check(extra: &str, signals: &str, expected: &str) {
    assert_eq!(draw(&rule(extra), signals).0, expected, "{extra} over {signals}");
}

#[test]
fn an_alert_fires_once_it_has_held_for_long_enough() {
    check("", "nyyn", ".FFR");
    check("for: 2m,", "yyyyn", "PPFFR");
    check("for: 2m,", "yynyy", "PP.PP");
    check("for: 2m,", "yynyyyn", "PP.PPFR");
}

#[test]
fn an_alert_goes_on_firing_for_as_long_as_asked() {
    check("keep_firing_for: 2m,", "ynnnn", "FFFR.");
    check("keep_firing_for: 2m,", "ynynnn", "FFFFFR");
}

#[test]
fn an_alert_recovers_only_beyond_the_recovery_threshold() {
    check("recover: 20m,", "mymmn", ".FFFR");
    check("", "mymmn", ".FR..");
}

#[test]
fn no_data_means_what_the_rule_says() {
    check("", "y--n", "FFFR");
    check("no_data: ok,", "y--n", "FR..");
    check("no_data: alert, for: 2m,", "y--n", "PPFR");
    check("for: 2m,", "y--yyy", "PPPPPF");
}

#[test]
fn what_is_gone_ends_and_what_cannot_be_seen_does_not() {
    check("keep_firing_for: 1h,", "yyx", "FFR");
    check("for: 2m,", "yx", "P.");
    check("", "y!!!n", "FFFFR");
    check("for: 2m,", "y!!!yy", "PPPPPP");
    check("for: 2m,", "!!!!", "....");
    let (_, told) = draw(&rule(""), "yx");
    assert_eq!(told[1].kind, TransitionKind::Resolved(Ending::Gone));
}

#[test]
fn identity_is_the_same_while_the_value_moves_and_the_words_follow_it() {
    let (_, told) = draw(&rule(""), "yyn");
    assert_eq!(told[0].alert.id, told[1].alert.id);
    assert_eq!(told[0].alert.annotations["summary"], "vision waits 45m");
    assert_eq!(told[0].alert.labels["severity"], "page");
    assert_eq!((told[1].alert.value_at_fire, told[1].alert.value), (Some(2_700.0), Some(300.0)));
}

#[test]
fn a_restart_continues_and_does_not_count_the_outage() {
    let rules = rule("for: 3m,");
    let mut book = AlertBook::default();
    book.step(&rules, &frame('y', minute(0)), minute(0));
    book.step(&rules, &frame('y', minute(1)), minute(1));
    let mut book = AlertBook::restore(book.alerts().cloned().collect());
    let after: String = (60..65)
        .map(|at| {
            let told = book.step(&rules, &frame('y', minute(at)), minute(at));
            letter(&book, &told)
        })
        .collect();
    assert_eq!(after, "PPFFF", "one minute was pending before the outage");
    let mut book = AlertBook::restore(book.alerts().cloned().collect());
    assert_eq!(book.step(&rules, &frame('y', minute(90)), minute(90)), [], "a firing alert does not fire again");
}

#[test]
fn a_removed_rule_ends_its_alerts() {
    let mut book = AlertBook::default();
    book.step(&rule(""), &frame('y', minute(0)), minute(0));
    let told = book.step(&[], &frame('y', minute(1)), minute(1));
    assert_eq!(told[0].kind, TransitionKind::Resolved(Ending::RuleRemoved));
}

#[test]
fn beyond_the_limit_one_alert_says_how_many_are_left_out() {
    let rules = rule("limit: 3,");
    let frame = |waiting: usize| {
        let names: Vec<String> = (0..waiting).map(|share| format!("s{share}")).collect();
        let mut frame = frame('x', minute(0));
        for name in &names {
            let pairs = [("queue", "prod"), ("share", name.as_str())];
            frame.samples.push(gauge(&catalogue::QUEUE_WAIT_OLDEST, &pairs, 3_600.0));
            frame.samples.push(gauge(
                &catalogue::QUEUE_JOBS,
                &[("queue", "prod"), ("share", name), ("state", "x")],
                1.0,
            ));
        }
        frame
    };
    let mut book = AlertBook::default();
    let told = book.step(&rules, &frame(10), minute(0));
    assert_eq!((told.len(), book.counts()), (4, (0, 4)));
    assert_eq!(told[3].alert.annotations["summary"], "7 more alerts of Waits are over its limit of 3");
    assert_eq!(book.step(&rules, &frame(10), minute(1)), [], "nothing flaps");
    let told = book.step(&rules, &frame(2), minute(2));
    assert_eq!((told.len(), book.counts()), (2, (0, 2)), "one is gone, and nothing is left out");
}

#[test]
fn a_counter_is_judged_by_its_increase() {
    let rules = rules_of(
        "rules: [{ alert: Failing, metric: publish.failures, increase: 5m, by: [sink], above: 2,
           annotations: { summary: '{{ value }} at {{ sink }}' } }]",
    );
    let mut book = AlertBook::default();
    let totals = [7.0, 7.0, 8.0, 10.0, 10.0, 10.0, 10.0, 10.0, 10.0];
    let drawn: String = (0..totals.len())
        .map(|at| {
            let labels = labels([("sink", "otlp".into())]);
            let sample = Sample { metric: &catalogue::PUBLISH_FAILURES, labels, value: Value::Counter(totals[at]) };
            let told =
                book.step(&rules, &Frame { at: minute(at), samples: vec![sample], ..Frame::default() }, minute(at));
            letter(&book, &told)
        })
        .collect();
    assert_eq!(drawn, "...FFFFR.", "three more within five minutes; what came before the start does not count");
}

#[test]
fn every_mistake_in_a_rule_file_is_told() {
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

    error: this metric is a distribution; say which `stat`: p50, p90, p95, p99, mean, max or count
     --> rules.yaml:3:25
      |
    3 |   - { alert: B, metric: queue.wait, above: 30m, annotations: { summary: x } }
      |                         ^^^^^^^^^^

    error: another rule is called `B` already
     --> rules.yaml:4:14
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |              ^

    error: only a distribution has a `stat`
     --> rules.yaml:4:47
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |                                               ^^^

    error: `lots` is not a share; write it like 40%
     --> rules.yaml:4:59
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |                                                           ^^^^

    error: `gpu.idle.ratio` has no label `share`; it has queue
     --> rules.yaml:4:70
      |
    4 |   - { alert: B, metric: gpu.idle.ratio, stat: p95, below: lots, by: [share], annotations: { summary: x } }
      |                                                                      ^^^^^

    error: a rule has exactly one of `above` and `below`
     --> rules.yaml:5:14
      |
    5 |   - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
      |              ^

    error: this metric only grows; compare its increase, such as `increase: 10m`
     --> rules.yaml:5:25
      |
    5 |   - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
      |                         ^^^^^^^^^^^^^^^

    error: undefined value: `shard` is undefined; a template may name value, threshold
     --> rules.yaml:5:86
      |
    5 |   - { alert: C, metric: job.preemptions, above: 1, below: 2, annotations: { summary: '{{ shard }}' } }
      |                                                                                      ^^^^^^^^^^^^^^

    error: must not be above `above`: it is where the alert ends
     --> rules.yaml:6:65
      |
    6 |   - { alert: D, metric: queue.wait.oldest, above: 30m, recover: 40m, fro: 5m }
      |                                                                 ^^^

    error: unknown field `fro`, expected one of `alert`, `metric`, `stat`, `increase`, `by`, `where`, `above`, `below`, `recover`, `for`, `keep_firing_for`, `no_data`, `limit`, `labels`, `annotations`
     --> rules.yaml:6:70
      |
    6 |   - { alert: D, metric: queue.wait.oldest, above: 30m, recover: 40m, fro: 5m }
      |                                                                      ^^^

    11 problems in rules.yaml
    "#);
}

#[test]
fn every_rule_of_the_pack_fires_on_what_it_is_for_and_on_nothing_else() {
    let share: &[(&'static str, &str)] = &[("queue", "prod"), ("share", "vision")];
    let cases: &[Case] = &[
        ("LongWait", &catalogue::QUEUE_WAIT_OLDEST, share, 1_900.0, 1_700.0),
        ("VeryLongWait", &catalogue::QUEUE_WAIT_OLDEST, share, 15_000.0, 14_000.0),
        ("JobsFailing", &catalogue::JOB_FAILURE_RATIO, share, 0.3, 0.2),
        ("ManyPreemptions", &catalogue::JOB_PREEMPTIONS, share, 1.0, 0.1),
        ("GpusIdle", &catalogue::GPU_IDLE_RATIO, &[("queue", "prod")], 0.6, 0.5),
        ("GpusIdleWhileRunning", &catalogue::GPU_PART, &[("queue", "prod"), ("part", "running_idle")], 16.0, 8.0),
        ("JobDataStale", &catalogue::SOURCE_AGE, &[("source", "jobs")], 900.0, 300.0),
        ("TopologyStale", &catalogue::SOURCE_AGE, &[("source", "topology")], 2_000.0, 900.0),
        ("UnknownValues", &catalogue::SOURCE_UNKNOWN, &[("kind", "job_status"), ("value", "X")], 1.0, 0.0),
        ("NotPublishing", &catalogue::PUBLISH_FAILURES, &[("sink", "otlp")], 1.0, 0.1),
        ("NotificationsStuck", &catalogue::NOTIFY_OLDEST, &[("receiver", "oncall")], 700.0, 500.0),
    ];
    let rules = parse_rules("alerts/default.yaml", PACK).unwrap_or_else(|problems| panic!("{problems}"));
    let tested: BTreeSet<&str> = cases.iter().map(|(name, ..)| *name).collect();
    assert_eq!(rules.iter().map(Rule::name).collect::<BTreeSet<_>>(), tested, "every rule has a case");
    for (name, metric, pairs, fires, rests) in cases {
        let fired = |value: f64| {
            let mut book = AlertBook::default();
            let told = (0..180).flat_map(|at| {
                let mut frame = frame('-', minute(at));
                let mut sample = gauge(metric, pairs, value);
                // A counter grows by the value each minute.
                if metric.kind == catalogue::Kind::Counter {
                    sample.value = Value::Counter(value * at as f64);
                }
                frame.samples.push(sample);
                book.step(&rules, &frame, minute(at))
            });
            let told: BTreeSet<String> = told.map(|transition| transition.alert.rule).collect();
            told
        };
        assert!(fired(*fires).contains(*name), "{name} at {fires}");
        assert!(!fired(*rests).contains(*name), "{name} at {rests}");
    }
}

#[test]
fn every_runbook_of_the_pack_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let runbooks: Vec<&str> = PACK.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert!(!runbooks.is_empty());
    for runbook in runbooks {
        assert!(root.join(runbook).is_file(), "{runbook}");
    }
}

proptest! {
    /// Whatever the signals: fired and resolved alternate, and only a fired alert is resolved.
    #[test]
    fn fired_and_resolved_alternate(signals in "[ynm!x-]{1,60}", hold in 0..4_u8, keep in 0..4_u8) {
        let (_, told) = draw(&rule(&format!("for: {hold}m, keep_firing_for: {keep}m, recover: 20m,")), &signals);
        for (index, transition) in told.iter().enumerate() {
            prop_assert_eq!(transition.kind == TransitionKind::Fired, index % 2 == 0, "{:?}", told);
        }
    }

    /// A failed source changes nothing, however long it fails.
    #[test]
    fn a_failed_source_changes_nothing(before in "[ynm-]{1,20}", outage in 1..50_usize) {
        let rules = rule("for: 3m, keep_firing_for: 2m,");
        let drawn = draw(&rules, &before).0;
        let with_outage = draw(&rules, &(before.clone() + &"!".repeat(outage))).0;
        let last = drawn.chars().last().map(|letter| if letter == 'R' { '.' } else { letter });
        prop_assert!(with_outage.chars().skip(before.len()).all(|letter| Some(letter) == last), "{with_outage}");
    }

    /// Against a model in one line: without gaps, an alert fires exactly when the last `hold` minutes all held.
    #[test]
    fn firing_agrees_with_the_definition(signals in "[yn]{1,60}", hold in 0..6_usize) {
        let (drawn, _) = draw(&rule(&format!("for: {hold}m,")), &signals);
        let signals: Vec<char> = signals.chars().collect();
        for (at, letter) in drawn.chars().enumerate() {
            let all_held = at >= hold && signals[at - hold..=at].iter().all(|signal| *signal == 'y');
            prop_assert_eq!(letter == 'F', all_held, "{} at {}", drawn, at);
        }
    }
}

#[test]
fn the_schema_names_every_key() {
    let schema = rules_schema().to_string();
    for key in ["alert", "metric", "stat", "increase", "by", "where", "above", "below", "recover", "for"] {
        assert!(schema.contains(&format!("\"{key}\":")), "{key}");
    }
}
